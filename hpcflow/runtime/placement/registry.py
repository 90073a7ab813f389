"""From what a user names as placement to the strategy: a name (entry points of group `hpcflow.placements` too), a strategy, or a function."""

from __future__ import annotations

from typing import Any, Final

from hpcflow.errors import ConfigError, near_names
from hpcflow.runtime.placement.base import Placement
from hpcflow.runtime.placement.data_locality import DataLocality
from hpcflow.runtime.placement.dynamic import Dynamic, UserDefined
from hpcflow.runtime.placement.first_fit import FirstFit
from hpcflow.runtime.placement.round_robin import RoundRobin

STRATEGIES: Final[dict[str, Placement]] = {
    "dynamic": Dynamic(),
    "round_robin": RoundRobin(),
    "first_fit": FirstFit(),
    "data_locality": DataLocality(),
}


def resolve_placement(value: Any) -> Placement:
    """The strategy that `value` names. ConfigError lists the valid names."""
    if isinstance(value, str):
        if value in STRATEGIES:
            return STRATEGIES[value]
        from importlib.metadata import entry_points

        points = {point.name: point for point in entry_points(group="hpcflow.placements")}
        if value not in points:
            valid = [*STRATEGIES, *points]
            raise ConfigError(f"unknown placement {value!r}{near_names(value, valid) or ';'} there are {', '.join(valid)}, or pass a function")
        value = points[value].load()
    if isinstance(value, type):
        value = value()
    if isinstance(value, Placement):
        return value
    if callable(value):
        return UserDefined(value)
    raise ConfigError(f"placement cannot be {value!r}: give a name ({', '.join(STRATEGIES)}), or a function of (tasks, workers) to worker numbers")
