"""Steps that repeat themselves, recorded once as a CUDA graph and replayed: small networks wait for the host otherwise.

Off unless asked for (`recording`): no device was at hand to measure it. Where it is off, or the device is a CPU, a step
is simply called again and again. What a graph replays are the kernels alone, so a step must keep its tensors where they are and
change them in place, and nothing that Python does besides counts: only steps that say so are recorded.

Functions of tensors are recorded as a whole (`benchbench.contract.replayed`), and their recordings are kept while a model is
frozen (`keeping_recordings`): weights that may change would be read where they no longer are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

Step = Callable[[], None]
Recorder = Callable[[Step], Step]
"""Records a step without taking it; the result takes it once for each call."""

WARM_UP = 2  # steps taken before the recording, which libraries use to choose kernels and set up workspaces
FEWEST = WARM_UP + 2  # steps below which a recording is not worth its while

_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)
Recordings = dict[Hashable, Any]  # by what they are of
_kept: ContextVar[Recordings | None] = ContextVar("kept", default=None)
_tallies: ContextVar[tuple[PassCounts, ...]] = ContextVar("tallies", default=())


class PassCounts(Protocol):
    """Something that Python counts while a step is taken, and that a replay would leave out."""

    forward: int
    gradient: int


@contextmanager
def recording(recorder: Recorder | None = None) -> Iterator[None]:
    """Within the block, record steps on CUDA devices.

    Args:
        recorder: records them on any device, for tests; None for CUDA graphs.
    """
    token = _recorder.set(recorder or _record_on_cuda)
    try:
        yield
    finally:
        _recorder.reset(token)


@contextmanager
def not_recording() -> Iterator[None]:
    """Within the block, record nothing: a step that is part of a larger one is recorded with it, or not at all."""
    token = _recorder.set(None)
    try:
        yield
    finally:
        _recorder.reset(token)


def recorder_for(device: torch.device) -> Recorder | None:
    """What records steps on a device; None where steps are not to be recorded."""
    recorder = _recorder.get()
    return None if recorder is _record_on_cuda and device.type != "cuda" else recorder


@contextmanager
def keeping_recordings() -> Iterator[None]:
    """Keep what is recorded within the block until it ends."""
    kept: Recordings = {}
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        kept.clear()  # recordings hold memory of the device


def kept_recordings() -> Recordings | None:
    """The recordings of the innermost block of `keeping_recordings`, by what they are of; None outside of any."""
    return _kept.get()


@contextmanager
def tallied(tally: PassCounts) -> Iterator[None]:
    """Within the block, a replay adds to the tally what the recorded step would."""
    token = _tallies.set((*_tallies.get(), tally))
    try:
        yield
    finally:
        _tallies.reset(token)


def repeat(step: Step, times: int, *, device: torch.device, recordable: bool) -> None:
    """Take a step so many times.

    Args:
        step: works in place on tensors that stay where they are.
        times: at least 0.
        device: of those tensors.
        recordable: whether all that the step does is done by kernels, never by Python.
    """
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
    """Record a step; each replay counts what the recording itself has counted without taking the step."""
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
    """A CUDA graph of a step.

    Raises:
        torch.OutOfMemoryError: the memory does not suffice, as if the step were taken.
    """
    import torch

    short: list[torch.OutOfMemoryError] = []

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
    except RuntimeError:  # that the capture was cut off
        if short:
            raise short[0] from None
        raise
    return graph.replay
