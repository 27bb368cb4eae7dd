"""The attack checks pass good attacks and catch planted bugs, each by the promise that it breaks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchbench.contract import KeyedGenerator, Norm, Threat
from benchbench.testing import ConformanceError, check_attack


class GoodPgd:
    """Ten projected steps; the planted bugs below change one thing each."""

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        start = images + generator.uniform_like(images, low=-0.1, high=0.1) * threat.epsilon
        candidates = self.project(start, images, threat)
        for _ in range(10):
            gradient = self.gradient(model, candidates, labels)
            step = threat.epsilon / 4 * self.direction(gradient, threat.norm)
            candidates = self.project(candidates + step, images, threat)
        return candidates

    def gradient(self, model: nn.Module, candidates: Tensor, labels: Tensor) -> Tensor:
        leaf = candidates.detach().requires_grad_(True)
        loss = nn.functional.cross_entropy(model(leaf), labels, reduction="sum")
        return torch.autograd.grad(loss, leaf)[0]

    def direction(self, gradient: Tensor, norm: Norm) -> Tensor:
        if norm == "linf":
            return gradient.sign()
        flat = gradient.flatten(1)
        if norm == "l2":
            return (flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)).view_as(gradient)
        best = nn.functional.one_hot(flat.abs().argmax(dim=1), flat.shape[1])
        return (flat.sign() * best).view_as(gradient)

    def project(self, candidates: Tensor, images: Tensor, threat: Threat) -> Tensor:
        return threat.project(candidates, images)


class LeavesBox(GoodPgd):
    def project(self, candidates, images, threat):
        return threat.project(candidates, images) + 1e-3 * (images == threat.upper)


class AssumesUnitBox(GoodPgd):
    def project(self, candidates, images, threat):
        return threat.project(candidates, images).clamp(0.0, 1.0)


class LeavesBall(GoodPgd):
    def project(self, candidates, images, threat):
        return candidates.clamp(threat.lower, threat.upper)


class IgnoresNorm(GoodPgd):
    def project(self, candidates, images, threat):
        return Threat(epsilon=threat.epsilon, lower=threat.lower, upper=threat.upper).project(candidates, images)


class NormalisesOverBatch(GoodPgd):
    def direction(self, gradient, norm):
        return gradient if norm == "linf" else gradient / gradient.norm().clamp(min=1e-12)


class StepsBySignInL2(GoodPgd):
    def direction(self, gradient, norm):
        return gradient.sign() / gradient[0].numel() ** 0.5


class ExpectsPixels(GoodPgd):
    """Normalises by ImageNet-like statistics before asking the model: attacks another function."""

    def gradient(self, model, candidates, labels):
        return super().gradient(model, (candidates - 2.0) / 0.01, labels)


class KillsGradient(GoodPgd):
    def gradient(self, model, candidates, labels):
        return torch.zeros_like(candidates)


class ShiftsLabels(GoodPgd):
    def gradient(self, model, candidates, labels):
        return super().gradient(model, candidates, (labels + 1) % model(candidates).shape[1])


class AssumesTwoClasses(GoodPgd):
    """Climbs towards the other one of two classes."""

    def gradient(self, model, candidates, labels):
        leaf = candidates.detach().requires_grad_(True)
        loss = model(leaf).gather(1, (1 - labels).clamp(min=0)[:, None]).sum()
        return torch.autograd.grad(loss, leaf)[0]


class MutatesLabels(GoodPgd):
    def perturb(self, model, images, labels, *, threat, generator):
        labels.add_(1).remainder_(2)
        return images.clone()


class MutatesImages(GoodPgd):
    def perturb(self, model, images, labels, *, threat, generator):
        return images.sub_(0.01).clamp_(threat.lower, threat.upper)


class LeavesGradientOnImages(GoodPgd):
    def perturb(self, model, images, labels, *, threat, generator):
        images.requires_grad_(True)
        return images.detach().clone()


class FlipsMode(GoodPgd):
    def gradient(self, model, candidates, labels):
        model.train()
        return super().gradient(model, candidates, labels)


class UpdatesBatchNorm(GoodPgd):
    def perturb(self, model, images, labels, *, threat, generator):
        model.train()
        model(torch.cat([images, images]))
        model.eval()
        return images.clone()


class ClearsGradients(GoodPgd):
    def gradient(self, model, candidates, labels):
        model.zero_grad()
        return super().gradient(model, candidates, labels)


class FreezesForGood(GoodPgd):
    def perturb(self, model, images, labels, *, threat, generator):
        model.requires_grad_(True)
        return images.clone()


class DisablesGradients(GoodPgd):
    def perturb(self, model, images, labels, *, threat, generator):
        torch.set_grad_enabled(False)
        return images.clone()


class DrawsGlobally(GoodPgd):
    def perturb(self, model, images, labels, *, threat, generator):
        return threat.project(images + torch.randn_like(images), images)


class ReseedsGlobally(GoodPgd):
    def perturb(self, model, images, labels, *, threat, generator):
        torch.manual_seed(0)
        return super().perturb(model, images, labels, threat=threat, generator=generator)


class RemembersCalls(GoodPgd):
    calls = 0

    def gradient(self, model, candidates, labels):
        self.calls += 1
        return super().gradient(model, candidates, labels) * (-1) ** (self.calls // 10)


class ReturnsNan(GoodPgd):
    def direction(self, gradient, norm):
        return gradient / 0.0


class ReturnsDouble(GoodPgd):
    def perturb(self, model, images, labels, *, threat, generator):
        return images.double()


class DropsOddImage(GoodPgd):
    def perturb(self, model, images, labels, *, threat, generator):
        return images[: max(1, len(images) // 2 * 2)].clone()


class StaysAttached(GoodPgd):
    def project(self, candidates, images, threat):
        return threat.project(candidates, images).requires_grad_(True)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_good_attack_passes_for_each_norm(norm: Norm) -> None:
    check_attack(GoodPgd(), norms=(norm,))


@pytest.mark.parametrize(
    ("attack", "norm", "message"),
    [
        (LeavesBox(), "linf", "box"),
        (AssumesUnitBox(), "linf", "ball"),
        (LeavesBall(), "linf", "ball"),
        (IgnoresNorm(), "l2", "ball"),
        (IgnoresNorm(), "l1", "ball"),
        (NormalisesOverBatch(), "l2", "independence of the batch"),
        (NormalisesOverBatch(), "linf", "strength on a linear model"),
        (StepsBySignInL2(), "l2", "strength on a linear model"),
        (ExpectsPixels(), "linf", "strength on a linear model"),
        (KillsGradient(), "linf", "strength on a linear model"),
        (ShiftsLabels(), "linf", "strength on a linear model"),
        (AssumesTwoClasses(), "linf", "10 classes: strength on a linear model"),
        (MutatesLabels(), "linf", "inputs"),
        (MutatesImages(), "linf", "inputs"),
        (LeavesGradientOnImages(), "linf", "gradient state of the inputs"),
        (FlipsMode(), "linf", "mode of the model's modules"),
        (UpdatesBatchNorm(), "linf", "buffers of the model"),
        (ClearsGradients(), "linf", "gradients of the model"),
        (FreezesForGood(), "linf", "requires_grad of the parameters"),
        (DisablesGradients(), "linf", "global gradient mode"),
        (DrawsGlobally(), "linf", "source of randomness"),
        (ReseedsGlobally(), "linf", "source of randomness"),
        (RemembersCalls(), "linf", "repeatability"),
        (ReturnsNan(), "linf", "finite"),
        (ReturnsDouble(), "linf", "float32"),
        (DropsOddImage(), "linf", "shape (7, 3, 8, 8)"),
        (StaysAttached(), "linf", "detached"),
        (object(), "linf", "a method `perturb`"),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "perturb") else str(value)[:12],
)
def test_planted_bug_is_caught(attack: GoodPgd, norm: Norm, message: str) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_attack(attack, norms=(norm,))
    assert message in str(caught.value)


def test_gradient_mode_and_random_state_are_restored_after_a_failure() -> None:
    state = torch.get_rng_state()
    for attack in (DisablesGradients(), DrawsGlobally()):
        with pytest.raises(ConformanceError):
            check_attack(attack, norms=("linf",))
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)


def test_weak_attack_passes_where_it_states_its_slack() -> None:
    class HalfRadius(GoodPgd):
        def project(self, candidates, images, threat):
            half = Threat(norm=threat.norm, epsilon=threat.epsilon / 2, lower=threat.lower, upper=threat.upper)
            return half.project(candidates, images)

    with pytest.raises(ConformanceError, match="strength"):
        check_attack(HalfRadius(), norms=("linf",))
    check_attack(HalfRadius(), norms=("linf",), slack=2.1)


def test_failure_is_an_assertion_that_tells_expected_and_got() -> None:
    error = ConformanceError("the check", expected="this", got="that")
    assert isinstance(error, AssertionError)
    assert str(error) == "the check\n  expected: this\n  got: that"


class Started(GoodPgd):
    """Begins at the projection of an image of another class."""

    takes_starts = True

    def perturb(self, model, images, labels, *, threat, generator, starts=None):
        assert starts is not None
        candidates = threat.project(starts.clone(), images)
        for _ in range(10):
            step = threat.epsilon / 4 * self.direction(self.gradient(model, candidates, labels), threat.norm)
            candidates = self.project(candidates + step, images, threat)
        return candidates


class MovesStarts(Started):
    def perturb(self, model, images, labels, *, threat, generator, starts=None):
        moved = starts.add_(0.0001)
        return super().perturb(model, images, labels, threat=threat, generator=generator, starts=moved)


def test_attack_that_begins_elsewhere_receives_its_starting_images() -> None:
    check_attack(Started(), norms=["linf"], classes=[2])
    with pytest.raises(ConformanceError, match="inputs"):
        check_attack(MovesStarts(), norms=["linf"], classes=[2])
