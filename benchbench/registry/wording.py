"""Types and values of options in words, for messages."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Literal, get_args, get_origin

from benchbench.cell.model import Component
from benchbench.registry.components import PROTOCOLS

SCALARS: Mapping[object, str] = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
_KINDS_OF_VALUE = {bool: "boolean", int: "integer", float: "number", str: "text", list: "list", dict: "table"}


def describe(annotation: object) -> str:
    """A type in words, for instance ``a number or none``."""
    if annotation in (None, type(None)):
        return "none"
    if annotation in SCALARS:
        return SCALARS[annotation]
    if annotation in PROTOCOLS:
        return f"the name of {with_article(PROTOCOLS[annotation])}, or a table of its name and options"
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if get_origin(annotation) is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a list (each: {describe(arguments[0])})"
        return "a list of " + ", ".join(describe(argument) for argument in arguments)
    return " or ".join(describe(argument) for argument in arguments)


def shown(value: object) -> str:
    """A value for an error message: shortened, with its kind unless it is a text."""
    if isinstance(value, Component):
        return f"the {value.kind} {value.name!r}"
    kind = _KINDS_OF_VALUE.get(type(value), type(value).__name__)
    return f"the {kind} {reprlib.repr(value)}" if type(value) is not str else reprlib.repr(value)


def with_article(noun: str) -> str:
    """A noun with its article: ``an attack``, ``a dict``."""
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"
