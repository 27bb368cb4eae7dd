"""The staircase figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchbench.figures.staircase import staircase_figure


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_figure_shows_every_curve_and_saves(suffix: str, tmp_path: Path) -> None:
    positions = np.linspace(0, 9, 20)
    curves = {label: positions + shift for shift, label in enumerate(["AT", "GR"])}
    figure = staircase_figure(positions, curves, inputs=np.arange(10.0), targets=np.arange(10.0), title="n = 10")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training examples", "AT", "GR"]
    path = tmp_path / f"figure.{suffix}"
    figure.savefig(path)
    assert path.stat().st_size > 1000
