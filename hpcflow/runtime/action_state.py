"""The books of one action: what is known of its stages, exchanges and workers while it runs.

Invariant: one thread changes them, the one that runs the action (`action.ActionRun`); `hand_out`, `exchange_opening` and `action_end` are its hands.
"""

from __future__ import annotations

import math
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpcflow.bsp.place import RankResources
from hpcflow.errors import HpcflowError
from hpcflow.events import records
from hpcflow.ir.operators.from_memory import FromMemory
from hpcflow.ir.operators.source import MOST_SPLITS, Source, Split, SplitHint
from hpcflow.ir.properties import VertexProperties
from hpcflow.ir.shared_values import Shareable
from hpcflow.ir.task_needs import TaskNeeds
from hpcflow.plan.physical import BlocksLeaf, ExchangeOutput, ExchangePlan, PhysicalPlan, ShareLeaf, Stage, TaskSpec
from hpcflow.plan.reuse import Bindings
from hpcflow.runtime import messages as m
from hpcflow.runtime.mail import Mail
from hpcflow.runtime.placement import Placement, WorkerView, resolve_placement
from hpcflow.runtime.shares import Layout
from hpcflow.runtime.states import StageState, check_transition
from hpcflow.runtime.task_making import KnownInputs, PlannedTask, StoredBlock
from hpcflow.shuffle.exchange import Exchange, ExchangeSpec

if TYPE_CHECKING:
    from hpcflow.runtime.master import Master


@dataclass
class StageRun:
    """What is known of one stage while the action runs."""

    stage: Stage
    state: StageState = StageState.WAITING
    tasks: list[PlannedTask] = field(default_factory=list)
    unassigned: deque[TaskSpec] = field(default_factory=deque)
    """Tasks that any (allowed) worker may run and nobody has."""
    held: deque[PlannedTask] = field(default_factory=deque)
    """Tasks of a stage of which not all may be needed, in its order, that nobody has."""
    first_rows: tuple[int, int] = (0, 0)
    """Of such a stage: the first (tasks) that have ended, and the rows that they have given."""
    assigned: dict[int, int] = field(default_factory=dict)
    """Task -> rank."""
    results: dict[int, m.TaskResult] = field(default_factory=dict)
    bytes_out: int = 0
    """Of all results so far."""
    last_given: bool = False
    """Every worker has been told that it has got its last task."""
    stealing_from: set[int] = field(default_factory=set)
    started: float = 0.0
    ended: float = 0.0
    step: int = 0
    """Number of a stage that runs on all workers at once."""

    def move(self, state: StageState) -> None:
        """Change state along a drawn arrow."""
        check_transition(self.state, state)
        self.state = state


@dataclass
class ExchangeRun:
    """What is known of one exchange while the action runs."""

    plan: ExchangePlan
    spec: ExchangeSpec
    local: Exchange | None
    """The driver's end, where it inserts or owns."""
    owners: frozenset[int]
    done: dict[int, m.ExchangeDone] = field(default_factory=dict)
    opened: float = field(default_factory=time.monotonic)

    @property
    def complete(self) -> bool:
        """Every owner has all its rows."""
        return self.owners <= self.done.keys()

    def sizes(self) -> dict[int, tuple[int, int]]:
        """Partition -> (rows, bytes)."""
        return {p: size for done in self.done.values() for p, size in done.sizes.items()}


@dataclass(frozen=True)
class FarDriver:
    """What comes with an action whose driver is not in this process."""

    blob: bytes | None
    """The plan as the driver pickled it; None for one that the workers keep."""
    shared: tuple[Shareable, ...]
    """Broadcast values that its functions use."""
    take_sums: Callable[[bytes], None]
    """Gets what each task has added to accumulators, in order."""
    splits: Mapping[int, tuple[Split, ...]]
    """Source vertex -> its splits, where only the driver can make them (it has read the footers)."""


class ActionState:
    """Books of one plan that is being run on the workers of `master`."""

    def __init__(self, master: Master, id: int, plan: PhysicalPlan, name: str, bindings: Bindings) -> None:
        self.master = master
        self.id = id
        self.plan = plan
        self.name = name
        self.bindings = bindings
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.stages = {stage.id: StageRun(stage) for stage in plan.stages}
        self.exchanges: dict[str, ExchangeRun] = {}
        self.queued = dict.fromkeys(master.worker_ranks, 0)
        """Rank -> tasks it has been given and not finished, over all stages."""
        self.layouts: dict[str, Layout] = {}
        """Edge into a bsp step -> where its rows lie, and whether they are dealt out."""
        self._splits: dict[int, tuple[Split, ...]] = {}
        self.ended: dict[int, m.ActionEnded] = {}
        """Rank -> its word that it has let go."""
        self.committed = False
        """Sinks are complete: a later failure removes nothing."""
        self.slots = 1 if master.config.threads is None else master.config.threads
        self.mail = Mail(master)
        self.carried: set[str] = set()
        """Edges of small tables of the driver, whose rows travel with the tasks."""
        self.end_posted = False
        """The workers have been told to let go."""
        self.far_driver: FarDriver | None = None
        self.caches = {key: master.caches[key] for key in caches_read(plan, bindings)}
        """Cached datasets that the plan reads: their blocks, which stay as long as the action."""
        self.end_by = math.inf
        """When to give up waiting for workers to let go, by the monotonic clock."""

    def allowed_ranks(self, run: StageRun) -> tuple[int, ...]:
        """Workers that may run tasks of this stage: those that the user named, of these the ones that have what a task needs."""
        placement, needs = run.stage.properties.placement, run.stage.properties.resources
        ranks = self.master.worker_ranks
        allowed = tuple(ranks[w] for w in placement if 0 <= w < len(ranks)) if isinstance(placement, tuple) else ranks
        if not allowed:
            raise HpcflowError(
                f"stage {run.stage.id} ({run.stage.label}) may run on workers {placement}, and there are only {len(ranks)}; change the placement"
            )
        if needs is None:
            return allowed
        able = tuple(rank for rank in allowed if _has(self.master.resources[rank], needs))
        if not able:
            there = "; ".join(f"worker {ranks.index(rank)}: {_shown(self.master.resources[rank])}" for rank in allowed)
            raise HpcflowError(f"a task of stage {run.stage.id} ({run.stage.label}) needs {needs}, and no worker has that ({there})")
        return able

    def strategy(self, run: StageRun | None) -> Placement:
        """Who decides where tasks of this stage run and its partitions go."""
        placement = None if run is None else run.stage.properties.placement
        return self.master.placement if placement is None or isinstance(placement, tuple) else resolve_placement(placement)

    def views(self, allowed: Sequence[int]) -> list[WorkerView]:
        """What a strategy is told of these workers."""
        master = self.master
        made = []
        for number, rank in enumerate(master.worker_ranks):
            if rank in allowed:
                own, host = master.resources[rank], master.hellos[rank].host
                made.append(WorkerView(number, host, own.cores, own.memory_bytes, len(own.gpus), self.slots, self.queued[rank]))
        return made

    def filled(self, stage: Stage) -> list[str]:
        """The exchanges that the stage inserts into: none where shares lie already where they belong."""
        return [o.edge for o in stage.outputs if isinstance(o, ExchangeOutput) and o.edge in self.exchanges]

    def known(self, stage: Stage) -> KnownInputs:
        """What `make_tasks` is told."""
        exchanges = {edge: self.exchanges[edge] for leaf in stage.leaves() if (edge := getattr(leaf, "edge", None)) in self.exchanges}
        return KnownInputs(
            splits=self.splits_of,
            owners={edge: run.spec.owners for edge, run in exchanges.items()},
            sizes={edge: run.sizes() for edge, run in exchanges.items()},
            blocks=self.blocks_of,
            target_bytes=self.master.config.target_partition_bytes or (64 << 20),
            tasks_per_owner=self.slots,
        )

    def splits_of(self, vertex: int) -> tuple[Split, ...]:
        """Splits of a source vertex, made once."""
        if vertex not in self._splits:
            operator = self.bindings.tables.get(vertex) or self.plan.operator(vertex)
            assert isinstance(operator, Source)
            if not isinstance(operator, FromMemory):
                self.mail.send()  # reading many footers takes time: the workers need not wait for it
            known = self.far_driver.splits.get(vertex) if self.far_driver is not None else None
            workers, target_bytes = len(self.master.worker_ranks), self.master.config.target_split_bytes
            self._splits[vertex] = known or make_splits(operator, self.plan.dag.vertices[vertex].properties, workers, target_bytes)
        return self._splits[vertex]

    def blocks_of(self, leaf: BlocksLeaf) -> tuple[StoredBlock, ...]:
        """Blocks that a stage reads, in order."""
        if leaf.cache is not None:
            blocks = self.caches[self.bindings.cache(leaf.cache)].blocks
            return blocks if leaf.blocks is None else blocks[slice(*leaf.blocks)]
        assert leaf.stage is not None
        return self.stored(self.stages[leaf.stage])

    def stored(self, run: StageRun) -> tuple[StoredBlock, ...]:
        """Blocks that a stage has left on the workers, in order."""
        results = sorted(run.results.values(), key=lambda r: r.index)
        partitions = {task.spec.index: task.partitions for task in run.tasks}
        return tuple(
            StoredBlock(r.index, run.assigned[r.index], r.block, r.rows, r.size_bytes, partitions[r.index]) for r in results if r.block is not None
        )

    def emit(self, event: records.Event) -> None:
        """Into the job's event log."""
        self.master.events.emit(event)


def make_splits(source: Source, properties: VertexProperties, workers: int, target_bytes: int) -> tuple[Split, ...]:
    """Splits for whole rounds of tasks over the workers: one task too many would keep one of them busy while the others wait."""
    slots = properties.parallelism or workers
    rounds = max(1, -(-(source.statistics().size_bytes or 0) // (slots * target_bytes)))
    halved = slots if rounds > 2 else 0  # the last round: workers then wait half as long for the slowest (a task more costs about 10 ms)
    return source.splits(SplitHint(slots * min(rounds, max(1, MOST_SPLITS // slots)), target_bytes, halved))


def caches_read(plan: PhysicalPlan, bindings: Bindings) -> set[str]:
    """Keys of the cached datasets that a plan reads."""
    leaves = [leaf.blocks if isinstance(leaf, ShareLeaf) else leaf for stage in plan.stages for leaf in stage.leaves()]
    return {bindings.cache(leaf.cache) for leaf in leaves if isinstance(leaf, BlocksLeaf) and leaf.cache is not None}


def _has(own: RankResources, needs: TaskNeeds) -> bool:
    return needs.cores <= own.cores and needs.memory_bytes <= own.memory_bytes and needs.gpus <= len(own.gpus)


def _shown(own: RankResources) -> str:
    return f"{own.cores} cores, {own.memory_bytes:,} bytes, {len(own.gpus)} GPUs"
