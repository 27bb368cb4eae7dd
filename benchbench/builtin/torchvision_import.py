"""Import torchvision beside a build of torch that its compiled operators were not made for.

From the package index, a CPU-only torch comes with a torchvision whose compiled operators do not load. torchvision
shrugs that off until it describes two of them, ``nms`` and ``qnms``, to torch's compiler, and then its import fails.
Datasets and timm's models need neither, so declaring that the two exist is enough for the import.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from benchbench.builtin.untyped import Untyped

_ABSENT_OPERATOR = r"operator torchvision::"  # how torch's error begins when an operator was never loaded
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declarations: list[Untyped] = []  # torch forgets a declaration when its Library object is collected


def import_torchvision() -> ModuleType:
    """Import torchvision, declaring the operators that it misses when its compiled ones did not load.

    Call this before importing torchvision or anything that does so, such as timm. Where torchvision imports plainly,
    nothing is declared; a second call does nothing.

    Returns:
        The module ``torchvision``.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: its import fails for another reason than absent operators.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if not str(error).startswith(_ABSENT_OPERATOR):
            raise
    _forget_partial_import()
    _declare_absent_operators()
    return importlib.import_module("torchvision")


def _forget_partial_import() -> None:
    """Drop the submodules that the failed import left behind, so that the next one starts afresh."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def _declare_absent_operators() -> None:
    import torch

    library_class: Untyped = torch.library.Library  # not annotated by torch
    absent = [schema for name, schema in _SCHEMAS.items() if not hasattr(torch.ops.torchvision, name)]
    if not absent:
        return
    library = library_class("torchvision", "FRAGMENT")
    for schema in absent:
        library.define(schema)
    _declarations.append(library)
