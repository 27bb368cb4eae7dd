"""Checks for models that bound themselves."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchbench.contract import CertifiedModel, Threat, adversarial_images, uniform_start
from benchbench.testing.conformance import expect, keyed, name_of, untouched

_STARTS, _STEPS, _STEP_RATIO = 4, 20, 0.1  # of attacks
_SHARES = (1.0, 0.3, 0.05)  # of the radius: random points
_ROUNDING = 1e-9  # of ratios in float64, relative


def check_certificates(model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat) -> None:
    """Check a `CertifiedModel`; a `ConformanceError` tells the first broken promise.

    Bounds are float64 (N,) and not NaN, equal for an image alone, and not tighter for a larger radius; they change neither
    model nor images. No random point of ball and box and no point that attacks find has a smaller margin than the bound or, in
    an L-inf ball and in float64, a larger ratio ||f(x) - f(x')||_1 / ||x - x'||_inf.

    Args:
        model: in evaluation mode, with frozen parameters.
        images: float32 (N, ...), N > 1, inside the threat's box; labels int64 (N,).
        threat: ball and box, epsilon above 0.
    """
    name = name_of(model)
    expect(isinstance(model, CertifiedModel), f"{name}: type", expected="a CertifiedModel", got=type(model).__name__)
    with untouched(model, model, images, labels):
        margins, constants = _bounds(model, images, labels, threat)
    for kind, bound in (("margin_bounds", margins), ("lipschitz_bounds", constants)):
        right = bound.dtype == torch.float64 and bound.shape == labels.shape and not bool(bound.isnan().any())
        expect(right, f"{name}: {kind}", expected=f"float64 ({len(labels)},) without NaN", got=bound)
    alone = _bounds(model, images[1:], labels[1:], threat)
    same = all(torch.allclose(one[1:], other) for one, other in zip((margins, constants), alone))
    expect(same, f"{name}: an image alone", expected=(margins[1:], constants[1:]), got=alone)
    wide = _bounds(model, images, labels, replace(threat, epsilon=2 * threat.epsilon))
    looser = bool((wide[0] <= margins).all() and (wide[1] >= constants).all())
    expect(looser, f"{name}: twice the radius", expected=f"no tighter than {margins}, {constants}", got=wide)
    for candidates in _candidates(model, images, labels, threat):
        found = _margins(model, candidates, labels)
        expect((found >= margins).all(), f"{name}: margin_bounds", expected=f"at most {found}", got=margins)
        ratios = _ratios(model, candidates, images)
        sound = threat.norm != "linf" or bool((ratios <= constants * (1 + _ROUNDING)).all())
        expect(sound, f"{name}: lipschitz_bounds", expected=f"at least {ratios}", got=constants)


def _bounds(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> tuple[Tensor, Tensor]:
    if not isinstance(model, CertifiedModel):
        raise TypeError(type(model).__name__)
    return model.margin_bounds(images, labels, threat=threat), model.lipschitz_bounds(images, threat=threat)


def _candidates(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> list[Tensor]:
    found = [
        uniform_start(
            images, threat=replace(threat, epsilon=share * threat.epsilon), generator=keyed(str(share), len(images))
        )
        for share in _SHARES
    ]
    for start in range(_STARTS):
        drawn = keyed(f"start {start}", len(images))
        found.append(
            adversarial_images(
                model, images, labels, threat=threat, generator=drawn, steps=_STEPS, step_ratio=_STEP_RATIO
            )
        )
    return found


@torch.no_grad()
def _margins(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    logits = model(images).double()
    others = logits.scatter(1, labels[:, None], -math.inf).amax(dim=1)
    return logits.gather(1, labels[:, None])[:, 0] - others


@torch.no_grad()
def _ratios(model: nn.Module, candidates: Tensor, images: Tensor) -> Tensor:
    exact, points, centres = copy.deepcopy(model).double(), candidates.double(), images.double()
    length = (points - centres).abs().flatten(1).amax(dim=1)
    return (exact(points) - exact(centres)).abs().sum(dim=1) / length.clamp(min=1e-30)
