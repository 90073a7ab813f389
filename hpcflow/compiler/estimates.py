"""Upper estimates of the bytes that leave each vertex, from what sources know and what operators cannot enlarge; None where nothing is known."""

from __future__ import annotations

from hpcflow.compiler.policy import CompileContext
from hpcflow.ir.dag import Dag, Vertex
from hpcflow.ir.operators.concat import Align, Cache, Concat, ReadCache, Repartition
from hpcflow.ir.operators.filter import Filter
from hpcflow.ir.operators.group_by import FinalGroupBy, GroupBy, PartialGroupBy
from hpcflow.ir.operators.join import Join
from hpcflow.ir.operators.reshape import Cast, Rename
from hpcflow.ir.operators.select import Select
from hpcflow.ir.operators.sort import Slice, SlicePositions, Sort, TopK
from hpcflow.ir.operators.source import Source
from hpcflow.ir.operators.unique import Unique
from hpcflow.ir.operators.with_columns import WithColumns, WithScalars

SAME_ROWS_OR_FEWER = (
    Align,
    Cache,
    Repartition,
    Filter,
    GroupBy,
    PartialGroupBy,
    FinalGroupBy,
    Cast,
    Rename,
    Select,
    Slice,
    SlicePositions,
    Sort,
    TopK,
    Unique,
    WithColumns,
    WithScalars,
)


def estimate_bytes(dag: Dag, context: CompileContext) -> dict[int, int | None]:
    """Vertex -> bytes."""
    sizes: dict[int, int | None] = {}
    for vertex in dag.topological():
        sizes[vertex.id] = _estimate(dag, vertex, sizes, context)
    return sizes


def _estimate(dag: Dag, vertex: Vertex, sizes: dict[int, int | None], context: CompileContext) -> int | None:
    operator = vertex.operator
    if isinstance(operator, Source):
        return operator.statistics().size_bytes
    if isinstance(operator, ReadCache):
        return context.cached[operator.key][1] if operator.key in context.cached else None
    inputs = [sizes[e.source] for e in dag.inputs(vertex.id)]
    if isinstance(operator, Concat):
        return None if None in inputs else sum(i for i in inputs if i is not None)
    if isinstance(operator, Join) and operator.how in ("semi", "anti"):
        return inputs[0]
    if isinstance(operator, SAME_ROWS_OR_FEWER) and inputs[0] is not None:
        width_in = max(len(dag.input_schemas(vertex.id)[0]), 1)
        return inputs[0] * max(len(vertex.schema), 1) // width_in if len(vertex.schema) != width_in else inputs[0]
    return None
