"""Dataset: a lazy table with the methods of `polars.LazyFrame`.

Invariant: a method builds vertices and edges and checks the program against the schema at once (so that an error points at the line that made it);
nothing runs before an action. Rows have an order, (source split, row), and every method keeps or changes it as Polars' does.

    late = flights.filter(pl.col("arr_delay") > 0).group_by("carrier").agg(pl.len())
    late.collect()
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from hpcflow.api import building
from hpcflow.api.absent import absent
from hpcflow.api.actions import GATHER, make_action
from hpcflow.api.bsp import bsp
from hpcflow.api.building import Input
from hpcflow.api.extras import require_extra
from hpcflow.api.group_by import GroupBy
from hpcflow.api.joins import join
from hpcflow.api.polars_options import refuse_unknown
from hpcflow.api.schemas import check_columns, check_names, check_types, expand_columns, known_columns, listed, polars_errors, row_keys, schema_of
from hpcflow.api.shorthands import Shorthands
from hpcflow.arguments import AtLeastOne, Count, check_value, checked
from hpcflow.errors import ArgumentValueError, ConfigError, SchemaError, UnpicklableError
from hpcflow.ir.dag import Vertex
from hpcflow.ir.operators.base import Operator
from hpcflow.ir.operators.concat import Cache, Collect, Repartition
from hpcflow.ir.operators.map_batches import FlatMap, Format, MapBatches, from_format, to_format
from hpcflow.ir.operators.positions import WithRowIndex, WithSampleHash
from hpcflow.ir.operators.reshape import Cast, Explode, FillNull, Rename
from hpcflow.ir.operators.select import Select
from hpcflow.ir.operators.sort import Slice, SlicePositions, Sort, TopK
from hpcflow.ir.operators.unique import Unique
from hpcflow.ir.properties import EdgeProperties, Pattern, SortKey
from hpcflow.ir.shared_values import collecting

if TYPE_CHECKING:
    import pyarrow as pa

    from hpcflow.runtime.futures import Future
    from hpcflow.session import Session


Strategy = Literal["forward", "backward", "min", "max", "mean", "zero", "one"]


_MOST_ROWS = 2**32 - 2
"""Of one frame of Polars, which counts its rows in 32 bits."""


@checked
class Dataset(Shorthands):
    """A lazy table on the workers of a session. Made by `Session.read_*`, `Session.from_*` and by the methods of other datasets."""

    def __init__(self, session: Session, vertex: Vertex, inputs: tuple[Input, ...] = ()) -> None:
        check_names(vertex.schema)
        self._session = session
        self._vertex = vertex
        self._inputs = inputs

    # -- what it is ---------------------------------------------------------------------------------------------------------------------------------

    @property
    def schema(self) -> pl.Schema:
        """Column names and data types."""
        return self._vertex.schema

    def collect_schema(self) -> pl.Schema:
        """Column names and data types; costs nothing."""
        return self._vertex.schema

    @property
    def columns(self) -> list[str]:
        """Column names."""
        return self.schema.names()

    @property
    def dtypes(self) -> list[pl.DataType]:
        """Data types of the columns."""
        return self.schema.dtypes()

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.schema)

    def __repr__(self) -> str:
        columns = ", ".join(f"{name}: {dtype}" for name, dtype in self.schema.items())
        return f"<hpcflow.Dataset {self._vertex.operator.name} [{columns}]; call .collect() for its rows or .explain() for its plan>"

    def _repr_html_(self) -> str:
        """For notebooks: the schema; nothing runs."""
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(str(dtype))}</td></tr>" for name, dtype in self.schema.items())
        operator = escape(self._vertex.operator.name)
        return (
            f"<div><p>hpcflow.Dataset <b>{operator}</b>, lazy: <code>.collect()</code> gives its rows, <code>.explain()</code> its plan</p>"
            f"<table><thead><tr><th>column</th><th>data type</th></tr></thead><tbody>{rows}</tbody></table></div>"
        )

    def __getstate__(self) -> object:
        raise UnpicklableError(
            "a Dataset is a plan of the driver and has no rows on a worker. Join it, give it to bsp(inputs=[...]), or collect() it first and let the "
            "function read the rows, or hf.broadcast(rows).value"
        )

    if not TYPE_CHECKING:  # a type checker knows what is there

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            raise absent(name, [one for one in dir(type(self)) if not one.startswith("_")])

    def __bool__(self) -> bool:
        raise TypeError("a Dataset is lazy and has no truth value; collect it first")

    def _then(self, operator: Operator, edge: EdgeProperties | None = None, *others: Input) -> Dataset:
        """This dataset followed by `operator`."""
        inputs = (Input(self, edge or EdgeProperties()), *others)
        with polars_errors(*(i.dataset.schema for i in inputs)):
            schema = operator.output_schema(tuple(i.dataset.schema for i in inputs))
            check_types(operator, self.schema)
        return Dataset(self._session, Vertex(operator, schema), inputs)

    # -- row-wise -----------------------------------------------------------------------------------------------------------------------------------

    def filter(self, *predicates: Any, **constraints: Any) -> Dataset:
        """Rows for which all predicates are true. See `polars.LazyFrame.filter`."""
        exprs = building.parse(predicates, {})
        exprs += [pl.col(name).eq(value) for name, value in constraints.items()]
        return building.filter(self, exprs) if exprs else self

    def select(self, *exprs: Any, **named_exprs: Any) -> Dataset:
        """Columns computed from expressions. See `polars.LazyFrame.select`."""
        return building.select(self, building.parse(exprs, named_exprs))

    def with_columns(self, *exprs: Any, **named_exprs: Any) -> Dataset:
        """Add or replace columns. See `polars.LazyFrame.with_columns`."""
        parsed = building.parse(exprs, named_exprs)
        return building.with_columns(self, parsed) if parsed else self

    def drop(self, *columns: Any, strict: bool = True) -> Dataset:
        """All columns but these."""
        with polars_errors(self.schema):
            kept = pl.LazyFrame(schema=self.schema).drop(*columns, strict=strict).collect_schema().names()
        return self._then(Select(tuple(pl.col(name) for name in kept)))

    def rename(self, mapping: Mapping[str, str] | Callable[[str], str], *, strict: bool = True) -> Dataset:
        """Rename columns."""
        pairs = {name: mapping(name) for name in self.columns} if callable(mapping) else dict(mapping)
        for old, new in pairs.items():
            check_value("rename", "a name in mapping", old, str)
            check_value("rename", f"the new name of {old!r}", new, str)
        if strict:
            check_columns(pairs, self.schema, "rename")
        return self._then(Rename({old: new for old, new in pairs.items() if old in self.schema}))

    def cast(self, dtypes: Any, *, strict: bool = True) -> Dataset:
        """Change data types."""
        return self._then(Cast(dtypes, strict))

    def fill_null(
        self, value: Any = None, strategy: Strategy | None = None, limit: Count | None = None, *, matches_supertype: bool = True
    ) -> Dataset:
        """Replace nulls by a value, in columns whose type it fits. Strategies that look at neighbouring rows are refused."""
        if strategy in ("min", "max"):
            return self.with_columns(pl.col(n).fill_null(getattr(pl.col(n), strategy)()) for n in self.columns)
        if value is None and strategy is None:
            raise ArgumentValueError("fill_null needs a value, or a strategy: 'min', 'max', 'mean', 'zero' or 'one'")
        if value is None or isinstance(value, pl.Expr):
            return self.with_columns(pl.all().fill_null(value, strategy, limit))
        with polars_errors(self.schema):
            return self._then(FillNull(value, strategy, limit, matches_supertype))

    def fill_nan(self, value: Any) -> Dataset:
        """Replace NaN in floating point columns."""
        floats = [name for name, dtype in self.schema.items() if dtype.is_float()]
        filled = value if isinstance(value, pl.Expr) else building.literal(value)
        return self.with_columns(pl.col(floats).fill_nan(filled)) if floats else self

    def drop_nulls(self, subset: Any = None) -> Dataset:
        """Rows without nulls in the subset."""
        names = self.columns if subset is None else known_columns(subset, self.schema, "drop_nulls")
        return self.filter(pl.all_horizontal(pl.col(n).is_not_null() for n in names)) if names else self

    def explode(self, columns: Any, *more_columns: Any, empty_as_null: bool = False, keep_nulls: bool = True) -> Dataset:
        """One row for each element of list columns."""
        names = known_columns([*listed(columns), *more_columns], self.schema, "explode")
        for name in names:
            if not isinstance(self.schema[name], pl.List | pl.Array):
                raise SchemaError(f"explode: column {name!r} is {self.schema[name]}, not a list or an array")
        return self._then(Explode(tuple(names), empty_as_null, keep_nulls))

    def unnest(self, columns: Any = None, *more_columns: Any, separator: str | None = None) -> Dataset:
        """The fields of struct columns (all of them when none is named) as columns; with a separator named column, separator, field."""
        structs = [name for name, dtype in self.schema.items() if isinstance(dtype, pl.Struct)]
        names = structs if columns is None else known_columns([*listed(columns), *more_columns], self.schema, "unnest")
        if not names:
            return self
        exprs: list[pl.Expr] = []
        for name, dtype in self.schema.items():
            if name in names:
                if not isinstance(dtype, pl.Struct):
                    raise SchemaError(f"unnest: column {name!r} is {dtype}, not a struct")
                prefix = "" if separator is None else name + separator
                exprs += [pl.col(name).struct.field(f.name).alias(prefix + f.name) for f in dtype.fields]
            else:
                exprs.append(pl.col(name))
        return self.select(exprs)

    def with_row_index(self, name: str = "index", offset: Count = 0) -> Dataset:
        """Add the global row number as the first column."""
        return self._then(WithRowIndex(name, offset))

    def map_batches(
        self, function: Callable[[Any], Any], *, schema: Any = None, format: Format = "polars", deterministic: bool = False, **options: Any
    ) -> Dataset:
        """Apply `function` to the rows of each partition (never to an empty one).

        Args:
            function: takes and returns a table in `format`; it may also return any of the other formats.
            schema: columns and types of the result; when left out, `function` is called once here with an empty table.
            format: "polars" (DataFrame), "arrow" (pyarrow.Table), "pandas" (DataFrame), "numpy" (dict of arrays) or "array" (one array, see `bsp`).
            deterministic: the same input gives the same output, so that equal steps may be merged and run again.
            options: those of `polars.LazyFrame.map_batches` that tell its optimizer what the function allows; taken and not needed.
        """
        refuse_unknown("map_batches", options, pl.LazyFrame.map_batches, ("function", "schema", "format", "deterministic"))
        if format == "pandas":
            require_extra("pandas", 'map_batches with format="pandas"')
        result = schema_of(schema, "map_batches") if schema is not None else _infer_schema(function, self.schema, format)
        return self._then(MapBatches(function, result, format, deterministic))

    def flat_map(self, function: Callable[[dict[str, Any]], Iterable[dict[str, Any]]], *, schema: Any, deterministic: bool = False) -> Dataset:
        """Any number of rows (dicts) for each row (a dict); `schema` is that of the result."""
        return self._then(FlatMap(function, schema_of(schema, "flat_map"), deterministic))

    def bsp(
        self,
        function: Callable[..., Any],
        *,
        inputs: Sequence[Any] | Dataset = (),
        schema: Any = None,
        format: Format = "polars",
        arguments: Mapping[str, Any] | None = None,
        deterministic: bool = False,
    ) -> Dataset:
        """Run `function(ctx, table, *tables, **arguments)` on all workers at once; it may call MPI collectives on `ctx.comm`.

        Each worker's tables are its contiguous shares of this dataset and of `inputs`, in the datasets' order, empty ones included; of a dataset
        made by `repartition`, the partitions that it owns. A cached dataset is brought into shares once and stays so. What it returns (a table in
        any format, a dict of columns, an array, or None) is the worker's part of the result, whose rows are in worker order.

        Args:
            function: called exactly once on each worker, on a thread of its own. See `hpcflow.bsp.context.Context` for `ctx`.
            inputs: more datasets.
            schema: columns and types of the result; None: the function returns None. It is not inferred, since that would call `function`. A bare
                array has its columns in this order: array[rows] for one, array[rows, n] for n.
            format: "polars" (DataFrame), "arrow" (pyarrow.Table), "pandas" (DataFrame), "numpy" (dict of column name -> array, without a copy for
                numbers without nulls; such arrays are read-only) or "array" (array[rows] of one column as it lies, array[rows, n] of n, copied).
            arguments: keyword arguments of `function`, sent with the plan; for large values see `hf.broadcast`.
            deterministic: the same input gives the same output, so that equal steps may be merged.

        Raises:
            TaskError: the function has raised: rank, host and its traceback. Over MPI the ranks end then, since others may wait in a collective.
        """
        return bsp(self, function, inputs, schema, format, arguments, deterministic)

    def pipe(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`function(self, ...)`."""
        return function(self, *args, **kwargs)

    # -- groups, joins, order -----------------------------------------------------------------------------------------------------------------------

    def group_by(self, *by: Any, maintain_order: bool = False, **named_by: Any) -> GroupBy:
        """Start a group-by. See `polars.LazyFrame.group_by`."""
        return GroupBy(self, building.parse(by, named_by), maintain_order)

    def join(
        self,
        other: Dataset,
        on: Any = None,
        how: str = "inner",
        *,
        left_on: Any = None,
        right_on: Any = None,
        suffix: str = "_right",
        validate: Literal["m:m", "m:1", "1:m", "1:1"] = "m:m",
        nulls_equal: bool = False,
        coalesce: bool | None = None,
        maintain_order: Literal["none", "left", "right", "left_right", "right_left"] | None = None,
    ) -> Dataset:
        """Join with another dataset. See `polars.LazyFrame.join`."""
        return join(self, other, on, how, left_on, right_on, suffix, validate, nulls_equal, coalesce, maintain_order)

    def unique(self, subset: Any = None, *, keep: Literal["first", "last", "any", "none"] = "any", maintain_order: bool = False) -> Dataset:
        """Distinct rows. See `polars.LazyFrame.unique`."""
        if subset is not None and not all(e.meta.is_column() for e in expand_columns(subset, self.schema)):
            return self._unique_by_expressions(subset, keep, maintain_order)
        names = None if subset is None else tuple(known_columns(subset, self.schema, "unique"))
        keys = tuple(self.columns) if names is None else names
        if not keys:
            if names is not None:
                raise SchemaError("unique: subset names no column; leave it out to compare whole rows")
            return self.head(1)  # rows without columns are equal
        edge = EdgeProperties(pattern=Pattern.HASH_SHUFFLE, keys=row_keys(keys, self.schema))
        if not maintain_order:
            return self._then(Unique(names, keep), edge)
        origin = building.fresh_name("origin")
        marked = building.with_origin(self, origin)
        return building.back_to_order(marked._then(Unique(keys, "first" if keep == "any" else keep), edge), [origin])

    def _unique_by_expressions(self, subset: Any, keep: Literal["first", "last", "any", "none"], maintain_order: bool) -> Dataset:
        keys = building.row_wise(self, list(expand_columns(subset, self.schema)), "unique")
        names = [building.fresh_name("key") for _ in keys]
        marked = self.with_columns(key.alias(name) for key, name in zip(keys, names, strict=True))
        return marked.unique(names, keep=keep, maintain_order=maintain_order).drop(names)

    def sort(
        self,
        by: Any,
        *more_by: Any,
        descending: bool | Sequence[bool] = False,
        nulls_last: bool | Sequence[bool] = False,
        maintain_order: bool = False,
        multithreaded: bool = True,
    ) -> Dataset:
        """Global, stable order. See `polars.LazyFrame.sort`."""
        exprs = building.parse([*listed(by), *more_by], {})
        return building.sort(self, exprs, descending, nulls_last)

    def top_k(self, k: Count, *, by: Any, reverse: bool | Sequence[bool] = False) -> Dataset:
        """The `k` largest rows."""
        return self._top(k, by, reverse, True)

    def bottom_k(self, k: Count, *, by: Any, reverse: bool | Sequence[bool] = False) -> Dataset:
        """The `k` smallest rows."""
        return self._top(k, by, reverse, False)

    def _top(self, k: int, by: Any, reverse: Any, largest: bool) -> Dataset:
        exprs = building.row_wise(self, building.parse(listed(by), {}), "top_k")
        flags = building.flags(reverse, len(exprs), "reverse")
        operator = TopK(k, tuple(exprs), flags, largest)
        return self._then(replace(operator, partial=True))._then(operator, GATHER)

    def reverse(self) -> Dataset:
        """Rows in reverse order."""
        index = building.fresh_name("index")
        return building.back_to_order(self.with_row_index(index), [index], descending=True)

    def head(self, n: Count = 5) -> Dataset:
        """The first `n` rows."""
        return self._then(Slice(0, n, partial=True))._then(Slice(0, n), GATHER)

    limit = head

    def first(self) -> Dataset:
        """The first row."""
        return self.head(1)

    def tail(self, n: Count = 5) -> Dataset:
        """The last `n` rows."""
        return self._then(Slice(-n, n, partial=True))._then(Slice(-n, n), GATHER) if n else self.head(0)

    def last(self) -> Dataset:
        """The last row."""
        return self.tail(1)

    def slice(self, offset: int, length: Count | None = None) -> Dataset:
        """Rows from a global position on; a negative one counts from the end."""
        if offset >= 0 and length is not None:
            return self._then(Slice(0, offset + length, partial=True))._then(SlicePositions(offset, length))
        if offset < 0:
            return self._then(Slice(offset, -offset, partial=True))._then(SlicePositions(offset, length))
        return self._then(SlicePositions(offset, length))

    def sample(
        self, n: Count | None = None, *, fraction: float | None = None, with_replacement: bool = False, shuffle: bool = False, seed: int | None = None
    ) -> Dataset:
        """A random sample without replacement: a function of `seed` and the rows' positions, the same on any number of workers."""
        if with_replacement or shuffle:
            raise ConfigError("sample draws without replacement and keeps the order of rows; with_replacement and shuffle are not supported")
        if (n is None) == (fraction is None):
            raise ConfigError("sample wants either n (rows) or fraction (0..1)")
        column = building.fresh_name("sample")
        hashed = self._then(WithSampleHash(column, uuid.uuid4().int & (2**63 - 1) if seed is None else seed))
        if fraction is not None:
            if not 0 <= fraction <= 1:
                raise ConfigError(f"sample: fraction {fraction} is not within 0..1")
            limit = pl.lit(min(int(fraction * 2**64), 2**64 - 1), dtype=pl.UInt64)
            return hashed.filter((pl.col(column) < limit) | pl.lit(fraction == 1)).drop(column)
        origin = building.fresh_name("origin")
        chosen = building.with_origin(hashed, origin).bottom_k(min(n or 0, _MOST_ROWS), by=column)
        return building.back_to_order(chosen, [origin]).drop(column)

    # -- placement ----------------------------------------------------------------------------------------------------------------------------------

    def repartition(
        self, n: AtLeastOne | None = None, *, by: Any = None, partitioner: Callable[..., Any] | None = None, columns: Sequence[str] = ()
    ) -> Dataset:
        """Deal rows out anew.

        Args:
            n: partitions; None: partitions per worker times workers.
            by: columns or row-wise expressions; equal keys meet. Without it rows are dealt round robin.
            partitioner: `f(df) -> integer array`, one partition number below `n` a row; with `columns` a function of these columns' values
                that Numba compiles, called from the native loop (`pip install 'hpcflow-mpi[numba]'`).

        Raises:
            ConfigError: n below 1, a partitioner without n, or columns without Numba.
            ColumnNotFoundError: for an unknown column.
        """
        if partitioner is not None and by is not None:
            raise ArgumentValueError("repartition: give either by, whose equal values meet, or a partitioner")
        if columns and partitioner is None:
            raise ArgumentValueError("repartition: columns are those that a partitioner is called with; for keys write by=")
        chosen: dict[str, Any] = {} if n is None else {"partition_count": n}
        if partitioner is not None:
            if n is None:
                raise ConfigError("repartition with a partitioner needs n, the number of partitions it names")
            check_columns(columns, self.schema, "repartition")
            if columns:
                require_extra("numba", "repartition with a partitioner of columns")
            edge = EdgeProperties(pattern=Pattern.USER_SHUFFLE, function=partitioner, columns=tuple(columns))
        elif by is not None:
            keys = building.row_wise(self, building.parse(listed(by), {}), "repartition")
            if not keys:
                raise ConfigError("repartition: by names no column; leave it out to deal rows out round robin")
            edge = EdgeProperties(pattern=Pattern.HASH_SHUFFLE, keys=tuple(keys))
        else:
            edge = EdgeProperties(pattern=Pattern.ROUND_ROBIN)
        return self._then(Repartition(), edge.with_user_choice(**chosen) if chosen else edge)

    def cache(self) -> Dataset:
        """The same rows, kept on the workers after their first use, until `unpersist`."""
        return self._then(Cache(uuid.uuid4().hex))

    def unpersist(self) -> Dataset:
        """Free what `cache` keeps; the rows are computed again when needed."""
        if not isinstance(self._vertex.operator, Cache):
            raise ConfigError("unpersist is for the dataset that cache() returned")
        self._session._unpersist(self._vertex.operator.key)
        return self

    def with_property(self, *, input: int = 0, **properties: Any) -> Dataset:
        """Overrule the compiler: execution properties of the last operator (parallelism, slots, memory_bytes, resources, placement) or of its
        input edge (pattern, partition_count, ordered, data_flow, data_store, persistence, compression, transport,
        combiner). Passes leave alone what is set here.

        An enum's member may be given by its value: `pattern="hash shuffle"`, `data_flow="pull"`, `data_store="scratch"`, `persistence="keep"`.

        Raises:
            ConfigError: for an unknown property, one that the operator has no edge for, or a value that it cannot have.
        """
        return building.with_property(self, input, properties)

    # -- actions ------------------------------------------------------------------------------------------------------------------------------------

    def collect(self, **options: Any) -> pl.DataFrame:
        """All rows, in order, as a DataFrame of the driver.

        Args:
            options: `engine`, `optimizations` and the other choices of `polars.LazyFrame.collect`, taken and not needed: hpcflow has its own engine.
        """
        result: pl.DataFrame = self._act("collect", **options)
        return result

    def to_arrow(self) -> pa.Table:
        """All rows as a pyarrow.Table."""
        return self._act("to_arrow")

    def to_pandas(self) -> Any:
        """All rows as a pandas.DataFrame; ConfigError without pandas, before anything runs."""
        return self._act("to_pandas")

    def to_numpy(self) -> Any:
        """All rows as a NumPy array of the columns' common type."""
        return self._act("to_numpy")

    def submit(self, action: str = "collect", *args: Any, **options: Any) -> Future[Any]:
        """Begin an action and go on: `ds.submit()`, `ds.submit("count")`, `ds.submit("write_parquet", "out", mode="overwrite")`.

        The program is checked here; what the action returns or raises comes with the future's `result()`. Actions in flight share the workers
        fairly: a worker that has tasks of several takes them in turns.

        Args:
            action: collect, to_arrow, to_pandas, to_numpy, count, write_parquet, write_csv, write_ipc or foreach_partition.
            args, options: those of the method of that name.

        Raises:
            ConfigError: for an unknown action.
        """
        return self._session.submit(self, action, *args, **options)

    def _act(self, action: str, *args: Any, **options: Any) -> Any:
        return self._session._act(make_action([self], action, args, options))

    def iter_batches(self, rows: AtLeastOne = 1 << 16) -> Iterator[pl.DataFrame]:
        """All rows, in order, at most `rows` at a time; the rest waits on the workers."""
        yield from self._session._iter_batches(self, rows)

    def count(self) -> int:
        """Number of rows."""
        return int(self._act("count"))

    def write_parquet(self, path: str | os.PathLike[str], *, mode: str = "error", **options: Any) -> None:
        """One Parquet file a task in directory `path`, all or none. `mode`: "error", "overwrite" or "ignore" when it has files. Options are
        Polars'."""
        self._act("write_parquet", path, mode=mode, **options)

    def write_csv(self, path: str | os.PathLike[str], *, mode: str = "error", **options: Any) -> None:
        """One CSV file a task in directory `path`, all or none."""
        self._act("write_csv", path, mode=mode, **options)

    def write_ipc(self, path: str | os.PathLike[str], *, mode: str = "error", **options: Any) -> None:
        """One Arrow IPC file a task in directory `path`, all or none."""
        self._act("write_ipc", path, mode=mode, **options)

    def foreach_partition(self, function: Callable[[Any], Any], *, format: Format = "polars") -> None:
        """Call `function` with the rows of each partition on its worker."""
        self._act("foreach_partition", function, format=format)

    def explain(self, passes: bool = False, analyze: bool = False, format: Literal["text", "dot", "json"] = "text") -> str:
        """The plan: logical Dag, optimized Dag, stages. `passes`: what each pass did; `analyze`: run it and show rows, bytes and seconds of each
        stage."""
        return self._session._explain([self._then(Collect(), GATHER)], passes, analyze, format)


def _infer_schema(function: Callable[[Any], Any], schema: pl.Schema, format: Format) -> pl.Schema:
    try:
        with collecting():  # what it adds to accumulators here counts nowhere
            return from_format(function(to_format(pl.DataFrame(schema=schema), format)), "map_batches").schema
    except Exception as error:
        raise SchemaError(
            f"map_batches: the result's schema could not be found by calling the function with an empty table ({error}); pass schema={{...}}"
        ) from error


_ = (Sort, SortKey)
