"""The multi-targeted attack (MT): one ascent towards each wrong class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from benchbench.builtin.attacks.margins import (
    QUEUE_LENGTH,
    all_but_fooled,
    batch_width,
    batches,
    clean_logits,
    keep_better,
    likely_targets,
    margin,
    surely_fooled,
)
from benchbench.builtin.deferred import Tensor, nn, torch
from benchbench.builtin.options import Variant, ascent_checks, variant_check
from benchbench.contract import (
    CrossEntropy,
    KeyedGenerator,
    Threat,
    Weighted,
    ascend,
    full_precision,
    is_rounded,
    replayed,
    require,
    uniform_start,
)
from benchbench.contract.ascent import one_per_row


@dataclass(frozen=True, kw_only=True)
class MultiTargeted:
    """Ascend towards each wrong class in turn and keep the best candidate (Gowal et al., 2019).

    Targets come in the order of the clean logits, the likeliest first. In the ``equation`` variant an example leaves when a
    final candidate fools the model: further targets could not change the verdict on it. Nor does its absence change other
    examples, because starts are keyed by example and target.

    Attributes:
        steps: gradient steps for each target, at least 1.
        step_ratio: length of a step as a multiple of epsilon, above 0.
        variant: ``"equation"`` ascends the margin f_t(x') - f_y(x') and keeps the candidate with the largest margin over
            all wrong classes; ``"released"``, as in the paper's code, descends the cross-entropy to t and keeps the
            candidate with the largest softmax_t(x') - softmax_y(x), whether it fools the model or not.
        random_start: start at a uniform draw from the ball; otherwise at the image.
    """

    steps: int = 20
    step_ratio: float = 0.1
    variant: Variant = "equation"
    random_start: bool = True

    queue_length: ClassVar[int] = QUEUE_LENGTH

    def __post_init__(self) -> None:
        require(ascent_checks(steps=self.steps, step_ratio=self.step_ratio) | variant_check(self.variant))

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Propose one candidate per image; see `benchbench.contract.Attack`."""
        clean = clean_logits(model, images)
        targets = likely_targets(clean, labels)
        race = _Race(images, clean, labels, self.variant)

        def toward(images: Tensor, labels: Tensor, targets: Tensor, generator: KeyedGenerator) -> Tensor:
            loss = CrossEntropy(targets, sign=-1.0) if self.variant == "released" else _MarginTo(targets, labels)
            start = images
            if self.random_start:  # keyed by example and target: it does not matter which other targets were tried
                keyed = generator.children("target", targets, clean.shape[1])
                start = torch.empty_like(images).copy_(uniform_start(images, threat=threat, generator=keyed))
            step_size = self.step_ratio * threat.epsilon
            return ascend(
                lambda moved: loss(model(moved)), start, images, threat=threat, steps=self.steps, step_size=step_size
            )

        def pursue(remaining: Callable[[Tensor], Tensor]) -> None:
            for rank in range(targets.shape[1]):
                for rows in batches(remaining(targets[:, rank]), batch_width(images)):
                    batch = images.index_select(0, rows)  # unlike images[rows], keeps the memory layout
                    run = generator.take(rows)
                    chosen = (batch, labels[rows], targets[rows, rank])
                    candidates = replayed(toward, chosen, run, key=(self, model, threat, clean.shape[1]))
                    with torch.no_grad(), full_precision(images.device):
                        race.offer(rows, candidates, model(candidates), targets[rows, rank])

        pursue(race.open)
        if is_rounded() and self.variant == "equation":
            with full_precision(images.device):
                pursue(race.close)
        return race.candidates


class _MarginTo:
    """The sum of f_t - f_y, as an objective; it makes its weights once."""

    def __init__(self, targets: Tensor, labels: Tensor) -> None:
        self._targets = targets
        self._labels = labels
        self._weights: Tensor | None = None

    def __call__(self, logits: Tensor) -> Weighted:
        if self._weights is None:
            self._weights = one_per_row(logits, self._targets, 1.0) - one_per_row(logits, self._labels, 1.0)
        return Weighted(values=logits, weights=self._weights)


class _Race:
    """The best candidate of each example so far, and the examples that are not fooled yet."""

    def __init__(self, images: Tensor, clean: Tensor, labels: Tensor, variant: Variant) -> None:
        self.candidates = images.clone()
        self._clean = clean
        self._labels = labels
        self._variant = variant
        self._clean_confidence = clean.softmax(1).gather(1, labels[:, None])[:, 0]
        self._scores = torch.full_like(self._clean_confidence, -torch.inf)
        self._margins = torch.full_like(clean, -torch.inf)  # at the end of the run towards each class
        self._fooled = self._surely_fooled(clean, margin(clean, labels))

    def open(self, _targets: Tensor) -> Tensor:
        """Positions of the examples that are not fooled yet, int64."""
        return (~self._fooled).nonzero()[:, 0]

    def close(self, targets: Tensor) -> Tensor:
        """Positions, int64, of unfooled examples that the run to these targets (N,) all but fooled."""
        margins = self._margins.gather(1, targets[:, None])[:, 0]
        return (~self._fooled & all_but_fooled(self._clean, margins)).nonzero()[:, 0]

    def offer(self, rows: Tensor, candidates: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Keep the candidates that beat the present ones of the examples `rows`."""
        margins = margin(logits, self._labels[rows])
        scores = margins
        if self._variant == "released":
            scores = logits.softmax(1).gather(1, targets[:, None])[:, 0] - self._clean_confidence[rows]
        better = scores > self._scores[rows]
        self._scores[rows] = torch.where(better, scores, self._scores[rows])
        keep_better(self.candidates, rows, better, candidates)
        self._margins[rows, targets] = margins
        self._fooled[rows] |= self._surely_fooled(logits, margins)

    def _surely_fooled(self, logits: Tensor, margins: Tensor) -> Tensor:
        if self._variant == "released":  # its rule chooses among all targets, fooled or not
            return torch.zeros_like(margins, dtype=torch.bool)
        return surely_fooled(logits, margins)
