"""Adapt models as people write them to attacks: probe them once, wrap them if needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from benchbench.contract import in_mode
from benchbench.errors import PLUGIN_FAULTS, ContractError, UsageError
from benchbench.evaluation.subject import borrowed, in_best_layout
from benchbench.kernels.determinism import own_draws

Classifier = nn.Module | Callable[[Tensor], Tensor]


class Guest(nn.Module):
    """Gives a classifier a copy of the images; its logits have a gradient even if it is `blind`."""

    def __init__(
        self, classifier: Classifier, contiguous: bool = False, blind: bool = False, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.classifier, self.keeps_layout, self.blind, self.dtype = classifier, contiguous, blind, dtype

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes), float32."""
        layout = torch.contiguous_format if self.keeps_layout else torch.preserve_format
        own = (images.detach() if self.blind else images).to(self.dtype).clone(memory_format=layout)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.blind):
            logits = self.classifier(own)
        if not isinstance(logits, Tensor) or logits.is_complex() or logits.shape[:-1] != images.shape[:1]:
            return logits  # the caller refuses it
        answer = logits.float()
        return answer + 0.0 * images.flatten(1).sum(dim=1, keepdim=True) if images.requires_grad else answer


def adapt(classifier: Classifier, images: Tensor, *, classes: int | None = None) -> nn.Module:
    """Return a classifier that attacks can use: itself if possible, else a `Guest`.

    Lazy layers get their shapes. The classifier is probed on one and on two images, float32 (N, ...). One without a gradient to
    its input is attacked all the same, and the diagnostics flag it. It is a UsageError if it cannot be called, a ContractError
    if it raises or returns something else than logits, as many as `classes` if given.
    """
    if not callable(classifier):
        raise UsageError(
            f"the model is a {type(classifier).__name__}", hint="expected a module, or a function of images"
        )
    fault = ""
    with own_draws(images.device):
        for candidate in _candidates(classifier, images):
            try:
                fault = _probe(candidate, images, classes)
            except PLUGIN_FAULTS as error:  # the caller's model may raise anything
                reason = " ".join(str(error).split())[:300]
                fault = f"the model cannot take float32 inputs of shape {tuple(images[:1].shape)}: {reason}"
            if not fault:
                return candidate
        mend = _mend(classifier, images, classes)
    size = ", ".join(map(str, images.shape[1:]))
    raise ContractError(
        fault,
        hint=mend
        or f"it must map torch.rand(2, {size}) to logits (2, {classes or 'classes'}). For images of another size see the "
        "options of the dataset (benchbench show dataset NAME). If the model returns more than logits, pass a function "
        "instead, such as lambda images: model(images)[0]",
    )


_ALONE = (
    "it answers several images, but not one alone: keep the first dimension of the logits, and batch normalisation in "
    "evaluation mode"
)


def _mend(classifier: Classifier, images: Tensor, classes: int | None) -> str:
    """What would help a classifier that cannot be used, found by trying; empty if nothing."""
    guest, channels_last = Guest(classifier, contiguous=True), images.movedim(1, -1)
    for inputs, call in ((images, "images"), (channels_last, "images.permute(0, 2, 3, 1)")):
        with suppress(*PLUGIN_FAULTS), in_mode(guest, training=False), torch.no_grad():
            logits = guest(inputs)
            width = logits.shape[1] if logits.dim() == 2 and not logits.is_complex() else 0
            if width == classes:
                return f"images are transposed: pass lambda images: model({call})" if inputs is not images else _ALONE
            if classes and width > 1:
                background = f"; if the first is background, pass lambda images: model({call})[:, 1:]"
                return f"a wrong head, for {width} classes instead of {classes}{background if width == classes + 1 else ''}"
    return ""


@contextmanager
def default_float32() -> Iterator[None]:
    """Make float32 torch's default dtype within the block, or within a decorated function."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _candidates(classifier: Classifier, images: Tensor) -> Iterator[nn.Module]:
    """Yield the classifier itself, if it takes hooks, then guests that need more and more."""
    dtype = torch.float32
    if isinstance(classifier, nn.Module):
        if any(is_lazy(value) for value in chain(classifier.parameters(), classifier.buffers())):
            with in_mode(classifier, training=False), torch.no_grad(), suppress(*PLUGIN_FAULTS):  # the probe reports it
                classifier(images[:1].contiguous())
        dtype = next((value.dtype for value in classifier.parameters() if value.is_floating_point()), dtype)
        if not isinstance(classifier, torch.jit.ScriptModule):
            yield classifier
    yield Guest(classifier)
    yield Guest(classifier, contiguous=True)
    yield Guest(classifier, contiguous=True, blind=True)
    if dtype != torch.float32:
        yield Guest(classifier, contiguous=True, dtype=dtype)


def _probe(candidate: nn.Module, images: Tensor, classes: int | None) -> str:
    """What an attack would stumble over; empty if nothing."""
    with borrowed(candidate), torch.enable_grad():
        for count in sorted({1, min(2, len(images))}):
            inputs = in_best_layout(images[:count].clone()).requires_grad_(True)
            logits = candidate(inputs)
            if isinstance(logits, Tensor) and logits.is_complex():
                return f"the model returned complex numbers, expected: logits of shape {(count, classes or 'classes')}"
            if not isinstance(logits, Tensor) or logits.shape != (count, classes or logits.shape[-1]):
                got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
                expected = f"logits of shape {(count, classes or 'classes')}"
                return f"the model returned {got} for inputs of shape {tuple(inputs.shape)}, expected: {expected}"
            torch.autograd.grad(logits.sum(), inputs)
            if not torch.equal(inputs, images[:count]):
                return "the model changes its inputs in place"
    return ""
