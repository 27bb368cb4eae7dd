"""HiGHS on small networks: it agrees with all sign patterns, and relaxations stay below it."""

from __future__ import annotations

import math

import pytest
import torch

from benchbench.bounds.branching import Effort
from benchbench.bounds.enclosures import enclose
from benchbench.bounds.exact import exact_margin
from benchbench.bounds.margins import margin_bounds
from benchbench.bounds.problems import pose
from benchbench.bounds.reading import read_network
from benchbench.bounds.regions import ball
from benchbench.contract import Threat, bound_margins
from benchbench.errors import NoBoundError
from tests.bounds.networks import least_by_patterns, network_of, tiny_mlp
from tests.bounds.test_margins import images_for


@pytest.mark.parametrize("seed", range(2))
def test_highs_and_all_sign_patterns_agree(seed: int) -> None:
    model = tiny_mlp(seed)
    image = torch.rand(1, 1, 1, 2, generator=torch.Generator().manual_seed(seed))
    network, region = read_network(model, image).network, ball(image, 0.4, math.inf, lower=0.0, upper=1.0)
    inside = enclose(pose(network, region, rounded=False), tighten=True)
    row = torch.tensor([1.0, -1.0, 0.0])
    exact = least_by_patterns(model, row, region.lower[0], region.upper[0])
    assert exact_margin(network, region, inside, row, 20.0) == pytest.approx(exact, abs=1e-4)


def test_relaxations_stay_below_highs() -> None:
    model, images = network_of("mlp"), images_for("mlp", 1)
    label, network = model(images).argmax(dim=1), read_network(model, images).network
    region = ball(images, 0.2, math.inf, lower=0.0, upper=1.0)
    inside = enclose(pose(network, region, rounded=False), tighten=True)
    rows = [torch.eye(3)[label[0]] - torch.eye(3)[other] for other in range(3) if other != int(label)]
    exact = min(exact_margin(network, region, inside, row, 20.0) for row in rows)
    found = margin_bounds(network, region, label, Effort(steps=10, branches=20), rounded=False)
    assert float(found) <= exact + 1e-4 * (1 + abs(exact))


def test_leaky_rectifiers_are_refused() -> None:
    model, images = network_of("residual"), images_for("residual", 1)
    network, region = read_network(model, images).network, ball(images, 0.1, math.inf, lower=0.0, upper=1.0)
    inside = enclose(pose(network, region, rounded=False), tighten=False)
    with pytest.raises(NoBoundError, match="ReLU only"):
        exact_margin(network, region, inside, torch.ones(3), 1.0)


def test_the_exact_program_certifies_what_relaxation_leaves_open() -> None:
    model, images = network_of("mlp", 1), images_for("mlp", 6)
    labels, threat = model(images).argmax(dim=1), Threat(epsilon=0.1)
    rough = bound_margins(model, images, labels, threat=threat, steps=0)
    exact = bound_margins(model, images, labels, threat=threat, steps=0, exact=20.0)
    assert int((exact.values > 0).sum()) > int((rough.values > 0).sum())
    assert "HiGHS" in exact.note
