"""What every sink promises: tasks write parts that nobody sees, and the driver makes all of them visible or none.

    write (workers, once a task attempt)  ->  commit(parts) (driver, when all tasks are done)
                                          ->  abort(parts)  (driver, when anything failed; also removes what lost attempts wrote)

Invariant: until `commit`, and after `abort`, a reader of the target sees what was there before.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from hpcflow.ir.operators.base import Operator, TaskInfo


@dataclass(frozen=True)
class SinkPart:
    """What one task wrote."""

    task: int
    attempt: int
    rows: int
    bytes: int
    """Bytes written."""
    temporary: str | None
    """Where it lies until the commit; None when nothing had to be written."""
    final: str | None
    """Where it will be."""


@dataclass(frozen=True, eq=False)
class Sink(Operator):
    """Base of all sinks."""

    @abstractmethod
    def write(self, df: pl.DataFrame, task_index: int, attempt: int) -> SinkPart:
        """Write the rows of one task out of sight. Runs on a worker; SinkError when it cannot."""

    @abstractmethod
    def commit(self, parts: Sequence[SinkPart]) -> None:
        """Make the parts visible: one of each task. Driver only; SinkError when it cannot, and then nothing has changed."""

    @abstractmethod
    def abort(self, parts: Sequence[SinkPart]) -> None:
        """Remove every trace of the run, lost attempts included. Driver only; safe to call twice."""

    @property
    def may_write_again(self) -> bool:
        """A write that failed has left nothing: the same rows may be written in another attempt."""
        return False

    @property
    def is_skipped(self) -> bool:
        """Nothing is to be written (mode "ignore" and something is there): the driver need not run the action."""
        return False

    def output_schema(self, inputs: tuple[pl.Schema, ...]) -> pl.Schema:
        """The rows that go in."""
        return inputs[0]

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        """The rows that are to be written, as they are."""
        return inputs[0]

    @property
    def deterministic(self) -> bool:
        """Two writes are two writes."""
        return False

    def fingerprint(self) -> object:
        return id(self)
