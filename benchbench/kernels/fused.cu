// Each kernel of fused.py: a function of one element, which torch's jiterator compiles.
template <typename T> T add_relu(T value, T bias) {
  T sum = value + bias;
  return sum < T(0) ? T(0) : sum;
}

template <typename T> void pool_relu(T first, T second, T third, T fourth, T bias, T& value, T& place) {
  T largest = first;
  T found = T(0);
  if (second > largest || second != second) { largest = second; found = T(1); }
  if (third > largest || third != third) { largest = third; found = T(2); }
  if (fourth > largest || fourth != fourth) { largest = fourth; found = T(3); }
  T sum = largest + bias;
  value = sum < T(0) ? T(0) : sum;
  place = sum <= T(0) ? T(4) : found;
}

template <typename T> T unpool(T gradient, T place, T here) {
  return place == here ? gradient : T(0);
}

template <typename T> T pass_scaled(T gradient, T output, T scale) {
  return output > T(0) ? gradient * scale : T(0);
}

template <typename T> T sign_step(T point, T gradient, T lowest, T highest, T length) {
  T moved = point + (gradient > T(0) ? length : gradient < T(0) ? -length : T(0));
  moved = moved < lowest ? lowest : moved;
  return moved > highest ? highest : moved;
}

template <typename T> T keyed_bits(T row, T key, T element) {
  unsigned long long golden = 0x9E3779B97F4A7C15ULL;
  unsigned long long state = (unsigned long long)row * golden + (unsigned long long)key;
  for (int round = 0; round < 2; ++round) {
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9ULL;
    state = (state ^ (state >> 27)) * 0x94D049BB133111EBULL;
    state = state ^ (state >> 31);
    if (round == 0) state += (unsigned long long)element * golden;
  }
  return (T)state;
}
