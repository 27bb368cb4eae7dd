"""The staircase of the paper's arXiv version: data, model, attack, metrics and fits.

Training methods enter by `benchbench.builtin.regression.fitting`; the other components are offered like any other.
"""
