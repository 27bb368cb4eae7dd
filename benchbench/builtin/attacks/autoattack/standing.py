"""The examples that an attack has not fooled yet, and the strongest candidate for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from benchbench.builtin.attacks.margins import (
    all_but_fooled,
    batch_width,
    batches,
    clean_logits,
    keep_better,
    likely_targets,
    margin,
    surely_fooled,
)
from benchbench.builtin.deferred import Tensor, nn, torch, without_gradient
from benchbench.contract import full_precision, is_rounded


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Margins (N,) of candidates; whether they fool the model beyond rounding errors, bool (N,)."""

    margins: Tensor
    fooled: Tensor


def judge(logits: Tensor, labels: Tensor) -> Judgement:
    """Judge candidates by their logits (N, classes); labels int64 (N,)."""
    margins = margin(logits, labels)
    return Judgement(margins=margins, fooled=surely_fooled(logits, margins))


@without_gradient
def confirmed(model: nn.Module, candidates: Tensor, labels: Tensor, found: Judgement) -> Judgement:
    """Judge a search's candidates; after a rounded search, float32 judges the fooled ones again."""
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
    """The strongest candidate of each example so far, at first the image (N, ...) itself."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        self._model = model
        self._labels = labels
        self._width = batch_width(images)
        self.candidates = images.clone()
        self.clean_logits = clean_logits(model, images)
        clean = judge(self.clean_logits, labels)
        self._margins, self._fooled = clean.margins, clean.fooled

    def targets(self, count: int) -> Tensor:
        """The `count` likeliest wrong classes by the clean logits, at most all, int64 (N, targets)."""
        return likely_targets(self.clean_logits, self._labels)[:, :count]

    def open(self) -> Tensor:
        """Positions of the examples that are not fooled yet, int64."""
        return (~self._fooled).nonzero()[:, 0]

    def close(self) -> Tensor:
        """Positions of the examples that are all but fooled, int64."""
        return (~self._fooled & all_but_fooled(self.clean_logits, self._margins)).nonzero()[:, 0]

    def batches(self, rows: Tensor) -> Iterator[Tensor]:
        """Split positions into full batches; none for none."""
        return batches(rows, self._width)

    @without_gradient
    def offer(self, rows: Tensor, candidates: Tensor) -> None:
        """Keep the candidates that are stronger than the present ones of the examples `rows`."""
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
    """The rows at some positions (int64) of a dataclass of tensors."""
    chosen = {field.name: getattr(state, field.name).index_select(0, kept) for field in fields(state)}  # type: ignore[arg-type]
    return replace(state, **chosen)  # type: ignore[type-var]
