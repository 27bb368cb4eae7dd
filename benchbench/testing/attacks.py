"""Checks for attacks."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from benchbench.contract import Attack, Norm, Threat, frozen
from benchbench.testing.conformance import expect, expect_method, keyed, name_of, untouched
from benchbench.testing.toys import FragileToy, ToyAttackProblem, toy_attack_problem

_BOXES = ((0.0, 1.0), (-1.0, 2.0))
_RADII: dict[Norm, tuple[float, ...]] = {"linf": (0.1, 0.0), "l2": (1.0, 0.0), "l1": (5.0, 0.0)}
_SIZES = (7, 1)
_MOST_TARGETS = 10  # classes of the linear models: some attacks try every class in turn
_ROUNDING = 1e-5  # relative; float32 sums over some hundred pixels


def check_attack(
    attack: Attack,
    *,
    norms: Iterable[Norm],
    classes: Iterable[int] = (2, 1000),
    slack: float = 1.1,
    batch_independent: bool = True,
) -> None:
    """Check an attack; a `ConformanceError` tells the first broken promise.

    For each norm: candidates have the shape and dtype of the images, are finite and lie in box and ball (two boxes, also radius
    0, batches of 1 and of 7, 2 and 1,000 classes); the model, its gradients and the inputs are unchanged; equal generators give
    equal candidates; linear models of 2 and of 10 classes are fooled wherever their exact distance allows it. Starting images,
    where it takes them, are unchanged.

    Args:
        attack: the attack, options set.
        norms: the norms that it supports.
        classes: numbers of classes to try.
        slack: how many times the exact distance to the boundary epsilon must be before an image that is not fooled counts as
            a failure, at least 1. With 1.1, which suits gradient attacks of ten steps, an attack may miss the images that
            only a perturbation of more than epsilon / 1.1 fools. 1 demands the optimum.
        batch_independent: whether an image's candidate must not depend on the rest of the batch. False only for an
            attack that must draw from ``generator.torch_generator()``.
    """
    expect_method(attack, Attack, "`perturb`")
    counts = tuple(classes)
    for norm in norms:
        for lower, upper in _BOXES:
            for epsilon in _RADII[norm]:
                threat = Threat(norm=norm, epsilon=epsilon, lower=lower, upper=upper)
                for count in counts:
                    _check_candidates(attack, threat, count)
        problem = toy_attack_problem(norm, hardest=1.0 / slack)
        _check_repeatable(attack, problem)
        if batch_independent:
            _check_rows_alone(attack, problem)
        for count in sorted({min(count, _MOST_TARGETS) for count in counts}):
            _check_strength(attack, toy_attack_problem(norm, hardest=1.0 / slack, classes=count), slack)


def _check_candidates(attack: Attack, threat: Threat, classes: int) -> None:
    name = f"{name_of(attack)}, {threat.norm}, epsilon {threat.epsilon}, {classes} classes"
    for size in _SIZES:
        model, images, labels = _fragile_problem(threat, size, classes)
        generator, starts = keyed("candidates", size), images.flip(0)
        with frozen(model), untouched(attack, model, images, labels, starts):
            options = _starting(attack, starts)
            candidates = attack.perturb(model, images, labels, threat=threat, generator=generator, **options)
        expect(
            isinstance(candidates, Tensor) and candidates.shape == images.shape and candidates.dtype == images.dtype,
            f"{name}: candidates",
            expected=f"float32 tensor of shape {tuple(images.shape)}",
            got=_describe(candidates),
        )
        expect(not candidates.requires_grad, f"{name}: candidates", expected="detached", got="they carry a gradient")
        expect(candidates.isfinite().all(), f"{name}: candidates", expected="finite", got="NaN or infinity")
        low, high = float(candidates.min()), float(candidates.max())
        inside = threat.lower <= low and high <= threat.upper
        box = f"values in [{threat.lower}, {threat.upper}] (threat.project clips)"
        expect(inside, f"{name}: box", expected=box, got=f"[{low:.6g}, {high:.6g}]")
        largest = float(threat.distance(candidates, images).max())
        expect(
            largest <= threat.epsilon * (1.0 + _ROUNDING) + _ROUNDING,
            f"{name}: ball",
            expected=f"perturbations of at most {threat.epsilon} in {threat.norm} (threat.project)",
            got=f"{largest:.6g}",
        )


def _fragile_problem(threat: Threat, size: int, classes: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A model in evaluation mode with old gradients; images all over the box and on its faces."""
    model = FragileToy((3, 8, 8), classes).eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    spread = keyed("images", size).uniform(3, 8, 8, low=-0.1, high=1.1).clamp(0.0, 1.0)
    images = threat.lower + spread * (threat.upper - threat.lower)
    labels = keyed("labels", size).integers(classes)
    return model, images, labels


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} tensor of shape {tuple(value.shape)}"
    return type(value).__name__


def _check_repeatable(attack: Attack, problem: ToyAttackProblem) -> None:
    first, second = _perturb(attack, problem), _perturb(attack, problem)
    expect(
        torch.equal(first, second),
        f"{name_of(attack)}, {problem.threat.norm}: repeatability",
        expected="equal generators give equal candidates",
        got=f"differences of up to {float((first - second).abs().max()):.3g}",
    )


def _check_rows_alone(attack: Attack, problem: ToyAttackProblem) -> None:
    together = _perturb(attack, problem)
    for chosen in (torch.tensor([7]), torch.tensor([8, 2, 5])):
        alone = _perturb(attack, problem, rows=chosen)
        gap = float((alone - together[chosen]).abs().max())
        expect(
            gap <= 1e-4,
            f"{name_of(attack)}, {problem.threat.norm}: independence of the batch",
            expected="the same candidate for an image in any batch (normalise per image)",
            got=f"differences of up to {gap:.3g}",
        )


def _check_strength(attack: Attack, problem: ToyAttackProblem, slack: float) -> None:
    candidates = _perturb(attack, problem)
    fooled = problem.model(candidates).argmax(dim=1) != problem.labels
    reachable = problem.distances * slack <= problem.threat.epsilon * (1.0 + _ROUNDING)
    missed = [round(float(d), 4) for d in problem.distances[reachable & ~fooled]]
    expect(
        not missed,
        f"{name_of(attack)}, {problem.threat.norm}, {len(problem.model.bias)} classes: strength on a linear model",
        expected=f"every image at an exact distance of at most epsilon / slack = {problem.threat.epsilon} / {slack} = "
        f"{problem.threat.epsilon / slack:.4g} fooled; `slack` is how far an attack may fall short of the optimum",
        got=f"not fooled at distances {missed}",
    )


def _perturb(attack: Attack, problem: ToyAttackProblem, rows: Tensor | None = None) -> Tensor:
    chosen = torch.arange(len(problem.labels)) if rows is None else rows
    generator = keyed("toy problem", len(problem.labels)).take(chosen)
    images, labels = problem.images[chosen], problem.labels[chosen]
    with frozen(problem.model):
        starts = problem.images[(labels == 0).long()]  # the first image is of class 0, the second of the last one
        options = _starting(attack, starts)
        return attack.perturb(problem.model, images, labels, threat=problem.threat, generator=generator, **options)


def _starting(attack: Attack, starts: Tensor) -> dict[str, Tensor]:
    """The keyword ``starts``, for an attack that takes it."""
    return {"starts": starts} if getattr(attack, "takes_starts", False) else {}
