"""Checks for models that bound themselves."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from benchbench.contract import CertifiedModel, Threat, ascend, frozen, uniform_start
from benchbench.testing.conformance import ConformanceError, expect, keyed, name_of, untouched

_SHARES = (1.0, 0.3, 0.05)  # of the radius: points to start from
_RIVALS = 9  # classes that attacks aim at, those with the largest logits first
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
    if not isinstance(model, CertifiedModel):
        raise ConformanceError(f"{name}: type", expected="a CertifiedModel", got=type(model).__name__)
    with untouched(model, model, images, labels):
        margins = model.margin_bounds(images, labels, threat=threat)
        constants = model.lipschitz_bounds(images, threat=threat)
    for kind, bound in (("margin_bounds", margins), ("lipschitz_bounds", constants)):
        right = bound.dtype == torch.float64 and bound.shape == labels.shape and not bool(bound.isnan().any())
        expect(right, f"{name}: {kind}", expected=f"float64 ({len(labels)},) without NaN", got=bound)
    alone = model.margin_bounds(images[1:], labels[1:], threat=threat)
    expect(torch.allclose(margins[1:], alone), f"{name}: an image alone", expected=margins[1:], got=alone)
    wide = model.margin_bounds(images, labels, threat=replace(threat, epsilon=2 * threat.epsilon))
    expect((wide <= margins).all(), f"{name}: twice the radius", expected=f"at most {margins}", got=wide)
    exact = copy.deepcopy(model).double()
    for candidates in _candidates(model, images, labels, threat):
        logits = model(candidates).double()
        others = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
        found = logits.gather(1, labels[:, None])[:, 0] - others
        expect((found >= margins).all(), f"{name}: margin_bounds", expected=f"at most {found}", got=margins)
        length = (candidates.double() - images.double()).abs().flatten(1).amax(dim=1).clamp(min=1e-30)
        ratios = (exact(candidates.double()) - exact(images.double())).abs().sum(dim=1) / length
        sound = threat.norm != "linf" or bool((ratios <= constants * (1 + _ROUNDING)).all())
        expect(sound, f"{name}: lipschitz_bounds", expected=f"at least {ratios}", got=constants)


def _candidates(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Iterator[Tensor]:
    ranked = model(images).scatter(1, labels[:, None], -torch.inf).argsort(dim=1, descending=True)
    rivals = ranked[:, : min(ranked.shape[1] - 1, _RIVALS)].T
    for share in _SHARES:
        near = replace(threat, epsilon=share * threat.epsilon)
        start = uniform_start(images, threat=near, generator=keyed(f"start {share}", len(images)))
        yield start
        for rival in rivals:
            lead = partial(_lead, model, labels, rival)
            with frozen(model):
                found = ascend(lead, start, images, threat=near, steps=20, step_size=0.1 * near.epsilon)
            yield found


def _lead(model: nn.Module, labels: Tensor, rival: Tensor, images: Tensor) -> Tensor:
    """By how much the rival's logits exceed the labels', summed."""
    logits: Tensor = model(images)
    return (logits.gather(1, rival[:, None]) - logits.gather(1, labels[:, None])).sum()
