"""One rank as bsp code sees it: its place, its communicator, and the engine parts that table operations stand on.

Invariant: everything is handed in; nothing here starts, ends or waits for a rank. All ranks of a program take the same steps in the same order, so
that `next_step` gives the same number to the same exchange everywhere.

    class Tables(Rank):                              # table operations are mixed into Context like this
        def shuffle(self, df): exchange = self.exchanges.open(ExchangeSpec(self.next_step(), owners=self.engine_ranks, ...))
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcflow.bsp.metrics import Metrics
from hpcflow.bsp.place import Place, RankResources
from hpcflow.comm.engine import Engine
from hpcflow.config import SessionConfig
from hpcflow.events.records import Event
from hpcflow.native import ArenaPool
from hpcflow.shuffle.exchange import ExchangeService, FrameStore

if TYPE_CHECKING:
    from mpi4py import MPI


class Rank:
    """See `hpcflow.bsp.context.Context`.

    Args:
        place: among the ranks of the program.
        resources: what this rank may use.
        comm: communicator of these ranks, which no engine uses.
        mpi: the module that fits it.
        config: options of the run.
        arguments: of the program.
        engine, exchanges, store, pool: of this rank.
        engine_ranks: rank of the program -> rank of the engine.
        next_step: number of this rank's next exchange; the same sequence on all ranks.
        make_scratch: makes the private directory.
        emit: takes event records.
    """

    def __init__(
        self,
        *,
        place: Place,
        resources: RankResources,
        comm: Any,
        mpi: Any,
        config: SessionConfig,
        arguments: Sequence[str] = (),
        engine: Engine,
        exchanges: ExchangeService,
        store: FrameStore,
        pool: ArenaPool,
        engine_ranks: Sequence[int],
        next_step: Callable[[], int],
        make_scratch: Callable[[], Path],
        emit: Callable[[Event], None],
    ) -> None:
        self.rank = place.rank
        """This rank, from 0."""
        self.size = place.size
        """Number of ranks."""
        self.node = place.node
        """Number of this rank's node, from 0."""
        self.nodes = place.nodes
        """Number of nodes."""
        self.host = place.host
        """Name of this rank's host."""
        self.local_rank = place.local_rank
        """This rank among those of its node, from 0."""
        self.local_size = place.local_size
        """Ranks on its node."""
        self.comm: MPI.Intracomm = comm
        """Communicator of the ranks: a private `mpi4py.MPI.Intracomm`, or its twin of threads."""
        self.MPI: Any = mpi
        """`mpi4py.MPI`, or the twin that fits a communicator of threads."""
        self.resources = resources
        """Cores, memory and GPUs of this rank."""
        self.config = config
        """Options, resolved."""
        self.arguments = tuple(arguments)
        """Words of the command line behind the program's name."""
        self.engine = engine
        """Moves frames between ranks; for table operations."""
        self.exchanges = exchanges
        """Opens exchanges; for table operations."""
        self.store = store
        """Frames that have arrived; for table operations."""
        self.pool = pool
        """Arenas to pack into; for table operations."""
        self.engine_ranks = tuple(engine_ranks)
        """Rank of the program -> rank of the engine, which exchanges speak of."""
        self._next_step = next_step
        self.metrics = Metrics(self.rank, emit)
        """Counters, gauges and timers, told to the event log."""
        self.logger = rank_logger(self.rank, self.size, self.host)
        """A standard logger whose lines name the rank."""
        self._make_scratch = make_scratch

    def next_step(self) -> int:
        """Number of the next exchange, the same on all ranks: call it once an exchange, on every rank in the same order."""
        return self._next_step()

    @property
    def scratch(self) -> Path:
        """A directory of this rank's own on a node-local disk, made when first asked for and removed when the program ends, however it ends."""
        return self._make_scratch()

    @property
    def is_root(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0


class _StandardError(logging.StreamHandler[Any]):
    """Writes to whatever stands in for stderr at the moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:  # looked up anew for each record
        return sys.stderr


def rank_logger(rank: int, size: int, host: str) -> logging.Logger:
    """The logger `hpcflow.program.RANK`: lines on stderr with time, rank and host; level INFO unless it has been set before."""
    logger = logging.getLogger(f"hpcflow.program.{rank}")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    for handler in [one for one in logger.handlers if isinstance(one, _StandardError)]:
        logger.removeHandler(handler)
    handler = _StandardError()
    handler.setFormatter(logging.Formatter(f"%(asctime)s rank {rank}/{size} {host.replace('%', '%%')} %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    return logger
