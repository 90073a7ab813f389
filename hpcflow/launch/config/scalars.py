"""Scalars that plain data does not have: bytes, paths, dates, decimals, infinities; one tag each.

Invariant: `decode(*encode(value).popitem())` is the value, and of its type.

    encode(b"ab")                       # {'_bytes_': 'YWI='}
    decode("_bytes_", "YWI=")           # b'ab'
"""

from __future__ import annotations

import base64
import datetime
import decimal
import fractions
import math
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

from hpcflow.launch.config.target import UNSET

_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "_bytes_": lambda text: base64.b64decode(text, validate=True),
    "_path_": pathlib.Path,
    "_datetime_": datetime.datetime.fromisoformat,
    "_date_": datetime.date.fromisoformat,
    "_time_": datetime.time.fromisoformat,
    "_decimal_": decimal.Decimal,
    "_fraction_": fractions.Fraction,
    "_uuid_": uuid.UUID,
}
_SPECIAL_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def encode(value: Any) -> Any:
    """Plain data for a scalar; UNSET for what is none."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"_float_": repr(value)}
    if kind in (bytes, bytearray) and kind is bytes:
        return {"_bytes_": base64.b64encode(value).decode()}
    if kind is complex:
        return {"_complex_": [encode(value.real), encode(value.imag)]}
    if kind is datetime.timedelta:
        return {"_timedelta_": [value.days, value.seconds, value.microseconds]}
    if kind is range:
        return {"_range_": [value.start, value.stop, value.step]}
    text = as_text(value)
    return UNSET if text is UNSET else {f"_{_NAMES[kind]}_": text}


_NAMES: dict[type, str] = {
    type(pathlib.Path()): "path", datetime.datetime: "datetime", datetime.date: "date", datetime.time: "time", decimal.Decimal: "decimal",
    fractions.Fraction: "fraction", uuid.UUID: "uuid",
}  # fmt: skip


def as_text(value: Any) -> Any:
    """The value as text that says it all; UNSET for what has none."""
    if type(value) not in _NAMES:
        return UNSET
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


def decode(tag: str, plain: Any) -> Any:
    """The scalar. Raises ValueError, TypeError or KeyError for what is no such thing."""
    if tag == "_float_":
        return _SPECIAL_FLOATS[plain]
    if tag == "_complex_":
        real, imaginary = (decode("_float_", part["_float_"]) if isinstance(part, dict) else part for part in plain)
        return complex(real, imaginary)
    if tag == "_timedelta_":
        days, seconds, microseconds = plain
        return datetime.timedelta(days, seconds, microseconds)
    if tag == "_range_":
        start, stop, step = plain
        return range(start, stop, step)
    if tag not in _FROM_TEXT:
        raise ValueError("no such tag")
    if not isinstance(plain, str):
        raise TypeError("text is expected")
    return _FROM_TEXT[tag](plain)
