"""Signs that an attack could not do its work, shown as flags on the row.

They follow the indicators of Pintor et al., "Indicators of Attack Failure" (NeurIPS 2022), Carlini et al., "On Evaluating
Adversarial Robustness" (2019), and the flags of AutoAttack (Croce and Hein, ICML 2020). All look at a few test examples that
the model gets right; `FLAGS` lists them. How many planted overestimates they find: ``python -m benchmarks.probes``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.contract import Examples, KeyedGenerator, Threat, derive_seed
from benchbench.evaluation.answer_signs import answers_change, answers_depend_on_batch
from benchbench.evaluation.evidence import ModelEvidence
from benchbench.evaluation.gradient_signs import (
    gradients_are_missing,
    loss_does_not_rise,
    withstands_any_perturbation,
)
from benchbench.evaluation.probes import (
    climb_margins,
    cover_ball,
    is_searched_whole,
    search_at_random,
    step_to_neighbours,
    try_substitute,
)
from benchbench.evaluation.specimens import Attacked, Specimens, from_evidence, inspect
from benchbench.evaluation.subject import borrowed, place

FEWEST = 5  # correct examples, below which shares say nothing
LOOKED_INTO = 32  # specimens whose gradients and answers are looked at; probes take them all
TOLERATED = 0.05  # share of the specimens that a probe may break beyond the attack

GRADIENT_SIGNS: dict[str, Callable[[Specimens], bool]] = {
    "zero-gradients": gradients_are_missing,
    "loss-not-rising": loss_does_not_rise,
    "withstands-any-perturbation": withstands_any_perturbation,
}
ANSWER_SIGNS: dict[str, Callable[[Specimens], bool]] = {
    "random-model": answers_change,
    "batch-dependent": answers_depend_on_batch,
}
FLAGS: dict[str, str] = {
    "zero-gradients": "more than a tenth of the input gradients are all zero or not finite",
    "loss-not-rising": "ten small steps along the gradient do not raise the loss of more than a tenth",
    "withstands-any-perturbation": "gradient steps through the whole box leave more than a tenth right",
    "random-model": "the same inputs get other logits when asked again",
    "batch-dependent": "an example alone, in another order or in other company gets other logits",
    "margin-ascent-succeeds": "gradient ascent of the margin breaks more than a twentieth that the attack did not",
    "random-search-succeeds": "500 queries of random search (Square) break more than a twentieth that the attack did not",
    "transfer-succeeds": "what breaks a substitute network breaks more than a twentieth that the attack did not",
    "neighbour-steps-succeed": "steps towards examples of other classes break more than a twentieth that the attack did not",
    "lattice-succeeds": "a lattice in a ball of up to three dimensions breaks more than a twentieth that the attack did not",
    "quarter-broken": "all these searches together break more than a quarter that the attack did not",
    "half-broken": "all these searches together break more than half that the attack did not",
}
"""Every flag, and the sign that it stands for."""


def diagnose(evidence: ModelEvidence) -> tuple[str, ...]:
    """The flags of a model under the protocol's attack, sorted; none for a model that gets almost nothing right."""
    return _diagnose(from_evidence(evidence))


def diagnose_again(
    model: nn.Module,
    *,
    threat: Threat,
    test: Examples,
    test_rows: Tensor,
    prediction: Tensor,
    robust: Tensor,
    candidates: Tensor,
    uses_gradients: bool,
    seed: int,
    device: torch.device,
) -> tuple[str, ...]:
    """The flags that `diagnose` would give, from what an evaluation has stored: the model is not attacked again.

    Args:
        model: the trained model. It is moved to `device`; mode, gradient flags and memory layout are put back afterwards.
        threat: ball and box of the evaluation.
        test: the test examples that were evaluated, uint8 images or float32 features, in the order of the outcomes.
        test_rows: int64 (N,), index of each in its dataset: ``index`` of the outcomes.
        prediction: int64 (N,) on the CPU, of the clean examples.
        robust: bool (N,) on the CPU.
        candidates: float32 (N, ...) on the CPU: the witnesses.
        uses_gradients: whether the attack lives off gradients, see `lives_off_gradients`.
        seed: of the run.
        device: where it is done.
    """
    split = place("test", test, test_rows, device)

    def generator(positions: Tensor) -> KeyedGenerator:
        return KeyedGenerator(derive_seed(seed, "diagnostics", split.name), split.rows[positions.to(device)])

    with borrowed(model.to(device)):
        return _diagnose(
            Attacked(
                model=model,
                threat=threat,
                images=lambda positions: split.images(positions.to(device)),
                generator=generator,
                labels=test.labels.cpu(),
                prediction=prediction,
                robust=robust,
                candidates=candidates,
                uses_gradients=uses_gradients,
            )
        )


def _diagnose(attacked: Attacked) -> tuple[str, ...]:
    specimens = inspect(attacked)
    if len(specimens) < FEWEST:
        return ()
    few = specimens.take(torch.arange(min(LOOKED_INTO, len(specimens)), device=specimens.labels.device))
    flags = {flag for flag, indicates in ANSWER_SIGNS.items() if indicates(few)}
    if specimens.uses_gradients and not is_searched_whole(specimens):
        flags |= {flag for flag, indicates in GRADIENT_SIGNS.items() if indicates(few)}
    if "batch-dependent" not in flags:  # else a probe's answers would depend on what else it asks, or fail
        flags |= _shortfalls(specimens)
    return tuple(sorted(flags))


def _shortfalls(specimens: Specimens) -> set[str]:
    """Flags of the probes that break what the attack did not."""
    rows = specimens.withstood.nonzero()[:, 0]
    least = TOLERATED * len(specimens)
    if specimens.threat.epsilon == 0 or len(rows) <= least:
        return set()
    found = list(_probe(specimens.take(rows)))
    together = int(torch.stack([one.broken for one in found]).any(dim=0).sum())
    graded = {
        flag for flag, share in (("quarter-broken", 0.25), ("half-broken", 0.5)) if together > share * len(specimens)
    }
    return graded | {one.flag for one in found if int(one.broken.sum()) > least}


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Which specimens a probe broke, bool (n,)."""

    flag: str
    broken: Tensor


def _probe(standing: Specimens) -> Iterator[_Found]:
    """Probe after probe, on specimens that withstood the attack; cheap ones tell which of them are closest to giving way."""
    if is_searched_whole(standing):
        yield _Found(flag="lattice-succeeds", broken=cover_ball(standing))
        return
    margins = standing.margins(standing.candidates)
    transferred = standing.margins(try_substitute(standing))
    yield _Found(flag="transfer-succeeds", broken=transferred > 0)
    stepped = torch.stack([standing.margins(there) for there in step_to_neighbours(standing)]).amax(dim=0)
    yield _Found(flag="neighbour-steps-succeed", broken=stepped > 0)
    margins = torch.stack([margins, transferred, stepped]).amax(dim=0)
    yield _Found(flag="margin-ascent-succeeds", broken=climb_margins(standing, margins))
    if standing.threat.norm != "l1":  # which Square does not search
        yield _Found(flag="random-search-succeeds", broken=search_at_random(standing, margins))
