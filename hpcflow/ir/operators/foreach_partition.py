"""`dataset.foreach_partition(function)`: calls a user's function with the rows of each partition, for its side effects.

Invariant: the function is called once a non-empty partition and task attempt, on the worker that has the rows; what it returns is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from hpcflow.ir.operators.map_batches import Format, to_format
from hpcflow.ir.operators.sink import Sink, SinkPart


@dataclass(frozen=True, eq=False)
class ForeachPartition(Sink):
    """`function(rows)` once a partition."""

    name: ClassVar[str] = "foreach_partition"
    runs_user_code: ClassVar[bool] = True

    function: Callable[[Any], Any]
    schema: pl.Schema
    format: Format = "polars"

    def write(self, df: pl.DataFrame, task_index: int, attempt: int) -> SinkPart:
        if df.height:
            self.function(to_format(df, self.format))
        return SinkPart(task_index, attempt, df.height, 0, None, None)

    def commit(self, parts: Sequence[SinkPart]) -> None:
        """The function has done what it does."""

    def abort(self, parts: Sequence[SinkPart]) -> None:
        """What the function did is the user's to undo."""
