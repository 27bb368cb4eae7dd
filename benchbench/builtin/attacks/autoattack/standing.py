"""Which examples still stand against an attack, and the strongest candidate against each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.margins import all_but_fooled, keep_better, margin, surely_fooled, wrong_logits
from benchbench.contract import full_precision, is_rounded


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the model says about candidates.

    Attributes:
        margins: float (N,), the largest wrong logit minus the right one.
        fooled: bool (N,), whether the margin is above 0 beyond what rounding could undo.
    """

    margins: Tensor
    fooled: Tensor


def judge(logits: Tensor, labels: Tensor) -> Judgement:
    """Judge candidates by their logits (N, classes); labels int64 (N,)."""
    margins = margin(logits, labels)
    return Judgement(margins=margins, fooled=surely_fooled(logits, margins))


@torch.no_grad()
def confirmed(model: nn.Module, candidates: Tensor, labels: Tensor, found: Judgement) -> Judgement:
    """What a search says about its candidates; where it rounds, those that it takes for fooled are judged in float32.

    Args:
        model: maps images to logits.
        candidates: float (N, ...).
        labels: int64 (N,).
        found: by the search.
    """
    rows = found.fooled.nonzero()[:, 0] if is_rounded() else labels[:0]
    if len(rows) == 0:
        return found
    with full_precision(candidates.device):
        judgement = judge(model(candidates.index_select(0, rows)), labels[rows])
    return Judgement(
        margins=found.margins.index_copy(0, rows, judgement.margins),
        fooled=found.fooled.index_copy(0, rows, judgement.fooled),
    )


class Standing:
    """The strongest candidate of each example so far; an example that is fooled leaves the race.

    Args:
        model: maps images to logits; it is asked about the clean images.
        images: float (N, ...).
        labels: int64 (N,).
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        self._model = model
        self._labels = labels
        self._width = _batch_width(images)
        self.candidates = images.clone()
        with torch.no_grad(), full_precision(images.device):
            self.clean_logits = torch.cat([model(part) for part in torch.split(images, self._width)])
        clean = judge(self.clean_logits, labels)
        self._margins, self._fooled = clean.margins, clean.fooled

    def targets(self, count: int) -> Tensor:
        """Wrong classes by falling clean logit, the likeliest `count` or all if there are fewer, int64 (N, targets)."""
        order = wrong_logits(self.clean_logits, self._labels).argsort(dim=1, descending=True, stable=True)
        return order[:, : min(count, order.shape[1] - 1)]

    def open(self) -> Tensor:
        """Positions of the examples that are not fooled yet, int64."""
        return (~self._fooled).nonzero()[:, 0]

    def close(self) -> Tensor:
        """Positions of those that are not fooled yet, but all but, int64."""
        return (~self._fooled & all_but_fooled(self.clean_logits, self._margins)).nonzero()[:, 0]

    def batches(self, rows: Tensor) -> Iterator[Tensor]:
        """Split positions into full batches; none for none."""
        if len(rows):
            yield from torch.split(rows, self._width)

    @torch.no_grad()
    def offer(self, rows: Tensor, candidates: Tensor) -> None:
        """Keep those candidates for the examples `rows` that are stronger than what there is."""
        for part in self.batches(torch.arange(len(rows), device=rows.device)):
            offered = candidates.index_select(0, part)
            chosen = rows[part]
            with full_precision(offered.device):
                judgement = judge(self._model(offered), self._labels[chosen])
            better = judgement.margins > self._margins[chosen]
            self._margins[chosen] = torch.where(better, judgement.margins, self._margins[chosen])
            keep_better(self.candidates, chosen, better, offered)
            self._fooled[chosen] |= judgement.fooled


State = TypeVar("State")


def keep_rows(state: State, kept: Tensor) -> State:
    """The state of some examples only.

    Args:
        state: a dataclass of tensors, each with one row per example.
        kept: int64 positions.
    """
    chosen = {field.name: getattr(state, field.name).index_select(0, kept) for field in fields(state)}  # type: ignore[arg-type]
    return replace(state, **chosen)  # type: ignore[type-var]


def broadcast(values: Tensor, images: Tensor) -> Tensor:
    """View one value per example (N,) so that it multiplies images (N, ...)."""
    return values.view(-1, *[1] * (images.dim() - 1))


def _batch_width(images: Tensor) -> int:
    """Examples per pass: on a CPU more than about 64 fall out of the cache, on a GPU fewer than about 512 leave it idle."""
    return 64 if images.device.type == "cpu" else 512
