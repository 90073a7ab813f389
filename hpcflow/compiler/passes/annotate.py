"""Passes that only set execution properties: parallelism, data flow, compression, transport."""

from __future__ import annotations

from dataclasses import replace

from hpcflow.compiler.policy import CompileContext
from hpcflow.ir.dag import Dag
from hpcflow.ir.operators.source import Source
from hpcflow.ir.properties import DataFlow, Pattern


def set_default_parallelism(dag: Dag, context: CompileContext) -> Dag:
    """Sources: as many tasks as keep all slots of all workers busy. Shuffles: partitions per worker times workers; a join's two sides alike."""
    slots = context.config.threads or 1
    for vertex in list(dag.vertices.values()):
        if isinstance(vertex.operator, Source) and vertex.properties.parallelism is None:
            dag = dag.with_vertex(replace(vertex, properties=vertex.properties.with_changes(parallelism=context.workers * slots)))
    for vertex in list(dag.vertices.values()):
        shuffles = [e for e in dag.inputs(vertex.id) if e.properties.pattern.is_shuffle]
        asked = [e.properties.partition_count for e in shuffles if e.properties.partition_count is not None]
        count = max(asked, default=context.default_partitions)
        for edge in shuffles:
            if edge.properties.partition_count != count:
                dag = dag.with_edge(edge, replace(edge, properties=replace(edge.properties, partition_count=count)))
    return dag


def set_compression(dag: Dag, context: CompileContext) -> Dag:
    """Frames are compressed where a user says so, or with lz4 where they cross hosts and the option is "auto"; between processes of one host
    copying is cheaper."""
    chosen = context.config.compression
    codec = ("lz4" if context.nodes > 1 else "none") if chosen == "auto" else chosen
    for edge in dag.edges:
        in_place = edge.properties.transport == "shared memory"  # a user's choice
        if edge.properties.pattern.moves_rows and edge.properties.compression != codec and not in_place:
            dag = dag.with_edge(edge, replace(edge, properties=edge.properties.with_changes(compression=codec)))
    return dag


def set_transport(dag: Dag, context: CompileContext) -> Dag:
    """Frames that are not compressed are read where they were packed, by ranks of the same node: the copy of MPI is saved, and half of the memory."""
    if context.config.shared_memory == 0:
        return dag
    for edge in dag.edges:
        if edge.properties.pattern.moves_rows and edge.properties.compression == "none" and edge.properties.transport != "shared memory":
            dag = dag.with_edge(edge, replace(edge, properties=edge.properties.with_changes(transport="shared memory")))
    return dag


def set_data_flow(dag: Dag, context: CompileContext) -> Dag:
    """A range shuffle is pulled: its splitters are known only after its rows. What can be pushed is."""
    for edge in dag.edges:
        if edge.properties.pattern is Pattern.RANGE_SHUFFLE and edge.properties.data_flow is not DataFlow.PULL:
            dag = dag.with_edge(edge, replace(edge, properties=edge.properties.with_changes(data_flow=DataFlow.PULL)))
    return dag
