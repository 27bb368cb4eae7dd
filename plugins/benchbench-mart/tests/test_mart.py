"""The conformance kit, the formula in float64, and the options."""

from __future__ import annotations

import pytest
import torch
from benchbench_mart import benchbench_defenses
from benchbench_mart.mart import Mart, boosted_cross_entropy, weighted_divergence

from benchbench.contract import KeyedGenerator, OptionError, Threat
from benchbench.testing import check_defense, smooth_toy


def test_mart_keeps_the_contract_and_trains_robustly() -> None:
    check_defense(Mart(), accuracy=0.95, robust_accuracy=0.9)


def test_loss_is_the_papers_formula() -> None:
    clean_logits = torch.tensor([[2.0, 1.0, -1.0], [0.5, 0.5, 3.0]], dtype=torch.float64)
    adversarial_logits = torch.tensor([[0.5, 1.5, -1.0], [0.0, 1.0, 2.5]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    p, q = clean_logits.softmax(dim=1), adversarial_logits.softmax(dim=1)
    boosted, weighted = [], []
    for row, label in enumerate(labels.tolist()):
        runner_up = max(float(q[row, k]) for k in range(3) if k != label)
        boosted.append(-q[row, label].log() - torch.tensor(1.0 - runner_up, dtype=torch.float64).log())
        divergence = sum(p[row, k] * (p[row, k] / q[row, k]).log() for k in range(3))
        weighted.append(divergence * (1.0 - p[row, label]))
    torch.testing.assert_close(boosted_cross_entropy(adversarial_logits, labels), torch.stack(boosted))
    torch.testing.assert_close(weighted_divergence(clean_logits, adversarial_logits, labels), torch.stack(weighted))


def test_lambda_weighs_the_second_term_only() -> None:
    model, labels = smooth_toy((1, 8, 8), 3), torch.tensor([0, 1, 2])
    images = KeyedGenerator(0, torch.arange(3)).uniform(1, 8, 8)
    losses = [
        Mart(lam=lam).loss(
            model, images, labels, threat=Threat(epsilon=0.1), generator=KeyedGenerator(1, torch.arange(3))
        )
        for lam in (0.0, 1.0, 2.0)
    ]
    zero, one, two = (outcome.loss.detach() for outcome in losses)
    assert one > zero
    torch.testing.assert_close(two - one, one - zero, rtol=1e-3, atol=1e-5)


def test_search_starts_beside_the_image_and_is_not_clipped_to_the_box() -> None:
    model, images, seen = smooth_toy((1, 8, 8), 3), torch.zeros(3, 1, 8, 8), []
    model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach().clone()))
    generators = [KeyedGenerator(1, torch.arange(3)) for _ in range(2)]
    Mart().loss(model, images, torch.tensor([0, 1, 2]), threat=Threat(epsilon=0.1), generator=generators[0])
    torch.testing.assert_close(seen[0], 0.001 * generators[1].normal(1, 8, 8))
    assert all(later.min() >= 0.0 for later in seen[1:])


def test_certain_mistake_has_a_finite_loss_and_gradient() -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = boosted_cross_entropy(logits, torch.tensor([1])).sum()
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("options", [{"lam": -1.0}, {"steps": 0}, {"step_ratio": 0.0}])
def test_option_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="must be"):
        Mart(**options)


def test_offer_names_the_factory() -> None:
    (offer,) = benchbench_defenses()
    assert (offer.name, offer.factory) == ("mart", f"{Mart.__module__}:{Mart.__qualname__}")
