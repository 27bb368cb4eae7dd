"""Repeated steps as CUDA graphs, because small networks otherwise wait for the host.

Off by default (`recording` turns it on), because no device was available to measure it. Where it is off, and on a CPU, each
step is called as it is. A graph replays kernels only, not Python, so a step must change its tensors in place and keep their
addresses. Only steps that declare this are recorded.

Functions of tensors are recorded as a whole (`benchbench.contract.replayed`). Their recordings are kept only while a model is
frozen (`keeping_recordings`), because a recording would read changed weights at their old address.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import torch

Step = Callable[[], None]
Recorder = Callable[[Step], Step]
"""Records a step without taking it; each call of the result takes it once."""

WARM_UP = 2  # steps before the recording, in which libraries choose kernels and set up workspaces
FEWEST = WARM_UP + 2  # with fewer steps, a recording does not pay off

_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)
Recordings = dict[Hashable, object]  # by what was recorded
_kept: ContextVar[Recordings | None] = ContextVar("kept", default=None)
_tallies: ContextVar[tuple[PassCounts, ...]] = ContextVar("tallies", default=())


class PassCounts(Protocol):
    """Passes that Python counts during a step, which a replay would not count."""

    forward: int
    gradient: int


Value = TypeVar("Value")


@contextmanager
def holding(variable: ContextVar[Value], value: Value) -> Iterator[None]:
    """Within the block, a variable has a value."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def recording(recorder: Recorder | None = None) -> AbstractContextManager[None]:
    """Within the block, record steps on CUDA devices; tests pass a recorder for any device."""
    return holding(_recorder, recorder or _record_on_cuda)


def not_recording() -> AbstractContextManager[None]:
    """Within the block, record nothing: a step inside a recorded step is part of it."""
    return holding(_recorder, None)


def recorder_for(device: torch.device) -> Recorder | None:
    """Return the recorder of steps on a device; None where steps are not recorded."""
    recorder = _recorder.get()
    return None if recorder is _record_on_cuda and device.type != "cuda" else recorder


@contextmanager
def keeping_recordings() -> Iterator[None]:
    """Keep the recordings made within the block until it ends."""
    kept: Recordings = {}
    try:
        with holding(_kept, kept):
            yield
    finally:
        kept.clear()  # recordings hold memory of the device


def kept_recordings() -> Recordings | None:
    """Return the recordings of the innermost `keeping_recordings` block; None outside of any."""
    return _kept.get()


def tallied(tally: PassCounts) -> AbstractContextManager[None]:
    """Within the block, a replay adds the passes of the recorded step to the tally."""
    return holding(_tallies, (*_tallies.get(), tally))


def repeat(step: Step, times: int, *, device: torch.device, recordable: bool) -> None:
    """Take a step `times` times; record it if it is `recordable`: kernels do all of its work."""
    recorder = recorder_for(device)
    if recorder is None or not recordable or times < FEWEST:
        for _ in range(times):
            step()
        return
    for _ in range(WARM_UP):
        step()
    replay = tallying(step, recorder)
    for _ in range(times - WARM_UP):
        replay()


def tallying(step: Step, recorder: Recorder) -> Step:
    """Record a step; each replay adds the passes that Python counted while recording."""
    tallies = _tallies.get()
    before = [(tally.forward, tally.gradient) for tally in tallies]
    replay = recorder(step)
    added = [(t.forward - forward, t.gradient - gradient) for t, (forward, gradient) in zip(tallies, before)]
    for tally, (forward, gradient) in zip(tallies, before):
        tally.forward, tally.gradient = forward, gradient

    def counted() -> None:
        replay()
        for tally, (forward, gradient) in zip(tallies, added):
            tally.forward += forward
            tally.gradient += gradient

    return counted


def _record_on_cuda(step: Step) -> Step:
    """Return the replay of a step's CUDA graph; out of memory, raise what the step itself would."""
    import torch

    short: list[torch.OutOfMemoryError] = []  # torch reports only the broken capture

    def noted() -> None:
        try:
            step()
        except torch.OutOfMemoryError as error:
            short.append(error)
            raise

    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            noted()
    except RuntimeError:
        if short:
            raise short[0] from None
        raise
    return graph.replay
