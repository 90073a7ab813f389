"""What a Config or Partial may stand for: its target's return type, in the place of a value that will be built.

Invariant: what cannot be decided from annotations (no return annotation, a type variable, a protocol) is let through; it is checked when built.

    stands_for(int, float)                       # True: an int may be given for a float
    stands_for(Model, Model | None)              # True
    stands_for(str, int)                         # False
"""

from __future__ import annotations

import collections.abc
import enum
import types
import typing
from typing import Annotated, Any

UNIONS = (typing.Union, types.UnionType)


def bare(annotation: Any) -> Any:
    """The annotation without Annotated, Final, NewType, type aliases and the like around it."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is Annotated or origin in (typing.Final, typing.ClassVar, typing.Required, typing.NotRequired):
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif isinstance(annotation, typing.TypeVar):
            annotation = annotation.__bound__ or Any
        elif annotation is None:
            return types.NoneType
        else:
            return annotation


def members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; of anything else, itself."""
    annotation = bare(annotation)
    if typing.get_origin(annotation) in UNIONS:
        return tuple(member for part in typing.get_args(annotation) for member in members(part))
    return (annotation,)


def is_callable_type(annotation: Any) -> bool:
    """Whether the annotation is Callable, with or without arguments, or a protocol with a call."""
    annotation = bare(annotation)
    if annotation in (collections.abc.Callable, typing.Callable) or typing.get_origin(annotation) is collections.abc.Callable:
        return True
    return bool(getattr(annotation, "_is_protocol", False)) and "__call__" in vars(annotation)


def returned_by(annotation: Any) -> Any:
    """R of Callable[..., R]; Any where it says nothing."""
    arguments = typing.get_args(bare(annotation))
    return arguments[-1] if arguments else Any


def stands_for(given: Any, wanted: Any) -> bool:
    """Whether a value of the type `given` may be where `wanted` is annotated."""
    wanteds = members(wanted)
    return all(any(_one(g, w) for w in wanteds) for g in members(given))


def _one(given: Any, wanted: Any) -> bool:
    if wanted in (Any, object) or given is Any or typing.Self in (given, wanted):
        return True
    if is_callable_type(given) and is_callable_type(wanted):
        return stands_for(returned_by(given), returned_by(wanted))
    if is_callable_type(wanted):
        return not isinstance(given, type) or is_callable_type(given) or any("__call__" in vars(base) for base in given.__mro__)
    if getattr(wanted, "_is_protocol", False):
        return True
    if typing.get_origin(wanted) is typing.Literal or typing.get_origin(given) is typing.Literal:
        return _literal(given, wanted)
    given_class, wanted_class = typing.get_origin(given) or given, typing.get_origin(wanted) or wanted
    if not isinstance(given_class, type) or not isinstance(wanted_class, type):
        return True
    if given_class is int and wanted_class is float:
        return True
    if given_class is bool and wanted_class in (int, float):
        return False
    try:
        related = issubclass(given_class, wanted_class)
    except TypeError:
        return True
    if not related:
        return False
    gives, wants = typing.get_args(given), typing.get_args(wanted)
    if not gives or not wants or len(gives) != len(wants):
        return True
    return all(g is Ellipsis or w is Ellipsis or stands_for(g, w) for g, w in zip(gives, wants, strict=True))


def _literal(given: Any, wanted: Any) -> bool:
    if typing.get_origin(given) is not typing.Literal:
        return any(type(value) is given for value in typing.get_args(wanted))
    values = typing.get_args(given)
    if typing.get_origin(wanted) is typing.Literal:
        return all(value in typing.get_args(wanted) for value in values)
    return all(stands_for(type(value), wanted) for value in values)


_CHOICES = 8
"""Members of an enum that are named."""


def spelled(annotation: Any) -> str:
    """The annotation as a person writes it: `list[int] | None`, `Model`; of an enum its members too."""
    if annotation is Any:
        return "any value"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        limits = [limit for item in arguments[1:] for limit in limits_of(item)]
        return " ".join([spelled(arguments[0]), " and ".join(limits)]).rstrip()
    if origin in UNIONS:
        return " | ".join(spelled(argument) for argument in arguments)
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if annotation is types.NoneType or annotation is None:
        return "None"
    if annotation is Ellipsis:
        return "..."
    if isinstance(annotation, list):
        return "[" + ", ".join(spelled(argument) for argument in annotation) + "]"
    name = getattr(origin or annotation, "__name__", None) or str(annotation).removeprefix("typing.")
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        names = [*annotation.__members__]
        return f"{name} ({', '.join(names[:_CHOICES])}{', ...' if len(names) > _CHOICES else ''})"
    return f"{name}[{', '.join(spelled(argument) for argument in arguments)}]" if arguments else name


_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of", "min_length": "of length >=", "max_length": "of length <="}


def limits_of(item: Any) -> list[str]:
    """The ranges in one piece of Annotated metadata (annotated_types, pydantic's Field), as text: `>= 1`."""
    if type(item).__module__.split(".")[0] not in ("annotated_types", "pydantic"):
        return []
    inner = getattr(item, "metadata", None)
    if isinstance(inner, list):
        return [limit for part in inner for limit in limits_of(part)]
    found = [f"{sign} {getattr(item, name)}" for name, sign in _SIGNS.items() if getattr(item, name, None) is not None]
    pattern = getattr(item, "pattern", None)
    return [*found, f"like {pattern!r}"] if isinstance(pattern, str) else found
