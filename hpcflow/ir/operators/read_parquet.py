"""Parquet files, cut into splits at row groups; Polars reads only the row groups and columns that a split needs.

A split is one or a few row ranges of neighbouring files, read as `pl.scan_parquet(files).slice(offset, rows)`: Polars skips row groups outside of the
slice, and projections and filters behind it are still pushed into the reader (measured: 8 slices of 10 M rows cost 1.00-1.05 of one whole scan on one
thread). Cuts snap to row groups; a row group much larger than a split is cut inside, which costs about 30 % more for 8 cuts of one group. A pushed
predicate drops row groups by their statistics before any task is made.

    ReadParquet.of("data/*.parquet").with_pushdown(("a", "b"), pl.col("a") > 5)
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl

from hpcflow.errors import SourceError
from hpcflow.ir.operators.base import fingerprint_of
from hpcflow.ir.operators.parquet_footers import Footers, check_one_schema, read_footer, read_footers, schema_in_file
from hpcflow.ir.operators.paths import FileList, PathsLike, is_remote, list_files
from hpcflow.ir.operators.row_group_pruning import may_match
from hpcflow.ir.operators.row_ranges import FileLayout, RowRun, cut_rows, cut_window
from hpcflow.ir.operators.source import READ_ERRORS, Source, SourceStatistics, Split, SplitHint, window_of


@dataclass(frozen=True, eq=False)
class ParquetOptions:
    """How the files are read; Polars' names. The schemas are fixed when the source is built."""

    file_schema: pl.Schema
    """Columns that are in the files."""
    hive_schema: pl.Schema | None
    """Columns that are in the paths (`key=value` folders); None: paths are not looked at."""
    storage_options: dict[str, Any] | None
    missing_columns: Literal["insert", "raise"]
    extra_columns: Literal["ignore", "raise"]
    include_file_paths: str | None
    use_statistics: bool

    def scan(self, files: tuple[str, ...]) -> pl.LazyFrame:
        """All rows of these files."""
        return pl.scan_parquet(
            list(files),
            schema=self.file_schema,
            hive_partitioning=self.hive_schema is not None,
            hive_schema=self.hive_schema,
            storage_options=self.storage_options,
            missing_columns=self.missing_columns,
            extra_columns=self.extra_columns,
            include_file_paths=self.include_file_paths,
            use_statistics=self.use_statistics,
            glob=any(map(is_remote, files)),
        )


@dataclass(frozen=True, eq=False)
class ReadParquet(Source):
    """Rows of Parquet files."""

    name: ClassVar[str] = "read_parquet"

    label: str
    """What the user wrote."""
    options: ParquetOptions
    footers: Footers | None = field(repr=False)
    """Rank 0 only: a pickled source has None."""
    predicate: pl.Expr | None = None
    """Pushed down: row groups in which it is true for no row are not read."""
    window: tuple[int, int] | None = None
    """Only rows [start, stop) of those that are read otherwise; None: all."""

    @classmethod
    def of(
        cls,
        source: PathsLike,
        *,
        glob: bool = True,
        schema: Any = None,
        hive_partitioning: bool | None = None,
        hive_schema: Any = None,
        try_parse_hive_dates: bool = True,
        storage_options: dict[str, Any] | None = None,
        missing_columns: Literal["insert", "raise"] = "raise",
        extra_columns: Literal["ignore", "raise"] = "raise",
        include_file_paths: str | None = None,
        use_statistics: bool = True,
    ) -> Self:
        """List the files and read their footers; arguments as in `pl.scan_parquet`. SourceError names a missing, damaged or differing file."""
        files = list_files(source, glob=glob)
        hive = files.directory is not None if hive_partitioning is None else hive_partitioning
        first = files.files[0]
        if not is_remote(first):
            read_footer(first)  # a clear error before Polars reads it
        scan = pl.scan_parquet(
            list(files.files),
            schema=schema,
            hive_partitioning=hive,
            hive_schema=hive_schema,
            try_parse_hive_dates=try_parse_hive_dates,
            storage_options=storage_options,
            missing_columns=missing_columns,
            extra_columns=extra_columns,
            include_file_paths=include_file_paths,
            glob=any(map(is_remote, files.files)),
        )
        found = _schema_of(scan, files)
        file_schema = pl.Schema(schema) if schema is not None else schema_in_file(first, storage_options)
        in_path = _path_keys(first) if hive else []
        above = _path_keys(f"{files.directory}/") if files.directory else []  # folders above the one that was given name no columns
        full = pl.Schema({name: dtype for name, dtype in found.items() if name not in above or name in file_schema})
        options = ParquetOptions(
            file_schema,
            pl.Schema({key: found[key] for key in in_path if key in found}) if hive else None,
            storage_options,
            missing_columns,
            extra_columns,
            include_file_paths,
            use_statistics,
        )
        footers = read_footers(files.files, full, lambda path: options.scan((path,)).select(pl.len()).collect().item())
        check_one_schema(footers, file_schema, missing_columns, extra_columns)
        return cls(full, files.label, options, footers)

    def statistics(self) -> SourceStatistics:
        rows = int(self._kept_rows().sum())
        rows = rows if self.window is None else self.window[1] - self.window[0]
        return SourceStatistics(rows, int(rows * self._row_bytes()))

    def splits(self, hint: SplitHint) -> tuple[Split, ...]:
        footers, rows = self._held(), self._kept_rows()
        total = int(rows.sum())
        width = self._row_bytes()
        if self.window is None:
            ranges = cut_rows(rows, hint.splits_for(int(total * width), total), hint.halved)
        else:
            count = self.window[1] - self.window[0]
            ranges = cut_window(rows, self.window, hint.splits_of_window(int(count * width), count))
        layout = FileLayout(footers.files, footers.group_file, footers.group_rows, rows)
        return tuple(Split(index, layout.runs(low, high), high - low, int((high - low) * width)) for index, (low, high) in enumerate(ranges))

    def scan(self, split: Split) -> pl.LazyFrame:
        runs: tuple[RowRun, ...] = split.payload
        if not runs:
            return pl.LazyFrame(schema=self.schema)
        parts = [self._scan_run(run) for run in runs]
        return parts[0] if len(parts) == 1 else pl.concat(parts)

    def with_pushdown(self, columns: tuple[str, ...] | None, predicate: pl.Expr | None) -> Self:
        both = predicate if self.predicate is None or predicate is None else self.predicate & predicate
        return replace(super().with_pushdown(columns, None), predicate=self.predicate if both is None else both)

    def with_rows(self, offset: int, length: int) -> Self:
        start, stop = self.window or (0, int(self._kept_rows().sum()))
        low, high = window_of(stop - start, offset, length)
        return replace(self, window=(start + low, start + max(low, high)))

    def describe(self) -> str:
        files = "" if self.footers is None else f", {len(self.footers.files)} files, {len(self.footers.group_rows)} row groups"
        pushed = "" if self.predicate is None else f", row groups where {' '.join(str(self.predicate).split())}"
        rows = "" if self.window is None else f", rows {self.window[0]} to {self.window[1]}"
        return f"{self.label}{files}, {len(self.schema)} columns{pushed}{rows}"

    def fingerprint(self) -> object:
        """Equal for the same files read in the same way."""
        options = tuple((f.name, fingerprint_of(getattr(self.options, f.name))) for f in fields(self.options))
        files = id(self) if self.footers is None else self.footers.files
        return (type(self), tuple(self.schema.items()), files, options, fingerprint_of(self.predicate), self.window)

    def diagnose(self, split: Split, error: BaseException) -> SourceError | None:
        """Read the row groups of the split one by one until one fails."""
        for run in split.payload:
            for path in run.files:
                found = self._diagnose_file(path)
                if found is not None:
                    return found
        return None

    def _diagnose_file(self, path: str) -> SourceError | None:
        names = [name for name in self.schema if name in self.options.file_schema]
        try:
            groups = [None] if is_remote(path) else [read_footer(path).row_group(index).num_rows for index in range(read_footer(path).num_row_groups)]
        except SourceError as damage:
            return damage
        offset = 0
        for index, rows in enumerate(groups):
            scan = self.options.scan((path,)).select(names)
            try:
                (scan if rows is None else scan.slice(offset, rows)).collect()
            except READ_ERRORS as damage:
                where = path if rows is None else f"{path}, row group {index} (rows {offset} to {offset + rows})"
                return SourceError(f"cannot read {where}: {damage}")
            offset += rows or 0
        return None

    def _scan_run(self, run: RowRun) -> pl.LazyFrame:
        scan = self.options.scan(run.files)
        return (scan if run.whole else scan.slice(run.offset, run.rows)).select(list(self.schema))

    def _kept_rows(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """int64[groups]: rows of each row group, 0 for those that the predicate rules out."""
        footers = self._held()
        if self.predicate is None or not self.options.use_statistics:
            return footers.group_rows
        in_path = self.options.hive_schema or pl.Schema()  # a column of this name in a file is not read
        in_file = pl.Schema({name: dtype for name, dtype in self.options.file_schema.items() if name not in in_path})
        return np.where(may_match(footers, in_file, self.predicate), footers.group_rows, 0)

    def _row_bytes(self) -> float:
        return sum(self._held().bytes_per_row[name] for name in self.schema)

    def _held(self) -> Footers:
        if self.footers is None:
            raise SourceError(f"{self.label}: only rank 0 has the footers; splits are made there")
        return self.footers

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "footers": None}


def _schema_of(scan: pl.LazyFrame, files: FileList) -> pl.Schema:
    try:
        return scan.collect_schema()
    except READ_ERRORS as error:
        raise SourceError(f"cannot read the schema of {files.label}: {error}") from error


def _path_keys(path: str) -> list[str]:
    """`a/year=2024/part.parquet` -> ["year"]"""
    return [part.split("=", 1)[0] for part in path.split("/")[:-1] if "=" in part]
