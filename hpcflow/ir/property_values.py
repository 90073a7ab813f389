"""Checks of the values that a user gives for execution properties.

Invariant: a check returns the value as the field holds it, or raises `ValueError("expected ...")`, which names the valid values and those near to
what was given. Nothing is guessed: a text stands for an enum's member by its value alone, and True is no number.

>>> whole(1)(4)
4
>>> optional(whole(0))(None) is None
True
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from hpcflow.errors import near_names

Check = Callable[[Any], Any]


def member(kind: type[Enum]) -> Check:
    """A member of `kind`, or the text that is its value."""

    def check(value: Any) -> Enum:
        if isinstance(value, kind):
            return value
        return kind(one_of(*(one.value for one in kind))(value))

    return check


def one_of(*names: str) -> Check:
    """One of these texts."""

    def check(value: Any) -> str:
        if isinstance(value, str) and value in names:
            return value
        near = near_names(value, names) if isinstance(value, str) else ""
        raise ValueError(f"expected one of {', '.join(map(repr, names))}{near}")

    return check


def whole(least: int, most: int = 2**63 - 1) -> Check:
    """An integer (NumPy's too) of at least `least` and at most `most`."""

    def check(value: Any) -> int:
        try:
            number = operator.index(value)
        except TypeError:
            number = least - 1
        if isinstance(value, bool) or number < least:
            raise ValueError(f"expected a whole number of at least {least}")
        if number > most:
            raise ValueError(f"expected a whole number of at most {most}")
        return number

    return check


def flag(value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError("expected True or False")
    return value


def places(value: Any) -> Any:
    """Numbers of workers, or a placement strategy: its name or the strategy itself (resolved by the runtime)."""
    expected = "expected a sequence of workers (whole numbers from 0), at least 1, or the name of a placement strategy, or a function"
    if isinstance(value, str) or callable(value) or (hasattr(value, "tasks") and hasattr(value, "partitions")):
        if value == "":
            raise ValueError(expected)
        return value
    try:
        return several(whole(0), "workers", least=1)(value)
    except ValueError:
        raise ValueError(expected) from None


def function(value: Any) -> Any:
    """Something to call."""
    if not callable(value):
        raise ValueError("expected a function")
    return value


def optional(check: Check) -> Check:
    """None, or what `check` takes."""

    def check_given(value: Any) -> Any:
        if value is None:
            return None
        try:
            return check(value)
        except ValueError as error:
            raise ValueError(f"{error}, or None") from None

    return check_given


def several(check: Check, what: str, least: int = 0) -> Check:
    """A tuple of at least `least` values, from any iterable but a text or bytes."""
    expected = f"expected a sequence of {what}" + (f", at least {least}" if least else "")

    def check_each(values: Any) -> tuple[Any, ...]:
        if isinstance(values, str | bytes) or not isinstance(values, Iterable):
            raise ValueError(expected)
        try:
            checked = tuple(check(value) for value in values)
        except ValueError:
            raise ValueError(expected) from None
        if len(checked) < least:
            raise ValueError(expected)
        return checked

    return check_each


def instance(kind: type) -> Check:
    """An object of class `kind`."""

    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise ValueError(f"expected {kind.__name__}")
        return value

    return check
