from __future__ import annotations

import pytest
import torch
from torch import nn

import benchbench.builtin.defenses.distance_classifier as distance_module
from benchbench.builtin.defenses.distance import Distance
from benchbench.contract import DataError, Examples, FittingDefense, KeyedGenerator, OptionError, Threat
from benchbench.testing.defenses import check_defense

THREAT = Threat(epsilon=0.1)


def images(size: int = 60, classes: int = 3) -> Examples:
    generator = torch.Generator().manual_seed(size)
    pixels = torch.randint(0, 256, (size, 2, 3, 4), generator=generator, dtype=torch.uint8)
    return Examples(inputs=pixels, labels=torch.arange(size) % classes)


def fit(examples: Examples, *, r: float | None = None, threat: Threat = THREAT, classes: int = 3) -> nn.Module:
    generator = KeyedGenerator(0, torch.arange(len(examples)))
    return Distance(r=r).fit(nn.Identity(), examples, classes=classes, threat=threat, generator=generator)


def logits_by_definition(examples: Examples, inputs: torch.Tensor, r: float, classes: int = 3) -> torch.Tensor:
    stored = examples.inputs.double() / 255 if examples.inputs.dtype == torch.uint8 else examples.inputs.double()
    away = (inputs.double()[:, None] - stored[None]).flatten(2).abs().amax(2)
    return torch.stack([-away[:, examples.labels == label].amin(1) / r for label in range(classes)], dim=1)


def test_distance_keeps_the_contract_of_defenses() -> None:
    assert isinstance(Distance(), FittingDefense)
    check_defense(Distance())


@pytest.mark.parametrize("at_once", [1, 50, 1 << 24])
def test_logits_follow_equation_1_whatever_the_chunks(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distance_module, "ELEMENTS_AT_ONCE", at_once)
    examples, inputs = images(), torch.rand(7, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    logits = fit(examples, r=0.25)(inputs)
    torch.testing.assert_close(logits.double(), logits_by_definition(examples, inputs, 0.25), rtol=1e-6, atol=1e-6)
    assert logits.dtype == torch.float32


def test_features_are_used_as_they_are() -> None:
    features = torch.randn(40, 2, generator=torch.Generator().manual_seed(1)) * 9
    examples = Examples(inputs=features, labels=torch.arange(40) % 3)
    logits = fit(examples, r=1.0)(features + 0.5)
    torch.testing.assert_close(logits.double(), logits_by_definition(examples, features + 0.5, 1.0))


def test_training_examples_are_classified_right_with_distance_exactly_zero() -> None:
    examples = images()
    logits = fit(examples)(examples.inputs.float().div(255.0))
    assert (logits.argmax(1) == examples.labels).all()
    assert (logits.gather(1, examples.labels[:, None]) == 0).all()


def test_radius_is_epsilon_unless_given_and_changes_no_prediction() -> None:
    examples, inputs = images(), torch.rand(20, 2, 3, 4)
    torch.testing.assert_close(fit(examples)(inputs), fit(examples, r=0.1)(inputs))
    assert torch.equal(fit(examples, r=0.3)(inputs).argmax(1), fit(examples)(inputs).argmax(1))


def test_gradient_is_that_of_the_distance_to_the_nearest_example() -> None:
    examples = images(12)
    model = fit(examples, r=0.5)
    inputs = torch.rand(4, 2, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_(
        True
    )
    assert torch.autograd.gradcheck(model, (inputs,), eps=1e-7, atol=1e-5)
    (slope,) = torch.autograd.grad(model(inputs)[:, 0].sum(), inputs)
    torch.testing.assert_close(slope.flatten(1).abs().sum(1), torch.full((4,), 2.0, dtype=torch.float64))  # 1/r in L1


def test_all_state_is_in_the_state_dict() -> None:
    examples, inputs = images(), torch.rand(5, 2, 3, 4)
    model, other = fit(examples, r=0.2), fit(Examples(inputs=255 - examples.inputs, labels=examples.labels.flip(0)))
    assert not torch.equal(model(inputs), other(inputs))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(inputs), other(inputs))
    assert not list(model.parameters())


def test_sign_ascent_fools_it_beyond_half_the_distance_and_not_below() -> None:
    black, white = torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.full((1, 1, 2, 2), 200, dtype=torch.uint8)
    model = fit(Examples(inputs=torch.cat([black, white]), labels=torch.tensor([0, 1])), classes=2)
    half = 100 / 255
    for epsilon, fooled in ((0.99 * half, False), (1.01 * half, True)):
        point = torch.zeros(1, 1, 2, 2)
        for _ in range(50):
            point.requires_grad_(True)
            loss = nn.functional.cross_entropy(model(point), torch.tensor([0]))
            (slope,) = torch.autograd.grad(loss, point)
            point = (point.detach() + epsilon / 5 * slope.sign()).clamp(0, epsilon)
        assert bool(model(point).argmax(1) == 1) is fooled


@pytest.mark.parametrize("r", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_radius_is_refused(r: float) -> None:
    with pytest.raises(OptionError, match="r must be"):
        Distance(r=r)


def test_zero_epsilon_needs_a_radius() -> None:
    with pytest.raises(OptionError, match="epsilon"):
        fit(images(), threat=Threat(epsilon=0.0))


def test_class_without_examples_is_named() -> None:
    with pytest.raises(DataError, match=r"\[3, 4\]"):
        fit(images(), classes=5)
