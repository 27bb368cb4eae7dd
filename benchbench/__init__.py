"""benchbench: a plugin-based benchmark suite for adversarial robustness."""

__version__ = "0.1.0"
