"""Calls of an untrusted attack: queries are counted, loans must come back unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.contract import Attack, KeyedGenerator, Threat
from benchbench.contract.threat import tolerance
from benchbench.errors import ContractError
from benchbench.evaluation.lending import Loan
from benchbench.kernels.graphs import tallied
from benchbench.stopping import StopRequest


def check_logits(logits: object, *, classes: int, rows: Tensor, what: str) -> Tensor:
    """Return logits (N, classes) if finite; a ContractError names the first wrong example.

    For the message, `rows`, int64 (N,), names the examples, and `what` model and split: ``"the model on clean test"``.
    """
    if not isinstance(logits, Tensor):
        raise ContractError(f"{what}: expected logits as a tensor, got {type(logits).__name__}")
    expected = (len(rows), classes)
    if tuple(logits.shape) != expected:
        raise ContractError(f"{what}: expected logits of shape {expected}, got {tuple(logits.shape)}")
    position = _first(~logits.isfinite().all(dim=1))
    if position is not None:
        raise ContractError(f"{what}: the logits of example {int(rows[position])} are not finite")
    return logits


def check_candidates(candidates: object, images: Tensor, *, threat: Threat, rows: Tensor, what: str) -> Tensor:
    """Return the candidates of an attack, without gradient, if they obey the contract.

    The box has no tolerance, as clipping is exact; the ball has the one of `tolerance`. A ContractError names the attack
    (`what`), the example that is furthest outside (of `rows`, int64 (N,)), and by how much.
    """
    if not isinstance(candidates, Tensor):
        raise ContractError(f"{what}: expected candidates as a tensor, got {type(candidates).__name__}")
    expected = f"{images.dtype} of shape {tuple(images.shape)} on {images.device}"
    if (candidates.dtype, candidates.shape, candidates.device) != (images.dtype, images.shape, images.device):
        got = f"{candidates.dtype} of shape {tuple(candidates.shape)} on {candidates.device}"
        raise ContractError(f"{what}: expected candidates as {expected}, got {got}")
    candidates = candidates.detach()
    flat = candidates.flatten(1)
    position = _first(~flat.isfinite().all(dim=1))
    if position is not None:
        raise ContractError(f"{what}: the candidate of example {int(rows[position])} is not finite")
    outside = torch.maximum(threat.lower - flat.amin(dim=1), flat.amax(dim=1) - threat.upper)
    # Distances are summed in float64, so that only the attack's own rounding counts.
    beyond = threat.distance(candidates.double(), images.double()) - threat.epsilon
    for excess, allowed, left in (
        (outside, 0.0, f"box [{threat.lower}, {threat.upper}]"),
        (beyond, tolerance(threat, flat.shape[1]), f"{threat.norm} ball of radius {threat.epsilon}"),
    ):
        worst = int(excess.argmax())
        if float(excess[worst]) > allowed:
            by = f"{float(excess[worst]):.3g}"
            raise ContractError(f"{what}: the candidate of example {int(rows[worst])} leaves the {left} by {by}")
    return candidates


def _first(at_fault: Tensor) -> int | None:
    return int(at_fault.int().argmax()) if bool(at_fault.any()) else None


@dataclass(kw_only=True)
class QueryCount:
    """Examples that passed through the model, and those of them with a gradient to the input."""

    forward: int = 0
    gradient: int = 0


@contextmanager
def counting(model: nn.Module) -> Iterator[QueryCount]:
    """Count the examples that pass through the model within a block."""
    count = QueryCount()

    def see(_: nn.Module, arguments: tuple[object, ...]) -> None:
        if arguments and isinstance(arguments[0], Tensor):
            count.forward += len(arguments[0])
            count.gradient += len(arguments[0]) if arguments[0].requires_grad and torch.is_grad_enabled() else 0

    with model.register_forward_pre_hook(see), tallied(count):
        yield count


@contextmanager
def leaving(model: nn.Module, stop: StopRequest) -> Iterator[None]:
    """Within the block, a call of the model raises Stopped once it is time to stop.

    So attacks and metrics are interrupted, those of plugins too.
    """
    with model.register_forward_pre_hook(lambda *_: stop.check()):
        yield


def propose(
    attack: Attack,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat: Threat,
    generator: KeyedGenerator,
    rows: Tensor,
    what: str,
    loan: Loan,
    starts: Tensor | None = None,
) -> Tensor:
    """Call an attack; check its candidates, and that model and examples are unchanged.

    The model is in evaluation mode with frozen parameters. A ContractError names the attack (`what`) and the example, by
    `rows`, int64 (N,). `starts` are for an attack that takes them.
    """
    lent_images, lent_labels = images.clone(), labels.clone()
    with loan.to(what):
        options: dict[str, Tensor] = {} if starts is None else {"starts": starts}
        candidates = attack.perturb(model, lent_images, lent_labels, threat=threat, generator=generator, **options)
    changed = (lent_images != images).flatten(1).any(dim=1) | (lent_labels != labels)
    if bool(changed.any()):
        raise ContractError(f"{what}: it changed the image or label of example {int(rows[changed][0])} in place")
    return check_candidates(candidates, images, threat=threat, rows=rows, what=what)
