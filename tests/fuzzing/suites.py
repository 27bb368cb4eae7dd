"""Mutated suites: each gives a plan or a clean error."""

from __future__ import annotations

import contextlib
import copy
import functools
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from fuzzing.draws import NUMBERS, TEXTS, Draws, splice

import benchbench
from benchbench.contract import DataSource
from benchbench.errors import BenchbenchError
from benchbench.planning import Plan, make_plan
from benchbench.registry import Registry, load_registry
from benchbench.suite import Suite, read_suite, suite_from_table

SUITES = Path(benchbench.__file__).parent / "builtin" / "suites"
SMALL = """\
name = "small"
protocol = "small-1"
seeds = [0, 1]

[defaults]
attacks = ["pgd-10", { name = "pgd", steps = 3, restarts = 2 }, "foolbox:L2PGD"]
metrics = ["accuracy", "lipschitz"]
threat = { norm = "linf", epsilon = 0.1 }

[profiles.paper]
[profiles.quick]
n_train = 100
recipe = { epochs = 2 }

[[experiments]]
name = "one"
dataset = { name = "digits", scale = 1 }
architectures = ["mlp", { name = "wrn", depth = 10, width = 1 }]
defenses = [
    "natural",
    "at",
    { name = "trades", beta = 3 },
]
recipe = { learning_rate = 1e-2, epochs = 9, augmentation = { padding = 1, flip = true } }

[[experiments.overrides]]
defenses = ["at", "trades"]
learning_rate = 1e-3

[experiments.profiles.quick]
defenses = ["natural", "at"]

[[experiments]]
name = "two"
dataset = { name = "spiral", n_train = 10, n_test = 10 }
architectures = [{ name = "mlp", hidden = [4] }]
defenses = ["distance"]
recipe = { optimizer = "none" }
trained_on = "train+test"

[[experiments]]
name = "three"
dataset = { name = "staircase", n_train = 20, n_test = 20 }
architectures = ["cubic-spline"]
defenses = ["natural"]
attacks = ["exact"]
metrics = ["squared-error"]
recipe = { optimizer = "none" }
skip = ""
"""
MARKS = ("\n", "\\u0000", '"""', "-1", "1e999", "nan", "true", *"[]{}\"'=.,#")


@functools.cache
def registry() -> Registry:
    """Read once: it is what suites are checked against, and not what is fuzzed."""
    return load_registry()


@functools.cache
def words() -> tuple[str, ...]:
    """Names that mean something in a suite, and some that do not."""
    kinds = ("dataset", "architecture", "defense", "attack", "metric")
    names = [registered.offer.name for kind in kinds for registered in registry().offers(kind)]
    keys = [
        "name",
        "protocol",
        "seeds",
        "defaults",
        "profiles",
        "experiments",
        "overrides",
        "recipe",
        "threat",
        "skip",
        "extends",
        "evaluation",
    ]
    options = ["steps", "scale", "hidden", "depth", "width", "n_train", "n_test", "epochs", "optimizer", "augmentation"]
    return (*names, *keys, *options, "train+test", "linf", "l2", "quick", "timm:resnet18", *TEXTS)


@functools.cache
def tables() -> tuple[dict[str, Any], ...]:
    """The suites that mutation begins with."""
    return (tomllib.loads(SMALL), tomllib.loads((SUITES / "smoke.toml").read_text(encoding="utf-8")))


@functools.cache
def source() -> DataSource:
    """Data are looked for where there are none."""
    nowhere = Path(tempfile.gettempdir()) / "benchbench-fuzzing" / "nothing-here"
    return DataSource(root=nowhere, cache=nowhere, download=False)


def suite_text(data: bytes) -> None:
    """Bytes as they are, in a file."""
    _read_and_plan(data)


def suite_edits(data: bytes) -> None:
    """A sound text with pieces cut out, doubled and put in."""
    draws = Draws(data)
    text = SMALL.encode() if draws.below(2) else (SUITES / "smoke.toml").read_bytes()
    pieces = [piece.encode() for piece in (*MARKS, *words(), *map(str, NUMBERS))]
    _read_and_plan(splice(text, draws, pieces))


def suite_values(data: bytes) -> None:
    """A sound suite with other values, keys and tables in some places."""
    draws = Draws(data)
    table = copy.deepcopy(draws.choice(tables()))
    for _ in range(1 + draws.below(4)):
        _change(table, draws)
    with contextlib.suppress(BenchbenchError):
        _plan(suite_from_table(table, registry()))


def _change(table: dict[str, Any], draws: Draws) -> None:
    place: Any = table
    while True:
        keys: list[Any] = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = draws.choice(keys) if keys else draws.text(words())
        if keys and isinstance(place[key], (dict, list)) and draws.below(4):
            place = place[key]
            continue
        break
    action = draws.below(4)
    if action == 0 and keys:
        del place[key]
    elif isinstance(place, list):
        place.append(copy.deepcopy(place[key]) if action == 1 and keys else draws.value(words()))
    elif action == 1:
        place[draws.text(words())] = draws.value(words())
    else:
        place[key] = draws.value(words())


def _read_and_plan(content: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "suite.toml"
        path.write_bytes(content)
        with contextlib.suppress(BenchbenchError):
            _plan(read_suite(path, registry()))


def _plan(suite: Suite) -> None:
    for profile in suite.profiles:
        plan = make_plan(suite, registry(), profile=profile, source=source())
        assert isinstance(plan, Plan)
        assert len({p.identity.get("cell_id", i) for i, p in enumerate(plan.cells)}) == len(plan.cells)
