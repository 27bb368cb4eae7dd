"""The loss and its parameter gradients, method by method, against the protocol's equations written out in float64.

The network has batch normalisation and dropout, so that training mode and evaluation mode differ. The images have pixels at
both ends of the box, so that a clipped start differs from one that is not.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from benchbench.builtin.defenses.adversarial import AdversarialTraining, RobustSelfTraining
from benchbench.builtin.defenses.gradient_regularisation import GradientRegularisation
from benchbench.builtin.defenses.local_linearity import LocalLinearity
from benchbench.builtin.defenses.natural import Natural
from benchbench.builtin.defenses.trades import Trades
from benchbench.contract import KeyedGenerator

N, SHAPE, CLASSES, EPSILON = 6, (1, 4, 4), 3, 0.1
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}


def make_network():
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, CLASSES)]
    network = nn.Sequential(*layers).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter))
        network[1].running_mean.normal_()
        network[1].running_var.uniform_(0.5, 2.0)
    return network.train()


class Batch:
    """A network, images and labels; the formulas draw what the defenses draw, from a generator made alike."""

    def __init__(self):
        self.network = make_network()
        self.images = torch.empty(N, *SHAPE, dtype=torch.float64).uniform_(-0.5, 1.5).clamp(0.0, 1.0)
        self.labels = torch.randint(CLASSES, (N,))

    def generator(self):
        return KeyedGenerator(7, torch.arange(20, 20 + N))

    def noise(self, deviation=0.001):
        return deviation * self.generator().normal_like(self.images)

    def losses(self, network, images):
        """Cross-entropy per example, from the definition."""
        logits = network(images)
        return torch.logsumexp(logits, dim=1) - logits[torch.arange(N), self.labels]

    def slope(self, values, at, **options):
        return torch.autograd.grad(values.sum(), at, **options)[0]


def lengths(delta, norm):
    flat = delta.flatten(1)
    length = flat.abs().amax(1) if norm == "linf" else flat.square().sum(1).sqrt()
    return length.view(-1, 1, 1, 1)


def projected(moved, images, norm):
    """The point of the ball nearest to each row, clipped to the box."""
    delta = moved - images
    scaled = delta * (EPSILON / lengths(delta, norm)).clamp(max=1.0)
    nearest = delta.clamp(-EPSILON, EPSILON) if norm == "linf" else scaled
    return (images + nearest).clamp(0.0, 1.0)


def climbed(batch, objective, start, norm, steps):
    """Steepest ascent by steps of epsilon / 5 in the ball."""
    here = start
    for _ in range(steps):
        leaf = here.clone().requires_grad_()
        gradient = batch.slope(objective(leaf), leaf)
        direction = gradient.sign() if norm == "linf" else gradient / lengths(gradient, norm)
        here = projected(here + EPSILON / 5 * direction, batch.images, norm)
    return here


def pgd(batch, network, norm):
    generator, images = batch.generator(), batch.images
    if norm == "linf":
        start = images + generator.uniform_like(images, low=-EPSILON, high=EPSILON)
    else:
        normal = generator.normal_like(images)
        radius = generator.uniform(1, 1, 1).double() ** (1 / math.prod(SHAPE))
        start = images + EPSILON * radius * normal / lengths(normal, norm)
    return climbed(batch, lambda x: batch.losses(network, x), projected(start, images, norm), norm, steps=10)


def natural(batch, network, norm):
    return batch.losses(network, batch.images).sum()


def at(batch, network, norm):
    return batch.losses(network, pgd(batch, network, norm)).sum()


def rst(batch, network, norm):
    around = pgd(batch, network, norm)
    return batch.losses(network, batch.images).sum() + 0.5 * batch.losses(network, around).sum()


def divergence(clean, around):
    p, q = clean.softmax(1), around.softmax(1)
    return (p * (p / q).log()).sum()


def trades(batch, network, norm):
    """In two steps, for after ten every start would have led to the same corner of the ball."""
    network.eval()
    clean = network(batch.images).detach()
    around = climbed(
        batch, lambda x: divergence(clean, network(x)), batch.images + batch.noise(), norm, steps=2
    ).detach()
    network.train()
    logits = network(batch.images)
    cross_entropy = (torch.logsumexp(logits, 1) - logits[torch.arange(N), batch.labels]).sum()
    return cross_entropy + 3.0 * divergence(logits, network(around))


def gr(clean_weight, penalty_weight):
    def formula(batch, network, norm):
        images = batch.images.clone().requires_grad_()
        clean = batch.losses(network, images)
        gradient = batch.slope(clean, images, retain_graph=True)
        ahead = batch.losses(network, batch.images + gradient / lengths(gradient, "l2"))
        return clean_weight * clean.sum() + penalty_weight * (ahead - clean).square().sum()

    return formula


def llr_search(batch, network, norm, *, linear):
    """delta after two steps of epsilon / 2: clipped to the box, then scaled (by torch.renorm's factor) into the ball."""
    network.eval()
    images = batch.images.clone().requires_grad_()
    clean = batch.losses(network, images)
    gradient = batch.slope(clean, images)
    delta = batch.noise()
    for _ in range(2):
        leaf = delta.clone().requires_grad_()
        g = batch.losses(network, batch.images + leaf)
        if linear:
            g = g - clean.detach() - (leaf * gradient).flatten(1).sum(1)
        rise = batch.slope(g.abs(), leaf)
        moved = delta + EPSILON / 2 * rise / lengths(rise, norm)
        delta = torch.minimum(torch.maximum(moved, -batch.images), 1.0 - batch.images)
        length = lengths(delta, norm)
        delta = torch.where(length > EPSILON, delta * EPSILON / (length + 1e-7), delta)
    network.train()
    return delta


def llr(batch, network, norm):
    delta = llr_search(batch, network, norm, linear=True)
    images = batch.images.clone().requires_grad_()
    clean = batch.losses(network, images)
    linear = (delta * batch.slope(clean, images, create_graph=True)).flatten(1).sum(1)
    g = (batch.losses(network, batch.images + delta) - clean - linear).abs()
    return clean.sum() + 4.0 * g.sum() + 3.0 * linear.abs().sum()


def llr_released(batch, network, norm):
    delta = llr_search(batch, network, norm, linear=False)
    return batch.losses(network, batch.images).sum() + 4.0 * batch.losses(network, batch.images + delta).sum()


TABLE = [
    (Natural(), natural),
    (AdversarialTraining(), at),
    (RobustSelfTraining(lam=0.5), rst),
    (Trades(beta=3.0, steps=2), trades),
    (GradientRegularisation(beta=1.5), gr(1.0, 1.5)),
    (GradientRegularisation(variant="released"), gr(2.0, 0.5)),
    (LocalLinearity(), llr),
    (LocalLinearity(variant="released"), llr_released),
]
