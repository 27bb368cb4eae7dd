"""Local Lipschitzness from both sides, against exact answers, samples and planted faults."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchbench.bounds import curves, enclosures, hulls, secants
from benchbench.bounds.branching import Effort
from benchbench.bounds.reading import read_network
from benchbench.bounds.slopes import converged_ratios, limit_ratios
from benchbench.contract import Threat, bound_lipschitz
from tests.bounds.networks import SHAPES, network_of, prepared, tiny_mlp
from tests.bounds.test_margins import EXHAUSTIVE, SAMPLES, images_for

BOX = (0.0, 1.0)
GRID = torch.cartesian_prod(*[torch.linspace(-1, 1, 61, dtype=torch.float64)] * 2)


def sides(model: nn.Module, images: Tensor, radius: float, effort: Effort) -> tuple[Tensor, Tensor, Tensor]:
    """What a search found, the limit at the images, and the bound from above."""
    network, draws = read_network(model, images).network, torch.Generator().manual_seed(0)
    found = converged_ratios(network, images, radius, box=BOX, draw=lambda _: torch.rand(images.shape, generator=draws))
    limit = limit_ratios(network, images, box=BOX)
    below = torch.maximum(found, limit)
    return found, limit, secants.secant_bounds(network, images, radius, effort, box=BOX, below=below)


def ratios(model: nn.Module, images: Tensor, points: Tensor) -> Tensor:
    """||f(x) - f(x')||_1 / ||x - x'||_inf in float64, (count, N), of points (count, N, ...)."""
    exact = _double(model)
    logits = exact(points.flatten(0, 1)).unflatten(0, points.shape[:2])
    length = (points - images).abs().flatten(2).amax(dim=2)
    return (logits - exact(images.double())).abs().sum(dim=2) / length.clamp(min=1e-12)


def _double(model: nn.Module) -> nn.Module:
    import copy

    return copy.deepcopy(model).double()


@pytest.mark.parametrize("name", sorted(SHAPES) if EXHAUSTIVE else ["linear", "mlp", "residual"])
def test_no_pair_of_points_has_a_larger_ratio(name: str) -> None:
    model, images = network_of(name), images_for(name, 2)
    found, limit, above = sides(model, images, 0.05, Effort(steps=0, branches=4, at_once=16, curved=True))
    assert bool((found <= above * (1 + 1e-9)).all())
    assert bool((limit <= above * (1 + 1e-9)).all())
    draws = torch.Generator().manual_seed(3)
    for _ in range(SAMPLES // 1000):  # 500 points around each of two images
        noise = 2 * torch.rand(500, *images.shape, generator=draws, dtype=torch.float64) - 1
        noise = torch.where(torch.rand(500, 1, 1, 1, 1, generator=draws) < 0.5, noise.sign(), noise)
        size = torch.rand(500, 1, 1, 1, 1, generator=draws, dtype=torch.float64)
        points = (images + 0.05 * size * noise).clamp(0, 1)
        assert bool((ratios(model, images, points).amax(dim=0) <= above * (1 + 1e-9)).all())


def test_all_sides_of_a_linear_model_agree_with_its_exact_constant_in_the_box() -> None:
    model = tiny_mlp(0, widths=(3, 4))
    image = torch.tensor([[[[0.0, 0.5, 1.0]]]])
    weight = model[1].weight.double()
    exact = max(
        float((weight @ torch.tensor(v, dtype=torch.float64)).abs().sum())
        for v in itertools.product((0.0, 1.0), (-1.0, 1.0), (-1.0, 0.0))
    )
    assert exact < float(weight.abs().sum())  # directions that leave the box do not count
    for side in sides(model, image, 0.1, Effort()):
        assert float(side) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("seed", [3, 4])
def test_branch_and_bound_closes_the_gap_on_small_networks(seed: int) -> None:
    model, images = tiny_mlp(seed), torch.rand(2, 1, 1, 2, generator=torch.Generator().manual_seed(seed))
    found, limit, above = sides(model, images, 0.3, Effort(steps=10, branches=80, at_once=32, curved=True))
    below = torch.maximum(found, limit)
    assert bool((below <= above * (1 + 1e-9)).all())
    assert bool((above <= 1.01 * below).all())


def test_directions_at_the_edge_of_the_box_count_one_way_only() -> None:
    region = secants.cone(torch.tensor([[[[0.0, 0.05, 1.0]]]]), torch.tensor([0.0, 0.1]).double(), BOX)
    assert region.lower.flatten(1).tolist() == [[0.0, -1.0, -1.0], [0.0, pytest.approx(-0.5), -1.0]]
    assert region.upper.flatten(1).tolist() == [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]


def test_the_limit_is_left_out_at_a_kink() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    model[1].bias.data = -0.5 * model[1].weight.data[:, 0]
    network = read_network(model, torch.rand(2, 1, 1, 1)).network
    assert limit_ratios(network, torch.full((1, 1, 1, 1), 0.5), box=BOX).tolist() == [0.0]


def test_bounds_are_sound_at_kinks_of_pooling() -> None:
    model = prepared(nn.Sequential(nn.Conv2d(1, 2, 1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)))
    images = torch.zeros(1, 1, 4, 4)  # all numbers of a window are equal
    found, _, above = sides(model, images, 0.2, Effort(steps=0, branches=8, curved=True))
    assert float(found) <= float(above) * (1 + 1e-9) < math.inf


# Each rule with a fault: a grid must hold pairs with ratios above the bounds.


def violations_on_grids() -> int:
    count = 0
    for seed in range(10):
        model, images = tiny_mlp(seed), torch.rand(3, 1, 1, 2, generator=torch.Generator().manual_seed(seed))
        images = (images * 1.6 - 0.3).clamp(0, 1)
        network = read_network(model, images).network
        below = torch.zeros(3, dtype=torch.float64)
        above = secants.secant_bounds(
            network, images, 0.3, Effort(steps=0, branches=20, at_once=16, curved=True), box=BOX, below=below
        )
        points = torch.cat([(images + 0.3 * share * GRID.view(-1, 1, 1, 1, 2)).clamp(0, 1) for share in (1.0, 0.1)])
        count += int((ratios(model, images, points).amax(dim=0) > above * (1 + 1e-9) + 1e-9).sum())
    return count


def test_bounds_of_small_networks_are_above_all_ratios_on_a_grid() -> None:
    assert violations_on_grids() == 0


def _wrong_lines(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda made: lambda *given: change(made(*given))


def _late_kink(made: Any) -> Any:
    return lambda lower, upper, least, most: made(lower, upper, 0 * least, most * 0.1)  # as if the radius were smaller


def _half_the_signs(made: Any) -> Any:
    return lambda classes, device: made(classes, device)[: 2 ** (classes - 1)]


def _wrong_cone(made: Any) -> Any:
    return lambda *given: replace(region := made(*given), upper=0.8 * region.upper)


FAULTS: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "the kinks are of other radii": (secants, "quotient_lines", _late_kink),
    "the upper lines are too low": (
        secants,
        "quotient_lines",
        _wrong_lines(lambda lines: replace(lines, up_flat=lines.up_flat - 0.2)),
    ),
    "s and -s count as one": (secants, "sign_vectors", _half_the_signs),
    "the directions are too short": (secants, "cone", _wrong_cone),
    "the chord is too low": (enclosures, "hull", _wrong_lines(lambda hull: replace(hull, offset=hull.offset - 0.05))),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_in_a_rule_is_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, attribute, change = FAULTS[fault]
    monkeypatch.setattr(module, attribute, change(getattr(module, attribute)))
    assert violations_on_grids() > 0


def test_curves_close_a_part_of_the_gap_that_chords_leave() -> None:
    """With many neurons of open signs: the eigenvalue counts directions, a chord each neuron."""
    model = tiny_mlp(0, widths=(16, 24, 24, 3))
    image = torch.full((1, 1, 1, 16), 0.5)
    below, chords = sides(model, image, 0.3, Effort(steps=0))[::2]
    curved = sides(model, image, 0.3, Effort(steps=0, curved=True))[2]
    assert float(below) <= float(curved)
    assert float(curved - below) < 0.95 * float(chords - below)


def test_the_eigenvalue_is_bounded_from_above_within_a_fifth() -> None:
    draws = torch.Generator().manual_seed(0)
    weight = torch.rand(2, 3, 40, generator=draws, dtype=torch.float64)
    matrix = torch.randn(2, 40, 30, generator=draws, dtype=torch.float64)
    exact = torch.linalg.eigvalsh(matrix[:, None].mT @ (weight[..., None] * matrix[:, None]))[..., -1]
    found = curves._largest_eigenvalues(weight, matrix)
    assert bool((exact <= found).all() and (found <= 1.2 * exact).all())


@pytest.mark.parametrize(("deeper", "sound"), [(1.0, True), (1.1, False)])
def test_curves_are_the_deepest_that_stay_above_the_quotient(deeper: float, sound: bool) -> None:
    kink = torch.linspace(-0.9, 0.9, 13, dtype=torch.float64)[None]
    lines = replace(hulls.relu_lines(kink), up_flat=kink.clamp(min=0), up_steep=(-kink).clamp(min=0))
    made = hulls.hull(torch.full_like(kink, -1.0), torch.full_like(kink, 1.0), lines)
    points = torch.linspace(-1, 1, 401, dtype=torch.float64)[:, None]
    curve = made.rise * points + made.offset - deeper * curves._bend(made) * (1 - points) * (points + 1)
    above = curve - torch.maximum(points + lines.up_steep, lines.up_flat) >= -1e-12
    assert bool(above.all()) is sound


class Constant(nn.Module):
    """A float32 model with a bound of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))

    def margin_bounds(self, images: Tensor, labels: Tensor, *, threat: Threat) -> Tensor:
        return torch.zeros(len(images), dtype=torch.float64)

    def lipschitz_bounds(self, images: Tensor, *, threat: Threat) -> Tensor:
        return self.linear.weight.double().abs().sum().expand(len(images))


def test_a_float32_model_that_certifies_itself_is_searched_in_float64() -> None:
    model, images = Constant().eval().requires_grad_(False), 0.2 + 0.6 * torch.rand(2, 1, 2, 2)
    found = bound_lipschitz(model, images, threat=Threat(epsilon=0.1), draw=lambda _: torch.rand(images.shape))
    assert bool((found.converged <= found.upper * (1 + 1e-9)).all())
    assert found.converged.dtype == torch.float64
    assert model.linear.weight.dtype == torch.float32
