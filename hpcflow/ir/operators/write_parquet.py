"""`dataset.write_parquet(directory)`: one Parquet file a task, written by Polars; `part-00000.parquet`, ... hold the rows in order."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Self

import polars as pl

from hpcflow.ir.operators.file_sink import FileSink


@dataclass(frozen=True, eq=False)
class WriteParquet(FileSink):
    """Parquet files."""

    name: ClassVar[str] = "write_parquet"
    suffix: ClassVar[str] = ".parquet"

    @classmethod
    def to(
        cls,
        path: str | os.PathLike[str],
        schema: pl.Schema,
        *,
        mode: str = "error",
        durable: bool = False,
        compression: str = "zstd",
        compression_level: int | None = None,
        statistics: bool | str | dict[str, bool] = True,
        row_group_size: int | None = None,
        data_page_size: int | None = None,
        metadata: dict[str, str] | None = None,
    ) -> Self:
        """Check the target before anything runs. Options as in `pl.DataFrame.write_parquet`; SinkError says what is in the way."""
        options: dict[str, Any] = {
            "compression": compression,
            "compression_level": compression_level,
            "statistics": statistics,
            "row_group_size": row_group_size,
            "data_page_size": data_page_size,
            "metadata": metadata,
        }
        return cls._to(path, schema, mode, durable, options)

    def write_frame(self, df: pl.DataFrame, file: BinaryIO) -> None:
        df.write_parquet(file, **self.options)
