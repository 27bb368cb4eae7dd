"""Checks for architectures."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from benchbench.contract import derive_seed
from benchbench.testing.conformance import expect, keyed, name_of, untouched


def check_architecture(
    factory: Callable[..., nn.Module], *, input_shapes: Iterable[tuple[int, ...]], classes: Iterable[int] = (2, 1000)
) -> None:
    """Check an architecture; a `ConformanceError` tells the first broken promise.

    For each input shape and number of classes: finite float32 logits (N, classes), also in channels-last memory; in evaluation
    mode the same logits for an image alone as in a batch, and unchanged inputs; in training mode a gradient for every
    parameter; equal initial weights from equal seeds; all state in the ``state_dict``, as tensors.

    Args:
        factory: called with ``input_shape`` and ``classes``; use `functools.partial` to set further options.
        input_shapes: the shapes that it supports, for instance ``[(3, 32, 32)]``.
        classes: numbers of classes to try.
    """
    counts = tuple(classes)
    for shape in input_shapes:
        for count in counts:
            _check_one(factory, shape, count)


def _make(factory: Callable[..., nn.Module], shape: tuple[int, ...], classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("conformance"))
        return factory(input_shape=shape, classes=classes)


def _check_one(factory: Callable[..., nn.Module], shape: tuple[int, ...], classes: int) -> None:
    name = f"{name_of(factory)}, input {shape}, {classes} classes"
    model = _make(factory, shape, classes)
    expect(isinstance(model, nn.Module), f"{name}: type", expected="nn.Module", got=type(model).__name__)
    images = keyed("images", 3).uniform(*shape)
    model.eval()
    with torch.no_grad(), untouched(factory, model, images):
        logits, alone = model(images), model(images[2:])
    _check_logits(name, logits, (3, classes))
    gap = float((logits[2:] - alone).abs().max())
    expect(
        gap <= 1e-4 * max(1.0, float(logits.abs().max())),
        f"{name}: evaluation mode",
        expected="the same logits for an image alone as in a batch",
        got=f"differences of up to {gap:.3g}",
    )
    _check_layout(name, _make(factory, shape, classes).eval(), images)
    _check_state(name, factory, model, shape, classes)
    _check_training_mode(name, model, images)


def _check_logits(name: str, logits: object, shape: tuple[int, int]) -> None:
    right = isinstance(logits, Tensor) and logits.shape == shape and logits.dtype == torch.float32
    got = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
    expect(right, f"{name}: logits", expected=f"float32 {shape}", got=got)
    if isinstance(logits, Tensor):
        expect(logits.isfinite().all(), f"{name}: logits", expected="finite", got="NaN or infinity")


def _check_layout(name: str, model: nn.Module, images: Tensor) -> None:
    """The host keeps images and convolutions channels-last, where ``view`` fails."""
    images, raised = images.to(memory_format=torch.channels_last) if images.dim() == 4 else images, ""
    try:
        model.to(memory_format=torch.channels_last)(images)  # type: ignore[call-overload]
    except RuntimeError as error:
        raised = str(error)
    expect(not raised, f"{name}: memory layout", expected="channels-last is taken: flatten(1), not view", got=raised)


def _check_state(
    name: str, factory: Callable[..., nn.Module], model: nn.Module, shape: tuple[int, ...], classes: int
) -> None:
    again = _make(factory, shape, classes).eval()
    state, same = model.state_dict(), again.state_dict()
    loose = [key for key, value in state.items() if not isinstance(value, Tensor)]
    expect(not loose, f"{name}: state_dict", expected="tensors only", got=f"something else under {loose}")
    differing = [key for key, value in state.items() if key not in same or not torch.equal(value, same[key])]
    expect(not differing, f"{name}: initial weights", expected="equal for equal seeds", got=f"different: {differing}")


def _check_training_mode(name: str, model: nn.Module, images: Tensor) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("dropout"))
        model.train()(images).square().sum().backward()
    gradients = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    dead = [key for key, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()]
    expect(not dead, f"{name}: training mode", expected="a finite gradient for every parameter", got=f"not for {dead}")
