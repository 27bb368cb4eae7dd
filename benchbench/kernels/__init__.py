"""Faster passes through a model, with the same verdicts: quick layers and CUDA graphs."""
