"""TOML read and written: what it lacks (null, the order of a mixed mapping) in tags, and the line of every value.

Invariant: `parse(write(data))` is the data, the order of keys included.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from typing import Any

from hpcflow.errors import ConfigError
from hpcflow.launch.extras import require

_HEADER = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'))*)\s*=""")


def write(data: dict[str, Any]) -> str:
    """Data as TOML text."""
    tomli_w = require("tomli_w", "a TOML file")
    text: str = tomli_w.dumps(_ready(data))
    return text


def _ready(value: Any) -> Any:
    if value is None:
        return {"_none_": True}
    if isinstance(value, list):
        return [_ready(part) for part in value]
    if not isinstance(value, dict):
        return value
    ready = {key: _ready(part) for key, part in value.items()}
    tables = [_is_table(part) for part in ready.values()]
    if tables != sorted(tables) and "_target_" not in value:  # TOML puts plain values before tables
        return {"_ordered_": [[key, part] for key, part in ready.items()]}
    return ready


def _is_table(ready: Any) -> bool:
    """Whether it is written below a header of its own. A list of mappings is where one of them is too long for a line, which tomli_w decides."""
    if not isinstance(ready, list):
        return isinstance(ready, dict)
    text: str = require("tomli_w", "a TOML file").dumps({"k": ready})
    return text.startswith("[[")


def parse(text: str, source: str) -> tuple[Any, dict[tuple[Any, ...], int]]:
    """The data and, by place, the line from 1. Raises ConfigError with file and line."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a TOMLDecodeError, or more digits than Python reads
        raise ConfigError(f"{source}: no TOML: {str(error).partition('; use sys.')[0]}") from None
    return _restored(data), _lines(text)


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(part) for part in value]
    if isinstance(value, datetime.date | datetime.time):
        return {f"_{type(value).__name__}_": value.isoformat()}
    if not isinstance(value, dict):
        return value
    if value == {"_none_": True}:
        return None
    if set(value) == {"_ordered_"}:
        return {key: _restored(part) for key, part in value["_ordered_"]}
    return {key: _restored(part) for key, part in value.items()}


def _lines(text: str) -> dict[tuple[Any, ...], int]:
    lines: dict[tuple[Any, ...], int] = {}
    counts: dict[tuple[Any, ...], int] = {}
    table: tuple[Any, ...] = ()
    quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote:  # within a multi-line string
            quote = "" if quote in line else quote
            continue
        header, key = _HEADER.match(line), _KEY.match(line)
        if header and not key:
            table = _located(_steps(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
        elif key:
            lines.setdefault((*table, *_steps(key[1])), number)
            rest = line[key.end() :]
            quote = next((mark for mark in ('"""', "'''") if rest.count(mark) == 1), "")
    return lines


def _located(steps: tuple[Any, ...], counts: dict[tuple[Any, ...], int]) -> tuple[Any, ...]:
    """The place of a dotted header: [a.b] below [[a]] is in the last a."""
    place: tuple[Any, ...] = ()
    for position, step in enumerate(steps):
        place = (*place, step)
        if position < len(steps) - 1 and place in counts:
            place = (*place, counts[place])
    return place


def _steps(text: str) -> tuple[Any, ...]:
    """The keys of a dotted key, unquoted."""
    try:
        data: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return (text,)
    steps: list[Any] = []
    while isinstance(data, dict):
        key, data = next(iter(data.items()))
        steps.append(key)
    return tuple(steps)
