"""A digest of Python source that ignores comments, docstrings and layout."""

from __future__ import annotations

import ast
import hashlib
import warnings

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
