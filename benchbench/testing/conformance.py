"""What all checks share: the failure, and the watch over what a plugin must restore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.contract import KeyedGenerator, derive_seed


class ConformanceError(AssertionError):
    """A plugin breaks its contract: what was checked, expected (and how to reach it), and found."""

    def __init__(self, check: str, *, expected: object, got: object) -> None:
        super().__init__(f"{check}\n  expected: {expected}\n  got: {got}")
        self.check = check
        self.expected = expected
        self.got = got


def expect(holds: bool | Tensor, check: str, *, expected: object, got: object) -> None:
    """Raise `ConformanceError` unless `holds`."""
    if not bool(holds):
        raise ConformanceError(check, expected=expected, got=got)


def expect_method(plugin: object, protocol: type | tuple[type, ...], methods: str) -> None:
    """Raise `ConformanceError` unless a plugin has the methods of one of these Protocols."""
    expected = f"an object with a method {methods}"
    expect(isinstance(plugin, protocol), f"{name_of(plugin)}: type", expected=expected, got=type(plugin).__name__)


def name_of(plugin: object) -> str:
    """The name of an object under test in messages: that of its class or function."""
    return str(getattr(plugin, "__name__", type(plugin).__name__))


def keyed(purpose: str, count: int) -> KeyedGenerator:
    """A generator for rows 0, ..., count - 1; equal arguments give equal draws."""
    return KeyedGenerator(derive_seed("conformance", purpose), torch.arange(count))


@dataclass(frozen=True, kw_only=True)
class _Snapshot:
    """The state of a model, by name of module, parameter or buffer."""

    modes: dict[str, bool]
    trainable: dict[str, bool]
    parameters: dict[str, Tensor]
    gradients: dict[str, Tensor | None]
    buffers: dict[str, Tensor]

    @staticmethod
    def of(model: nn.Module) -> _Snapshot:
        parameters = dict(model.named_parameters())
        return _Snapshot(
            modes={name: module.training for name, module in model.named_modules()},
            trainable={name: parameter.requires_grad for name, parameter in parameters.items()},
            parameters={name: parameter.detach().clone() for name, parameter in parameters.items()},
            gradients={name: None if p.grad is None else p.grad.clone() for name, p in parameters.items()},
            buffers={name: buffer.clone() for name, buffer in model.named_buffers()},
        )


@contextmanager
def untouched(
    plugin: object, model: nn.Module, *tensors: Tensor, buffers: bool = True, random_state: bool = True
) -> Iterator[None]:
    """Run a block that uses a plugin; check that model and tensors are the same afterwards.

    A `ConformanceError` tells the first difference.

    Args:
        plugin: the object that messages name.
        model: its modes, parameters, gradients and ``requires_grad`` flags must stay, module by module.
        tensors: inputs whose values and gradient state must stay.
        buffers: whether the model's buffers must stay; batch-norm in training mode may change them.
        random_state: whether torch's global random state must stay; dropout in training mode may change it.
    """
    before = _Snapshot.of(model)
    values = [tensor.detach().clone() for tensor in tensors]
    grad_enabled, global_state = torch.is_grad_enabled(), torch.get_rng_state()
    # An unlikely state: a plugin that seeds with 0 is caught even if the caller has seeded with 0.
    torch.default_generator.manual_seed(derive_seed("untouched"))
    own_state = torch.get_rng_state()
    yield
    enabled_after, state_after = torch.is_grad_enabled(), torch.get_rng_state()
    torch.set_grad_enabled(grad_enabled)
    torch.set_rng_state(global_state)
    name = name_of(plugin)
    expect(enabled_after == grad_enabled, f"{name}: global gradient mode", expected=grad_enabled, got=enabled_after)
    _expect_same_model(name, before, _Snapshot.of(model), buffers=buffers)
    expect(
        not random_state or torch.equal(state_after, own_state),
        f"{name}: source of randomness",
        expected="every draw from the generator passed in",
        got="torch's global random state changed",
    )
    for tensor, value in zip(tensors, values):
        expect(torch.equal(tensor, value), f"{name}: inputs", expected="left as they were", got="changed in place")
        expect(
            not tensor.requires_grad and tensor.grad is None,
            f"{name}: gradient state of the inputs",
            expected="no requires_grad, no gradient; work on a detached clone",
            got=f"requires_grad={tensor.requires_grad}, a gradient: {tensor.grad is not None}",
        )


def _expect_same_model(name: str, before: _Snapshot, after: _Snapshot, *, buffers: bool) -> None:
    flipped = [module for module, mode in before.modes.items() if after.modes.get(module) != mode]
    expect(
        not flipped,
        f"{name}: mode of the model's modules",
        expected="each as it was; benchbench.contract.in_mode sets a mode and restores every module's own",
        got=f"changed: {[module or 'the model' for module in flipped]}",
    )
    expect(
        before.trainable == after.trainable,
        f"{name}: requires_grad of the parameters",
        expected="as it was; benchbench.contract.frozen freezes parameters for a while",
        got=f"changed: {[key for key, flag in before.trainable.items() if after.trainable.get(key) != flag]}",
    )
    kinds: dict[str, tuple[Mapping[str, Tensor | None], Mapping[str, Tensor | None]]]
    kinds = {"parameters": (before.parameters, after.parameters), "gradients": (before.gradients, after.gradients)}
    if buffers:
        kinds["buffers"] = (before.buffers, after.buffers)
    for kind, (old, new) in kinds.items():
        changed = [key for key, value in old.items() if not _same(value, new.get(key))]
        expect(not changed, f"{name}: {kind} of the model", expected="as they were", got=f"changed: {changed}")


def _same(old: Tensor | None, new: Tensor | None) -> bool:
    if old is None or new is None:
        return old is new
    return torch.equal(old, new)
