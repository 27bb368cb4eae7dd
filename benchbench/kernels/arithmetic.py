"""The fast mode: searches and trainings compute in bfloat16 or TF32 where a run asks for it, and float32 judges what counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import torch
    from torch import nn

Precision = Literal["float32", "bf16", "tf32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
ROUNDED = PRECISIONS[1:]

_asked: ContextVar[Precision] = ContextVar("asked", default="float32")
_now: ContextVar[Precision] = ContextVar("now", default="float32")


@contextmanager
def precision_of_searches(precision: Precision) -> Iterator[None]:
    """Within the block, `searching` means this precision."""
    token = _asked.set(precision)
    try:
        yield
    finally:
        _asked.reset(token)


@contextmanager
def searching(device: torch.device) -> Iterator[Precision]:
    """Run a search in the arithmetic that the run asked for (``--precision``); what it finds is judged outside of the block.

    With ``"bf16"`` convolutions and matrix products round to bfloat16 (autocast). That is faster where the hardware
    multiplies bfloat16 matrices: GPUs with tensor cores, CPUs with AMX; with AVX-512's bfloat16 a little; elsewhere not.
    With ``"tf32"`` they round what they multiply to ten bits, on GPUs that do. Both are weaker searches:
    docs/performance.md has what they miss. The harness runs attacks within such a block; a metric opens one of its own.

    Args:
        device: where the search computes.

    Yields:
        the precision.
    """
    precision = _asked.get()
    with _arithmetic(device, precision):
        yield precision


@contextmanager
def training_in(precision: Precision, model: nn.Module, device: torch.device) -> Iterator[None]:
    """Run a training in an arithmetic: its passes, a defense's inner searches among them; `full_precision` works within.

    With ``"bf16"`` convolutions and matrix products round to bfloat16, forward and backward (Micikevicius et al., "Mixed
    Precision Training", 2018, without the scaling of the loss, for bfloat16 has float32's range); weights stay float32, and so
    do the gradients that reach them. The model gives float32 logits, so that a defense computes its loss as it always does.

    Args:
        precision: ``"float32"`` changes nothing.
        model: what is trained, on the device.
        device: where.
    """
    if precision == "float32":
        yield
        return
    exact = model.register_forward_hook(_in_float32)  # copies of the model, AWP's, have it as well
    try:
        with precision_of_searches(precision), searching(device):
            yield
    finally:
        exact.remove()


def _in_float32(_model: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
    return output.float()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Run a block in float32, within a search, too: whether an example is fooled is not for rounded numbers to say."""
    with _arithmetic(device, "float32"):
        yield


def derive(loss: torch.Tensor) -> None:
    """Add the gradients of a loss to its leaves, each computed in the type that the pass forward had.

    Autocast has no business here: sums that it takes to float32 are rounded to that type again, by a kernel each.
    """
    import torch

    with torch.autocast(loss.device.type, enabled=False):
        loss.backward()  # type: ignore[no-untyped-call]


def is_rounded() -> bool:
    """Whether a search is running that rounds, so that what it takes for fooled is to be confirmed."""
    return _now.get() != "float32"


def precisions() -> tuple[Precision, Precision]:
    """What is computed in now, and what a search would be."""
    return _now.get(), _asked.get()


@contextmanager
def _arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    import torch

    before, token = _now.get(), _now.set(precision)
    try:
        # Its cache would hand out the first cast of a buffer that steps overwrite: the gradient at the start, at each step.
        autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)
        with _tf32(before, precision), autocast:
            yield
    finally:
        _now.reset(token)


@contextmanager
def _tf32(before: Precision, precision: Precision) -> Iterator[None]:
    """Allow TF32 or forbid it; where it is no matter, leave alone what the caller has set, in whichever of torch's two ways."""
    import torch

    if "tf32" not in (before, precision):
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    allowed = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = allowed
