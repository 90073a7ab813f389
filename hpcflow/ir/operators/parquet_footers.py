"""Footers of Parquet files, read once on rank 0: row groups, sizes, and that all files have one schema.

Invariant: `row_groups` lists every row group in file order, so its running sum of rows is the row position in the source.

    footers = read_footers(list_files("data/").files, schema, ...)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from hpcflow.errors import SourceError
from hpcflow.ir.operators.paths import is_remote
from hpcflow.ir.operators.source import fixed_width_bytes

_SAMPLED_FILES = 8


@dataclass(frozen=True, eq=False)
class Footers:
    """All row groups of a list of files."""

    files: tuple[str, ...]
    group_file: np.ndarray[Any, np.dtype[np.int64]]
    """int64[groups]: index of the file that each row group is in."""
    group_index: np.ndarray[Any, np.dtype[np.int64]]
    """int64[groups]: number of the row group within its file."""
    group_rows: np.ndarray[Any, np.dtype[np.int64]]
    """int64[groups]: rows of each."""
    bytes_per_row: dict[str, float]
    """Estimated bytes in memory of one value of each column."""
    metadata: tuple[Any, ...]
    """pyarrow's FileMetaData of each file, for their statistics; None for remote files and for those with types that pyarrow does not know."""


def read_footers(files: Sequence[str], schema: pl.Schema, read_rows: Callable[[str], int]) -> Footers:
    """Read all footers, on threads. `read_rows(file)` counts the rows of a file whose footer only Polars reads. SourceError names a file that is
    missing or damaged."""

    def read(path: str) -> Any:
        return None if is_remote(path) else read_footer(path)

    with ThreadPoolExecutor(min(16, len(files), 4 * (os.cpu_count() or 1))) as pool:
        metadata = tuple(pool.map(read, files))
    rows: list[int] = []
    file_of: list[int] = []
    index_in_file: list[int] = []
    for number, (path, footer) in enumerate(zip(files, metadata, strict=True)):
        counts = [read_rows(path)] if footer is None else [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        rows += counts
        file_of += [number] * len(counts)
        index_in_file += range(len(counts))
    group_file, group_index, group_rows = (np.array(values, dtype=np.int64) for values in (file_of, index_in_file, rows))
    return Footers(tuple(files), group_file, group_index, group_rows, _bytes_per_row(metadata, schema), metadata)


def read_footer(path: str) -> Any:
    """pyarrow's FileMetaData of a local file, None where it does not know a type (Int128). SourceError when it is missing, unreadable or damaged."""
    try:
        return pq.read_metadata(path, memory_map=True)
    except pa.ArrowNotImplementedError:
        return None
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:
        raise SourceError(f"{path} is no Parquet file or its footer is damaged: {error}") from error


def schema_in_file(path: str, storage_options: dict[str, Any] | None = None) -> pl.Schema:
    """Columns of the file itself, without those of its path. (`pl.read_parquet_schema` would take `f[12].parquet` for a pattern.)"""
    return pl.scan_parquet(path, glob=is_remote(path), hive_partitioning=False, storage_options=storage_options).collect_schema()


def check_one_schema(footers: Footers, file_schema: pl.Schema, missing: Literal["insert", "raise"], extra: Literal["ignore", "raise"]) -> None:
    """SourceError names the first file whose columns differ from `file_schema` (that of the first file, or the one given)."""
    local = [(path, footer) for path, footer in zip(footers.files, footers.metadata, strict=True) if not is_remote(path)]
    known: list[Any] = []
    for path, footer in local:
        if footer is not None and any(footer.schema.equals(other.schema) and footer.metadata == other.metadata for other in known):
            continue  # the metadata names what Parquet's types do not: an Enum's categories, a Categorical
        difference = schema_difference(schema_in_file(path), file_schema, missing, extra)
        if difference:
            raise SourceError(f"{path} does not have the schema of {footers.files[0]}: {difference}")
        known += [] if footer is None else [footer]


def schema_difference(found: Any, wanted: pl.Schema, missing: str = "raise", extra: str = "raise") -> str:
    """What differs, in words; empty when nothing does. The order of columns does not matter."""
    for name, dtype in wanted.items():
        if name not in found and missing == "raise":
            return f"column {name!r} is missing (missing_columns='insert' fills it with nulls)"
        if name in found and found[name] != dtype:
            return f"column {name!r} is {found[name]} and not {dtype}"
    for name in found:
        if name not in wanted and extra == "raise":
            return f"column {name!r} is not in the schema (extra_columns='ignore' leaves it out)"
    return ""


def _bytes_per_row(metadata: Sequence[Any], schema: pl.Schema) -> dict[str, float]:
    """Exact for fixed widths; else the uncompressed size of the first row groups, and 16 bytes for a string's or list's own entry."""
    rows, stored = 0, dict.fromkeys(schema, 0)
    for footer in [item for item in metadata if item is not None][:_SAMPLED_FILES]:
        if footer.num_row_groups:
            group = footer.row_group(0)
            rows += group.num_rows
            for index in range(group.num_columns):
                column = group.column(index)
                name = column.path_in_schema.split(".", 1)[0]
                if name in stored:
                    stored[name] += column.total_uncompressed_size
    widths = {name: fixed_width_bytes(dtype) for name, dtype in schema.items()}
    unknown = 32.0 if rows == 0 else None
    return {name: width if width is not None else unknown or 16 + stored[name] / rows for name, width in widths.items()}
