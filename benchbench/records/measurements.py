"""A cache of the measurements on a model, so that an interrupted evaluation can resume."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.atomic import storage_errors, write_bytes_atomically
from benchbench.errors import StorageError
from benchbench.records.arrays import content_digest, to_array
from benchbench.records.disk import read_bytes, set_aside

if TYPE_CHECKING:
    from torch import Tensor


class StoredMeasurements:
    """Measurements by key (before a slash its scope) as safetensors; damaged ones are set aside."""

    def __init__(self, folder: Path, on_problem: Callable[[str], None]) -> None:
        self._folder = folder
        self._on_problem = on_problem

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors stored under a key, on the CPU; None if there are none."""
        path = self._path(key)
        content = read_bytes(path)
        if content is None:
            return None
        try:
            return _unpack(content, key)
        except StorageError as error:
            self._on_problem(
                f"{path} is damaged ({error.message}); set aside as {set_aside(path).name}, measured again"
            )
            return None

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Store tensors under a key; earlier ones are replaced."""
        from safetensors.torch import save

        arrays = {name: to_array(name, tensor) for name, tensor in tensors.items()}
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        content = save(plain, metadata={"key": key, "sha256": content_digest(arrays)})
        write_bytes_atomically(self._path(key), content)

    def discard(self, scope: str) -> None:
        """Remove everything under a scope, after its results are recorded.

        What other processes remove or write meanwhile is no error: a helper may be late, and what it writes is not needed.
        """
        folder = self._scope(scope)
        with storage_errors(folder):
            shutil.rmtree(folder, onerror=_unless_others_did_it)

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._scope(key.partition("/")[0]) / f"{name}.safetensors"

    def _scope(self, scope: str) -> Path:
        return self._folder / hashlib.sha256(scope.encode()).hexdigest()


def _unless_others_did_it(_function: object, _path: str, found: tuple[object, BaseException, object]) -> None:
    error = found[1]
    if not isinstance(error, OSError) or error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
        raise error


def _unpack(content: bytes, key: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors: dict[str, Tensor] = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header["__metadata__"]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise StorageError(str(error)) from error
    found = content_digest({name: to_array(name, tensor) for name, tensor in tensors.items()})
    if (metadata.get("key"), metadata.get("sha256")) != (key, found):
        raise StorageError("its content does not match its digest")
    return tensors
