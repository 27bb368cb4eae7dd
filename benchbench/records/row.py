"""One row of a leaderboard: every column, typed and checked at construction."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Any

from benchbench.errors import DataError
from benchbench.kernels.arithmetic import ROUNDED

_NAME, _DIGEST = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", r"([0-9a-f]{64})?"
PATTERNS = {
    **dict.fromkeys(("cell_id", "model_id", "suite"), _NAME),
    **dict.fromkeys(("outcomes_digest", "witnesses_digest"), _DIGEST),
}
CHOICES = {"source": ("measured", "published"), "status": ("ok", "failed", "refused")}
"""Values that become file names, or that other code branches on."""


def column(
    description: str,
    *,
    default: object = dataclasses.MISSING,
    factory: Callable[[], object] | None = None,
    since: int = 1,
) -> Any:
    """A field that is a column; rows of schemas before version `since` have its default."""
    metadata = {"description": description, "least": None, "most": None, "since": since}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def measure(description: str, *, share: bool = False, least: float | None = None, since: int = 1) -> Any:
    """A measure in [0, 1] if `share`, else >= `least`; None if untaken or before schema `since`."""
    limits = {"least": 0.0 if share else least, "most": 1.0 if share else None}
    return dataclasses.field(default=None, metadata={"description": description, **limits, "since": since})


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell's configuration, measures (fractions; None if not taken) and provenance, checked."""

    suite: str = column("name of the suite")
    profile: str = column("profile of the suite: `paper`, `quick` or another one; never compared silently with others")
    protocol: str = column("name and version of the protocol")
    experiment: str = column("the suite's experiment (a label, not part of the identity), or the published table")
    cell_id: str = column("digest of the fully resolved configuration; `published-` and a digest for published rows")
    model_id: str = column("digest of what determines the trained model; rows that share a model share it")
    source: str = column("`measured` or `published`")
    dataset: str = column("registered name of the dataset")
    dataset_digest: str = column("SHA-256 of the loaded data; empty in published rows", default="")
    architecture: str = column("registered name of the architecture")
    architecture_options: str = column("its options, as canonical JSON", default="{}")
    augmentation: str | None = column(
        "augmentation of the training images: `none`, `crop4+flip`, ...; null if unknown", default="none"
    )
    dropout: float | None = column("dropout rate of the architecture, in [0, 1); null if unknown", default=0.0)
    defense: str | None = column("registered name of the training method; null for a model that was trained elsewhere")
    defense_options: str | None = column("its options, as canonical JSON; null with it", default="{}")
    defense_label: str = column("its name in tables, from its offer; empty for name and options", default="", since=4)
    norm: str = column("norm of the threat that the model was attacked under: `linf`, `l2` or `l1`")
    epsilon: float = column("its radius, in units of the model input (pixels / 255)")
    train_norm: str | None = column(
        "norm of the threat that the method trained against; empty if it does not use one, null if unknown",
        default="",
        since=3,
    )
    train_epsilon: float | None = column(
        "its radius; null if the method does not use one, or it is unknown", default=None, since=3
    )
    attack: str = column("the attack of the protocol")
    attack_options: str = column("its options, as canonical JSON", default="{}")
    seed: int | None = column("seed of the run; null if unknown")
    checkpoint_selection: str | None = column(
        "`last`: the model after the last epoch; `best-clean`, `best-robust`: the best on examples held out of training; null "
        "if unknown",
        default="last",
    )
    weight_averaging: str | None = column(
        "the model's weights are those of the last step (`none`), or averages: `ema-0.995` with this decay, `swa-75` of the "
        "epochs after the 75th; null if unknown",
        default="none",
        since=4,
    )
    trained_on: str | None = column(
        "`train`, or `train+test` for the proof of concept, which sees the test set; null if unknown", default="train"
    )
    n_train: int | None = column("training examples used; null if unknown")
    n_validation: int | None = column(
        "training examples held out, not in `n_train`; null if unknown", default=0, since=4
    )
    n_extra: int | None = column("training examples of other datasets; null if unknown", default=0, since=4)
    n_train_evaluated: int = column("training examples that training accuracies and gaps are measured on")
    n_test: int = column("test examples evaluated")
    epochs: int | None = column("passes over the training set; 0 for methods that fit without epochs, null if unknown")
    train_precision: str | None = column(
        "number format of the training's convolutions and matrix products: `float32`, or rounded to `bf16` or `tf32`; null if "
        "unknown",
        default="float32",
        since=2,
    )

    train_accuracy: float | None = measure("accuracy on the training set", share=True)
    train_accuracy_low: float | None = measure("lower end of its 95% Wilson interval", share=True)
    train_accuracy_high: float | None = measure("upper end of its 95% Wilson interval", share=True)
    test_accuracy: float | None = measure("accuracy on the test set", share=True)
    test_accuracy_low: float | None = measure("lower end of its 95% Wilson interval", share=True)
    test_accuracy_high: float | None = measure("upper end of its 95% Wilson interval", share=True)
    adv_train_accuracy: float | None = measure("accuracy on the training set under the attack", share=True)
    adv_train_accuracy_low: float | None = measure("lower end of its 95% Wilson interval", share=True)
    adv_train_accuracy_high: float | None = measure("upper end of its 95% Wilson interval", share=True)
    adv_test_accuracy: float | None = measure("accuracy on the test set under the attack", share=True)
    adv_test_accuracy_low: float | None = measure("lower end of its 95% Wilson interval", share=True)
    adv_test_accuracy_high: float | None = measure("upper end of its 95% Wilson interval", share=True)
    test_lipschitz: float | None = measure(
        "empirical local Lipschitzness, mean over test examples, last iterate", least=0
    )
    test_lipschitz_low: float | None = measure("lower end of its 95% bootstrap interval", least=0)
    test_lipschitz_high: float | None = measure("upper end of its 95% bootstrap interval", least=0)
    test_lipschitz_best: float | None = measure(
        "the same with each example's best iterate: a better lower bound", least=0
    )
    certified_test_accuracy: float | None = measure(
        "share of the test set that no attack can change: a proven lower bound", share=True, since=4
    )
    test_lipschitz_upper: float | None = measure(
        "mean of proven upper bounds of the local Lipschitzness", least=0, since=4
    )
    gap: float | None = measure("train minus test accuracy; for regression, test minus train mean squared error")
    adv_gap: float | None = measure("the gap under the attack")
    train_mse: float | None = measure("mean squared error on the training set (regression)", least=0)
    test_mse: float | None = measure("mean squared error on the test set (regression)", least=0)
    adv_test_mse: float | None = measure("mean of each test example's worst squared error (regression)", least=0)
    flags: tuple[str, ...] = column("diagnostics that cast doubt on the row", default=())
    diagnostics: int = column(
        "revision of the diagnostics that set the flags; 1 also in older rows, 0 for regressions, which have none",
        default=1,
        since=3,
    )
    extra: Mapping[str, float] = column("values of metrics beyond these columns, by name", factory=dict)

    notes: str = column("what metrics say about their values, by metric, as canonical JSON", default="{}", since=4)

    precision: str = column("number format of the evaluation, for instance `float32`", default="")
    device: str = column("device that it ran on", default="")
    versions: str = column("versions of Python and of the packages used, as canonical JSON", default="{}")
    git_commit: str = column("commit of the checkout that it ran from; empty when installed", default="")
    train_seconds: float | None = measure("time to train the model, in seconds", least=0)
    evaluate_seconds: float | None = measure("time to evaluate it, in seconds", least=0)
    peak_memory_bytes: int | None = measure("largest memory use, in bytes", least=0)
    queries: int | None = measure("forward passes that the attack made, summed over examples", least=0)
    gradient_queries: int | None = column(
        "those of them that computed a gradient; null in rows from before it was recorded", default=None, since=3
    )
    status: str = column(
        "`ok`, or `failed` with an `error`: the cell crashed, ran out of memory or diverged; a cell `refused` because a "
        "plugin, model or dataset broke its contract is recorded in the runs folder only",
        default="ok",
    )
    error: str = column("why the cell failed", default="")
    configuration: str = column("the fully resolved configuration, as canonical JSON", default="{}")
    published_source: str = column("where a published row is from: `neurips2020` or `arxiv-v1`", default="")
    published_table: str = column("number of the table there", default="")
    outcomes_digest: str = column("SHA-256 of the per-example outcomes; empty if none are kept", default="")
    witnesses_digest: str = column("SHA-256 of the adversarial images; empty if none are kept", default="")
    card: str | None = column(
        "what the model's authors state about it, as JSON; nothing of it is checked; null if nothing",
        default=None,
        since=4,
    )

    def __post_init__(self) -> None:
        problems: list[str] = []
        for name, check, least, most in _columns():
            try:
                given = self.__dict__[name]
                value = check(given)
                _check_range(value, least, most)
                if value is not given:
                    object.__setattr__(self, name, value)
            except (TypeError, ValueError, OverflowError) as error:
                problems.append(f"column {name!r}: {error}")
        problems.extend(_check_names(self))
        if problems:
            raise DataError("a leaderboard row has wrong values: " + "; ".join(problems))

    @property
    def rounding(self) -> str:
        """Number format that attack and metrics rounded to, ``bf16`` or ``tf32``; empty if none."""
        return self.precision if self.precision in ROUNDED else ""

    @property
    def train_rounding(self) -> str:
        """Number format that training rounded to, ``bf16`` or ``tf32``; empty if none."""
        return (self.train_precision or "") if self.train_precision in ROUNDED else ""

    @property
    def trained_elsewhere(self) -> bool:
        """Whether the model was given by its weights, and nothing is known of its training."""
        return self.defense is None

    @property
    def saw_test_set(self) -> bool:
        """Whether the model is known to be trained on test examples."""
        return self.trained_on not in (None, "train")


@cache
def _columns() -> tuple[tuple[str, Callable[[object], object], float | None, float | None], ...]:
    """Name, check, least and largest value of each column."""
    known = [(field, field.metadata) for field in dataclasses.fields(Row)]
    return tuple((one.name, _CHECKS[str(one.type)], limits["least"], limits["most"]) for one, limits in known)


def checked_row(record: Mapping[str, Any]) -> Row:
    """A row of values that were checked before, by column; flags and extra in Arrow's form."""
    row = object.__new__(Row)
    row.__dict__.update(record, flags=tuple(record["flags"]), extra=dict(record["extra"]))
    return row


def _check_names(row: Row) -> list[str]:
    wrong = [
        f"column {name!r}: {getattr(row, name)!r:.100} is not a valid name"
        for name, pattern in PATTERNS.items()
        if isinstance(getattr(row, name), str) and not re.fullmatch(pattern, getattr(row, name))
    ]
    return wrong + [
        f"column {name!r}: expected {' or '.join(map(repr, allowed))}, got {getattr(row, name)!r:.100}"
        for name, allowed in CHOICES.items()
        if isinstance(getattr(row, name), str) and getattr(row, name) not in allowed
    ]


def _check_range(value: object, least: float | None, most: float | None) -> None:
    if not isinstance(value, (int, float)):
        return
    if (least is not None and value < least) or (most is not None and value > most):
        raise ValueError(f"{value!r:.100} is not in [{least}, {'inf' if most is None else most}]")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {value!r:.100}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{value!r:.100} is not valid Unicode") from error
    return str(value)


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"expected an integer, got {value!r:.100}")
    if not 0 <= int(value) < 2**63:
        raise ValueError(f"{value!r:.100} is not in [0, 2**63)")
    return int(value)


def _number(value: object) -> float:
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, Real)):
        raise TypeError(f"expected a number, got {value!r:.100}")
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number (or none where not measured), got {value!r:.100}")
    return float(value)


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (tuple, list)):
        raise TypeError(f"expected a tuple of strings, got {value!r:.100}")
    return tuple(_text(item) for item in value)


def _numbers(value: object) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping of names to numbers, got {value!r:.100}")
    return {_text(name): _number(value[name]) for name in sorted(value)}


def _optional(check: Callable[[object], object]) -> Callable[[object], object]:
    return lambda value: None if value is None else check(value)


_CHECKS: dict[str, Callable[[object], object]] = {
    "str": _text,
    "str | None": _optional(_text),
    "int": _integer,
    "float": _number,
    "int | None": _optional(_integer),
    "float | None": _optional(_number),
    "tuple[str, ...]": _texts,
    "Mapping[str, float]": _numbers,
}
