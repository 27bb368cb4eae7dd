"""The same attacks by other libraries, and in the paper's released style (written anew).

Libraries that are not installed are left out. `PEERS` may name a folder with torchattacks and ART installed without their
dependencies (``pip install --no-deps --target FOLDER torchattacks adversarial-robustness-toolbox six adv-lib``).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.builtin.torchvision_import import import_torchvision
from benchbench.parity import AttackSetting, installed_peers
from benchmarks.subjects import BATCH, THREAT

AUTOATTACK_BATCH = 250  # the authors' default
Perturb = Callable[[Tensor, Tensor], Tensor]  # images, labels -> candidates

if os.environ.get("PEERS"):
    sys.path.append(os.environ["PEERS"])


def installed(module: str) -> bool:
    """Whether a library can be imported."""
    return importlib.util.find_spec(module) is not None


def pgd_peers(model: nn.Module, *, random_start: bool) -> dict[str, Perturb]:
    """PGD-10 by every library at hand, in batches of 64."""
    setting = AttackSetting(attack="pgd", threat=THREAT, random_start=random_start, classes=10)
    found = {name: _batched(perturb) for name, perturb in installed_peers(model, setting).items()}
    if installed("adv_lib"):
        found["adv_lib"] = adv_lib_pgd(model, random_start, steps=10)
    return {**found, "original style": _original_pgd(model, random_start)}


def adv_lib_pgd(model: nn.Module, random_start: bool, *, steps: int) -> Perturb:
    """PGD by adv_lib: the latest fooling iterate, else the images; it ignores the last iterate."""
    pgd_linf = _import_adv_lib().pgd_linf

    def perturb(images: Tensor, labels: Tensor) -> Tensor:
        found: Tensor = pgd_linf(
            model,
            images,
            labels,
            THREAT.epsilon,
            steps=steps,
            random_init=random_start,
            absolute_step_size=THREAT.epsilon / 5,
        )
        return found

    return _batched(perturb)


def _import_adv_lib() -> Any:
    """adv_lib imports visdom, a drawing library that is not needed here."""
    import_torchvision()
    if "visdom" not in sys.modules and not installed("visdom"):
        sys.modules["visdom"] = ModuleType("visdom")
    return importlib.import_module("adv_lib.attacks")


def _original_pgd(model: nn.Module, random_start: bool) -> Perturb:
    """The released code's style: each step's backward pass reaches the weights; NumPy per batch."""

    def perturb(images: Tensor, labels: Tensor) -> Tensor:
        start = images + random_start * torch.empty_like(images).uniform_(-THREAT.epsilon, THREAT.epsilon)
        moved = original_ascent(
            model, images, start.clamp(0, 1), lambda logits: F.cross_entropy(logits, labels), steps=10, ratio=0.2
        )
        return torch.from_numpy(moved)

    return _batched(perturb)


def original_ascent(
    model: nn.Module,
    images: Tensor,
    start: Tensor,
    objective: Callable[[Tensor], Tensor],
    *,
    steps: int,
    ratio: float,
    into_weights: bool = True,
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Sign steps, by default also filling the gradients of all weights; the result in NumPy."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    candidates = start.detach().clone()
    for _ in range(steps):
        candidates = candidates.detach().clone().requires_grad_(True)
        optimizer.zero_grad()
        loss = objective(model(candidates))
        wanted = [candidates, *model.parameters()] if into_weights else [candidates]
        gradient = torch.autograd.grad(loss, wanted, allow_unused=True)[0]
        moved = candidates.detach() + ratio * THREAT.epsilon * torch.sign(gradient)
        moved = torch.min(torch.max(moved, images - THREAT.epsilon), images + THREAT.epsilon)
        candidates = torch.clamp(moved, 0.0, 1.0)
    return candidates.detach().numpy()


def targeted_peers(model: nn.Module) -> dict[str, Perturb]:
    """MT, 20 steps for each wrong class: loops over targeted PGD, and the original's style."""
    makers = {"torchattacks": _torchattacks_targeted, "adv_lib": _adv_lib_targeted}
    loops = {f"{name} loop": make(model) for name, make in makers.items() if installed(name)}
    return {**loops, "original style": _original_targeted(model)}


def _torchattacks_targeted(model: nn.Module) -> Perturb:
    """MT as a loop over torchattacks' targeted PGD."""
    import torchattacks

    attack: Any = torchattacks.PGD(model, eps=THREAT.epsilon, alpha=THREAT.epsilon / 10, steps=20, random_start=True)
    attack.set_mode_targeted_by_label(quiet=True)
    return _over_targets(model, attack)


def _adv_lib_targeted(model: nn.Module) -> Perturb:
    """MT as a loop over adv_lib's targeted PGD, which returns what fooled on the way."""
    pgd_linf = _import_adv_lib().pgd_linf
    options: Any = {"targeted": True, "steps": 20, "absolute_step_size": THREAT.epsilon / 10}
    return _over_targets(model, lambda images, aims: pgd_linf(model, images, aims, THREAT.epsilon, **options))


def _over_targets(model: nn.Module, attack: Perturb) -> Perturb:
    """Try targets in the order of the clean logits; fooled images leave before the next one."""

    def perturb(images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            order = model(images).scatter(1, labels[:, None], -torch.inf).argsort(dim=1, descending=True)[:, :-1]
        candidates, rows = images.clone(), torch.arange(len(images))
        for rank in range(order.shape[1]):
            moved = attack(images[rows], order[rows, rank])
            candidates[rows] = moved
            with torch.no_grad():
                rows = rows[model(moved).argmax(1) == labels[rows]]
            if len(rows) == 0:
                break
        return candidates

    return _batched(perturb)


def _original_targeted(model: nn.Module) -> Perturb:
    """Every class in turn for the whole batch, judged in NumPy."""

    def perturb(images: Tensor, labels: Tensor) -> Tensor:
        best, scores = images.numpy().copy(), np.full(len(images), -np.inf)
        for target in range(10):
            aims = torch.full_like(labels, target)
            start = images + torch.empty_like(images).uniform_(-THREAT.epsilon, THREAT.epsilon)

            def objective(logits: Tensor, aims: Tensor = aims) -> Tensor:
                return -F.cross_entropy(logits, aims)

            moved = original_ascent(model, images, start.clamp(0, 1), objective, steps=20, ratio=0.1)
            logits = model(torch.from_numpy(moved)).detach().numpy()
            won = logits[:, target] - logits[np.arange(len(labels)), labels.numpy()]
            better = (won > scores) & (labels.numpy() != target)
            best[better], scores[better] = moved[better], won[better]
        return torch.from_numpy(best)

    return _batched(perturb)


def autoattack_peer(model: nn.Module, *, steps: int, queries: int) -> Perturb | None:
    """AutoAttack by its authors, else pyautoattack, else torchattacks' copy; None without any."""
    if installed("autoattack"):
        return _authors_autoattack(model, steps, queries)
    if installed("pyautoattack"):
        return _packaged_autoattack(model, steps, queries)
    return _torchattacks_autoattack(model, steps, queries) if installed("torchattacks") else None


def _authors_autoattack(model: nn.Module, steps: int, queries: int) -> Perturb:
    from autoattack import AutoAttack

    attack: Any = AutoAttack(model, norm="Linf", eps=THREAT.epsilon, version="standard", device="cpu", verbose=False)
    for part in (attack.apgd, attack.apgd_targeted, attack.fab):
        part.n_iter = steps
    attack.square.n_queries = queries
    return lambda images, labels: attack.run_standard_evaluation(images, labels, bs=AUTOATTACK_BATCH)


def _packaged_autoattack(model: nn.Module, steps: int, queries: int) -> Perturb:
    """The authors' code with another interface."""
    from pyautoattack import AutoAttack

    attack: Any = AutoAttack(model, norm="Linf", eps=THREAT.epsilon, seed=0, version="standard", device="cpu")
    for part in (attack.apgd, attack.apgd_targeted, attack.fab):
        part.n_iter = steps
    attack.square.n_queries = queries
    return lambda images, labels: attack.run_standard_evaluation(images, labels, batch_size=AUTOATTACK_BATCH)[0]


def _torchattacks_autoattack(model: nn.Module, steps: int, queries: int) -> Perturb:
    """The authors' order, numbers and schedule; torchattacks defaults to a tenth of the steps."""
    import torchattacks

    shared: dict[str, Any] = {"norm": "Linf", "eps": THREAT.epsilon, "seed": 0}
    attack: Any = torchattacks.MultiAttack(
        [
            torchattacks.APGD(model, steps=steps, loss="ce", **shared),
            torchattacks.APGDT(model, steps=steps, n_classes=10, **shared),
            torchattacks.FAB(model, steps=steps, multi_targeted=True, n_classes=10, **shared),
            torchattacks.Square(model, n_queries=queries, resc_schedule=False, **shared),
        ]
    )

    def perturb(images: Tensor, labels: Tensor) -> Tensor:
        parts = zip(images.split(AUTOATTACK_BATCH), labels.split(AUTOATTACK_BATCH))
        return torch.cat([attack(part, truth).detach() for part, truth in parts])

    return perturb


def original_lipschitz(model: nn.Module, images: Tensor, start: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Ascend ||f(x) - f(x')||_1 / ||x - x'||_inf as released: f(x) with gradients each step."""
    ratios = []
    for part, begin in zip(images.split(BATCH), start.split(BATCH)):

        def ratio(candidates: Tensor, part: Tensor = part) -> Tensor:
            change = (model(part) - model(candidates)).abs().sum(1)
            return change / (part - candidates).abs().flatten(1).max(1).values

        candidates = begin.detach().clone()
        for _ in range(10):
            candidates = candidates.detach().requires_grad_(True)
            model.zero_grad()
            ratio(candidates).sum().backward()  # type: ignore[no-untyped-call]
            if candidates.grad is None:
                raise RuntimeError("the ratio does not depend on the candidates")
            moved = candidates.detach() + 0.2 * THREAT.epsilon * candidates.grad.sign()
            candidates = torch.min(torch.max(moved, part - THREAT.epsilon), part + THREAT.epsilon).clamp(0.0, 1.0)
        ratios.append(ratio(candidates).detach().numpy())
    return np.concatenate(ratios)


def _batched(perturb: Perturb) -> Perturb:
    def whole(images: Tensor, labels: Tensor) -> Tensor:
        return torch.cat([perturb(part, truth) for part, truth in zip(images.split(BATCH), labels.split(BATCH))])

    return whole
