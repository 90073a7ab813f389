"""A Group from a bare engine, for tests of what works on a Group, on threads and over MPI.

def job(group): return operators.sort(group, df, "k")
run_local(on_group(job), workers=3)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

from hpcflow.comm.engine import Engine
from hpcflow.native import ArenaPool
from hpcflow.shuffle.exchange import ExchangeService
from hpcflow.testing.exchange_contract import DictStore

T = TypeVar("T")


class EngineGroup:
    """One rank of all of an engine's ranks."""

    def __init__(self, engine: Engine, comm: Any = None) -> None:
        self.rank = engine.rank
        self.size = engine.size
        self.comm = comm
        self.pool = ArenaPool()
        self.store = DictStore()
        self.exchanges = ExchangeService(engine, self.pool, self.store)
        self.engine_ranks = tuple(range(engine.size))
        self._steps = itertools.count(1)

    def next_step(self) -> int:
        return next(self._steps)


def on_group(job: Callable[[EngineGroup], T]) -> Callable[[Engine], T]:
    """A job on an `EngineGroup` as a job on an `Engine`; the engine is active meanwhile."""

    def run(engine: Engine) -> T:
        engine.set_active(True)
        group = EngineGroup(engine)
        result = job(group)
        engine.set_active(False)
        return result

    return run
