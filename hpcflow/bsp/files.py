"""Files and tables together: each rank reads its share, and writes its part of one directory.

Invariant: the ranks' shares, concatenated in rank order, are the source's rows in their order; a directory that is written becomes visible as a whole
or not at all. Reading files is collective: rank 0 lists them, reads footers and cuts; a failure there is raised on every rank.

    df = ctx.read_parquet("points/*.parquet", columns=["x", "y"], predicate=pl.col("x") > 0)
    ctx.write_parquet(df, "positive/")                  # positive/part-00000.parquet, ... one a rank
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import polars as pl

from hpcflow.bsp.rank import Rank
from hpcflow.bsp.shares import deal_splits, hint_for, weight_of
from hpcflow.bsp.together import Outcome, attempt, dealt_from_root, from_root, travelling
from hpcflow.errors import ColumnNotFoundError, SchemaError, UnsupportedExpressionError, near_names
from hpcflow.expressions import Kind, classify, expand
from hpcflow.ir.operators.file_sink import FileSink
from hpcflow.ir.operators.from_memory import to_frame
from hpcflow.ir.operators.range import Range
from hpcflow.ir.operators.read_csv import ReadCsv
from hpcflow.ir.operators.read_ipc import ReadIpc
from hpcflow.ir.operators.read_parquet import ReadParquet
from hpcflow.ir.operators.read_text import ReadText
from hpcflow.ir.operators.sink import SinkPart
from hpcflow.ir.operators.source import READ_ERRORS, Source, Split, named_source_error
from hpcflow.ir.operators.write_csv import WriteCsv
from hpcflow.ir.operators.write_ipc import WriteIpc
from hpcflow.ir.operators.write_parquet import WriteParquet

T = TypeVar("T")
Predicate = pl.Expr | Iterable[pl.Expr] | None


class Files(Rank):
    """The part of Context that reads and writes."""

    # -- reading: collective -----------------------------------------------------------------------------------------------------------------------

    def read_parquet(self, source: Any, *, columns: Iterable[str] | None = None, predicate: Predicate = None, **options: Any) -> pl.DataFrame:
        """This rank's rows of Parquet files (a path, a list, a glob or a directory). Collective.

        Args:
            source: path or paths.
            columns: names of the columns wanted, in this order; default all.
            predicate: row-wise expressions; rows for which all are true. Row groups that hold none are not read.
            options: those of `polars.scan_parquet` that `Session.read_parquet` takes.

        Raises:
            SourceError: missing or damaged files. Raised on every rank when rank 0 meets it, else on the rank that reads the damaged part.
            ColumnNotFoundError, UnsupportedExpressionError: a column or predicate that cannot be.
        """
        return self._read(lambda: ReadParquet.of(source, **options), columns, predicate)

    def read_csv(self, source: Any, *, columns: Iterable[str] | None = None, predicate: Predicate = None, **options: Any) -> pl.DataFrame:
        """This rank's rows of CSV files; data types are fixed once, on rank 0. Collective. Arguments and errors as of `read_parquet`."""
        return self._read(lambda: ReadCsv.of(source, **options), columns, predicate)

    def read_text(self, source: Any, *, predicate: Predicate = None, **options: Any) -> pl.DataFrame:
        """This rank's lines of text files, one row a line in the column "text". Collective. Errors as of `read_parquet`."""
        return self._read(lambda: ReadText.of(source, **options), None, predicate)

    def read_ipc(self, source: Any, *, columns: Iterable[str] | None = None, predicate: Predicate = None, **options: Any) -> pl.DataFrame:
        """This rank's rows of Arrow IPC (Feather) files. Collective. Arguments and errors as of `read_parquet`."""
        return self._read(lambda: ReadIpc.of(source, **options), columns, predicate)

    # -- tables that every rank has: local ---------------------------------------------------------------------------------------------------------

    def range(self, start: int, end: int | None = None, step: int = 1, *, name: str = "value", dtype: Any = pl.Int64) -> pl.DataFrame:
        """This rank's share of the integers from `start` to `end` (exclusive); with one argument from 0. Nothing is sent."""
        source = Range.of(start, end, step, name=name, dtype=dtype)
        splits = source.splits(hint_for(self.size))
        first, stop = deal_splits([weight_of(split) for split in splits], self.size)[self.rank]
        return self._scan(source, splits[first:stop], None, None)

    def from_polars(self, df: pl.DataFrame) -> pl.DataFrame:
        """This rank's share of a table that every rank holds: neighbouring rows, without a copy. Nothing is sent."""
        frame = to_frame(df)
        low, high = self.share(frame.height)
        return frame.slice(low, high - low)

    def from_arrow(self, table: Any) -> pl.DataFrame:
        """`from_polars` of a pyarrow table, or anything with the Arrow C stream interface."""
        return self.from_polars(to_frame(table))

    def from_pandas(self, df: Any) -> pl.DataFrame:
        """`from_polars` of a pandas DataFrame."""
        return self.from_polars(to_frame(df))

    def from_numpy(self, data: Any, schema: Any = None) -> pl.DataFrame:
        """`from_polars` of a NumPy array (2-D: one column a column) or a dict of 1-D arrays."""
        return self.from_polars(to_frame(data, schema))

    def from_items(self, items: Any, schema: Any = None) -> pl.DataFrame:
        """`from_polars` of a sequence of dicts, tuples or scalars."""
        return self.from_polars(to_frame(items, schema))

    def from_dict(self, data: Mapping[str, Any], schema: Any = None) -> pl.DataFrame:
        """`from_polars` of columns."""
        return self.from_polars(pl.DataFrame(data, schema=schema))

    def share(self, count: int) -> tuple[int, int]:
        """This rank's neighbouring part (start, stop) of `count` things; the ranks' parts differ by at most one in length.

        `start, stop = ctx.share(len(tasks))` deals out work; nothing is sent.
        """
        return count * self.rank // self.size, count * (self.rank + 1) // self.size

    # -- writing: collective -----------------------------------------------------------------------------------------------------------------------

    def write_parquet(self, df: pl.DataFrame, path: str | os.PathLike[str], **options: Any) -> int:
        """Write the ranks' tables as one directory of Parquet files, one a rank that has rows: all become visible, or none. Collective.

        Args:
            df: this rank's rows; the same schema on every rank.
            path: a directory that all ranks share.
            options: `mode` ("error", "overwrite", "ignore"), `durable`, and those of `polars.DataFrame.write_parquet`.

        Returns:
            Rows written by all ranks.

        Raises:
            SinkError, SchemaError: on every rank; nothing has changed then.
        """
        return self._write(df, lambda schema: WriteParquet.to(path, schema, **options))

    def write_csv(self, df: pl.DataFrame, path: str | os.PathLike[str], **options: Any) -> int:
        """As `write_parquet`, CSV files, each with its header. Collective."""
        return self._write(df, lambda schema: WriteCsv.to(path, schema, **options))

    def write_ipc(self, df: pl.DataFrame, path: str | os.PathLike[str], **options: Any) -> int:
        """As `write_parquet`, Arrow IPC files. Collective."""
        return self._write(df, lambda schema: WriteIpc.to(path, schema, **options))

    # -- how ---------------------------------------------------------------------------------------------------------------------------------------

    def _read(self, build: Callable[[], Source], columns: Iterable[str] | None, predicate: Predicate) -> pl.DataFrame:
        wanted = None if columns is None else [columns] if isinstance(columns, str) else list(columns)

        def cut() -> list[tuple[Source, pl.Expr | None, tuple[Split, ...]]]:
            source = build()
            condition = check_predicate(predicate, source.schema)
            source = narrowed(source, wanted, condition)
            splits = source.splits(hint_for(self.size))
            runs = deal_splits([weight_of(split) for split in splits], self.size)
            return [(source, condition, splits[first:stop]) for first, stop in runs]

        source, condition, splits = dealt_from_root(self.comm, cut)
        return self._scan(source, splits, wanted, condition)

    def _scan(self, source: Source, splits: tuple[Split, ...], columns: list[str] | None, predicate: pl.Expr | None) -> pl.DataFrame:
        parts = [source.scan(split) for split in splits] or [pl.LazyFrame(schema=source.schema)]
        rows = parts[0] if len(parts) == 1 else pl.concat(parts)
        rows = rows if predicate is None else rows.filter(predicate)
        try:
            return (rows if columns is None else rows.select(columns)).collect()
        except READ_ERRORS as error:
            raise named_source_error(error, ((source, split) for split in splits)) or error from error

    def _write(self, df: pl.DataFrame, build: Callable[[pl.Schema], FileSink]) -> int:
        if not isinstance(df, pl.DataFrame):
            raise SchemaError(f"rank {self.rank} writes a {type(df).__name__}: give a polars.DataFrame on every rank")
        schemas = self.comm.gather(df.schema)
        sink = from_root(self.comm, lambda: build(common_schema(schemas or [])))
        try:
            outcome = attempt(lambda: sink.write(df, self.rank, 0), self.rank)
            outcomes = self.comm.gather(travelling(outcome))
            return from_root(self.comm, lambda: committed(sink, outcomes or []))
        except BaseException:
            sink.abort([])  # an interrupt comes between; after a failed commit there is nothing left to remove
            raise


def check_predicate(predicate: Predicate, schema: pl.Schema) -> pl.Expr | None:
    """One row-wise Boolean expression, or None; an aggregate over one rank's rows would be wrong, so it is refused."""
    if predicate is None:
        return None
    expanded = expand([predicate] if isinstance(predicate, pl.Expr) else list(predicate), schema)
    for expr in expanded:
        found = classify(expr, schema)
        if found.kind is not Kind.ROW_WISE:
            text = f"predicate: {found.node} is not row-wise: {found.reason}"
            raise UnsupportedExpressionError(f"{text}. Each rank reads its own rows only: read them, and reduce over the ranks by ctx.comm")
        dtype = pl.LazyFrame(schema=schema).select(expr).collect_schema().dtypes()[0]
        if dtype != pl.Boolean:
            raise SchemaError(f"predicate: {' '.join(str(expr).split())} is {dtype}, not Boolean")
    return pl.all_horizontal(expanded) if len(expanded) != 1 else expanded[0]


def narrowed(source: Source, columns: list[str] | None, predicate: pl.Expr | None) -> Source:
    """The source reading what is asked for and what the predicate looks at."""
    for name in columns or []:
        if name not in source.schema:
            raise ColumnNotFoundError(f"{source.describe()} has no column {name!r}{near_names(name, source.schema)}")
    looked_at = [] if predicate is None else predicate.meta.root_names()
    needed = None if columns is None else tuple(dict.fromkeys([*columns, *looked_at]))
    return source.with_pushdown(needed, predicate)


def common_schema(schemas: list[pl.Schema]) -> pl.Schema:
    """The one schema of all ranks; SchemaError names the first rank that differs from rank 0."""
    for rank, schema in enumerate(schemas):
        if schema != schemas[0] or schema.names() != schemas[0].names():
            raise SchemaError(f"rank {rank} writes columns {_listed(schema)}, and rank 0 writes {_listed(schemas[0])}: they must be the same")
    return schemas[0]


def committed(sink: FileSink, outcomes: list[Outcome[SinkPart]]) -> int:
    """Make the parts visible and count their rows; the first rank's failure undoes all of them."""
    failed = next((outcome for outcome in outcomes if outcome.error is not None), None)
    if failed is not None and failed.error is not None:
        sink.abort([])
        failed.error.add_note(f"while rank {failed.rank} on {failed.host} wrote its part; nothing was written")
        raise failed.error
    parts = [outcome.value for outcome in outcomes if outcome.value is not None]
    sink.commit(parts)
    return sum(part.rows for part in parts)


def _listed(schema: pl.Schema) -> str:
    return ", ".join(f"{name} {dtype}" for name, dtype in schema.items())
