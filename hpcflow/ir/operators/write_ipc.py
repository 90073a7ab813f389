"""`dataset.write_ipc(directory)`: one Arrow IPC (Feather v2) file a task; `part-00000.arrow`, ... hold the rows in order."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Self

import polars as pl

from hpcflow.ir.operators.file_sink import FileSink


@dataclass(frozen=True, eq=False)
class WriteIpc(FileSink):
    """Arrow IPC files."""

    name: ClassVar[str] = "write_ipc"
    suffix: ClassVar[str] = ".arrow"

    @classmethod
    def to(
        cls,
        path: str | os.PathLike[str],
        schema: pl.Schema,
        *,
        mode: str = "error",
        durable: bool = False,
        compression: str = "uncompressed",
        compat_level: pl.CompatLevel | None = None,
        record_batch_size: int | None = None,
    ) -> Self:
        """Check the target before anything runs. Options as in `pl.DataFrame.write_ipc`; SinkError says what is in the way."""
        options: dict[str, Any] = {"compression": compression, "compat_level": compat_level, "record_batch_size": record_batch_size}
        return cls._to(path, schema, mode, durable, options)

    def write_frame(self, df: pl.DataFrame, file: BinaryIO) -> None:
        df.write_ipc(file, **self.options)
