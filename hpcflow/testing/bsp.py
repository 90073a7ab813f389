"""A Group from a bare engine, for tests of what works on a Group, on threads and over MPI.

def job(group): return operators.sort(group, df, "k")
run_local(on_group(job), workers=3)
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from hpcflow.bsp import thread_mpi
from hpcflow.bsp.thread_comm import open_thread_group
from hpcflow.comm.base import Comm
from hpcflow.comm.engine import Engine
from hpcflow.comm.mpi import import_mpi, open_mpi
from hpcflow.native import ArenaPool
from hpcflow.shuffle.exchange import ExchangeService
from hpcflow.testing.exchange_contract import DictStore
from hpcflow.testing.run import run_local, run_mpi

T = TypeVar("T")


class EngineGroup:
    """One rank of all of an engine's ranks."""

    def __init__(self, engine: Engine, comm: Any, mpi: Any) -> None:
        self.rank = engine.rank
        self.size = engine.size
        self.comm = comm
        self.MPI = mpi
        self.pool = ArenaPool()
        self.store = DictStore()
        self.exchanges = ExchangeService(engine, self.pool, self.store)
        self.engine_ranks = tuple(range(engine.size))
        self._steps = itertools.count(1)

    def next_step(self) -> int:
        return next(self._steps)


def run_on_threads(job: Callable[[EngineGroup], T], workers: int, timeout_s: float = 60.0) -> list[T]:
    """`job(group)` on `workers` threads that are the ranks; their results in rank order. Errors as of `run_local`."""
    comms = open_thread_group(workers)

    def run(engine: Engine) -> T:
        try:
            return _run(job, EngineGroup(engine, comms[engine.rank], thread_mpi), engine)
        except BaseException as error:
            comms[engine.rank].group.abort(error, engine.rank)
            raise

    return run_local(run, workers, timeout_s=timeout_s)


def run_on_mpi(job: Callable[[EngineGroup], T], timeout_s: float = 60.0) -> list[T]:
    """`job(group)` on every rank of the world; the results of all ranks on every rank. Errors as of `run_mpi`."""
    module = import_mpi()
    communicators: list[Any] = []

    def open_both() -> Comm:
        comm = open_mpi()
        communicators.append(comm.duplicate())
        return comm

    def run(engine: Engine) -> T:
        try:
            return _run(job, EngineGroup(engine, communicators[0], module), engine)
        finally:
            if sys.exception() is None:
                communicators[0].Free()

    return run_mpi(run, timeout_s=timeout_s, open_comm=open_both)


def _run(job: Callable[[EngineGroup], T], group: EngineGroup, engine: Engine) -> T:
    engine.set_active(True)
    result = job(group)
    engine.set_active(False)
    return result
