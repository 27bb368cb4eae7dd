"""Free adversarial training (Shafahi et al., NeurIPS 2019, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import BatchLoss, KeyedGenerator, Threat, require, steepest

_DELTA = "delta"


class FreeAdversarialTraining:
    """Replay each batch: one backward pass moves both the weights and the perturbation a step.

    Each batch starts from the perturbation of the batch before, by place in the batch; the first one starts at 0. Divide the
    epochs of a recipe by `replays` for a training of equal cost.

    Args:
        replays: m in the paper, at least 1.
        step_ratio: step of the perturbation over epsilon, above 0; 1 is the paper's.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(self, *, replays: int = 8, step_ratio: float = 1.0) -> None:
        require(
            {
                f"replays must be at least 1, got {replays}": replays >= 1,
                f"step_ratio must be above 0, got {step_ratio}": step_ratio > 0,
            }
        )
        self.replays = replays
        self.step_ratio = step_ratio
        self._delta: Tensor | None = None

    def step(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        threat: Threat,
        generator: KeyedGenerator,
        optimizer: torch.optim.Optimizer,
    ) -> BatchLoss:
        """Take `replays` optimiser steps on a batch; return the last one's loss, before its step."""
        delta = self._carried(images)
        for _ in range(self.replays):
            leaf = threat.project(images + delta[: len(images)], images).requires_grad_(True)
            loss = F.cross_entropy(model(leaf), labels, reduction="sum")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if leaf.grad is not None:
                moved = delta[: len(images)] + self.step_ratio * threat.epsilon * steepest(leaf.grad, "linf")
                delta[: len(images)] = moved.clamp(-threat.epsilon, threat.epsilon)
        self._delta = delta
        return BatchLoss(loss=loss.detach())

    def state_dict(self) -> dict[str, Tensor]:
        """The perturbation that the next batch starts from; empty before the first one."""
        return {} if self._delta is None else {_DELTA: self._delta.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state; an empty one forgets the perturbation."""
        self._delta = state[_DELTA].clone() if _DELTA in state else None

    def _carried(self, images: Tensor) -> Tensor:
        """The perturbation, at least as long as the batch; a smaller batch leaves the rest alone."""
        if self._delta is None or self._delta.shape[1:] != images.shape[1:]:
            return torch.zeros_like(images)
        delta = self._delta.to(images).clone()
        missing = len(images) - len(delta)
        return torch.cat([delta, torch.zeros_like(images[:missing])]) if missing > 0 else delta
