"""What a command line can reach from a task: the annotations at any depth, and from them the classes and factories that a file may name.

Invariant: nothing is called but the factories of defaults. Only objects that the program has imported are named here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hpcflow.errors import ConfigError
from hpcflow.launch.config import factories
from hpcflow.launch.config.buildable import Buildable, Config, configured, get_argument, make, parameters_of, state_of, target_of
from hpcflow.launch.config.target import Parameter, path_of, signature_of
from hpcflow.launch.config.text import configurable

MAX_DEPTH = 5
NOTHING: Any = object()


def value_of(config: Any, parameter: Parameter) -> Any:
    """The value or default of a parameter, without making it the Config's own; NOTHING where it is required and not set."""
    if parameter.name in state_of(config).arguments:
        return get_argument(config, parameter.name)
    if parameter.required:
        return NOTHING
    return () if parameter.kind is parameter.kind.VAR_POSITIONAL else configured(parameter.make_default())


def inner_config(config: Any, parameter: Parameter) -> Any:
    """The Config at a parameter, or one with nothing set where its annotation is a class; None elsewhere."""
    value = value_of(config, parameter)
    if isinstance(value, Buildable):
        return value
    target = configurable(parameter.annotation)
    return None if target is None or not signature_of(target).parameters else make(Config, target)


def places(config: Any, prefix: str = "", above: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any, Parameter]]:
    """(dotted path, the Config it is in, parameter) of everything that can be set."""
    above = (*above, target_of(config))
    for name, parameter in parameters_of(config)[0].items():
        yield prefix + name, config, parameter
        inner = inner_config(config, parameter)
        if inner is not None and target_of(inner) not in above and len(above) <= MAX_DEPTH:
            yield from places(inner, f"{prefix}{name}.", above)


def known_targets(task: Any) -> list[str]:
    """Paths of the function, of the classes of its parameters, and of the factories for them: what a file for this command line may name."""
    found: list[Any] = [target_of(task)]
    for _, config, parameter in places(task):
        found += [target_of(config), configurable(parameter.annotation)]
        found += [factory.function for factory in factories.factories_for(parameter.annotation).values()]
    paths: list[str] = []
    for target in found:
        try:
            paths += [path_of(target)] if target is not None else []
        except ConfigError:  # a local function: no file can name it
            continue
    return sorted(set(paths))
