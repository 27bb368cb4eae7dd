"""How passes through a model are made fast without changing a verdict: frozen weights, quick layers, CUDA graphs."""
