"""Probes: cheap searches for adversarial examples that the protocol's attack missed.

They take only specimens that withstood that attack. All but `climb_margins` use only the model's answers, not its gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchbench.builtin.attacks.autoattack.square import Square
from benchbench.builtin.attacks.margins import margin
from benchbench.contract import ascend
from benchbench.evaluation.specimens import Specimens, attached
from benchbench.kernels.optimizers import uncompiled

NEIGHBOURS = 8  # examples with other answers towards which a step is taken
ROUNDS = (100, 400)  # queries of each round of random search
KEPT = 3  # one in this many specimens goes on to the next round, those with the largest margins
LATTICE = 1000  # points in a ball of at most three dimensions
CLIMBED = 15  # steps of each ascent of the margin
TRANSFERRED = 20  # steps of the ascent of the substitute's loss
_HIDDEN = 128  # of the substitute
_PASSES, _BATCH, _LEARNING_RATE = 10, 32, 3e-3


def is_searched_whole(specimens: Specimens) -> bool:
    """Whether a lattice covers the ball, as inputs are so small; then no gradient matters."""
    return specimens.images[0].numel() <= 3


def try_substitute(specimens: Specimens) -> Tensor:
    """Candidates that break a substitute trained on the model's answers, float32 (n, ...)."""
    generator = specimens.generator.child("substitute").torch_generator()
    substitute = train_substitute(specimens.known, specimens.answers, generator)
    images, labels, threat = specimens.images, specimens.labels, specimens.threat

    def loss(candidates: Tensor) -> Tensor:
        return cross_entropy(substitute(candidates), labels, reduction="sum")

    return ascend(loss, images, images, threat=threat, steps=TRANSFERRED, step_size=threat.epsilon / 4)


def step_to_neighbours(specimens: Specimens) -> list[Tensor]:
    """At most `NEIGHBOURS` steps (n, ...) in the ball to examples with other answers.

    They find the faults of classifiers by distance, whose gradient concerns a single pixel.
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
    """Whether Square Attack, which needs no gradient, breaks a specimen; bool (n,).

    It searches the third of the specimens with the largest margins so far, float (n,), then with more queries the best third of
    those that still stand. If this breaks more than half of them, the next third is searched too.
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
    """Whether gradient ascent of the margin breaks a specimen; bool (n,).

    The margin has a slope where the loss of a confident model is flat. Ascent starts from the image and from the attack's
    candidate, for the half of the specimens with the largest margins so far, float (n,).
    """
    rows = margins.argsort(descending=True, stable=True)[: -(-len(specimens) // 2)]
    chosen, threat = specimens.take(rows), specimens.threat
    found = torch.zeros_like(chosen.withstood)

    def objective(candidates: Tensor) -> Tensor:
        reached = margin(chosen.model(candidates), chosen.labels)
        found.logical_or_(reached.detach() > 0)
        return attached(reached.sum(), candidates)

    for start, length in ((chosen.images, threat.epsilon / 4), (chosen.candidates, threat.epsilon / 10)):
        last = ascend(objective, start, chosen.images, threat=threat, steps=CLIMBED, step_size=length)
        found.logical_or_(chosen.margins(last) > 0)
    broken = torch.zeros_like(specimens.withstood)
    broken[rows] = found
    return broken


def train_substitute(images: Tensor, answers: Tensor, generator: torch.Generator) -> nn.Module:
    """Train a network of one hidden layer on a model's answers (N,) for inputs (N, ...).

    Papernot et al., "Practical Black-Box Attacks against Machine Learning" (ASIA CCS 2017), without rounds of augmentation. The
    answers are the evaluation's predictions on test examples, so that no query is spent. It costs 6 x 128 x 10 operations for
    each pixel: a third of a second for 1,024 images of MNIST on a CPU core. The generator draws weights and order, on the CPU.
    """
    features, classes = images[0].numel(), int(answers.max()) + 1
    network = nn.Sequential(nn.Flatten(), _linear(features, _HIDDEN, generator), nn.ReLU())
    network.append(_linear(_HIDDEN, classes, generator))
    network.to(images.device)
    optimizer = uncompiled(torch.optim.Adam)(network.parameters(), lr=_LEARNING_RATE)
    with torch.enable_grad():
        for _ in range(_PASSES):
            order = torch.randperm(len(images), generator=generator).to(images.device)
            for chosen in torch.split(order, _BATCH):
                optimizer.zero_grad()
                torch.autograd.backward(cross_entropy(network(images[chosen]), answers[chosen]))
                optimizer.step()
    return network.requires_grad_(False)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A layer with He's initialisation and zero bias, drawn from the generator."""
    layer = nn.Linear(inputs, outputs, device="meta")  # where nothing is drawn
    layer.weight = nn.Parameter(torch.randn(outputs, inputs, generator=generator) * (2 / inputs) ** 0.5)
    layer.bias = nn.Parameter(torch.zeros(outputs))
    return layer
