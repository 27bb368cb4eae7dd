"""Check arguments of the Python API against their annotations, before any computation."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import operator
import os
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from benchbench.errors import UsageError
from benchbench.registry.wording import SCALARS, shown, with_article

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_ORIGINS = {os.PathLike: "a path", collections.abc.Callable: "a function", Mapping: "a mapping"}
_TOLD_LATER = {("evaluate", "model"), ("audit", "model")}  # with more help, see `benchbench.own_model.guests.adapt`
_LISTS = (list, tuple, Sequence, Collection, Iterable)


def checked(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Make wrong arguments of a function one UsageError, which names all that do not fit."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*positional: _Parameters.args, **named: _Parameters.kwargs) -> _Result:
        try:
            given = signature.bind(*positional, **named).arguments
        except TypeError:  # a missing or unknown argument, which Python names better
            return function(*positional, **named)
        expected = _annotations(function)
        wrong = [
            f"{name}: expected {_describe(expected[name])}, got {shown(value)}"
            for name, value in given.items()
            if name in expected and not _fits(expected[name], value)
        ]
        if wrong:
            hint = f"see help(benchbench.{function.__name__})"
            raise UsageError(f"{function.__name__}: {'; '.join(wrong)}", hint=hint)
        return function(*positional, **named)

    return call


@functools.cache
def _annotations(function: Callable[..., object]) -> dict[str, object]:
    """The types of single parameters, without those whose names only type checkers import."""
    found = {}
    inner = inspect.unwrap(function)
    for name, parameter in inspect.signature(inner).parameters.items():
        holder = types.SimpleNamespace(__annotations__={name: parameter.annotation})
        is_variable = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if is_variable or (inner.__name__, name) in _TOLD_LATER:
            continue
        try:
            found[name] = typing.get_type_hints(holder, globalns=inner.__globals__)[name]
        except NameError:
            continue
    return found


def _fits(expected: object, value: object) -> bool:
    origin, members = get_origin(expected), get_args(expected)
    if origin in (Union, types.UnionType):
        return any(_fits(member, value) for member in members)
    if origin is Literal:
        return any(isinstance(value, type(choice)) and value == choice for choice in members)
    if origin in _LISTS:
        return _fits_list(origin, members, value)
    if origin is collections.abc.Callable:
        return callable(value)
    if expected in (int, float):
        return _is_integer(value) if expected is int else _is_number(value)
    kind = origin or expected
    return isinstance(value, kind) if isinstance(kind, type) else True


def _fits_list(origin: type, members: tuple[object, ...], value: object) -> bool:
    """Whether a value is a list, or another sequence such as an array, of fitting entries."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        return False
    if origin is Iterable:  # reading could exhaust it
        return True
    if not isinstance(value, Collection) or not (origin is Collection or hasattr(value, "__getitem__")):
        return False
    if origin is tuple and members[-1] is not Ellipsis:
        return len(value) == len(members) and all(map(_fits, members, value))
    return all(_fits(members[0], entry) for entry in value)


def _is_integer(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return not _is_boolean(value)


def _is_number(value: object) -> bool:
    """Whether a value is a real number, also one of NumPy or torch."""
    return hasattr(value, "__float__") and getattr(value, "ndim", 0) == 0 and not _is_boolean(value)


def _is_boolean(value: object) -> bool:
    return isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))


def _describe(expected: object) -> str:
    """A type in words: ``an integer or None``."""
    origin, members = get_origin(expected), get_args(expected)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_describe(member) for member in members))
    if origin is Literal:
        return ("one of " if len(members) > 1 else "") + ", ".join(map(repr, members))
    if origin is tuple and members[-1] is not Ellipsis:
        return "a pair of " + " and ".join(map(_describe, members))
    if origin in _LISTS:
        return f"a list (each: {_describe(members[0])})"
    if expected is type(None):
        return "None"
    return _ORIGINS.get(origin) or SCALARS.get(expected) or with_article(getattr(expected, "__name__", str(expected)))
