"""What must hold of every Dag; the pass runner checks it after each pass, `with_property` when a user sets something.

Raises IllegalDagError naming the vertex or edge, what is wrong with it and what the operator can work with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import polars as pl

from hpcflow.errors import HpcflowError
from hpcflow.ir.dag import Dag, Edge, Vertex
from hpcflow.ir.edge_needs import EdgeNeeds
from hpcflow.ir.fusion import is_fused
from hpcflow.ir.operators.base import Operator, fingerprint_of
from hpcflow.ir.operators.bsp import Bsp
from hpcflow.ir.operators.concat import Concat, ReadCache
from hpcflow.ir.operators.iterate import Iterate
from hpcflow.ir.operators.join import Join
from hpcflow.ir.operators.source import Source
from hpcflow.ir.operators.task_function import TaskFunction
from hpcflow.ir.operators.with_columns import WithScalars
from hpcflow.ir.partitioning import Known, Partitioning, all_partitionings
from hpcflow.ir.properties import EdgeProperties, Pattern, SortKey, VertexProperties


class IllegalDagError(HpcflowError):
    """A Dag that cannot be run, or whose rows would be wrong: what a pass or a user set does not fit the operators."""


def check(dag: Dag, partitioned: Mapping[str, frozenset[Partitioning]] = MappingProxyType({}), before: Dag | None = None) -> None:
    """Structure, schemas and edge properties of `dag`.

    partitioned: the hash partitionings of the cached datasets that the workers hold; before: a checked Dag that `dag` was made of
    """
    for vertex in dag.vertices.values():
        inputs = dag.inputs(vertex.id)
        if [edge.index for edge in inputs] != list(range(len(inputs))):
            raise IllegalDagError(f"{vertex} has inputs numbered {[edge.index for edge in inputs]}")
        if len(inputs) != _inputs_wanted(vertex.operator):
            raise IllegalDagError(f"{vertex} wants {_inputs_wanted(vertex.operator)} inputs and has {len(inputs)}")
        if vertex.properties.slots < 1:
            raise IllegalDagError(f"{vertex}: a task takes at least one slot, not {vertex.properties.slots}")
        if vertex.operator.together and _scheduling(vertex.properties) != (None, None, None, 1):
            raise IllegalDagError(
                f"{vertex} runs on all workers at once, on a thread of its own: placement, resources, parallelism and slots are not for it"
            )
    for edge in dag.edges:
        if edge.source not in dag.vertices or edge.target not in dag.vertices:
            raise IllegalDagError(f"edge {edge.source} -> {edge.target} has an end that is not in the Dag")
        _check_edge(dag, edge)
    _check_needs(dag, partitioned, before)


def _scheduling(properties: VertexProperties) -> tuple[object, ...]:
    return (properties.placement, properties.resources, properties.parallelism, properties.slots)


def _inputs_wanted(operator: Operator) -> int:
    if isinstance(operator, Source | ReadCache):
        return 0
    if isinstance(operator, Concat | Bsp | TaskFunction | Iterate):
        return operator.inputs_count
    return 2 if isinstance(operator, Join | WithScalars) else 1


def _check_edge(dag: Dag, edge: Edge) -> None:
    where = f"edge {dag.vertices[edge.source]} -> {dag.vertices[edge.target]}"
    properties = edge.properties
    schema = dag.vertices[edge.source].schema
    if properties.pattern is Pattern.HASH_SHUFFLE and not properties.keys:
        raise IllegalDagError(f"{where}: a hash shuffle needs keys")
    if properties.pattern is Pattern.RANGE_SHUFFLE and not properties.order:
        raise IllegalDagError(f"{where}: a range shuffle needs an order")
    if properties.pattern is Pattern.USER_SHUFFLE and properties.function is None:
        raise IllegalDagError(f"{where}: a user shuffle needs a function")
    if properties.pattern in (Pattern.GATHER, Pattern.BROADCAST) and properties.partition_count not in (None, 1):
        raise IllegalDagError(f"{where}: {properties.pattern.value} has one partition, not {properties.partition_count}")
    if properties.partition_count is not None and properties.partition_count < 1:
        raise IllegalDagError(f"{where}: {properties.partition_count} partitions")
    if properties.transport == "shared memory" and properties.compression != "none" and {"transport", "compression"} <= properties.permanent:
        raise IllegalDagError(
            f"{where}: frames in shared memory are read as they are, so compression={properties.compression!r} has nothing to do: set one of the two"
        )
    for expression in (*properties.keys, *(key.expression for key in properties.order)):
        for name in expression.meta.root_names():
            if name not in schema:
                raise IllegalDagError(f"{where}: key column {name!r} is not among {schema.names()}")
    for name, dtype in schema.items():
        if properties.pattern.moves_rows and dtype == pl.Object:
            raise IllegalDagError(f"{where}: column {name!r} holds Python objects, which cannot travel between workers; cast or drop it")


# -- what operators need ----------------------------------------------------------------------------------------------------------------------------


def _check_needs(dag: Dag, partitioned: Mapping[str, frozenset[Partitioning]], before: Dag | None) -> None:
    """Every edge does what the operator that it leads into needs (`Operator.edge_needs`)."""
    known: dict[int, Known] | None = None
    for vertex in dag.vertices.values():
        edges = dag.inputs(vertex.id)
        if not edges or (before is not None and _is_as_before(dag, before, vertex, edges)):
            continue
        properties, schemas = tuple(edge.properties for edge in edges), dag.input_schemas(vertex.id)
        needs = [vertex.operator.edge_needs(index, properties, schemas) for index in range(len(edges))]
        for edge, need in zip(edges, needs, strict=True):
            _check_pattern(vertex, edge.index, edge.properties, need)
            if need.keys is not None and edge.properties.pattern is Pattern.ONE_TO_ONE and known is None:
                known = all_partitionings(dag, partitioned)
        if known is not None:
            _check_in_place(dag, vertex, edges, needs, known)
        _check_counts(vertex, edges, needs)


def _is_as_before(dag: Dag, before: Dag, vertex: Vertex, edges: tuple[Edge, ...]) -> bool:
    """Whether nothing that the needs of `vertex` are compared with has changed. Rows that lie in place may have: such edges are looked at again."""
    old = before.vertices.get(vertex.id)
    if old is None or old.operator is not vertex.operator or (len(edges) > 1 and any(not e.properties.pattern.moves_rows for e in edges)):
        return False
    if len(edges) == 1 and not edges[0].properties.pattern.moves_rows and not vertex.operator.row_wise:
        return False
    pairs = zip(edges, before.inputs(vertex.id), strict=True)
    return all(
        e.properties is o.properties and (e.source == o.source or dag.vertices[e.source].schema == before.vertices[o.source].schema) for e, o in pairs
    )


def _check_pattern(vertex: Vertex, index: int, properties: EdgeProperties, need: EdgeNeeds) -> None:
    works = ", ".join(repr(pattern.value) for pattern in need.patterns) or "none"
    where = f"{vertex} cannot have %s on input {index}, since {need.why}"
    if properties.pattern not in need.patterns:
        raise IllegalDagError(f"{where % f'pattern={properties.pattern.value!r}'}; it works with {works}")
    if properties.pattern is Pattern.HASH_SHUFFLE and need.keys is not None:
        given, wanted = fingerprints(properties.keys), fingerprints(need.keys)
        if not (set(given) <= set(wanted) if need.some_keys else given == wanted):
            shown, those = _shown(properties.keys), _shown(need.keys)
            raise IllegalDagError(f"{where % f'keys={shown}'}; it works with keys={those}" + (" or some of these" if need.some_keys else ""))
    if properties.pattern is Pattern.RANGE_SHUFFLE and need.order is not None and _order(properties.order) != _order(need.order):
        those = _shown(key.expression for key in need.order)
        raise IllegalDagError(f"{where % f'order={_shown(key.expression for key in properties.order)}'}; it works with its own order, by {those}")
    if need.reads_order and not properties.ordered and properties.pattern.moves_rows:
        raise IllegalDagError(f"{vertex} cannot have ordered=False on input {index}: what it gives depends on the order of its rows")


def _check_in_place(dag: Dag, vertex: Vertex, edges: tuple[Edge, ...], needs: list[EdgeNeeds], known: Mapping[int, Known]) -> None:
    """One-to-one edges into an operator whose equal keys have to meet: the rows lie by those keys already."""
    for edge, need in zip(edges, needs, strict=True):
        if edge.properties.pattern is not Pattern.ONE_TO_ONE or need.keys is None:
            continue
        wanted = fingerprints(need.keys)
        if need.in_step:
            counts = _counts_in_step(dag, edges, needs, known)
            found = bool(counts) and is_fused(dag, edge)
        else:
            found = any(set(keys) <= set(wanted) for keys, _ in known[edge.source].together)
        if not found:
            others = ", ".join(repr(pattern.value) for pattern in need.patterns if pattern is not Pattern.ONE_TO_ONE)
            raise IllegalDagError(
                f"{vertex} cannot have pattern='one-to-one' on input {edge.index}, since {need.why}, and they do not lie so in the tasks before it; "
                f"it works with {others}, or with one-to-one behind repartition(by={_shown(need.keys)})"
            )


def _counts_in_step(dag: Dag, edges: tuple[Edge, ...], needs: list[EdgeNeeds], known: Mapping[int, Known]) -> set[int | None]:
    """The numbers of partitions, by the keys, that all inputs have: those of a shuffle, or those in which the rows lie already."""
    every: list[set[int | None]] = []
    for edge, need in zip(edges, needs, strict=True):
        wanted = fingerprints(need.keys or ())
        if edge.properties.pattern is Pattern.HASH_SHUFFLE:
            every.append({edge.properties.partition_count})
        else:
            every.append({count for keys, count in known[edge.source].aligned if keys == wanted})
    return set.intersection(*every)


def _check_counts(vertex: Vertex, edges: tuple[Edge, ...], needs: list[EdgeNeeds]) -> None:
    """Inputs that are read in step are not asked for different numbers of partitions."""
    asked = [edge.properties for edge, need in zip(edges, needs, strict=True) if need.in_step and edge.properties.pattern.is_shuffle]
    counts = {properties.partition_count for properties in asked if "partition_count" in properties.permanent}
    if len(counts - {None}) > 1:
        shown = " and ".join(str(count) for count in sorted(count for count in counts if count is not None))
        raise IllegalDagError(
            f"{vertex} cannot have partition_count={shown} on its inputs: they are read in step; give both the same, or set one of them"
        )


def fingerprints(keys: Iterable[pl.Expr]) -> tuple[object, ...]:
    """Equal for equal keys."""
    return tuple(fingerprint_of(key) for key in keys)


def _order(order: Iterable[SortKey]) -> list[object]:
    return [(fingerprint_of(key.expression), key.descending, key.nulls_last) for key in order]


def _shown(keys: Iterable[pl.Expr]) -> str:
    return "[" + ", ".join(" ".join(str(key).split()) for key in keys) + "]"
