"""The examples that the diagnostics inspect, of a running or a recorded evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.margins import margin
from benchbench.contract import KeyedGenerator, Threat, derive_seed
from benchbench.evaluation.evidence import ModelEvidence
from benchbench.evaluation.subject import Split, default_batch_size

INSPECTED = 96  # examples that probes try to break; with fewer, one in ten cannot be distinguished from none
LOOKED_AT = 1024  # test examples that they are chosen from
MOST_ANSWERS = 1024  # for a substitute to learn from; fewer if inputs have more than 65,536 numbers
_MOST_NUMBERS = 2**26


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """What an evaluation knows about a model under one attack; the input of the diagnostics."""

    model: nn.Module  # in evaluation mode, with frozen parameters
    threat: Threat
    test: Split  # the test split, on the model's device
    seed: int  # of the run
    prediction: Tensor  # int64 (N,) on the CPU, for the clean examples
    robust: Tensor  # bool (N,) on the CPU: correct without perturbation and under the attack
    candidates: Tensor  # float32 (N, ...) on the CPU, the attack's
    uses_gradients: bool  # see `lives_off_gradients`


@dataclass(frozen=True, kw_only=True)
class Specimens:
    """The first examples that a model classifies correctly."""

    model: nn.Module
    threat: Threat
    images: Tensor  # float32 (n, ...)
    labels: Tensor  # int64 (n,)
    withstood: Tensor  # bool (n,), whether the model is correct under the protocol's attack too
    candidates: Tensor  # float32 (n, ...), the attack's
    generator: KeyedGenerator  # keyed by example
    uses_gradients: bool  # see `lives_off_gradients`
    known: Tensor  # float32 (m, ...), the first test examples, correct or not
    answers: Tensor  # int64 (m,), the classes that the model predicts for `known`

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> Specimens:
        """The specimens at some positions, int64."""
        per_example = ("images", "labels", "withstood", "candidates")
        chosen = {name: getattr(self, name).index_select(0, rows) for name in per_example}
        return replace(self, **chosen, generator=self.generator.take(rows))

    @torch.no_grad()
    def ask(self, inputs: Tensor) -> Tensor:
        """The model's logits, computed in batches of the default size."""
        parts = torch.split(inputs, default_batch_size(inputs.device))
        return torch.cat([self.model(part) for part in parts])

    def margins(self, candidates: Tensor) -> Tensor:
        """The largest wrong logit minus the right one, float (n,); above 0 if misclassified."""
        return margin(self.ask(candidates), self.labels)


def lives_off_gradients(forward: int, gradient: int) -> bool:
    """Whether an attack computed a gradient in at least half of its queries (`forward`)."""
    return 2 * gradient >= forward


def attached(total: Tensor, candidates: Tensor) -> Tensor:
    """`total`, with a gradient of 0 in the candidates if the model is detached from its input."""
    return total if total.requires_grad else total + 0.0 * candidates.sum()


def from_evidence(evidence: ModelEvidence) -> Attacked:
    """The input of the diagnostics, from a running evaluation."""
    attacked, trial = evidence.attacked("test"), evidence.trial
    return Attacked(
        model=trial.model,
        threat=trial.threat,
        test=trial.splits["test"],
        seed=trial.seed,
        prediction=evidence.prediction("test"),
        robust=evidence.robust("test"),
        candidates=attacked.candidates,
        uses_gradients=lives_off_gradients(attacked.queries.forward, attacked.queries.gradient),
    )


def inspect(attacked: Attacked) -> Specimens:
    """Choose the specimens of a model; the size of batches does not matter."""
    test = attacked.test
    right = (attacked.prediction == test.examples.labels.cpu())[:LOOKED_AT].nonzero()[:INSPECTED, 0]
    positions = right.to(test.rows.device)
    kept = min(len(test), answers_kept(attacked.candidates[0].numel()))
    return Specimens(
        model=attacked.model,
        threat=attacked.threat,
        images=test.images(positions),
        labels=test.labels(positions),
        withstood=attacked.robust[right].to(positions.device),
        candidates=attacked.candidates[right].to(positions.device),
        generator=KeyedGenerator(derive_seed(attacked.seed, "diagnostics", test.name), test.rows[positions]),
        uses_gradients=attacked.uses_gradients,
        known=test.images(torch.arange(kept, device=positions.device)),
        answers=attacked.prediction[:kept].to(positions.device),
    )


def answers_kept(features: int) -> int:
    """How many answers a substitute learns from."""
    return max(1, min(MOST_ANSWERS, _MOST_NUMBERS // features))
