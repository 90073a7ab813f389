"""A dataflow edge by hand: open it, insert chunk after chunk, take partitions as they arrive or once they are complete.

Invariant: the owner of a partition gets exactly the rows that all ranks inserted for it, those of one rank in the order of its inserts; complete
partitions have them ordered by (source rank, row). Inserting waits only for the window of bytes under way, never for another rank's user code.

    with Flow(group, df.schema, HashPartitioner(["k"], 8)) as flow:     # a collective call: every rank opens it
        for chunk in chunks:
            flow.insert(chunk)
        for partition, rows in flow:                                    # finish() is implied
            use(partition, rows)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import polars as pl

from hpcflow.bsp.checked_comm import CheckedComm
from hpcflow.bsp.group import Group
from hpcflow.errors import FrameError, HpcflowError, SchemaError
from hpcflow.native.tables import ArrowStream, as_frame
from hpcflow.shuffle.exchange import ExchangeSpec, ExchangeStats
from hpcflow.shuffle.partitioners import TASK_POSITION_BITS, Partitioner
from hpcflow.shuffle.user_ids import checked_ids

PartitionFunction = Callable[[int, pl.DataFrame], "pl.DataFrame | None"]
"""`function(partition, rows)`: what it returns takes the place of these rows in the result; None leaves them out."""


NO_LIMIT_BYTES = 1 << 62
"""A window that never makes `insert` wait."""


def owners_of(partitions: int, size: int) -> tuple[int, ...]:
    """Partition -> worker: runs of neighbouring partitions, one a worker, equally long to within one."""
    return tuple(partition * size // partitions for partition in range(partitions))


class Flow:
    """One edge on one rank. Collective: every rank makes it with the same schema, partitions and owners.

    Args:
        group: this rank among the workers.
        schema: of every table that is inserted, on all ranks.
        partitioner: gives rows their partitions; or the number of partitions, when `insert` gets the ids.
        owners: partition -> worker; default `owners_of`.
        sources: workers that insert; default all.
        broadcast: every row goes to every owner, as its one partition 0.
        window_bytes: bytes under way from this rank before `insert` waits.
        step: a number that `group.next_step()` gave before; default the next.
        what: the operator's name, for errors.
    """

    def __init__(
        self,
        group: Group,
        schema: pl.Schema | dict[str, Any],
        partitioner: Partitioner | int,
        *,
        owners: Sequence[int] | None = None,
        sources: Sequence[int] | None = None,
        broadcast: bool = False,
        window_bytes: int = 16 << 20,
        step: int | None = None,
        what: str = "flow",
    ) -> None:
        if step is None and window_bytes != NO_LIMIT_BYTES and isinstance(group.comm, CheckedComm):  # calls that do not block must not wait here
            group.comm.check_call(what)
        self.schema = pl.Schema(schema)
        self.partitions = partitioner if isinstance(partitioner, int) else partitioner.partitions
        self.owners = owners_of(self.partitions, group.size) if owners is None else tuple(owners)
        self.owned = tuple(partition for partition, owner in enumerate(self.owners) if owner == group.rank)
        self._partitioner = None if isinstance(partitioner, int) else partitioner
        self._rank = group.rank
        self._size = group.size
        self._broadcast = broadcast
        self._what = what
        self._inserted: dict[int, int] = {}  # task -> rows so far
        self._finished = False
        ranks = group.engine_ranks
        self._exchange = group.exchanges.open(
            ExchangeSpec(
                step=group.next_step() if step is None else step,
                owners=tuple(ranks[owner] for owner in self.owners),
                sources=tuple(ranks[source] for source in (range(group.size) if sources is None else sources)),
                schema=self.schema,
                broadcast=broadcast,
                transport="shared memory",
                window_bytes=window_bytes,
            )
        )

    def insert(self, table: pl.DataFrame | ArrowStream, ids: Any = None, *, input: int = 0) -> None:
        """Send rows to the owners of their partitions; waits while more than the window is under way.

        Args:
            table: a table of the flow's schema, Polars or Arrow.
            ids: integer[rows], the partition of each row, where the flow has no partitioner.
            input: complete partitions have all ranks' rows of input 0 first, then those of input 1, and so on.

        Raises:
            SchemaError: another schema, or ids that are no partitions.
        """
        df = as_frame(table)
        if df.schema != self.schema:
            raise SchemaError(f"{self._what}: a table of schema {dict(df.schema)} is inserted, it was opened for {dict(self.schema)}")
        task = input * self._size + self._rank
        if self._broadcast:
            self._exchange.insert_broadcast(df, task=task)
            return
        start = self._inserted.get(task, 0)
        if ids is not None:
            found = checked_ids(ids, df.height, self.partitions, self._what)
        elif self._partitioner is not None:
            found = self._partitioner.partition_ids(df, (task << TASK_POSITION_BITS) | start)
        else:
            raise HpcflowError(f"{self._what}: it was opened without a partitioner, so insert() needs ids, one partition a row")
        self._inserted[task] = start + df.height
        self._exchange.insert(df, found, task=task)

    def finish(self) -> None:
        """This rank inserts no more. Iterating and collecting call it too."""
        if not self._finished:
            self._finished = True
            self._exchange.finish()

    @property
    def complete(self) -> bool:
        """Whether everything for this rank has arrived."""
        return self._exchange.complete

    @property
    def stats(self) -> ExchangeStats:
        """What this rank has moved so far."""
        return self._exchange.stats

    def arriving(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """`(partition, some of its rows)` as they arrive, also before this rank has finished; ends when everything is there.

        These rows are handed out once: they are not in the complete partitions. On the thread that inserts, call it after `finish`.
        """
        with named_schema(self._what, self.schema):
            yield from self._exchange.arriving()

    def __iter__(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """`(partition, its rows)` of the owned partitions, in order, once everything is there; each is freed when the next is asked for."""
        self.wait()
        for partition in self.owned:
            with named_schema(self._what, self.schema):
                rows = self._exchange.extract([partition])
            yield partition, rows
            del rows
            self._exchange.release([partition])

    def wait(self, timeout_s: float | None = None) -> None:
        """Finish, and wait until everything has arrived. StepTimeoutError after `timeout_s` seconds names the ranks that have not finished."""
        self.finish()
        self._exchange.wait(timeout_s)

    def collect(self) -> pl.DataFrame:
        """All owned rows, partition after partition."""
        return concat([rows for _, rows in self], self.schema)

    def cancel(self, error: BaseException | None) -> None:
        """End this rank's waits with `error`."""
        self._exchange.cancel(error or HpcflowError(f"{self._what}: cancelled"))

    def close(self) -> None:
        """Free what is left; tables that were handed out stay valid."""
        self._exchange.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def concat(tables: Sequence[pl.DataFrame], schema: pl.Schema) -> pl.DataFrame:
    """Tables of one schema under each other, not copied; without any, an empty table of `schema`."""
    return pl.concat(tables, rechunk=False) if tables else pl.DataFrame(schema=schema)


def each_partition(
    flow: Flow, function: Callable[[pl.DataFrame], pl.DataFrame], schema: pl.Schema, on_partition: PartitionFunction | None
) -> pl.DataFrame:
    """`function` of each complete partition, handed to `on_partition` where there is one; what comes out, under each other."""
    results = []
    for partition, rows in flow:
        result: pl.DataFrame | None = function(rows)
        del rows
        if on_partition is not None:
            assert result is not None
            result = on_partition(partition, result)
        if result is not None:
            results.append(result)
    return concat(results, schema)


class named_schema:  # noqa: N801  a context manager
    """A context that words the error of ranks that do not agree on the schema."""

    def __init__(self, what: str, schema: pl.Schema) -> None:
        self._what = what
        self._schema = schema

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, FrameError) and "schema" in str(error):
            raise SchemaError(
                f"{self._what}: another rank sent a table of another schema than {dict(self._schema)} here: every rank has to pass the same columns "
                f"and dtypes (give empty tables a schema)"
            ) from error
