"""Attacks of installed foolbox, torchattacks, ART and both packages of AutoAttack's authors."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.foolbox_attack import import_foolbox
from benchbench.contract.threat import Threat

if TYPE_CHECKING:
    from autoattack import AutoAttack

AttackName = Literal["pgd", "autoattack"]
Perturb = Callable[[Tensor, Tensor], Tensor]  # images, labels -> candidates


@dataclass(frozen=True, kw_only=True)
class AttackSetting:
    """The attack of every implementation."""

    attack: AttackName  # ``"pgd"`` or the standard ``"autoattack"``
    threat: Threat  # ball and box
    steps: int = 10  # of PGD, at least 1
    step_ratio: float = 0.2  # PGD's step over epsilon
    random_start: bool = False  # whether PGD starts at random in the ball; else at the image, so that nothing is random
    classes: int  # number of logits
    seed: int = 0  # of the libraries that draw at random

    @property
    def step_size(self) -> float:
        """Size of a step in the threat's norm."""
        return self.step_ratio * self.threat.epsilon


def installed_peers(model: nn.Module, setting: AttackSetting) -> dict[str, Perturb]:
    """Implementations of the installed libraries by name; none in L1.

    The model must be frozen and in evaluation mode, which some libraries adopt.
    """
    if setting.threat.norm == "l1":
        return {}
    makers = {name: maker for name, maker in _MAKERS[setting.attack].items() if find_spec(name) is not None}
    return {name: maker(model, setting) for name, maker in makers.items()}


def _foolbox_pgd(model: nn.Module, setting: AttackSetting) -> Perturb:
    foolbox, threat = import_foolbox(), setting.threat
    kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[threat.norm]
    attack = kind(abs_stepsize=setting.step_size, steps=setting.steps, random_start=setting.random_start)
    wrapped = foolbox.PyTorchModel(model, bounds=(threat.lower, threat.upper), device=_device(model))

    def perturb(images: Tensor, labels: Tensor) -> Tensor:
        candidates: Tensor = attack.run(wrapped, images, labels, epsilon=threat.epsilon)
        return candidates

    return perturb


def _torchattacks_pgd(model: nn.Module, setting: AttackSetting) -> Perturb:
    import torchattacks

    kind = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}[setting.threat.norm]
    options = {"alpha": setting.step_size, "steps": setting.steps, "random_start": setting.random_start}
    attack: Perturb = kind(model, eps=setting.threat.epsilon, **options)
    return attack


def _torchattacks_autoattack(model: nn.Module, setting: AttackSetting) -> Perturb:
    import torchattacks

    norm = _NORMS[setting.threat.norm]
    attack: Perturb = torchattacks.AutoAttack(
        model, norm=norm, eps=setting.threat.epsilon, n_classes=setting.classes, seed=setting.seed
    )
    return attack


def _art_pgd(model: nn.Module, setting: AttackSetting) -> Perturb:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    threat, device = setting.threat, _device(model)

    @functools.cache
    def attack_on(input_shape: tuple[int, ...], count: int) -> ProjectedGradientDescentPyTorch:
        classifier = PyTorchClassifier(
            model,
            nn.CrossEntropyLoss(),
            input_shape=input_shape,
            nb_classes=setting.classes,
            clip_values=(threat.lower, threat.upper),
            device_type="gpu" if device.type == "cuda" else "cpu",
        )
        return ProjectedGradientDescentPyTorch(
            classifier,
            norm={"linf": math.inf, "l2": 2}[threat.norm],
            eps=threat.epsilon,
            eps_step=setting.step_size,
            max_iter=setting.steps,
            num_random_init=int(setting.random_start),
            batch_size=count,
            verbose=False,
        )

    def perturb(images: Tensor, labels: Tensor) -> Tensor:
        attack = attack_on(tuple(images.shape[1:]), len(images))
        targets = nn.functional.one_hot(labels, setting.classes).cpu().numpy()
        return torch.from_numpy(attack.generate(images.cpu().numpy(), targets)).to(images)

    return perturb


def _official_autoattack(model: nn.Module, setting: AttackSetting) -> Perturb:
    """The authors' package, github.com/fra31/auto-attack, which no package index has."""
    from autoattack import AutoAttack

    norm, epsilon, device = _NORMS[setting.threat.norm], setting.threat.epsilon, str(_device(model))
    attack = AutoAttack(model, norm=norm, eps=epsilon, seed=setting.seed, verbose=False, device=device)
    _limit_targets(attack, setting)

    def perturb(images: Tensor, labels: Tensor) -> Tensor:
        candidates: Tensor = attack.run_standard_evaluation(images, labels, bs=len(images))
        return candidates

    return perturb


def _packaged_autoattack(model: nn.Module, setting: AttackSetting) -> Perturb:
    """The authors' code as packaged on the index, with a different interface."""
    from pyautoattack import AutoAttack

    norm = _NORMS[setting.threat.norm]
    attack = AutoAttack(model, norm=norm, eps=setting.threat.epsilon, seed=setting.seed, device=_device(model))
    _limit_targets(attack, setting)

    def perturb(images: Tensor, labels: Tensor) -> Tensor:
        candidates, _ = attack.run_standard_evaluation(images, labels, batch_size=len(images))
        found: Tensor = candidates
        return found

    return perturb


def _limit_targets(attack: AutoAttack, setting: AttackSetting) -> None:
    """Use nine target classes, the standard, or fewer if there are fewer than ten classes."""
    for part in (attack.apgd_targeted, attack.fab):
        part.n_target_classes = min(9, setting.classes - 1)


def _device(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


_NORMS = {"linf": "Linf", "l2": "L2"}  # as AutoAttack's implementations spell them
_MAKERS: Mapping[AttackName, Mapping[str, Callable[[nn.Module, AttackSetting], Perturb]]] = {  # by name of the module
    "pgd": {"foolbox": _foolbox_pgd, "torchattacks": _torchattacks_pgd, "art": _art_pgd},
    "autoattack": {
        "torchattacks": _torchattacks_autoattack,
        "autoattack": _official_autoattack,
        "pyautoattack": _packaged_autoattack,
    },
}
