from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from benchbench.builtin.defenses.distance_classifier import DistanceClassifier
from benchbench.contract import KeyedGenerator
from benchbench.errors import OptionError
from benchbench.figures.spiral import binary_function, distance_to, separation_radius
from benchbench.separations.theorem import TheoremCheck, check_theorem


def supports(classes: int = 3, size: int = 45, dimensions: int = 4) -> tuple[Tensor, Tensor]:
    """Clusters around (2c, 2c, ...), each at most 0.6 wide."""
    labels = torch.arange(size) % classes
    noise = torch.rand(size, dimensions, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 0.6
    return 2.0 * labels[:, None].double() + noise, labels


def check(functions, points: Tensor, labels: Tensor, r: float) -> TheoremCheck:
    generator = KeyedGenerator(1, torch.arange(len(points)))
    return check_theorem(functions, points, labels, r=r, generator=generator)


def distance_functions(points: Tensor, labels: Tensor, r: float):
    model = DistanceClassifier(points, labels, classes=int(labels.max()) + 1, radius=r)
    return lambda inputs: -model(inputs)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_theorem_holds_for_the_distance_classifier_up_to_half_the_separation(classes: int, share: float) -> None:
    points, labels = supports(classes)
    r = share * separation_radius(points.numpy(), labels.numpy())
    report = check(distance_functions(points, labels, r), points, labels, r)
    assert report.failures == ()
    assert report.ratio == pytest.approx(1.0, abs=1e-6)  # attained: the bound is tight
    assert report.point_margin == pytest.approx(2.0 / share)


def test_search_finds_the_tie_between_the_closest_pair() -> None:
    points, labels = supports(2)
    r = separation_radius(points.numpy(), labels.numpy())
    report = check(distance_functions(points, labels, r), points, labels, r)
    assert 0.0 <= report.ball_margin + 1e-8 < 0.2


def test_radius_beyond_half_the_separation_is_refuted() -> None:
    points, labels = supports()
    r = 1.3 * separation_radius(points.numpy(), labels.numpy())
    report = check(distance_functions(points, labels, r), points, labels, r)
    assert report.failures
    assert report.ball_margin < 0
    assert report.point_margin < 2
    assert [failure.split(":")[0] for failure in report.failures] == [
        f"not {r}-separated",
        f"margin {report.point_margin} at a point, less than 2",
        "not astute at r",
    ]


def test_supports_that_touch_are_refuted() -> None:
    points, labels = supports()
    points[1] = points[0]
    report = check(distance_functions(points, labels, 0.1), points, labels, 0.1)
    assert report.separation == 0.0
    assert report.point_margin == 0.0
    assert report.failures


def test_function_steeper_than_1_over_r_is_refuted() -> None:
    points, labels = supports()
    r = separation_radius(points.numpy(), labels.numpy())
    report = check(distance_functions(points, labels, r / 3), points, labels, r)
    assert report.ratio == pytest.approx(3.0, rel=1e-3)
    assert any(failure.startswith("not 1/r-Lipschitz") for failure in report.failures)


def test_classifier_with_a_jump_in_the_ball_is_refuted_though_right_at_every_point() -> None:
    points, labels = supports(2)
    r = separation_radius(points.numpy(), labels.numpy())

    def jumps(inputs: Tensor) -> Tensor:
        near = torch.cdist(inputs, points, p=math.inf) < 0.3 * r
        inside = torch.stack([(near & (labels == label)).any(1) for label in range(2)], dim=1)
        return 4.0 * torch.stack([~inside[:, 0], inside[:, 0]], dim=1).double()

    report = check(jumps, points, labels, r)
    assert report.point_margin == 4.0
    assert report.ratio > 2.0
    assert report.ball_margin == -4.0


def test_inverted_labels_are_refuted() -> None:
    points, labels = supports(2)
    report = check(distance_functions(points, labels, 0.1), points, 1 - labels, 0.1)
    assert report.point_margin < 0
    assert report.failures


def test_check_is_repeatable() -> None:
    points, labels = supports()
    assert check(distance_functions(points, labels, 0.5), points, labels, 0.5) == check(
        distance_functions(points, labels, 0.5), points, labels, 0.5
    )


def test_functions_are_the_distances_of_equation_1_over_r() -> None:
    points, labels = supports()
    inputs = torch.randn(100, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    found = distance_functions(points, labels, 0.4)(inputs).numpy()
    expected = [distance_to(inputs.numpy(), points[labels == label].numpy()) / 0.4 for label in range(3)]
    np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=1e-12)


def test_binary_function_is_at_least_1_on_its_side_and_half_as_steep_as_claimed() -> None:
    points, labels = (tensor.numpy() for tensor in supports(2))
    r = separation_radius(points, labels)
    sides = points[labels == 0], points[labels == 1]
    values = binary_function(points, *sides, r=r)
    assert (values[labels == 1] >= 1.0).all()
    assert (values[labels == 0] <= -1.0).all()
    np.testing.assert_allclose(np.abs(values).min(), 1.0)
    generator = np.random.default_rng(0)
    left, right = generator.normal(size=(2, 2000, 4)) * 3
    change = np.abs(binary_function(left, *sides, r=r) - binary_function(right, *sides, r=r))
    assert (change <= np.abs(left - right).max(axis=1) / r * (1 + 1e-12)).all()


def test_impossible_radii_are_refused() -> None:
    points, labels = supports()
    with pytest.raises(OptionError, match="r must be"):
        check(distance_functions(points, labels, 1.0), points, labels, 0.0)
    with pytest.raises(OptionError, match="r must be"):
        binary_function(points.numpy(), points.numpy(), points.numpy(), r=-1.0)
