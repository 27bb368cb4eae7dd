"""Calls of an untrusted attack: queries are counted, loans must come back unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.contract import Attack, KeyedGenerator, Threat
from benchbench.errors import ContractError
from benchbench.evaluation.candidate_checks import check_candidates
from benchbench.evaluation.lending import Loan
from benchbench.kernels.graphs import tallied
from benchbench.stopping import StopRequest


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

    handle = model.register_forward_pre_hook(see)
    try:
        with tallied(count):
            yield count
    finally:
        handle.remove()


@contextmanager
def leaving(model: nn.Module, stop: StopRequest) -> Iterator[None]:
    """Within the block, a call of the model raises Stopped once it is time to stop.

    So attacks and metrics are interrupted, those of plugins too.
    """
    handle = model.register_forward_pre_hook(lambda *_: stop.check())
    try:
        yield
    finally:
        handle.remove()


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
) -> Tensor:
    """Call an attack; check its candidates, and that model and examples are unchanged.

    The model is in evaluation mode with frozen parameters. A ContractError names the attack (`what`) and the example, by
    `rows`, int64 (N,).
    """
    lent_images, lent_labels = images.clone(), labels.clone()
    with loan.to(what):
        candidates = attack.perturb(model, lent_images, lent_labels, threat=threat, generator=generator)
    changed = (lent_images != images).flatten(1).any(dim=1) | (lent_labels != labels)
    if bool(changed.any()):
        raise ContractError(f"{what}: it changed the image or label of example {int(rows[changed][0])} in place")
    return check_candidates(candidates, images, threat=threat, rows=rows, what=what)
