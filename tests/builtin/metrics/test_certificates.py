"""Certified accuracy and both sides of local Lipschitzness, as metrics."""

from __future__ import annotations

import torch
from evaluation_samples import THREAT, run
from torch import nn

from benchbench.builtin.defenses.distance_classifier import DistanceClassifier
from benchbench.builtin.metrics.certificates import CertifiedAccuracy, LipschitzBounds
from benchbench.builtin.metrics.lipschitz import LocalLipschitzness
from benchbench.contract import CertifiedModel, Examples, KeyedGenerator, Threat, bound_lipschitz, bound_margins
from benchbench.contract.evaluation import Evidence
from benchbench.testing.metrics import ToyEvidence
from tests.bounds.networks import prepared


def small_network() -> nn.Module:
    return prepared(nn.Sequential(nn.Flatten(), nn.Linear(36, 10), nn.ReLU(), nn.Linear(10, 4)), seed=2)


def on_its_classes(model: nn.Module, count: int = 24) -> Examples:
    inputs = KeyedGenerator(3, torch.arange(count)).integers(256)[:, None, None, None].expand(-1, 1, 6, 6).clone()
    inputs = (inputs + KeyedGenerator(4, torch.arange(count)).uniform(1, 6, 6, high=80.0)).clamp(0, 255).to(torch.uint8)
    return Examples(inputs=inputs, labels=model(inputs.float() / 255).argmax(dim=1))


def test_on_a_linear_model_certificate_and_exact_attack_agree() -> None:
    evidence: Evidence = ToyEvidence(classes=3)  # type: ignore[assignment]
    certified = torch.as_tensor(CertifiedAccuracy().measure(evidence).per_example["certified"])
    assert torch.equal(certified, evidence.robust("test"))


def test_a_row_is_an_interval_that_holds_what_attacks_find() -> None:
    model = small_network()
    metrics = {
        "certified-accuracy": CertifiedAccuracy(),
        "lipschitz-bounds": LipschitzBounds(),
        "lipschitz": LocalLipschitzness(),
    }
    outcome = run(
        model=model,
        test=on_its_classes(model),
        test_rows=torch.arange(24),
        metrics=metrics,
        threat=Threat(epsilon=0.02),
    )
    columns, values = outcome.per_example, outcome.values
    assert 0 < values["certified_test_accuracy"] <= float(columns["robust"].double().mean())
    assert bool((columns["lipschitz_best"] <= columns["lipschitz_upper"] * (1 + 1e-4)).all())
    assert bool((columns["lipschitz_limit"] <= columns["lipschitz_upper"] * (1 + 1e-9)).all())
    assert values["test_lipschitz_converged"] >= 0.999 * values["test_lipschitz_best"]
    theorem = columns["lipschitz_certified"].bool()
    assert bool((theorem <= columns["certified"].bool()).all())  # the theorem certifies no more than the margins
    assert outcome.notes == {"lipschitz-bounds": "real arithmetic only"}


def test_without_a_rule_for_a_layer_the_row_says_so() -> None:
    outcome = run(metrics={"certified-accuracy": CertifiedAccuracy(), "lipschitz-bounds": LipschitzBounds()})
    assert "certified_test_accuracy" not in outcome.values
    assert outcome.notes["certified-accuracy"].startswith("no bound: ")
    assert outcome.notes["lipschitz-bounds"].startswith("no bound: ")


def test_the_scaled_value_does_not_depend_on_the_scale_of_the_logits() -> None:
    model, found = small_network(), []
    for scale in (1.0, 10.0):
        model[-1].weight.data *= scale  # type: ignore[index, operator]
        model[-1].bias.data *= scale  # type: ignore[index, operator]
        outcome = run(
            model=model, test=on_its_classes(model), test_rows=torch.arange(24), metrics={"b": LipschitzBounds()}
        )
        found.append(outcome.per_example["lipschitz_scaled"])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=0)


def test_the_distance_classifier_is_bounded_by_the_triangle_inequality() -> None:
    draws = KeyedGenerator(0, torch.arange(30))
    references, labels = (
        draws.integers(256)[:, None, None, None].to(torch.uint8).expand(-1, 1, 1, 1),
        torch.arange(30) % 3,
    )
    model = DistanceClassifier(references, labels, classes=3, radius=0.1).eval()
    assert isinstance(model, CertifiedModel)
    images = torch.rand(40, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    own = model(images).argmax(dim=1)
    bounds = bound_margins(model, images, own, threat=THREAT)
    for shift in torch.linspace(-0.1, 0.1, 41):
        logits = model((images + shift).clamp(0, 1)).double()
        rest = logits.scatter(1, own[:, None], float("-inf")).amax(dim=1)
        assert bool((logits.gather(1, own[:, None])[:, 0] - rest >= bounds.values).all())
    sides = bound_lipschitz(model, images, threat=THREAT, draw=lambda _: torch.rand(40, 1, 1, 1))
    assert bool((sides.converged <= sides.upper * (1 + 1e-9)).all())
    assert sides.upper[0] == 3 / 0.1
