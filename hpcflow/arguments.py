"""What a public method is given, compared at the call with what it takes.

Invariant: a method of a class under `checked` raises `ArgumentTypeError` or `ArgumentValueError` for an argument that it does not have (with near
names), that is missing, or that its annotation forbids; the message names the method, the argument, what was given and what is wanted. Annotations
are the only list: `n: Count` says that n is a whole number from 0 on, and `Any` is left to the method.

    @checked
    class Dataset:
        def head(self, n: Count = 5) -> Dataset: ...

    dataset.head(-1)        # ArgumentValueError: head: n is -1; expected a whole number of at least 0
    dataset.head(m=3)       # ArgumentTypeError: head has no argument 'm'; did you mean 'n'? It takes n
"""

from __future__ import annotations

import builtins
import collections.abc
import functools
import inspect
import numbers
import operator
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from hpcflow.errors import ArgumentTypeError, ArgumentValueError, near_names

T = TypeVar("T")


@dataclass(frozen=True)
class Within:
    """A range for `Annotated[int, Within(0)]`; what Polars counts with has 64 bits."""

    least: int
    most: int = 2**63 - 1

    def __contains__(self, value: int) -> bool:
        return self.least <= value <= self.most

    def __str__(self) -> str:
        return f"of at least {self.least}" + ("" if self.most == 2**63 - 1 else f" and at most {self.most}")


Count = Annotated[int, Within(0)]
"""A whole number from 0 on, of 63 bits."""
AtLeastOne = Annotated[int, Within(1)]
"""A whole number from 1 on, of 63 bits."""


def _is_index(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)


_KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "True or False"),
    int: (_is_index, "a whole number"),
    float: (lambda value: isinstance(value, numbers.Real) and not isinstance(value, bool), "a number"),
    str: (lambda value: isinstance(value, str), "a text"),
    type(None): (lambda value: value is None, "None"),
}


def checked(kind: type[T]) -> type[T]:
    """A class decorator: all public methods compare their arguments."""
    for name, member in list(vars(kind).items()):
        if inspect.isfunction(member) and not name.startswith("_"):
            setattr(kind, name, checked_function(member, name))
    return kind


def checked_function(function: Callable[..., T], name: str | None = None) -> Callable[..., T]:
    """`function`, which compares its arguments first."""
    called = name or function.__name__

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> T:
        check_arguments(called, function, args, keywords)
        return function(*args, **keywords)

    return call


def check_arguments(name: str, function: Callable[..., Any], args: tuple[Any, ...], keywords: Mapping[str, Any], more: Sequence[str] = ()) -> None:
    """Raises for the first argument of the call `name(*args, **keywords)` that `function` does not take; `more`: other names that the call takes."""
    signature = _signature(function)
    try:
        bound = signature.bind(*args, **keywords).arguments
    except TypeError as error:
        raise ArgumentTypeError(_unbound(name, signature, args, keywords, error, more)) from None
    for parameter, annotation in _annotations(function).items():
        if parameter not in bound:
            continue
        check_value(name, parameter, bound[parameter], annotation, signature.parameters[parameter].default)


def check_value(name: str, parameter: str, value: Any, annotation: Any, default: Any = inspect.Parameter.empty) -> None:
    """Raises when `value` is not what `annotation` says; the default always is."""
    if value is default or _fits(value, annotation):
        return
    kind = ArgumentTypeError if not _fits(value, _bare(annotation)) else ArgumentValueError
    near = ""
    if isinstance(value, str) and (names := [one for one in _literals(annotation) if isinstance(one, str)]):
        kind, near = ArgumentValueError, near_names(value, names)
    if _is_table(value) and "Dataset" in wanted(annotation):
        near = "; session.from_polars(table), or from_arrow, from_pandas, makes one of it"
    raise kind(f"{name}: {parameter} is {shown(value)}; expected {wanted(annotation)}{near}")


def shown(value: Any) -> str:
    """A value in a message: short, and with its type where it does not show."""
    if isinstance(value, str | int | float | bool | type(None)):
        text = repr(value)
        return text if len(text) <= 80 else text[:77] + "..."
    kind = type(value)
    module = "" if kind.__module__ in ("builtins", "__main__") else kind.__module__.partition(".")[0] + "."
    text = "" if module in ("polars.", "pandas.", "pyarrow.", "numpy.", "hpcflow.") else " ".join(repr(value).split())
    return f"{'an' if kind.__name__[0] in 'aeiouAEIOU' else 'a'} {module}{kind.__name__}" + (f" ({text})" if text and len(text) <= 60 else "")


def wanted(annotation: Any) -> str:
    """What an annotation takes, in words."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return " ".join([wanted(annotation.__origin__), *map(str, annotation.__metadata__)])
    if annotation is Any:
        return "a value"
    if annotation in _KINDS:
        return _KINDS[annotation][1]
    if origin is Literal:
        return f"one of {', '.join(map(repr, get_args(annotation)))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(wanted(one) for one in get_args(annotation))
    if origin is collections.abc.Callable:
        return "a function"
    if origin in (collections.abc.Sequence, collections.abc.Iterable):
        return f"a list of {_plural(get_args(annotation)[0])}" if get_args(annotation) else "a list"
    if origin is collections.abc.Mapping:
        return "a dict with texts as keys" if get_args(annotation)[0] is str else "a dict"
    if origin is os.PathLike or annotation is os.PathLike:
        return "a path"
    kind = origin if isinstance(origin, type) else annotation
    return f"{'an' if kind.__name__[0] in 'aeiouAEIOU' else 'a'} {kind.__name__}" if isinstance(kind, type) else str(annotation)


def _plural(annotation: Any) -> str:
    names = {str: "texts", int: "whole numbers", bool: "True or False", Any: "values"}
    return names.get(annotation) or f"{getattr(annotation, '__name__', str(annotation))}s"


def _bare(annotation: Any) -> Any:
    """The annotation without ranges."""
    if get_origin(annotation) is Annotated:
        return annotation.__origin__
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return functools.reduce(operator.or_, (_bare(one) for one in get_args(annotation)))
    return annotation


def _literals(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(value for one in get_args(annotation) for value in _literals(one))
    return ()


def _fits(value: Any, annotation: Any) -> bool:
    if annotation is Any:
        return True
    if annotation in _KINDS:
        return _KINDS[annotation][0](value)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _fits(value, annotation.__origin__) and all(value in allowed for allowed in annotation.__metadata__)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is collections.abc.Callable:
        return callable(value)
    if origin is collections.abc.Mapping:
        return isinstance(value, Mapping) and (arguments[0] is not str or all(isinstance(key, str) for key in value))
    if origin in (collections.abc.Sequence, collections.abc.Iterable):
        listed = not isinstance(value, str | bytes | Mapping) and not _is_table(value) and isinstance(value, origin)
        return listed and (origin is not collections.abc.Sequence or not arguments or all(_fits(one, arguments[0]) for one in value))
    if isinstance(origin, type):
        return isinstance(value, origin)
    return isinstance(value, annotation) if isinstance(annotation, type) else True


def _is_table(value: Any) -> bool:
    """A table of another library, which is an iterable of columns."""
    return type(value).__name__ in ("DataFrame", "LazyFrame", "Table")


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


class _Names(dict[str, Any]):
    """Names of a module; those that only type checkers see stand for anything."""

    def __missing__(self, name: str) -> Any:
        return Any


@functools.cache
def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """Parameter -> its annotation, of those that say something."""
    found = {}
    target = inspect.unwrap(function)
    names = _Names(vars(builtins) | vars(sys.modules[target.__module__]))
    for name, parameter in _signature(function).parameters.items():
        annotation = parameter.annotation
        if isinstance(annotation, str):
            annotation = eval(annotation, {}, names)
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue  # any number of them: the method says what each may be
        if annotation is inspect.Parameter.empty or annotation is Any or isinstance(annotation, TypeVar) or name in ("self", "cls"):
            continue
        found[name] = annotation
    return found


def _unbound(
    name: str, signature: inspect.Signature, args: tuple[Any, ...], keywords: Mapping[str, Any], error: TypeError, more: Sequence[str]
) -> str:
    """Why the arguments do not fit the signature."""
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)] + list(more)
    takes = f"It takes {', '.join(named)}" if named else "It takes none"
    for keyword in keywords:
        if keyword not in named:
            near = near_names(keyword, named)
            return f"{name} has no argument {keyword!r}{near or '.'} {takes}"
    given = args[1:] if "self" in signature.parameters else args
    by_place = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(given) > len(by_place) and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        rest = f"; give {', '.join(by_name)} by name" if by_name else ""
        return f"{name} takes {len(by_place)} argument{'s' if len(by_place) != 1 else ''} by place ({', '.join(by_place)}) and got {len(given)}{rest}"
    missing = [p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    missing = [one for one in missing if one not in keywords and one not in by_place[: len(given)]]
    return f"{name} needs {', '.join(missing)}. {takes}" if missing else f"{name}: {error}. {takes}"
