"""`dataset.bsp(function, inputs=...)`: a function that runs on all workers at once and may call MPI collectives.

Invariant: it is called exactly once a worker, also where the worker has no rows, since it is a collective. Nothing else is evaluated in its stage
before it, and passes move nothing across it. Its result's rows are in worker order.

    def centred(ctx, table):                                         # MPI inside a dataflow program
        total = ctx.comm.allreduce(table["x"].sum(), op=ctx.MPI.SUM)
        ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from hpcflow.errors import SchemaError
from hpcflow.ir.edge_needs import EdgeNeeds
from hpcflow.ir.operators.base import Operator, TaskInfo, brief
from hpcflow.ir.operators.map_batches import Format, conform, from_format, to_format
from hpcflow.ir.properties import EdgeProperties, Pattern


@dataclass(frozen=True, eq=False)
class Bsp(Operator):
    """`function(ctx, *tables, **arguments) -> table, dict of columns, array or None`, on all workers at once."""

    function: Callable[..., Any]
    schema: pl.Schema
    """Of the result; without columns: the function returns None."""
    format: Format = "polars"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs_count: int = 1
    is_deterministic: bool = False
    name = "bsp"
    runs_user_code = True
    together = True

    def output_schema(self, inputs: tuple[pl.Schema, ...]) -> pl.Schema:
        return self.schema

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        if task.step is None:
            raise RuntimeError("a bsp step needs all workers at once: the runtime gives its task a step")
        tables = [to_format(frame.collect(), self.format) for frame in inputs]
        result = task.step.call(lambda context: self.function(context, *tables, **self.arguments))
        return self.table_of(result).lazy()

    def table_of(self, result: Any) -> pl.DataFrame:
        """What the function returned, as a table of the declared schema."""
        if result is None:
            return pl.DataFrame(schema=self.schema)
        df = from_format(self._typed(result), self.name, self.schema)
        if not self.schema and df.width:
            declared = ", ".join(f"{name!r}: pl.{dtype!r}" for name, dtype in df.schema.items())
            raise SchemaError(
                f"the function of bsp returned a table and no schema was declared: pass bsp(..., schema={{{declared}}}), or return None"
            )
        return conform(df, self.schema, self.name)

    def _typed(self, result: Any) -> Any:
        """A dict of columns with arrays of Python objects (texts) made columns of the declared types: an empty one does not say what it holds."""
        if not isinstance(result, dict):
            return result
        objects = {name for name, values in result.items() if isinstance(values, np.ndarray) and values.dtype == object and name in self.schema}
        return {name: pl.Series(name, list(values), self.schema[name]) if name in objects else values for name, values in result.items()}

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        patterns = (Pattern.SHARE, Pattern.ONE_TO_ONE, Pattern.BROADCAST)
        return EdgeNeeds(patterns, "what runs on all workers at once reads their shares; put repartition(...) before it", reads_order=True)

    @property
    def deterministic(self) -> bool:
        return self.is_deterministic

    def describe(self) -> str:
        arguments = "".join(f", {name}={brief(value, 40)}" for name, value in self.arguments.items())
        inputs = "" if self.inputs_count == 1 else f", {self.inputs_count} inputs"
        return f"{brief(self.function)}{inputs}{arguments}, on all workers at once"
