"""Speed against peers and against the limit; each module is a command, ``python -m benchmarks.attacks``."""
