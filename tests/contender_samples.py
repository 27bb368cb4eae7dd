"""Contenders with outcomes as given."""

from __future__ import annotations

from typing import Any

import numpy as np
from sample_rows import make_row

from benchbench.comparison.contenders import Contender
from benchbench.records.arrays import Array


def outcomes_of(robust: Array, *, correct: Array | None = None, index: Array | None = None) -> dict[str, Array]:
    """Outcomes of examples; correct where robust by default."""
    robust = np.asarray(robust, dtype=bool)
    return {
        "index": np.arange(len(robust)) if index is None else index,
        "correct": np.ones(len(robust), dtype=bool) if correct is None else np.asarray(correct, dtype=bool),
        "robust": robust,
        "lipschitz": np.where(robust, 1.0, 2.0),
    }


def contender(name: str, *attacked: tuple[str, Array], flags: tuple[str, ...] = (), **columns: Any) -> Contender:
    """A model called `name` with (attack, robust) pairs; `flags` are those of its first attack."""
    rows = tuple(
        make_row(
            cell_id=f"{name}-{attack}",
            model_id=name,
            attack=attack,
            n_test=len(robust),
            adv_test_accuracy=float(np.mean(robust)),
            flags=flags if position == 0 else (),
            **{"defense": name, **columns},
        )
        for position, (attack, robust) in enumerate(attacked)
    )
    return Contender(rows=rows, outcomes=tuple(outcomes_of(robust) for _, robust in attacked))


def share(successes: int, n: int = 100) -> Array:
    """bool (n,): the first `successes` are True."""
    return np.arange(n) < successes
