"""A Foolbox attack behind the contract: norm from the threat, randomness from the generator."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from benchbench.builtin.attacks.margins import broadcast, wrong_logits
from benchbench.builtin.deferred import Tensor, nn, torch
from benchbench.builtin.options import require_norm
from benchbench.contract import NORMS, KeyedGenerator, Norm, OptionError, Threat, UsageError, require, uniform_start
from benchbench.version import install_command

if TYPE_CHECKING:
    from eagerpy.tensor.pytorch import PyTorchTensor
    from foolbox.criteria import Misclassification
    from foolbox.models.base import Model

_NORM_OF_ORDER: dict[float, Norm] = {float("inf"): "linf", 2.0: "l2", 1.0: "l1"}
_CONSTRAINTS: tuple[Norm, ...] = ("linf", "l2")  # values of HopSkipJump's option of that name
_ANY_NORM = "PointwiseAttack"  # declares no distance: puts pixels back, which shrinks the perturbation in every norm
_TARGETED = "GenAttack"
_NEED_STARTS = (
    "BoundaryAttack",
    "HopSkipJumpAttack",
    "L1BrendelBethgeAttack",
    "L2BrendelBethgeAttack",
    "LinfinityBrendelBethgeAttack",
    "PointwiseAttack",
)
_START_STEPS = 50  # shares of noise to try, from the image to noise only


class _Attack(Protocol):
    """An attack of Foolbox, as it is used here."""

    get_random_start: Callable[..., object]  # of first-order attacks only

    def run(self, model: Model, inputs: Tensor, criterion: object, **options: object) -> Tensor: ...

    def __call__(
        self, model: Model, inputs: Tensor, criterion: object, *, epsilons: float
    ) -> tuple[Tensor, Tensor, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class FoolboxAttack:
    """A class of `foolbox.attacks`, by name, with keyword arguments of its constructor.

    First-order attacks take their random start from the keyed generator, so they do not depend on the batch. Other random
    attacks draw from global state, which is seeded from the generator and restored afterwards: they are reproducible for
    equal batches. Attacks along the decision boundary start at the image blended with noise or, with `takes_starts`, at an
    image of another class; where neither fools the model, the image is returned. The targeted genetic attack aims at the
    likeliest wrong class. Where Foolbox returns NaN, for instance for a zero gradient, the image is returned.
    """

    member: str
    options: Mapping[str, object]
    takes_starts: bool = False

    @property
    def norms(self) -> tuple[Norm, ...]:
        """The norms that the attack works in."""
        return norms_of(self.member)

    def perturb(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        threat: Threat,
        generator: KeyedGenerator,
        starts: Tensor | None = None,
    ) -> Tensor:
        """Propose one candidate per image; see `benchbench.contract.Attack`."""
        require_norm(f"foolbox:{self.member}", threat, self.norms)
        if threat.epsilon == 0:
            return images.clone()
        attack = self._make(threat.norm)
        if hasattr(attack, "get_random_start"):
            _start_keyed(attack, threat, generator.child("start"))
        target = import_foolbox().PyTorchModel(model, bounds=(threat.lower, threat.upper), device=images.device)
        with _seeded(generator, images.device):
            found = self._run(attack, target, images, labels, threat.epsilon, starts)
        finite = found.isfinite().flatten(1).all(dim=1)
        return threat.project(torch.where(broadcast(finite, images), found, images), images)

    def _make(self, norm: Norm) -> _Attack:
        foolbox = import_foolbox()
        parameters = parameters_of(self.member)
        attack_class: Callable[..., _Attack] = getattr(foolbox.attacks, self.member)
        if "distance" in parameters:
            return attack_class(distance=getattr(foolbox.distances, norm), **self.options)
        if "constraint" in parameters:
            return attack_class(constraint=norm, **self.options)
        return attack_class(**self.options)

    def _run(
        self, attack: _Attack, target: Model, images: Tensor, labels: Tensor, epsilon: float, starts: Tensor | None
    ) -> Tensor:
        criteria = import_foolbox().criteria
        if self.member in _NEED_STARTS:
            criterion = criteria.Misclassification(labels)
            starts = _blended(target, images, criterion) if starts is None else starts
            return _run_from_starts(attack, target, images, criterion, starts)
        if self.member == _TARGETED:
            with torch.no_grad():
                wrong = wrong_logits(target(images), labels).argmax(dim=1)
            found: Tensor = attack.run(target, images, criteria.TargetedMisclassification(wrong), epsilon=epsilon)
            return found.detach()
        _, clipped, _ = attack(target, images, labels, epsilons=epsilon)
        inside: Tensor = clipped.detach()
        return inside


def import_foolbox() -> ModuleType:
    """Foolbox, without its warning of a SciPy name; UsageError if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module("foolbox")
    except ModuleNotFoundError as error:
        raise UsageError(f"attacks of Foolbox need {error.name}", hint=install_command("foolbox")) from error


def parameters_of(member: str) -> dict[str, inspect.Parameter]:
    """The parameters of a Foolbox class's constructor, by name."""
    attack_class = getattr(import_foolbox().attacks, member)
    if attack_class.__init__ is object.__init__:
        return {}
    parameters = dict(inspect.signature(attack_class.__init__).parameters)
    del parameters["self"]
    return parameters


def norms_of(member: str) -> tuple[Norm, ...]:
    """The norms that a Foolbox class works in; empty if it declares no distance, or another."""
    parameters = parameters_of(member)
    if "distance" in parameters or member == _ANY_NORM:
        return NORMS
    if "constraint" in parameters:
        return _CONSTRAINTS
    attack = getattr(import_foolbox().attacks, member)
    if isinstance(inspect.getattr_static(attack, "distance", None), property):  # only its instances know it
        attack = attack(**{name: 1 for name, p in parameters.items() if p.default is inspect.Parameter.empty})
    try:
        return (_NORM_OF_ORDER[float(attack.distance.p)],)
    except (AttributeError, ValueError, TypeError, KeyError):  # it declares no distance, or another
        return ()


def _blended(target: Model, images: Tensor, criterion: Misclassification) -> Tensor:
    """The images, each with the least share of noise that changes its class, if there is one."""
    blend = import_foolbox().attacks.LinearSearchBlendedUniformNoiseAttack(steps=_START_STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns that some images have no start
        starts: Tensor = blend.run(target, images, criterion)
    return starts


def _run_from_starts(
    attack: _Attack, target: Model, images: Tensor, criterion: Misclassification, starts: Tensor
) -> Tensor:
    """Run an attack on the images that have an adversarial start; return the other images."""
    with torch.no_grad():
        usable = target(starts).argmax(dim=1) != criterion.labels.raw
    found = images.clone()
    if usable.any():
        chosen = type(criterion)(criterion.labels.raw[usable])
        found[usable] = attack.run(target, images[usable], chosen, starting_points=starts[usable]).detach()
    return found


def _start_keyed(attack: _Attack, threat: Threat, generator: KeyedGenerator) -> None:
    """Replace this instance's globally drawn start by a keyed one of the same distribution."""
    from eagerpy.astensor import astensor

    def start(centres: PyTorchTensor, epsilon: float) -> PyTorchTensor:
        return astensor(uniform_start(centres.raw, threat=threat, generator=generator))

    attack.get_random_start = start


@contextmanager
def _seeded(generator: KeyedGenerator, device: torch.device) -> Iterator[None]:
    """Seed torch, NumPy and Python globally, as Foolbox draws from them; restore their states."""
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


UNSUITABLE: Mapping[str, str] = {
    "BinarizationRefinementAttack": "it only refines the adversarial examples of another attack",
    "DatasetAttack": "it returns other images that it was fed with, and an attack here sees one image at a time",
    "L0BrendelBethgeAttack": "it bounds the number of pixels, which no ball of these norms does",
    "L0FMNAttack": "it bounds the number of pixels, which no ball of these norms does",
    "SpatialAttack": "it rotates and shifts, which no norm bounds",
}


def members() -> tuple[str, ...]:
    """Sorted names of usable Foolbox attacks: all but abstract ones and those of `UNSUITABLE`."""
    foolbox = import_foolbox()
    classes = {name: value for name, value in vars(foolbox.attacks).items() if inspect.isclass(value)}
    attacks = {name for name, value in classes.items() if issubclass(value, foolbox.attacks.Attack)}
    usable = {name for name in attacks - UNSUITABLE.keys() if not inspect.isabstract(classes[name]) and norms_of(name)}
    return tuple(sorted(usable))


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
        random_start: whether to start at a random point of the ball.

    Raises:
        OptionError: the class is unknown, cannot be used here, or does not take a given option.
    """
    if member in UNSUITABLE:
        raise OptionError(f"foolbox:{member} cannot be used: {UNSUITABLE[member]}")
    if member not in members():
        near = difflib.get_close_matches(member, members(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(members())}"
        raise OptionError(f"Foolbox has no attack {member!r} for an L-inf, L2 or L1 ball", hint=hint)
    offered = {"steps": steps, "rel_stepsize": rel_stepsize, "abs_stepsize": abs_stepsize, "random_start": random_start}
    given = {name: value for name, value in offered.items() if value is not None}
    accepted = parameters_of(member)
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


def boundary_members() -> tuple[str, ...]:
    """Sorted names of the Foolbox attacks that walk along the decision boundary from a start."""
    return tuple(name for name in members() if name in _NEED_STARTS)


def foolbox_from_images(*, member: str, steps: int | None = None) -> FoolboxAttack:
    """Make one of the `boundary_members`, which begins at an image of another class.

    Unlike a blend with noise, such an image exists for every model that predicts two classes (Brendel, Rauber, Bethge,
    "Decision-Based Adversarial Attacks", 2018, section 2.2, for their targeted attack).

    Args:
        member: exact name of the class in `foolbox.attacks`, for instance ``HopSkipJumpAttack``.
        steps: number of steps; None for Foolbox's default.

    Raises:
        OptionError: the class needs no start, or does not take `steps`.
    """
    require({f"foolbox:{member} needs no start: expected {', '.join(_NEED_STARTS)}": member in _NEED_STARTS})
    return dataclasses.replace(foolbox_attack(member=member, steps=steps), takes_starts=True)
