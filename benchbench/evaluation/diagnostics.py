"""Signs that an attack failed where the model is weak, shown as flags on the row.

They follow the indicators of Pintor et al., "Indicators of Attack Failure" (NeurIPS 2022), Carlini et al., "On Evaluating
Adversarial Robustness" (2019), and the flags of AutoAttack (Croce and Hein, ICML 2020). All of them inspect a few test examples
that the model classifies correctly; `FLAGS` lists them. ``python -m benchmarks.probes`` counts the planted overestimates that
they find.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchbench.evaluation.probes import (
    climb_margins,
    cover_ball,
    is_searched_whole,
    search_at_random,
    step_to_neighbours,
    try_substitute,
)
from benchbench.evaluation.signs import (
    answers_change,
    answers_depend_on_batch,
    gradients_are_missing,
    loss_does_not_rise,
    withstands_any_perturbation,
)
from benchbench.evaluation.specimens import Attacked, Specimens, inspect

FEWEST = 5  # correct examples; shares of fewer say nothing
LOOKED_INTO = 32  # specimens whose gradients and answers are inspected; probes take all
TOLERATED = 0.05  # share of the specimens that a probe may break in addition to the attack

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


def diagnose(attacked: Attacked) -> tuple[str, ...]:
    """The flags of a model under an attack, sorted.

    There are none for a model that classifies almost nothing correctly.
    """
    return examine(attacked)[0]


def examine(attacked: Attacked, *, hurried: bool = False) -> tuple[tuple[str, ...], Tensor]:
    """The flags, and the rows of the examples that only the probes broke, int64.

    If `hurried`, random search, which takes half of the time, is only for models whose gradients may mislead.
    """
    specimens, nothing = inspect(attacked), attacked.test.rows[:0]
    if len(specimens) < FEWEST:
        return (), nothing
    few = specimens.take(torch.arange(min(LOOKED_INTO, len(specimens)), device=specimens.labels.device))
    flags = {flag for flag, indicates in ANSWER_SIGNS.items() if indicates(few)}
    if specimens.uses_gradients and not is_searched_whole(specimens):
        flags |= {flag for flag, indicates in GRADIENT_SIGNS.items() if indicates(few)}
    if "batch-dependent" in flags:  # a probe would fail, or its answers depend on its other queries
        return tuple(sorted(flags)), nothing
    guided = specimens.uses_gradients and not flags & GRADIENT_SIGNS.keys()
    shortfalls, broken = _shortfalls(specimens, at_random=not (hurried and guided))
    return tuple(sorted(flags | shortfalls)), broken


def _shortfalls(specimens: Specimens, *, at_random: bool) -> tuple[set[str], Tensor]:
    """Flags of the probes that break specimens which withstood the attack; their rows."""
    rows = specimens.withstood.nonzero()[:, 0]
    least = TOLERATED * len(specimens)
    if specimens.threat.epsilon == 0 or len(rows) <= least:
        return set(), rows[:0]
    standing = specimens.take(rows)
    found = _probe(standing, at_random=at_random)
    together = torch.stack(list(found.values())).any(dim=0)
    count = int(together.sum())
    graded = {
        flag for flag, share in (("quarter-broken", 0.25), ("half-broken", 0.5)) if count > share * len(specimens)
    }
    flags = graded | {flag for flag, broken in found.items() if int(broken.sum()) > least}
    return flags, standing.generator.rows[together]


def _probe(standing: Specimens, *, at_random: bool) -> dict[str, Tensor]:
    """By flag, the specimens that a probe breaks, bool (n,); all withstood the attack.

    The cheap probes come first: their margins tell the others where to search.
    """
    if is_searched_whole(standing):
        return {"lattice-succeeds": cover_ball(standing)}
    margins = standing.margins(standing.candidates)
    transferred = standing.margins(try_substitute(standing))
    stepped = torch.stack([standing.margins(there) for there in step_to_neighbours(standing)]).amax(dim=0)
    margins = torch.stack([margins, transferred, stepped]).amax(dim=0)
    broken = {
        "transfer-succeeds": transferred > 0,
        "neighbour-steps-succeed": stepped > 0,
        "margin-ascent-succeeds": climb_margins(standing, margins),
    }
    if at_random and standing.threat.norm != "l1":  # which Square does not search
        broken["random-search-succeeds"] = search_at_random(standing, margins)
    return broken
