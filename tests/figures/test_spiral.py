from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchbench.builtin.datasets.spiral import Spiral
from benchbench.builtin.defenses.distance_classifier import DistanceClassifier
from benchbench.contract import DataSource, Examples, KeyedGenerator
from benchbench.errors import OptionError
from benchbench.figures.spiral import evaluate_spiral, separation_radius, spiral_figure
from benchbench.separations.theorem import check_theorem


def spiral(size: int = 300, start: float = 2.0) -> Examples:
    return Spiral(n_train=size, n_test=2, start=start).load(DataSource(root=Path(), cache=Path())).train


def test_field_separates_the_spiral_with_margin_1_and_vanishes_between_its_arms() -> None:
    examples = spiral()
    points, labels = examples.inputs.numpy(), examples.labels.numpy()
    field = evaluate_spiral(points, labels, resolution=120)
    assert field.values.shape == (120, 120)
    assert field.values.min() < -1 < 1 < field.values.max()
    columns = np.abs(field.x[None] - points[:, :1]).argmin(axis=1)
    rows = np.abs(field.y[None] - points[:, 1:]).argmin(axis=1)
    signs = np.where(labels == 1, 1.0, -1.0)
    assert (signs * field.values[rows, columns] > 0).all()  # the nearest grid point is well within r


def test_theorem_holds_on_the_spiral() -> None:
    examples = spiral(100)
    points, labels = examples.inputs.double(), examples.labels
    r = separation_radius(points.numpy(), labels.numpy())
    assert r > 0.6  # the arms are pi apart less noise
    model = DistanceClassifier(points, labels, classes=2, radius=r)
    generator = KeyedGenerator(0, torch.arange(len(points)))
    report = check_theorem(lambda inputs: -model(inputs), points, labels, r=r, generator=generator)
    assert report.failures == ()


def test_spiral_figure_shows_both_classes() -> None:
    pytest.importorskip("matplotlib")
    examples = spiral(60)
    figure = spiral_figure(evaluate_spiral(examples.inputs.numpy(), examples.labels.numpy(), resolution=40))
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["negative", "positive"]


def test_points_outside_the_plane_are_refused() -> None:
    with pytest.raises(OptionError, match="points"):
        evaluate_spiral(np.zeros((4, 3)), np.array([0, 1, 0, 1]))
