"""Import torchvision where its compiled operators do not fit the installed torch.

The package index combines a CPU-only torch with a torchvision whose compiled operators do not load. The import of
torchvision fails only when it describes two of them, ``nms`` and ``qnms``, to torch's compiler. Datasets and timm's models
need neither, so it is enough to declare that the two exist.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType

_ABSENT_OPERATOR = "operator torchvision::"  # the beginning of torch's error for an operator that was never loaded
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declarations: list[object] = []  # torch forgets a declaration when its Library object is collected


def import_torchvision() -> ModuleType:
    """The module torchvision; if its compiled operators do not load, they are declared first.

    Call this before importing torchvision or a package that imports it, such as timm. It is idempotent, and raises ImportError
    if torchvision is not installed, RuntimeError if its import fails for another reason than absent operators.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if not str(error).startswith(_ABSENT_OPERATOR):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # which the failed import left: the next one starts again
    import torch

    if absent := [schema for name, schema in _SCHEMAS.items() if not hasattr(torch.ops.torchvision, name)]:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        define: Callable[[str], object] = library.define
        for schema in absent:
            define(schema)
        _declarations.append(library)
    return importlib.import_module("torchvision")
