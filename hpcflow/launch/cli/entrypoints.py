"""The functions of a program that its command line can run.

Invariant: the decorated function is the function itself, unchanged. Its parameters are read when a command line needs them, not before.

    @entrypoint
    def train(model: Model, lr: float = 1e-3) -> None: ...
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from hpcflow.errors import ConfigError, near_names
from hpcflow.launch.config import factories
from hpcflow.launch.config.buildable import Partial, make, state_of

P = ParamSpec("P")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Entrypoint:
    """A function, under a name."""

    name: str
    function: Callable[..., Any]
    default: Callable[[], Any] | None = None  # makes the Partial to start from
    executor: Any = None
    environment: str = ""  # prefix of variables that set parameters; none are read without

    def task(self) -> Any:
        """The Partial that overrides are applied to."""
        return make(Partial, self.function) if self.default is None else self.checked(self.default(), "the default")

    def checked(self, task: Any, what: str) -> Any:
        """`task`, if it is a Partial of this function. Raises ConfigError otherwise."""
        if not isinstance(task, Partial) or state_of(task).target is not self.function:
            raise ConfigError(f"{what} of {self.name} is to be a Partial of {self.name}, and is {task!r}")
        return task

    @property
    def doc(self) -> str:
        """The function's doc string."""
        return inspect.getdoc(self.function) or ""


_registered: dict[str, Entrypoint] = {}


@overload
def entrypoint(function: Callable[P, T], /) -> Callable[P, T]: ...
@overload
def entrypoint(
    *, name: str | None = None, default: Callable[[], Any] | None = None, executor: Any = None, environment: str = ""
) -> Callable[[Callable[P, T]], Callable[P, T]]: ...
def entrypoint(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    default: Callable[[], Any] | None = None,
    executor: Any = None,
    environment: str = "",
) -> Any:
    """Register a function as a command of the program.

    Args:
        function: any function; its annotations are the types of the command line.
        name: of the command; default the function's.
        default: a function that returns the Partial to start from; default: none of the parameters set.
        executor: where it runs when --executor is not given; default: in the process of the command line.
        environment: prefix of variables that set parameters, before the words do: with "TRAIN_", TRAIN_MODEL__HIDDEN is model.hidden.
    """

    def register(decorated: Any) -> Any:
        made = Entrypoint(name or decorated.__name__, decorated, default, executor, environment)
        other = _registered.get(made.name)
        if other is not None and (other.function.__module__, other.function.__qualname__) != (decorated.__module__, decorated.__qualname__):
            raise ConfigError(f"two entrypoints are named {made.name!r}: {other.function!r} and {decorated!r}; give one another name")
        _registered[made.name] = made
        return decorated

    return register if function is None else register(function)


def all_entrypoints() -> dict[str, Entrypoint]:
    """Those of this process, by name."""
    return dict(_registered)


def entrypoint_of(function: Callable[..., Any]) -> Entrypoint:
    """The registered one of a function; a new one for a function that is not registered."""
    return next((found for found in _registered.values() if found.function is function), Entrypoint(function.__name__, function))


def chosen(words: list[str]) -> tuple[Entrypoint, list[str]]:
    """The entrypoint that the first word names, and the other words; where there is one only, it need not be named."""
    if not _registered:
        raise ConfigError("this program has no entrypoint; decorate a function with @launch.cli.entrypoint, or call launch.cli.main(function)")
    if words and words[0] in _registered:
        return _registered[words[0]], words[1:]
    if len(_registered) == 1:
        return next(iter(_registered.values())), words
    names = ", ".join(sorted(_registered))
    if not words or words[0].startswith("-"):
        raise ConfigError(f"name one of the commands first: {names}")
    raise ConfigError(f"there is no command {words[0]!r}{near_names(words[0], _registered) or f'; there are {names}'}")


def made_by_factory(one: Entrypoint, text: str) -> Any:
    """The Partial that `--factory name(...)` makes. Raises ConfigError when no factory of that name makes one of this function."""
    from hpcflow.launch.config.grammar import Call, parse_value
    from hpcflow.launch.config.text import call_factory

    node = parse_value(text)
    name = node.name if isinstance(node, Call) else node.raw.strip()
    found = factories.named(name)
    if not found:
        raise ConfigError(f"there is no factory {name!r}{near_names(name, factories.names())}")
    made = [call_factory(factory, node.arguments if isinstance(node, Call) else (), name) for factory in found]
    return one.checked(made[0], f"what the factory {name} makes")
