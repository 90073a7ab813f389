"""A whole loop inside one bsp step: the body is called again and again on the workers, and an allreduce of aggregates says when to stop.

    iterate(state -> state.bsp(f), until=pl.col("change").max() < 1e-9)     ->    bsp(f, at most n times until ...)

Invariant: all workers see the same verdict, computed from the same rows in worker order, so that they leave the loop together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from hpcflow.ir.operators.base import Operator, TaskInfo, brief
from hpcflow.ir.operators.bsp import Bsp
from hpcflow.ir.operators.group_by import PartialGroupBy
from hpcflow.ir.operators.map_batches import to_format


@dataclass(frozen=True, eq=False)
class LoopedFunction:
    """What a bsp step calls instead of the body of a loop."""

    body: Bsp
    limit: int
    """Most iterations."""
    verdict: tuple[Operator, ...] = ()
    """Partial aggregates of one worker's rows, then what makes one Boolean of all workers' partials; empty: `limit` iterations are run."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "__qualname__", f"{brief(self.body.function)} at most {self.limit} times")  # how explain calls it

    def __call__(self, ctx: Any, *tables: pl.DataFrame) -> pl.DataFrame:
        state, *others = tables
        given = [to_format(table, self.body.format) for table in others]
        for _ in range(self.limit):
            result = self.body.function(ctx, to_format(state, self.body.format), *given, **self.body.arguments)
            state = self.body.table_of(result)
            if self.verdict and self._is_true(ctx, state):
                break
        return state

    def _is_true(self, ctx: Any, state: pl.DataFrame) -> bool:
        info = TaskInfo(0)
        partial = self.verdict[0].apply((state.lazy(),), info).collect()
        rows = pl.concat(ctx.comm.allgather(partial)).lazy()
        for operator in self.verdict[1:]:
            rows = operator.apply((rows,), info)
        return bool(rows.collect().item())


def fused(body: Bsp, limit: int, verdict: tuple[Operator, ...]) -> Bsp:
    """The step that is up to `limit` iterations of `body`."""
    assert not verdict or isinstance(verdict[0], PartialGroupBy)
    return Bsp(LoopedFunction(body, limit, verdict), body.schema, "polars", {}, body.inputs_count)
