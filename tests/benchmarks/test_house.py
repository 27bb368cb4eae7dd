"""The figures of `benchmarks.house`, on a package of two rooms and on this one."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "benchbench/__init__.py": "",
    "benchbench/errors.py": '"""Errors."""\n',
    "benchbench/alpha/__init__.py": "from benchbench.alpha import inner\n",
    "benchbench/alpha/inner.py": '"""Two\nlines."""\n\n# why\nfrom benchbench import errors\nfrom benchbench.beta import x\n',
    "benchbench/beta/__init__.py": (
        "from typing import Any\n\n\ndef x(y: Any) -> Any:\n    from benchbench.errors import Z\n\n    return y\n"
    ),
}


@pytest.fixture(autouse=True)
def benchmarks_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_shape_counts_rooms_arrows_and_kinds_of_lines(tmp_path: Path) -> None:
    from benchmarks.house import shape

    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert shape(tmp_path / "benchbench") == {
        "rooms": 2,
        "loose modules": 2,
        "arrows": 3,  # alpha to errors and beta, beta to errors
        "modules": 5,
        "lines": 15,
        "lines: code": 7,
        "lines: docstring": 3,
        "lines: comment": 1,
        "lines: blank": 4,
        "lines with Any": 2,
    }


@pytest.mark.slow
@pytest.mark.exhaustive  # traces a run for a minute
def test_life_of_a_cell_leads_through_training_evaluation_and_records() -> None:
    from benchmarks.house import life

    found = life(ROOT)
    assert 30 < found["files in a cell's life"] < 343
    assert found["rooms in a cell's life"] > 5
    assert 0 < found["files from run to perturb"] <= found["calls from run to perturb"]
