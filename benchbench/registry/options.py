"""Options of a component: from its factory's signature, and converted from a suite."""

from __future__ import annotations

import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, Union, cast, get_args, get_origin

from benchbench.cell.model import Component
from benchbench.contract.threat import parse_number
from benchbench.errors import OptionError, suggest
from benchbench.registry.components import PROTOCOLS, Resolve, resolve_option
from benchbench.registry.problems import InvalidOptionsError, OptionProblem
from benchbench.registry.wording import SCALARS, describe, shown

ComponentEntry = str | Mapping[str, object]
"""A component as suites write it: a name, or a mapping of ``name`` and options."""
Values = dict[str, Any]
"""Converted options, for the factory or dataclass that has them."""


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """One option of a component."""

    name: str
    annotation: object  # bool, int, float, str, a Literal, a Protocol, a tuple, or one of these or None
    default: object = None  # None for a required option, a `Component` for a component
    required: bool = False
    fixed: bool = False  # whether a preset fixes it to the default, so that a suite cannot set it


def option_specs(factory: Callable[..., object], *, supplied: Collection[str] = ()) -> tuple[OptionSpec, ...]:
    """The options of a factory, from its signature; `TypeError` if a suite cannot write one."""
    specs = []
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in supplied:
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(f"parameter {parameter.name!r} cannot be given by keyword")
        specs.append(_spec(parameter, _resolve_annotation(factory, parameter)))
    return tuple(specs)


def convert(annotation: object, value: object, resolve: Resolve | None = None) -> object:
    """Check a value against a type; convert integers and ``"8/255"`` to floats, lists to tuples.

    `resolve` resolves components among the values; without it they are errors. A value that does not fit is an OptionError; a
    component with wrong options an InvalidOptionsError, whose places are relative to the value.
    """
    origin = get_origin(annotation)
    if origin is Literal:
        return _choose(get_args(annotation), value)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(annotation), value, resolve)
    if origin is tuple:
        return _convert_tuple(annotation, value, resolve)
    if resolve is not None and annotation in PROTOCOLS and _names_component(value):
        return _convert_component(annotation, value, resolve)
    if type(value) is annotation and annotation is not float:
        return value
    if annotation is float and (type(value) is int or type(value) is float):
        return _finite(value)
    if annotation is float and type(value) is str and "/" in value:
        return _finite(parse_number(value))
    raise OptionError(f"expected {describe(annotation)}, got {shown(value)}")


def convert_options(
    specs: Sequence[OptionSpec],
    given: Mapping[str, object],
    *,
    partial: bool = False,
    resolve: Resolve | None = None,
    elsewhere: Collection[str] = (),
) -> tuple[Values, list[OptionProblem]]:
    """Convert the options of a suite (`given`), and fill in the defaults unless `partial`.

    Return the values of the valid options by name, and the problems of the others. See `convert` about `resolve`. The caller
    reads the options named in `elsewhere`; they are known.
    """
    known = {spec.name: spec for spec in specs}
    strange = [str(name) for name in given if name not in known and name not in elsewhere]
    problems = [_unknown_option(name, specs, elsewhere) for name in strange]
    values: Values = {}
    for name, spec in known.items():
        if name not in given:
            if not partial and spec.required:
                expected = f"expected {describe(spec.annotation)}"
                problems.append(OptionProblem(place=(name,), message="required option is missing", hint=expected))
            elif not partial:
                values[name] = spec.default
        elif spec.fixed:
            problems.append(OptionProblem(place=(name,), message=f"fixed to {shown(spec.default)} by this name"))
        else:
            try:
                values[name] = convert(spec.annotation, given[name], resolve)
            except InvalidOptionsError as error:
                problems.extend(problem.within(name) for problem in error.problems)
            except OptionError as error:
                problems.append(OptionProblem(place=(name,), message=error.message, hint=error.hint))
    return values, problems


def _unknown_option(name: str, specs: Sequence[OptionSpec], elsewhere: Collection[str]) -> OptionProblem:
    settable = [*elsewhere, *(spec.name for spec in specs if not spec.fixed)]
    hint = suggest(name, settable) if settable else "it has no options"
    return OptionProblem(place=(name,), message="unknown option", hint=hint)


def _spec(parameter: inspect.Parameter, annotation: object) -> OptionSpec:
    if not _writable(annotation):
        raise TypeError(f"parameter {parameter.name!r} has the type {annotation!r}, which no suite can write")
    if parameter.default is parameter.empty:
        return OptionSpec(name=parameter.name, annotation=annotation, required=True)
    try:
        default = convert(annotation, parameter.default)
    except OptionError as error:
        raise TypeError(f"default of parameter {parameter.name!r}: {error.message}") from error
    return OptionSpec(name=parameter.name, annotation=annotation, default=default)


def _resolve_annotation(factory: Callable[..., object], parameter: inspect.Parameter) -> object:
    """Resolve one parameter's type: others may use names that only type checkers import."""
    if parameter.annotation is parameter.empty:
        raise TypeError(f"parameter {parameter.name!r} has no type")
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(holder, globalns=_namespace(factory))[parameter.name]
    except (NameError, AttributeError, SyntaxError) as error:
        raise TypeError(f"type of parameter {parameter.name!r} cannot be resolved: {error}") from error


def _namespace(factory: Callable[..., object]) -> dict[str, object]:
    function = inspect.unwrap(getattr(factory, "func", factory))
    if inspect.isclass(function):
        function = inspect.unwrap(function.__init__)
    module = sys.modules.get(getattr(function, "__module__", ""))
    return getattr(function, "__globals__", None) or vars(module or typing)


def _writable(annotation: object) -> bool:
    if annotation in SCALARS or annotation in PROTOCOLS or annotation is type(None):
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return all(type(argument) in SCALARS for argument in arguments)
    if origin is tuple:
        return all(argument is Ellipsis or _writable(argument) for argument in arguments)
    return origin in (Union, types.UnionType) and all(_writable(argument) for argument in arguments)


def _choose(choices: tuple[object, ...], value: object) -> object:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return value
    expected = "expected one of " + ", ".join(repr(choice) for choice in choices)
    hint = suggest(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
    raise OptionError(f"{expected}, got {shown(value)}", hint=hint if hint.startswith("did you mean") else "")


def _names_component(value: object) -> TypeGuard[ComponentEntry | Component]:
    named = isinstance(value, Mapping) and isinstance(value.get("name"), str)
    return named or isinstance(value, (str, Component))


def _convert_component(protocol: object, value: ComponentEntry | Component, resolve: Resolve) -> Component:
    """Resolve a name, or a table of name and options; a component is resolved already."""
    if isinstance(value, Component):
        return value
    options: dict[str, object] = {"name": value} if isinstance(value, str) else dict(value)
    return resolve_option(cast(type, protocol), str(options.pop("name")), options, resolve)


def _convert_union(members: tuple[object, ...], value: object, resolve: Resolve | None) -> object:
    for member in members:
        if member is type(None):
            if value is None:
                return None
            continue
        try:
            return convert(member, value, resolve)
        except InvalidOptionsError:  # the value names a component with wrong options: no other type can fit
            raise
        except OptionError:
            continue
    expected = " or ".join(describe(member) for member in members if member is not type(None))
    raise OptionError(f"expected {expected}, got {shown(value)}")


def _convert_tuple(annotation: object, value: object, resolve: Resolve | None) -> tuple[object, ...]:
    arguments = get_args(annotation)
    if not (type(value) is list or type(value) is tuple):
        raise OptionError(f"expected {describe(annotation)}, got {shown(value)}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise OptionError(f"expected {len(arguments)} entries, got {len(value)}")
    converted, problems = [], []
    for position, (argument, entry) in enumerate(zip(arguments, value)):
        try:
            converted.append(convert(argument, entry, resolve))
        except InvalidOptionsError as error:
            problems += [problem.within(position) for problem in error.problems]
    if problems:
        raise InvalidOptionsError("list", problems)
    return tuple(converted)


def _finite(value: int | float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise OptionError(f"expected a finite number, got {shown(value)}")
    return number
