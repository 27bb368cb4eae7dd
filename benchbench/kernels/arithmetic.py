"""The fast mode: searches and trainings in bfloat16 or TF32; float32 judges the results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, get_args

from benchbench.kernels.graphs import holding

if TYPE_CHECKING:
    import torch
    from torch import nn

Precision = Literal["float32", "bf16", "tf32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
ROUNDED = PRECISIONS[1:]

_of_searches: ContextVar[Precision] = ContextVar("of_searches", default="float32")
_current: ContextVar[Precision] = ContextVar("current", default="float32")


def precision_of_searches(precision: Precision) -> AbstractContextManager[None]:
    """Within the block, `searching` uses this precision."""
    return holding(_of_searches, precision)


@contextmanager
def searching(device: torch.device) -> Iterator[Precision]:
    """Run a search in the run's ``--precision`` (yielded); judge its finds outside of it.

    With ``"bf16"``, convolutions and matrix products round to bfloat16 (autocast). That is faster on hardware that multiplies
    bfloat16 matrices: GPUs with tensor cores and CPUs with AMX, with AVX-512's bfloat16 a little; elsewhere it is not. With
    ``"tf32"``, they round their factors to ten bits, on GPUs that support it. Both searches are weaker: docs/performance.md
    says what they miss. The harness runs attacks within such a block; a metric opens its own block.
    """
    precision = _of_searches.get()
    with _arithmetic(device, precision):
        yield precision


@contextmanager
def training_in(precision: Precision, model: nn.Module, device: torch.device) -> Iterator[None]:
    """Run all passes of a training, also those of a defense's inner searches, in this precision.

    With ``"bf16"``, convolutions and matrix products round to bfloat16, forward and backward (Micikevicius et al., "Mixed
    Precision Training", 2018, without loss scaling, because bfloat16 has float32's range). Weights and their gradients stay
    float32, and the model returns float32 logits, so that a defense computes its loss as usual. `full_precision` works within.
    """
    if precision == "float32":
        yield
        return
    exact = model.register_forward_hook(_in_float32)  # copies of the model, such as AWP's, keep the hook
    with exact, precision_of_searches(precision), searching(device):
        yield


def _in_float32(_model: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
    return output.float()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Run a block in float32, also within a search, to decide exactly what is fooled."""
    with _arithmetic(device, "float32"):
        yield


def derive(loss: torch.Tensor) -> None:
    """Add the gradients of a loss to its leaves, each computed in the dtype of the forward pass.

    Autocast is off: it would take sums to float32 and round each of them back with one more kernel.
    """
    import torch

    with torch.autocast(loss.device.type, enabled=False):
        loss.backward()  # type: ignore[no-untyped-call]


def is_rounded() -> bool:
    """Whether the running search rounds; confirm its successes in `full_precision`."""
    return _current.get() != "float32"


def precisions() -> tuple[Precision, Precision]:
    """Return the current precision and the precision of searches."""
    return _current.get(), _of_searches.get()


@contextmanager
def _arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    import torch

    # No cache: it would return the first cast of a buffer that steps overwrite, so the first gradient at every step.
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)
    with _tf32(_current.get(), precision), holding(_current, precision), autocast:
        yield


@contextmanager
def _tf32(before: Precision, precision: Precision) -> Iterator[None]:
    """Allow or forbid TF32; leave the caller's flags unchanged where neither precision is TF32."""
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
