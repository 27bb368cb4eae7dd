"""Auto-PGD (Croce & Hein 2020, algorithm 1): momentum ascent that halves its step size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from benchbench.builtin.attacks.autoattack.standing import Judgement, confirmed, judge, keep_rows
from benchbench.builtin.attacks.margins import broadcast, margin
from benchbench.builtin.deferred import F, Tensor, nn, torch
from benchbench.contract import Threat, steepest

LossName = Literal["ce", "dlr", "dlr-targeted"]
TargetedObjective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps logits (N, classes), labels (N,) and targets (N,) to values (N,), to be ascended."""

_TINY = 1e-12  # keeps the ratio finite where all logits are equal


def objective(loss: LossName) -> TargetedObjective:
    """The objective of a loss; the untargeted ones ignore the targets."""
    if loss == "dlr-targeted":
        return targeted_dlr
    if loss == "dlr":
        return lambda logits, labels, _: dlr(logits, labels)
    return lambda logits, labels, _: F.cross_entropy(logits, labels, reduction="none")


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio (N,), Croce & Hein 2020, equation 6; above 0 if fooled.

    -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)) with z_(k) the k-th largest logit (N, classes). With two classes there is no
    third logit, and every ratio of differences is constant: it is the margin itself then.
    """
    if logits.shape[1] < 3:
        return margin(logits, labels)
    largest = logits.topk(3, dim=1).values
    return margin(logits, labels) / (largest[:, 0] - largest[:, 2] + _TINY)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Targeted difference of logits ratio (N,), equation 7; above 0 only where fooled.

    -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), which needs four classes: the authors' code refuses fewer. With three classes
    the denominator takes the two smallest logits, as z_(3) and z_(4) are of four: z_(1) - (z_(2) + z_(3)) / 2. So the ratio
    does not depend on the logits' scale, not even where that depends on the input, and the gradient towards the target vanishes
    only where the third class has caught up with the label. (Over z_(1) - z_(3), a target that ranks third would have the
    constant ratio -1.) With two classes every ratio of differences is constant: it is the difference z_t - z_y then.
    """
    rise = logits.gather(1, targets[:, None])[:, 0] - logits.gather(1, labels[:, None])[:, 0]
    if logits.shape[1] < 3:
        return rise
    largest = logits.topk(min(4, logits.shape[1]), dim=1).values
    return rise / (largest[:, 0] - largest[:, -2:].mean(dim=1) + _TINY)


FIRST_STEP = 2.0  # times epsilon
MOMENTUM = 0.75  # weight of the new direction, alpha in the paper
RISES_NEEDED = 0.75  # of the steps between checkpoints, rho in the paper
STEPS_BETWEEN_LEAVES = 5  # how often fooled examples leave the batch, the only time that the host waits for the device


def checkpoints(steps: int) -> tuple[int, ...]:
    """The steps after which the step size may halve.

    The paper's w_j = ceil(p_j steps), p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), in whole steps of
    at least one as in the authors' code: the first gap is floor(0.22 steps), each next gap is shorter by
    floor(0.03 steps), down to floor(0.06 steps).

    >>> checkpoints(100)
    (22, 41, 57, 70, 80, 87, 93, 99)
    """
    gap, shrink, least = (max(steps * percent // 100, 1) for percent in (22, 3, 6))
    marks = []
    mark = gap
    while mark <= steps:
        marks.append(mark)
        gap = max(gap - shrink, least)
        mark += gap
    return tuple(marks)


@dataclass(kw_only=True)
class _State:
    """One row per example that is not fooled yet; names as in algorithm 1."""

    rows: Tensor  # position in the batch
    images: Tensor
    labels: Tensor
    targets: Tensor
    current: Tensor
    previous: Tensor
    gradient: Tensor
    loss: Tensor
    best: Tensor  # x_max, by loss
    best_gradient: Tensor
    best_loss: Tensor
    best_loss_at_check: Tensor
    step_size: Tensor
    halved: Tensor  # at the last checkpoint; at first set, because the first one looks at rises only
    rises: Tensor  # since the last checkpoint
    strongest: Tensor  # by margin: the result
    margin: Tensor
    fooled: Tensor


class Climb:
    """Auto-PGD from given starts on one batch; epsilon above 0, the model's parameters frozen."""

    def __init__(self, model: nn.Module, objective: TargetedObjective, *, threat: Threat, steps: int) -> None:
        self._model = model
        self._objective = objective
        self._threat = threat
        self._steps = steps

    def run(self, images: Tensor, labels: Tensor, targets: Tensor, start: Tensor) -> Tensor:
        """Each example's iterate of largest margin in ball and box; a fooled one ends its run early.

        The images (N, ...) are the centres of the balls, and `start` (N, ...) lies in ball and box. Untargeted objectives
        ignore the targets, int64 (N,).
        """
        state = self._begin(images, labels, targets, start)
        candidates = start.clone()
        checked = 0
        marks = set(checkpoints(self._steps))
        for step in range(1, self._steps + 1):
            self._move(state, MOMENTUM if step > 1 else 1.0)
            self._look(state)
            if step in marks:
                _adapt(state, steps=step - checked)
                checked = step
            if step % STEPS_BETWEEN_LEAVES == 0 or step == self._steps:
                candidates.index_copy_(0, state.rows, state.strongest)
                self._confirm(state)
                state = keep_rows(state, (~state.fooled).nonzero()[:, 0])
                if len(state.rows) == 0:
                    break
        return candidates

    def _confirm(self, state: _State) -> None:
        """Keep searching for examples that were fooled by rounding only."""
        found = Judgement(margins=state.margin, fooled=state.fooled)
        judgement = confirmed(self._model, state.strongest, state.labels, found)
        state.margin, state.fooled = judgement.margins, judgement.fooled

    def _begin(self, images: Tensor, labels: Tensor, targets: Tensor, start: Tensor) -> _State:
        count = len(images)
        unknown = images.new_full((count,), -math.inf)
        state = _State(
            rows=torch.arange(count, device=images.device),
            images=images,
            labels=labels,
            targets=targets,
            current=start,
            previous=start,
            gradient=torch.zeros_like(images),
            loss=unknown,
            best=start,
            best_gradient=torch.zeros_like(images),
            best_loss=unknown,
            best_loss_at_check=unknown,
            step_size=images.new_full((count,), FIRST_STEP * self._threat.epsilon),
            halved=torch.ones(count, dtype=torch.bool, device=images.device),
            rises=images.new_zeros(count),
            strongest=start,
            margin=unknown,
            fooled=torch.zeros(count, dtype=torch.bool, device=images.device),
        )
        self._look(state)
        state.rises.zero_()
        state.best_loss_at_check = state.best_loss
        return state

    def _move(self, state: _State, weight: float) -> None:
        """One step with momentum, projected twice (algorithm 1, lines 7 and 8)."""
        direction = steepest(state.gradient, self._threat.norm)
        step_size = broadcast(state.step_size, direction)
        ahead = self._threat.project(torch.addcmul(state.current, direction, step_size), state.images)
        blended = state.current + weight * (ahead - state.current) + (1.0 - weight) * (state.current - state.previous)
        state.previous, state.current = state.current, self._threat.project(blended, state.images)

    def _look(self, state: _State) -> None:
        """Compute loss and gradient at the current iterates, and update the best ones."""
        with torch.enable_grad():
            candidates = state.current.detach().requires_grad_(True)
            logits = self._model(candidates)
            losses = self._objective(logits, state.labels, state.targets)
            (state.gradient,) = torch.autograd.grad(losses.sum(), candidates)
        losses = losses.detach()
        state.rises = state.rises + (losses > state.loss)
        state.loss = losses
        higher = losses > state.best_loss
        state.best_loss = torch.where(higher, losses, state.best_loss)
        state.best = torch.where(broadcast(higher, state.best), state.current, state.best)
        state.best_gradient = torch.where(broadcast(higher, state.best), state.gradient, state.best_gradient)
        judgement = judge(logits.detach(), state.labels)
        stronger = judgement.margins > state.margin
        state.margin = torch.where(stronger, judgement.margins, state.margin)
        state.strongest = torch.where(broadcast(stronger, state.best), state.current, state.strongest)
        state.fooled = state.fooled | judgement.fooled


def _adapt(state: _State, *, steps: int) -> None:
    """At a checkpoint, halve the step and return to the best iterate where progress was poor.

    Poor means conditions 1 and 2; a share of rises of exactly rho is poor in condition 1, as in the authors' code.
    """
    oscillating = state.rises <= RISES_NEEDED * steps
    stuck = ~state.halved & (state.best_loss_at_check >= state.best_loss)
    halve = oscillating | stuck
    state.step_size = torch.where(halve, 0.5 * state.step_size, state.step_size)
    state.current = torch.where(broadcast(halve, state.best), state.best, state.current)
    state.gradient = torch.where(broadcast(halve, state.best), state.best_gradient, state.gradient)
    state.halved, state.best_loss_at_check = halve, state.best_loss
    state.rises = torch.zeros_like(state.rises)
