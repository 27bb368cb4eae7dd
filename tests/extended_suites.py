"""A suite that others extend, for tests that read such suites from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchbench.registry import Registry
from benchbench.suite import Suite, read_suite

BASE = """\
name = "base"
protocol = "base-1"
paper = "A paper"
seeds = [4]

[defaults]
architectures = ["mlp"]
attacks = ["pgd-10"]
metrics = ["accuracy"]
threat = { epsilon = 0.1 }
recipe = { learning_rate = 0.1, epochs = 9 }

[profiles.paper]
[profiles.quick]
n_train = 100
skip = "too large"

[[experiments]]
name = "one"
dataset = "digits"
defenses = ["natural", "at"]

[[experiments.overrides]]
defenses = ["at"]
learning_rate = 0.01

[experiments.profiles.quick]
skip = ""
defenses = ["at"]
recipe = { epochs = 2 }

[[experiments]]
name = "two"
dataset = "spiral"
defenses = ["natural"]
"""
HEAD = 'name = "mine"\nprotocol = "mine-1"\nextends = "base.toml"\n'
Read = Callable[..., Suite]


def read_files(registry: Registry, folder: Path, text: str, **files: str) -> Suite:
    """Read the suite of a text that may extend `BASE`, or other files by name, all written to a folder."""
    for name, content in {"base": BASE, **files, "mine": text}.items():
        (folder / f"{name}.toml").write_text(content)
    return read_suite(folder / "mine.toml", registry)
