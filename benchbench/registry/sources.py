"""The source files of a plugin and their digest, the identity of its components.

Python sources count by their syntax trees; compiled extensions and sources in C, C++, CUDA and Cython by their bytes. The
digest does not cover data files, other distributions that the plugin imports, benchbench's tools, and files added by hand to
an install that is not editable. In an editable install it does not cover packages whose names are built at run time.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution
from pathlib import Path, PurePath
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from benchbench.cell.model import ID_LENGTH

_SAYS_NOTHING = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
_VERSIONS = frozenset({"__version__", "__version_tuple__", "__commit_id__"})  # written by build tools


def syntax_digest(source: bytes) -> bytes:
    """SHA-256 of a module's syntax tree, equal under every version of Python that can parse it.

    The digest ignores docstrings and other statements that are only a text, and literals assigned to ``__version__``,
    ``__version_tuple__`` or ``__commit_id__`` at module level. A file that does not parse counts by its bytes.

    >>> syntax_digest(b"def f(x):\\n    'Double it.'\\n    return 2*x") == syntax_digest(b"def f(x): return (2 * x)  # it")
    True
    >>> syntax_digest(b"x = 1") == syntax_digest(b"x = 2")
    False
    """
    written: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes concern the plugin's author only
            tree = ast.parse(source)
        tree.body = [statement for statement in tree.body if not _states_version(statement)]
        _write(tree, written)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return hashlib.sha256(source).digest()
    return hashlib.sha256("".join(written).encode()).digest()


def _write(value: object, written: list[str]) -> None:
    """Append the text of a tree, without the empty fields that later Pythons add."""
    if isinstance(value, ast.AST):
        written.append(f"{type(value).__name__}(")
        for name in value._fields:
            inner = getattr(value, name, None)
            if inner is not None and inner != [] and name not in _SAYS_NOTHING:
                written.append(f"{name}=")
                _write(inner, written)
        written.append(")")
    elif isinstance(value, list):
        written.append("[")
        for entry in value:
            if not _is_text(entry):
                _write(entry, written)
        written.append("]")
    else:  # an integer may be too long for decimal digits
        written.append(f"{hex(value) if type(value) is int else ascii(value)};")


def _is_text(entry: object) -> bool:
    return isinstance(entry, ast.Expr) and isinstance(entry.value, ast.Constant) and isinstance(entry.value.value, str)


def _states_version(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        targets, value = statement.targets, statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets, value = [statement.target], statement.value
    else:
        return False
    named = any(isinstance(target, ast.Name) and target.id in _VERSIONS for target in targets)
    return named and all(isinstance(node, (ast.Constant, ast.Tuple, ast.expr_context)) for node in ast.walk(value))


_NATIVE = (".so", ".pyd", ".pyx", ".pxd", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp")
_OTHERS = frozenset({"..", "__pycache__", "site-packages", "dist-packages"})
_known: dict[tuple[str, ...], str] = {}  # a process imports a distribution once, so it also reads its sources once


class _Readable(Protocol):
    """A path, or a member of a zip file."""

    def read_bytes(self) -> bytes: ...


Sources = Mapping[str, _Readable]  # by path relative to the folder on Python's path


def distribution_digest(distribution: Distribution, modules: Sequence[str]) -> str:
    """Digest of a distribution's sources and its entry points' modules, read once; may be empty."""
    key = (distribution.name, str(distribution.locate_file("")), *modules)
    if key not in _known:
        _known[key] = sources_digest(distribution_sources(distribution, modules))
    return _known[key]


def plugin_digest(plugin: object, hooks: Iterable[Callable[..., object]]) -> str:
    """Digest of a plugin module or object that is not installed; empty if it has no files.

    It covers the package, or the files of the module and of its hooks.
    """
    files = [getattr(plugin, "__file__", None)]
    for hook in hooks:
        with suppress(TypeError):
            files.append(inspect.getsourcefile(inspect.unwrap(hook)))
    found: dict[str, _Readable] = {}
    for path in (Path(file) for file in files if file):
        found |= _below(path.parent, path.parent.name) if path.name == "__init__.py" else {path.name: path}
    return sources_digest(found)


def file_digest(path: Path) -> str:
    """Digest of a file and of what it imports from its folder.

    Its own name does not count. A file in a package counts as the whole package.
    """
    if path.with_name("__init__.py").is_file():
        outermost = path.parent
        while outermost.with_name("__init__.py").is_file():
            outermost = outermost.parent
        return sources_digest(_below(outermost, outermost.name))
    found: dict[str, _Readable] = {".py": path}
    waiting, seen = list(_imports(found)), set[str]()
    while waiting:
        name = waiting.pop().partition(".")[0]
        if name in seen or not name:
            continue
        seen.add(name)
        beside = path.with_name(f"{name}.py")
        files = {beside.name: beside} if beside.is_file() else _below(path.with_name(name), name)
        waiting += _imports(files)
        found |= files
    return sources_digest(found)


def distribution_sources(distribution: Distribution, modules: Sequence[str]) -> Sources:
    """The source files of a distribution.

    These are the files in its RECORD. For an editable install they are the packages of its entry points and the packages of
    the same project that these import; without either, the packages of its entry points.
    """
    project = _edited_project(distribution)
    if project is None and distribution.read_text("RECORD") is not None:
        listed = {file.as_posix(): file.locate() for file in distribution.files or () if _is_source(file)}
        if listed:
            return listed  # type: ignore[return-value]  # typeshed knows no `read_bytes` of it
    return _imported(modules, project)


def sources_digest(sources: Sources) -> str:
    """Hexadecimal digest of files by name and content; empty if none can be read."""
    state, read = hashlib.sha256(), False
    for name in sorted(sources):
        with suppress(OSError, KeyError):  # a listed file may be missing
            content = sources[name].read_bytes()
            part = syntax_digest(content) if name.endswith(".py") else hashlib.sha256(content).digest()
            state.update(f"{name}\0".encode() + part)
            read = True
    return state.hexdigest()[:ID_LENGTH] if read else ""


def _edited_project(distribution: Distribution) -> Path | None:
    """The folder of an editable install, or None."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if origin["dir_info"]["editable"] is not True:
            return None
        return Path(url2pathname(urlsplit(origin["url"]).path)).resolve()
    except (ValueError, KeyError, TypeError, AttributeError):  # none, or damaged
        return None


def _is_source(path: PurePath) -> bool:
    hidden = any(part in _OTHERS or part.startswith(".") or part.endswith(".dist-info") for part in path.parts)
    return not hidden and (path.suffix == ".py" or path.name.endswith(_NATIVE))


def _imported(modules: Iterable[str], project: Path | None) -> dict[str, _Readable]:
    """The files of modules' packages, and of a project's packages that these import."""
    found: dict[str, _Readable] = {}
    waiting, seen, outermost = list(modules), set[str](), functools.cache(_outermost)
    while waiting:
        spec = outermost(waiting.pop())
        if spec is None or spec.name in seen:
            continue
        seen.add(spec.name)
        files = _files_of(spec)
        found |= files
        if project is not None:
            waiting += [name for name in _imports(files) if _belongs(outermost(name), project)]
    return found


def _outermost(name: str) -> ModuleSpec | None:
    """The outermost package with code in a dotted name; namespace packages have none."""
    parts = name.split(".")
    if parts[0] in sys.stdlib_module_names:
        return None
    for length in range(1, len(parts) + 1):
        try:
            spec = importlib.util.find_spec(".".join(parts[:length]))
        except (ImportError, ValueError, AttributeError):
            return None
        if spec is None or spec.origin is not None:
            return spec
    return None


def _belongs(spec: ModuleSpec | None, project: Path) -> bool:
    if spec is None or spec.origin is None:
        return False
    path = Path(spec.origin).resolve()
    return path.is_relative_to(project) and not any(
        part in _OTHERS or part.startswith(".") for part in path.relative_to(project).parts
    )


def _files_of(spec: ModuleSpec) -> dict[str, _Readable]:
    within = spec.name.replace(".", "/")
    if spec.submodule_search_locations is None:
        origin = Path(spec.origin or "")
        return {f"{within}{''.join(origin.suffixes)}": origin}
    found: dict[str, _Readable] = {}
    for folder in spec.submodule_search_locations:
        found |= _below(Path(folder), within)
    return found


def _below(folder: Path, within: str) -> dict[str, _Readable]:
    found: dict[str, _Readable] = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _OTHERS]
        for path in (Path(place, name) for name in files):
            inner = path.relative_to(folder)
            if _is_source(inner):
                found[f"{within}/{inner.as_posix()}"] = path
    return found


def _imports(files: Sources) -> Iterator[str]:
    """Absolute names that files import, or name in strings such as ``"module:attribute"``."""
    for name, path in files.items():
        if not name.endswith(".py"):
            continue
        with suppress(SyntaxError, ValueError, OSError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for node in ast.walk(ast.parse(path.read_bytes())):
                yield from _named(node, name.removesuffix(".py").split("/"))


def _named(node: ast.AST, place: Sequence[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        outer = ".".join([*place[: -node.level], node.module or ""] if node.level else [node.module or ""])
        yield from (f"{outer.rstrip('.')}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
        module, _, attribute = node.value.partition(":")
        if attribute.isidentifier() and all(part.isidentifier() for part in module.split(".")):
            yield module
