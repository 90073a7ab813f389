"""What an operator asks of the edges into it: the patterns that give the right rows, the keys that must meet, the order that must hold.

Invariant: an edge that keeps what `Operator.edge_needs` asks brings the operator rows on which it is right on any number of workers. The compiler
checks it after every pass (ir/legality.py), `with_property` at the call.

    >>> from hpcflow.ir.operators.unique import Unique
    >>> [pattern.value for pattern in Unique(("k",)).edge_needs(0, (), ()).patterns]
    ['hash shuffle', 'gather', 'one-to-one']
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from hpcflow.ir.properties import EdgeProperties, Pattern, SortKey

EVERY_ROW_ONCE = (Pattern.ONE_TO_ONE, Pattern.HASH_SHUFFLE, Pattern.RANGE_SHUFFLE, Pattern.ROUND_ROBIN, Pattern.USER_SHUFFLE, Pattern.GATHER)
"""Patterns that bring each row to one task, in whatever company."""


@dataclass(frozen=True)
class EdgeNeeds:
    """What the edge into one input of an operator has to do."""

    patterns: tuple[Pattern, ...] = EVERY_ROW_ONCE
    """Those that the operator is right with."""
    why: str = "each row has to come to exactly one task"
    """What it needs, as the end of a sentence that starts with "since"."""
    keys: tuple[pl.Expr, ...] | None = None
    """A hash shuffle is by these, in this order (or by some of them: `some_keys`); a one-to-one edge needs rows that lie so. None: by any."""
    some_keys: bool = False
    order: tuple[SortKey, ...] | None = None
    """A range shuffle has this order; None: any."""
    reads_order: bool = False
    """Rows have to come in the dataset's order, not by arrival."""
    in_step: bool = False
    """Its partitions are read in step with the other inputs', so that all have as many."""


def rows_that_meet(keys: tuple[pl.Expr, ...], reads_order: bool = False) -> EdgeNeeds:
    """Rows that are equal in all `keys` come to one task."""
    patterns = (Pattern.HASH_SHUFFLE, Pattern.GATHER, Pattern.ONE_TO_ONE)
    names = ", ".join(" ".join(str(key).split()) for key in keys)
    return EdgeNeeds(patterns, f"rows with equal keys ({names}) have to meet in one task", keys, some_keys=True, reads_order=reads_order)


def all_rows_in_one_task(reads_order: bool = True) -> EdgeNeeds:
    """One task sees all rows."""
    return EdgeNeeds((Pattern.GATHER,), "one task has to see all rows", reads_order=reads_order)


def rows_in_place(why: str) -> EdgeNeeds:
    """Rows stay where they are."""
    return EdgeNeeds((Pattern.ONE_TO_ONE,), why)


_NOTHING = {"keys": "()", "order": "()", "function": "None", "columns": "()", "partition_count": "None"}


def unused(properties: EdgeProperties) -> str | None:
    """A property that was set and that the pattern has no use for, with why; None: all are used."""
    pattern = properties.pattern
    uses: dict[str, tuple[object, Callable[[Pattern], bool], str]] = {
        "keys": (properties.keys, lambda p: p is Pattern.HASH_SHUFFLE, "are for a hash shuffle"),
        "order": (properties.order, lambda p: p is Pattern.RANGE_SHUFFLE, "is for a range shuffle"),
        "function": (properties.function, lambda p: p is Pattern.USER_SHUFFLE, "is for a user shuffle"),
        "columns": (properties.columns, lambda p: p is Pattern.USER_SHUFFLE, "are for a user shuffle"),
        "partition_count": (properties.partition_count, lambda p: p.is_shuffle, "is for a shuffle"),
    }
    for name, (value, is_used, what) in uses.items():
        if name in properties.permanent and value and not is_used(pattern):
            return f"{name} {what}, and the pattern is {pattern.value!r}: leave it out, or take an earlier one back with {name}={_NOTHING[name]}"
    return None
