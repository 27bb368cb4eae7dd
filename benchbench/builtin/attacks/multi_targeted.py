"""The multi-targeted attack (MT): one ascent towards each wrong class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from benchbench.builtin.ascent import CrossEntropy, Weighted, ascend, one_per_row, uniform_start
from benchbench.builtin.attacks.margins import all_but_fooled, keep_better, margin, surely_fooled, wrong_logits
from benchbench.contract import KeyedGenerator, OptionError, Threat, full_precision, is_rounded, replayed


@dataclass(frozen=True, kw_only=True)
class MultiTargeted:
    """Ascend towards each wrong class in turn and keep the best candidate (Gowal et al., 2019).

    Targets come in the order of the clean logits, the likeliest first. In the ``equation`` variant an example that a final
    candidate fools is out of the race: the attack has succeeded on it, so further targets could change neither the
    verdict nor, since starts are keyed by example and target, anything about the other examples.

    Attributes:
        steps: gradient steps for each target, at least 1.
        step_ratio: length of a step as a multiple of epsilon, above 0.
        variant: ``"equation"`` ascends the margin f_t(x') - f_y(x') and keeps the candidate with the largest margin over
            all wrong classes; ``"released"``, as the paper's code does it, descends the cross-entropy towards t and keeps
            the candidate with the largest softmax_t(x') - softmax_y(x), whether it fools the model or not.
        random_start: begin at a uniform draw from the ball; otherwise at the image.

    Raises:
        OptionError: for a value out of range.
    """

    steps: int = 20
    step_ratio: float = 0.1
    variant: Literal["equation", "released"] = "equation"
    random_start: bool = True

    def __post_init__(self) -> None:
        checks = {
            "steps must be at least 1": self.steps >= 1,
            "step_ratio must be above 0": self.step_ratio > 0,
            "variant must be 'equation' or 'released'": self.variant in ("equation", "released"),
        }
        broken = [message for message, holds in checks.items() if not holds]
        if broken:
            raise OptionError("; ".join(broken))

    @property
    def queue_length(self) -> int:
        """How many examples it likes in one call: those still open are packed into full batches for the next target."""
        return 1024

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Propose one candidate per image; see `benchbench.contract.Attack`."""
        width = _batch_width(images)
        with torch.no_grad(), full_precision(images.device):
            clean = torch.cat([model(part) for part in torch.split(images, width)])
        targets = wrong_logits(clean, labels).argsort(dim=1, descending=True, stable=True)[:, :-1]
        race = _Race(images, clean, labels, self.variant)

        def toward(images: Tensor, labels: Tensor, targets: Tensor, generator: KeyedGenerator) -> Tensor:
            return self._toward(model, images, labels, targets, clean.shape[1], threat, generator)

        def pursue(remaining: Callable[[Tensor], Tensor]) -> None:
            for rank in range(targets.shape[1]):
                left = remaining(targets[:, rank])
                for rows in torch.split(left, width) if len(left) else ():  # of nothing, split gives an empty part
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

    def _toward(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        targets: Tensor,
        classes: int,
        threat: Threat,
        generator: KeyedGenerator,
    ) -> Tensor:
        """Candidates after an ascent towards one target per example."""

        loss = CrossEntropy(targets, sign=-1.0) if self.variant == "released" else _MarginTo(targets, labels)
        start = images
        if self.random_start:  # keyed by example and target, so that it never matters which other targets were tried
            keyed = generator.children("target", targets, classes)
            start = torch.empty_like(images).copy_(uniform_start(images, threat=threat, generator=keyed))
        step_size = self.step_ratio * threat.epsilon
        return ascend(
            lambda moved: loss(model(moved)), start, images, threat=threat, steps=self.steps, step_size=step_size
        )


class _MarginTo:
    """The sum of f_t - f_y, its weights made once for all steps."""

    def __init__(self, targets: Tensor, labels: Tensor) -> None:
        self._targets = targets
        self._labels = labels
        self._weights: Tensor | None = None

    def __call__(self, logits: Tensor) -> Weighted:
        if self._weights is None:
            self._weights = one_per_row(logits, self._targets, 1.0) - one_per_row(logits, self._labels, 1.0)
        return Weighted(values=logits, weights=self._weights)


class _Race:
    """The best candidate of each example so far, and which examples are still to be fooled."""

    def __init__(self, images: Tensor, clean: Tensor, labels: Tensor, variant: Literal["equation", "released"]) -> None:
        self.candidates = images.clone()
        self._clean = clean
        self._labels = labels
        self._variant = variant
        self._clean_confidence = clean.softmax(1).gather(1, labels[:, None])[:, 0]
        self._scores = torch.full_like(self._clean_confidence, -torch.inf)
        self._margins = torch.full_like(clean, -torch.inf)  # that the run towards each class ended with
        self._fooled = self._surely_fooled(clean, margin(clean, labels))

    def open(self, _targets: Tensor) -> Tensor:
        """Positions of the examples that the next target is tried on, int64."""
        return (~self._fooled).nonzero()[:, 0]

    def close(self, targets: Tensor) -> Tensor:
        """Positions of those that are not fooled, but that the run towards these targets (N,) left all but fooled, int64."""
        margins = self._margins.gather(1, targets[:, None])[:, 0]
        return (~self._fooled & all_but_fooled(self._clean, margins)).nonzero()[:, 0]

    def offer(self, rows: Tensor, candidates: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Keep those candidates for the examples `rows` that beat what there is."""
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


def _batch_width(images: Tensor) -> int:
    """Examples per pass: on a CPU more than about 64 fall out of the cache, on a GPU fewer than about 512 leave it idle."""
    return 64 if images.device.type == "cpu" else 512
