"""Commands, called in this process with mutated arguments: each ends with a documented status, and says why."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import tempfile
from pathlib import Path

from fuzzing.draws import NUMBERS, TEXTS, Draws
from fuzzing.files import TINY, evidence, leaderboard, rows
from fuzzing.suites import words

from benchbench.cli import invoke

STATUSES = (0, 1, 2)
_BOARD, _SUITE = "b.parquet", "tiny.toml"
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("plan", "--suite", _SUITE),
    ("status", "--suite", _SUITE),
    ("check", _SUITE),
    ("findings", _SUITE, "--profile", "paper"),
    ("list", "attack"),
    ("show", "defense", "trades"),
    ("table", _BOARD),
    ("table", _BOARD, "--format", "csv"),
    ("compare", _BOARD),
    ("compare", _BOARD, _BOARD),
    ("verify", _BOARD),
    ("leaderboard", "merge", _BOARD, "c.parquet", "--out", "d.parquet"),
    ("leaderboard", "pack", _BOARD, "--out", "s.zip"),
    ("leaderboard", "check", "s.zip"),
    ("rerun", "0000"),
    ("data", "list"),
    ("plugins", "list"),
    ("evaluate", "--dataset", "digits", "--architecture", "mlp", "--checkpoint", "m.safetensors", "--n-test", "2"),
    ("audit", "m.safetensors", "--accuracy", "0.5", "--dataset", "digits", "--architecture", "mlp", "--n-test", "2"),
    ("separation", "spiral"),
)
OPTIONS = (
    *("--json", "--published", "--download", "--cells", "--weights", "--random-labels", "--quiet", "--help"),
    *(
        "--suite",
        "--profile",
        "--only",
        "--seed",
        "--device",
        "--data",
        "--runs",
        "--leaderboards",
        "--table",
        "--norm",
    ),
    *("--format", "--keep", "--cell", "--epsilon", "--n-test", "--attack", "--exclude", "--precision", "--timings"),
    *("--out", "--checkpoint", "--architecture", "--dataset", "--metric", "--by", "--against"),
)
VALUES = (
    *(
        _BOARD,
        _SUITE,
        "m.safetensors",
        "s.zip",
        "/dev/null",
        ".",
        "..",
        "x" * 5000,
        "dataset=digits",
        "beta=6",
        "8/255",
    ),
    *(
        "1/0",
        "1e999",
        "-1",
        "0",
        "9" * 400,
        "quick",
        "paper",
        "cpu",
        "cuda:9",
        "linf",
        "l2",
        "csv",
        "json",
        "a=b,c",
        "=",
    ),
    *(
        '{name = "pgd", steps = 2}',
        '{name = "pgd", steps = ' + "[" * 2000,
        "{}",
        "{name = 3}",
        "timm:resnet18",
        "\udc80",
    ),
)


@functools.cache
def _values() -> tuple[str, ...]:
    return (*VALUES, *(text.replace("\0", "") for text in TEXTS), *map(str, NUMBERS), *words())


def command_options(data: bytes) -> None:
    """A command with options, values and arguments changed, left out and added."""
    draws = Draws(data)
    arguments = list(draws.choice(COMMANDS))
    for _ in range(draws.below(4)):
        place = 1 + draws.below(len(arguments))
        kind = draws.below(4)
        if kind == 0:
            arguments[place:place] = [draws.choice(OPTIONS)]
        elif kind == 1:
            arguments[place:place] = [draws.choice(OPTIONS), _value(draws)]
        elif kind == 2 and place < len(arguments):
            arguments[place] = _value(draws)
        else:
            del arguments[place : place + 1]
    call(arguments)


def _value(draws: Draws) -> str:
    return draws.text([value for value in _values() if "\0" not in value]).replace("\0", "")


def call(arguments: list[str]) -> None:
    """Call a command in a folder with small sound files; what it says may be anything, how it ends may not."""
    earlier = {name: os.environ.get(name) for name in ("BENCHBENCH_HOME", "BENCHBENCH_DATA")}
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, contextlib.ExitStack() as stack:
        stack.callback(os.environ.update, {name: value for name, value in earlier.items() if value is not None})
        stack.callback(os.chdir, here)
        os.chdir(folder)
        os.environ |= {"BENCHBENCH_HOME": f"{folder}/home", "BENCHBENCH_DATA": folder}
        for name in (_BOARD, "c.parquet"):
            Path(name).write_bytes(leaderboard())
        Path(_SUITE).write_text(TINY.replace("closer-look", "tiny").replace("seeds = [0, 1]", "seeds = [0]"))
        Path("m.safetensors").write_bytes(evidence()["model.safetensors"])
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        try:
            status = invoke(arguments)
        except SystemExit as end:  # a reader that left
            status = int(end.code or 0)
    assert status in STATUSES, (arguments, status)
    assert rows()
