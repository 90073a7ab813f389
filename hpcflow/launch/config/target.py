"""What a Config or Partial is made for: the parameters of a function or class, their annotations and defaults, and what a call of it returns.

Invariant: reading a target never calls it. Annotations are resolved one by one, so that one that cannot be resolved (a name imported for type
checkers only) leaves the others checked; it is named in `Signature.unresolved` and takes any value.

    signature_of(train).parameters["lr"].annotation     # <class 'float'>
    path_of(train)                                      # 'mylib.training:train'
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
import typing
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from hpcflow.errors import ConfigError

UNSET: Any = inspect.Parameter.empty


class NamelessError(ConfigError):
    """A function or class that no import finds."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter of a target."""

    name: str
    annotation: Any  # resolved; Any where there is none or where it could not be resolved
    kind: inspect._ParameterKind
    default: Any = UNSET
    default_factory: Callable[[], Any] | None = None  # of a dataclass field
    help: str = ""  # from a doc string or Annotated[..., "text"]

    @property
    def required(self) -> bool:
        variadic = self.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return self.default is UNSET and self.default_factory is None and not variadic

    def make_default(self) -> Any:
        """The default, made anew where the target makes it anew."""
        return self.default_factory() if self.default_factory is not None else self.default


@dataclasses.dataclass(frozen=True)
class Signature:
    """What may be set on a Config of one target."""

    name: str  # as in messages: Model, train
    parameters: Mapping[str, Parameter]  # without **kwargs
    returns: Any  # the class itself for a class
    extra: Any = UNSET  # the annotation of **kwargs; UNSET where unknown keywords are refused
    unresolved: Mapping[str, str] = dataclasses.field(default_factory=dict)  # parameter (or "return") -> why


def signature_of(target: Callable[..., Any]) -> Signature:
    """The signature of a function or class. C classes that do not tell theirs take any keyword. Raises ConfigError for what cannot be called."""
    try:
        found = _known.get(target)
    except TypeError:  # cannot be hashed or referred to weakly
        return _read(target)
    if found is None:
        found = _read(target)
        if not found.unresolved and isinstance(target, type | types.FunctionType):  # a name may be defined later, a method object is made anew
            _known[target] = found
    return found


_known: weakref.WeakKeyDictionary[Any, Signature] = weakref.WeakKeyDictionary()


def _read(target: Callable[..., Any]) -> Signature:
    if not callable(target):
        raise ConfigError(f"a Config is made for a function or a class, not for {type(target).__name__} {target!r}")
    name = getattr(target, "__name__", None) or type(target).__name__
    returns: Any = target if isinstance(target, type) else Any
    try:
        plain = inspect.signature(target)
    except (ValueError, TypeError):
        return Signature(name, {}, returns, extra=Any)
    hints, unresolved = resolve_hints(target)
    fields = {field.name: field for field in dataclasses.fields(target)} if dataclasses.is_dataclass(target) else {}
    parameters: dict[str, Parameter] = {}
    extra: Any = UNSET
    for key, parameter in plain.parameters.items():
        annotation = hints.get(key, Any)
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            extra = annotation
            continue
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            annotation = types.GenericAlias(tuple, (annotation, ...))
        default, factory = parameter.default, None
        if key in fields and fields[key].default_factory is not dataclasses.MISSING:
            default, factory = UNSET, typing.cast("Callable[[], Any]", fields[key].default_factory)
        parameters[key] = Parameter(key, annotation, parameter.kind, default, factory, _help_of(annotation))
    if not isinstance(target, type):
        returns = hints.get("return", Any)
    return Signature(name, parameters, returns, extra, unresolved)


def _help_of(annotation: Any) -> str:
    for item in getattr(annotation, "__metadata__", ()):
        if isinstance(item, str):
            return item
        text = getattr(item, "description", None) or getattr(item, "documentation", None)
        if isinstance(text, str):
            return text
    return ""


def resolve_hints(target: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The annotations of a function's or class's call, resolved where possible, and for each of the others the reason."""
    resolved: dict[str, Any] = {}
    unresolved: dict[str, str] = {}
    for raw, globals_, locals_ in _annotation_sources(target):
        for key, annotation in raw.items():
            if key in resolved or key in unresolved:
                continue
            try:
                resolved[key] = _resolve(annotation, globals_, locals_)
            except Exception as error:  # whatever the text of an annotation raises
                unresolved[key] = f"{annotation!r}: {error}"
    return resolved, unresolved


def _resolve(annotation: Any, globals_: dict[str, Any], locals_: Mapping[str, Any]) -> Any:
    holder = type("_Holder", (), {"__annotations__": {"x": annotation}})
    return typing.get_type_hints(holder, globals_, dict(locals_), include_extras=True)["x"]


def _annotation_sources(target: Any) -> list[tuple[dict[str, Any], dict[str, Any], Mapping[str, Any]]]:
    """(annotations, globals, locals) in the order in which they decide."""
    if isinstance(target, functools.partial):
        return _annotation_sources(target.func)
    if not isinstance(target, type):
        function = inspect.unwrap(target)
        if not hasattr(function, "__annotations__") and hasattr(type(function), "__call__"):  # noqa: B004 (the method is what is read)
            function = type(function).__call__
        function = getattr(function, "__func__", function)
        return [(dict(getattr(function, "__annotations__", None) or {}), getattr(function, "__globals__", {}), {})]
    sources: list[tuple[dict[str, Any], dict[str, Any], Mapping[str, Any]]] = []
    initializer = inspect.unwrap(inspect.getattr_static(target, "__init__"))
    if "__annotations__" in dir(initializer) and not dataclasses.is_dataclass(target):
        raw = {key: value for key, value in initializer.__annotations__.items() if key != "return"}
        sources.append((raw, getattr(initializer, "__globals__", {}), vars(target)))
    for base in target.__mro__:  # fields of dataclasses, models and named tuples: each resolved in its own module
        module = sys.modules.get(base.__module__)
        sources.append((inspect.get_annotations(base), dict(vars(module)) if module else {}, vars(base)))
    return sources


def path_of(target: Any) -> str:
    """`module:qualified.name`, the one spelling of a target in files. Raises NamelessError for lambdas, local functions and the like."""
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        raise NamelessError(f"{target!r} has no import path; use a function or class of a module")
    if "<" in name:
        what = "a lambda" if "<lambda>" in name else "defined inside a function"
        raise NamelessError(f"{name} in {module} is {what} and cannot be named in a file; move it to the top level of a module")
    owner = getattr(target, "__self__", None)
    if owner is not None and not isinstance(owner, type | types.ModuleType):
        raise NamelessError(
            f"{name} is a method of one {type(owner).__name__}, which no file can name; use a function that makes it and calls the method"
        )
    return f"{module}:{name}"
