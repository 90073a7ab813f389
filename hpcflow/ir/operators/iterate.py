"""The loop vertex: one part of the state that `hf.iterate` leaves.

Invariant: it is never planned. Before an action that needs it the session runs the loop, which leaves the part's rows on the workers under `key`;
what is planned reads them there.

    initial state -> iterate(ranks) -> ...
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from hpcflow.ir.operators.base import Operator, TaskInfo


@dataclass(frozen=True, eq=False)
class Iterate(Operator):
    """`part` of the state after the loop."""

    loop: Any = field(repr=False)
    """The `hpcflow.api.loops.Loop`: its body, traced once, and when it ends."""
    part: str
    schema: pl.Schema
    inputs_count: int
    name = "iterate"

    @property
    def key(self) -> str:
        """Where the workers keep the rows."""
        key: str = self.loop.result_key(self.part)
        return key

    def output_schema(self, inputs: tuple[pl.Schema, ...]) -> pl.Schema:
        return self.schema

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        raise TypeError("a loop is run by the session, iteration by iteration, and not as a task")

    def describe(self) -> str:
        return f"{self.part}, {self.loop.describe()}"

    def fingerprint(self) -> object:
        return (type(self), self.key)
