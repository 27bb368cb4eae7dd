"""Sound lower bounds of margins: the label's logit minus the largest other one, over a ball."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from benchbench.bounds.backward import backward
from benchbench.bounds.branching import Effort, Search, whole
from benchbench.bounds.curves import can_curve
from benchbench.bounds.enclosures import enclose
from benchbench.bounds.exact import exact_margin
from benchbench.bounds.network import Network
from benchbench.bounds.problems import Problem, pose
from benchbench.bounds.regions import Region


def margin_bounds(
    network: Network,
    region: Region,
    labels: Tensor,
    effort: Effort,
    *,
    rounded: bool = True,
    hard: Tensor | None = None,
) -> Tensor:
    """Lower bounds of logit y minus logit j over each region and over all other classes j.

    Above 0, no point of the region is misclassified. Cheap bounds come first, and the next ones only where they are not above
    0: backward relaxation from intervals, from intervals that it tightened, optimised slopes, branch and bound.

    Args:
        network: as `read_network` gives it.
        region: N regions.
        labels: int64 (N,).
        effort: of the last two.
        rounded: whether the bound holds for the network as evaluated in float32; else in real arithmetic.
        hard: bool (N,), where branch and bound may be worth its time; None for everywhere.

    Returns:
        float64 (N,).
    """
    rows = target_rows(labels, network.classes)
    last, left = len(network.steps) - 1, torch.arange(len(labels), device=labels.device)
    found = rows.new_full(rows.shape[:2], -math.inf)
    for tighten in (False, True):
        problem = pose(network, region.take(left), rounded=rounded)
        enclosure = enclose(problem, tighten=tighten)
        found[left] = torch.maximum(found[left], backward(problem, enclosure, rows[left], last))
        undecided = (found[left] <= 0).any(dim=1)
        left, kept = left[undecided], enclosure.take(undecided.nonzero()[:, 0])
        if not len(left) or not network.rectifiers:  # then relaxation is exact
            return found.amin(dim=1)
    for place, index in enumerate(left.tolist()):
        some = torch.tensor([place], device=labels.device)
        one = pose(network, region.take(left[some]), rounded=rounded)
        deadline = math.inf if effort.seconds is None else time.monotonic() + effort.seconds
        searching = effort if hard is None or bool(hard[index]) else replace(effort, branches=0)
        known = kept.take(some)
        if searching.branches and effort.curved and any(can_curve(network, at) for at in network.rectifiers):
            known = enclose(one, tighten=True, known=known, curved=True)
        search = Search(pose=_same(one), known=known, effort=searching, deadline=deadline)
        targets = (found[index] <= 0).nonzero()[:, 0]
        parts = whole(network, rows[index, targets][:, None], found[index, targets][:, None])
        found[index, targets] = least = search.least(parts, 0.0)
        if effort.exact and searching is effort and least <= 0:
            exact = [
                exact_margin(network, one.region, search.known, rows[index, target], effort.exact) for target in targets
            ]
            found[index, targets] = torch.maximum(found[index, targets], found.new_tensor(exact))
    return found.amin(dim=1)


def _same(problem: Problem) -> Callable[[Tensor], Problem]:
    """The same problem for any number of spans."""
    return lambda spans: problem.take(torch.zeros(len(spans), dtype=torch.int64, device=spans.device))


def target_rows(labels: Tensor, classes: int) -> Tensor:
    """The functions logit y - logit j of the logits, for all j but y."""
    identity = torch.eye(classes, dtype=torch.float64, device=labels.device)
    others = torch.stack([torch.cat([torch.arange(y), torch.arange(y + 1, classes)]) for y in labels.tolist()])
    return identity[labels][:, None] - identity[others.to(labels.device)]
