"""Models whose robust accuracy PGD-10 overestimates, and honest ones, to test the diagnostics."""
