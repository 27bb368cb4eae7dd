"""One run of FAB (Croce & Hein, algorithm 1): a biased walk along the decision boundary."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchbench.builtin.attacks.autoattack.standing import Judgement, confirmed, judge, keep_rows
from benchbench.builtin.attacks.margins import broadcast
from benchbench.builtin.deferred import Tensor, nn, torch, without_gradient
from benchbench.contract import Threat

# The gain of a level is piecewise linear and concave: Newton's method from 0 climbs monotonically and ends exactly.
_NEWTON_STEPS = 12  # mostly 3 to 8 suffice
_CLOSE = 1e-6  # relative: a level this close no longer changes, so that it does not depend on the rest of the batch


def nearest_on_hyperplane(points: Tensor, normals: Tensor, gaps: Tensor, *, threat: Threat) -> Tensor:
    """The smallest step (N, d) from each point onto its hyperplane, in the norm and box.

    The problem of Croce & Hein, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack", ICML 2020,
    equation 4. At the optimum every coordinate has moved by min(level * rate, room): `room` is its distance to the face of the
    box, its rate is 1 for L-inf and |normal| for L2. The gain along the normal is concave in the level, so Newton's method
    finds the level without the sorting that the paper proposes.

    The points (N, d) lie inside the box, and the hyperplane is {z: normal . z = normal . point + gap}. Where it lies outside
    the box, the step goes as far as the box allows.
    """
    scale = normals.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(normals.dtype).tiny)
    slopes = normals.abs() / scale
    goals = gaps.abs()[:, None] / scale
    signs = (normals * gaps[:, None].sign()).sign()
    room = torch.where(signs > 0, threat.upper - points, points - threat.lower).clamp(min=0.0)
    rates = slopes if threat.norm == "l2" else torch.ones_like(slopes)
    level = torch.zeros_like(goals)
    for _ in range(_NEWTON_STEPS):
        moved = level * rates
        missing = goals - (slopes * torch.minimum(moved, room)).sum(dim=1, keepdim=True)
        growth = (slopes * rates * (moved < room)).sum(dim=1, keepdim=True)
        short = (missing > _CLOSE * goals) & (growth > 0)
        if level.device.type == "cpu" and not bool(short.any()):  # elsewhere this would wait for the device
            break
        level = torch.where(short, level + missing / growth, level)
    return signs * torch.minimum(level * rates, room)


LARGEST_BIAS = 0.1  # alpha_max: the largest weight of the step from the image itself
OVERSHOOT = 1.05  # eta
BACKWARD = 0.9  # beta: the share of the way that an adversarial point keeps
FINAL_STEPS = 3
FINAL_CAUTION = 0.9  # of the way to the boundary: with linear logits, the boundary itself does not fool the model
STEPS_BETWEEN_LEAVES = 10  # how often finished examples leave, the only time that the host waits for the device


@dataclass(frozen=True, kw_only=True)
class Closest:
    """The closest adversarial examples (N, ...), distances (N,); if none, image and infinity."""

    candidates: Tensor
    distances: Tensor


@dataclass(kw_only=True)
class _State:
    """One row per example whose search goes on."""

    rows: Tensor  # position in the batch
    images: Tensor
    labels: Tensor
    targets: Tensor
    current: Tensor
    closest: Tensor
    distance: Tensor


class BoundaryWalk:
    """FAB towards one target class per example, on one batch, with frozen parameters.

    Of the threat only norm (L-inf or L2) and box count. The search for an image ends with an adversarial example as close as
    `enough`; 0 for never.
    """

    def __init__(self, model: nn.Module, *, threat: Threat, steps: int, enough: float) -> None:
        self._model = model
        self._threat = threat
        self._steps = steps
        self._enough = enough

    @without_gradient
    def run(self, images: Tensor, labels: Tensor, targets: Tensor, start: Tensor) -> Closest:
        """The closest adversarial examples on the way from `start` (N, ...), of any wrong class.

        The images (N, ...) are classified correctly as `labels` (N,); `targets`, int64 (N,), are the classes to walk towards.
        """
        state = _State(
            rows=torch.arange(len(images), device=images.device),
            images=images,
            labels=labels,
            targets=targets,
            current=start,
            closest=images,
            distance=images.new_full((len(images),), math.inf),
        )
        candidates, distances = images.clone(), state.distance.clone()
        for step in range(1, self._steps + 1):
            self._move(state)
            if step == self._steps:
                self._refine(state)
            if step % STEPS_BETWEEN_LEAVES == 0 or step == self._steps:
                self._confirm(state)
                candidates.index_copy_(0, state.rows, state.closest)
                distances.index_copy_(0, state.rows, state.distance)
                state = keep_rows(state, (state.distance > self._enough).nonzero()[:, 0])
                if len(state.rows) == 0:
                    break
        return Closest(candidates=candidates, distances=distances)

    def _move(self, state: _State) -> None:
        """Mix the steps from iterate and image onto the linear boundary; step back if adversarial."""
        rise, gradient = self._slope(state)
        normals = gradient.flatten(1)
        from_current = state.current.flatten(1)
        from_image = state.images.flatten(1)
        # normal . z = normal . current - rise is where the linearised difference of logits is 0.
        gap_of_image = -rise - (normals * (from_image - from_current)).sum(dim=1)
        steps = nearest_on_hyperplane(
            torch.cat([from_current, from_image]),
            torch.cat([normals, normals]),
            torch.cat([-rise, gap_of_image]),
            threat=self._threat,
        )
        own, direct = (part.view_as(state.images) for part in steps.chunk(2))
        bias = broadcast(_bias(self._threat, own, direct), own)
        mixed = (state.current + OVERSHOOT * own).lerp(state.images + OVERSHOOT * direct, bias)
        moved = mixed.clamp(self._threat.lower, self._threat.upper)
        adversarial = self._record(state, moved).fooled
        back = state.images + BACKWARD * (moved - state.images)
        state.current = torch.where(broadcast(adversarial, moved), back, moved)

    def _slope(self, state: _State) -> tuple[Tensor, Tensor]:
        """The difference f_t - f_y at the iterates (N,) and its gradient (N, ...)."""
        with torch.enable_grad():
            current = state.current.detach().requires_grad_(True)
            logits = self._model(current)
            rise = logits.gather(1, state.targets[:, None])[:, 0] - logits.gather(1, state.labels[:, None])[:, 0]
            (gradient,) = torch.autograd.grad(rise.sum(), current)
        return rise.detach(), gradient

    def _record(self, state: _State, candidates: Tensor) -> Judgement:
        """Judge candidates and keep those that are adversarial and closer than before."""
        judgement = judge(self._model(candidates), state.labels)
        distance = self._threat.distance(candidates, state.images)
        closer = judgement.fooled & (distance < state.distance)
        state.distance = torch.where(closer, distance, state.distance)
        state.closest = torch.where(broadcast(closer, candidates), candidates, state.closest)
        return judgement

    def _confirm(self, state: _State) -> None:
        """Discard closest points that are adversarial by rounding only, before their examples leave."""
        found = Judgement(margins=state.distance, fooled=state.distance.isfinite())
        refuted = found.fooled & ~confirmed(self._model, state.closest, state.labels, found).fooled
        state.distance = torch.where(refuted, math.inf, state.distance)
        state.closest = torch.where(broadcast(refuted, state.images), state.images, state.closest)

    def _refine(self, state: _State) -> None:
        """Final search: 3 steps of false position from image to closest point (section 3.3)."""
        near, near_rise = state.images, judge(self._model(state.images), state.labels).margins
        far, far_rise = state.closest, judge(self._model(state.closest), state.labels).margins
        for _ in range(FINAL_STEPS):
            share = FINAL_CAUTION * (far_rise / (far_rise - near_rise).clamp(min=1e-12)).clamp(0.0, 1.0)
            middle = far + broadcast(share, far) * (near - far)
            judgement = self._record(state, middle)
            adversarial = broadcast(judgement.fooled, far)
            near, far = torch.where(adversarial, near, middle), torch.where(adversarial, middle, far)
            near_rise = torch.where(judgement.fooled, near_rise, judgement.margins)
            far_rise = torch.where(judgement.fooled, judgement.margins, far_rise)


def _bias(threat: Threat, own: Tensor, direct: Tensor) -> Tensor:
    """Weight (N,) of the image's step: large where the iterate is farther from the boundary."""
    zero = torch.zeros_like(own)
    own_size = threat.distance(own, zero).clamp(min=1e-8)
    direct_size = threat.distance(direct, zero).clamp(min=1e-8)
    return (own_size / (own_size + direct_size)).clamp(max=LARGEST_BIAS)
