"""The version of benchbench, also the distribution's."""

__version__ = "0.1.0"
