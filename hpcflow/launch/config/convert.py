"""Values of a file, which knows fewer types than Python, by the annotation of their parameter.

Invariant: only what a file cannot say is converted: a list becomes a tuple or set, text a path, date, enum member and the like. Numbers and text are
never made of one another. What does not convert comes back as it is, and the check refuses it.

    from_file(["a", "b"], tuple[str, ...])      # ('a', 'b')
    from_file("3", int)                         # '3', which the check refuses
"""

from __future__ import annotations

import collections
import collections.abc
import datetime
import decimal
import enum
import ipaddress
import pathlib
import re
import typing
import uuid
from typing import Any

from hpcflow.errors import ConfigError
from hpcflow.launch.config.check import check_value
from hpcflow.launch.config.stands import bare, members
from hpcflow.launch.extras import require

TEXT_LEAVES: tuple[type, ...] = (
    datetime.date, datetime.datetime, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, ipaddress.IPv4Address, ipaddress.IPv6Address,
    re.Pattern,
)  # fmt: skip
_SEQUENCES = (list, tuple, set, frozenset, collections.deque, collections.abc.Sequence, collections.abc.Collection, collections.abc.Iterable)
_MAPPINGS = (dict, collections.OrderedDict, collections.abc.Mapping, collections.abc.MutableMapping)


def from_file(value: Any, annotation: Any) -> Any:
    """The value as the annotation wants it, if a file cannot say it otherwise."""
    if value is None or fits(value, annotation):
        return value
    for member in members(annotation):
        converted = _one(value, member)
        if converted is not value and fits(converted, member):
            return converted
    return value


def fits(value: Any, annotation: Any) -> bool:
    """Whether the strict check takes it."""
    try:
        check_value(value, annotation, "")
    except ConfigError:
        return False
    except Exception:  # an annotation that cannot be checked takes anything
        return True
    return True


def _one(value: Any, annotation: Any) -> Any:
    kind = typing.get_origin(annotation) or annotation
    if isinstance(value, list) and isinstance(kind, type):
        return sequence_of(kind, [from_file(part, item) for part, item in zip(value, item_annotations(annotation, len(value)), strict=True)], value)
    if isinstance(value, dict) and kind in _MAPPINGS:
        keys, values = typing.get_args(annotation) or (Any, Any)
        return {from_file(key, keys): from_file(part, values) for key, part in value.items()}
    if isinstance(value, str):
        return leaf_from_text(value, annotation, otherwise=value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next((member for member in kind if member.value == value and type(member.value) is type(value)), value)
    return value


def item_annotations(annotation: Any, count: int) -> list[Any]:
    """The annotation of each of `count` items of a sequence."""
    annotation = bare(annotation)
    kind, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = typing.get_type_hints(kind, include_extras=True)
        arguments = tuple(hints.get(name, Any) for name in kind._fields)
        return [*arguments[:count], *[Any] * (count - len(arguments))]
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return [*arguments[:count], *[Any] * (count - len(arguments))]
    return [arguments[0] if arguments else Any] * count


def is_sequence_type(annotation: Any) -> bool:
    """Whether a list in text may become it."""
    kind = typing.get_origin(bare(annotation)) or bare(annotation)
    return kind in _SEQUENCES or (isinstance(kind, type) and issubclass(kind, tuple))


def is_mapping_type(annotation: Any) -> bool:
    """Whether a mapping in text may become it."""
    return (typing.get_origin(bare(annotation)) or bare(annotation)) in _MAPPINGS


def sequence_of(kind: Any, items: list[Any], otherwise: Any) -> Any:
    """The items as a `kind`; `otherwise` where that is no sequence or they cannot be its members."""
    try:
        if hasattr(kind, "_fields"):
            return kind(*items)
        if kind in (tuple, set, frozenset, collections.deque):
            return kind(items)
    except TypeError:
        return otherwise
    return items if kind in _SEQUENCES else otherwise


def leaf_from_text(text: str, annotation: Any, otherwise: Any) -> Any:
    """A path, date, enum member and the like out of text; `otherwise` when the annotation is none of these or the text does not say one."""
    kind = typing.get_origin(bare(annotation)) or bare(annotation)
    if not isinstance(kind, type):
        return otherwise
    if issubclass(kind, enum.Enum):
        found: Any = kind.__members__.get(text)
        return found if found is not None else next((member for member in kind if str(member.value) == text), otherwise)
    if issubclass(kind, pathlib.PurePath):
        return kind(text)
    if kind not in TEXT_LEAVES:
        return otherwise
    pydantic = require("pydantic", "a Config")

    adapter: Any = pydantic.TypeAdapter(kind)
    try:
        return adapter.validate_python(text)
    except pydantic.ValidationError:
        return otherwise
