"""What table collectives must do on any ranks: one suite for calls that block and calls that do not, on threads and over MPI.

check(lambda job: run_on_threads(job, workers=3), BLOCKING)        # for check in TABLE_CHECKS
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from hpcflow.bsp import table_requests, tables
from hpcflow.errors import ConfigError, SchemaError
from hpcflow.testing.bsp import EngineGroup
from hpcflow.testing.tables import table_of_every_type

Run = Callable[[Callable[[EngineGroup], Any]], list[Any]]


@dataclass(frozen=True)
class Calls:
    """The five calls of one kind."""

    name: str
    bcast: Callable[..., Any]
    scatter: Callable[..., Any]
    gather: Callable[..., Any]
    allgather: Callable[..., Any]
    alltoall: Callable[..., Any]


Check = Callable[[Run, Calls], None]
BLOCKING = Calls("blocking", tables.bcast, tables.scatter, tables.gather, tables.allgather, tables.alltoall)


def _waited(start: Callable[..., table_requests.TableRequest[Any]]) -> Callable[..., Any]:
    return lambda *arguments: start(*arguments).wait(40)


NONBLOCKING = Calls(
    "nonblocking",
    _waited(table_requests.ibcast),
    _waited(table_requests.iscatter),
    _waited(table_requests.igather),
    _waited(table_requests.iallgather),
    _waited(table_requests.ialltoall),
)


def share(rank: int, size: int, rows: int = 60) -> pl.DataFrame:
    """A rank's rows of a table of every type; rank 1 has none."""
    whole = table_of_every_type(rows).with_row_index("row")
    cuts = [0, *(rows * max(index, 2) // size for index in range(1, size)), rows] if size > 2 else [0, rows, rows][: size + 1]
    return whole.slice(cuts[rank], cuts[rank + 1] - cuts[rank])


def whole_of(size: int) -> pl.DataFrame:
    """All ranks' shares."""
    return pl.concat([share(rank, size) for rank in range(size)])


def same(one: pl.DataFrame, other: pl.DataFrame) -> None:
    """Equal in values, order and dtypes."""
    assert_frame_equal(one, other, categorical_as_str=True)
    assert one.schema == other.schema


def every_type_and_empty_tables_are_gathered_everywhere(run: Run, calls: Calls) -> None:
    def job(group: EngineGroup) -> None:
        same(calls.allgather(group, share(group.rank, group.size)), whole_of(group.size))
        same(calls.allgather(group, share(0, 1).clear()), share(0, 1).clear())

    run(job)


def the_root_alone_gathers(run: Run, calls: Calls) -> None:
    def job(group: EngineGroup) -> None:
        for root in (0, group.size - 1):
            found = calls.gather(group, share(group.rank, group.size), root)
            if group.rank == root:
                same(found, whole_of(group.size))
            else:
                assert found is None

    run(job)


def a_broadcast_brings_rows_and_schema(run: Run, calls: Calls) -> None:
    def job(group: EngineGroup) -> None:
        for root in (0, group.size - 1):
            same(calls.bcast(group, share(0, 1) if group.rank == root else None, root), share(0, 1))
            same(calls.bcast(group, share(0, 1).clear() if group.rank == root else None, root), share(0, 1).clear())

    run(job)


def a_scatter_deals_tables_or_equal_shares(run: Run, calls: Calls) -> None:
    def job(group: EngineGroup) -> int:
        for root in (0, group.size - 1):
            parts = [share(rank, group.size) for rank in range(group.size)] if group.rank == root else None
            same(calls.scatter(group, parts, root), share(group.rank, group.size))
            mine = calls.scatter(group, share(0, 1) if group.rank == root else None, root)
            same(mine, share(0, 1).slice(60 * group.rank // group.size, mine.height))
        return int(mine.height)

    heights = run(job)
    assert sum(heights) == 60
    assert max(heights) - min(heights) <= 1


def everyone_sends_a_table_to_everyone(run: Run, calls: Calls) -> None:
    def job(group: EngineGroup) -> None:
        def sent(source: int, target: int) -> pl.DataFrame:
            return share(0, 1).slice(source, target * 3).with_columns(pl.lit(10 * source + target).alias("way"))

        found = calls.alltoall(group, [sent(group.rank, target) for target in range(group.size)])
        assert len(found) == group.size
        for source, rows in enumerate(found):
            same(rows, sent(source, group.rank))

    run(job)


def chunked_and_arrow_tables_are_taken(run: Run, calls: Calls) -> None:
    def job(group: EngineGroup) -> None:
        small = pl.concat([share(0, 1)[:7], share(0, 1)[7:8], share(0, 1)[8:]], rechunk=False)
        same(calls.allgather(group, small), pl.concat([share(0, 1)] * group.size))
        large = pl.concat([pl.select(pl.int_range(part * 20_000, (part + 1) * 20_000).alias("n")) for part in range(4)], rechunk=False)
        assert large.n_chunks() == 4
        found = calls.allgather(group, large)
        same(found, pl.concat([large] * group.size))
        same(calls.bcast(group, large if group.rank == 0 else None), large)
        arrow = large.to_arrow()
        same(calls.allgather(group, arrow), pl.concat([large] * group.size))

    run(job)


def results_outlive_the_call_and_can_be_sent_on(run: Run, calls: Calls) -> None:
    def job(group: EngineGroup) -> None:
        table = share(group.rank, group.size)
        for _ in range(3):
            table = calls.allgather(group, table).sample(fraction=1.0, seed=0).sort("row").unique("row", keep="first", maintain_order=True)
        same(table, whole_of(group.size).sort("row"))

    run(job)


def wrong_calls_are_refused(run: Run, calls: Calls) -> None:
    def job(group: EngineGroup) -> None:
        table = share(0, 1)
        wrong: tuple[tuple[type[Exception], Callable[[], Any]], ...] = (
            (ConfigError, lambda: calls.gather(group, table, group.size)),
            (ConfigError, lambda: calls.alltoall(group, [table] * (group.size + 1))),
            (
                SchemaError,
                lambda: calls.alltoall(
                    group, [table] * (group.size - 1) + [table.select("row")] if group.size > 1 else [pl.DataFrame({"o": [object()]})]
                ),
            ),
        )
        for error, call in wrong:
            try:
                call()
            except error:
                continue
            raise AssertionError(f"no {error.__name__} for a wrong call")

    run(job)


TABLE_CHECKS: tuple[Check, ...] = (
    every_type_and_empty_tables_are_gathered_everywhere,
    the_root_alone_gathers,
    a_broadcast_brings_rows_and_schema,
    a_scatter_deals_tables_or_equal_shares,
    everyone_sends_a_table_to_everyone,
    chunked_and_arrow_tables_are_taken,
    results_outlive_the_call_and_can_be_sent_on,
    wrong_calls_are_refused,
)
