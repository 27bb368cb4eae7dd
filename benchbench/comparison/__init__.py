"""Models against each other: contenders, pairing by example, tests and ranking."""
