"""A sample of the collection of ``python -m benchmarks.probes``; all of it where tests are exhaustive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLANTED = ("quantised", "distance", "noise", "saturated")
HONEST = ("natural-mlp", "spiral", "blobs-linear", "natural-l2")


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    import benchmarks.probes

    return benchmarks.probes


def measured(probes: Any, name: str) -> Any:
    (entry,) = [entry for entry in probes.ENTRIES if entry.name == name]
    return probes.measure(entry.make(), strong=False)


@pytest.mark.parametrize("name", PLANTED)
def test_planted_overestimate_is_flagged(probes: Any, name: str) -> None:
    assert measured(probes, name).flags


@pytest.mark.parametrize("name", HONEST)
def test_honest_model_is_not_flagged(probes: Any, name: str) -> None:
    assert measured(probes, name).flags == ()


def test_collection_holds_ten_kinds_and_more_and_a_half_that_nothing_was_tuned_on(probes: Any) -> None:
    planted = [entry for entry in probes.ENTRIES if entry.planted]
    assert len({entry.mechanism for entry in planted}) >= 20
    assert all(entry.reference for entry in planted)
    halves = [entry.half for entry in probes.ENTRIES]
    assert abs(halves.count("tuning") - halves.count("held-out")) <= 6
    assert len({entry.name for entry in probes.ENTRIES}) == len(probes.ENTRIES)


@pytest.mark.slow
@pytest.mark.exhaustive  # the whole collection takes minutes
@pytest.mark.timeout(3600)
def test_every_planted_overestimate_is_flagged_and_hardly_any_honest_model(probes: Any) -> None:
    flags = {entry: probes.measure(entry.make(), strong=False).flags for entry in probes.ENTRIES}
    assert [entry.name for entry in flags if entry.planted and not flags[entry]] == []
    assert len([entry.name for entry in flags if not entry.planted and flags[entry]]) <= 2
