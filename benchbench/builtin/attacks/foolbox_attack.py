"""A Foolbox attack behind the contract: norm by the threat, randomness by the generator, nothing that is no candidate."""

from __future__ import annotations

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
from benchbench.contract import NORMS, KeyedGenerator, Norm, OptionError, Threat, UsageError
from benchbench.version import install_command

_NORM_OF_ORDER: dict[float, Norm] = {float("inf"): "linf", 2.0: "l2", 1.0: "l1"}
_CONSTRAINTS: tuple[Norm, ...] = ("linf", "l2")  # what HopSkipJump's option of that name may be
_ANY_NORM = "PointwiseAttack"  # says no distance: it puts back pixel by pixel, which shrinks every one
_TARGETED = "GenAttack"
_NEED_STARTS = (
    "BoundaryAttack",
    "HopSkipJumpAttack",
    "L1BrendelBethgeAttack",
    "L2BrendelBethgeAttack",
    "LinfinityBrendelBethgeAttack",
    "PointwiseAttack",
)
_START_STEPS = 50  # shares of noise that are tried, from the image to noise alone


@dataclass(frozen=True, kw_only=True)
class FoolboxAttack:
    """A Foolbox attack behind the contract.

    First-order attacks take their random start from the keyed generator and so do not depend on the batch. The other
    random ones draw from global state, which is seeded from the generator and put back afterwards: they repeat exactly
    for the same batches. Attacks that walk along the decision boundary begin at the image blended with noise; where no
    blend fools the model, the image is returned. The targeted genetic attack aims at the likeliest wrong class. Where
    Foolbox returns NaN, as for a gradient of zero, the image is returned, too.

    Attributes:
        member: name of the class in `foolbox.attacks`.
        options: keyword arguments of its constructor.
    """

    member: str
    options: Mapping[str, Any]

    @property
    def norms(self) -> tuple[Norm, ...]:
        """The norms that the attack works in."""
        return norms_of(self.member)

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
            found = self._run(attack, target, images, labels, threat.epsilon)
        finite = found.isfinite().flatten(1).all(dim=1).view(-1, *[1] * (images.dim() - 1))
        return threat.project(torch.where(finite, found, images), images)

    def _make(self, norm: Norm) -> Any:
        foolbox = import_foolbox()
        attack_class, parameters = getattr(foolbox.attacks, self.member), parameters_of(self.member)
        if "distance" in parameters:
            return attack_class(distance=getattr(foolbox.distances, norm), **self.options)
        if "constraint" in parameters:
            return attack_class(constraint=norm, **self.options)
        return attack_class(**self.options)

    def _run(self, attack: Any, target: Any, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
        criteria = import_foolbox().criteria
        if self.member in _NEED_STARTS:
            return _run_from_starts(attack, target, images, criteria.Misclassification(labels))
        if self.member == _TARGETED:
            wrong = _likeliest_wrong_class(target, images, labels)
            found: Tensor = attack.run(target, images, criteria.TargetedMisclassification(wrong), epsilon=epsilon)
            return found.detach()
        _, clipped, _ = attack(target, images, labels, epsilons=epsilon)
        inside: Tensor = clipped.detach()
        return inside


def import_foolbox() -> Any:
    """Foolbox, without the warning that its import of a SciPy name, deprecated since, gives.

    Raises:
        UsageError: it is not installed.
    """
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
    """The norms that a Foolbox class works in; none where it declares another distance, or no distance at all."""
    parameters = parameters_of(member)
    if "distance" in parameters or member == _ANY_NORM:
        return NORMS
    if "constraint" in parameters:
        return _CONSTRAINTS
    attack: Any = getattr(import_foolbox().attacks, member)
    if isinstance(inspect.getattr_static(attack, "distance", None), property):  # known to its instances only
        attack = attack(**{name: 1 for name, p in parameters.items() if p.default is inspect.Parameter.empty})
    order = _order(attack)
    return (_NORM_OF_ORDER[order],) if order in _NORM_OF_ORDER else ()


def _order(attack: Any) -> float:
    """The p of the Lp distance of an attack (or of a class that declares it); -1 where it has none."""
    try:
        return float(attack.distance.p)
    except (AttributeError, ValueError, TypeError):
        return -1.0


def _run_from_starts(attack: Any, target: Any, images: Tensor, criterion: Any) -> Tensor:
    """Run an attack that needs adversarial images to begin with on the images that have one; the others are returned."""
    blend = import_foolbox().attacks.LinearSearchBlendedUniformNoiseAttack(steps=_START_STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # says that some images have no start: they are returned
        starts: Tensor = blend.run(target, images, criterion)
    with torch.no_grad():
        usable = target(starts).argmax(dim=1) != criterion.labels.raw
    found = images.clone()
    if usable.any():
        chosen = type(criterion)(criterion.labels.raw[usable])
        found[usable] = attack.run(target, images[usable], chosen, starting_points=starts[usable]).detach()
    return found


@torch.no_grad()
def _likeliest_wrong_class(target: Any, images: Tensor, labels: Tensor) -> Tensor:
    """int64 (N,)."""
    logits: Tensor = target(images)
    return logits.scatter(1, labels[:, None], -torch.inf).argmax(dim=1)


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
