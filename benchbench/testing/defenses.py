"""Checks for defenses: losses, steps and fits."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from benchbench.contract import (
    BatchLoss,
    Defense,
    FittingDefense,
    PacedDefense,
    PreparedDefense,
    Recipe,
    RecipeDefense,
    ScheduledDefense,
    StatefulDefense,
    SteppingDefense,
    Threat,
)
from benchbench.contract.training import AnyDefense, LoopDefense, announce
from benchbench.testing.conformance import expect, expect_method, keyed, name_of, untouched
from benchbench.testing.preparation import TOY_RECIPE, prepared, toy_training_host
from benchbench.testing.resumption import FIRST_STEP, check_resumption, check_schedule, kept_state, learn, restore
from benchbench.testing.toys import TOY_THREAT, FragileToy, LinearToy, smooth_toy, toy_training_examples

_SIZES = (1, 2, 7)  # training mode cannot batch-normalise a single example: size 1 goes to models without
_CLASSES = (2, 1000)


def check_defense(
    defense: AnyDefense,
    *,
    threat: Threat = TOY_THREAT,
    accuracy: float = 0.95,
    robust_accuracy: float = 0.0,
    uses_threat: bool = True,
    rounding: float = 1e-3,
) -> None:
    """Check a defense; a `ConformanceError` tells the first broken promise.

    A `Defense` returns a finite loss that is the sum of the losses of its examples and reaches every parameter; restores
    modes, parameters, gradients, ``requires_grad`` and inputs; draws from the generator only; keeps no state between batches
    (so that training resumes identically); and trains a linear model. A `SteppingDefense` must change the parameters and
    nothing else, repeatably; a `FittingDefense` must return the same model twice. Both must also solve the toy problem. A
    `StatefulDefense` may keep state if training from its ``state_dict`` continues identically; every other check begins each
    call with the state that the defense has now. A `ScheduledDefense` or `PacedDefense` is at its first step, except on
    the toy problem, and must compute the same there after it has been at its last step.

    Args:
        defense: the defense, options set.
        threat: the ball of the toy problem to be robust in.
        accuracy: smallest accuracy on the toy problem.
        robust_accuracy: smallest robust accuracy on the toy problem, which is known exactly. Plain training stays under
            0.5 at `TOY_THREAT`; set 0.9 for a robust method.
        rounding: allowed relative difference between the loss of a batch and the sum of its examples' losses: a sign step
            may flip where the gradient is rounding noise. A method that ascends tiny differences magnifies it.
        uses_threat: as in its offer. With False, the loss of a `Defense` must be the same in every ball.
    """
    if isinstance(defense, FittingDefense):
        _check_fit(defense, threat, accuracy)
        return
    expect_method(defense, (Defense, SteppingDefense), "`loss`, `step` or `fit`")
    prepared(defense, smooth_toy((3, 8, 8), 2))
    if isinstance(defense, RecipeDefense):
        _check_recipe(defense)
    beginning = kept_state(defense)
    if isinstance(defense, StatefulDefense):
        check_resumption(defense, threat)
        restore(defense, beginning)
    announce(defense, FIRST_STEP)
    if isinstance(defense, (ScheduledDefense, PacedDefense)):
        check_schedule(defense, threat)
    if isinstance(defense, SteppingDefense):
        _check_step(defense, threat)
    else:
        from_now = _FromNow(defense)
        for classes in _CLASSES:
            prepared(defense, smooth_toy((3, 8, 8), classes), classes)
            _check_manners(from_now, threat, classes)
            _check_loss(from_now, threat, classes)
            _check_sum(from_now, threat, classes, rounding)
        if getattr(defense, "smooths_labels", False):
            _check_smoothing(from_now, threat)
        if not uses_threat:
            _check_that_the_threat_is_ignored(from_now, threat)
    restore(defense, beginning)
    _check_training(defense, threat, accuracy, robust_accuracy)
    restore(defense, beginning)
    announce(defense, FIRST_STEP)


def _check_recipe(defense: RecipeDefense) -> None:
    once = defense.adapt_recipe(TOY_RECIPE)
    name = f"{name_of(defense)}: recipe"
    expect(isinstance(once, Recipe), name, expected="a Recipe", got=type(once).__name__)
    expect(not once.contradictions, name, expected="fields that fit each other", got=once.contradictions)
    again = defense.adapt_recipe(once)
    expect(once == again, name, expected="the same recipe when adapted again", got=again)


class _FromNow:
    """A defense that computes every loss from the state that it has now, under its name."""

    def __init__(self, defense: Defense) -> None:
        self.__name__ = name_of(defense)
        self._defense, self._state = defense, kept_state(defense)

    def loss(self, *arguments: Any, **named: Any) -> BatchLoss:
        restore(self._defense, self._state)
        return self._defense.loss(*arguments, **named)


def _batch(size: int, classes: int) -> tuple[Tensor, Tensor]:
    images = keyed("training images", size).uniform(3, 8, 8)
    return images, keyed("training labels", size).integers(classes)


def _loss(defense: Defense, model: nn.Module, threat: Threat, classes: int, rows: Tensor) -> BatchLoss:
    """Loss of some rows of a batch of 7; a row's image and draws do not depend on the choice."""
    images, labels = _batch(7, classes)
    generator = keyed("draws", 7).take(rows)
    return defense.loss(model, images[rows], labels[rows], threat=threat, generator=generator)


def _check_manners(defense: Defense, threat: Threat, classes: int) -> None:
    model = FragileToy((3, 8, 8), classes).train()
    model.normalisation.eval()  # as in fine-tuning: its own mode must be restored, not that of the rest
    model.first.bias.requires_grad_(False)
    images, labels = _batch(_SIZES[-1], classes)
    with untouched(defense, model, images, labels, buffers=False, random_state=False):
        defense.loss(model, images, labels, threat=threat, generator=keyed("draws", len(labels)))
    quiet = smooth_toy((3, 8, 8), classes).train()
    with untouched(defense, quiet, images, labels):
        defense.loss(quiet, images, labels, threat=threat, generator=keyed("draws", len(labels)))


def _check_loss(defense: Defense, threat: Threat, classes: int) -> None:
    name = f"{name_of(defense)}, {classes} classes"
    for size in _SIZES:
        model = smooth_toy((3, 8, 8), classes).train()
        outcome = _loss(defense, model, threat, classes, torch.arange(size))
        expect(isinstance(outcome, BatchLoss), f"{name}: result", expected="BatchLoss", got=type(outcome).__name__)
        loss = outcome.loss
        expect(loss.shape == (), f"{name}: loss", expected="a scalar", got=f"shape {tuple(loss.shape)}")
        expect(loss.isfinite(), f"{name}: loss", expected="finite", got=loss.item())
        expect(loss.requires_grad, f"{name}: loss", expected="differentiable", got="no gradient: detached somewhere")
        _check_logits(name, model, outcome.logits, _batch(7, classes)[0][:size])
        loss.backward()  # type: ignore[no-untyped-call]
        _check_gradients(name, model)


def _check_logits(name: str, model: nn.Module, logits: Tensor | None, images: Tensor) -> None:
    if logits is None:
        return
    clean: Tensor = model(images)
    same = logits.shape == clean.shape and torch.allclose(logits, clean, rtol=1e-3, atol=1e-4)
    expect(same, f"{name}: logits", expected="the model's logits on the clean images, or None", got="other values")


def _check_gradients(name: str, model: nn.Module) -> None:
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    dead = [key for key, gradient in gradients.items() if gradient is None or not gradient.any()]
    expect(not dead, f"{name}: gradient of the loss", expected="one for every parameter", got=f"none for {dead}")
    wild = [key for key, gradient in gradients.items() if gradient is not None and not gradient.isfinite().all()]
    expect(not wild, f"{name}: gradient of the loss", expected="finite", got=f"not for {wild}")


def _check_sum(defense: Defense, threat: Threat, classes: int, rounding: float) -> None:
    model = smooth_toy((3, 8, 8), classes).train()
    everything = torch.arange(7)
    whole = _loss(defense, model, threat, classes, everything).loss.item()
    parts = sum(_loss(defense, model, threat, classes, row).loss.item() for row in torch.split(everything, 1))
    expect(
        abs(whole - parts) <= rounding * max(1.0, abs(parts)),
        f"{name_of(defense)}, {classes} classes: reduction",
        expected=f"the sum over the batch: {parts:.6g}, the sum of the losses of its seven examples",
        got=f"{whole:.6g} (a mean would be {parts / 7:.6g})",
    )
    again = _loss(defense, model, threat, classes, everything).loss.item()
    expect(
        again == whole,
        f"{name_of(defense)}, {classes} classes: repeatability",
        expected="equal generators and equal states give equal losses, also after other batches (no hidden state)",
        got=f"{whole!r}, then {again!r}",
    )


def _check_smoothing(defense: Defense, threat: Threat) -> None:
    images, labels = _batch(7, 2)
    hard = nn.functional.one_hot(labels, 2).float()
    given = (labels, hard, 0.7 * hard + 0.15)
    arguments = [(smooth_toy((3, 8, 8), 2).train(), images, one) for one in given]
    losses = [defense.loss(*one, threat=threat, generator=keyed("draws", 7)).loss.detach() for one in arguments]
    expect(
        torch.isclose(losses[0], losses[1], rtol=1e-3) and not torch.isclose(losses[0], losses[2], rtol=1e-3),
        f"{name_of(defense)}: smoothed labels",
        expected="the same loss for labels and their one-hot probabilities, another for smoothed ones: it says smooths_labels",
        got=[round(float(loss), 6) for loss in losses],
    )


def _check_that_the_threat_is_ignored(defense: Defense, threat: Threat) -> None:
    model, everything = smooth_toy((3, 8, 8), 2).train(), torch.arange(7)
    loss = _loss(defense, model, threat, 2, everything).loss.item()
    for other in (dataclasses.replace(threat, epsilon=3 * threat.epsilon), dataclasses.replace(threat, norm="l1")):
        expect(
            _loss(defense, model, other, 2, everything).loss.item() == loss,
            f"{name_of(defense)}: loss in the {other.norm} ball of radius {other.epsilon}",
            expected=f"that of the {threat.norm} ball of radius {threat.epsilon}, {loss}: its offer says uses_threat=False",
            got="another one",
        )


def _check_step(defense: SteppingDefense, threat: Threat) -> None:
    images, labels = _batch(7, 2)
    results, beginning = [], kept_state(defense)
    for _ in range(2):
        restore(defense, beginning)
        model = smooth_toy((3, 8, 8), 2).train()
        before = [parameter.detach().clone() for parameter in model.parameters()]
        modes = {name: module.training for name, module in model.named_modules()}
        _step(defense, model, images, labels, threat)
        after = [parameter.detach().clone() for parameter in model.parameters()]
        moved = all(bool((old != new).any()) and bool(new.isfinite().all()) for old, new in zip(before, after))
        expect(moved, f"{name_of(defense)}: step", expected="every parameter moves and stays finite", got="it does not")
        kept = {name: module.training for name, module in model.named_modules()} == modes
        expect(kept, f"{name_of(defense)}: mode of the model's modules", expected="as it was", got="changed")
        results.append(after)
    same = all(torch.equal(first, second) for first, second in zip(*results))
    expect(same, f"{name_of(defense)}: repeatability", expected="equal generators give equal steps", got="they differ")


def _step(defense: SteppingDefense, model: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kept = images.clone(), labels.clone()
    generator = keyed("draws", len(labels))
    outcome = defense.step(model, images, labels, threat=threat, generator=generator, optimizer=optimizer)
    unchanged = torch.equal(kept[0], images) and torch.equal(kept[1], labels)
    expect(unchanged, f"{name_of(defense)}: inputs", expected="left as they were", got="changed in place")
    finite = isinstance(outcome, BatchLoss) and bool(outcome.loss.isfinite())
    expect(finite, f"{name_of(defense)}: result", expected="BatchLoss with a finite loss", got=outcome)


def _check_training(defense: LoopDefense, threat: Threat, accuracy: float, robust_accuracy: float) -> None:
    examples = toy_training_examples()
    model = LinearToy(torch.zeros(2, 64)).train()
    prepared(defense, model)
    learn(defense, model, examples, threat=threat)
    _expect_accuracy(defense, model.eval(), accuracy)
    robust = float(model.robust(examples.inputs, examples.labels, threat).float().mean())
    expect(
        robust >= robust_accuracy,
        f"{name_of(defense)}: robust accuracy on the toy problem, {threat.norm} {threat.epsilon}",
        expected=f"at least {robust_accuracy}",
        got=f"{robust:.4f} (exact)",
    )


def _expect_accuracy(defense: object, model: nn.Module, accuracy: float) -> None:
    examples = toy_training_examples()
    with torch.no_grad():
        reached = float((model(examples.inputs).argmax(dim=1) == examples.labels).float().mean())
    expect(
        reached >= accuracy,
        f"{name_of(defense)}: accuracy on the toy problem",
        expected=f"at least {accuracy}",
        got=f"{reached:.4f}",
    )


def _check_fit(defense: FittingDefense, threat: Threat, accuracy: float) -> None:
    examples = toy_training_examples()
    blank = LinearToy(torch.zeros(2, 64))
    host, fitted = toy_training_host(blank), []
    for _ in range(2):
        if isinstance(defense, PreparedDefense):
            defense.prepare(host)  # one host: the second fit goes on from what the first has saved
        with untouched(defense, blank, examples.inputs, examples.labels):
            generator = keyed("fit", len(examples))
            model = defense.fit(blank, examples, classes=2, threat=threat, generator=generator)
        fitted.append(model.eval())
    logits = [model(examples.inputs) for model in fitted]
    name = name_of(defense)
    expect(logits[0].shape == (len(examples), 2), f"{name}: logits", expected="(N, 2)", got=tuple(logits[0].shape))
    expect(torch.equal(logits[0], logits[1]), f"{name}: repeatability", expected="the same model twice", got="another")
    expect(bool(fitted[0].state_dict()), f"{name}: state_dict", expected="all state of the model", got="nothing")
    _expect_accuracy(defense, fitted[0], accuracy)
