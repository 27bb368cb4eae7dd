"""Models whose robust accuracy PGD-10 overestimates, and honest ones, for the diagnostics."""
