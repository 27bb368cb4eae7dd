"""Choose cells and rows by column or option: ``dataset=mnist``, ``beta=6``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from benchbench.contract.threat import parse_number
from benchbench.errors import OptionError

OF_A_MODEL = ("architecture_options", "defense_options")
OF_AN_ATTACK = ("attack_options",)
_MOST_DIGITS = 19  # of an integer among options, with its sign: 63 bits
_LONG_NUMBER = re.compile(r"[-0-9]{20}")
_OPENING, _CLOSING = "[{", "]}"


def parse_options(text: str) -> dict[str, object]:
    """Options of a component from their JSON; none if it is damaged."""
    try:
        options = json.loads(text, parse_int=_integer) if _LONG_NUMBER.search(text) else json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return options if isinstance(options, dict) else {}


def _integer(digits: str) -> int:  # not by default: to call it for each number triples the time
    if len(digits) > _MOST_DIGITS:
        raise ValueError("a number of too many digits")
    return int(digits)


def described(identity: Mapping[str, object], options: tuple[str, ...]) -> dict[str, object]:
    """Columns, and the options that some hold as JSON; a column hides an option of its name."""
    inner = [parse_options(str(identity.get(name, ""))) for name in options]
    return {**{key: value for one in inner for key, value in one.items()}, **identity}


def matches(text: str, value: object) -> bool:
    """Whether a text means a value: 0.10 is 0.1, 8/255 the radius; in JSON spaces are free."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return parse_number(text) == value
        except OptionError:
            return False
    plain = value if isinstance(value, str) else json.dumps(value)
    return text == plain or _parsed(text) == _parsed(plain)


def split_values(text: str) -> tuple[str, ...]:
    """Split at the commas that stand outside of brackets and quotation marks.

    >>> split_values('at, trades,{"beta":6.0,"steps":10}')
    ('at', 'trades', '{"beta":6.0,"steps":10}')
    """
    parts, depth, quoted = [""], 0, False
    for character in text:
        quoted ^= character == '"'
        depth += 0 if quoted else (character in _OPENING) - (character in _CLOSING)
        if character == "," and not quoted and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return tuple(part.strip() for part in parts if part.strip())


def _parsed(text: str) -> object:
    try:
        return json.loads(text) if text.startswith(tuple(_OPENING)) else text
    except (ValueError, RecursionError):
        return text
