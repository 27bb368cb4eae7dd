"""Runs a whole suite, and shows its progress."""
