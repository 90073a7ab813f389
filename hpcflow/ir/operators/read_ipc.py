"""Arrow IPC files (Feather v2), cut into splits at record batches; uncompressed ones are memory-mapped by Polars.

A split is a row range of neighbouring files, read as `pl.scan_ipc(files).slice(offset, rows)`: Polars touches only the record batches and columns
that a split needs (measured: 8 slices of 5 M rows cost 0.8-1.4 of one whole scan on one thread).

    ReadIpc.of("data/*.arrow")
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import pyarrow as pa

from hpcflow.errors import SourceError
from hpcflow.ir.operators.base import fingerprint_of
from hpcflow.ir.operators.parquet_footers import schema_difference
from hpcflow.ir.operators.paths import PathsLike, is_remote, list_files
from hpcflow.ir.operators.row_ranges import FileLayout, RowRun, cut_rows, cut_window
from hpcflow.ir.operators.source import READ_ERRORS, Source, SourceStatistics, Split, SplitHint, fixed_width_bytes, window_of

_TEXT_BYTES = 32.0
"""Assumed bytes in memory of a value of variable length."""


@dataclass(frozen=True, eq=False)
class ReadIpc(Source):
    """Rows of Arrow IPC files."""

    name: ClassVar[str] = "read_ipc"

    label: str
    """What the user wrote."""
    storage_options: dict[str, Any] | None
    files: tuple[str, ...] = field(repr=False)
    """Rank 0 only: a pickled source has none."""
    batch_rows: tuple[tuple[int, ...], ...] = field(repr=False)
    """Rows of each record batch of each file; rank 0 only."""
    window: tuple[int, int] | None = None
    """Only rows [start, stop); None: all."""

    @classmethod
    def of(cls, source: PathsLike, *, glob: bool = True, storage_options: dict[str, Any] | None = None) -> Self:
        """List the files and read their footers. SourceError names a file that is missing, damaged or of another schema."""
        listed = list_files(source, glob=glob)
        with ThreadPoolExecutor(min(16, len(listed.files))) as pool:
            heads = list(pool.map(lambda path: _head(path, storage_options), listed.files))
        schema = heads[0][0]
        for path, (other, _) in zip(listed.files, heads, strict=True):
            difference = schema_difference(other, schema)
            if difference or other.names() != schema.names():
                what = difference or "its columns are in another order"
                raise SourceError(f"{path} does not have the schema of {listed.files[0]}: {what}")
        return cls(schema, listed.label, storage_options, listed.files, tuple(rows for _, rows in heads))

    def statistics(self) -> SourceStatistics:
        rows = sum(map(sum, self._held())) if self.window is None else self.window[1] - self.window[0]
        return SourceStatistics(rows, int(rows * self._row_bytes()))

    def splits(self, hint: SplitHint) -> tuple[Split, ...]:
        batches = self._held()
        rows = np.array([count for file in batches for count in file], dtype=np.int64)
        file_of = np.repeat(np.arange(len(batches)), [len(file) for file in batches]).astype(np.int64)
        total, width = int(rows.sum()), self._row_bytes()
        layout = FileLayout(self.files, file_of, rows, rows)
        if self.window is None:
            ranges = cut_rows(rows, hint.splits_for(int(total * width), total), hint.halved)
        else:
            count = self.window[1] - self.window[0]
            ranges = cut_window(rows, self.window, hint.splits_of_window(int(count * width), count))
        return tuple(Split(index, layout.runs(low, high), high - low, int((high - low) * width)) for index, (low, high) in enumerate(ranges))

    def scan(self, split: Split) -> pl.LazyFrame:
        runs: tuple[RowRun, ...] = split.payload
        if not runs:
            return pl.LazyFrame(schema=self.schema)
        (run,) = runs
        scan = _scan(run.files, self.storage_options)
        return (scan if run.whole else scan.slice(run.offset, run.rows)).select(list(self.schema))

    def with_rows(self, offset: int, length: int) -> Self:
        start, stop = self.window or (0, sum(map(sum, self._held())))
        low, high = window_of(stop - start, offset, length)
        return replace(self, window=(start + low, start + max(low, high)))

    def describe(self) -> str:
        batches = f", {len(self.files)} files, {sum(map(len, self.batch_rows))} record batches" if self.files else ""
        rows = "" if self.window is None else f", rows {self.window[0]} to {self.window[1]}"
        return f"{self.label}{batches}, {len(self.schema)} columns{rows}"

    def fingerprint(self) -> object:
        """Equal for the same columns of the same files."""
        return (type(self), tuple(self.schema.items()), self.files or id(self), fingerprint_of(self.storage_options), self.window)

    def diagnose(self, split: Split, error: BaseException) -> SourceError | None:
        """Read the record batches of the split's files one by one until one fails."""
        for path in (path for run in split.payload for path in run.files):
            try:
                _, batches = _head(path, self.storage_options)
            except SourceError as damage:
                return damage
            offset = 0
            for index, rows in enumerate(batches):
                try:
                    _scan((path,), self.storage_options).select(list(self.schema)).slice(offset, rows).collect()
                except READ_ERRORS as damage:
                    return SourceError(f"cannot read {path}, record batch {index} (rows {offset} to {offset + rows}): {damage}")
                offset += rows
        return None

    def _row_bytes(self) -> float:
        return sum(fixed_width_bytes(dtype) or _TEXT_BYTES for dtype in self.schema.values())

    def _held(self) -> tuple[tuple[int, ...], ...]:
        if not self.files:
            raise SourceError(f"{self.label}: only rank 0 has the footers; splits are made there")
        return self.batch_rows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "files": (), "batch_rows": ()}


def _scan(files: Sequence[str], storage_options: dict[str, Any] | None) -> pl.LazyFrame:
    return pl.scan_ipc(list(files), storage_options=storage_options, glob=any(map(is_remote, files)), hive_partitioning=False)


def _head(path: str, storage_options: dict[str, Any] | None) -> tuple[pl.Schema, tuple[int, ...]]:
    """Schema and rows of each record batch; SourceError when the footer cannot be read."""
    try:
        scan = _scan((path,), storage_options)
        schema = scan.collect_schema()
        total = int(scan.select(pl.len()).collect().item())
        return schema, (total,) if is_remote(path) else _batch_rows(path, total)
    except pa.ArrowNotImplementedError:  # a type that pyarrow does not know, Int128: cut by rows
        return schema, (total,)
    except READ_ERRORS as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise SourceError(f"cannot read {path} as an Arrow IPC file: {reason}") from error


def _batch_rows(path: str, total: int) -> tuple[int, ...]:
    """Rows of each record batch. Footers do not say, so the first and last batch are looked at: writers make all but the last alike."""
    with pa.memory_map(path) as file:
        reader: Any = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=[0], use_threads=False))
        count = reader.num_record_batches
        if count <= 1:
            return (total,) if total else ()
        first, last = int(reader.get_batch(0).num_rows), int(reader.get_batch(count - 1).num_rows)
        if first * (count - 1) + last == total:
            return (*[first] * (count - 1), last)
        return tuple(int(reader.get_batch(index).num_rows) for index in range(count))
