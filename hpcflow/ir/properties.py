"""Execution properties: how a vertex or an edge is to be run, as opposed to what it computes.

Invariant: values are immutable; a pass makes new ones with `with_changes`, which refuses to touch what a user made permanent. Each property has
exactly one reader in the planner or the runtime, named in its comment.

>>> EdgeProperties(pattern=Pattern.HASH_SHUFFLE).with_changes(compression="lz4").compression
'lz4'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any, Literal

import polars as pl

from hpcflow.errors import ConfigError, near_names
from hpcflow.ir.property_values import Check, flag, function, instance, member, one_of, optional, places, several, whole
from hpcflow.ir.task_needs import TaskNeeds, task_needs


class Pattern(Enum):
    """How rows travel along an edge."""

    ONE_TO_ONE = "one-to-one"  # output of task i is input of task i, on the same worker
    HASH_SHUFFLE = "hash shuffle"  # equal keys meet in one partition
    RANGE_SHUFFLE = "range shuffle"  # partitions are ranges of the sort order
    ROUND_ROBIN = "round robin"  # rows are dealt out evenly
    USER_SHUFFLE = "user shuffle"  # a user's function names the partition of each row
    BROADCAST = "broadcast"  # every worker gets all rows
    GATHER = "gather"  # one partition gets all rows
    SHARE = "shares"  # each worker gets its part of the rows, in order; rows that lie so already stay where they are

    @property
    def is_shuffle(self) -> bool:
        """Whether rows are cut into more than one partition."""
        return self in (Pattern.HASH_SHUFFLE, Pattern.RANGE_SHUFFLE, Pattern.ROUND_ROBIN, Pattern.USER_SHUFFLE)

    @property
    def moves_rows(self) -> bool:
        """Whether the edge needs an exchange."""
        return self is not Pattern.ONE_TO_ONE


class DataFlow(Enum):
    """When rows leave the producer (read by plan/stages.py)."""

    PUSH = "push"  # straight into the exchange, partition owners fixed before the first row leaves
    PULL = "pull"  # wait in the block store until all sizes are known, then owners are balanced by bytes


class DataStore(Enum):
    """Where blocks of the edge wait (read by runtime/block_store.py through plan/physical.py)."""

    MEMORY = "memory"  # in memory; spilled only when the budget demands it
    SCRATCH = "scratch"  # written to scratch at once


class Persistence(Enum):
    """What happens to the edge's blocks after their last reader (read by runtime/master.py)."""

    DISCARD = "discard"
    KEEP = "keep"  # until the action ends


@dataclass(frozen=True)
class SortKey:
    """One key of an order: a row-wise expression, its direction and where nulls go."""

    expression: pl.Expr
    descending: bool = False
    nulls_last: bool = False


@dataclass(frozen=True)
class _Properties:
    permanent: frozenset[str] = frozenset()
    """Names of the properties that a user set: passes may not change them."""

    def with_changes(self, **changes: Any) -> Any:
        """A copy with `changes`, less those that are permanent."""
        return replace(self, **{name: value for name, value in changes.items() if name not in self.permanent})

    @classmethod
    def choices(cls) -> list[str]:
        """The names that users may set."""
        return [f.name for f in fields(cls) if f.name not in ("permanent", *_OF_PASSES)]

    def with_user_choice(self, **changes: Any) -> Any:
        """A copy with `changes` made permanent; an enum's member may be given by its value: `data_flow="pull"`.

        Raises:
            ConfigError: for an unknown name, or for a value that the property cannot have.
        """
        check_names(changes, self.choices())
        checked = {name: _checked(name, value) for name, value in changes.items()}
        return replace(self, **checked, permanent=self.permanent | frozenset(changes))


def check_names(given: Iterable[str], valid: Sequence[str]) -> None:
    """ConfigError for a name that is not that of an execution property."""
    for name in given:
        if name not in valid:
            raise ConfigError(f"no execution property {name!r}{near_names(name, valid) or '.'} There are {', '.join(valid)}")


def _checked(name: str, value: Any) -> Any:
    try:
        return _CHECKS[name](value)
    except ValueError as error:
        raise ConfigError(f"execution property {name} cannot be {value!r}: {error}") from None


@dataclass(frozen=True)
class VertexProperties(_Properties):
    """How the tasks of a vertex are run."""

    parallelism: int | None = None
    """Wished number of tasks of a source (plan/stages.py); None: from its size."""
    slots: int = 1
    """Task slots of the worker that one task takes (runtime/worker.py): 2 halves the concurrency."""
    memory_bytes: int | None = None
    """Memory one task reserves before it starts (runtime/task_evaluation.py)."""
    resources: TaskNeeds | None = None
    """What a task has for itself while it runs (runtime/hand_out.py: which workers have it; runtime/worker.py: how many run at once)."""
    placement: Any = None
    """Workers (0-based) that may run the tasks, or the strategy that places them (runtime/action_state.py); None: any, by the session's strategy."""


@dataclass(frozen=True)
class EdgeProperties(_Properties):
    """How the rows of an edge travel."""

    pattern: Pattern = Pattern.ONE_TO_ONE
    """Communication pattern (plan/stages.py)."""
    keys: tuple[pl.Expr, ...] = ()
    """Hash shuffle: row-wise key expressions, already cast to the type both sides share (runtime/partitioning.py)."""
    order: tuple[SortKey, ...] = ()
    """Range shuffle: the sort keys (runtime/partitioning.py)."""
    function: Callable[..., Any] | None = field(default=None, compare=False)
    """User shuffle: the user's partitioner, `f(df) -> int array`, or a Numba function of columns (runtime/partitioning.py)."""
    columns: tuple[str, ...] = ()
    """User shuffle: columns a Numba partitioner is called with; empty for a function on the table."""
    partition_count: int | None = None
    """Number of partitions (plan/stages.py); None: partitions per worker times workers."""
    ordered: bool = True
    """Deliver by (source task, sequence) or by arrival (shuffle/exchange.py)."""
    data_flow: DataFlow = DataFlow.PUSH
    data_store: DataStore = DataStore.MEMORY
    persistence: Persistence = Persistence.DISCARD
    compression: Literal["none", "lz4", "zstd"] = "none"
    """Codec of the frames on the way (shuffle/exchange.py)."""
    transport: Literal["chunks", "shared memory"] = "chunks"
    """How frames get to other ranks: as messages, or read where they were packed by ranks of the same node (shuffle/transport.py)."""
    most_bytes: int | None = None
    """A broadcast that was chosen by a guess: with more bytes than this the guess was wrong, and the action is planned again (runtime/action.py)."""
    combiner: bool = True
    """Rows may be aggregated partially before they leave (compiler/passes/combine_before_shuffle.py)."""

    @property
    def is_pulled(self) -> bool:
        """Rows are stored before they travel: splitters or balanced owners need all of them, or they are to wait on scratch."""
        late = self.pattern in (Pattern.RANGE_SHUFFLE, Pattern.SHARE)  # cut where only the number of rows, or their keys, says
        waits = late or self.data_flow is DataFlow.PULL or self.data_store is DataStore.SCRATCH
        return self.pattern.moves_rows and waits


MOST_PARTITIONS = 1 << 20
"""Tasks or partitions that can be asked for: the master and every worker list them all."""
_OF_PASSES = ("most_bytes",)
"""Properties that say why a pass chose as it did: nobody else sets them."""
_CHECKS: dict[str, Check] = {
    "parallelism": optional(whole(1, MOST_PARTITIONS)),
    "slots": whole(1),
    "memory_bytes": optional(whole(0)),
    "resources": optional(task_needs),
    "placement": optional(places),
    "pattern": member(Pattern),
    "keys": several(instance(pl.Expr), "Polars expressions"),
    "order": several(instance(SortKey), "SortKey"),
    "function": optional(function),
    "columns": several(instance(str), "column names"),
    "partition_count": optional(whole(1, MOST_PARTITIONS)),
    "ordered": flag,
    "data_flow": member(DataFlow),
    "data_store": member(DataStore),
    "persistence": member(Persistence),
    "compression": one_of("none", "lz4", "zstd"),
    "transport": one_of("chunks", "shared memory"),
    "most_bytes": optional(whole(0)),
    "combiner": flag,
}
"""What a user may set each property to."""
