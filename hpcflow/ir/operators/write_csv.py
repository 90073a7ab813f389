"""`dataset.write_csv(directory)`: one CSV file a task, each with its header; `part-00000.csv`, ... hold the rows in order."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Self

import polars as pl

from hpcflow.ir.operators.file_sink import FileSink


@dataclass(frozen=True, eq=False)
class WriteCsv(FileSink):
    """CSV files."""

    name: ClassVar[str] = "write_csv"
    suffix: ClassVar[str] = ".csv"

    @classmethod
    def to(
        cls,
        path: str | os.PathLike[str],
        schema: pl.Schema,
        *,
        mode: str = "error",
        durable: bool = False,
        include_bom: bool = False,
        include_header: bool = True,
        separator: str = ",",
        line_terminator: str = "\n",
        quote_char: str = '"',
        batch_size: int = 1024,
        datetime_format: str | None = None,
        date_format: str | None = None,
        time_format: str | None = None,
        float_scientific: bool | None = None,
        float_precision: int | None = None,
        decimal_comma: bool = False,
        null_value: str | None = None,
        quote_style: str | None = None,
    ) -> Self:
        """Check the target before anything runs. Options as in `pl.DataFrame.write_csv`; SinkError says what is in the way."""
        options: dict[str, Any] = {
            "include_bom": include_bom,
            "include_header": include_header,
            "separator": separator,
            "line_terminator": line_terminator,
            "quote_char": quote_char,
            "batch_size": batch_size,
            "datetime_format": datetime_format,
            "date_format": date_format,
            "time_format": time_format,
            "float_scientific": float_scientific,
            "float_precision": float_precision,
            "decimal_comma": decimal_comma,
            "null_value": null_value,
            "quote_style": quote_style,
        }
        return cls._to(path, schema, mode, durable, options)

    def write_frame(self, df: pl.DataFrame, file: BinaryIO) -> None:
        df.write_csv(file, **self.options)
