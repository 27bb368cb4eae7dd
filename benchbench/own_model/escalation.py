"""Ways to search where a gradient misleads, and the order in which an audit tries them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchbench.builtin.attacks.autoattack.apgd import Apgd
from benchbench.builtin.attacks.autoattack.square import Square
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import Attack, KeyedGenerator, Norm, Threat
from benchbench.own_model.report import RANDOM

DRAWS = 8  # of a random model, whose answers are averaged
MISLEADING = {"zero-gradients", "loss-not-rising", "withstands-any-perturbation"}  # flags about gradients


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An attack on a view of the model, for instance on its average over draws."""

    attack: Attack
    view: Callable[[nn.Module], nn.Module] = lambda model: model

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Propose one candidate per image; see `benchbench.contract.Attack`."""
        return self.attack.perturb(self.view(model), images, labels, threat=threat, generator=generator)


def attempts(norm: Norm, flags: Collection[str], substitute: Callable[[], nn.Module]) -> dict[str, Attempt]:
    """The attempts in a norm by name, those first that the flags of the diagnostics suggest.

    The substitute is a network that answers like the model and has a gradient.
    """
    far = Pgd(steps=40, step_ratio=0.1, keep="best")  # climbs on beyond the boundary
    transfer = {"transfer": Attempt(attack=Pgd(steps=20, random_start=False), view=lambda model: substitute())}
    if norm == "l1":  # which neither APGD nor Square searches
        plain, search = {"pgd": Attempt(attack=far)}, {}
        guided: Attack = far
        again: Attack = Pgd(steps=100, step_ratio=0.05, restarts=5, keep="best")
    else:
        targeted = Apgd(loss="dlr-targeted", steps=50, targets=4)
        plain = {"apgd-ce": Attempt(attack=Apgd(steps=50)), "apgd-t": Attempt(attack=targeted)}
        search = {"square": Attempt(attack=Square(queries=1000))}
        guided, again = Apgd(loss="dlr", steps=30), Apgd(loss="dlr-targeted", steps=50, restarts=2, targets=4)
    blind = {"straight-through": Attempt(attack=guided, view=partial(View, answer=straight_through)), **search}
    if RANDOM in flags:
        return {"averaged": Attempt(attack=far, view=partial(View, answer=averaged)), **transfer, **blind, **plain}
    order = [transfer, blind, plain] if MISLEADING & set(flags) else [plain, transfer, blind]
    return {name: one for some in order for name, one in some.items()} | {"restarts": Attempt(attack=again)}


class View(nn.Module):
    """Another way to look at a model: `answer` maps the model and images to logits."""

    def __init__(self, model: nn.Module, answer: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.answer = model, answer

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float (N, classes)."""
        return self.answer(self.model, images)


def averaged(model: nn.Module, images: Tensor) -> Tensor:
    """Logarithms of a random model's mean probabilities (EOT: Athalye et al., ICML 2018)."""
    return torch.stack([straight_through(model, images).log_softmax(dim=1) for _ in range(DRAWS)]).logsumexp(dim=0)


def straight_through(model: nn.Module, images: Tensor) -> Tensor:
    """The same logits; steps pass gradients like the identity (BPDA: Athalye et al., ICML 2018)."""
    with _Through():
        return model(images)  # type: ignore[no-any-return]


_STEPS = {getattr(where, name) for where in (torch, Tensor) for name in ("round", "floor", "ceil", "trunc", "sign")}
_ABOVE = {torch.gt, torch.ge, Tensor.gt, Tensor.ge, Tensor.__gt__, Tensor.__ge__}
_BELOW = {torch.lt, torch.le, Tensor.lt, Tensor.le, Tensor.__lt__, Tensor.__le__}


class _Through(TorchFunctionMode):
    """Keeps all values; steps, comparisons and detached tensors get a gradient."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See `torch.overrides`."""
        if func in (torch.detach, Tensor.detach):
            return args[0]
        value = func(*args, **(kwargs or {}))
        if func in _STEPS:
            return args[0] + (value - args[0]).detach()
        if func in _ABOVE | _BELOW and isinstance(args[0], Tensor):
            value.slope = (args[0] - args[1]) * (1 if func in _ABOVE else -1)  # for the cast to numbers
        elif func in (Tensor.float, Tensor.to, Tensor.double) and hasattr(args[0], "slope"):
            through = args[0].slope.clamp(-1, 1)
            return value + (through - through.detach()).to(value)
        return value
