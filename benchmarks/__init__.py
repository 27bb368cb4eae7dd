"""Speed against peers and the limit; each module is a command: ``-m benchmarks.attacks``."""
