"""Signs that an attack could not do its work, shown as flags on the row.

They follow the indicators of Pintor et al., "Indicators of Attack Failure" (NeurIPS 2022), Carlini et al., "On Evaluating
Adversarial Robustness" (2019), and the flags of AutoAttack (Croce and Hein, ICML 2020). All look at a few test examples that
the model gets right; `INDICATORS` lists them under the names of their flags.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchbench.builtin.ascent import ascend
from benchbench.builtin.attacks.autoattack.square import Square
from benchbench.contract import KeyedGenerator, Threat
from benchbench.evaluation.evidence import ModelEvidence
from benchbench.evaluation.substitute import answers_kept, break_substitute, train_substitute

INSPECTED = 32  # examples; an indicator needs no more to tell one in ten from none
INSPECTED_BATCHES = 4  # among which they are looked for
TOLERATED = 0.1  # share of the inspected examples beyond which an indicator speaks
FEWEST = 5  # correct examples, below which shares say nothing
_SEARCH_QUERIES = 50
_REPEATABLE = 1e-3  # of the largest logit: what kernels may differ by from call to call


@dataclass(frozen=True, kw_only=True)
class Specimens:
    """The examples that are looked at: the first ones that the model gets right.

    Attributes:
        images: float32 (n, ...).
        labels: int64 (n,).
        withstood: bool (n,), right under the protocol's attack, too.
        candidates: float32 (n, ...), what that attack made of them.
        generator: keyed by example.
        uses_gradients: whether that attack lives off gradients: at least half of its queries asked for one.
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


def diagnose(evidence: ModelEvidence) -> tuple[str, ...]:
    """The flags of a model under the protocol's attack, sorted; none for a model that gets almost nothing right."""
    specimens = inspect(evidence)
    if len(specimens) < FEWEST:
        return ()
    return tuple(sorted(flag for flag, indicates in INDICATORS.items() if indicates(specimens)))


def inspect(evidence: ModelEvidence) -> Specimens:
    """The specimens of a model."""
    attacked, correct, robust = evidence.attacked("test"), evidence.correct("test"), evidence.robust("test")
    collected: list[tuple[Tensor, Tensor]] = []
    keys: list[Tensor] = []
    first = 0
    for images, labels, _ in islice(evidence.batches("test", "diagnostics"), INSPECTED_BATCHES):
        right = correct[first : first + len(labels)].nonzero()[:, 0]
        keys.append(right + first)
        collected.append((images[right.to(images.device)], labels[right.to(labels.device)]))
        first += len(labels)
    rows = torch.cat(keys)[:INSPECTED]
    images, labels = (torch.cat(parts)[:INSPECTED] for parts in zip(*collected))
    known = _known(evidence)
    return Specimens(
        model=evidence.model,
        threat=evidence.threat,
        images=images,
        labels=labels,
        withstood=robust[rows].to(labels.device),
        candidates=attacked.candidates[rows].to(images.device),
        generator=evidence.generator("test", "diagnostics", rows),
        uses_gradients=2 * attacked.gradient >= attacked.forward,
        known=known,
        answers=evidence.prediction("test")[: len(known)].to(known.device),
    )


def _known(evidence: ModelEvidence) -> Tensor:
    """The first test examples, as many as a substitute learns from, whatever the size of batches."""
    inputs = evidence.examples("test").inputs
    wanted, parts = answers_kept(inputs[0].numel()), list[Tensor]()
    for images, _, _ in evidence.batches("test", "diagnostics"):
        parts.append(images)
        if sum(len(part) for part in parts) >= wanted:
            break
    return torch.cat(parts)[:wanted]


def gradients_are_missing(specimens: Specimens) -> bool:
    """Whether more than a tenth of the input gradients are all zero or not finite: gradient masking.

    A natural network's gradients get small, yet vanish in float32 only if every other class is beyond exp(-88), as in a
    saturated softmax.
    """
    if not specimens.uses_gradients:
        return False
    images = specimens.images.clone().requires_grad_(True)
    with torch.enable_grad():
        loss = cross_entropy(specimens.model(images), specimens.labels, reduction="sum")
    if not loss.requires_grad:  # nothing in the model depends on the input in a differentiable way
        return True
    (gradient,) = torch.autograd.grad(loss, images, allow_unused=True)
    if gradient is None:
        return True
    flat = gradient.flatten(1)
    return _too_many(~flat.isfinite().all(dim=1) | (flat == 0).all(dim=1), specimens)


def loss_does_not_rise(specimens: Specimens) -> bool:
    """Whether the loss of more than a tenth has not risen after ten small steps along its gradient, from the image itself."""
    threat = specimens.threat
    if not specimens.uses_gradients or threat.epsilon == 0:
        return False
    moved = _climb(specimens, threat, steps=10, step_size=threat.epsilon / 10).last
    with torch.no_grad():
        before, after = (
            cross_entropy(specimens.model(inputs).double(), specimens.labels, reduction="none")
            for inputs in (specimens.images, moved)
        )
    return _too_many(~(after > before), specimens)


def withstands_any_perturbation(specimens: Specimens) -> bool:
    """Whether gradient steps through the whole box, where any image can become any other, leave more than a tenth right."""
    if not specimens.uses_gradients:
        return False
    lower, upper = specimens.threat.lower, specimens.threat.upper
    if not (math.isfinite(lower) and math.isfinite(upper)):  # features: twice as far as they lie apart
        width = 2 * float(specimens.images.max() - specimens.images.min())
    else:
        width = upper - lower
    threat = Threat(norm="linf", epsilon=width, lower=lower, upper=upper)
    return _too_many(~_climb(specimens, threat, steps=20, step_size=width / 10).fooled, specimens)


def answers_change(specimens: Specimens) -> bool:
    """Whether the same inputs get other logits when asked again: a random defense, whose luck an attack's success was."""
    devices = [specimens.images.device] if specimens.images.is_cuda else []
    inputs = torch.cat([specimens.images, specimens.candidates])
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        first, *others = (specimens.model(inputs) for _ in range(3))
    allowed = _REPEATABLE * max(1.0, float(first.abs().max()))
    return any(float((other - first).abs().max()) > allowed for other in others)


def random_search_succeeds(specimens: Specimens) -> bool:
    """Whether Square Attack, which asks for no gradient, breaks in 50 queries what the protocol's attack did not.

    In more than a tenth of the examples, that is; L1 balls are not searched.
    """
    rows = specimens.withstood.nonzero()[:, 0]
    if specimens.threat.norm == "l1" or specimens.threat.epsilon == 0 or len(rows) == 0:
        return False
    images, labels = specimens.images[rows], specimens.labels[rows]
    search = Square(queries=_SEARCH_QUERIES)
    found = search.perturb(
        specimens.model, images, labels, threat=specimens.threat, generator=specimens.generator.take(rows)
    )
    with torch.no_grad():
        return _too_many(specimens.model(found).argmax(dim=1) != labels, specimens)


def transfer_succeeds(specimens: Specimens) -> bool:
    """Whether what breaks a substitute of the model breaks the model where the protocol's attack did not.

    In more than a tenth of the examples, that is. The substitute learns from the model's answers alone, so that nothing which
    the model does to its gradients helps it.
    """
    rows = specimens.withstood.nonzero()[:, 0]
    if specimens.threat.epsilon == 0 or len(rows) <= TOLERATED * len(specimens):
        return False
    images, labels = specimens.images[rows], specimens.labels[rows]
    generator = specimens.generator.child("substitute").torch_generator()
    substitute = train_substitute(specimens.known, specimens.answers, generator)
    found = break_substitute(substitute, images, labels, specimens.threat)
    with torch.no_grad():
        return _too_many(specimens.model(found).argmax(dim=1) != labels, specimens)


@dataclass(frozen=True, kw_only=True)
class _Climb:
    """The last iterate, and whether any iterate was misclassified."""

    last: Tensor
    fooled: Tensor


def _climb(specimens: Specimens, threat: Threat, *, steps: int, step_size: float) -> _Climb:
    fooled = torch.zeros_like(specimens.withstood)

    def loss(candidates: Tensor) -> Tensor:
        logits: Tensor = specimens.model(candidates)
        fooled.logical_or_(logits.detach().argmax(dim=1) != specimens.labels)
        total = cross_entropy(logits, specimens.labels, reduction="sum")
        return total if total.requires_grad else total + 0.0 * candidates.sum()  # a model cut off from its input

    last = ascend(loss, specimens.images, specimens.images, threat=threat, steps=steps, step_size=step_size)
    with torch.no_grad():
        fooled.logical_or_(specimens.model(last).argmax(dim=1) != specimens.labels)
    return _Climb(last=last, fooled=fooled)


def _too_many(signs: Tensor, specimens: Specimens) -> bool:
    return int(signs.sum()) > TOLERATED * len(specimens)


INDICATORS: dict[str, Callable[[Specimens], bool]] = {
    "zero-gradients": gradients_are_missing,
    "loss-not-rising": loss_does_not_rise,
    "withstands-any-perturbation": withstands_any_perturbation,
    "random-model": answers_change,
    "random-search-succeeds": random_search_succeeds,
    "transfer-succeeds": transfer_succeeds,
}
FLAGS = {"margin-ascent-succeeds":"", "quarter-broken":"", "half-broken":"", **INDICATORS}
