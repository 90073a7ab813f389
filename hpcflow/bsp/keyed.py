"""Keyed operators by hand: reduce, gather and join on the tables of all ranks. Each key's rows meet on one rank.

Invariant: as in `hpcflow.bsp.operators`. Where all aggregations decompose (`hpcflow.expressions.decompose`), `keyed_reduce` sends one row of partial
aggregates for each key of an insert, else the rows with the columns that are needed.

    counts = keyed_reduce(group, words, "word", pl.len().alias("n"))
    with open_keyed_reduce(group, words.schema, "word", pl.len()) as reducer:
        for chunk in chunks:
            reducer.insert(chunk)
        mine = reducer.result()
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import polars as pl

from hpcflow.bsp.flow import Flow, PartitionFunction, each_partition
from hpcflow.bsp.group import Group
from hpcflow.bsp.operators import Keys, Table, broadcast, key_list
from hpcflow.errors import ConfigError, SchemaError, near_names
from hpcflow.expressions import check_right_when_whole, common_key_types, decompose_all, row_wise_keys
from hpcflow.native.tables import as_frame
from hpcflow.shuffle.exchange import ExchangeStats
from hpcflow.shuffle.partitioners import HashPartitioner

Aggregations = pl.Expr | str | Iterable[pl.Expr | str]
HOWS = ("inner", "left", "right", "full", "semi", "anti", "cross")


def _apart(count: int, schema: pl.Schema) -> list[str]:
    """Names for keys, apart from the columns that aggregations read; the same on all ranks."""
    stem = "__hf_key_"
    while any(name.startswith(stem) for name in schema):
        stem = f"_{stem}"
    return [f"{stem}{index}" for index in range(count)]


class KeyedReduce:
    """A group-by whose rows come chunk by chunk. Use `open_keyed_reduce`; collective."""

    def __init__(self, group: Group, schema: pl.Schema, keys: Keys, aggs: Aggregations, partitions: int | None, what: str) -> None:
        self._keys = row_wise_keys(key_list(keys), schema, what)
        names = [key.meta.output_name() for key in self._keys]
        if not names:
            raise ConfigError(f"{what}: give at least one key; ctx.allreduce(df, aggregations) aggregates over all rows")
        if twice := [name for name in names if names.count(name) > 1]:
            raise SchemaError(f"{what}: two keys are named {twice[0]!r}; give one another name with .alias()")
        given = [aggs] if isinstance(aggs, pl.Expr | str) else list(aggs)
        self._aggs = check_right_when_whole(given, schema, keys=names)
        if taken := [name for name in names if name in {agg.meta.output_name() for agg in self._aggs}]:
            raise SchemaError(f"{what}: {taken[0]!r} is a key and the name of an aggregation; give the aggregation another name with .alias()")
        self._inner = _apart(len(names), schema)
        parts = decompose_all(self._aggs, schema)
        self._parts = parts if parts.complete else None
        self._input_schema = schema
        before = self._before_shuffle(pl.DataFrame(schema=schema)).schema
        self.schema = self._after_shuffle(pl.DataFrame(schema=before)).schema
        self._flow = Flow(group, before, HashPartitioner(self._inner, group.size if partitions is None else partitions), what=what)

    def insert(self, table: Table) -> None:
        """Rows of this rank; what can be aggregated before they travel is."""
        df = as_frame(table)
        if df.schema != self._input_schema:
            raise SchemaError(f"keyed_reduce: a table of schema {dict(df.schema)} is inserted, it was opened for {dict(self._input_schema)}")
        if df.height:
            self._flow.insert(self._before_shuffle(df))

    def finish(self) -> None:
        """This rank inserts no more."""
        self._flow.finish()

    def result(self, on_partition: PartitionFunction | None = None) -> pl.DataFrame:
        """The groups that this rank owns: the keys, then the aggregations. Waits for all ranks."""
        return each_partition(self._flow, self._after_shuffle, self.schema, on_partition)

    @property
    def stats(self) -> ExchangeStats:
        """What this rank has moved so far."""
        return self._flow.stats

    def close(self) -> None:
        """Free what is left."""
        self._flow.close()

    def _before_shuffle(self, df: pl.DataFrame) -> pl.DataFrame:
        keys = [key.alias(name) for key, name in zip(self._keys, self._inner, strict=True)]
        if self._parts is not None:
            return df.lazy().with_columns(keys).group_by(self._inner).agg(self._parts.partial).collect()
        needed = dict.fromkeys(name for agg in self._aggs for name in agg.meta.root_names())
        return df.with_columns(keys).select(*self._inner, *needed)

    def _after_shuffle(self, rows: pl.DataFrame) -> pl.DataFrame:
        named = [pl.col(inner).alias(key.meta.output_name()) for inner, key in zip(self._inner, self._keys, strict=True)]
        aggregates = self._aggs if self._parts is None else self._parts.merge
        grouped = rows.lazy().group_by(self._inner).agg(aggregates)
        finals: Sequence[pl.Expr] = [pl.col(agg.meta.output_name()) for agg in self._aggs]
        if self._parts is not None:
            finals = [one for one in self._parts.final if one is not None]
        return grouped.select(*named, *finals).collect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_keyed_reduce(group: Group, schema: Any, keys: Keys, aggs: Aggregations, partitions: int | None = None) -> KeyedReduce:
    """`keyed_reduce` whose rows come chunk by chunk: insert, finish, result."""
    return KeyedReduce(group, pl.Schema(schema), keys, aggs, partitions, "keyed_reduce")


def keyed_reduce(
    group: Group, df: Table, keys: Keys, aggs: Aggregations, partitions: int | None = None, *, on_partition: PartitionFunction | None = None
) -> pl.DataFrame:
    """`group_by(keys).agg(aggs)` over the rows of all ranks; each group on exactly one rank, in no particular order.

    Args:
        keys: column names or row-wise expressions.
        aggs: anything `group_by().agg()` takes that is right on whole groups.
        partitions: how many the keys are cut into; default one a rank. More of them need less memory at a time.
        on_partition: `function(partition, groups)`, see `partition`.

    Raises:
        UnsupportedExpressionError: an aggregation whose result depends on more than the group's rows, or a key that is not row-wise.
    """
    df = as_frame(df)
    with open_keyed_reduce(group, df.schema, keys, aggs, partitions) as reducer:
        reducer.insert(df)
        return reducer.result(on_partition)


def keyed_gather(
    group: Group, df: Table, keys: Keys, partitions: int | None = None, *, on_partition: PartitionFunction | None = None
) -> pl.DataFrame:
    """One row a key with the values of all other columns as lists, in the order (source rank, row): `group_by(keys).all()`."""
    df = as_frame(df)
    with KeyedReduce(group, df.schema, keys, [pl.all()], partitions, "keyed_gather") as gatherer:
        gatherer.insert(df)
        return gatherer.result(on_partition)


def join(
    group: Group,
    left: Table,
    right: Table,
    on: Keys | None = None,
    how: str = "inner",
    *,
    left_on: Keys | None = None,
    right_on: Keys | None = None,
    suffix: str = "_right",
    nulls_equal: bool = False,
    coalesce: bool | None = None,
    validate: str = "m:m",
    broadcast_right: bool = False,
    partitions: int | None = None,
    on_partition: PartitionFunction | None = None,
) -> pl.DataFrame:
    """Polars' join of the rows of all ranks, with its null, type and suffix rules; rows in no particular order.

    Args:
        how: inner, left, right, full, semi, anti or cross.
        broadcast_right: send the right table's rows to every rank and leave the left ones where they are (in order): for a small right table, and
            inner, left, semi and anti joins. A cross join always does so.
        on_partition: `function(partition, joined)`, see `partition`.
    """
    left, right = as_frame(left), as_frame(right)
    if how not in HOWS:
        raise ConfigError(f"join: unknown how={how!r}{near_names(how, HOWS)}; there are {', '.join(HOWS)}")
    if how == "cross":
        if on is not None or left_on is not None or right_on is not None:
            raise ConfigError("a cross join has no keys; leave on, left_on and right_on out")
        return left.join(broadcast(group, right), how="cross", suffix=suffix)
    lefts, rights = _join_keys(left, right, on, left_on, right_on)

    def joined(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
        return one.join(
            other,
            left_on=lefts,
            right_on=rights,
            how=how,  # type: ignore[arg-type]
            suffix=suffix,
            nulls_equal=nulls_equal,
            coalesce=coalesce,
            validate=validate,  # type: ignore[arg-type]
            maintain_order="left" if broadcast_right else None,
        )

    schema = joined(left.clear(), right.clear()).schema  # what Polars refuses is refused before rows travel
    if broadcast_right:
        if how not in ("inner", "left", "semi", "anti"):
            raise ConfigError(f"join: a {how} join needs every right row once, so the right table cannot be broadcast: leave broadcast_right out")
        return joined(left, broadcast(group, right))
    hashed = common_key_types(left.schema, right.schema, lefts, rights)
    count = group.size if partitions is None else partitions
    with (
        Flow(group, right.schema, HashPartitioner(hashed[1], count), what="join (right)") as build,
        Flow(group, left.schema, HashPartitioner(hashed[0], count), what="join (left)") as probe,
    ):
        build.insert(right)
        build.finish()
        probe.insert(left)
        probe.finish()
        built = iter(build)
        return each_partition(probe, lambda rows: joined(rows.rechunk(), next(built)[1].rechunk()), schema, on_partition)


def _join_keys(left: pl.DataFrame, right: pl.DataFrame, on: Any, left_on: Any, right_on: Any) -> tuple[list[pl.Expr], list[pl.Expr]]:
    if on is not None and (left_on is not None or right_on is not None):
        raise ConfigError("join: give either on, or left_on and right_on")
    given = (on, on) if on is not None else (left_on, right_on)
    if given[0] is None or given[1] is None:
        raise ConfigError("join: give on, or left_on and right_on")
    lefts, rights = row_wise_keys(key_list(given[0]), left.schema, "join"), row_wise_keys(key_list(given[1]), right.schema, "join")
    if len(lefts) != len(rights):
        raise SchemaError(f"join: {len(lefts)} keys on the left and {len(rights)} on the right")
    return lefts, rights
