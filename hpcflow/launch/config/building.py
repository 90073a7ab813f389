"""check and build: the whole tree looked at again, then called from its leaves up.

Invariant: nothing is called before everything has been checked, and all problems are told at once. A Config that is used in two places is built
once. Secrets are revealed here and nowhere else, unless the parameter is annotated Secret. What a function without a return annotation built is
checked against the annotation it was put under.

    build(Config(Model, hidden=512))        # Model(hidden=512)
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Iterator
from typing import Any, TypeVar, overload

from hpcflow.errors import ConfigError
from hpcflow.launch.config.buildable import (
    Buildable,
    Partial,
    checked,
    get_argument,
    is_plain_default,
    name_of,
    parameters_of,
    spelled_target,
    state_of,
)
from hpcflow.launch.config.secret import Secret
from hpcflow.launch.config.stands import members
from hpcflow.launch.config.target import UNSET

T = TypeVar("T")


def check(config: Any) -> None:
    """Raise ConfigError with every problem of the tree: values that no longer fit, parameters that are missing, a `validate` that refuses."""
    problems = list(_problems(config, "", {}, ()))
    if problems:
        raise ConfigError(problems[0] if len(problems) == 1 else f"{len(problems)} problems:\n  " + "\n  ".join(problems))


def _problems(value: Any, path: str, done: dict[int, str], above: tuple[int, ...]) -> Iterator[str]:
    if not isinstance(value, Buildable):
        for step, part in parts_of(value):
            yield from _problems(part, f"{path}[{step!r}]", done, above)
        return
    if id(value) in above:
        yield f"{path}: a Config holds itself and can never be built"
        return
    if id(value) in done:
        return
    done[id(value)] = path
    state = state_of(value)
    if state.target is None:
        from hpcflow.launch.config.allow import resolve_node

        try:
            resolve_node(value)
        except ConfigError as error:
            yield f"{path}: {error}" if path else str(error)
            return
    own: list[str] = []
    parameters, _ = parameters_of(value)
    for name, argument in state.arguments.items():
        inner = f"{path}.{name}" if path else name
        own_count = len(own)
        own.extend(_problems(argument, inner, done, (*above, id(value))))
        if len(own) == own_count:
            try:
                checked(value, name, argument, annotation_or_any(value, name))
            except ConfigError as error:
                if not is_plain_default(value, name, argument):
                    own.append(f"{path}: {error}" if path else str(error))
    if not isinstance(value, Partial):
        for name, parameter in parameters.items():
            if parameter.required and name not in state.arguments:
                own.append(f"{path + ': ' if path else ''}{name_of(value)}.{name} is not set and has no default")
    if not own:
        try:
            run_validate(value)
        except ConfigError as error:
            own.append(f"{path}: {error}" if path else str(error))
    yield from own


def annotation_or_any(config: Any, name: str) -> Any:
    """The annotation of a parameter, that of **kwargs for others."""
    from hpcflow.launch.config.buildable import annotation_of

    return annotation_of(config, name)


def run_validate(config: Any) -> None:
    """Call the subclass's `validate`; its ValueError becomes a ConfigError."""
    method = type(config).validate
    if method is Buildable.validate:
        return
    try:
        method(config)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{type(config).__name__}: {error}") from error


def parts_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """(step, part) of a standard container; nothing of anything else."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
    elif isinstance(value, set | frozenset):
        yield from enumerate(sorted(value, key=repr))


@overload
def build(config: Partial[T]) -> functools.partial[T]: ...
@overload
def build(config: T) -> T: ...
def build(config: Any) -> Any:
    """Make the call a Config describes (a `functools.partial` of a Partial), after a check of the whole tree.

    Raises:
        ConfigError: something does not fit. An exception of a target passes through, with a note that names the place.
    """
    state_of(config)
    check(config)
    return _built(config, "", {})


def _built(value: Any, path: str, done: dict[int, Any]) -> Any:
    if isinstance(value, Buildable):
        if id(value) not in done:
            done[id(value)] = _called(value, path, done)
        return done[id(value)]
    if isinstance(value, Secret):
        return value.reveal()
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_built(part, f"{path}[{step}]", done) for step, part in _in_order(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_built(part, f"{path}[{step}]", done) for step, part in parts_of(value)))
    if type(value) is dict:
        return {key: _built(part, f"{path}[{key!r}]", done) for key, part in value.items()}
    return value


def _in_order(value: Any) -> Iterator[tuple[Any, Any]]:
    return enumerate(value)


def _called(config: Any, path: str, done: dict[int, Any]) -> Any:
    state, (parameters, _) = state_of(config), parameters_of(config)
    names = list(state.arguments)
    if inspect.get_annotations(type(config)):  # a typed subclass has defaults of its own
        names += [name for name, p in parameters.items() if name not in names and p.default is not UNSET]
    arguments: dict[str, Any] = {}
    for name in names:
        value = get_argument(config, name)
        annotation = annotation_or_any(config, name)
        inner = f"{path}.{name}" if path else name
        if isinstance(value, Secret) and Secret in members(annotation):
            arguments[name] = value
            continue
        arguments[name] = _built(value, inner, done)
        if holds_buildable(value) and not _wants_config(annotation):
            try:
                checked(config, name, arguments[name], annotation)
            except ConfigError as error:
                raise ConfigError(f"{error}; that is what {inner} was built to") from None
    args, kwargs = _as_call(arguments, parameters)
    target: Any = state.target
    if isinstance(config, Partial):
        return functools.partial(target, *args, **kwargs)
    try:
        return target(*args, **kwargs)
    except Exception as error:
        error.add_note(f"while building {path or 'the Config'} ({spelled_target(config)})")
        raise


def _wants_config(annotation: Any) -> bool:
    """Annotated Config[Model]: the Config was wanted while it was configured; built, it is a Model."""
    kinds = [typing.get_origin(member) or member for member in members(annotation)]
    return any(isinstance(kind, type) and issubclass(kind, Buildable) for kind in kinds)


def _as_call(arguments: dict[str, Any], parameters: Any) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments: by position only what has no name in a call, and what stands before a filled *args."""
    args: list[Any] = []
    kwargs = dict(arguments)
    variadic = next((p.name for p in parameters.values() if p.kind is p.kind.VAR_POSITIONAL), None)
    fill = bool(variadic and arguments.get(variadic))
    for parameter in parameters.values():
        if parameter.kind is parameter.kind.VAR_POSITIONAL:
            args.extend(kwargs.pop(parameter.name, ()))
        elif parameter.kind is parameter.kind.POSITIONAL_ONLY or (fill and parameter.kind is parameter.kind.POSITIONAL_OR_KEYWORD):
            if parameter.name in kwargs:
                args.append(kwargs.pop(parameter.name))
            elif fill or _needed_later(parameter, parameters, kwargs):
                args.append(parameter.make_default())
    return args, kwargs


def _needed_later(parameter: Any, parameters: Any, kwargs: dict[str, Any]) -> bool:
    names = list(parameters)
    later = names[names.index(parameter.name) + 1 :]
    return any(name in kwargs and parameters[name].kind is parameter.kind.POSITIONAL_ONLY for name in later)


def holds_buildable(value: Any) -> bool:
    """Whether a Config or Partial is in this value or in a container of it."""
    return isinstance(value, Buildable) or any(holds_buildable(part) for _, part in parts_of(value))
