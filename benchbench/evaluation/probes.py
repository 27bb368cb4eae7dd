"""Probes: cheap searches for what the protocol's attack missed, which say for each specimen whether they broke it.

Only what withstood that attack is probed. All but `climb_margins` ask a model for answers alone, whatever its
gradients are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchbench.builtin.attacks.autoattack.square import Square
from benchbench.builtin.attacks.margins import margin
from benchbench.contract import ascend
from benchbench.evaluation.specimens import Specimens, attached
from benchbench.evaluation.substitute import break_substitute, train_substitute

NEIGHBOURS = 8  # examples of other answers towards which a step is taken
ROUNDS = (100, 400)  # queries of each round of random search ...
KEPT = 3  # ... to which a third of the specimens goes on each time, the ones closest to being broken
LATTICE = 1000  # points in a ball of at most three dimensions
CLIMBED = 15  # steps of each ascent of the margin


def is_searched_whole(specimens: Specimens) -> bool:
    """Whether inputs have so few numbers that a lattice covers the ball: then no gradient matters."""
    return specimens.images[0].numel() <= 3


def try_substitute(specimens: Specimens) -> Tensor:
    """What breaks a substitute of the model, a network that has learnt from the model's answers alone.

    Returns:
        float32 (n, ...), a candidate for each specimen.
    """
    generator = specimens.generator.child("substitute").torch_generator()
    substitute = train_substitute(specimens.known, specimens.answers, generator)
    return break_substitute(substitute, specimens.images, specimens.labels, specimens.threat)


def step_to_neighbours(specimens: Specimens) -> list[Tensor]:
    """The points of the balls nearest to the nearest examples that the model answers otherwise.

    Against classifiers by distance, whose gradient concerns a single pixel.

    Returns:
        at most `NEIGHBOURS` tensors, float32 (n, ...).
    """
    known, answers, threat = specimens.known, specimens.answers, specimens.threat
    distances = torch.cdist(specimens.images.flatten(1), known.flatten(1), p=threat.order)
    distances.masked_fill_(answers[None, :] == specimens.labels[:, None], torch.inf)
    found = distances.topk(min(NEIGHBOURS, len(known)), dim=1, largest=False)
    nearest = torch.where(found.values.isfinite(), found.indices, -1)
    candidates = []
    for chosen in nearest.unbind(1):
        there = torch.where((chosen >= 0).view(-1, *[1] * (known.dim() - 1)), known[chosen], specimens.images)
        candidates.append(threat.project(there, specimens.images))
    return candidates


def cover_ball(specimens: Specimens) -> Tensor:
    """Whether any point of a lattice in the ball breaks a specimen, bool (n,)."""
    features = specimens.images[0].numel()
    side = int(LATTICE ** (1 / features))
    ticks = torch.linspace(-1.0, 1.0, side, device=specimens.images.device)
    points = torch.cartesian_prod(*[ticks] * features).view(-1, *specimens.images.shape[1:]) * specimens.threat.epsilon
    broken = []
    for image, label in zip(specimens.images, specimens.labels):
        there = specimens.threat.project(image + points, image.expand_as(points))
        broken.append((specimens.ask(there).argmax(dim=1) != label).any())
    return torch.stack(broken)


def search_at_random(specimens: Specimens, margins: Tensor) -> Tensor:
    """Whether Square Attack breaks a specimen, which asks for no gradient; bool (n,).

    The most promising third of the specimens is searched, then a third of what stands with more queries. Where that breaks more
    than half of them, the next third is searched, too.

    Args:
        margins: float (n,), the largest so far of each; the larger, the more promising.
    """
    broken = torch.zeros_like(specimens.withstood)
    waiting = margins.argsort(descending=True, stable=True)
    while len(waiting):
        count = -(-len(specimens) // KEPT)
        chosen, waiting = waiting[:count], waiting[count:]
        found = _halve(specimens.take(chosen), ROUNDS)
        broken[chosen] = found
        if 2 * int(found.sum()) <= len(found):
            break
    return broken


def _halve(specimens: Specimens, rounds: tuple[int, ...]) -> Tensor:
    broken = torch.zeros_like(specimens.withstood)
    rows = torch.arange(len(specimens), device=broken.device)
    for number, queries in enumerate(rounds):
        some = specimens.take(rows)
        draws = some.generator.child("round", number)
        found = Square(queries=queries).perturb(
            some.model, some.images, some.labels, threat=some.threat, generator=draws
        )
        margins = some.margins(found)
        broken[rows] = margins > 0
        standing = (margins <= 0).nonzero()[:, 0]
        best = margins[standing].argsort(descending=True, stable=True)[: -(-len(rows) // KEPT)]
        rows = rows[standing[best]]
        if len(rows) == 0:
            break
    return broken


def climb_margins(specimens: Specimens, margins: Tensor) -> Tensor:
    """Whether gradient ascent of the margin breaks a specimen, from the image or from the attack's candidate; bool (n,).

    The margin has a slope wherever the loss of a sure model is flat. The more promising half is tried.

    Args:
        margins: float (n,), the largest so far of each; the larger, the more promising.
    """
    broken = torch.zeros_like(specimens.withstood)
    chosen = margins.argsort(descending=True, stable=True)[: -(-len(specimens) // 2)]
    broken[chosen] = _climb(specimens.take(chosen))
    return broken


def _climb(specimens: Specimens) -> Tensor:
    broken = torch.zeros_like(specimens.withstood)
    threat = specimens.threat

    def objective(candidates: Tensor) -> Tensor:
        margins = margin(specimens.model(candidates), specimens.labels)
        broken.logical_or_(margins.detach() > 0)
        return attached(margins.sum(), candidates)

    starts = (specimens.images, specimens.candidates)
    for start, length in zip(starts, (threat.epsilon / 4, threat.epsilon / 10)):
        last = ascend(objective, start, specimens.images, threat=threat, steps=CLIMBED, step_size=length)
        broken |= specimens.margins(last) > 0
    return broken
