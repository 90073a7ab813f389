"""Session: the table of contents of the engine.

    dataset -> dag -> optimized dag -> stages -> plan -> result

`_execute` below is that line; each word is a layer of its own. Invariant: on a rank above 0 of an MPI world, `Session()` does not return: it serves
the driver.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from inspect import signature
from types import TracebackType
from typing import Any, Self

import polars as pl

from hpcflow.api import building
from hpcflow.api.actions import Action, collect_action, make_action
from hpcflow.api.batches import block_runs, in_batches
from hpcflow.api.dataset import Dataset
from hpcflow.api.extras import require_extra
from hpcflow.api.loops import refuse_stand_ins
from hpcflow.api.polars_options import of_a_reader
from hpcflow.api.schemas import schema_of
from hpcflow.arguments import Count, check_arguments, checked, checked_function
from hpcflow.compiled import Compiled, PlansOnly
from hpcflow.compiler.policy import CompileContext, optimize, resolve
from hpcflow.config import SessionConfig, load_config
from hpcflow.errors import ArgumentTypeError, ConfigError, HpcflowError, UnpicklableError
from hpcflow.events import records
from hpcflow.events.log import EventLog
from hpcflow.ir.dag import Vertex
from hpcflow.ir.depth import room_for
from hpcflow.ir.operators.concat import Cache, ReadCache
from hpcflow.ir.operators.from_memory import FromMemory
from hpcflow.ir.operators.paths import PathsLike
from hpcflow.ir.operators.range import Range
from hpcflow.ir.operators.read_parquet import ReadParquet
from hpcflow.ir.operators.source import Source
from hpcflow.ir.program import program_of
from hpcflow.launch.launchers.environment import check_world, detect
from hpcflow.looping import explain_loops, run_loops
from hpcflow.nested_loops import loops_of
from hpcflow.plan.explain import explain
from hpcflow.plan.physical import WrongGuessError
from hpcflow.plan.reuse import PlanCache, ReadyPlan
from hpcflow.plan.stages import split_stages
from hpcflow.runtime.action_end import HASTY_END_TIMEOUT_S
from hpcflow.runtime.action_result import ActionResult
from hpcflow.runtime.cluster import Cluster, mpi_library, start_in_process, start_mpi
from hpcflow.runtime.endings import told_by_rank_0, uncaught
from hpcflow.runtime.faces import MasterFace, RunnableAction
from hpcflow.runtime.fillings import Fillings
from hpcflow.runtime.futures import ActionThreads, Future
from hpcflow.runtime.master import CacheGoneError
from hpcflow.runtime.placement import resolve_placement
from hpcflow.runtime.progress import watch_progress

_MOST_ATTEMPTS = 100
"""Compilations of one action, each after a dataset that the one before was to read had been unpersisted."""


@checked
class Session:
    """Workers to run datasets on: in-process ones, or the ranks of the MPI world the program was started in.

    Args:
        workers: number of workers; in-process default 1, under MPI given by the world.
        threads: task threads of each worker (default 1: Polars uses the worker's cores).
        memory_budget: bytes or "512MB", of one worker.
        scratch: directories for what does not fit.
        policy: compiler passes: "default", "none" or a `hpcflow.compiler.policy.Policy`.
        master: "dedicated" (rank 0 only coordinates) or "shared" (rank 0 hosts a worker too).
        comm: an mpi4py communicator to run on instead of the world.
        launch: start ranks of its own: "mpirun", "srun", "mpi" (what fits here) or a mapping, see docs/sessions.md; `workers` says how many.
        event_log: path of a JSONL file.
        config: path of a TOML file with a table [hpcflow].
        options: engine tunables, see `hpcflow.config.SessionConfig`.
    """

    def __init__(
        self,
        workers: int | None = None,
        threads: int | None = None,
        memory_budget: int | str | None = None,
        scratch: Any = None,
        policy: Any = None,
        master: str | None = None,
        comm: Any = None,
        launch: Any = None,
        event_log: Any = None,
        config: Any = None,
        **options: Any,
    ) -> None:
        given = {
            "workers": workers,
            "threads": threads,
            "memory_budget": memory_budget,
            "scratch": scratch,
            "policy": policy,
            "master": master,
            "comm": comm,
            "launch": launch,
            "event_log": event_log,
            "config": config,
        }
        with told_by_rank_0(detect(os.environ).rank):
            self._open(given | options)

    def _open(self, options: dict[str, Any]) -> None:
        self.config: SessionConfig = load_config(options)
        self._policy = resolve(self.config.policy)
        resolve_placement(self.config.placement)  # a wrong name is told before anything starts
        self.events = EventLog(self.config.event_log, job=f"{os.getpid():x}-{time.time_ns():x}")
        self._started = time.monotonic()
        self._actions = 0
        self._plans = PlanCache()
        self._threads = ActionThreads()
        self._fillings = Fillings()
        self._plans_only = PlansOnly() if os.environ.get("HPCFLOW_EXPLAIN_ONLY") else None
        self._restart = threading.RLock()
        self._cluster: Cluster[Any] | None = self._start()
        self._stop_progress = watch_progress(self.events, self.config.progress)
        self._say_started()
        atexit.register(self._close_at_exit)  # a program that ends without closing; the cluster's own exit handlers run after it
        self._warn_of_oversubscription()

    def _say_started(self) -> None:
        master = self._master
        self.events.emit(
            records.SessionStarted(
                workers=self.workers,
                ranks=master.ranks,
                hosts=tuple(master.hellos[r].host for r in sorted(master.hellos)),
                memory_budget_bytes=self.config.memory_budget or 0,
                versions=master.hellos[min(master.hellos)].versions,
            )
        )

    def _start(self) -> Cluster[Any]:
        if self.config.launch is not None:
            from hpcflow.own_ranks import start_own_ranks

            return start_own_ranks(self.config, self.events)
        hint = detect(os.environ)
        if self.config.comm is not None or hint.launched or hint.slurm_step_tasks not in (None, 1):
            cluster = start_mpi(self.config, self.events)
            if cluster is not None:
                return cluster
            if self.config.comm is None:
                check_world(hint, 1, mpi_library())
        return start_in_process(self.config, self.events)

    def _warn_of_oversubscription(self) -> None:
        hellos = self._master.hellos.values()
        processes = {(h.host, h.pid): h for h in hellos}
        for host in {h.host for h in hellos}:
            here = [h for h in processes.values() if h.host == host]
            threads, cores = sum(h.polars_threads for h in here), max(h.cores for h in here)
            if len(here) > 1 and threads > max(cores, len(here)):
                print(
                    f"hpcflow: {len(here)} workers on {host} have {threads} Polars threads for {cores} cores; start with `hpcflow run`, or "
                    f"set POLARS_MAX_THREADS="
                    f"{max(1, cores // len(here))}",
                    file=sys.stderr,
                )

    # -- sources ------------------------------------------------------------------------------------------------------------------------------------

    def read_parquet(self, source: PathsLike, **options: Any) -> Dataset:
        """Parquet files.

        Args:
            source: a path, a list of them, a glob or a directory.
            options: `n_rows` (the first so many rows), `row_index_name` and `row_index_offset` (a column that numbers them); and those of
                `polars.scan_parquet` that `ReadParquet.of` names.

        Raises:
            ArgumentTypeError: for an option that there is not, with near names.
            SourceError: names a file that is missing, damaged or of another schema.
        """
        return self._read("read_parquet", ReadParquet.of, source, options)

    def read_csv(self, source: PathsLike, **options: Any) -> Dataset:
        """CSV files; data types are fixed once, here. Options are `n_rows`, `row_index_name`, `row_index_offset` as for `read_parquet`, and those of
        `polars.scan_csv` that `ReadCsv.of` names."""
        from hpcflow.ir.operators.read_csv import ReadCsv

        return self._read("read_csv", ReadCsv.of, source, options)

    def read_text(self, source: PathsLike, **options: Any) -> Dataset:
        """Text files: one row a line, column "text". Options are `n_rows`, `row_index_name`, `row_index_offset`, `name` (of the column), `glob` and
        `storage_options`."""
        from hpcflow.ir.operators.read_text import ReadText

        return self._read("read_text", ReadText.of, source, options)

    def read_ipc(self, source: PathsLike, **options: Any) -> Dataset:
        """Arrow IPC (Feather) files. Options are `n_rows`, `row_index_name`, `row_index_offset`, `glob` and `storage_options`."""
        from hpcflow.ir.operators.read_ipc import ReadIpc

        return self._read("read_ipc", ReadIpc.of, source, options)

    def _read(self, name: str, of: Callable[..., Source], source: PathsLike, options: dict[str, Any]) -> Dataset:
        """The dataset of a file source, whose own options are those of `of`."""
        options = of_a_reader(name, options)
        rows = {one: options.pop(one) for one in signature(_some_rows).parameters if one in options}
        check_arguments(name, of, (source,), options, more=tuple(signature(_some_rows).parameters)[1:])
        for one in ("schema", "hive_schema"):
            if options.get(one) is not None:
                schema_of(options[one], name, one)
        try:
            made = of(source, **options)
        except HpcflowError:
            raise
        except (TypeError, ValueError, AttributeError, OverflowError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise ArgumentTypeError(f"{name}: an option is not what Polars takes: {error}") from error
        return checked_function(_some_rows, name)(self._source(made), **rows)

    def from_polars(self, df: pl.DataFrame | pl.LazyFrame | pl.Series) -> Dataset:
        """A table of the driver, dealt out to the workers when it is used."""
        return self._source(FromMemory.of(df.collect() if isinstance(df, pl.LazyFrame) else df))

    def from_arrow(self, table: Any) -> Dataset:
        """A pyarrow table (or anything with the Arrow C stream interface) of the driver."""
        return self._source(FromMemory.of(table))

    def from_pandas(self, df: Any) -> Dataset:
        """A pandas DataFrame of the driver; ConfigError without pandas."""
        require_extra("pandas", "from_pandas")
        return self._source(FromMemory.of(df))

    def from_numpy(self, data: Any, schema: Any = None) -> Dataset:
        """A NumPy array (2-D: one column a column) or a dict of 1-D arrays of the driver."""
        return self._source(FromMemory.of(data, schema))

    def from_items(self, items: Any, schema: Any = None) -> Dataset:
        """A sequence of dicts, tuples or scalars of the driver."""
        return self._source(FromMemory.of(items, schema))

    def from_dict(self, data: Mapping[str, Any], schema: Any = None) -> Dataset:
        """Columns of the driver."""
        return self._source(FromMemory.of(dict(data), schema))

    def range(self, start: int, end: int | None = None, step: int = 1, *, name: str = "value") -> Dataset:
        """Integers from `start` to `end` (exclusive); with one argument from 0."""
        return self._source(Range.of(0, start, step, name=name) if end is None else Range.of(start, end, step, name=name))

    def _source(self, operator: Source) -> Dataset:
        return Dataset(self, Vertex(operator, operator.schema))

    # -- the line ------------------------------------------------------------------------------------------------------------------------------------

    def _compile(self, sinks: Sequence[Dataset], guesses: bool = True) -> Compiled:
        with room_for(sum(1 for _ in building.behind(sinks))):
            started = time.perf_counter()
            context = replace(self._context(), guesses=guesses)
            logical = building.to_dag(sinks, context.cached)
            loops = {loop.result_key(part): (0, 0) for loop in loops_of(sinks) for part in loop.parts}
            read = building.to_dag(sinks, {**loops, **context.cached}) if loops else logical  # a loop is run before, and its result is read
            optimized, passes = optimize(read, self._policy, context)
            plan = split_stages(optimized, context.default_partitions, context.partitioned)
            return Compiled(logical, optimized, passes, plan, time.perf_counter() - started)

    def _context(self) -> CompileContext:
        master = self._master
        held = master.cached()
        cached = {key: (blocks.rows, blocks.size_bytes) for key, blocks in held.items()}
        partitioned = {key: blocks.partitionings for key, blocks in held.items() if blocks.partitionings}
        hosts = {h.host for h in master.hellos.values()}
        return CompileContext(self.workers, self.config, len(hosts), cached, partitioned)

    def _execute(self, sinks: Sequence[Dataset], name: str, future: Future[Any] | None = None) -> ActionResult:
        """Run these datasets to their end; the results are under the ids of their vertices. The action is the future's to cancel, if there is one."""
        if self._plans_only is not None:
            return self._plans_only.show(name, self._compile(sinks))
        run_loops(self, sinks, future)
        with self._filling(sinks, future):
            try:
                ready, result = self._run(sinks, name, future)
            except WrongGuessError:
                ready, result = self._run(sinks, name, future, guesses=False)
        names = {there: sink._vertex.id for there, sink in zip(ready.sinks, sinks, strict=True)}
        tables = {names[vertex]: table for vertex, table in result.tables.items()}
        return replace(result, tables=tables, rows={names[vertex]: rows for vertex, rows in result.rows.items() if vertex in names})

    def _run(self, sinks: Sequence[Dataset], name: str, future: Future[Any] | None, guesses: bool = True) -> tuple[ReadyPlan, ActionResult]:
        ready, action = self._prepare(sinks, name, guesses)
        if future is not None:
            future.attach(action)
        return ready, action.run()

    @contextmanager
    def _filling(self, sinks: Sequence[Dataset], future: Future[Any] | None = None) -> Iterator[None]:
        """Alone in filling the cached datasets that are not there yet."""
        stopped = (lambda: False) if future is None else lambda: future.is_cancelled
        keys = self._fillings.begin(lambda: building.caches_to_fill(sinks, self._master.cached()), stopped)
        try:
            yield
        finally:
            self._fillings.end(keys)

    def _prepare(self, sinks: Sequence[Dataset], name: str, guesses: bool) -> tuple[ReadyPlan, RunnableAction]:
        attempts = 0
        while True:
            self._actions += 1
            attempts += 1
            ready = self._ready(sinks, guesses)
            try:
                return ready, self._master.prepare(ready.plan, name, ready.bindings)
            except CacheGoneError:  # unpersisted between the two lines
                refuse_stand_ins(sinks, name)
                if attempts == _MOST_ATTEMPTS:
                    raise

    def _ready(self, sinks: Sequence[Dataset], guesses: bool) -> ReadyPlan:
        """A plan for these datasets: the one that an equal program got before, or a new one. Without guesses always a new one, which is kept."""
        ids = tuple(sink._vertex.id for sink in sinks)
        with room_for(sum(1 for _ in building.behind(sinks))):
            context = self._context()
            held = {key: (size_bytes.bit_length(), context.partitioned.get(key)) for key, (_, size_bytes) in context.cached.items()}
            program = program_of(building.to_dag(sinks, context.cached), ids, held)
            found = self._plans.find(program) if guesses else None
            return found or self._plans.add(program, ids, self._compiled(sinks, guesses).plan)

    def _compiled(self, sinks: Sequence[Dataset], guesses: bool = True) -> Compiled:
        """Compile for an action that begins now, and say so in the event log."""
        compiled = self._compile(sinks, guesses)
        for report in compiled.passes:
            self.events.emit(
                records.PassRun(
                    action=self._actions,
                    name=report.name,
                    seconds=report.seconds,
                    changed=report.changed,
                    skipped=report.skipped,
                    vertices_before=report.vertices_before,
                    vertices_after=report.vertices_after,
                )
            )
        return compiled

    # -- actions ------------------------------------------------------------------------------------------------------------------------------------

    def _check_placement(self, placement: Any) -> None:
        """ConfigError for a name that is no strategy's."""
        if placement is not None and not isinstance(placement, tuple):
            resolve_placement(placement)

    def _act(self, action: Action, future: Future[Any] | None = None) -> Any:
        """What the action comes to, once it has run."""
        return action.finish(self._execute(action.sinks, action.name, future)) if action.sinks else None

    def submit(self, datasets: Dataset | Sequence[Dataset], action: str = "collect", *args: Any, **options: Any) -> Future[Any]:
        """Begin an action and go on; see `Dataset.submit`. Several datasets are collected together: what they share is computed once."""
        ready = make_action([datasets] if isinstance(datasets, Dataset) else list(datasets), action, args, options)
        self._master  # noqa: B018  # a closed session says so here, not in the future
        return self._threads.submit(action, partial(self._act, ready))

    def _collect(self, datasets: list[Dataset]) -> list[pl.DataFrame]:
        result: list[pl.DataFrame] = self._act(collect_action(datasets))
        return result

    def _run_end(self, sink: Dataset, name: str) -> int:
        result = self._execute([sink], name)
        return result.rows[sink._vertex.id]

    def _iter_batches(self, dataset: Dataset, rows: int) -> Iterator[pl.DataFrame]:
        if rows < 1:
            raise ConfigError(f"iter_batches: {rows} rows a batch; give at least 1")
        cached = dataset.cache()
        cached.count()
        operator = cached._vertex.operator
        assert isinstance(operator, Cache)
        try:
            blocks = self._master.cached()[operator.key].blocks
            runs = block_runs([(block.rows, block.size_bytes) for block in blocks], rows)
            read = [Dataset(self, Vertex(ReadCache(operator.key, run), dataset.schema)) for run in runs]
            yield from in_batches((part.collect() for part in read), rows)
        finally:
            cached.unpersist()

    def _unpersist(self, key: str) -> None:
        self._master.unpersist(key)

    def _explain(self, sinks: list[Dataset], passes: bool, analyze: bool, format: str) -> str:
        if analyze and self._plans_only is None:
            run_loops(self, sinks)
            self._actions += 1
            with self._filling(sinks):
                compiled = self._compiled(sinks)
                try:
                    result = self._master.prepare(compiled.plan, "explain").run()
                except WrongGuessError:
                    compiled = self._compiled(sinks, guesses=False)
                    result = self._master.prepare(compiled.plan, "explain").run()
        else:
            compiled, result = self._compile(sinks), None
        parts = (compiled.logical, compiled.optimized, compiled.passes, compiled.plan)
        text = explain(*parts, passes=passes, result=result, format=format, workers=self.workers)
        return "\n".join([text, *explain_loops(self, sinks, passes)]) if format == "text" else text

    # -- life ----------------------------------------------------------------------------------------------------------------------------------------

    @property
    def _master(self) -> MasterFace:
        if self._cluster is None:
            raise ConfigError("this session is closed; open another with hf.Session()")
        master: MasterFace = self._cluster.master
        if master.lost is None or self.config.launch is None:
            return master
        with self._restart:
            if self._cluster.master is master:
                self._cluster.close()
                self._cluster = self._start()
                self._say_started()
            return self._master

    @property
    def is_open(self) -> bool:
        """Whether it has workers: not after `close`."""
        return self._cluster is not None

    @property
    def workers(self) -> int:
        """Number of workers."""
        return len(self._master.worker_ranks)

    def close(self, *, cancel: bool = False) -> None:
        """Wait for the futures that have not ended, or cancel them; free what the workers hold and end the session.

        Leaving the `with` block by an exception cancels, and so does an uncaught one at the end of the program. Ctrl-C while waiting cancels too.
        """
        if self._cluster is None:
            return
        atexit.unregister(self._close_at_exit)
        try:
            if not cancel:
                self._threads.wait()
        finally:
            self._threads.cancel_all()
            cluster, self._cluster = self._cluster, None
            self._close_cluster(cluster)

    def _close_at_exit(self) -> None:
        self.close(cancel=uncaught() is not None)

    def _close_cluster(self, cluster: Cluster[Any] | None) -> None:
        if cluster is None:  # closed by another thread meanwhile
            return
        self._stop_progress()
        try:
            cluster.master.settle(HASTY_END_TIMEOUT_S)
            self._threads.wait(HASTY_END_TIMEOUT_S)
            cluster.close()
        finally:
            self.events.emit(records.SessionStopped(seconds=time.monotonic() - self._started, actions=self._actions))
            self.events.close()

    def __getstate__(self) -> object:
        raise UnpicklableError("a Session belongs to the driver: a function that runs on workers cannot use it, nor its datasets")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close(cancel=error is not None)
        except Exception as second:
            if error is None:
                raise
            error.add_note(f"closing the session failed too: {type(second).__name__}: {second}")  # the first failure is the one to report


def _some_rows(dataset: Dataset, n_rows: Count | None = None, row_index_name: str | None = None, row_index_offset: Count = 0) -> Dataset:
    """What `polars.scan_*` makes of these options: the first rows, then their numbers."""
    first = dataset if n_rows is None else dataset.head(n_rows)
    return first if row_index_name is None else first.with_row_index(row_index_name, row_index_offset)


__all__ = ["HpcflowError", "Session"]
