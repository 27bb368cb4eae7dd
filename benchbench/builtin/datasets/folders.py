"""Folders that a suite names: below the data root, or anywhere by an absolute path."""

from __future__ import annotations

from pathlib import Path

from benchbench.contract import DataSource, MissingDataError, OptionError


def resolve_folder(dataset: str, path: str, source: DataSource) -> Path:
    """The folder that an option `path` names.

    Args:
        dataset: name of the dataset, for messages.
        path: absolute, or relative to the data root, which it may not leave.
        source: where datasets may read.

    Raises:
        OptionError: a relative path that leaves the data root.
        MissingDataError: there is no such folder.
    """
    folder = source.root / path
    if not Path(path).is_absolute() and not folder.resolve().is_relative_to(source.root.resolve()):
        raise OptionError(
            f"{dataset}: path {path!r} leaves the data root {source.root}", hint="give an absolute path instead"
        )
    if not folder.is_dir():
        raise MissingDataError(
            f"{dataset}: no folder {folder}",
            fetch=f"put the data there, or name another data root with --data or BENCHBENCH_DATA (now {source.root})",
        )
    return folder
