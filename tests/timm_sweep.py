"""Every timm model at the sizes of the suites' images: each answers with logits, or is refused with a reason.

    python tests/timm_sweep.py RESULTS.jsonl [--sizes 3x32x32,1x28x28] [--models resnet18,...] [--real]

Models are built on torch's meta device, which knows shapes and holds no weights, some at a time in a process of its own, so
that memory stays bounded. RESULTS gets a line for each model and size; what it holds already is not tried again. With
``--real``, models of at most `REAL_PARAMETERS` are built with weights, too, and their answer has to be finite.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

SIZES = ((3, 224, 224), (3, 32, 32), (1, 28, 28))
CLASSES = 5
BATCH = 40  # models per process
SECONDS = 1800  # that a process may take for its batch
REAL_PARAMETERS = 100_000_000

Outcome = Literal["published", "adapted", "refused", "broken"]
Size = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of one model at one size.

    Attributes:
        how: the timm options that made it fit, for an adapted one; the reason, for a refused or broken one.
        real: whether it was to be built with weights; `how` says where it is too large for that.
    """

    model: str
    size: Size
    outcome: Outcome
    how: str = ""
    real: bool = False


def sweep(results: Path, models: Sequence[str], sizes: Sequence[Size] = SIZES, *, real: bool = False) -> list[Trial]:
    """Try what has not been tried yet; all trials so far are returned."""
    left = list(dict.fromkeys(name for name, _ in _untried(results, models, sizes, real)))
    for start in range(0, len(left), BATCH):
        _try_in_another_process(results, left[start : start + BATCH], sizes, real)
    return read(results)


def read(results: Path) -> list[Trial]:
    """The trials of a file, the later of two alike."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    documents = [json.loads(line) for line in lines]
    trials = [Trial(**{**document, "size": tuple(document["size"])}) for document in documents]
    return list({(trial.model, trial.size): trial for trial in trials}.values())


def _try_in_another_process(results: Path, models: Sequence[str], sizes: Sequence[Size], real: bool) -> None:
    """Until each has its line: the model that ends the process is broken, and the rest is tried by the next one."""
    written = ",".join("x".join(map(str, size)) for size in sizes)
    command = [sys.executable, __file__, str(results), "--sizes", written, "--here", *(["--real"] if real else [])]
    while left := _untried(results, models, sizes, real):
        try:
            subprocess.run([*command, "--models", ",".join(models)], check=True, timeout=SECONDS)
        except (subprocess.SubprocessError, OSError) as error:
            name, size = next(iter(_untried(results, models, sizes, real)), left[0])
            _append(
                results, Trial(model=name, size=size, outcome="broken", how=f"its process ended: {error}", real=real)
            )


def _untried(results: Path, models: Sequence[str], sizes: Sequence[Size], real: bool) -> list[tuple[str, Size]]:
    tried = {(trial.model, trial.size) for trial in read(results) if trial.real or not real}
    return [(name, size) for name in models for size in sizes if (name, size) not in tried]


def _append(results: Path, trial: Trial) -> None:
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(trial)) + "\n")


def _try(name: str, size: Size, real: bool) -> Trial:
    import torch

    from benchbench.builtin.architectures.timm_models import make_timm_model
    from benchbench.contract import OptionError

    with warnings.catch_warnings(), _Adaptations() as adapted:
        warnings.simplefilter("ignore")
        try:
            with torch.device("cpu" if real else "meta"), torch.no_grad():
                model = make_timm_model(member=name, input_shape=size, classes=CLASSES)
                answer = model.eval()(torch.zeros(2, *size))
        except OptionError as error:
            return Trial(model=name, size=size, outcome="refused", how=str(error), real=real)
        except Exception as error:
            return Trial(model=name, size=size, outcome="broken", how=f"{type(error).__name__}: {error}", real=real)
    if tuple(answer.shape) != (2, CLASSES) or (real and not bool(answer.isfinite().all())):
        return Trial(model=name, size=size, outcome="broken", how=f"answer {tuple(answer.shape)}", real=real)
    how = adapted[-1] if adapted else ""
    stem = "patch_size" in how or "output_stride" in how  # otherwise the model only did not want to be told the size
    return Trial(model=name, size=size, outcome="adapted" if stem else "published", how=how, real=real)


class _Adaptations(logging.Handler):
    """Collects what `benchbench.builtin.architectures.timm_fitting` logs that it adapted."""

    def __init__(self) -> None:
        super().__init__()
        self._found: list[str] = []
        self._logger = logging.getLogger("benchbench.builtin.architectures.timm_fitting")

    def emit(self, record: logging.LogRecord) -> None:
        self._found.append(str(record.args[3]) if isinstance(record.args, tuple) else record.getMessage())

    def __enter__(self) -> list[str]:
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)
        return self._found

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(logging.NOTSET)


def _parameters(name: str) -> int:
    import torch

    from benchbench.builtin.architectures.timm_models import _timm

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sum(parameter.numel() for parameter in _timm().create_model(name).parameters())


def try_here(results: Path, models: Sequence[str], sizes: Sequence[Size], *, real: bool = False) -> None:
    """Try what is left in this process, and write a line for each."""
    for name, size in _untried(results, models, sizes, real):
        parameters = _parameters(name) if real else 0
        trial = _try(name, size, real and parameters <= REAL_PARAMETERS)
        if parameters > REAL_PARAMETERS:
            trial = replace(trial, how=f"{trial.how} ({parameters:,} parameters: tried without weights)")
        _append(results, replace(trial, real=real))


def main() -> None:
    """Sweep from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--models", default="")
    parser.add_argument("--sizes", default=",".join("x".join(map(str, size)) for size in SIZES))
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--here", action="store_true", help="in this process")
    chosen = parser.parse_args()
    sizes = [tuple(map(int, size.split("x"))) for size in chosen.sizes.split(",")]
    if chosen.here:
        try_here(chosen.results, chosen.models.split(","), sizes, real=chosen.real)  # type: ignore[arg-type]
        return
    models = chosen.models.split(",") if chosen.models else architectures()
    trials = sweep(chosen.results, models, sizes, real=chosen.real)  # type: ignore[arg-type]
    for size in sizes:
        counts = {outcome: sum(t.size == size and t.outcome == outcome for t in trials) for outcome in OUTCOMES}
        print("x".join(map(str, size)), counts)


OUTCOMES: tuple[Outcome, ...] = ("published", "adapted", "refused", "broken")


def architectures() -> list[str]:
    """Every architecture of timm."""
    from benchbench.builtin.architectures.timm_models import _timm

    names: list[str] = _timm().list_models()
    return names


if __name__ == "__main__":
    main()
