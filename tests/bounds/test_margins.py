"""Margins from below, against exact answers, samples and planted faults."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchbench.bounds import branching, enclosures, hulls, layers, network, regions
from benchbench.bounds.branching import Effort
from benchbench.bounds.margins import margin_bounds
from benchbench.bounds.reading import read_network
from benchbench.bounds.regions import ball
from benchbench.contract import NORMS, Norm, Threat, bound_margins
from benchbench.contract.threat import tolerance
from benchbench.errors import NoBoundError
from tests.bounds.networks import SHAPES, exact_logits, least_by_patterns, network_of, tiny_mlp

EXHAUSTIVE = os.environ.get("BENCHBENCH_EXHAUSTIVE") == "1"
SAMPLES = 1_000_000 if EXHAUSTIVE else 1000


def images_for(name: str, count: int = 3) -> Tensor:
    draws = torch.rand(count, *SHAPES[name], generator=torch.Generator().manual_seed(1))
    return (draws * 1.4 - 0.2).clamp(0, 1)  # many pixels are at the box


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    own = logits.gather(-1, labels[..., None])
    return (own - logits.scatter(-1, labels[..., None], -math.inf).amax(dim=-1, keepdim=True))[..., 0]


def least_sampled(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, count: int = SAMPLES) -> Tensor:
    """The least margin, as float32 computes it, at corners and other points of ball and box."""
    draws, least = torch.Generator().manual_seed(2), torch.full((len(images),), math.inf)
    wide = replace(threat, epsilon=threat.epsilon + 0.99 * tolerance(threat, images[0].numel()))
    for _ in range(count // 500):
        noise = 2 * torch.rand(500, *images.shape, generator=draws) - 1
        noise = torch.where(torch.rand(500, 1, 1, 1, 1, generator=draws) < 0.5, noise.sign(), noise)
        size = {"linf": 1.0, "l2": noise[0, 0].numel() ** 0.5, "l1": noise[0, 0].numel()}[threat.norm]
        far = images + threat.epsilon * size * noise
        points = wide.project(far.flatten(0, 1), images.expand_as(far).flatten(0, 1))
        logits = model(points).double().unflatten(0, far.shape[:2])
        least = torch.minimum(least, margins(logits, labels.expand(500, -1)).amin(dim=0))
    return least


def descend(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """The least margin that steps down the gradient find."""
    point, least = images.clone(), torch.full((len(images),), math.inf)
    for _ in range(12):
        leaf = point.requires_grad_(True)
        (gradient,) = torch.autograd.grad(margins(model(leaf).double(), labels).sum(), leaf)
        point = threat.project(point.detach() - threat.epsilon * gradient.sign(), images)
        least = torch.minimum(least, margins(model(point).double(), labels))
    return least


CASES = [
    (name, norm)
    for name in sorted(SHAPES)
    for norm in NORMS
    if EXHAUSTIVE or name in ("mlp", "residual") or (norm == "linf" and name not in ("cnn2", "wrn"))
]


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_no_point_of_ball_and_box_has_a_smaller_margin(name: str, norm: Norm) -> None:
    model, images = network_of(name), images_for(name, 1 if name == "cnn2" else 3)
    labels = model(images).argmax(dim=1)
    threat = Threat(norm=norm, epsilon={"linf": 0.001 if name == "cnn2" else 0.01, "l2": 0.05, "l1": 0.05}[norm])
    bounds = bound_margins(
        model, images, labels, threat=threat, steps=3, branches=6 if name in ("mlp", "residual") else 0
    )
    assert bounds.note == ""
    found = torch.minimum(least_sampled(model, images, labels, threat), descend(model, images, labels, threat))
    assert bool((bounds.values <= found).all())
    assert bool((found - bounds.values < 3 * (1 + found.abs())).all())  # and they are no trivial bounds


@pytest.mark.parametrize("seed", range(3))
def test_branch_and_bound_reaches_the_exact_least_margin(seed: int) -> None:
    model = tiny_mlp(seed)
    images = torch.rand(2, 1, 1, 2, generator=torch.Generator().manual_seed(seed))
    labels = model(images).argmax(dim=1)
    region = ball(images, 0.4, math.inf, lower=0.0, upper=1.0)
    reading = read_network(model, images)
    found = margin_bounds(reading.network, region, labels, Effort(steps=20, branches=60), rounded=False)
    for place, label in enumerate(labels.tolist()):
        rows = [torch.eye(3)[label] - torch.eye(3)[other] for other in range(3) if other != label]
        exact = min(least_by_patterns(model, row, region.lower[place], region.upper[place]) for row in rows)
        assert float(found[place]) <= exact + 1e-9
        if exact > 0:
            assert float(found[place]) > 0  # certified, so the search stops
        else:
            assert float(found[place]) >= exact - 0.02 * (1 + abs(exact))


def test_linear_models_are_bounded_exactly_in_every_norm() -> None:
    model, images = network_of("linear"), 0.5 + 0.1 * images_for("linear")
    weight, labels = model[1].weight.double(), model(images).argmax(dim=1)
    for norm, dual in (("linf", 1.0), ("l2", 2.0), ("l1", math.inf)):
        threat = Threat(norm=norm, epsilon=0.3)  # type: ignore[arg-type]
        slopes = torch.linalg.vector_norm(weight[labels][:, None] - weight, ord=dual, dim=2)
        logits = model(images).double()
        gaps = (logits.gather(1, labels[:, None]) - logits - 0.3 * slopes).scatter(1, labels[:, None], math.inf)
        found = bound_margins(model, images, labels, threat=threat).values
        torch.testing.assert_close(found, gaps.amin(dim=1), atol=1e-4, rtol=0)


def test_a_ball_cut_by_the_box_is_bounded_exactly_in_l2() -> None:
    centre, row = torch.tensor([[0.05, 0.5]], dtype=torch.float64), torch.tensor([[[3.0, 1.0]]], dtype=torch.float64)
    region = ball(centre, 0.3, 2.0, lower=0.0, upper=1.0)
    exact = 3 * 0.0 + 0.5 - (0.3**2 - 0.05**2) ** 0.5  # to the box first, then down
    assert float(region.least(row)) == pytest.approx(exact, abs=1e-9)
    assert float(region.least(row)) <= exact


@pytest.mark.parametrize("seed", range(4))
def test_float32_evaluation_stays_within_the_error_bound_of_rational_arithmetic(seed: int) -> None:
    model = tiny_mlp(seed, widths=(8, 16, 16, 3))
    points = torch.rand(5, 1, 1, 8, generator=torch.Generator().manual_seed(seed))
    steps = read_network(model, points).network
    inside = enclosures.point_enclosure(steps, points)
    for place, point in enumerate(points):
        for index, exact in enumerate(exact_logits(model, point)):
            low, high = Fraction(float(inside.lower[-1][place, index])), Fraction(float(inside.upper[-1][place, index]))
            computed = Fraction(float(model(points)[place, index]))
            assert low <= exact <= high
            assert low <= computed <= high
            assert high - low < Fraction(1, 10**3)


def test_certificates_cover_the_tolerance_of_the_harness() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False)).eval().requires_grad_(False)
    model[1].weight.data = torch.tensor([[1.0], [-1.0]])
    image, label, threat = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0]), Threat(epsilon=0.25)
    assert float(bound_margins(model, image, label, threat=threat).values) <= 0.5 - 2 * tolerance(threat, 1) * 0.999


def test_scaled_logits_scale_the_bounds() -> None:
    model, images = network_of("mlp"), images_for("mlp")
    labels, threat = model(images).argmax(dim=1), Threat(epsilon=0.05)
    before = bound_margins(model, images, labels, threat=threat, branches=4).values
    model[-1].weight.data *= 8
    model[-1].bias.data *= 8
    torch.testing.assert_close(bound_margins(model, images, labels, threat=threat, branches=4).values, 8 * before)


# Each rule with a fault: a search on a grid must find points below the bounds.


def violations_on_grids() -> int:
    """How many bounds of small networks are above the least margin on a grid of their box."""
    grid = torch.cartesian_prod(torch.linspace(-1, 1, 61), torch.linspace(-1, 1, 61))
    count, threat = 0, Threat(epsilon=0.2)
    for seed in range(12):
        model, images = tiny_mlp(seed), torch.rand(3, 1, 1, 2, generator=torch.Generator().manual_seed(seed))
        labels = model(images).argmax(dim=1)
        points = (images + threat.epsilon * grid.view(-1, 1, 1, 1, 2)).clamp(0, 1)
        logits = model(points.flatten(0, 1)).double().unflatten(0, points.shape[:2])
        least = margins(logits, labels.expand(len(grid), -1)).amin(dim=0)
        count += int((bound_margins(model, images, labels, threat=threat, steps=5, branches=8).values > least).sum())
    return count


def test_bounds_of_small_networks_are_below_all_margins_on_a_grid() -> None:
    assert violations_on_grids() == 0


def _wrong_hull(**changed: Callable[[hulls.Hull], Tensor]) -> Callable[[Any], Any]:
    def fault(made: Any) -> Any:
        def faulty(*given: Any) -> hulls.Hull:
            found = made(*given)
            return replace(found, **{name: change(found) for name, change in changed.items()})

        return faulty

    return fault


def _wrong_affine(**changed: Callable[[network.Affine], Any]) -> Callable[[Any], Any]:
    def fault(made: Any) -> Any:
        def faulty(*given: Any) -> network.Affine:
            found = made(*given)
            return replace(found, **{name: change(found) for name, change in changed.items()})

        return faulty

    return fault


def _smaller_ball(made: Any) -> Any:
    return lambda images, radius, *given, **more: made(images, 0.7 * radius, *given, **more)


def _wrong_signs(made: Any) -> Any:
    return lambda parts, wide, sign: made(parts, wide, 1)  # both halves are the active one


FAULTS: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "the chord is too low": (enclosures, "hull", _wrong_hull(offset=lambda hull: 0.5 * hull.offset)),
    "the chord is too flat": (enclosures, "hull", _wrong_hull(rise=lambda hull: 0.7 * hull.rise)),
    "a lower bound is above 0": (
        enclosures,
        "hull",
        _wrong_hull(lines=lambda hull: replace(hull.lines, low_flat=0.3 + 0 * hull.lower)),
    ),
    "intervals forget the bias": (layers, "dense", _wrong_affine(bias=lambda affine: 0 * affine.bias)),
    "intervals take signed weights": (layers, "dense", _wrong_affine(absolute=lambda affine: affine.apply)),
    "the backward pass forgets signs": (
        layers,
        "dense",
        _wrong_affine(transpose=lambda affine: lambda a: affine.transpose(a).abs()),
    ),
    "the ball is smaller": (regions, "ball", _smaller_ball),
    "both halves have one sign": (branching, "_with_sign", _wrong_signs),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_in_a_rule_is_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, attribute, change = FAULTS[fault]
    monkeypatch.setattr(module, attribute, change(getattr(module, attribute)))
    try:
        seen = violations_on_grids()
    except NoBoundError:  # the reading compares the steps' logits with the module's
        seen = 1
    assert seen > 0
