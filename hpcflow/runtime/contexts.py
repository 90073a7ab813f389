"""What a bsp function sees on a worker: a Context made of the worker's own engine, exchange service, block store and scratch directory.

Invariant: contexts of one session differ in their communicator and in the numbers of their exchanges only; place and resources are found once,
together, in the first step of the session, which is the same on all workers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpcflow.bsp.checked_comm import checked_if
from hpcflow.bsp.context import Context
from hpcflow.bsp.place import Description, describe_process, place_of, resources_of
from hpcflow.bsp.step import Step
from hpcflow.comm.engine import Engine
from hpcflow.config import SessionConfig
from hpcflow.events.records import Event
from hpcflow.resources import usable_cores
from hpcflow.runtime.block_store import BlockStore
from hpcflow.runtime.memory_limits import node_limit
from hpcflow.runtime.scratch_directory import ScratchDirectory
from hpcflow.shuffle.exchange import ExchangeService


class Contexts:
    """Makes the contexts of one worker, one a step. Used by its user thread alone."""

    def __init__(
        self, engine: Engine, exchanges: ExchangeService, store: BlockStore, number: int, config: SessionConfig, emit: Callable[[Event], None]
    ) -> None:
        self._engine = engine
        self._exchanges = exchanges
        self._store = store
        self._number = number
        self._config = config
        self._emit = emit
        self._workers: list[tuple[Description, int]] | None = None
        self._scratch = ScratchDirectory(config.scratch)

    def of(self, step: Step, comm: Any, mpi: Any) -> Context:
        """The context of this step; collective."""
        if self._workers is None:
            self._workers = comm.allgather((describe_process(), self._engine.rank))
        descriptions = [description for description, _ in self._workers]
        return Context(
            place=place_of(descriptions, self._number),
            resources=resources_of(descriptions, self._number, node_limit().size_bytes, usable_cores()),
            comm=checked_if(self._config.debug_collectives, comm, self._config.collective_timeout_s),
            mpi=mpi,
            config=self._config,
            engine=self._engine,
            exchanges=self._exchanges,
            store=self._store,
            pool=self._exchanges.pool,
            engine_ranks=[rank for _, rank in self._workers],
            next_step=step.next_exchange,
            make_scratch=self._scratch.path,
            emit=self._emit,
        )

    def close(self) -> None:
        """Remove the scratch directory."""
        self._scratch.remove()
