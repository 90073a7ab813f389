"""The ranks of a job: engines, the master, the workers, in this process and in others.

    in-process     one process; rank 0 is the master, ranks 1..W are workers, all threads of it
    MPI            one process a rank; rank 0 is the driver's; ranks > 0 serve all sessions of the driver, then end

Invariant: a process initializes MPI at most once, on its engine thread; a worker process never returns from its first Session.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, NoReturn, TextIO, TypeVar, cast

from hpcflow.bsp.communicators import Communicators, MpiCommunicators, ThreadCommunicators
from hpcflow.comm.base import Comm
from hpcflow.comm.engine import Engine
from hpcflow.comm.in_process import open_group
from hpcflow.comm.watchdog import EXIT_FAILURE, end_process, install_excepthooks, leave_process, write_report
from hpcflow.config import SessionConfig
from hpcflow.errors import ConfigError, StepTimeoutError, WorkerLostError
from hpcflow.events.log import EventLog
from hpcflow.native import ArenaPool
from hpcflow.resources import process_namespace
from hpcflow.runtime import endings
from hpcflow.runtime.block_store import BlockStore
from hpcflow.runtime.faces import MasterFace
from hpcflow.runtime.master import Master
from hpcflow.runtime.memory import MemoryBudget
from hpcflow.runtime.memory_limits import default_limit_bytes
from hpcflow.runtime.messages import TO_WORKER, decode, encode
from hpcflow.runtime.spill_format import Codec
from hpcflow.runtime.terminal import mend_table_width
from hpcflow.runtime.worker import Worker
from hpcflow.shuffle.exchange import ExchangeService
from hpcflow.shuffle.node_memory import open_node_memory

M = TypeVar("M", bound=MasterFace)

OPEN_TIMEOUT_S = 120.0
"""For MPI to start on all ranks."""
HELLO_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
FAILED_STOP_TIMEOUT_S = 2.0
"""Instead of STOP_TIMEOUT_S after an uncaught exception and for lost sessions."""
LOST_GRACE_S = 2.0
"""From the loss of a worker process to the end of the driver's: time to raise WorkerLostError, abort sinks and print."""


@dataclass(frozen=True)
class StartSession:
    """Driver -> worker process: serve a session with this configuration."""

    config: SessionConfig
    number: int
    workers_on_node: int
    host: str = ""
    pid: int = 0
    namespace: int = 0
    """Of the driver's process, so that a worker on its host notices its end; pid 0: not to be watched."""


@dataclass(frozen=True)
class Goodbye:
    """Driver -> worker process: the driver's program has ended."""


class Cluster(Generic[M]):
    """What a session holds of its ranks; `close` lets go of them."""

    def __init__(self, master: M, close: Callable[[], None], stores: tuple[BlockStore, ...]) -> None:
        self.master = master
        self.stores = stores
        """Block stores of the ranks in this process."""
        self._close: Callable[[], None] | None = close

    def close(self) -> None:
        """End the session's workers (threads) or let the worker processes wait for the next session. Twice is fine."""
        close, self._close = self._close, None
        if close is not None:
            close()


# -- in-process -------------------------------------------------------------------------------------------------------------------------------------


def start_in_process(config: SessionConfig, events: EventLog) -> Cluster[Master]:
    """Workers as threads of this process; they share its Polars pool."""
    workers = config.workers or 1
    pool = ArenaPool()
    stores = [make_store(config, workers, pool) for _ in range(workers + 1)]  # before any thread: a scratch directory may be unusable
    comms = open_group(workers + 1)
    engines = [Engine(_opener(comm), allocate=pool.acquire) for comm in comms]
    starters = [threading.Thread(target=engine.start) for engine in engines]
    for thread in starters:
        thread.start()
    for thread in starters:
        thread.join()
    services = [make_exchanges(engine, pool, store, config) for engine, store in zip(engines, stores, strict=True)]
    master = Master(engines[0], services[0], pool, tuple(range(1, workers + 1)), config, events)
    threads = []
    communicators = ThreadCommunicators(workers)
    for number in range(workers):
        worker = Worker(engines[number + 1], services[number + 1], stores[number + 1], 0, number, config, queue.SimpleQueue(), communicators)
        threads.append(threading.Thread(target=worker.serve, name=f"hpcflow-worker-{number}", daemon=True))
        threads[-1].start()

    def close() -> None:
        limit = STOP_TIMEOUT_S if master.lost is None else FAILED_STOP_TIMEOUT_S / workers
        master.shutdown()
        for thread in threads:
            thread.join(limit)
        stoppers = [threading.Thread(target=engine.stop, args=(STOP_TIMEOUT_S,)) for engine in engines]
        for thread in stoppers:
            thread.start()
        for thread in stoppers:
            thread.join()
        for service, store in zip(services, stores, strict=True):
            service.end()
            store.close()

    cluster = Cluster(master, close, tuple(stores))
    try:
        master.wait_for_workers(HELLO_TIMEOUT_S)
    except BaseException:
        cluster.close()
        raise
    return cluster


def _opener(comm: Comm) -> Callable[[], Comm]:
    return lambda: comm


def make_store(config: SessionConfig, workers_on_node: int, pool: ArenaPool) -> BlockStore:
    """The block store of one worker, with its share of the memory."""
    limit = config.memory_budget or default_limit_bytes(workers_on_node)
    return BlockStore(MemoryBudget(limit), config.scratch, compression=cast(Codec, config.spill_compression), pool=pool)


def make_exchanges(engine: Engine, pool: ArenaPool, store: BlockStore, config: SessionConfig) -> ExchangeService:
    """A rank's exchanges, with its part of the node's shared memory."""
    size_bytes = store.budget.limit_bytes // 4 if config.shared_memory is None else config.shared_memory
    return ExchangeService(engine, pool, store, node_memory=open_node_memory(engine, size_bytes))


# -- MPI --------------------------------------------------------------------------------------------------------------------------------------------


class Process:
    """This process's place in an MPI world: made once."""

    instance: Process | None = None

    def __init__(self, communicator: Any) -> None:
        from hpcflow.comm.mpi import open_mpi

        sys.setswitchinterval(5e-4)
        mend_table_width()
        self.pool = ArenaPool()
        self.engine = Engine(lambda: open_mpi(communicator), allocate=self.pool.acquire)
        self._start_once_every_rank_starts_a_session()
        self.sessions = 0
        self.session: Master | None = None
        """Of the open session, on rank 0."""
        self.lost = False
        self.every_rank_drives = False
        self._watch: endings.ProcessWatch | None = None
        if self.engine.rank == 0 and self.engine.size > 1:
            endings.terminate_in_order(lambda: self.lost)
            atexit.register(self._end_world)

    def _start_once_every_rank_starts_a_session(self) -> None:
        """MPI_Init waits for all ranks, and mpi4py keeps the GIL meanwhile: nothing but faulthandler's own thread can end a wait that is in vain.

        It prints the stacks, this function's name among them, and exits with status 1.
        """
        with contextlib.suppress(Exception):  # a stderr that is no file
            faulthandler.dump_traceback_later(OPEN_TIMEOUT_S + 1.0, exit=True, file=cast(TextIO, sys.__stderr__))
        try:
            self.engine.start(OPEN_TIMEOUT_S)
        except StepTimeoutError:
            atexit.register(end_process)  # the engine thread still waits in MPI, and an ordinary end would wait for it
            raise
        finally:
            faulthandler.cancel_dump_traceback_later()

    @classmethod
    def get(cls, communicator: Any) -> Process:
        if cls.instance is None:
            cls.instance = cls(communicator)
        return cls.instance

    def drive_every_rank(self) -> None:
        """The program runs on every rank to its end (distributed mode): each waits there for the others, as MPI_Finalize would."""
        if not self.every_rank_drives:
            self.every_rank_drives = True
            if self.engine.rank > 0:
                atexit.register(self._end_world)

    def watch_workers(self, master: Master) -> None:
        """Notice the end of a worker process on this host at once, whatever the launcher does."""
        if self._watch is None:
            own = (socket.gethostname(), process_namespace())
            near = [h for h in master.hellos.values() if (h.host, h.namespace) == own and h.pid != os.getpid()]
            self._watch = endings.ProcessWatch({hello.pid: partial(self._lose, hello.rank, hello.host, hello.pid) for hello in near})

    def _lose(self, rank: int, host: str, pid: int) -> None:
        self.lost = True
        message = f"rank {rank} on {host} (process {pid}) has ended in the middle of the job: killed, crashed, or ended by a user function"
        write_report(f"hpcflow: {message}; all ranks end")
        if self.session is not None and self.session.lose(WorkerLostError(message)):
            time.sleep(LOST_GRACE_S)
        end_process(EXIT_FAILURE)

    def _end_world(self) -> None:
        """At the driver's exit, after its session has been closed."""
        error = endings.uncaught()
        if self.every_rank_drives and not self.sessions:
            if error is not None or self.engine.error is not None:
                end_process(endings.INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1)
            self.engine.stop(threading.TIMEOUT_MAX)
            return
        if self._watch is not None:
            self._watch.stop()
        if self.lost or self.engine.error is not None or (self.session is not None and self.session.lost is not None):
            end_process(endings.failure_status())
        for rank in range(1, self.engine.size):
            self.engine.send(rank, TO_WORKER, encode(Goodbye()))
        self.engine.stop(STOP_TIMEOUT_S if error is None else FAILED_STOP_TIMEOUT_S)
        if isinstance(error, KeyboardInterrupt):  # Python would end by the signal, which mpirun reports as a crash
            leave_process(endings.INTERRUPTED)


def start_mpi(config: SessionConfig, events: EventLog) -> Cluster[Master] | None:
    """Master on rank 0, workers on the other ranks. On a worker rank this serves until the driver's program ends, then ends the process.

    None: the world has one rank; the caller starts in-process workers.
    """
    process = Process.get(config.comm)
    engine = process.engine
    if engine.size == 1:
        return None
    if engine.rank > 0:
        serve_process(process)
    if process.session is not None:
        raise ConfigError("this program has a session open already; close it before opening another (use `with hf.Session() as s:`)")
    if config.workers not in (None, _worker_count(engine.size, config)):
        raise ConfigError(
            f"workers={config.workers} was asked for ({config.where('workers')}), and this MPI world of {engine.size} ranks has "
            f"{_worker_count(engine.size, config)}; "
            f"leave workers out, or start with -n {(config.workers or 0) + (config.master == 'dedicated')}"
        )
    process.sessions += 1

    def closed() -> None:
        if process.session is not None and process.session.lost is not None:
            process.lost = True  # a worker still runs a task of that session: the world cannot end in order
        process.session = None

    cluster = start_on_engine(process.engine, process.pool, process.sessions, config, events, closed)
    process.session = cluster.master
    process.watch_workers(cluster.master)
    return cluster


def mpi_library() -> str:
    """What MPI says about itself; empty before `start_mpi`."""
    process = Process.instance
    return "" if process is None else str(getattr(process.engine.comm, "facts").mpi_library)  # noqa: B009  # a Comm of open_mpi has facts


def _worker_count(ranks: int, config: SessionConfig) -> int:
    return ranks if config.master == "shared" else ranks - 1


def start_on_engine(
    engine: Engine, pool: ArenaPool, number: int, config: SessionConfig, events: EventLog, on_close: Callable[[], None] = lambda: None
) -> Cluster[Master]:
    """The master of session `number` on rank 0 of a running engine, whose other ranks are in `serve_sessions`; `on_close` is called when it ends."""
    shared = config.master == "shared"
    ranks = tuple(range(engine.size)) if shared else tuple(range(1, engine.size))
    plain = replace(config, comm=None, policy="default", launch=None, placement="dynamic")
    workers_on_node = max(1, int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") or os.environ.get("MPI_LOCALNRANKS") or engine.size) - (not shared))
    store = make_store(config, workers_on_node, pool)
    service = make_exchanges(engine, pool, store, config)
    master = Master(engine, service, pool, ranks, config, events)
    start = encode(StartSession(plain, number, workers_on_node, socket.gethostname(), os.getpid(), process_namespace()))
    for rank in range(1, engine.size):
        engine.send(rank, TO_WORKER, start)
    own: threading.Thread | None = None
    if shared:
        worker = Worker(engine, service, store, 0, 0, config, queue.SimpleQueue(), user_communicators(engine, config))
        own = threading.Thread(target=worker.serve, name="hpcflow-worker-0", daemon=True)
        own.start()

    def close() -> None:
        on_close()
        master.shutdown()
        if own is not None:
            own.join(STOP_TIMEOUT_S if master.lost is None else FAILED_STOP_TIMEOUT_S)
        service.end()
        store.close()

    cluster = Cluster(master, close, (store,))
    try:
        master.wait_for_workers(HELLO_TIMEOUT_S)
    except BaseException:
        cluster.close()
        raise
    return cluster


def user_communicators(engine: Engine, config: SessionConfig) -> Communicators:
    """What bsp functions of a rank of MPI speak through: a communicator of exactly the workers."""
    from hpcflow.comm.mpi import MpiComm, import_mpi

    assert isinstance(engine.comm, MpiComm)
    return MpiCommunicators(engine.comm.user_communicator(with_rank_0=config.master == "shared"), import_mpi())


def serve_process(process: Process) -> NoReturn:
    """The life of a worker process: serve session after session, then end without running the rest of the user's program."""
    from hpcflow.comm.mpi import finalize

    install_excepthooks()
    endings.ignore_interrupts()
    endings.report_exits(process.engine.rank)
    serve_sessions(process.engine, process.pool, watch_driver=True)
    process.engine.stop(STOP_TIMEOUT_S)
    finalize()
    leave_process()


def serve_sessions(engine: Engine, pool: ArenaPool, watch_driver: bool = False) -> None:
    """Serve the sessions of the driver on rank 0 until it says Goodbye.

    watch_driver: end this process when the driver's, on this host, ends before that
    """
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    watch: endings.ProcessWatch | None = None
    engine.subscribe(TO_WORKER, lambda source, buffer: inbox.put(decode(buffer)))
    while True:
        try:
            message = inbox.get(timeout=1.0)
        except queue.Empty:
            if engine.error is not None:
                raise WorkerLostError(f"the engine of rank {engine.rank} failed: {engine.error}") from engine.error
            continue
        if isinstance(message, Goodbye):
            if watch is not None:
                watch.stop()
            return
        if isinstance(message, StartSession):
            if watch_driver and watch is None and (message.host, message.namespace) == (socket.gethostname(), process_namespace()):
                watch = endings.ProcessWatch({message.pid: end_process})
            store = make_store(message.config, message.workers_on_node, pool)
            service = make_exchanges(engine, pool, store, message.config)
            number = engine.rank if message.config.master == "shared" else engine.rank - 1
            try:
                communicators = user_communicators(engine, message.config)
                Worker(engine, service, store, 0, number, message.config, inbox, communicators, subscribe=False).serve()
            finally:
                service.end()
                store.close()
