"""The defense checks pass good defenses and catch planted bugs, each by the promise that it breaks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from benchbench.contract import BatchLoss, Examples, KeyedGenerator, Threat, in_mode
from benchbench.testing import ConformanceError, check_defense


def perturbed(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, generator: KeyedGenerator) -> Tensor:
    """Three sign steps from a random start."""
    start = images + generator.uniform_like(images, low=-threat.epsilon, high=threat.epsilon)
    candidates = threat.project(start, images)
    for _ in range(3):
        leaf = candidates.detach().requires_grad_(True)
        loss = nn.functional.cross_entropy(model(leaf), labels, reduction="sum")
        gradient = torch.autograd.grad(loss, leaf)[0]
        candidates = threat.project(candidates + threat.epsilon * gradient.sign(), images)
    return candidates


def summed(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(images), labels, reduction="sum")


class Natural:
    def loss(self, model, images, labels, *, threat, generator):
        logits = model(images)
        return BatchLoss(loss=nn.functional.cross_entropy(logits, labels, reduction="sum"), logits=logits)


class Adversarial:
    def loss(self, model, images, labels, *, threat, generator):
        return BatchLoss(loss=summed(model, perturbed(model, images, labels, threat, generator), labels))


class Stepping:
    def step(self, model, images, labels, *, threat, generator, optimizer):
        optimizer.zero_grad()
        loss = summed(model, perturbed(model, images, labels, threat, generator), labels)
        loss.backward()
        optimizer.step()
        return BatchLoss(loss=loss.detach())


class NearestMean(nn.Module):
    """Fits without a loop: minus the squared distance to each class mean."""

    def __init__(self, means: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("means", means)

    def forward(self, inputs: Tensor) -> Tensor:
        return -torch.cdist(inputs.flatten(1), self.means).square()

    def fit(self, model: nn.Module, examples: Examples, *, classes: int, threat, generator) -> nn.Module:
        flat = examples.inputs.flatten(1)
        return NearestMean(torch.stack([flat[examples.labels == label].mean(dim=0) for label in range(classes)]))


class ForgetfulFit(NearestMean):
    def fit(self, model, examples, *, classes, threat, generator):
        fitted = super().fit(model, examples, classes=classes, threat=threat, generator=generator)
        fitted.means += torch.rand_like(fitted.means) * 1e-3
        return fitted


class Mean(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        return BatchLoss(loss=nn.functional.cross_entropy(model(images), labels))


class Detached(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        return BatchLoss(loss=summed(model, images, labels).detach())


class KillsGradientOfFeatures(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        if not isinstance(model, nn.Sequential):
            return super().loss(model, images, labels, threat=threat, generator=generator)
        features = model[:-1](images).detach()
        return BatchLoss(loss=nn.functional.cross_entropy(model[-1](features), labels, reduction="sum"))


class Vector(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        return BatchLoss(loss=nn.functional.cross_entropy(model(images), labels, reduction="none"))


class Infinite(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        return BatchLoss(loss=summed(model, images, labels) / 0.0)


class BareTensor(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        return summed(model, images, labels)


class AdversarialLogits(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        logits = model(perturbed(model, images, labels, threat, generator))
        return BatchLoss(loss=nn.functional.cross_entropy(logits, labels, reduction="sum"), logits=logits)


class DrawsGlobally(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        return BatchLoss(loss=summed(model, images + 0.01 * torch.randn_like(images), labels))


class ChangesFromCallToCall(Natural):
    calls = 0

    def loss(self, model, images, labels, *, threat, generator):
        self.calls += 1
        return BatchLoss(loss=summed(model, images, labels) * (1 + 1e-6 * self.calls))


class FlipsMode(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        model.eval()
        perturbed(model, images, labels, threat, generator)
        model.train()
        return super().loss(model, images, labels, threat=threat, generator=generator)


class LeavesGradients(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        summed(model, images, labels).backward()
        return super().loss(model, images, labels, threat=threat, generator=generator)


class FreezesModel(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        outcome = super().loss(model, images, labels, threat=threat, generator=generator)
        model.requires_grad_(True)
        return outcome


class MovesWeights(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1e-3)
        return super().loss(model, images, labels, threat=threat, generator=generator)


class MutatesInputs(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        images += 0.01
        return super().loss(model, images, labels, threat=threat, generator=generator)


class ShiftsLabels(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        shifted = (labels + 1) % model(images).shape[1]
        return super().loss(model, images, shifted, threat=threat, generator=generator)


class NormalisesOverBatch(Natural):
    def loss(self, model, images, labels, *, threat, generator):
        return BatchLoss(loss=summed(model, images - 0.5 * images.mean(dim=0, keepdim=True), labels))


class StandsStill(Stepping):
    def step(self, model, images, labels, *, threat, generator, optimizer):
        return BatchLoss(loss=summed(model, images, labels))


class StepsAtRandom(Stepping):
    def step(self, model, images, labels, *, threat, generator, optimizer):
        noisy = images + 0.1 * torch.randn_like(images)
        return super().step(model, noisy, labels, threat=threat, generator=generator, optimizer=optimizer)


class StepsInEvaluationMode(Stepping):
    def step(self, model, images, labels, *, threat, generator, optimizer):
        model.eval()
        return super().step(model, images, labels, threat=threat, generator=generator, optimizer=optimizer)


@pytest.mark.parametrize("defense", [Natural(), NearestMean()], ids=["loss", "fit"])
def test_good_defense_passes(defense: object) -> None:
    check_defense(defense, accuracy=1.0)


@pytest.mark.parametrize("defense", [Adversarial(), Stepping()], ids=["loss", "step"])
def test_robust_defense_reaches_exact_robust_accuracy(defense: object) -> None:
    check_defense(defense, accuracy=1.0, robust_accuracy=1.0)


def test_plain_training_does_not_pass_for_robust() -> None:
    with pytest.raises(ConformanceError, match="robust accuracy on the toy problem"):
        check_defense(Natural(), robust_accuracy=0.5)


def test_inner_loop_in_evaluation_mode_passes_with_in_mode() -> None:
    class Restores(Natural):
        def loss(self, model, images, labels, *, threat, generator):
            with in_mode(model, training=False):
                candidates = perturbed(model, images, labels, threat, generator)
            return BatchLoss(loss=summed(model, candidates, labels))

    check_defense(Restores(), robust_accuracy=0.9)


@pytest.mark.parametrize(
    ("defense", "message"),
    [
        (Mean(), "reduction"),
        (NormalisesOverBatch(), "reduction"),
        (Detached(), "differentiable"),
        (KillsGradientOfFeatures(), "one for every parameter"),
        (Vector(), "a scalar"),
        (Infinite(), "finite"),
        (BareTensor(), "BatchLoss"),
        (AdversarialLogits(), "logits on the clean images"),
        (DrawsGlobally(), "source of randomness"),
        (ChangesFromCallToCall(), "repeatability"),
        (FlipsMode(), "mode of the model's modules"),
        (LeavesGradients(), "gradients of the model"),
        (FreezesModel(), "requires_grad of the parameters"),
        (MovesWeights(), "parameters of the model"),
        (MutatesInputs(), "inputs"),
        (ShiftsLabels(), "accuracy on the toy problem"),
        (StandsStill(), "every parameter moves"),
        (StepsAtRandom(), "repeatability"),
        (StepsInEvaluationMode(), "mode of the model's modules"),
        (ForgetfulFit(), "source of randomness"),
        (object(), "a method `loss`, `step` or `fit`"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:12],
)
def test_planted_bug_is_caught(defense: object, message: str) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_defense(copy.deepcopy(defense))
    assert message in str(caught.value)


def test_scheduled_defense_is_told_the_epochs_of_the_toy_problem() -> None:
    class WarmsUp(Natural):
        def __init__(self):
            self.told = set()
            self.epoch = -1

        def at_epoch(self, epoch):
            self.told.add(epoch)
            self.epoch = epoch

        def loss(self, model, images, labels, *, threat, generator):
            assert self.epoch >= 0
            return super().loss(model, images, labels, threat=threat, generator=generator)

    defense = WarmsUp()
    check_defense(defense)
    assert min(defense.told) == 0 < max(defense.told)
    assert defense.epoch == 0


class Ramp(Natural):
    """Noise that grows from batch to batch, with the number of batches as its state."""

    def __init__(self):
        self.batches = 0

    def state_dict(self):
        return {"batches": torch.tensor(self.batches)}

    def load_state_dict(self, state):
        self.batches = int(state.get("batches", torch.tensor(0)))

    def loss(self, model, images, labels, *, threat, generator):
        self.batches += 1
        noisy = images + min(1.0, self.batches / 20) * threat.epsilon * generator.normal_like(images)
        return BatchLoss(loss=super().loss(model, noisy, labels, threat=threat, generator=generator).loss)


def test_stateful_loss_is_compared_from_equal_states() -> None:
    defense = Ramp()
    check_defense(defense)
    assert defense.batches == 0

    class Mean(Ramp):
        def loss(self, *arguments, **named):
            return BatchLoss(loss=super().loss(*arguments, **named).loss / len(arguments[1]))

    with pytest.raises(ConformanceError, match="reduction"):
        check_defense(Mean())


class Paced(Natural):
    """Trains with noise that shrinks to nothing at the last step."""

    def __init__(self):
        self.left = None

    def at_step(self, progress):
        self.left = 1.0 - progress.taken / (progress.total - 1)

    def loss(self, model, images, labels, *, threat, generator):
        noisy = images + self.left * threat.epsilon * generator.normal_like(images)
        return BatchLoss(loss=super().loss(model, noisy, labels, threat=threat, generator=generator).loss)


def test_paced_defense_learns_steps_and_their_total() -> None:
    seen = []

    class Watching(Paced):
        def at_step(self, progress):
            super().at_step(progress)
            seen.append(progress)

    defense = Watching()
    check_defense(defense)
    assert defense.left == 1.0
    assert {progress.taken for progress in seen if progress.total == 320} == set(range(320))  # 40 epochs of 8 steps


def test_defense_that_counts_its_calls_in_place_of_the_steps_is_caught() -> None:
    class Counting(Paced):
        def at_step(self, progress):
            self.left = 0.5 * (self.left or 2.0)

    with pytest.raises(ConformanceError, match="schedule"):
        check_defense(Counting())


def test_method_that_is_said_to_ignore_the_threat_is_held_to_that() -> None:
    check_defense(Natural(), uses_threat=False)
    with pytest.raises(ConformanceError, match="uses_threat=False"):
        check_defense(Adversarial(), uses_threat=False)
