"""Parsers of option values: one function from text or object to the checked value.

Invariant: a parser returns the value in its one internal unit (bytes, seconds) or raises `ValueError("expected ...")`; it never guesses. Text and
native types are both taken, since the same option comes from a variable (text), a TOML file and a keyword argument.

    size("1.5GiB")      # 1610612736
    duration("2min")    # 120.0
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

Parser = Callable[[Any], Any]

SIZE_UNITS = {
    "": 1, "b": 1, "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
    "ki": 2**10, "kib": 2**10, "mi": 2**20, "mib": 2**20, "gi": 2**30, "gib": 2**30, "ti": 2**40, "tib": 2**40,
}  # fmt: skip
DURATION_UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\s*([0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z]*)\s*")


def size(value: Any) -> int:
    """Bytes from an int or text such as `"512MB"`, `"1.5 GiB"`: kB, MB, GB, TB are powers of 1000, KiB, MiB, GiB, TiB of 1024, in any case."""
    expected = "expected bytes or a size such as '512MB' or '1GiB'"
    if isinstance(value, bool):
        raise ValueError(expected)
    if isinstance(value, int) and value >= 0:
        return value
    number = _quantity(value, SIZE_UNITS, expected)
    if number != int(number):
        raise ValueError(f"{expected}: not a whole number of bytes")
    return int(number)


def duration(value: Any) -> float:
    """Seconds from a number or text such as `"500ms"`, `"5s"`, `"2min"`, `"1h"`."""
    expected = "expected seconds or a duration such as '5s' or '2min'"
    if isinstance(value, bool):
        raise ValueError(expected)
    if isinstance(value, int | float) and 0 <= value < math.inf:
        return float(value)
    return float(_quantity(value, DURATION_UNITS, expected))


def whole(least: int) -> Parser:
    """A whole number of at least `least`."""

    def parse(value: Any) -> int:
        expected = f"expected a whole number of at least {least}"
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(expected)
        try:
            number = int(value)
        except ValueError:
            raise ValueError(expected) from None
        if number < least:
            raise ValueError(expected)
        return number

    return parse


def switch(value: Any) -> bool:
    """True or False, or one of the texts 1, true, yes, on, 0, false, no, off."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    found = words.get(str(value).lower()) if isinstance(value, bool | int | str) else None
    if found is None:
        raise ValueError("expected true or false")
    return found


def positive(parse: Parser) -> Parser:
    """What `parse` gives, above zero."""

    def parse_positive(value: Any) -> Any:
        number = parse(value)
        if number <= 0:
            raise ValueError("expected more than zero")
        return number

    return parse_positive


def optional(parse: Parser) -> Parser:
    """What `parse` gives, or None for the texts `"none"` and `"auto"`."""
    return lambda value: None if isinstance(value, str) and value.lower() in ("none", "auto") else parse(value)


def choice(*names: str) -> Parser:
    """One of `names`."""

    def parse(value: Any) -> str:
        if value not in names:
            raise ValueError(f"expected one of {', '.join(map(repr, names))}")
        return str(value)

    return parse


def text(value: Any) -> str:
    """Text that is not empty, or a path."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ValueError("expected text or a path")
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def paths(value: Any) -> tuple[str, ...]:
    """One or several paths: text separated by the system's path separator, a path, or a list of them."""
    parts = value.split(os.pathsep) if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else [value]
    found = tuple(text(part) for part in parts if part != "")
    if not found:
        raise ValueError("expected one or more directories")
    return found


def any_object(what: str) -> Parser:
    """Whatever the program gives, empty text excepted; the layer that uses it checks further."""

    def parse(value: Any) -> Any:
        if value == "":
            raise ValueError(f"expected {what}")
        return value

    return parse


def communicator(value: Any) -> Any:
    """What speaks as a communicator of mpi4py."""
    if not all(callable(getattr(value, name, None)) for name in ("Get_rank", "Get_size", "Dup")):
        raise ValueError("expected an mpi4py communicator, such as MPI.COMM_WORLD")
    return value


def _quantity(value: Any, units: Mapping[str, float], expected: str) -> float:
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2].lower() not in units:
        raise ValueError(expected)
    return (float(match[1]) if set(match[1]) & set(".eE") else int(match[1])) * units[match[2].lower()]
