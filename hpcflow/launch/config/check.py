"""Checks one value against one annotation: strictly, by pydantic, with Configs and Partials standing for what they will return.

Invariant: a value set in Python is never parsed: `"3"` is no int and 3.0 is none, and an int is taken for a float. Classes that pydantic has no
strict rule for are checked by isinstance. pydantic is imported when the first value is checked.

    check_value(3, float, "lr")                 # 3.0
    check_value("x", float, "lr")               # ConfigError: lr: expected float, got str 'x'
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import inspect
import ipaddress
import pathlib
import re
import types
import typing
import uuid
from collections.abc import Callable
from typing import Annotated, Any

from hpcflow.errors import ConfigError, near_names
from hpcflow.launch.config.secret import Secret
from hpcflow.launch.config.stands import UNIONS, bare, is_callable_type, members, returned_by, spelled, stands_for
from hpcflow.launch.config.target import resolve_hints, signature_of
from hpcflow.launch.extras import require

# Leaves that pydantic checks strictly by themselves.
_LEAVES: tuple[type, ...] = (
    int, float, str, bytes, bool, complex, types.NoneType, datetime.date, datetime.datetime, datetime.time, datetime.timedelta, decimal.Decimal,
    fractions.Fraction, uuid.UUID, ipaddress.IPv4Address, ipaddress.IPv6Address, re.Pattern,
)  # fmt: skip
_CONTAINERS: dict[Any, Any] = {
    kind: kind
    for kind in (
        list, tuple, dict, set, frozenset, collections.deque, collections.abc.Sequence, collections.abc.Mapping,
    )
} | {
    collections.abc.MutableSequence: list, collections.abc.MutableMapping: dict, collections.abc.Set: collections.abc.Set,
    collections.abc.Collection: collections.abc.Collection, collections.abc.Iterable: collections.abc.Iterable,
}  # fmt: skip
_BY_MEMBERS = (collections.abc.Set, collections.abc.Collection, collections.abc.Iterable)  # pydantic would consume or refuse these


def check_value(value: Any, annotation: Any, where: str) -> Any:
    """The value as it is stored. Raises ConfigError that starts with `where`; the part of a container that is wrong is named."""
    pydantic = require("pydantic", "a Config")

    try:
        return _adapter(annotation)(value)
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error, value, annotation, where)) from None


def why_unchecked(annotation: Any) -> str:
    """Why this annotation cannot be checked at all; empty when it can. Raises ConfigError where nothing can, without pydantic."""
    require("pydantic", "a Config")
    try:
        _adapter(annotation)
    except Exception as error:  # pydantic raises several kinds for what is no annotation
        return f"{annotation!r}: {type(error).__name__}: {str(error).splitlines()[0]}"
    return ""


def _adapter(annotation: Any) -> Callable[[Any], Any]:
    try:
        return _cached_adapter(annotation, _literal_types(annotation))
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _make_adapter(annotation)


def _literal_types(annotation: Any) -> tuple[type, ...]:
    """Tells Literal[1] from Literal[True], which are equal."""
    return tuple(type(value) for value in typing.get_args(annotation))


@functools.lru_cache(maxsize=4096)
def _cached_adapter(annotation: Any, kinds: tuple[type, ...]) -> Callable[[Any], Any]:
    return _make_adapter(annotation)


def _make_adapter(annotation: Any) -> Callable[[Any], Any]:
    pydantic = require("pydantic", "a Config")

    adapter: Any = pydantic.TypeAdapter(_prepared(annotation), config=pydantic.ConfigDict(arbitrary_types_allowed=True, strict=True))
    return lambda value: adapter.validate_python(value, strict=True)


def _prepared(annotation: Any) -> Any:
    """The annotation that pydantic is given: the same, and every place in it also takes what stands for it."""
    pydantic = require("pydantic", "a Config")

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        from hpcflow.launch.config.buildable import Buildable

        if isinstance(value, Buildable):
            refusal = refuse_stand_in(value, annotation)
            if refusal:
                raise ValueError(refusal)
            return value
        if isinstance(value, Secret) and stands_for(str, annotation):
            return value
        return handler(value)

    return Annotated[_inner(annotation), pydantic.WrapValidator(check)]


def _inner(annotation: Any) -> Any:
    if typing.get_origin(annotation) is Annotated:
        base, *rest = typing.get_args(annotation)
        return Annotated[(_inner(base), *(item for item in rest if not isinstance(item, str)))]
    annotation = bare(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in UNIONS:
        return typing.Union[tuple(_prepared(argument) for argument in arguments)]  # noqa: UP007 (made at run time)
    if is_callable_type(annotation):
        return _by(callable, annotation)
    if origin is typing.Literal:
        return _by(lambda value: any(type(value) is type(choice) and value == choice for choice in arguments), annotation)
    if origin is type:
        return annotation
    if typing.is_typeddict(annotation):
        return _typed_dict(annotation)
    kind = origin or annotation
    if kind in _BY_MEMBERS:
        return _by(lambda value: isinstance(value, kind), annotation)
    if kind in (collections.defaultdict, collections.OrderedDict, collections.Counter):
        return _special_dict(kind, arguments)
    if kind in _CONTAINERS:
        kind = _CONTAINERS[kind]
        parts = tuple(argument if argument is Ellipsis else _prepared(argument) for argument in arguments)
        if annotation == tuple[()]:
            return annotation
        return kind[parts] if parts else kind
    if annotation in (Any, object) or typing.Self is annotation or not isinstance(kind, type):
        return Any if annotation in (Any, object) or typing.Self is annotation else annotation
    if kind in _LEAVES or issubclass(kind, enum.Enum | pathlib.PurePath):
        return annotation
    if getattr(kind, "_is_protocol", False) and not getattr(kind, "_is_runtime_protocol", False):
        names = _protocol_names(kind)
        return _by(lambda value: all(hasattr(value, name) for name in names), annotation)
    return _by(lambda value: isinstance(value, kind), annotation, instances=True)


def _by(test: Callable[[Any], bool], annotation: Any, instances: bool = False) -> Any:
    pydantic = require("pydantic", "a Config")

    def check(value: Any) -> Any:
        if not test(value):
            raise ValueError(f"expected {spelled(annotation)}, got {shown(value)}")
        if instances:
            for problem in problems_inside(value):
                raise ValueError(problem)
        return value

    return Annotated[Any, pydantic.PlainValidator(check)]


def _typed_dict(annotation: Any) -> Any:
    """By hand: pydantic refuses typing's own before Python 3.12."""
    hints = typing.get_type_hints(annotation, include_extras=True)
    optional = {name for name in hints if typing.get_origin(hints[name]) is typing.NotRequired or name in annotation.__optional_keys__}

    def check(value: Any) -> Any:
        if type(value) is not dict:
            raise ValueError(f"expected {spelled(annotation)}, got {shown(value)}")
        for name in value:
            if name not in hints:
                raise ValueError(f"{spelled(annotation)} has no key {name!r}{near_names(str(name), hints)}")
        for name in hints:
            if name not in value and name not in optional:
                raise ValueError(f"{spelled(annotation)} needs the key {name!r}")
        try:
            return {name: check_value(part, bare(hints[name]), f"[{name!r}]") for name, part in value.items()}
        except ConfigError as error:
            raise ValueError(str(error)) from None

    return _plain(check)


def _special_dict(kind: Any, arguments: tuple[Any, ...]) -> Any:
    """defaultdict and the like: checked as a dict is, and kept as it is."""
    parts = (arguments[0], int) if kind is collections.Counter and arguments else arguments

    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise ValueError(f"expected {spelled(kind)}, got {shown(value)}")
        try:
            check_value(dict(value), types.GenericAlias(dict, parts) if parts else dict, spelled(kind))
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return value

    return _plain(check)


def _plain(check: Callable[[Any], Any]) -> Any:
    pydantic = require("pydantic", "a Config")
    return Annotated[Any, pydantic.PlainValidator(check)]


def _protocol_names(kind: type) -> list[str]:
    """The public attributes that a protocol asks for."""
    bases = [base for base in kind.__mro__ if getattr(base, "_is_protocol", False)]
    return [name for base in bases for name in {**vars(base), **inspect.get_annotations(base)} if not name.startswith("_")]


def problems_inside(value: Any) -> list[str]:
    """What is wrong in the fields of a ready-made instance of a dataclass or pydantic model."""
    problems: list[str] = []
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints, _ = resolve_hints(type(value))
        for field in dataclasses.fields(value):
            if field.name in hints and hasattr(value, field.name) and not why_unchecked(hints[field.name]):
                try:
                    check_value(getattr(value, field.name), hints[field.name], f"{type(value).__name__}.{field.name}")
                except ConfigError as error:
                    problems.append(str(error))
    elif hasattr(type(value), "__pydantic_validator__") and hasattr(type(value), "model_fields"):
        for name, field in type(value).model_fields.items():
            try:
                check_value(getattr(value, name), field.rebuild_annotation(), f"{type(value).__name__}.{name}")
            except ConfigError as error:
                problems.append(str(error))
    return problems


def refuse_stand_in(value: Any, annotation: Any) -> str:
    """Why this Config or Partial must not stand where `annotation` is; empty when it may."""
    from hpcflow.launch.config.buildable import Buildable, Partial, name_of, target_of

    kinds = members(annotation)
    for part in kinds:
        kind = typing.get_origin(part) or part
        if isinstance(kind, type) and issubclass(kind, Buildable):  # annotated Config[Model]: what is wanted is the Config
            arguments = typing.get_args(part)
            if isinstance(value, kind) and (not arguments or stands_for(_returns(value), arguments[0])):
                return ""
    kind_name = type(value).__name__
    if target_of(value) is None:
        return ""  # named in a file and not imported yet: checked when it is
    returns = _returns(value)
    if isinstance(value, Partial):
        callables = [part for part in kinds if is_callable_type(part) or part in (Any, object)]
        if not callables:
            return (
                f"expected {spelled(annotation)}, got a Partial of {name_of(value)}, which is a function; Config({name_of(value)}, ...) is its result"
            )
        if any(part in (Any, object) or stands_for(returns, returned_by(part)) for part in callables):
            return ""
    elif stands_for(returns, annotation):
        return ""
    return f"expected {spelled(annotation)}, got a {kind_name} of {name_of(value)}, which returns {spelled(returns)}"


def _returns(value: Any) -> Any:
    from hpcflow.launch.config.buildable import target_of

    target = target_of(value)
    return Any if target is None else signature_of(target).returns


def shown(value: Any) -> str:
    """Type and value for a message, cut to a line."""
    if value is None:
        return "None"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"


def _explain(error: Any, value: Any, annotation: Any, where: str) -> str:
    details = error.errors(include_url=False)
    details = [detail for detail in details if detail["type"] != "none_required"] or details
    found = {_follow(value, detail["loc"]) for detail in details}
    path = next(iter(found)) if len(found) == 1 else ()
    place = where + "".join(f"[{step!r}]" for step in path)
    wrong = value
    for step in path:
        wrong = wrong[step]
    expected = f"{place}: expected {spelled(_annotation_at(annotation, path))}, got {shown(wrong)}"
    own = {str(detail["ctx"]["error"]) for detail in details if detail["type"] == "value_error"}
    if len(own) == 1 and len(details) == 1:
        text = own.pop()
        return f"{place}: {text}"
    detail = details[0]
    if len(details) > 1 or detail["type"].endswith(("_type", "_parsing", "is_instance_of", "is_subclass_of")) or "literal" in detail["type"]:
        return expected
    return f"{place}: {detail['msg'][0].lower()}{detail['msg'][1:]}, got {shown(wrong)}"


def _follow(value: Any, location: tuple[Any, ...]) -> tuple[Any, ...]:
    """The steps of a pydantic location that lead through the value: not the names of union members and validators."""
    path: list[Any] = []
    for step in location:
        if (isinstance(value, dict) and step in value) or (isinstance(value, list | tuple) and isinstance(step, int) and step < len(value)):
            path.append(step)
            value = value[step]
    return tuple(path)


def _annotation_at(annotation: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        plain = next((member for member in members(annotation) if typing.get_args(member)), annotation)
        arguments = [argument for argument in typing.get_args(plain) if argument is not Ellipsis]
        if not arguments:
            return annotation
        tuple_of_kinds = typing.get_origin(plain) is tuple and len(arguments) > 1 and isinstance(step, int) and step < len(arguments)
        annotation = arguments[step] if tuple_of_kinds else arguments[-1]
    return annotation
