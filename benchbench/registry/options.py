"""Options of a component: read from its factory's signature, checked and converted from what a suite says."""

from __future__ import annotations

import inspect
import math
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from benchbench.errors import OptionError, suggest

_SCALARS: dict[type, str] = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
_KINDS_OF_VALUE = {bool: "boolean", int: "integer", float: "number", str: "text", list: "list", dict: "table"}


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """One option of a component.

    Attributes:
        name: what a suite writes.
        annotation: its type: bool, int, float, str, a tuple of them, a Literal, or one of these or None.
        default: the value when a suite does not set it; None for a required option.
        required: whether a suite must set it.
        fixed: whether the component's name fixes it to the default (a preset), so that a suite cannot.
    """

    name: str
    annotation: Any
    default: Any = None
    required: bool = False
    fixed: bool = False


@dataclass(frozen=True, kw_only=True)
class OptionProblem:
    """One mistaken option: its name, what is wrong, and what would be right (may be empty)."""

    option: str
    message: str
    hint: str = ""


class InvalidOptionsError(OptionError):
    """Every mistaken option of one component, reported together."""

    def __init__(self, owner: str, problems: Sequence[OptionProblem]) -> None:
        self.owner = owner
        self.problems = tuple(problems)
        parts = [f"{p.option}: {p.message}" + (f" ({p.hint})" if p.hint else "") for p in self.problems]
        super().__init__(f"{owner}: " + "; ".join(parts))


def option_specs(factory: Callable[..., Any], *, supplied: Collection[str] = ()) -> tuple[OptionSpec, ...]:
    """Read the options of a factory from its signature.

    Args:
        factory: a class or function.
        supplied: parameters that the host supplies, which are no options.

    Raises:
        TypeError: a parameter has no type, or one that a suite cannot write.
    """
    specs = []
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in supplied:
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(f"parameter {parameter.name!r} cannot be given by keyword")
        specs.append(_spec(parameter, _resolve_annotation(factory, parameter)))
    return tuple(specs)


def convert(annotation: Any, value: Any) -> Any:
    """Check a value against a type and convert what TOML cannot tell apart: integers to floats, lists to tuples.

    Raises:
        OptionError: the value does not fit; the message says what was expected and what was there.
    """
    origin = get_origin(annotation)
    if origin is Literal:
        return _choose(get_args(annotation), value)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(annotation), value)
    if origin is tuple:
        return _convert_tuple(annotation, value)
    if type(value) is annotation and annotation is not float:
        return value
    if annotation is float and type(value) in (int, float):
        return _finite(value)
    raise OptionError(f"expected {describe(annotation)}, got {shown(value)}")


def convert_options(
    specs: Sequence[OptionSpec], given: Mapping[str, Any], *, partial: bool = False
) -> tuple[dict[str, Any], list[OptionProblem]]:
    """Convert the given options and fill in the defaults.

    Args:
        specs: the options that there are.
        given: what a suite says.
        partial: leave out what is not given instead of filling it in or asking for it.

    Returns:
        Values by name, for the options that are right, and the problems of the others.
    """
    known = {spec.name: spec for spec in specs}
    settable = [name for name, spec in known.items() if not spec.fixed]
    problems = [
        OptionProblem(option=str(name), message="unknown option", hint=_suggest_option(str(name), settable))
        for name in given
        if name not in known
    ]
    values: dict[str, Any] = {}
    for name, spec in known.items():
        if name not in given:
            if not partial and spec.required:
                expected = f"expected {describe(spec.annotation)}"
                problems.append(OptionProblem(option=name, message="required option is missing", hint=expected))
            elif not partial:
                values[name] = spec.default
        elif spec.fixed:
            problems.append(OptionProblem(option=name, message=f"fixed to {shown(spec.default)} by this name"))
        else:
            try:
                values[name] = convert(spec.annotation, given[name])
            except OptionError as error:
                problems.append(OptionProblem(option=name, message=error.message, hint=error.hint))
    return values, problems


def describe(annotation: Any) -> str:
    """Say a type in words, for instance ``a number or none``."""
    if annotation in (None, type(None)):
        return "none"
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if get_origin(annotation) is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a list (each: {describe(arguments[0])})"
        return "a list of " + ", ".join(describe(argument) for argument in arguments)
    return " or ".join(describe(argument) for argument in arguments)


def shown(value: Any) -> str:
    """A value as an error message shows it: shortened, with its kind where that helps."""
    kind = _KINDS_OF_VALUE.get(type(value), type(value).__name__)
    return f"the {kind} {reprlib.repr(value)}" if type(value) is not str else reprlib.repr(value)


def _suggest_option(name: str, settable: Sequence[str]) -> str:
    return suggest(name, settable) if settable else "it has no options"


def _spec(parameter: inspect.Parameter, annotation: Any) -> OptionSpec:
    if not _writable(annotation):
        raise TypeError(f"parameter {parameter.name!r} has the type {annotation!r}, which no suite can write")
    if parameter.default is parameter.empty:
        return OptionSpec(name=parameter.name, annotation=annotation, required=True)
    try:
        default = convert(annotation, parameter.default)
    except OptionError as error:
        raise TypeError(f"default of parameter {parameter.name!r}: {error.message}") from error
    return OptionSpec(name=parameter.name, annotation=annotation, default=default)


def _resolve_annotation(factory: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The parameter's type alone: another annotation may name what is imported only for type checkers."""
    if parameter.annotation is parameter.empty:
        raise TypeError(f"parameter {parameter.name!r} has no type")
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(holder, globalns=_namespace(factory))[parameter.name]
    except (NameError, AttributeError, SyntaxError) as error:
        raise TypeError(f"type of parameter {parameter.name!r} cannot be resolved: {error}") from error


def _namespace(factory: Callable[..., Any]) -> dict[str, Any]:
    function = inspect.unwrap(getattr(factory, "func", factory))
    if inspect.isclass(function):
        function = inspect.unwrap(function.__init__)
    module = sys.modules.get(getattr(function, "__module__", ""))
    return getattr(function, "__globals__", None) or vars(module or typing)


def _writable(annotation: Any) -> bool:
    if annotation in _SCALARS or annotation is type(None):
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return all(type(argument) in _SCALARS for argument in arguments)
    if origin is tuple:
        return all(argument is Ellipsis or _writable(argument) for argument in arguments)
    return origin in (Union, types.UnionType) and all(_writable(argument) for argument in arguments)


def _choose(choices: tuple[Any, ...], value: Any) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return value
    expected = "expected one of " + ", ".join(repr(choice) for choice in choices)
    hint = suggest(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
    raise OptionError(f"{expected}, got {shown(value)}", hint=hint if hint.startswith("did you mean") else "")


def _convert_union(members: tuple[Any, ...], value: Any) -> Any:
    for member in members:
        if member is type(None):
            if value is None:
                return None
            continue
        try:
            return convert(member, value)
        except OptionError:
            continue
    expected = " or ".join(describe(member) for member in members if member is not type(None))
    raise OptionError(f"expected {expected}, got {shown(value)}")


def _convert_tuple(annotation: Any, value: Any) -> tuple[Any, ...]:
    arguments = get_args(annotation)
    if type(value) not in (list, tuple):
        raise OptionError(f"expected {describe(annotation)}, got {shown(value)}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise OptionError(f"expected {len(arguments)} entries, got {len(value)}")
    return tuple(convert(argument, entry) for argument, entry in zip(arguments, value))


def _finite(value: int | float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise OptionError(f"expected a finite number, got {shown(value)}")
    return number
