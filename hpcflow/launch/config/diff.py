"""What is different between two Configs, as text for people and as JSON for programs.

Invariant: `diff(a, b)` is empty exactly if a == b; defaults count as values. Secrets appear as references.

    print(diff(old, new))        # ~ model.hidden: 512 -> 1024
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, Literal

from hpcflow.errors import ConfigError
from hpcflow.launch.config.buildable import Buildable, effective, spelled_target, state_of

Kind = Literal["added", "removed", "changed", "target"]
_SIGNS = {"added": "+", "removed": "-", "changed": "~", "target": "~"}
_MISSING: Any = object()


@dataclasses.dataclass(frozen=True)
class Difference:
    """One place where two Configs differ."""

    path: str  # dotted; "" is the Config itself
    kind: Kind  # "target": the function or class is another one
    old: Any  # None where it was added
    new: Any  # None where it was removed


@dataclasses.dataclass(frozen=True)
class Diff:
    """The places where two Configs differ, in the order of the first one's parameters. False when there are none."""

    differences: tuple[Difference, ...]

    def __bool__(self) -> bool:
        return bool(self.differences)

    def __str__(self) -> str:
        return "\n".join(_line(difference) for difference in self.differences)

    def json(self) -> str:
        """A JSON list of {path, kind, old, new}, values as a configuration file writes them."""
        from hpcflow.launch.config.document import encode_value

        def plain(value: Any) -> Any:
            try:
                return encode_value(value)
            except ConfigError:  # what no file can hold is shown as Python shows it
                return repr(value)

        return json.dumps([{"path": d.path, "kind": d.kind, "old": plain(d.old), "new": plain(d.new)} for d in self.differences], indent=2)


def _line(difference: Difference) -> str:
    sign, place = _SIGNS[difference.kind], difference.path or "(itself)"
    if difference.kind == "added":
        return f"{sign} {place}: {difference.new!r}"
    if difference.kind == "removed":
        return f"{sign} {place}: {difference.old!r}"
    what = " is a call of" if difference.kind == "target" else ":"
    old, new = (difference.old, difference.new) if difference.kind == "target" else (repr(difference.old), repr(difference.new))
    return f"{sign} {place}{what} {old} -> {new}"


def diff(old: Any, new: Any) -> Diff:
    """What makes `new` out of `old`. Raises ConfigError for what is no Config or Partial."""
    state_of(old), state_of(new)
    return Diff(tuple(_differences(old, new, "")))


def _differences(old: Any, new: Any, path: str) -> Iterator[Difference]:
    if isinstance(old, Buildable) and isinstance(new, Buildable):
        one, other = (f"{type(c).__name__}({spelled_target(c)})" for c in (old, new))
        if one != other:
            yield Difference(path, "target", one, other)
        yield from _mappings(effective(old), effective(new), path, "{}.{}")
    elif type(old) is dict and type(new) is dict:
        yield from _mappings(old, new, path, "{}[{!r}]")
    elif type(old) in (list, tuple) and type(new) is type(old):
        yield from _mappings(dict(enumerate(old)), dict(enumerate(new)), path, "{}[{!r}]")
    elif not _same(old, new):
        yield Difference(path, "changed", old, new)


def _mappings(old: dict[Any, Any], new: dict[Any, Any], path: str, spelling: str) -> Iterator[Difference]:
    for key in [*old, *(key for key in new if key not in old)]:
        inner = spelling.format(path, key) if path or spelling != "{}.{}" else str(key)
        one, other = old.get(key, _MISSING), new.get(key, _MISSING)
        if other is _MISSING:
            yield Difference(inner, "removed", one, None)
        elif one is _MISSING:
            yield Difference(inner, "added", None, other)
        else:
            yield from _differences(one, other, inner)


def _same(old: Any, new: Any) -> bool:
    if old is new:
        return True
    if isinstance(old, float) and isinstance(new, float) and old != old and new != new:
        return True
    try:
        return type(old) is type(new) and bool(old == new)
    except Exception:  # arrays and the like do not compare to one truth
        return False
