"""Dataclasses whose fields are checked when they are given: executors, packagers and what they hold.

Invariant: an object of a checked class has fields of the types that its annotations say; a sequence is kept as a tuple, so that frozen objects are
frozen all the way down, and nothing else is converted. An unknown field is refused with near names. What a value may be beyond its type, a class says
in its `__post_init__`, which may rely on the types. Its repr shows what was given: the fields that are not their defaults.

    @checked
    @dataclass(frozen=True)
    class Site:
        hosts: Sequence[str] = ()

    Site(hosts="n1")       # ConfigError: Site.hosts: expected Sequence[str], got str 'n1'; give a list: ['n1']
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import types
import typing
import unicodedata
from typing import Any, TypeVar

from hpcflow.errors import ConfigError, near_names
from hpcflow.launch.config.stands import members, spelled
from hpcflow.launch.config.target import resolve_hints

T = TypeVar("T")
_REFUSED: Any = object()


def checked(cls: type[T]) -> type[T]:
    """The decorator; it stands above `@dataclass`, and on subclasses with fields of their own again."""
    initialize: Any = cls.__init__
    names = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]  # a dataclass

    @functools.wraps(initialize)
    def construct(self: T, *values: Any, **fields: Any) -> None:
        if type(self) is not cls:  # a subclass with an initializer of its own that calls this one
            initialize(self, *values, **fields)
            return
        for name in fields:
            if name not in names:
                raise ConfigError(f"{cls.__name__} has no field {name!r}{near_names(name, names) or f'; it has {chr(44).join(names)}'}")
        if len(values) > len(names) or set(names[: len(values)]) & fields.keys():
            initialize(self, *values, **fields)  # Python's own TypeError says it
        given = {**dict(zip(names, values, strict=False)), **fields}
        initialize(self, **{name: check_field(cls, name, value) for name, value in given.items()})

    cls.__init__ = construct  # type: ignore[assignment]
    cls.__repr__ = _as_written  # type: ignore[method-assign]
    return cls


def _as_written(self: Any) -> str:
    """The class and the fields that are not their defaults."""
    given = (f"{field.name}={value!r}" for field in dataclasses.fields(self) if (value := getattr(self, field.name)) != _default(field))
    return f"{type(self).__name__}({', '.join(given)})"


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def check_field(cls: type[Any], name: str, value: Any) -> Any:
    """The value as it is kept. Raises ConfigError that names class and field."""
    field = cls.__dataclass_fields__[name]
    if value is field.default:
        return value
    return check_argument(f"{cls.__name__}.{name}", value, _hints(cls).get(name, Any))


def check_argument(where: str, value: Any, annotation: Any) -> Any:
    """The value as it is kept. Raises ConfigError that begins with `where`."""
    fitting = _fitting(value, annotation)
    if fitting is _REFUSED:
        from hpcflow.launch.config.check import shown

        listed = (
            f"; give a list: [{value!r}]" if isinstance(value, str) and typing.get_origin(annotation) in (tuple, collections.abc.Sequence) else ""
        )
        choices = [choice for part in members(annotation) if typing.get_origin(part) is typing.Literal for choice in typing.get_args(part)]
        near = near_names(value, [choice for choice in choices if isinstance(choice, str)]) if isinstance(value, str) and choices else ""
        raise ConfigError(f"{where}: expected {spelled(annotation)}, got {shown(value)}{listed}{near}")
    return fitting


_known: dict[type[Any], dict[str, Any]] = {}


def _hints(cls: type[Any]) -> dict[str, Any]:
    if cls not in _known:
        _known[cls] = resolve_hints(cls)[0]
    return _known[cls]


def _fitting(value: Any, annotation: Any) -> Any:
    """The value, its lists as tuples where tuples are wanted; `_REFUSED` when it does not fit."""
    found = (_one(value, kind) for kind in members(annotation))
    return next((fitting for fitting in found if fitting is not _REFUSED), _REFUSED)


def _one(value: Any, kind: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if kind is types.NoneType:
        return value if value is None else _REFUSED
    if origin is typing.Literal:
        return value if any(type(value) is type(choice) and value == choice for choice in arguments) else _REFUSED
    if origin is tuple and arguments:
        return _tuple(value, arguments)
    if origin is collections.abc.Sequence:
        return _tuple(value, (*arguments, ...))
    if origin is collections.abc.Mapping:
        return _mapping(value, *arguments)
    if kind is float:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else _REFUSED
    if kind is int:
        return value if isinstance(value, int) and not isinstance(value, bool) else _REFUSED
    return value if isinstance(value, origin or kind) else _REFUSED


def _tuple(value: Any, arguments: tuple[Any, ...]) -> Any:
    if not isinstance(value, list | tuple):
        return _REFUSED
    kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    if len(kinds) != len(value):
        return _REFUSED
    parts = tuple(_fitting(part, kind) for part, kind in zip(value, kinds, strict=True))
    return _REFUSED if any(part is _REFUSED for part in parts) else parts


def _mapping(value: Any, key: Any, item: Any) -> Any:
    if not isinstance(value, collections.abc.Mapping):
        return _REFUSED
    parts = {_fitting(name, key): _fitting(part, item) for name, part in value.items()}
    return _REFUSED if _REFUSED in parts or any(part is _REFUSED for part in parts.values()) else parts


def at_least(owner: object, least: int, *names: str) -> None:
    """Raises ConfigError for a whole number below `least` in one of the fields."""
    for name in names:
        value = getattr(owner, name)
        if isinstance(value, int) and not isinstance(value, bool) and value < least:
            raise ConfigError(f"{type(owner).__name__}.{name}={value}: give a whole number from {least}")


def one_line(owner: object, name: str, text: str) -> None:
    """Raises ConfigError for an empty text, and for one with control characters other than a tab, line ends among them."""
    where = f"{type(owner).__name__}.{name}"
    if not text.strip():
        raise ConfigError(f"{where} is empty: leave it out")
    if len(text.splitlines()) > 1 or text.splitlines()[0] != text:
        raise ConfigError(f"{where}: {text!r} holds a line end; give each line by itself")
    if wrong := next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c != "\t"), None):
        raise ConfigError(f"{where}: {text!r} holds the control character {wrong!r}; leave it out")
