"""Square Attack: random search with squares, which needs no gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchbench.builtin.attacks.autoattack.squares import (
    Proposal,
    draws_per_query,
    propose_square,
    propose_transfer,
    stripes,
    tiles,
)
from benchbench.builtin.attacks.autoattack.standing import Judgement, Standing, confirmed, judge, keep_rows
from benchbench.builtin.attacks.margins import QUEUE_LENGTH, broadcast
from benchbench.builtin.deferred import Tensor, nn, torch, without_gradient
from benchbench.builtin.options import at_least, require_norm
from benchbench.contract import KeyedGenerator, Threat, require

QUERIES_PER_BLOCK = 50  # drawn at once; after each block fooled examples leave, the only time that the host waits
_GRID = 8  # random signs along each side of the L2 start, which has five tiles or, at odd sizes, a few more


@dataclass(frozen=True, kw_only=True)
class Square:
    """Square Attack: accept a random square if it raises the margin, in L-inf or L2.

    Squares cover 80% of the pixels at first and shrink on the paper's schedule for 10,000 queries; for fewer queries the
    schedule is cut off, not rescaled, as in AutoAttack. Every example draws its own squares. Features count as one row of
    pixels. Source: Andriushchenko, Croce, Flammarion, Hein, ECCV 2020.

    Attributes:
        queries: forward passes per example, with that of the start, at least 1.
    """

    queries: int = 5000

    queue_length: ClassVar[int] = QUEUE_LENGTH

    def __post_init__(self) -> None:
        require(at_least(1, queries=self.queries))

    @without_gradient
    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Propose one candidate per image, in L-inf or L2; see `benchbench.contract.Attack`."""
        require_norm("square", threat)
        if threat.epsilon == 0:
            return images.clone()
        standing = Standing(model, images, labels)
        search = _Search(model, images.shape[1:], threat=threat, queries=self.queries)
        for rows in standing.batches(standing.open()):
            candidates = search.run(_planes(images.index_select(0, rows)), labels[rows], generator.take(rows))
            standing.offer(rows, candidates.view(-1, *images.shape[1:]))
        return standing.candidates


@dataclass(kw_only=True)
class _State:
    """One row per example that is not fooled yet."""

    rows: Tensor  # position in the batch
    images: Tensor
    labels: Tensor
    best: Tensor
    margin: Tensor
    fooled: Tensor


class _Search:
    """Random search on one batch of images (N, C, H, W)."""

    def __init__(self, model: nn.Module, input_shape: torch.Size, *, threat: Threat, queries: int) -> None:
        self._model = model
        self._input_shape = input_shape
        self._threat = threat
        self._queries = queries
        self._propose: Proposal = propose_square(threat) if threat.norm == "linf" else propose_transfer(threat)

    def run(self, images: Tensor, labels: Tensor, generator: KeyedGenerator) -> Tensor:
        """The candidates with the largest margins."""
        state = self._begin(images, labels, generator.child("start"))
        candidates = state.best.clone()
        for first in range(1, self._queries, QUERIES_PER_BLOCK):
            self._confirm(state)
            state = keep_rows(state, (~state.fooled).nonzero()[:, 0])
            if len(state.rows) == 0:
                break
            last = min(first + QUERIES_PER_BLOCK, self._queries)
            self._search(state, range(first, last), generator.child("queries", first).take(state.rows))
            candidates.index_copy_(0, state.rows, state.best)
        return candidates

    def _begin(self, images: Tensor, labels: Tensor, generator: KeyedGenerator) -> _State:
        if self._threat.norm == "linf":
            start = stripes(images, generator.uniform(images.shape[1], 1, images.shape[3]).to(images), self._threat)
        else:
            start = tiles(images, generator.uniform(images.shape[1], _GRID, _GRID).to(images), self._threat)
        judgement = self._judge(start, labels)
        return _State(
            rows=torch.arange(len(images), device=images.device),
            images=images,
            labels=labels,
            best=start,
            margin=judgement.margins,
            fooled=judgement.fooled,
        )

    def _search(self, state: _State, queries: range, generator: KeyedGenerator) -> None:
        """Try a block of proposals one after the other."""
        count = draws_per_query(self._threat, state.images.shape[1])
        draws = generator.uniform(len(queries), count).to(state.images)
        for position, query in enumerate(queries):
            proposed = self._propose(state.images, state.best, draws[:, position], query - 1)
            judgement = self._judge(proposed, state.labels)
            better = judgement.margins > state.margin
            state.best = torch.where(broadcast(better, proposed), proposed, state.best)
            state.margin = torch.where(better, judgement.margins, state.margin)
            state.fooled = state.fooled | judgement.fooled

    def _confirm(self, state: _State) -> None:
        """Go on with what only rounding took for fooled."""
        found = Judgement(margins=state.margin, fooled=state.fooled)
        judgement = confirmed(self._model, self._inputs(state.best), state.labels, found)
        state.margin, state.fooled = judgement.margins, judgement.fooled

    def _judge(self, candidates: Tensor, labels: Tensor) -> Judgement:
        return judge(self._model(self._inputs(candidates)), labels)

    def _inputs(self, candidates: Tensor) -> Tensor:
        return candidates.view(-1, *self._input_shape)


def _planes(images: Tensor) -> Tensor:
    """Inputs as images (N, C, H, W); features become one row of pixels."""
    return images if images.dim() == 4 else images.reshape(len(images), 1, 1, -1)
