"""Dataflow operators by hand: collective calls on the tables of all ranks, through the partitioners and the exchange of the compiled engine.

Every rank passes its share of a table and gets the rows that are its own afterwards. Invariant: the ranks' results one after another, in rank order,
are Polars' result on the ranks' inputs one after another (up to the order of rows where Polars leaves it open: group-by, join); rows of one
partition are ordered by (source rank, row). Each call is made by all ranks, with tables of one schema.

    mine = keyed_reduce(group, words, "word", pl.len())        # each word on exactly one rank
    share = sort(group, df, "key")                             # rank 0 has the smallest keys
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from hpcflow.bsp.flow import Flow, PartitionFunction, concat, each_partition
from hpcflow.bsp.group import Group
from hpcflow.errors import ConfigError, SchemaError
from hpcflow.expressions import row_wise_keys
from hpcflow.native.tables import ArrowStream, as_frame
from hpcflow.shuffle.key_tables import sort_key_table
from hpcflow.shuffle.partitioners import (
    TASK_POSITION_BITS,
    HashPartitioner,
    Partitioner,
    RangePartitioner,
    SinglePartitioner,
    UserPartitioner,
    choose_splitters,
    sample_keys,
)
from hpcflow.shuffle.user_ids import checked_ids

Table = pl.DataFrame | ArrowStream
Keys = str | pl.Expr | Sequence[str | pl.Expr]

_CHUNK_ROWS = 1 << 20
_SAMPLES = 2048  # keys a rank and partition, as the compiled engine takes a task


def open_flow(group: Group, schema: Any, by: Any = None, partitions: int | None = None, **options: Any) -> Flow:
    """An edge to insert into by hand, see `Flow`. `by` as in `partition`; None: `insert` gets the ids."""
    schema = pl.Schema(schema)
    count = group.size if partitions is None else partitions
    if count < 1:
        raise ConfigError(f"open_flow: partitions={count}: give at least 1")
    return Flow(group, schema, count if by is None else partitioner_of(by, schema, count, "open_flow"), **({"what": "open_flow"} | options))


def partition(
    group: Group,
    df: Table,
    by: Any,
    partitions: int | None = None,
    *,
    on_partition: PartitionFunction | None = None,
    on_arrival: PartitionFunction | None = None,
) -> pl.DataFrame:
    """Rows to the owners of their partitions.

    Args:
        by: column names or row-wise expressions (equal values meet in a partition); a partitioner of `hpcflow.shuffle.partitioners`; a
            function of the table that gives one partition a row; or the ids themselves, integer[rows].
        partitions: how many; default one a rank. Rank r owns a run of neighbouring ones.
        on_partition: `function(partition, rows)`, called here for each owned partition once all is there; the result has what it returns.
        on_arrival: `function(partition, rows)` for some rows of a partition at a time, as they arrive, while this and other ranks still send.

    Returns:
        the rows of the owned partitions, one partition after another; with a function, what it returned.
    """
    df = as_frame(df)
    count = group.size if partitions is None else partitions
    if on_partition is not None and on_arrival is not None:
        raise ConfigError("partition: give on_partition or on_arrival, not both")
    ids = checked_ids(by, df.height, count, "partition") if isinstance(by, np.ndarray | pl.Series) else None
    with Flow(group, df.schema, count if ids is not None else partitioner_of(by, df.schema, count, "partition"), what="partition") as flow:
        if on_arrival is None:
            flow.insert(df, ids)
            return each_partition(flow, _same, df.schema, on_partition)
        return _as_it_arrives(flow, df, ids, on_arrival)


def keyed_partition(
    group: Group, df: Table, keys: Keys, partitions: int | None = None, *, on_partition: PartitionFunction | None = None
) -> pl.DataFrame:
    """Rows of equal keys to one rank. Arguments as of `partition`."""
    df = as_frame(df)
    by = row_wise_keys(key_list(keys), df.schema, "keyed_partition")
    return partition(group, df, by, partitions, on_partition=on_partition)


def direct(group: Group, df: Table, to: int | None) -> pl.DataFrame:
    """All rows of this rank to rank `to` (None: nowhere); returns what the others sent here, by source rank.

    A rank that sends nothing passes an empty table of the same schema, or its own table and None.
    """
    df = as_frame(df)
    if to is not None and not 0 <= to < group.size:
        raise ConfigError(f"direct: to={to}: there are the ranks 0 to {group.size - 1}")
    with Flow(group, df.schema, group.size, what="direct") as flow:
        if to is not None:
            flow.insert(df, np.full(df.height, to, np.uint32))
        return flow.collect()


def broadcast(group: Group, df: Table, root: int | None = None) -> pl.DataFrame:
    """The rows of all ranks, by source rank, on every rank; with `root`, that rank's rows alone."""
    df = as_frame(df)
    if root is not None and not 0 <= root < group.size:
        raise ConfigError(f"broadcast: root={root}: there are the ranks 0 to {group.size - 1}")
    sources = None if root is None else (root,)
    with Flow(group, df.schema, group.size, sources=sources, broadcast=True, what="broadcast") as flow:
        if root is None or root == group.rank:
            flow.insert(df)
        return flow.collect()


def union(group: Group, *tables: Table, maintain_order: bool = False) -> pl.DataFrame:
    """The rows of several tables of one schema.

    Rows stay on their rank: its rows of the first table, then of the second, and so on; nothing travels. With `maintain_order` the ranks' results
    one after another are `pl.concat` of the whole tables, cut into equal shares.
    """
    frames = [as_frame(table) for table in tables]
    if not frames:
        raise ConfigError("union: give at least one table")
    for frame in frames[1:]:
        if frame.schema != frames[0].schema:
            raise SchemaError(f"union: a table of schema {dict(frame.schema)} and one of {dict(frames[0].schema)}; cast or rename columns first")
    return _in_equal_shares(group, frames, "union") if maintain_order else concat(frames, frames[0].schema)


def rebalance(group: Group, df: Table) -> pl.DataFrame:
    """Equal shares, to within one row, of the ranks' rows in their order."""
    return _in_equal_shares(group, [as_frame(df)], "rebalance")


def sort(
    group: Group,
    df: Table,
    by: Keys,
    *,
    descending: bool | Sequence[bool] = False,
    nulls_last: bool | Sequence[bool] = False,
    partitions: int | None = None,
    on_partition: PartitionFunction | None = None,
) -> pl.DataFrame:
    """Globally ordered: the ranks' results one after another are `df.sort(by, maintain_order=True)` of all rows.

    Keys are column names or row-wise expressions; ties keep the order (source rank, row) and may span neighbouring ranks, so that one hot key does
    not land on one rank. Source of the algorithm: sample sort (Frazer and McKellar, 1970).
    """
    df = as_frame(df)
    keys = row_wise_keys(key_list(by), df.schema, "sort")
    if not keys:
        raise ConfigError("sort: give at least one key")
    down, last = _flags(descending, len(keys), "descending"), _flags(nulls_last, len(keys), "nulls_last")
    count = group.size if partitions is None else partitions
    with Flow(group, df.schema, _range_partitioner(group, df, keys, down, last, count), what="sort") as flow:
        flow.insert(df)

        def ordered(rows: pl.DataFrame) -> pl.DataFrame:
            return rows.rechunk().sort(keys, descending=down, nulls_last=last, maintain_order=True)

        return each_partition(flow, ordered, df.schema, on_partition)


def share(group: Group, df: pl.DataFrame, what: str) -> list[pl.DataFrame]:
    """Small tables of all ranks, by rank, on every rank."""
    marked = df.with_columns(pl.lit(group.rank, dtype=pl.Int64).alias("__hf_rank"))
    with Flow(group, marked.schema, group.size, broadcast=True, what=what) as flow:
        flow.insert(marked)
        rows = flow.collect()
    return [rows.filter(pl.col("__hf_rank") == rank).drop("__hf_rank") for rank in range(group.size)]


def partitioner_of(by: Any, schema: pl.Schema, partitions: int, what: str) -> Partitioner:
    """What a user names as `by`: columns, expressions, a function or a partitioner itself."""
    if hasattr(by, "partition_ids"):
        return by  # type: ignore[no-any-return]
    if callable(by) and not isinstance(by, pl.Expr):
        return UserPartitioner(by, partitions)
    if isinstance(by, str | pl.Expr) or (isinstance(by, Sequence) and by and all(isinstance(one, str | pl.Expr) for one in by)):
        return HashPartitioner(row_wise_keys(key_list(by), schema, what), partitions)
    raise ConfigError(
        f"{what}: by={by!r}: give column names, expressions, a partitioner, a function of the table, or integers as a NumPy array or Series"
    )


def key_list(keys: Keys | Iterable[str | pl.Expr]) -> list[str | pl.Expr]:
    """One key or several."""
    return [keys] if isinstance(keys, str | pl.Expr) else list(keys)


def _same(rows: pl.DataFrame) -> pl.DataFrame:
    return rows


def _as_it_arrives(flow: Flow, df: pl.DataFrame, ids: Any, on_arrival: PartitionFunction) -> pl.DataFrame:
    """Insert on a helper thread, and hand out on this one what arrives meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    def send() -> None:
        for start in range(0, df.height, _CHUNK_ROWS):
            flow.insert(df.slice(start, _CHUNK_ROWS), None if ids is None else ids[start : start + _CHUNK_ROWS])
        flow.finish()

    results = []
    with ThreadPoolExecutor(1, "hpcflow-insert") as sender:
        sent = sender.submit(send)
        sent.add_done_callback(lambda done: flow.cancel(done.exception()) if done.exception() else None)  # else the loop below would wait for ever
        try:
            for number, rows in flow.arriving():
                result = on_arrival(number, rows)
                if result is not None:
                    results.append(result)
        finally:
            if not flow.complete:
                flow.close()
    sent.result()
    return concat(results, df.schema)


def _in_equal_shares(group: Group, frames: Sequence[pl.DataFrame], what: str) -> pl.DataFrame:
    """Rows in the order (table, source rank, row), cut evenly over the ranks."""
    counts = share(group, pl.DataFrame({"rows": [frame.height for frame in frames]}, schema={"rows": pl.Int64}), what)
    rows = np.array([one["rows"].to_numpy() for one in counts])  # [rank, table]
    before = np.concatenate([[0], np.cumsum(rows.T.reshape(-1))])  # rows in front of each (table, rank)
    total = int(before[-1])
    with Flow(group, frames[0].schema, group.size, what=what) as flow:
        for index, frame in enumerate(frames):
            positions = before[index * group.size + group.rank] + np.arange(frame.height, dtype=np.int64)
            flow.insert(frame, ((positions + 1) * group.size - 1) // max(1, total), input=index)  # as ctx.share cuts
        return flow.collect()


def _range_partitioner(
    group: Group, df: pl.DataFrame, keys: Sequence[pl.Expr], down: Sequence[bool], last: Sequence[bool], partitions: int
) -> Partitioner:
    """Splitters from every rank's sample; the same on all ranks, since all of them choose from the same samples."""
    if partitions == 1:
        return SinglePartitioner()
    table = sort_key_table(df, keys)
    sampled, positions, weight = sample_keys(table, table.columns, _SAMPLES, group.rank << TASK_POSITION_BITS, group.rank)
    mine = sampled.with_columns(pl.Series("__hf_position", positions, dtype=pl.UInt64), pl.lit(weight, dtype=pl.Float64).alias("__hf_weight"))
    samples = [
        (one.drop("__hf_position", "__hf_weight"), one["__hf_position"].to_numpy(), float(one["__hf_weight"][0]) if one.height else 1.0)
        for one in share(group, mine, "sort")
    ]
    splitters, splitter_positions = choose_splitters(samples, partitions, down, last)
    if not splitters.height:
        return SinglePartitioner()
    return RangePartitioner(list(keys), splitters, splitter_positions, descending=down, nulls_last=last)


def _flags(value: bool | Sequence[bool], count: int, name: str) -> list[bool]:
    """One bool for all keys, or one each."""
    values = [value] * count if isinstance(value, bool) else [bool(one) for one in value]
    if len(values) != count:
        raise ConfigError(f"sort: {name} has {len(values)} values for {count} keys")
    return values
