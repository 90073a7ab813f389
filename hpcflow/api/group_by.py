"""group_by(...).agg(...): lowered to a hash shuffle on the keys and one group-by for each partition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from hpcflow.api import building
from hpcflow.api.extras import require_extra
from hpcflow.api.schemas import polars_errors, row_keys, schema_of
from hpcflow.arguments import Count, checked
from hpcflow.errors import SchemaError
from hpcflow.expressions import check_right_when_whole
from hpcflow.ir.operators import group_by as operators
from hpcflow.ir.operators.map_batches import Format
from hpcflow.ir.properties import EdgeProperties, Pattern

if TYPE_CHECKING:
    from hpcflow.api.dataset import Dataset


Interpolation = Literal["nearest", "higher", "lower", "midpoint", "linear", "equiprobable"]


@checked
class GroupBy:
    """What `Dataset.group_by` returns. edge: properties of its shuffle that are no longer the compiler's to choose."""

    def __init__(self, dataset: Dataset, by: list[pl.Expr], maintain_order: bool, edge: Mapping[str, Any] | None = None) -> None:
        if not by:
            raise SchemaError("group_by needs at least one key; use select for aggregates over all rows")
        self._dataset = dataset
        self._by = building.row_wise(dataset, by, "group_by")
        names = [k.meta.output_name() for k in self._by]
        if twice := [name for name in names if names.count(name) > 1]:
            raise SchemaError(f"group_by: two keys are named {twice[0]!r}; give one another name with .alias()")
        self._maintain_order = maintain_order
        self._edge_choice = dict(edge or {})
        self._in_tasks = self._edge_choice.get("pattern") is Pattern.ONE_TO_ONE
        self._having: tuple[pl.Expr, ...] = ()

    def having(self, *predicates: Any) -> GroupBy:
        """Only groups for which all predicates are true; calls add up. See `polars.LazyGroupBy.having`."""
        chosen = GroupBy(self._dataset, self._by, self._maintain_order, self._edge_choice)
        chosen._having = (*self._having, *building.parse(predicates, {}))
        return chosen

    def agg(self, *aggs: Any, **named_aggs: Any) -> Dataset:
        """One row a group. See `polars.LazyGroupBy.agg`."""
        if self._having:
            wanted = building.fresh_name("having")
            whole = GroupBy(self._dataset, self._by, self._maintain_order, self._edge_choice)
            return whole.agg(*aggs, pl.all_horizontal(self._having).alias(wanted), **named_aggs).filter(wanted).drop(wanted)
        parsed = building.parse(aggs, named_aggs)
        prepared, keys, back = self._prepare()
        schema = self._dataset.schema
        names = [k.meta.output_name() for k in self._by]
        with polars_errors(schema):
            expressions = check_right_when_whole(parsed, schema, keys=names)
        taken = {e.meta.output_name() for e in expressions}
        if plain := [k for k in names if k in taken]:
            raise SchemaError(f"group_by: {plain[0]!r} is a key and the name of an aggregation; give the aggregation another name with .alias()")
        edge = EdgeProperties(pattern=Pattern.HASH_SHUFFLE, keys=row_keys(keys, prepared.schema))
        if self._edge_choice:
            edge = edge.with_user_choice(**self._edge_choice)
        if not self._maintain_order:
            return _named(prepared._then(operators.GroupBy(tuple(keys), tuple(expressions), in_tasks=self._in_tasks), edge), back)
        origin = building.fresh_name("origin")
        marked = building.with_origin(prepared, origin)
        grouped = marked._then(operators.GroupBy(tuple(keys), (*expressions, pl.col(origin).min())), edge)
        return _named(building.back_to_order(grouped, [origin]), back)

    def _prepare(self) -> tuple[Dataset, list[str], dict[str, str]]:
        """The rows of the groups that `having` leaves, with every key as a plain column, the names of these, and how to rename them in the end."""
        rows = self._dataset
        if self._having:
            rows = rows.filter(pl.all_horizontal(self._having).over(self._by))
        if all(k.meta.is_column() for k in self._by) and len({k.meta.output_name() for k in self._by}) == len(self._by):
            return rows, [k.meta.output_name() for k in self._by], {}
        back = {building.fresh_name("key"): k.meta.output_name() for k in self._by}
        with polars_errors(rows.schema):
            prepared = rows.with_columns(k.alias(name) for k, name in zip(self._by, back, strict=True))
        return prepared, list(back), back

    def len(self, name: str = "len") -> Dataset:
        """Rows of each group."""
        return self.agg(pl.len().alias(name))

    def all(self) -> Dataset:
        """The values of each group as lists."""
        return self._each(lambda c: c)

    def _each(self, function: Callable[[pl.Expr], pl.Expr]) -> Dataset:
        keys = {k.meta.output_name() for k in self._by}
        return self.agg([function(pl.col(name)) for name in self._dataset.columns if name not in keys])

    def sum(self) -> Dataset:
        """Sums of all other columns."""
        return self._each(lambda c: c.sum())

    def mean(self) -> Dataset:
        """Means of all other columns."""
        return self._each(lambda c: c.mean())

    def min(self) -> Dataset:
        """Minima of all other columns."""
        return self._each(lambda c: c.min())

    def max(self) -> Dataset:
        """Maxima of all other columns."""
        return self._each(lambda c: c.max())

    def median(self) -> Dataset:
        """Medians of all other columns."""
        return self._each(lambda c: c.median())

    def n_unique(self) -> Dataset:
        """Distinct values of all other columns."""
        return self._each(lambda c: c.n_unique())

    def quantile(self, quantile: float | pl.Expr, interpolation: Interpolation = "nearest") -> Dataset:
        """Quantiles of all other columns."""
        at = quantile if isinstance(quantile, pl.Expr) else building.literal(quantile)
        return self._each(lambda c: c.quantile(at, interpolation))

    def first(self) -> Dataset:
        """First values of all other columns."""
        return self._each(lambda c: c.first())

    def last(self) -> Dataset:
        """Last values of all other columns."""
        return self._each(lambda c: c.last())

    def head(self, n: Count = 5) -> Dataset:
        """The first `n` rows of each group."""
        return self._rows(lambda df, keys: df.group_by(keys, maintain_order=True).head(n))

    def tail(self, n: Count = 5) -> Dataset:
        """The last `n` rows of each group."""
        return self._rows(lambda df, keys: df.group_by(keys, maintain_order=True).tail(n))

    def map_groups(self, function: Callable[[Any], Any], schema: Any, format: Format = "polars") -> Dataset:
        """`function(group) -> table` for each group."""
        from hpcflow.ir.operators.map_batches import from_format, to_format

        if format == "pandas":
            require_extra("pandas", 'map_groups with format="pandas"')
        columns, result = self._dataset.columns, schema_of(schema, "map_groups")

        def call(df: pl.DataFrame, keys: list[str], place: str | None) -> pl.DataFrame:
            tables = []
            for group in df.partition_by(keys, maintain_order=True):
                table = from_format(function(to_format(group.select(columns), format)), "map_groups", result)
                tables.append(table if place is None else table.with_columns(pl.lit(group[place][0], group.schema[place]).alias(place)))
            return pl.concat(tables)

        return self._in_place(call, lambda prepared, keys: result)[0]

    def _rows(self, function: Callable[[pl.DataFrame, list[str]], pl.DataFrame]) -> Dataset:
        def schema(prepared: pl.Schema, keys: list[str]) -> pl.Schema:
            return pl.Schema({**{k: prepared[k] for k in keys}, **{n: t for n, t in prepared.items() if n not in keys}})

        return _named(*self._in_place(lambda df, keys, place: function(df, keys), schema, deterministic=True))

    def _in_place(
        self,
        function: Callable[[pl.DataFrame, list[str], str | None], pl.DataFrame],
        schema: Callable[[pl.Schema, list[str]], pl.Schema],
        deterministic: bool = False,
    ) -> tuple[Dataset, dict[str, str]]:
        """`function(rows, keys, place)` of all rows of some groups, and how to rename the keys.

        With maintain_order column `place`, which the function is to keep, is that of the first row of each group: groups are sorted by it in the end.
        """
        prepared, keys, back = self._prepare()
        result = schema(prepared.schema, keys)
        if not self._maintain_order:
            rows = prepared.repartition(by=keys).map_batches(lambda df: function(df, keys, None), schema=result, deterministic=deterministic)
            return rows, back
        place = building.fresh_name("origin")
        marked = building.with_origin(prepared, place)

        def placed(df: pl.DataFrame) -> pl.DataFrame:
            return function(df.with_columns(pl.col(place).min().over(keys)), keys, place)

        ordered = pl.Schema({**result, place: marked.schema[place]})
        rows = marked.repartition(by=keys).map_batches(placed, schema=ordered, deterministic=deterministic)
        return rows.sort(place).drop(place), back


def _named(dataset: Dataset, back: dict[str, str]) -> Dataset:
    """Keys under the names that the user knows; a column that a key is named like gives way to it."""
    if not back:
        return dataset
    kept = [name for name in dataset.columns if name in back or name not in back.values()]
    return dataset.select(pl.col(name).alias(back.get(name, name)) for name in kept)
