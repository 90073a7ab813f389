"""The physical plan: what the master schedules and the workers run.

Invariant: a plan pickles, holds all that a worker needs to run any of its tasks but the data, and shares vertex ids with the Dag it came from.

    stage = leaves (where rows come from) -> fused operators -> outputs (where rows go)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import polars as pl

from hpcflow.errors import HpcflowError
from hpcflow.ir.dag import Dag
from hpcflow.ir.operators.base import Operator
from hpcflow.ir.properties import EdgeProperties, VertexProperties


@dataclass(frozen=True)
class SourceLeaf:
    """Rows of a source's splits; any worker may read them."""

    vertex: int


@dataclass(frozen=True)
class DriverLeaf:
    """Rows of a source that the driver holds; the master scatters them through exchange `edge` before the tasks start."""

    vertex: int
    edge: str


@dataclass(frozen=True)
class ExchangeLeaf:
    """Partitions of exchange `edge`; a task runs where its partition is."""

    edge: str


@dataclass(frozen=True)
class BroadcastLeaf:
    """All rows of exchange `edge`, on every worker."""

    edge: str


@dataclass(frozen=True)
class BlocksLeaf:
    """Blocks that stage `stage` of this plan stored, or an earlier action cached under `cache`; a task runs where its block is."""

    stage: int | None = None
    cache: str | None = None
    reader: str = ""
    """The edge that reads them: two branches of a stage may read the same blocks."""
    blocks: tuple[int, int] | None = None
    """(start, stop): only these of them, in the dataset's order."""


@dataclass(frozen=True)
class ShareLeaf:
    """Each worker's rows of one input of a stage that runs on all workers at once."""

    edge: str
    source: int
    """Vertex whose rows they are."""
    blocks: BlocksLeaf
    """Where they lie before they are dealt out."""
    moves: bool
    """Dealt out in even, contiguous shares, by a stage that fills exchange `edge` unless they lie so already; False: they stay in any case."""
    cache: str | None = None
    """The cached dataset that they are: what has been dealt out is kept as its blocks."""


Leaf: TypeAlias = SourceLeaf | DriverLeaf | ExchangeLeaf | BroadcastLeaf | BlocksLeaf | ShareLeaf


@dataclass(frozen=True)
class Node:
    """A fused operator and what it reads."""

    vertex: int
    children: tuple[Node | Leaf, ...]


@dataclass(frozen=True)
class ExchangeOutput:
    """Rows go into exchange `edge`, cut by its partitioner."""

    edge: str


@dataclass(frozen=True)
class StoreOutput:
    """Rows stay in the worker's block store: under `cache` beyond the action, else for later stages of the plan."""

    cache: str | None = None
    statistics: tuple[tuple[str, Literal["sample", "histogram"]], ...] = ()
    """What the task tells the master, for each edge that will carry the rows: a sample of the sort keys, or the bytes of each hash partition."""
    partitionings: frozenset[Any] = frozenset()
    """Hash partitionings that cached rows are in (`ir.partitioning.Partitioning`)."""


@dataclass(frozen=True)
class SinkOutput:
    """Rows are written by the sink operator of vertex `vertex`."""

    vertex: int


Output: TypeAlias = ExchangeOutput | StoreOutput | SinkOutput


@dataclass(frozen=True)
class ExchangePlan:
    """One edge that moves rows."""

    edge: str
    """`e<source>-<target>.<input>`."""
    properties: EdgeProperties
    schema: pl.Schema
    partitions: int
    to_driver: bool
    """The one partition belongs to the driver."""
    producer: int
    """Stage that inserts; -1: the driver scatters a source it holds."""


@dataclass(frozen=True)
class Stage:
    """A chain of fused operators, run as one task for each split, partition or block."""

    id: int
    root: Node | Leaf
    outputs: tuple[Output, ...]
    depends: tuple[int, ...]
    """Stages that must have ended before this one's tasks can be made."""
    properties: VertexProperties
    label: str
    """Operators from source to root, for people."""
    uses_positions: bool = False
    together: bool = False
    """One task a worker, all at once (bsp)."""
    in_runs: bool = False
    """Source tasks go to the workers in contiguous runs, so that blocks lie in worker order: shares are dealt out of them."""
    enough_rows: int | None = None
    """Nobody needs more than its first so many rows: once the first tasks have given them, no other task is begun. None: all are needed."""

    def vertices(self) -> tuple[int, ...]:
        """Vertices whose operators the stage evaluates, readers before what they read."""
        found: list[int] = []
        stack: list[Node | Leaf] = [self.root]
        while stack:
            item = stack.pop()
            if isinstance(item, Node):
                found.append(item.vertex)
                stack.extend(reversed(item.children))
        return tuple(found)

    def leaves(self) -> tuple[Leaf, ...]:
        """All leaves, left to right."""
        found: list[Leaf] = []
        stack: list[Node | Leaf] = [self.root]
        while stack:
            item = stack.pop()
            if isinstance(item, Node):
                stack.extend(reversed(item.children))
            else:
                found.append(item)
        return tuple(found)


@dataclass(frozen=True)
class PhysicalPlan:
    """Stages in an order in which every stage comes after those it depends on."""

    dag: Dag
    stages: tuple[Stage, ...]
    exchanges: dict[str, ExchangePlan]
    results: dict[int, str]
    """Collect vertex -> edge whose rows the driver gets."""
    ends: dict[int, int]
    """Vertex of any other action (sink, keep) -> stage that does it."""

    def operator(self, vertex: int) -> Operator:
        """The operator of a vertex of the Dag."""
        return self.dag.vertices[vertex].operator

    def has_whole_partitions(self, stage: Stage) -> bool:
        """Whether an operator of `stage` is promised one task for each partition of its inputs."""
        return any(self.operator(vertex).whole_partitions for vertex in stage.vertices())

    def exchange_producer(self, edge: str) -> Stage | None:
        """The stage that inserts into `edge`."""
        producer = self.exchanges[edge].producer
        return None if producer < 0 else next(s for s in self.stages if s.id == producer)


# What a task reads of a leaf.


@dataclass(frozen=True)
class PartitionRun:
    """Partitions [start, stop) of an exchange."""

    start: int
    stop: int


@dataclass(frozen=True)
class BlockRef:
    """Blocks in the store of the worker that runs the task, one after the other."""

    keys: tuple[tuple[Any, ...], ...]
    position_start: int | None = None
    """Rows of the leaf's blocks before these; None where no operator asks for positions."""
    total_rows: int | None = None
    """Rows of all blocks of the leaf."""


@dataclass(frozen=True)
class SplitRef:
    """One split of a source."""

    split: Any


@dataclass(frozen=True)
class ShareRef:
    """The worker's share: these blocks of its store, or its partition of the exchange (`partition`)."""

    keys: tuple[tuple[Any, ...], ...] = ()
    partition: int | None = None
    keep: tuple[Any, ...] | None = None
    """Key under which a share of a cached dataset is kept as one block, if it is not one already."""


LeafRef: TypeAlias = PartitionRun | BlockRef | SplitRef | ShareRef


@dataclass(frozen=True)
class TaskSpec:
    """One task: which part of each leaf it reads. A leaf that is missing has no rows for this task (another branch of a concat)."""

    stage: int
    index: int
    reads: tuple[tuple[Leaf, LeafRef], ...]


class WrongGuessError(HpcflowError):
    """A plan rests on a guess that was wrong (`EdgeProperties.most_bytes`). No user sees it: the session plans the action again without guesses."""
