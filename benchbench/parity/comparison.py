"""Compare implementations of one attack by example, on the same images, and re-check them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.contract import frozen, in_mode
from benchbench.contract.threat import Threat
from benchbench.errors import PLUGIN_FAULTS
from benchbench.kernels.determinism import own_draws
from benchbench.own_model.guests import default_float32
from benchbench.parity.peers import Perturb

NATIVE = "benchbench"
TOLERANCE = 1e-5  # of radius and box, for float32 rounding


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """The result of one library's implementation."""

    name: str
    robust: Tensor  # bool (N,): correct without perturbation, and on its candidate if that lies in ball and box
    outside: int = 0  # candidates outside ball or box, which are ignored
    seconds: float = 0.0  # of wall time
    error: str = ""  # why it gave no result; the other fields then have no meaning

    @property
    def robust_accuracy(self) -> float:
        """Share of examples that it does not fool."""
        return float(self.robust.double().mean())


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """bool (N,) of examples correct without perturbation; implementations, benchbench's first."""

    correct: Tensor
    implementations: tuple[Implementation, ...]

    def disagreements(self, other: Implementation) -> tuple[int, int]:
        """Numbers of examples that only benchbench's implementation, and only the other one, fools."""
        own = self.implementations[0].robust
        return int((~own & other.robust).sum()), int((own & ~other.robust).sum())

    def disputed(self, other: Implementation) -> Tensor:
        """bool (N,): examples that exactly one of benchbench's and the other implementation fools."""
        return self.implementations[0].robust ^ other.robust


@default_float32()
def compare_implementations(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat: Threat,
    native: Perturb,
    peers: Callable[[nn.Module], Mapping[str, Perturb]],
    batch_size: int = 100,
    seed: int = 0,
) -> ParityReport:
    """Attack the same images, float32 (N, ...) in the box, with each implementation.

    Args:
        model: maps float32 images to logits; its mode and gradient flags are restored.
        images: on the model's device; labels int64 (N,).
        native: benchbench's implementation.
        peers: makes the others; called with the model in evaluation mode and frozen.
        batch_size: images per call, at least 1.
        seed: of torch's global generator, from which other libraries draw; its state is restored.
    """
    with in_mode(model, training=False), frozen(model):
        with torch.no_grad():
            parts = torch.split(images, batch_size)
            correct = torch.cat([model(part).argmax(dim=1) for part in parts]) == labels
        implementations = []
        for name, perturb in {NATIVE: native, **peers(model)}.items():
            with own_draws(images.device):
                torch.manual_seed(seed)
                implementations.append(_run(name, perturb, model, images, labels, correct, threat, batch_size))
    return ParityReport(correct=correct.cpu(), implementations=tuple(implementations))


def _run(
    name: str,
    perturb: Perturb,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    correct: Tensor,
    threat: Threat,
    batch_size: int,
) -> Implementation:
    started = time.perf_counter()
    try:
        batches = zip(torch.split(images, batch_size), torch.split(labels, batch_size))
        with redirect_stdout(sys.stderr):  # libraries print, but standard output is for the table
            candidates = torch.cat([perturb(part.clone(), truth.clone()).detach() for part, truth in batches])
        float(candidates.flatten()[0])  # waits for the device
    except PLUGIN_FAULTS as error:
        if name == NATIVE:
            raise
        lines = str(error).splitlines() or [""]
        return Implementation(name=name, robust=correct.cpu(), error=f"{type(error).__name__}: {lines[0]}")
    seconds = time.perf_counter() - started
    inside = _inside(candidates, images, threat)
    with torch.no_grad():
        checked = torch.where(inside.view(-1, *[1] * (images.dim() - 1)), candidates, images)
        standing = torch.cat([model(part).argmax(dim=1) for part in torch.split(checked, batch_size)]) == labels
    return Implementation(name=name, robust=(correct & standing).cpu(), outside=int((~inside).sum()), seconds=seconds)


def _inside(candidates: Tensor, images: Tensor, threat: Threat) -> Tensor:
    """bool (N,): finite, in the ball and in the box."""
    flat = candidates.flatten(1)
    box = (flat >= threat.lower - TOLERANCE).all(dim=1) & (flat <= threat.upper + TOLERANCE).all(dim=1)
    ball = threat.distance(candidates, images) <= threat.epsilon * (1.0 + TOLERANCE) + TOLERANCE
    inside: Tensor = box & ball & flat.isfinite().all(dim=1)
    return inside
