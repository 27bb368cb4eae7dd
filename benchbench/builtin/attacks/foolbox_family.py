"""Every attack of Foolbox that searches an L-inf, L2 or L1 ball, offered as ``foolbox:<AttackClass>``."""

from __future__ import annotations

import difflib
import importlib
import inspect
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchbench.builtin.ascent import uniform_start
from benchbench.contract import KeyedGenerator, Norm, OptionError, Threat

_NORM_OF_ORDER: dict[float, Norm] = {float("inf"): "linf", 2.0: "l2", 1.0: "l1"}
_UNSUITABLE = {
    "BinarizationRefinementAttack": "it only refines the adversarial examples of another attack",
    "DatasetAttack": "it needs to be fed with other images first",
    "GenAttack": "it is a targeted attack",
    "HopSkipJumpAttack": "the distance that it declares is not the one that it minimises",
    "SpatialAttack": "it rotates and shifts, which no norm bounds",
}


def members() -> tuple[str, ...]:
    """Names of the Foolbox classes that work as attacks here, sorted."""
    foolbox = import_foolbox()
    names = (name for name, value in vars(foolbox.attacks).items() if inspect.isclass(value))
    return tuple(sorted(name for name in names if name not in _UNSUITABLE and _searches_a_ball(name)))


def foolbox_attack(
    *,
    member: str,
    steps: int | None = None,
    rel_stepsize: float | None = None,
    abs_stepsize: float | None = None,
    random_start: bool | None = None,
) -> FoolboxAttack:
    """Make the Foolbox attack of a class name.

    Args:
        member: exact name of a class in `foolbox.attacks`, for instance ``LinfPGD``.
        steps: number of steps; None for Foolbox's default, here and below.
        rel_stepsize: step as a multiple of epsilon.
        abs_stepsize: step in input units.
        random_start: whether to begin at a random point of the ball.

    Raises:
        OptionError: the class is unknown, cannot be used here, or does not take an option that was given.
    """
    if member in _UNSUITABLE:
        raise OptionError(f"foolbox:{member} cannot be used: {_UNSUITABLE[member]}")
    if member not in members():
        near = difflib.get_close_matches(member, members(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(members())}"
        raise OptionError(f"Foolbox has no attack {member!r} for an L-inf, L2 or L1 ball", hint=hint)
    offered = {"steps": steps, "rel_stepsize": rel_stepsize, "abs_stepsize": abs_stepsize, "random_start": random_start}
    given = {name: value for name, value in offered.items() if value is not None}
    accepted = _parameters(member)
    foreign = sorted(set(given) - set(accepted))
    if foreign:
        takes = sorted(set(accepted) & set(offered))
        raise OptionError(
            f"foolbox:{member} does not take {', '.join(foreign)}",
            hint=f"it takes {', '.join(takes)}" if takes else "it takes none of a suite's options",
        )
    missing = sorted(name for name, p in accepted.items() if p.default is inspect.Parameter.empty and name not in given)
    if missing:
        raise OptionError(f"foolbox:{member} needs {', '.join(missing)}")
    return FoolboxAttack(member=member, options=given)


@dataclass(frozen=True, kw_only=True)
class FoolboxAttack:
    """A Foolbox attack behind the contract.

    First-order attacks take their random start from the keyed generator and so do not depend on the batch. The other
    random ones draw from global state, which is seeded from the generator and put back afterwards: they repeat exactly
    for the same batches.

    Attributes:
        member: name of the class in `foolbox.attacks`.
        options: keyword arguments of its constructor.
    """

    member: str
    options: Mapping[str, Any]

    @property
    def norms(self) -> tuple[Norm, ...]:
        """The norms that the attack works in; all three for those that measure in any distance."""
        if "distance" in _parameters(self.member):
            return tuple(_NORM_OF_ORDER.values())
        return (_NORM_OF_ORDER[_order(self._make())],)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Propose one candidate per image; see `benchbench.contract.Attack`.

        Raises:
            OptionError: the attack works in another norm than the threat.
        """
        if threat.norm not in self.norms:
            raise OptionError(f"foolbox:{self.member} works in {' or '.join(self.norms)}, the threat is {threat.norm}")
        if threat.epsilon == 0:
            return images.clone()
        attack = self._make(threat.norm)
        if hasattr(attack, "get_random_start"):
            _start_keyed(attack, threat, generator.child("start"))
        target = import_foolbox().PyTorchModel(model, bounds=(threat.lower, threat.upper), device=images.device)
        with _seeded(generator, images.device):
            _, clipped, _ = attack(target, images, labels, epsilons=threat.epsilon)
        return threat.project(clipped.detach(), images)

    def _make(self, norm: Norm = "linf") -> Any:
        foolbox = import_foolbox()
        attack_class = getattr(foolbox.attacks, self.member)
        if "distance" in _parameters(self.member):
            return attack_class(distance=getattr(foolbox.distances, norm), **self.options)
        return attack_class(**self.options)


def import_foolbox() -> Any:
    """Foolbox, without the warning that its import of a SciPy name, deprecated since, gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module("foolbox")


def _parameters(member: str) -> dict[str, inspect.Parameter]:
    foolbox = import_foolbox()
    attack_class = getattr(foolbox.attacks, member)
    if attack_class.__init__ is object.__init__:
        return {}
    parameters = dict(inspect.signature(attack_class.__init__).parameters)
    del parameters["self"]
    return parameters


def _searches_a_ball(member: str) -> bool:
    """Whether the class can be made and declares one of our distances, or takes any."""
    foolbox = import_foolbox()
    attack_class = getattr(foolbox.attacks, member)
    if inspect.isabstract(attack_class) or not issubclass(attack_class, foolbox.attacks.base.AttackWithDistance):
        return False
    parameters = _parameters(member)
    if "distance" in parameters:
        return True
    declared = inspect.getattr_static(attack_class, "distance", None)
    if not isinstance(declared, property):
        return _order(attack_class) in _NORM_OF_ORDER
    needed = {name: 1 for name, p in parameters.items() if p.default is inspect.Parameter.empty}
    return _order(attack_class(**needed)) in _NORM_OF_ORDER


def _order(attack: Any) -> float:
    """The p of the Lp distance of an attack (or of a class that declares it); -1 where it has none."""
    try:
        return float(attack.distance.p)
    except (AttributeError, ValueError, TypeError):
        return -1.0


def _start_keyed(attack: Any, threat: Threat, generator: KeyedGenerator) -> None:
    """Replace this instance's draw of a start, which comes from global state, by ours; the distribution is the same."""
    from eagerpy.astensor import astensor

    def start(centres: Any, epsilon: float) -> Any:
        return astensor(uniform_start(centres.raw, threat=threat, generator=generator))

    attack.get_random_start = start


@contextmanager
def _seeded(generator: KeyedGenerator, device: torch.device) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python, which Foolbox draws from, and put their states back."""
    import numpy

    seed = generator.torch_generator().initial_seed()
    numpy_state, python_state = numpy.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        numpy.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            numpy.random.set_state(numpy_state)
            random.setstate(python_state)
