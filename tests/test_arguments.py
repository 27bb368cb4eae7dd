"""Wrong arguments of the Python API are one usage error that names each of them, before anything is computed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import benchbench
from benchbench.arguments import checked
from benchbench.errors import UsageError

MODEL = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
evaluate: Any = functools.partial(benchbench.evaluate, MODEL, **{"dataset": "digits", "epsilon": 0.1, "n_test": 4})
audit: Any = functools.partial(benchbench.audit, MODEL, **{"accuracy": 0.6, "dataset": "digits", "epsilon": 0.1})
run: Any = functools.partial(benchbench.run, "smoke")
verify: Any = functools.partial(benchbench.verify, "board.parquet")
load_model: Any = benchbench.load_model


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("call", "arguments", "shown"),
    [
        (evaluate, {"n_test": 20.0}, "evaluate: n_test: expected an integer or None, got the number 20.0"),
        (evaluate, {"n_test": True}, "n_test: expected an integer or None, got the boolean True"),
        (evaluate, {"seed": "1"}, "seed: expected an integer, got '1'"),
        (evaluate, {"dataset": Path("digits")}, "dataset: expected a text or a mapping, got the PosixPath"),
        (evaluate, {"dataset": None}, "dataset: expected a text or a mapping, got the NoneType None"),
        (evaluate, {"epsilon": [[0.1]]}, "epsilon: expected a number or a text or"),
        (evaluate, {"epsilon": {0.1, 0.2}}, "got the set"),
        (evaluate, {"epsilon": b"0.1"}, "got the bytes"),
        (evaluate, {"epsilon": True}, "got the boolean True"),
        (evaluate, {"epsilon": None, "threat": "linf"}, "threat: expected a Threat or a mapping or None, got 'linf'"),
        (evaluate, {"attacks": [None]}, "attacks: expected a text or a mapping or a list (each: a text or a mapping)"),
        (evaluate, {"download": "no"}, "download: expected true or false, got 'no'"),
        (evaluate, {"listener": 3}, "listener: expected a function or None, got the integer 3"),
        (evaluate, {"record": True}, "record: expected a text or a path or None, got the boolean True"),
        (
            evaluate,
            {"data": 3, "seed": None},
            "seed: expected an integer, got the NoneType None; data: expected a text",
        ),
        (evaluate, {"architecture": "mlp"}, "an architecture is named in rows"),
        (audit, {"accuracy": "62%"}, "audit: accuracy: expected a number, got '62%'"),
        (audit, {"epsilon": [0.1]}, "epsilon: expected a number or a text or None, got the list [0.1]"),
        (audit, {"budget": float("nan")}, "the budget must be above 0 seconds, got nan"),
        (audit, {"budget": -1}, "the budget must be above 0 seconds, got -1"),
        (audit, {"seed": 1.5}, "seed: expected an integer, got the number 1.5"),
        (run, {"precision": "fp8"}, "precision: expected one of 'float32', 'bf16', 'tf32', got 'fp8'"),
        (run, {"seeds": [-1]}, "a seed must be at least 0 and below 2**63, got -1"),
        (run, {"seeds": "12"}, "seeds: expected a list (each: an integer), got '12'"),
        (run, {"jobs": "x"}, "jobs: expected an integer or 'auto' or None, got 'x'"),
        (run, {"stop": "30m"}, "stop: expected a StopRequest or None, got '30m'"),
        (verify, {"jobs": 1.5}, "jobs: expected an integer or None, got the number 1.5"),
        (load_model, {"row": None}, "row: expected a Row or a mapping or a text, got the NoneType None"),
        (
            benchbench.load_weights,
            {"model": "a.pt", "path": MODEL},
            "model: expected a Module, got 'a.pt'; path: expected",
        ),
        (benchbench.separation, {"dataset": "digits", "pairs": 1.5}, "pairs: expected an integer, got the number 1.5"),
        (benchbench.table, {"suite": None}, "suite: expected a text or a path, got the NoneType None"),
        (benchbench.Threat, {"epsilon": [0.1]}, "epsilon must be one number, got [0.1]"),
        (benchbench.Threat, {"epsilon": True}, "epsilon must be one number, got True"),
        (benchbench.Threat, {"epsilon": 0.1, "lower": "a"}, "lower must be one number, got 'a'"),
    ],
)
def test_wrong_argument_is_named(call: Callable[..., object], arguments: dict[str, Any], shown: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(**arguments)
    assert shown in caught.value.message
    assert not list(Path().iterdir())


def test_every_function_of_the_api_is_checked() -> None:
    functions = [getattr(benchbench, name) for name in dir(benchbench) if inspect.isfunction(getattr(benchbench, name))]
    assert len(functions) >= 13
    assert [one.__name__ for one in functions if not hasattr(one, "__wrapped__") and one.__name__[0] != "_"] == []


def test_numbers_of_numpy_and_torch_fit_as_do_names_that_only_type_checkers_import() -> None:
    @checked
    def sample(count: int, size: float, several: list[float] | tuple[float, ...] = (), *, unknown: Missing = 0) -> int:  # type: ignore[name-defined]  # noqa: F821
        return count

    assert sample(np.int64(3), np.float32(0.5), np.array([0.1]), unknown=object()) == 3
    assert sample(torch.tensor(3), torch.tensor(0.5), several=torch.tensor([0.1, 0.2])) == 3
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'size'"):
        sample(3)  # type: ignore[call-arg]
