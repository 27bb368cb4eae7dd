"""Find the plugin's line that an exception comes from, not the host's line that called it."""

from __future__ import annotations

import inspect
import os
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path

import pluggy


def _below(folder: str | Path) -> str:
    return f"{Path(folder).resolve()}{os.sep}"


_OTHERS = (_below(Path(__file__).parents[1]), _below(Path(pluggy.__file__).parent))
_STANDARD = _below(sysconfig.get_path("stdlib"))


def summarise_error(error: BaseException) -> str:
    """One line for an exception: type, message, and the plugin's file and line if it has one."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_plugins(frame)]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}{where}"


def plugin_traceback(error: BaseException) -> str:
    """The traceback from the plugin's first line on; empty if no line is a plugin's."""
    lines = traceback.format_exception_only(error)
    if isinstance(error, SyntaxError):
        return "".join(lines)
    every = traceback.extract_tb(error.__traceback__)
    first = next((place for place, frame in enumerate(every) if _is_plugins(frame)), None)
    if first is None:
        return ""
    kept = traceback.StackSummary.from_list([frame for frame in every[first:] if not _is_frozen(frame)])
    return "".join(["Traceback, from the plugin on:\n", *kept.format(), *lines])


def place_of(factory: Callable[..., object]) -> str:
    """File and line of a factory, in brackets; empty if it has none."""
    function = inspect.unwrap(getattr(factory, "func", factory))
    try:
        return f" ({inspect.getsourcefile(function)}, line {inspect.getsourcelines(function)[1]})"
    except (TypeError, OSError):  # written in C, or its source is gone
        return ""


def _is_plugins(frame: traceback.FrameSummary) -> bool:
    """Whether a line is not the host's or Python's; packages are below Python's folder, too."""
    if _is_frozen(frame):
        return False
    file = str(Path(frame.filename).resolve())
    standard = file.startswith(_STANDARD) and "site-packages" not in file and "dist-packages" not in file
    return not standard and not file.startswith(_OTHERS)


def _is_frozen(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith("<frozen")
