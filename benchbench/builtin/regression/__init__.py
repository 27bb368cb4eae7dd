"""The staircase of the paper's arXiv version: its data, its model, its attack, its metrics, and how each method fits it.

Training methods enter by `benchbench.builtin.regression.fitting`; the other components are offered like any other.
"""
