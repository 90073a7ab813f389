"""Run one program on in-process ranks, or on the ranks of the world that pytest-mpi runs in, and get every rank's result.

Invariant: both return on every rank, with the results of all ranks in rank order, or raise; a test body is therefore the same for both.

    def job(ctx): return ctx.comm.allreduce(ctx.rank)
    assert run_program(job, workers=3) == [3, 3, 3]
    assert len(set(run_program_mpi(job))) == 1       # collective: mpirun -n 3 python -m pytest --with-mpi
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

from hpcflow.bsp.context import Context
from hpcflow.comm.engine import Engine
from hpcflow.comm.mpi import MpiComm, import_mpi
from hpcflow.config import load_config
from hpcflow.errors import StepTimeoutError
from hpcflow.events.log import EventLog
from hpcflow.native import ArenaPool
from hpcflow.runtime.activity import ThreadActivity
from hpcflow.runtime.distributed import Member, ProgramRun, run_in_process, run_rank
from hpcflow.testing.run import run_mpi


def run_program(job: Callable[[Context], Any], workers: int, arguments: Sequence[str] = (), **options: Any) -> list[Any]:
    """`job(ctx)` on `workers` threads, whatever world the program was started in; raises the first failure."""
    config = load_config({"workers": workers, "step_timeout_s": 30, **options})
    return run_in_process(ProgramRun("job", job, tuple(arguments), config), EventLog(config.event_log))


def run_program_mpi(job: Callable[[Context], Any], timeout_s: float = 60.0, arguments: Sequence[str] = (), **options: Any) -> list[Any]:
    """`job(ctx)` on every rank of the world; a collective call of the main threads. Results are pickled to all ranks.

    Raises:
        Exception: the failure of the lowest failed rank, on every rank; a rank that hangs ends its process.
    """
    config = load_config(options)
    pool = ArenaPool()
    events = EventLog(config.event_log)

    def rank_job(engine: Engine) -> Any:
        activity = ThreadActivity(engine, threading.get_ident())
        comm = cast(MpiComm, engine.comm).duplicate()
        value = run_rank(
            ProgramRun("job", job, tuple(arguments), config), Member(engine, pool), comm, import_mpi(), events.emit, activity, _stands_still
        )
        comm.Free()
        return value

    return run_mpi(rank_job, timeout_s=timeout_s, allocate=pool.acquire)


def _stands_still(error: StepTimeoutError) -> None:
    """The report is on stderr; the hang limit of run_mpi ends the ranks."""
