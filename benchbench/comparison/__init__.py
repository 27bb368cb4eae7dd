"""Comparing models: contenders, pairing by example, tests and ranking."""
