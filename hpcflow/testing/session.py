"""Run one job with a Session, on in-process workers or on the ranks of the world that pytest-mpi runs in, and come back on every rank.

A plain Session never returns on ranks above 0; `run_session_mpi` is how a test under pytest-mpi uses one: rank 0 runs the job, the other ranks serve
it and return.
Invariant: both return what the job returns or raise what it raises, on every rank, and neither runs longer than its hang limit.

    def job(session): return session.range(10).count()
    assert run_session(job, workers=2) == 10
    assert run_session_mpi(job) == 10                # collective: mpirun -n 3 python -m pytest --with-mpi
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from hpcflow.comm.engine import Engine
from hpcflow.comm.watchdog import all_stacks, write_report
from hpcflow.errors import StepTimeoutError
from hpcflow.native import ArenaPool
from hpcflow.runtime.cluster import Cluster, Goodbye, serve_sessions, start_in_process, start_on_engine
from hpcflow.runtime.messages import TO_WORKER, encode
from hpcflow.session import Session
from hpcflow.testing.run import run_mpi

T = TypeVar("T")


def run_session(job: Callable[[Session], T], workers: int = 1, threads: int = 1, timeout_s: float = 60.0, **options: Any) -> T:
    """`job(session)` with a session of in-process workers.

    Raises:
        Exception: what the job raised.
        StepTimeoutError: the job, or closing its session, still ran after `timeout_s` seconds; all stacks are on stderr.
    """
    values: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with InProcessSession(workers=workers, threads=threads, **({"progress": "off"} | options)) as session:
                values.append(job(session))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="session", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        write_report(f"run_session: the job still runs after {timeout_s:.0f} s\n{all_stacks()}")
        raise StepTimeoutError(f"a job on {workers} workers of {threads} threads was still running after {timeout_s:.0f} s; the stacks are on stderr")
    if errors:
        raise errors[0]
    return values[0]


def run_session_mpi(job: Callable[[Session], T], timeout_s: float = 60.0, **options: Any) -> T:
    """`job(session)` on rank 0 with a session on all ranks of the world, whose value all ranks return; a collective call of the main threads.

    In a world of one rank, rank 0 hosts the worker too.

    Raises:
        Exception: the failure of the lowest failed rank, on every rank. A hanging rank ends its process.
    """
    pool = ArenaPool()

    def rank_job(engine: Engine) -> T | None:
        if engine.rank > 0:
            serve_sessions(engine, pool)
            return None
        given = {"master": "shared"} if engine.size == 1 else {}
        try:
            with _SessionOnEngine(engine, pool, **({"progress": "off"} | given | options)) as session:
                return job(session)
        finally:
            for rank in range(1, engine.size):
                engine.send(rank, TO_WORKER, encode(Goodbye()))

    return run_mpi(rank_job, timeout_s=timeout_s, allocate=pool.acquire)[0]  # type: ignore[return-value]  # rank 0's is the job's


class InProcessSession(Session):
    """A session on in-process workers, whatever world the program was started in."""

    def _start(self) -> Cluster[Any]:
        return start_in_process(self.config, self.events)


class _SessionOnEngine(Session):
    """A session whose ranks are those of an engine that runs already."""

    def __init__(self, engine: Engine, pool: ArenaPool, **options: Any) -> None:
        self._engine = engine
        self._pool = pool
        super().__init__(**options)

    def _start(self) -> Cluster[Any]:
        return start_on_engine(self._engine, self._pool, 1, self.config, self.events)
