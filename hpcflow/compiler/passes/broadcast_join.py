"""Broadcast the small side of a join instead of shuffling both.

a --hash--> join <--hash-- b      ->      a --one-to-one--> join <--broadcast-- b        (b estimated below broadcast_threshold_bytes)

A side counts as small by an upper bound of its bytes, or by a guess that would hold if it were wrong by `CAUTION`. A guess that turns out worse than
that stops the action, which is then planned without guesses (`EdgeProperties.most_bytes`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hpcflow.compiler.estimates import estimate_bytes
from hpcflow.compiler.expectations import expected_sizes
from hpcflow.compiler.policy import CompileContext
from hpcflow.ir.dag import Dag, Edge
from hpcflow.ir.operators.join import Join
from hpcflow.ir.partitioning import all_partitionings, partitioning_of
from hpcflow.ir.properties import Pattern

CAUTION = 4


def broadcast_small_sides(dag: Dag, context: CompileContext) -> Dag:
    """See the module; bounds come from file metadata, row counts and what operators can only shrink."""
    joins = [(vertex, vertex.operator) for vertex in dag.vertices.values() if isinstance(vertex.operator, Join) and vertex.operator.how != "cross"]
    if not joins:
        return dag
    sizes = _Sizes.of(dag, context)
    known = all_partitionings(dag, context.partitioned)
    for vertex, operator in joins:
        left, right = dag.inputs(vertex.id)
        if left.properties.pattern is not Pattern.HASH_SHUFFLE or right.properties.pattern is not Pattern.HASH_SHUFFLE:
            continue
        sides = operator.broadcast_sides
        candidates = [pair for side, pair in ((1, (right, left)), (0, (left, right))) if side in sides]
        # A big side that lies in the partitions of its keys need not move: shuffling the small one moves fewer bytes then.
        candidates = [(small, big) for small, big in candidates if partitioning_of(big) not in known[big.source].aligned]
        candidates = [(small, big) for small, big in candidates if _fits(small, big, sizes, context)]
        if candidates:
            small, big = min(candidates, key=lambda pair: sizes.cautious(pair[0].source) or 0)
            bound, threshold = sizes.bounds[small.source], context.config.broadcast_threshold_bytes
            dag = _broadcast(dag, small, big, CAUTION * threshold if bound is None or bound > threshold else None)
    return dag


@dataclass(frozen=True)
class _Sizes:
    """Bytes that leave each vertex, as bounds and as guesses."""

    bounds: dict[int, int | None]
    guesses: dict[int, float | None]

    @classmethod
    def of(cls, dag: Dag, context: CompileContext) -> _Sizes:
        expected = expected_sizes(dag, context) if context.guesses else dict.fromkeys(dag.vertices)
        guesses = {vertex: None if one is None else one.size_bytes for vertex, one in expected.items()}
        return cls(estimate_bytes(dag, context), guesses)

    def cautious(self, vertex: int) -> float | None:
        """What it may well be."""
        return min((size for size in (self.bounds[vertex], _times(self.guesses[vertex], CAUTION)) if size is not None), default=None)

    def likely(self, vertex: int) -> float | None:
        """What it is if the guess is right."""
        return min((size for size in (self.bounds[vertex], self.guesses[vertex]) if size is not None), default=None)


def _times(size: float | None, factor: float) -> float | None:
    return None if size is None else size * factor


def _fits(small: Edge, big: Edge, sizes: _Sizes, context: CompileContext) -> bool:
    size, other = sizes.cautious(small.source), sizes.likely(big.source)
    if "pattern" in small.properties.permanent or "pattern" in big.properties.permanent or size is None:
        return False
    # With every worker receiving all of it, broadcasting pays while workers x small is below what a shuffle would move.
    return size <= context.config.broadcast_threshold_bytes and (other is None or size * context.workers <= size + other)


def _broadcast(dag: Dag, small: Edge, big: Edge, most_bytes: int | None) -> Dag:
    def along(edge: Edge, pattern: Pattern, most_bytes: int | None) -> Edge:
        return replace(edge, properties=replace(edge.properties, pattern=pattern, keys=(), partition_count=None, most_bytes=most_bytes))

    dag = dag.with_edge(small, along(small, Pattern.BROADCAST, most_bytes))
    return dag.with_edge(big, along(big, Pattern.ONE_TO_ONE, None))
