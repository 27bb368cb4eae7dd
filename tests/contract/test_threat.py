from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchbench.contract.threat import NORMS, Norm, Threat, check_radius, parse_number
from benchbench.errors import OptionError


@given(
    norm=st.sampled_from(NORMS),
    epsilon=st.floats(0, 3, allow_subnormal=False),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.01, 1.0, 50.0]),
)
def test_projection_ends_in_ball_and_box_and_is_idempotent(norm: Norm, epsilon: float, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 1, 4, 4, generator=generator)
    threat = Threat(norm=norm, epsilon=epsilon)
    projected = threat.project(images + scale * torch.randn(3, 1, 4, 4, generator=generator), images)
    assert (threat.distance(projected, images) <= epsilon * (1 + 1e-5) + 1e-5).all()
    assert projected.min() >= 0
    assert projected.max() <= 1
    torch.testing.assert_close(threat.project(projected, images), projected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_projection_leaves_points_inside_alone(norm: Norm) -> None:
    images = torch.full((2, 1, 2, 2), 0.5)
    inside = images + 0.01
    torch.testing.assert_close(Threat(norm=norm, epsilon=0.2).project(inside, images), inside)


def test_l1_projection_is_the_nearest_point_of_the_ball() -> None:
    threat = Threat(norm="l1", epsilon=1.0, lower=-math.inf, upper=math.inf)
    point = torch.tensor([[1.5, -0.4, 0.2]], dtype=torch.float64)
    projected = threat.project(point, torch.zeros_like(point))
    grid = torch.cartesian_prod(*[torch.linspace(-1, 1, 81, dtype=torch.float64)] * 3)
    grid = grid[grid.abs().sum(1) <= 1]
    best = (grid - point).norm(dim=1).min()
    assert (projected - point).norm() <= best + 1e-9
    assert projected.abs().sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": -0.1}, "epsilon must be a finite number of at least 0, got -0.1"),
        ({"epsilon": math.nan}, "epsilon"),
        ({"epsilon": math.inf}, "epsilon"),
        ({"epsilon": "8/0"}, "expected a number or a fraction such as 8/255, got '8/0'"),
        ({"epsilon": "8 of 255"}, "expected a number or a fraction"),
        ({"epsilon": "-8/255"}, "at least 0"),
        ({"epsilon": 0.1, "norm": "linff"}, "did you mean 'linf'"),
        ({"epsilon": 0.1, "lower": 1.0, "upper": 0.0}, "empty"),
    ],
)
def test_impossible_threats_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Threat(**arguments)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_a_radius_may_be_written_as_a_fraction() -> None:
    assert Threat(epsilon="8/255") == Threat(epsilon=8 / 255)
    assert [parse_number(text) for text in ("0.031", " 1/3 ", "12")] == [0.031, 1 / 3, 12.0]
    assert all(parse_number(f"{pixels}/255") == pixels / 255 for pixels in range(1, 256))


@pytest.mark.parametrize(("norm", "diameter"), [("linf", 1.0), ("l2", 4.0), ("l1", 16.0)])
def test_a_radius_up_to_the_diameter_of_the_box_is_fine_and_one_beyond_is_refused(norm: Norm, diameter: float) -> None:
    check_radius(Threat(norm=norm, epsilon=diameter), (1, 4, 4))
    with pytest.raises(OptionError, match=f"more than {diameter:g} apart in {norm}") as caught:
        check_radius(Threat(norm=norm, epsilon=1.5 * diameter), (1, 4, 4))
    assert caught.value.hint == f"did you mean {1.5 * diameter:g}/255?"


def test_the_hint_to_a_radius_beyond_another_box_or_beyond_all_pixels_is_the_largest_radius() -> None:
    for threat in (Threat(epsilon=8.0, lower=-1.0), Threat(epsilon=256.0)):
        with pytest.raises(OptionError, match="beyond the box") as caught:
            check_radius(threat, (3,))
        assert caught.value.hint.endswith(f"at most {threat.upper - threat.lower:g}")


def test_without_a_box_every_radius_above_zero_is_fine() -> None:
    check_radius(Threat(epsilon=8.0, lower=-math.inf, upper=math.inf), (2,))
    with pytest.raises(OptionError, match="epsilon must be above 0"):
        check_radius(Threat(epsilon=0.0, lower=-math.inf, upper=math.inf), (2,))
