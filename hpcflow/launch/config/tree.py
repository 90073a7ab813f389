"""Walks over a Config and the Configs in it: copies, changes everywhere, and where each value came from.

Invariant: a Config that stands in two places of a tree is visited once, and is one again in a clone.

    broadcast(config, dtype="float32")                    # on every Config that has a dtype
    walk(config, lr=lambda node: node.lr * 2)             # the same, computed from each
    other = clone(config, seed=7)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from hpcflow.errors import ConfigError, near_names
from hpcflow.launch.config.buildable import Buildable, State, get_argument, parameters_of, set_argument, state_of
from hpcflow.launch.config.building import parts_of
from hpcflow.launch.config.origin import Change
from hpcflow.launch.config.target import UNSET

T = TypeVar("T")


def nodes(config: Any) -> Iterator[tuple[str, Any]]:
    """(dotted path, Config or Partial) of the tree, outer ones first; the path of `config` itself is empty."""
    state_of(config)
    yield from _nodes(config, "", set())


def _nodes(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Buildable):
        for step, part in parts_of(value):
            yield from _nodes(part, f"{path}[{step!r}]", seen)
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    yield path, value
    for name, argument in list(state_of(value).arguments.items()):
        yield from _nodes(argument, f"{path}.{name}" if path else name, seen)


def has(config: Any, name: str) -> bool:
    """Whether `name` may be set on this Config; a target with **kwargs takes any name, and has those that are set."""
    parameters, _ = parameters_of(config)
    return name in parameters or name in state_of(config).arguments


def walk(config: Any, **functions: Callable[[Any], Any]) -> None:
    """On every Config of the tree that has the parameter, set it to what the function returns for that Config. ConfigError if none has it."""
    for name, function in functions.items():
        found = [node for _, node in nodes(config) if has(node, name)]
        if not found:
            known = {known for _, node in nodes(config) for known in parameters_of(node)[0]}
            raise ConfigError(f"no Config in the tree has a parameter {name!r}{near_names(name, known)}")
        for node in found:
            set_argument(node, name, function(node))


def broadcast(config: Any, **values: Any) -> None:
    """Set parameters on every Config of the tree that has them. ConfigError if none has, or where a value does not fit."""

    def constant(value: Any) -> Callable[[Any], Any]:
        return lambda node: value

    walk(config, **{name: constant(value) for name, value in values.items()})


def clone(config: T, **changes: Any) -> T:
    """A copy that shares no Config and no container with the original; `changes` are set on the copy."""
    copy = _cloned(config, {})
    for name, value in changes.items():
        set_argument(copy, name, value)
    return copy  # type: ignore[no-any-return]


def _cloned(value: Any, done: dict[int, Any]) -> Any:
    if isinstance(value, Buildable):
        if id(value) not in done:
            state = state_of(value)
            copy: Any = object.__new__(type(value))
            done[id(value)] = copy
            fresh = State(state.target, state.path, {}, set(state.defaulted), set(state.raw), state.kind_path, list(state.changes))
            copy.__dict__["__hpcflow__"] = fresh
            fresh.arguments.update({name: _cloned(argument, done) for name, argument in state.arguments.items()})
        return done[id(value)]
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_cloned(part, done) for part in value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_cloned(part, done) for part in value))
    if type(value) is dict:
        return {key: _cloned(part, done) for key, part in value.items()}
    return value


def history(config: Any) -> list[Change]:
    """Every change of the tree that is still there, by path, each with its origin."""
    changes: list[Change] = []
    for path, node in nodes(config):
        prefix = f"{path}." if path else ""
        changes += [Change(prefix + change.path, change.old, change.new, change.origin) for change in state_of(node).changes]
    return changes


def where_set(config: Any, path: str) -> str:
    """What set the value at a dotted path last: `train.py:12`, `base.yaml:3`, `flag lr=1e-3`; `default` when nothing did."""
    *outer, name = path.split(".")
    node = config
    for step in outer:
        node = get_argument(node, step)
    for change in reversed(state_of(node).changes):
        if change.path == name and change.new is not UNSET:
            return str(change.origin)
    return "default"
