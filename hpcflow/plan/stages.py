"""Cut a Dag into stages.

Everything between edges that are not fused (hpcflow/ir/fusion.py) is one stage. A pull edge (and every range shuffle, whose splitters are known only
after its rows) becomes two stages: one stores, one emits.

    scan -> filter ~hash, push~> group_by        stage 0: scan filter | exchange     stage 1: exchange | group_by
    scan ~range~> sort                           stage 0: scan | store + sample      stage 1: blocks | exchange       stage 2: exchange | sort
    scan ~shares~> bsp                           stage 0: scan | store               stage 1: blocks | exchange       stage 2: shares | bsp
    scan -> cache ~> keep (count)                stage 0: scan cache | store
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from hpcflow.errors import ConfigError
from hpcflow.ir.dag import Dag, Edge, Vertex
from hpcflow.ir.fusion import is_fused
from hpcflow.ir.operators.base import Operator
from hpcflow.ir.operators.concat import Cache, Collect, Keep, ReadCache
from hpcflow.ir.operators.from_memory import FromMemory
from hpcflow.ir.operators.sink import Sink
from hpcflow.ir.operators.sort import Slice, SlicePositions
from hpcflow.ir.operators.source import Source
from hpcflow.ir.partitioning import Known, Partitioning, all_partitionings
from hpcflow.ir.properties import EdgeProperties, Pattern, VertexProperties
from hpcflow.plan.physical import (
    BlocksLeaf,
    BroadcastLeaf,
    DriverLeaf,
    ExchangeLeaf,
    ExchangeOutput,
    ExchangePlan,
    Leaf,
    Node,
    Output,
    PhysicalPlan,
    ShareLeaf,
    SinkOutput,
    SourceLeaf,
    Stage,
    StoreOutput,
)


def split_stages(dag: Dag, default_partitions: int, partitioned: Mapping[str, frozenset[Partitioning]] = MappingProxyType({})) -> PhysicalPlan:
    """The physical plan of `dag`.

    default_partitions: of a shuffle that does not say; partitioned: the hash partitionings of cached datasets that the workers hold
    """
    return _Splitter(dag, default_partitions, partitioned).run()


def edge_name(edge: Edge) -> str:
    """The name of an edge in plans, events and block keys."""
    return f"e{edge.source}-{edge.target}.{edge.index}"


@dataclass
class _Splitter:
    dag: Dag
    default_partitions: int
    partitioned: Mapping[str, frozenset[Partitioning]]
    stages: list[Stage] = field(default_factory=list)
    exchanges: dict[str, ExchangePlan] = field(default_factory=dict)
    stage_of: dict[int, int] = field(default_factory=dict)
    """Vertex -> stage of which it is the root."""

    def run(self) -> PhysicalPlan:
        results: dict[int, str] = {}
        ends: dict[int, int] = {}
        for vertex in self.dag.topological():
            outputs = self.dag.outputs(vertex.id)
            if isinstance(vertex.operator, Collect):
                results[vertex.id] = edge_name(self.dag.inputs(vertex.id)[0])
            elif isinstance(vertex.operator, Keep) and isinstance((source := self._only_input(vertex)).operator, Cache):
                ends[vertex.id] = self.stage_of[source.id]  # a stage that stores rows has counted them
            elif not outputs or not all(is_fused(self.dag, edge) for edge in outputs):
                self._add_stage(vertex)
                if isinstance(vertex.operator, Sink | Keep) or not outputs:
                    ends[vertex.id] = self.stage_of[vertex.id]
        return PhysicalPlan(self.dag, tuple(self._in_runs()), self.exchanges, results, ends)

    def _only_input(self, vertex: Vertex) -> Vertex:
        (edge,) = self.dag.inputs(vertex.id)
        return self.dag.vertices[edge.source]

    def _in_runs(self) -> list[Stage]:
        """The stages, those marked whose rows are dealt out in shares."""
        dealt = {leaf.blocks.stage for stage in self.stages for leaf in stage.leaves() if isinstance(leaf, ShareLeaf) and leaf.moves}
        return [replace(stage, in_runs=True) if stage.id in dealt else stage for stage in self.stages]

    def _add_stage(self, vertex: Vertex) -> None:
        edges = self.dag.outputs(vertex.id)
        if isinstance(vertex.operator, ReadCache):
            shared = [edge for edge in edges if self._is_share(edge)]  # read where the cache has them, not stored once more
            for edge in shared:
                if edge.properties.is_pulled:
                    self._add_emitting(edge, BlocksLeaf(cache=vertex.operator.key, reader=edge_name(edge)), ())
            edges = tuple(edge for edge in edges if edge not in shared and not is_fused(self.dag, edge))
            if self.dag.outputs(vertex.id) and not edges:
                return
        root, depends, properties, labels, positions = self._tree(vertex)
        outputs: list[Output] = []
        pulls: list[Edge] = []
        id = len(self.stages)
        self.stage_of[vertex.id] = id
        for edge in edges:
            if not edge.properties.pattern.moves_rows:
                continue
            if edge.properties.is_pulled:
                pulls.append(edge)
            else:
                self._plan_exchange(edge, id)
                outputs.append(ExchangeOutput(edge_name(edge)))
        if isinstance(vertex.operator, Sink):
            outputs.append(SinkOutput(vertex.id))
        cache = vertex.operator.key if isinstance(vertex.operator, Cache) else None
        waits = any(not edge.properties.pattern.moves_rows and not is_fused(self.dag, edge) for edge in edges)
        if cache is not None or pulls or waits:
            statistics = tuple((edge_name(edge), kind) for edge in pulls if (kind := _statistic(edge)) is not None)
            partitioned = frozenset() if cache is None else self._partitionings()[vertex.id].aligned
            outputs.append(StoreOutput(cache, statistics, partitioned))
        together = any(self.dag.vertices[node.vertex].operator.together for node in _nodes(root))
        enough = None if cache is not None or together else _enough_rows(self.dag, vertex)
        depends_on = tuple(sorted(set(depends)))
        self.stages.append(Stage(id, root, tuple(outputs), depends_on, properties, " > ".join(labels), positions, together, enough_rows=enough))
        for edge in pulls:
            self._add_emitting(edge, self._blocks_of(vertex, edge_name(edge)), (id,))

    def _add_emitting(self, edge: Edge, leaf: BlocksLeaf, depends: tuple[int, ...]) -> None:
        """The stage that sends the stored rows of a pulled edge on."""
        self._plan_exchange(edge, len(self.stages))
        shares = edge.properties.pattern is Pattern.SHARE
        label = "deal out shares" if shares else f"partition by {edge.properties.pattern.value.split()[0]}"
        outputs = (ExchangeOutput(edge_name(edge)),)
        self.stages.append(Stage(len(self.stages), leaf, outputs, depends, VertexProperties(), label, uses_positions=shares))

    def _is_share(self, edge: Edge) -> bool:
        return self.dag.vertices[edge.target].operator.together and edge.properties.pattern is not Pattern.BROADCAST

    def _partitionings(self) -> dict[int, Known]:
        return all_partitionings(self.dag, self.partitioned)

    def _blocks_of(self, vertex: Vertex, reader: str) -> BlocksLeaf:
        return BlocksLeaf(stage=self.stage_of[vertex.id], reader=reader)

    def _plan_exchange(self, edge: Edge, producer: int) -> None:
        properties = edge.properties
        count = properties.partition_count or self.default_partitions
        partitions = count if properties.pattern.is_shuffle else 1
        to_driver = isinstance(self.dag.vertices[edge.target].operator, Collect)
        name = edge_name(edge)
        self.exchanges[name] = ExchangePlan(name, properties, self.dag.vertices[edge.source].schema, partitions, to_driver, producer)

    def _tree(self, vertex: Vertex, reader: str = "") -> tuple[Node | Leaf, list[int], VertexProperties, list[str], bool]:
        """The fused tree below `vertex`, the stages it depends on, its properties, the names of its operators from the source on.

        `reader`: the fused edge through which the stage reads it; empty for the root.
        """
        operator = vertex.operator
        properties = vertex.properties
        if isinstance(operator, FromMemory):
            name = f"e{vertex.id}-driver"
            self.exchanges[name] = ExchangePlan(name, EdgeProperties(pattern=Pattern.ROUND_ROBIN), vertex.schema, 0, False, -1)
            return DriverLeaf(vertex.id, name), [], properties, [operator.name], False
        if isinstance(operator, Source):
            return SourceLeaf(vertex.id), [], properties, [operator.name], False
        if isinstance(operator, ReadCache):
            return BlocksLeaf(cache=operator.key, blocks=operator.blocks, reader=reader), [], properties, [operator.name], False
        children: list[Node | Leaf] = []
        depends: list[int] = []
        labels: list[str] = []
        positions = operator.needs_positions
        for edge in self.dag.inputs(vertex.id):
            child, needs, below, names, child_positions = self._input(edge)
            children.append(child)
            depends += needs
            labels += names
            positions = positions or child_positions
            properties = _stricter(properties, below)
        labels.append(operator.name)
        return Node(vertex.id, tuple(children)), depends, properties, labels, positions

    def _input(self, edge: Edge) -> tuple[Node | Leaf, list[int], VertexProperties, list[str], bool]:
        source = self.dag.vertices[edge.source]
        if is_fused(self.dag, edge):
            return self._tree(source, edge_name(edge))
        name = edge_name(edge)
        if self._is_share(edge):
            return self._share(edge, source)
        if not edge.properties.pattern.moves_rows:
            return self._blocks_of(source, name), [self.stage_of[source.id]], VertexProperties(), [], False
        leaf: Leaf = BroadcastLeaf(name) if edge.properties.pattern is Pattern.BROADCAST else ExchangeLeaf(name)
        return leaf, [self.exchanges[name].producer], VertexProperties(), [], False

    def _share(self, edge: Edge, source: Vertex) -> tuple[Node | Leaf, list[int], VertexProperties, list[str], bool]:
        name, operator = edge_name(edge), source.operator
        moves = edge.properties.is_pulled
        cache = operator.key if isinstance(operator, Cache | ReadCache) else None
        blocks = BlocksLeaf(cache=cache, reader=name) if isinstance(operator, ReadCache) else self._blocks_of(source, name)
        depends = [self.exchanges[name].producer] if moves else [] if blocks.stage is None else [blocks.stage]
        return ShareLeaf(name, source.id, blocks, moves, cache), depends, VertexProperties(), [], False


def _enough_rows(dag: Dag, vertex: Vertex) -> int | None:
    """How many of the first rows that leave `vertex` are all that its readers need; None: they need all."""
    operator = vertex.operator
    is_first = isinstance(operator, Slice) and operator.partial and operator.offset == 0
    readers = [dag.vertices[edge.target].operator for edge in dag.outputs(vertex.id)]
    if not is_first or not readers:
        return None
    ends = [_end(reader) for reader in readers]
    return None if None in ends else max(end for end in ends if end is not None)


def _end(reader: Operator) -> int | None:
    """Up to which of its input's rows, counted from the first one, an operator looks; None: to the last."""
    if isinstance(reader, Slice | SlicePositions) and reader.offset >= 0 and reader.length is not None:
        return None if isinstance(reader, Slice) and reader.partial else reader.offset + reader.length
    return None


def _nodes(item: Node | Leaf) -> Iterator[Node]:
    if isinstance(item, Node):
        yield item
        for child in item.children:
            yield from _nodes(child)


def _statistic(edge: Edge) -> Literal["sample", "histogram"] | None:
    """What the master must know of the stored rows before they travel."""
    if edge.properties.pattern is Pattern.RANGE_SHUFFLE:
        return "sample"
    return "histogram" if edge.properties.pattern is Pattern.HASH_SHUFFLE else None


def _stricter(a: VertexProperties, b: VertexProperties) -> VertexProperties:
    """The properties of a stage whose operators have `a` and `b`."""

    def both(x: int | None, y: int | None, pick: Callable[[int, int], int]) -> int | None:
        return pick(x, y) if x is not None and y is not None else x if y is None else y

    placement = a.placement if b.placement is None else b.placement
    if a.placement is not None and b.placement is not None and a.placement != b.placement:
        if not (isinstance(a.placement, tuple) and isinstance(b.placement, tuple)):
            raise ConfigError(
                f"operators of one stage have the placements {a.placement!r} and {b.placement!r}: set one of them, or put a repartition between"
            )
        placement = tuple(w for w in a.placement if w in b.placement)
    needs = [one for one in (a.resources, b.resources) if one is not None]
    return replace(
        a,
        parallelism=both(a.parallelism, b.parallelism, max),
        slots=max(a.slots, b.slots),
        memory_bytes=both(a.memory_bytes, b.memory_bytes, max),
        resources=needs[0].with_at_least(needs[-1]) if needs else None,
        placement=placement,
    )
