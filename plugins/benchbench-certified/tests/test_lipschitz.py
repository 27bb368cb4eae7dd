"""The 1-Lipschitz network: the kit, its constant, its certificates against attacks."""

from __future__ import annotations

import math

import pytest
import torch
from benchbench_certified.lipschitz import LipschitzNetwork, MaxMin, make_lipschitz_mlp

from benchbench.contract import (
    CertifiedModel,
    CrossEntropy,
    OptionError,
    Threat,
    ascend,
    bound_lipschitz,
    bound_margins,
)
from benchbench.testing import check_architecture, check_certificates


def network(*, hidden: tuple[int, ...] = (16, 12), scale: float = 1.0) -> LipschitzNetwork:
    torch.manual_seed(0)
    model = make_lipschitz_mlp(input_shape=(1, 4, 4), classes=3, hidden=hidden, scale=scale)
    for layer in model.layers:
        layer.weight = torch.nn.init.orthogonal_(torch.empty_like(layer.weight))
    return model.eval().requires_grad_(False)


def images_of(count: int) -> torch.Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def margins_of(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = model(images).double()
    own = logits.gather(1, labels[:, None])
    return (own - logits.scatter(1, labels[:, None], -math.inf).amax(dim=1, keepdim=True))[:, 0]


def test_architecture_keeps_the_contract() -> None:
    check_architecture(make_lipschitz_mlp, input_shapes=[(1, 8, 8), (7,)], classes=(2, 130))
    assert isinstance(network(), CertifiedModel)


def test_logits_are_1_lipschitz_in_l2_and_nearly_as_steep_somewhere() -> None:
    model = make_lipschitz_mlp(input_shape=(1, 4, 4), classes=16, hidden=(16,)).eval().requires_grad_(False).double()
    images = images_of(500).double()
    moved = images + 0.1 * torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ratios = (model(moved) - model(images)).norm(dim=1) / (moved - images).flatten(1).norm(dim=1)
    assert ratios.max() <= 1 + 1e-5
    assert ratios.max() > 0.99  # square layers keep norms, but where MaxMin swaps


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_certificates_keep_the_contract(norm: str) -> None:
    images = images_of(3)
    model = network(scale=5.0)
    check_certificates(model, images, model(images).argmax(dim=1), threat=Threat(norm=norm, epsilon=0.05))


def test_pairs_are_sorted() -> None:
    found = MaxMin()(torch.tensor([[1.0, 2.0, 5.0, -3.0]]))
    assert found.tolist() == [[2.0, 5.0, 1.0, -3.0]]


def test_training_keeps_the_layers_orthogonal() -> None:
    torch.manual_seed(0)
    model = make_lipschitz_mlp(input_shape=(1, 4, 4), classes=3, hidden=(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(5):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images_of(8)), torch.arange(8) % 3).backward()
        optimizer.step()
    for layer in model.layers:
        assert float(torch.linalg.matrix_norm(layer.weight.detach().double(), 2)) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
@pytest.mark.parametrize("epsilon", [1e-4, 0.1, 0.5])
def test_no_attack_reaches_below_the_certified_margin(norm: str, epsilon: float) -> None:
    model, images = network(scale=3.0), images_of(40)
    labels = model(images).argmax(dim=1)
    threat = Threat(norm=norm, epsilon=epsilon)  # type: ignore[arg-type]
    bounds = bound_margins(model, images, labels, threat=threat)
    assert bounds.note == ""
    rise = CrossEntropy(labels)
    found = ascend(lambda one: rise(model(one)), images, images, threat=threat, steps=20, step_size=epsilon / 5)
    assert (margins_of(model, found, labels) >= bounds.values).all()
    if norm == "l2":
        assert (margins_of(model, images, labels) - bounds.values).max() <= 3 * (math.sqrt(2) * epsilon * 1.001 + 1e-4)


def test_bound_of_a_linear_network_is_exact_up_to_rounding() -> None:
    model, images, threat = network(hidden=()), images_of(10) * 0.5 + 0.25, Threat(norm="l2", epsilon=0.1)
    labels = model(images).argmax(dim=1)
    weight = model.layers[0].weight
    logits = model(images)
    worst = logits.gather(1, labels[:, None]) - logits - 0.1 * (weight[labels][:, None] - weight).norm(dim=2)
    expected = worst.scatter(1, labels[:, None], math.inf).amin(dim=1).double()
    found = model.margin_bounds(images, labels, threat=threat)
    assert (found <= expected).all()
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_rounding_errors_of_float32_are_allowed_for() -> None:
    model, images = network(hidden=(256, 256), scale=7.0), images_of(200)
    labels = torch.arange(200) % 3
    bounds = model.margin_bounds(images, labels, threat=Threat(norm="l2", epsilon=0.0))
    assert (margins_of(model, images, labels) >= bounds).all()
    exact = margins_of(network(hidden=(256, 256), scale=7.0).double(), images.double(), labels)
    assert (exact - bounds).min() > 1e-6  # a difference below 0 would be luck, not a proof


def test_both_sides_of_the_lipschitz_constant() -> None:
    model, images = network(), images_of(5)
    draws = torch.Generator().manual_seed(0)
    sides = bound_lipschitz(
        model, images, threat=Threat(epsilon=0.1), draw=lambda _: torch.rand(images.shape, generator=draws)
    )
    assert (sides.converged <= sides.upper).all()
    assert sides.upper.tolist() == pytest.approx([math.sqrt(3 * 16)] * 5, rel=1e-3)


@pytest.mark.parametrize("options", [{"scale": 0.0}, {"hidden": (3,)}, {"hidden": (0,)}])
def test_option_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="must be"):
        make_lipschitz_mlp(input_shape=(1, 4, 4), classes=2, **options)  # type: ignore[arg-type]
