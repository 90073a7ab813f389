"""The ranks of a program: each has an engine, an exchange service, a block store and a Context, and runs the same function.

    in-process     one process; every rank is a thread, ctx.comm a ThreadComm
    MPI            one process a rank; `execute` runs on its main thread, the engine beside it

Invariant: a rank whose `execute` raises tells it once; over MPI it then ends by `os._exit`, and the launcher ends the others, wherever they stand;
in-process the communicators are aborted and the first failure is raised on the caller. Nothing that a run has made outlives it.

    run_in_process(ProgramRun("pi", lambda ctx: ctx.rank, (), config), events)         # [0, 1, 2]: what execute returned on each rank
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from hpcflow.bsp import thread_mpi
from hpcflow.bsp.checked_comm import checked_if, finish_checks
from hpcflow.bsp.context import Context
from hpcflow.bsp.place import Description, describe_process, place_of, resources_of
from hpcflow.bsp.thread_comm import open_thread_group
from hpcflow.comm.base import Comm
from hpcflow.comm.engine import Engine
from hpcflow.comm.in_process import open_group
from hpcflow.comm.mpi import MpiComm, import_mpi, open_mpi
from hpcflow.comm.watchdog import EXIT_FAILURE, end_process, install_excepthooks
from hpcflow.config import SessionConfig
from hpcflow.errors import CollectiveAbortedError, ConfigError, StepTimeoutError
from hpcflow.events import records
from hpcflow.events.log import EventLog
from hpcflow.events.records import Event
from hpcflow.native import ArenaPool
from hpcflow.resources import usable_cores
from hpcflow.runtime.activity import Activity, MainThreadActivity, ThreadActivity
from hpcflow.runtime.cluster import Process, make_exchanges, make_store
from hpcflow.runtime.endings import ProcessWatch, report_exits
from hpcflow.runtime.memory_limits import node_limit
from hpcflow.runtime.program_control import ProgramControl
from hpcflow.runtime.program_endings import FAILED, Interrupts, leave_after, report_and_end, status_of, watch_peers
from hpcflow.runtime.scratch_directory import ScratchDirectory
from hpcflow.runtime.standing import call_site

STOP_TIMEOUT_S: Final = 20.0
SIGNAL_WAIT_S: Final = 0.2
"""In-process: until the caller's thread notices Ctrl-C."""
ABORT_WAIT_S: Final = 3.0
"""In-process, after a failure: for the other ranks' threads to notice. What still runs then is left behind as a daemon."""
_LAST_FRAME_S: Final = 1.0
"""For the engine thread to put away the frame that it has in hand when a program ends."""


@dataclass(frozen=True)
class ProgramRun:
    """What to run. name: for reports and events; arguments: words of the command line."""

    name: str
    execute: Callable[[Context], Any]
    arguments: tuple[str, ...]
    config: SessionConfig


class Member:
    """One rank's engine and what stays with it from run to run: numbers of runs and of exchange steps, the same on all ranks."""

    def __init__(self, engine: Engine, pool: ArenaPool) -> None:
        self.engine = engine  # started
        self.pool = pool
        self.runs = itertools.count(1)
        self.steps = itertools.count(1)


def run_rank(
    run: ProgramRun,
    member: Member,
    comm: Any,
    mpi: Any,
    emit: Callable[[Event], None],
    activity: Activity,
    on_standstill: Callable[[StepTimeoutError], None],
    on_control: Callable[[ProgramControl, list[Description]], None] = lambda control, ranks: None,
    on_peers_failure: Callable[[int], None] = lambda status: None,
    on_failure: Callable[[BaseException], None] = lambda error: None,
) -> Any:
    """`run` on this rank, from its Context to the common end; collective over `comm`. Returns or raises what `execute` does.

    comm: of the ranks of `member`'s engine, in the same order; nobody else uses it
    on_control: called once, with what all ranks have told about themselves
    on_peers_failure: called with the exit status that another rank says it ends with
    on_failure: called with what execute raised, before anything is let go of
    """
    engine, config = member.engine, run.config
    ranks: list[Description] = comm.allgather(describe_process())
    place = place_of(ranks, engine.rank)
    store = make_store(config, place.local_size, member.pool)
    scratch = ScratchDirectory(config.scratch)
    control = ProgramControl(engine, next(member.runs), emit, activity, config.step_timeout_s, on_standstill, on_peers_failure)
    store.emit = control.emit
    context = Context(
        place=place,
        resources=resources_of(ranks, engine.rank, node_limit().size_bytes, usable_cores()),
        comm=checked_if(config.debug_collectives, comm, config.collective_timeout_s),
        mpi=mpi,
        config=config,
        arguments=run.arguments,
        engine=engine,
        exchanges=make_exchanges(engine, member.pool, store, config),
        store=store,
        pool=member.pool,
        engine_ranks=range(engine.size),
        next_step=member.steps.__next__,
        make_scratch=scratch.path,
        emit=control.emit,
    )
    on_control(control, ranks)
    try:
        _settle(engine)
        started = time.monotonic()
        if engine.rank == 0:  # before any rank has something to tell
            emit(_started(run, ranks, isinstance(activity, ThreadActivity)))
        comm.Barrier()  # from here on messages of this run find their handlers on every rank
        value, leaving = _executed(run, context)
        finish_checks(context.comm)
        context.metrics.flush()
        control.finish()
        if engine.rank == 0:
            emit(records.ProgramFinished(name=run.name, seconds=time.monotonic() - started))
    except BaseException as error:
        on_failure(error)
        raise
    finally:
        control.close()
        context.exchanges.end()
        if engine.error is None:
            _settle(engine, _LAST_FRAME_S)
        store.close()
        scratch.remove()
    if leaving is not None:
        raise leaving
    return value


def _executed(run: ProgramRun, context: Context) -> tuple[Any, SystemExit | None]:
    """(what `execute` returned, None), or (None, its `sys.exit(0)`), which ends this rank's program when all ranks have ended."""
    try:
        value = run.execute(context)
        context.end()
        return value, None
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
        return None, end


def _settle(engine: Engine, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Wait until the engine thread has done what it was asked for so far."""
    reached = threading.Event()
    engine.call(reached.set)
    reached.wait(timeout_s)


def _started(run: ProgramRun, ranks: list[Description], in_process: bool) -> Event:
    nodes = len({one.node for one in ranks})
    return records.ProgramStarted(name=run.name, ranks=len(ranks), nodes=nodes, hosts=tuple(one.host for one in ranks), in_process=in_process)


# -- in-process -------------------------------------------------------------------------------------------------------------------------------------


def run_in_process(run: ProgramRun, events: EventLog) -> list[Any]:
    """What `execute` returned on each of `config.workers` threads (default 1), in rank order.

    Raises:
        BaseException: the first failure of a rank, with a note naming it. The other ranks' communication is aborted.
        StepTimeoutError: no rank got on for `step_timeout_s`.
    """
    group = _ThreadRanks(run, events)
    failure: BaseException | None = None
    try:
        group.wait()
    except BaseException as error:  # Ctrl-C comes to the caller's thread
        group.abort(error, None)
        failure = error
    failure = failure or group.failure
    group.stop()
    if failure is not None:
        if not isinstance(failure, Exception):
            raise failure
        events.emit(_failed(run, group.failed_rank or 0, failure, group.seconds))
        raise failure
    return group.values


class _ThreadRanks:
    """The threads of one run, and the first failure among them."""

    def __init__(self, run: ProgramRun, events: EventLog) -> None:
        size = run.config.workers or 1
        self.failure: BaseException | None = None
        self.failed_rank: int | None = None
        self.values: list[Any] = [None] * size
        self._started = time.monotonic()
        self._run = run
        self._events = events
        self._lock = threading.Lock()
        self._pool = ArenaPool()
        self._comms = open_thread_group(size)
        self._engines = [Engine(_opener(comm), allocate=self._pool.acquire) for comm in open_group(size)]
        for engine in self._engines:
            engine.start()
        self._controls: list[ProgramControl] = []
        self._over: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._running = set(range(size))
        for rank in range(size):
            threading.Thread(target=self._run_thread, args=(rank,), name=f"rank-{rank}", daemon=True).start()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def wait(self) -> None:
        """Until all threads have ended, or one has failed."""
        while self._running and self.failure is None:
            with contextlib.suppress(queue.Empty):  # a signal that another thread has taken does not wake this one
                self._running.discard(self._over.get(timeout=SIGNAL_WAIT_S))

    def abort(self, error: BaseException, rank: int | None) -> None:
        """End every wait of every rank; the first call says what failed."""
        with self._lock:
            if self.failure is None:
                self.failure, self.failed_rank = error, rank
        self._comms[0].group.abort(error, rank)
        who = "the program" if rank is None else f"rank {rank}"
        for control in list(self._controls):
            control.abort(CollectiveAbortedError(f"{who} has failed: {type(error).__name__}: {error}", error))

    def stop(self) -> None:
        """Wait shortly for threads that have to notice the abort, then end the engines."""
        deadline = time.monotonic() + ABORT_WAIT_S
        while self._running and (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                self._running.discard(self._over.get(timeout=left))
        stoppers = [threading.Thread(target=engine.stop, args=(STOP_TIMEOUT_S,)) for engine in self._engines]
        for thread in stoppers:
            thread.start()
        for thread in stoppers:
            thread.join()

    def _run_thread(self, rank: int) -> None:
        engine = self._engines[rank]
        try:
            member, activity = Member(engine, self._pool), ThreadActivity(engine, threading.get_ident())
            comm, emit = self._comms[rank], self._events.emit
            self.values[rank] = run_rank(
                self._run,
                member,
                comm,
                thread_mpi,
                emit,
                activity,
                lambda error: self.abort(error, None),
                lambda control, ranks: self._controls.append(control),
            )
        except BaseException as error:
            if self.failure is None:
                error.add_note(f"on rank {rank} of {engine.size}, at {call_site(error.__traceback__)}")
            self.abort(error, rank)
        finally:
            self._over.put(rank)


def _opener(comm: Comm) -> Callable[[], Comm]:
    return lambda: comm


def _failed(run: ProgramRun, rank: int, error: BaseException, seconds: float) -> Event:
    return records.ProgramFailed(
        rank=rank,
        name=run.name,
        seconds=seconds,
        host=socket.gethostname(),
        error=type(error).__name__,
        message=str(error),
        place=call_site(error.__traceback__),
    )


# -- MPI --------------------------------------------------------------------------------------------------------------------------------------------

_world: Member | None = None  # this process's, made once: MPI starts once in a process


def world_member() -> Member:
    """This process in the MPI world that it was started in."""
    global _world
    if _world is None:
        process = Process.get(None)
        process.drive_every_rank()
        _world = Member(process.engine, process.pool)
    if Process.get(None).sessions:
        raise ConfigError(
            "this program has opened a Session: its worker ranks serve that until the end and cannot run another program; run the program first, "
            "or use a Session alone"
        )
    return _world


@contextlib.contextmanager
def member_over(communicator: Any) -> Iterator[Member]:
    """This process in a communicator of the caller's, for one run. Collective over it."""
    module = import_mpi()
    if not isinstance(communicator, module.Intracomm) or communicator == module.COMM_NULL:
        raise ConfigError(f"comm={communicator!r}: give an mpi4py.MPI.Intracomm that holds this rank, and call run only on its ranks")
    pool = ArenaPool()
    engine = Engine(lambda: open_mpi(communicator), allocate=pool.acquire)
    engine.start()
    yield Member(engine, pool)
    engine.stop(STOP_TIMEOUT_S)


def run_on_mpi(run: ProgramRun, member: Member, events: EventLog, every: bool = False) -> list[Any] | None:
    """`[what execute returned on rank 0]`, or of every rank, on rank 0; None on the other ranks. A failure ends this process.

    Collective over the ranks of the member's engine, and to be called on their main threads.
    """
    engine, started = member.engine, time.monotonic()
    comm = cast(MpiComm, engine.comm).duplicate()
    activity = MainThreadActivity(engine)
    controls: list[ProgramControl] = []
    watches: list[ProcessWatch] = []

    def begin(control: ProgramControl, ranks: list[Description]) -> None:
        controls.append(control)
        watches.append(watch_peers(ranks, engine.rank))

    def fail(error: BaseException) -> None:
        for control in controls:
            control.tell_failure(_failed(run, engine.rank, error, time.monotonic() - started), status_of(error))
        report_and_end(error, engine.rank, engine.size)

    def stand_still(error: StepTimeoutError) -> None:
        events.emit(_failed(run, engine.rank, error, time.monotonic() - started))
        end_process(EXIT_FAILURE)

    report_exits(engine.rank)
    restore_hooks = install_excepthooks(FAILED)
    with Interrupts(engine.rank):
        value = run_rank(run, member, comm, import_mpi(), events.emit, activity, stand_still, begin, leave_after, fail)
        for watch in watches:
            watch.stop()
        values = comm.gather(value) if every else [value] if engine.rank == 0 else None
        comm.Free()
    restore_hooks()
    return values
