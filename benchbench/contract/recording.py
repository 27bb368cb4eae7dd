"""Record and replay tensor functions: else hundreds of small CUDA kernels wait for the host."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, cast

from benchbench.contract.seeds import KeyedGenerator, KeyTable
from benchbench.kernels.arithmetic import precisions
from benchbench.kernels.graphs import Recorder, Step, kept_recordings, not_recording, recorder_for, tallying

if TYPE_CHECKING:
    from torch import Tensor

Function = Callable[..., "Tensor"]  # takes some tensors, and a generator for their rows


def replayed(function: Function, tensors: Sequence[Tensor], generator: KeyedGenerator, *, key: Hashable) -> Tensor:
    """Return ``function(*tensors, generator)``, replayed from an earlier call where recorded.

    Recordings are kept while the model is frozen (`benchbench.contract.frozen`). Outside such a block, on a CPU, and in the
    first call with these shapes, the function is called as it is.

    Args:
        function: pure tensor code: it maps the tensors and a generator to a new tensor, reads no number from the device, and
            depends on nothing else that changes.
        tensors: at least one, all on one device; not to be changed.
        generator: not drawn from before. The function receives one that draws alike; each replay may have other rows.
        key: what else the function depends on: the attack, the model, the threat.
    """
    recorder, kept = recorder_for(tensors[0].device), kept_recordings()
    if recorder is None or kept is None:
        return function(*tensors, generator)
    forms = tuple((tensor.shape, tensor.stride(), tensor.dtype) for tensor in tensors)
    call = cast(_Call, kept.setdefault((key, forms, precisions()), _Call(function, tensors)))
    return call.take(tensors, generator, recorder)


class _Call:
    """A call whose buffers keep their addresses."""

    def __init__(self, function: Function, tensors: Sequence[Tensor]) -> None:
        self._function = function
        self._tensors = tensors
        self._table = KeyTable(tensors[0].device)
        self._result: Tensor | None = None
        self._replay: Step | None = None

    def take(self, tensors: Sequence[Tensor], generator: KeyedGenerator, recorder: Recorder) -> Tensor:
        """Call the function the first time, to warm up; record it the second time; then replay it."""
        with not_recording():  # nested calls of `replayed` are part of this recording
            if self._result is None:
                self._tensors, rows = [tensor.clone() for tensor in tensors], generator.rows.clone()
                self._generator = generator.tabulated(self._table, rows)
                self._result = self._function(*self._tensors, self._generator).clone()
                return self._result.clone()
            for buffer, tensor in zip((*self._tensors, self._generator.rows), (*tensors, generator.rows)):
                buffer.copy_(tensor)
            generator.tabulated(self._table, self._generator.rows)
            if self._replay is None:
                self._table.sealed = True
                self._replay = tallying(self._step, recorder)
            self._replay()
        return self._result.clone()

    def _step(self) -> None:
        if self._result is not None:
            self._result.copy_(self._function(*self._tensors, self._generator.again()))
