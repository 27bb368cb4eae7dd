"""Sound bounds of a model's margins, and of its local Lipschitzness.

A model that knows its own bounds is a `CertifiedModel`. Of any other module `benchbench.bounds` reads the layers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from benchbench.contract.threat import Threat, tolerance
from benchbench.errors import NoBoundError

if TYPE_CHECKING:  # importing benchbench must not import torch
    from torch import Tensor, nn

    from benchbench.bounds.reading import Reading

REAL_ARITHMETIC = "real arithmetic only"
SOLVER = "real arithmetic only, up to the tolerance of HiGHS"


@runtime_checkable
class CertifiedModel(Protocol):
    """A module that bounds itself, for instance by a theorem."""

    def margin_bounds(self, images: Tensor, labels: Tensor, *, threat: Threat) -> Tensor:
        """Lower bounds of the margin over ball and box, float64 (N,), as float32 evaluates it."""
        ...

    def lipschitz_bounds(self, images: Tensor, *, threat: Threat) -> Tensor:
        """Upper bounds of the local Lipschitzness over ball and box, float64 (N,)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Sound bounds, one per example.

    Attributes:
        values: float64 (N,).
        note: what limits them, ``"real arithmetic only"`` or empty: then they also hold as float32 evaluates the model.
    """

    values: Tensor
    note: str = ""


def bound_margins(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat: Threat,
    steps: int = 20,
    branches: int = 0,
    seconds: float | None = None,
    exact: float = 0.0,
    hard: Tensor | None = None,
) -> Bounds:
    """Lower bounds of the label's logit minus the largest other one.

    They hold for every candidate that the harness accepts: in the box, and in the ball of the radius plus its tolerance.

    Args:
        model: in evaluation mode, with frozen parameters.
        images: float32 (N, ...), inside the box; labels int64 (N,).
        threat: ball and box, in any norm.
        steps: of the optimisation of slopes.
        branches: parts that branch and bound splits per example, at most.
        seconds: after which it splits no further part of an example; None for no limit. Results then depend on the machine.
        exact: seconds of HiGHS for each margin of an L-inf ball that is then still open; 0 for none. Then the note says that
            bounds hold up to the solver's tolerance, in real arithmetic.
        hard: bool (N,), the examples that branch and bound and HiGHS are for; None for all.

    Raises:
        NoBoundError: a layer has no rule; the message names it.
    """
    wide = replace(threat, epsilon=threat.epsilon + tolerance(threat, images[0].numel()))
    if isinstance(model, CertifiedModel):
        return Bounds(values=model.margin_bounds(images, labels, threat=wide))
    from benchbench.bounds.branching import Effort
    from benchbench.bounds.margins import margin_bounds
    from benchbench.bounds.regions import ball

    reading = _read(model, images)
    region = ball(images, wide.epsilon, wide.order, lower=wide.lower, upper=wide.upper)
    effort = Effort(steps=steps, branches=branches, seconds=seconds, exact=exact, curved=True)
    values = margin_bounds(reading.network, region, labels, effort, rounded=reading.rounded, hard=hard)
    return Bounds(values=values, note=SOLVER if exact else "" if reading.rounded else REAL_ARITHMETIC)


@dataclass(frozen=True, kw_only=True)
class LipschitzSides:
    """Bounds of the local Lipschitzness from both sides, float64 (N,) each, in real arithmetic.

    Attributes:
        converged: what a search found that went on until it stopped growing.
        limit: the exact value of the limit as the radius goes to 0; 0 where the model has a kink at the image.
        upper: from above; None for no bound, see `note`.
        note: what limits them: ``"real arithmetic only"``, or why there is no bound from above.
    """

    converged: Tensor
    limit: Tensor
    upper: Tensor
    note: str = REAL_ARITHMETIC


def bound_lipschitz(
    model: nn.Module,
    images: Tensor,
    *,
    threat: Threat,
    draw: Callable[[int], Tensor],
    branches: int = 0,
    seconds: float | None = None,
) -> LipschitzSides:
    """Both sides of the local Lipschitzness over an L-inf ball and the box.

    Args:
        model, images, threat, branches, seconds: as in `bound_margins`.
        draw: numbers in [0, 1) by their place in the search, from 0, float (N, ...).

    Raises:
        NoBoundError: a layer has no rule; the message names it.
    """
    import torch

    from benchbench.bounds.branching import Effort
    from benchbench.bounds.secants import secant_bounds
    from benchbench.bounds.slopes import converged_ratios, limit_ratios

    radius, box = threat.epsilon + tolerance(threat, images[0].numel()), (threat.lower, threat.upper)
    if isinstance(model, CertifiedModel):
        converged = converged_ratios(_in_float64(model), images, threat.epsilon, box=box, draw=draw)
        upper = model.lipschitz_bounds(images, threat=replace(threat, epsilon=radius))
        return LipschitzSides(converged=converged, limit=torch.zeros_like(upper), upper=upper)
    network = _read(model, images).network
    converged = converged_ratios(network, images, threat.epsilon, box=box, draw=draw)
    limit = limit_ratios(network, images, box=box)
    effort = Effort(steps=0, branches=branches, seconds=seconds, at_once=16, curved=True)
    upper = secant_bounds(network, images, radius, effort, box=box, below=torch.maximum(converged, limit))
    return LipschitzSides(converged=converged, limit=limit, upper=upper)


def _in_float64(model: nn.Module) -> nn.Module:
    """The model, or a float64 copy: over short distances, rounding of float32 gives any ratio."""
    import itertools

    import torch

    numbers = (one.dtype for one in itertools.chain(model.parameters(), model.buffers()) if one.is_floating_point())
    return model if all(kind == torch.float64 for kind in numbers) else copy.deepcopy(model).double()


def _read(model: nn.Module, images: Tensor) -> Reading:
    from benchbench.bounds.reading import read_network

    if not math.isfinite(float(images.abs().max())):
        raise NoBoundError("an input is not finite")
    return read_network(model, images)
