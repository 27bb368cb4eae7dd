"""Large leaderboards, made by column."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from sample_rows import make_row

from benchbench.records import Row, Rows

_FLAGS = ((), (), (), ("zero-gradients",))


def few_rows() -> list[Row]:
    """Rows of several settings, methods and seeds."""
    return [
        make_row(
            cell_id=f"base-{place}",
            model_id=f"model-{place}",
            defense=defense,
            defense_options=options,
            seed=seed,
            attack=attack,
            test_accuracy=0.9 - place / 100,
            adv_test_accuracy=0.5 + place / 100,
            flags=_FLAGS[place % 4],
            extra={"clean_loss": float(place)},
        )
        for place, (defense, options, seed, attack) in enumerate(
            (defense, options, seed, attack)
            for defense, options in (("natural", "{}"), ("trades", '{"beta":6.0}'), ("mart", '{"beta":5.0}'))
            for seed in (0, 1)
            for attack in ("pgd-10", "mt-20")
        )
    ]


def many_rows(count: int) -> Rows:
    """This many rows of distinct cells."""
    base = Rows.of(few_rows())
    rows = base.take(np.arange(count) % len(base))
    return (
        Rows(rows.table)
        .replaced("cell_id", [f"{place:016x}" for place in range(count)])
        .replaced("model_id", [f"model-{place // 2}" for place in range(count)])
    )


def processor_seconds(work: Callable[[], object]) -> float:
    """The least processor time of three attempts."""
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)
