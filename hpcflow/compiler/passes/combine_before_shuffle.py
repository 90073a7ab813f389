"""Aggregate partially before rows travel.

scan --hash(k)--> group_by(k, sum v)     ->     scan -> partial_group_by --hash(k)--> final_group_by
scan --hash-->    unique                 ->     scan -> unique --hash--> unique
"""

from __future__ import annotations

from dataclasses import replace

from hpcflow.compiler.policy import CompileContext
from hpcflow.expressions import decompose_all
from hpcflow.ir.dag import Dag, Vertex
from hpcflow.ir.operators.group_by import FinalGroupBy, GroupBy, PartialGroupBy
from hpcflow.ir.operators.unique import Unique
from hpcflow.ir.properties import EdgeProperties, Pattern


def combine_before_shuffle(dag: Dag, context: CompileContext) -> Dag:
    """See the module. An edge with `combiner=False` is left alone, and so is a group-by of which one aggregation does not decompose."""
    for vertex in list(dag.vertices.values()):
        operator = vertex.operator
        if not isinstance(operator, GroupBy | Unique):
            continue
        (edge,) = dag.inputs(vertex.id)
        if edge.properties.pattern is not Pattern.HASH_SHUFFLE or not edge.properties.combiner:
            continue
        schema = dag.vertices[edge.source].schema
        if isinstance(operator, Unique):
            if operator.can_run_twice and not isinstance(dag.vertices[edge.source].operator, Unique):
                # Rows that are first (last) of all are first (last) of their partition; the order within a partition is kept.
                local = Unique(operator.subset, operator.keep, maintain_order=operator.keep != "any", partial=True)
                dag = dag.with_inserted(edge, Vertex(local, schema), EdgeProperties(), edge.properties)
            continue
        if operator.maintain_order:
            continue
        parts = decompose_all(operator.aggregations, schema)
        if not parts.complete:
            continue
        partial = PartialGroupBy(operator.keys, parts.partial, parts.merge)
        below = Vertex(partial, partial.output_schema((schema,)))
        dag = dag.with_inserted(edge, below, EdgeProperties(), edge.properties)
        dag = dag.with_vertex(
            replace(vertex, operator=FinalGroupBy(operator.keys, parts.merge, tuple(one for one in parts.final if one is not None)))
        )
    return dag
