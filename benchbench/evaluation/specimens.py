"""The examples that the diagnostics look at, from a running evaluation or from what one has stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.margins import margin
from benchbench.contract import KeyedGenerator, Threat
from benchbench.evaluation.evidence import ModelEvidence
from benchbench.evaluation.subject import default_batch_size
from benchbench.evaluation.substitute import answers_kept

INSPECTED = 96  # examples that probes try to break; fewer do not tell one in ten from none
LOOKED_AT = 1024  # the test examples among which they are looked for


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """What an evaluation knows about a model under one attack: all that the diagnostics rest on.

    Attributes:
        model: in evaluation mode, with frozen parameters.
        images: gives the model inputs at some positions of the test split, float32, on the model's device.
        generator: gives the draws of the examples at some positions.
        labels: int64 (N,) on the CPU.
        prediction: int64 (N,) on the CPU, of the clean examples.
        robust: bool (N,) on the CPU: right without perturbation and under the attack.
        candidates: float32 (N, ...) on the CPU, what the attack made of the examples.
        uses_gradients: whether the attack lives off gradients, see `lives_off_gradients`.
    """

    model: nn.Module
    threat: Threat
    images: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], KeyedGenerator]
    labels: Tensor
    prediction: Tensor
    robust: Tensor
    candidates: Tensor
    uses_gradients: bool


@dataclass(frozen=True, kw_only=True)
class Specimens:
    """The first examples that a model gets right.

    Attributes:
        images: float32 (n, ...).
        labels: int64 (n,).
        withstood: bool (n,), right under the protocol's attack, too.
        candidates: float32 (n, ...), what that attack made of them.
        generator: keyed by example.
        uses_gradients: whether that attack lives off gradients.
        known: float32 (m, ...), the first test examples, right or wrong.
        answers: int64 (m,), the classes that the model predicts for these.
    """

    model: nn.Module
    threat: Threat
    images: Tensor
    labels: Tensor
    withstood: Tensor
    candidates: Tensor
    generator: KeyedGenerator
    uses_gradients: bool
    known: Tensor
    answers: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> Specimens:
        """Some of them.

        Args:
            rows: int64 positions.
        """
        per_example = ("images", "labels", "withstood", "candidates")
        chosen = {name: getattr(self, name).index_select(0, rows) for name in per_example}
        return replace(self, **chosen, generator=self.generator.take(rows))

    @torch.no_grad()
    def ask(self, inputs: Tensor) -> Tensor:
        """The model's logits, in batches that any device has room for."""
        parts = torch.split(inputs, default_batch_size(inputs.device))
        return torch.cat([self.model(part) for part in parts])

    def margins(self, candidates: Tensor) -> Tensor:
        """The largest wrong logit minus the right one, float (n,); above 0 for what is broken."""
        return margin(self.ask(candidates), self.labels)


def lives_off_gradients(forward: int, gradient: int) -> bool:
    """Whether at least half of an attack's queries asked for a gradient.

    Args:
        forward: all queries.
        gradient: those that asked for one.
    """
    return 2 * gradient >= forward


def attached(total: Tensor, candidates: Tensor) -> Tensor:
    """An objective that has a gradient in the candidates, 0 where the model is cut off from its input."""
    return total if total.requires_grad else total + 0.0 * candidates.sum()


def from_evidence(evidence: ModelEvidence) -> Attacked:
    """What a running evaluation knows."""
    attacked = evidence.attacked("test")
    return Attacked(
        model=evidence.model,
        threat=evidence.threat,
        images=lambda positions: evidence.images("test", positions),
        generator=lambda positions: evidence.generator("test", "diagnostics", positions),
        labels=evidence.labels("test"),
        prediction=evidence.prediction("test"),
        robust=evidence.robust("test"),
        candidates=attacked.candidates,
        uses_gradients=lives_off_gradients(attacked.forward, attacked.gradient),
    )


def inspect(attacked: Attacked) -> Specimens:
    """The specimens of a model, the same whatever the size of batches."""
    right = (attacked.prediction == attacked.labels)[:LOOKED_AT].nonzero()[:INSPECTED, 0]
    images = attacked.images(right)
    kept = min(len(attacked.labels), answers_kept(attacked.candidates[0].numel()))
    known = attacked.images(torch.arange(kept))
    return Specimens(
        model=attacked.model,
        threat=attacked.threat,
        images=images,
        labels=attacked.labels[right].to(images.device),
        withstood=attacked.robust[right].to(images.device),
        candidates=attacked.candidates[right].to(images.device),
        generator=attacked.generator(right),
        uses_gradients=attacked.uses_gradients,
        known=known,
        answers=attacked.prediction[:kept].to(known.device),
    )
