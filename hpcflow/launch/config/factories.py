"""Functions that a command line or file may call by name: `model=big(size=9)`.

Invariant: only functions that the program registered are called, with arguments checked by their annotations. A factory is looked up by name among
those whose return type fits the place. What it returns stands there as a Config: the one it returned, that of the dataclass instance it returned,
or, for any other object, one that calls the factory again when it is built.

    @factory
    def big(size: int = 4096) -> Model:
        return Config(Model, hidden=size)
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, overload

from hpcflow.errors import ConfigError, near_names
from hpcflow.launch.config.buildable import Buildable, Config, Partial, configured, make
from hpcflow.launch.config.stands import is_callable_type, members, spelled, stands_for
from hpcflow.launch.config.target import UNSET, Signature, signature_of

P = ParamSpec("P")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Factory:
    """A registered function."""

    name: str
    function: Callable[..., Any]
    returns: Any  # what its result stands for
    signature: Signature

    def fits(self, annotation: Any) -> bool:
        """Whether the result may be where `annotation` is; where anything may be, it is not offered."""
        return any(member not in (Any, object) and stands_for(self.returns, member) for member in members(annotation))


_registered: dict[str, list[Factory]] = {}


@overload
def factory(function: Callable[P, T], /) -> Callable[P, T]: ...
@overload
def factory(*, name: str | None = None, target: Any = None) -> Callable[[Callable[P, T]], Callable[P, T]]: ...
def factory(function: Any = None, /, *, name: str | None = None, target: Any = None) -> Any:
    """Register a function under its name.

    Args:
        function: a function with a return annotation.
        name: another name for it.
        target: what its result stands for, if its return annotation does not say so (`executor: Executor` and a factory `-> object`).

    Raises:
        ConfigError: there is no return annotation, or the name is taken by another function of the same result.
    """
    if function is None:
        return lambda decorated: _register(decorated, name, target)
    return _register(function, name, target)


def _register(function: Any, name: str | None, target: Any) -> Any:
    signature = signature_of(function)
    returns = signature.returns if target is None else target
    origin = typing.get_origin(returns)
    if isinstance(origin, type) and issubclass(origin, Buildable):  # -> Config[Model], Partial[Model]
        (inner,) = typing.get_args(returns) or (Any,)
        returns = collections.abc.Callable[..., inner] if issubclass(origin, Partial) else inner
    if returns is Any or returns is Config or returns is Partial or returns is types.NoneType:
        reason = f": {signature.unresolved['return']}" if "return" in signature.unresolved else ""
        raise ConfigError(f"the factory {signature.name} needs a return annotation that says what it makes, such as -> Model{reason}")
    made = Factory(name or signature.name, function, returns, signature)
    others = [other for other in _registered.get(made.name, []) if not _same_place(other.function, function)]
    for other in others:
        if other.returns == returns:
            raise ConfigError(f"two factories are named {made.name!r} and make {spelled(returns)}: {other.function!r} and {function!r}; rename one")
    _registered[made.name] = [*others, made]
    return function


def _same_place(one: Any, other: Any) -> bool:
    """The same function, perhaps of a module that was loaded again."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def factories_for(annotation: Any) -> dict[str, Factory]:
    """Name -> factory, of those whose result may be where `annotation` is."""
    return {name: found for name in sorted(_registered) for found in _registered[name] if found.fits(annotation)}


def find(name: str, annotation: Any) -> Factory | None:
    """The factory of that name for that place. Where anything may be, the one of that name, if there is only one."""
    fitting = [factory for factory in _registered.get(name, []) if factory.fits(annotation)]
    if not fitting and any(member in (Any, object) for member in members(annotation)):
        fitting = _registered.get(name, [])
    return fitting[0] if len(fitting) == 1 else None


def names() -> list[str]:
    """All names, sorted."""
    return sorted(_registered)


def named(name: str) -> list[Factory]:
    """All factories of that name, whatever they make."""
    return list(_registered.get(name, []))


def suggest(name: str, annotation: Any) -> str:
    """For a message: the near or the known names of factories for a place."""
    known = factories_for(annotation)
    if not known:
        return ""
    return near_names(name, known) or f"; factories for it are {', '.join(known)}"


def call(factory: Factory, arguments: Mapping[str, Any]) -> Any:
    """The Config that a factory makes of checked arguments. Exceptions of the factory become ConfigErrors that name it."""
    draft = make(Config, factory.function, **arguments)
    for parameter in factory.signature.parameters.values():
        if parameter.required and parameter.name not in arguments:
            raise ConfigError(f"{factory.name}() needs {parameter.name}")
    try:
        result = factory.function(**arguments)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"the factory {factory.name} failed: {type(error).__name__}: {error}") from error
    if isinstance(result, Buildable) or isinstance(result := configured(result), Buildable):
        return result
    if is_callable_type(factory.returns) and callable(result) and inspect.isroutine(result):
        return result
    return draft if result is not None else UNSET
