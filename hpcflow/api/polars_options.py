"""Options of Polars' methods that a Dataset's methods of the same name take and have no need of, so that programs run unchanged.

Invariant: an option that neither has is refused with near names; one that would change the result is not among them.

    refuse_unknown("collect", {"engine": "streaming"}, pl.LazyFrame.collect)        # fine
    refuse_unknown("collect", {"foo": 3}, pl.LazyFrame.collect)                     # ArgumentTypeError
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from hpcflow.errors import ArgumentTypeError, ArgumentValueError, near_names


def refuse_unknown(name: str, options: Mapping[str, Any], of: Callable[..., Any], own: tuple[str, ...] = ()) -> None:
    """ArgumentTypeError for an option that neither the method `name`, whose arguments are `own`, nor Polars' `of` has."""
    taken = [one for one in inspect.signature(of).parameters if one not in ("self", "function", "_kwargs")]
    if unknown := [option for option in options if option not in taken]:
        near = near_names(unknown[0], [*own, *taken])
        takes = f"It takes {', '.join([*own, f'options of polars.LazyFrame.{of.__name__}'])}"
        raise ArgumentTypeError(f"{name} has no argument {unknown[0]!r}{near or '.'} {takes}")


def check_collect(options: Mapping[str, Any]) -> None:
    """The options of `collect`."""
    if options.get("background"):
        raise ArgumentValueError("collect: background=True is not for a Dataset; submit() begins the action and gives a future")
    refuse_unknown("collect", options, pl.LazyFrame.collect)


def of_a_reader(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `read_parquet` and the others, less those that only say how Polars' own scan is to work."""
    return {option: value for option, value in options.items() if option not in _READER.get(name, ())}


_READER = {"read_parquet": ("parallel", "low_memory", "cache"), "read_csv": ("low_memory",)}
