"""What a worker does with one task: read its inputs, evaluate its operators, hand its output over.

Invariant: one task of a process computes in Polars at a time, while others pack or wait; a task whose inputs do not fit is evaluated piece by piece;
an attempt that failed and may pass is repeated here (retries.py), and nobody else gets to know of it than the event log.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import cloudpickle
import numpy as np
import polars as pl

from hpcflow.bsp.step import Step
from hpcflow.errors import ActionCancelledError
from hpcflow.events import records
from hpcflow.events.records import Event
from hpcflow.ir import shared_values
from hpcflow.ir.operators.base import TaskInfo
from hpcflow.ir.operators.sink import Sink, SinkPart
from hpcflow.ir.operators.source import Source
from hpcflow.ir.properties import DataStore, Persistence
from hpcflow.plan.physical import (
    BlockRef,
    BlocksLeaf,
    BroadcastLeaf,
    DriverLeaf,
    ExchangeLeaf,
    ExchangeOutput,
    Leaf,
    LeafRef,
    PartitionRun,
    ShareLeaf,
    ShareRef,
    SinkOutput,
    SourceLeaf,
    SplitRef,
    Stage,
    StoreOutput,
    TaskSpec,
)
from hpcflow.runtime import messages as m
from hpcflow.runtime.block_store import BlockStore
from hpcflow.runtime.failures import first_line
from hpcflow.runtime.oversize import Keep, Pieces, check_piece, cut_into_pieces
from hpcflow.runtime.partitioning import make_partitioner, partitioner_name
from hpcflow.runtime.retries import is_passing, may_repeat, pause_s
from hpcflow.runtime.tasks import OperatorTrace, evaluate
from hpcflow.runtime.worker_action import WorkerAction
from hpcflow.shuffle.key_tables import sort_key_table
from hpcflow.shuffle.partitioners import TASK_POSITION_BITS, SharePartitioner, sample_keys

SAMPLE_ROWS = 2048
"""Sort keys that one task samples for the splitters."""

Kept = dict[str, tuple[tuple[Any, ...], int, int]]
"""Inputs of a bsp step that are kept for the next one: edge -> key of the block, rows, bytes."""


class TaskEvaluation:
    """Evaluates the tasks of one worker; `run` may be called by several threads."""

    def __init__(self, store: BlockStore, rank: int, number: int, target_bytes: int, attempts: int, emit: Callable[[Event], None]) -> None:
        self._store = store
        self._rank = rank
        self._number = number
        """0-based number among the workers."""
        self._target_bytes = target_bytes
        """Input of a task above which it is cut into pieces."""
        self._attempts = attempts
        """How often a task is tried in all."""
        self._emit = emit
        self._polars = threading.Semaphore(1)
        self._broadcasts = threading.Lock()

    def run(self, action: WorkerAction, stage: Stage, task: TaskSpec, trace: OperatorTrace, step: Step | None = None) -> m.TaskResult:
        """Evaluate a task; what may pass is tried again while nothing has left the task."""
        while True:
            try:
                return self._run(action, stage, task, trace, step)
            except Exception as error:
                if step is not None or trace.handed_over or not may_repeat(action.plan, stage) or not self._tries_again(action, task, trace, error):
                    raise

    def _tries_again(self, action: WorkerAction, task: TaskSpec, trace: OperatorTrace, error: Exception) -> bool:
        """False when `error` is final; else the failed attempt is told and counted, and a pause is made."""
        if trace.attempt + 1 >= self._attempts or not is_passing(error) or action.cancelled is not None:
            return False
        self._emit(
            records.TaskFailed(
                action=action.id,
                stage=f"S{task.stage}",
                task=task.index,
                worker=self._rank,
                attempt=trace.attempt,
                operator=trace.name,
                error=type(error).__name__,
                message=first_line(error)[:2000],
            )
        )
        until = time.monotonic() + pause_s(trace.attempt)
        trace.attempt += 1
        while time.monotonic() < until:
            if action.cancelled is not None:
                raise ActionCancelledError(action.cancelled) from error
            time.sleep(0.02)
        return True

    def _run(self, action: WorkerAction, stage: Stage, task: TaskSpec, trace: OperatorTrace, step: Step | None) -> m.TaskResult:
        started = time.monotonic()
        needs = stage.properties.resources
        reservation = max(stage.properties.memory_bytes or 0, 0 if needs is None else needs.memory_bytes)
        self._store.budget.reserve("tasks", reservation)
        self._store.make_room()
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self._store.budget.release, "tasks", reservation)
            sums = cleanup.enter_context(shared_values.collecting())
            peak = cleanup.enter_context(self._store.budget.watch_peak())
            pieces = cut_into_pieces(action.plan, stage, task, action.exchanges, self._target_bytes) if step is None else None
            kept: Kept = {}
            if step is not None:
                result = self._output(action, stage, task, self._compute_step(action, stage, task, trace, step, kept), trace)
            elif pieces is None:
                df = self._compute(action, stage, task, trace, None, 0)
                self._release_inputs(action, task, trace)
                result = self._output(action, stage, task, df, trace)
            else:
                result = self._run_pieces(action, stage, task, trace, pieces)
        return m.TaskResult(
            stage.id,
            task.index,
            result.pop("rows"),
            result.pop("size_bytes"),
            time.monotonic() - started,
            peak_memory_bytes=peak.bytes,
            kept=kept,
            attempt=trace.attempt,
            sums=cloudpickle.dumps(sums, protocol=5) if sums else b"",
            **result,
        )

    def _compute(
        self, action: WorkerAction, stage: Stage, task: TaskSpec, trace: OperatorTrace, keep: Callable[[str], Keep] | None, row_start: int
    ) -> pl.DataFrame:
        if action.cancelled is not None:
            raise ActionCancelledError(action.cancelled)
        info = TaskInfo(task.index, row_start=row_start, rank=self._rank, worker=self._number)
        with self._polars:
            df = evaluate(action.plan, stage, task, info, lambda leaf, ref: self._read(action, leaf, ref, keep), trace).collect()
        trace.built = []
        return df

    def _compute_step(
        self,
        action: WorkerAction,
        stage: Stage,
        task: TaskSpec,
        trace: OperatorTrace,
        step: Step,
        kept: Kept,
    ) -> pl.DataFrame:
        """The user's function may wait for other workers: no task has to wait for it, so the Polars pool is not held."""
        info = TaskInfo(task.index, rank=self._rank, worker=self._number, step=step)

        def read(leaf: Leaf, ref: LeafRef | None) -> pl.LazyFrame:
            if isinstance(leaf, ShareLeaf) and isinstance(ref, ShareRef):
                return self._read_share(action, leaf, ref, kept).lazy()
            return self._read(action, leaf, ref, None)

        df = evaluate(action.plan, stage, task, info, read, trace).collect()
        trace.built = []
        return df

    def _read_share(self, action: WorkerAction, leaf: ShareLeaf, ref: ShareRef, kept: Kept) -> pl.DataFrame:
        """This worker's rows of one input; those of a cached dataset are kept as one block from then on, so that the next step finds them ready."""
        if ref.partition is not None:
            df = action.exchanges[leaf.edge].extract([ref.partition])
        else:
            tables = [self._store.get_table(key) for key in ref.keys]
            df = pl.concat(tables) if tables else pl.DataFrame(schema=action.plan.dag.vertices[leaf.source].schema)
        if ref.keep is not None and (ref.partition is not None or len(ref.keys) > 1 or df.n_chunks() > 1):
            df = df.rechunk()
            self._store.put_table(ref.keep, df, "cache")
            kept[leaf.edge] = (ref.keep, df.height, int(df.estimated_size()))
        return df

    def _run_pieces(self, action: WorkerAction, stage: Stage, task: TaskSpec, trace: OperatorTrace, pieces: Pieces) -> dict[str, Any]:
        """The task on one piece of its partitions after the other; what goes into an exchange leaves with its piece, what is stored or written is
        put together."""
        rows = size_bytes = 0
        kept: list[pl.DataFrame] = []
        exchange_only = all(isinstance(output, ExchangeOutput) for output in stage.outputs)
        for piece in range(pieces.count):
            df = self._compute(action, stage, task, trace, lambda edge, piece=piece: pieces.keep(edge, piece), rows)  # type: ignore[misc]
            if exchange_only:
                size_bytes += self._output(action, stage, task, df, trace)["size_bytes"]
            else:
                kept.append(df)
            rows += df.height
            self._store.make_room()
        self._release_inputs(action, task, trace)
        if exchange_only:
            return {"rows": rows, "size_bytes": size_bytes}
        return self._output(action, stage, task, pl.concat(kept), trace)

    def _read(self, action: WorkerAction, leaf: Leaf, ref: LeafRef | None, keep: Callable[[str], Keep] | None) -> pl.LazyFrame:
        if isinstance(leaf, SourceLeaf | DriverLeaf) and isinstance(ref, SplitRef):
            source = action.plan.operator(leaf.vertex)
            assert isinstance(source, Source)
            return source.scan(ref.split)
        if isinstance(leaf, BlocksLeaf) and isinstance(ref, BlockRef):
            tables = [self._store.get_table(key) for key in ref.keys]
            return (tables[0] if len(tables) == 1 else pl.concat(tables, rechunk=False)).lazy()
        if isinstance(leaf, ExchangeLeaf | DriverLeaf) and isinstance(ref, PartitionRun):
            if keep is None:
                return action.exchanges[leaf.edge].extract(range(ref.start, ref.stop)).lazy()
            df = action.exchanges[leaf.edge].extract(range(ref.start, ref.stop), keep(leaf.edge))
            check_piece(df, action.plan.exchanges[leaf.edge].properties, self._store.budget.limit_bytes)
            return df.lazy()
        assert isinstance(leaf, BroadcastLeaf)
        with self._broadcasts:
            table = action.broadcasts.get(leaf.edge)
        if table is None:
            exchange = action.exchanges[leaf.edge]
            table = exchange.extract(list(exchange.partition_sizes()))
            with self._broadcasts:
                action.broadcasts[leaf.edge] = table
        return table.lazy()

    def _release_inputs(self, action: WorkerAction, task: TaskSpec, trace: OperatorTrace) -> None:
        for leaf, ref in task.reads:
            if not (isinstance(leaf, ExchangeLeaf | DriverLeaf) and isinstance(ref, PartitionRun)):
                continue
            if action.plan.exchanges[leaf.edge].properties.persistence is Persistence.DISCARD:
                trace.handed_over = True
                action.exchanges[leaf.edge].release(range(ref.start, ref.stop))

    def _output(self, action: WorkerAction, stage: Stage, task: TaskSpec, df: pl.DataFrame, trace: OperatorTrace) -> dict[str, Any]:
        trace.handed_over = True
        result: dict[str, Any] = {"rows": df.height, "size_bytes": df.estimated_size()}
        for output in stage.outputs:
            if isinstance(output, ExchangeOutput):
                trace.name = partitioner_name(action.plan, output.edge)
                self._insert(action, output.edge, task, df, trace.attempt)
            elif isinstance(output, StoreOutput):
                result |= self._keep(action, stage, task, output, df)
            elif isinstance(output, SinkOutput):
                sink = action.plan.operator(output.vertex)
                assert isinstance(sink, Sink)
                trace.name = str(action.plan.dag.vertices[output.vertex])
                result["sink_parts"] = (*result.get("sink_parts", ()), self._written(action, task, sink, df, trace))
        return result

    def _written(self, action: WorkerAction, task: TaskSpec, sink: Sink, df: pl.DataFrame, trace: OperatorTrace) -> SinkPart:
        while True:
            try:
                return sink.write(df, task.index, trace.attempt)
            except Exception as error:
                if not sink.may_write_again or not self._tries_again(action, task, trace, error):
                    raise

    def _insert(self, action: WorkerAction, edge: str, task: TaskSpec, df: pl.DataFrame, attempt: int) -> None:
        exchange = action.exchanges[edge]
        partitioner = action.partitioners.get(edge)
        self._store.make_room()
        if partitioner is None:
            exchange.insert_broadcast(df, task=task.index, attempt=attempt)
        elif df.height:
            start = _stored_position(task) if isinstance(partitioner, SharePartitioner) else None
            ids = partitioner.partition_ids(df, task.index << TASK_POSITION_BITS if start is None else start)
            exchange.insert(df, ids, task=task.index, attempt=attempt)

    def _keep(self, action: WorkerAction, stage: Stage, task: TaskSpec, output: StoreOutput, df: pl.DataFrame) -> dict[str, Any]:
        key = (
            ("cache", action.caches.get(output.cache, output.cache), action.id, task.index)
            if output.cache is not None
            else ("action", action.id, stage.id, task.index)
        )
        readers = action.plan.dag.outputs(stage.root.vertex) if hasattr(stage.root, "vertex") else ()
        to_scratch = any(reader.properties.data_store is DataStore.SCRATCH for reader in readers)
        self._store.put_table(key, df, "cache" if output.cache is not None else "blocks", to_scratch)
        samples, histograms = {}, {}
        for edge, statistic in output.statistics:
            properties = action.plan.exchanges[edge].properties
            if statistic == "sample":
                keys = sort_key_table(df, tuple(k.expression for k in properties.order))
                samples[edge] = sample_keys(keys, keys.columns, SAMPLE_ROWS, task.index << TASK_POSITION_BITS, task.index)
            else:
                partitions = action.plan.exchanges[edge].partitions
                ids = make_partitioner(properties, partitions).partition_ids(df, 0)
                histograms[edge] = np.bincount(ids, minlength=partitions) * max(1, df.estimated_size() // max(df.height, 1))
        return {"block": key, "samples": samples, "histograms": histograms}


def _stored_position(task: TaskSpec) -> int | None:
    """The position in its dataset of the first stored row that the task reads, where it was asked for."""
    return next((ref.position_start for _, ref in task.reads if isinstance(ref, BlockRef)), None)
