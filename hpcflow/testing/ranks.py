"""Run a body `body(comm, MPI)` on every rank of a communicator: threads, or the MPI world.

Invariant: both return every rank's result, or raise the failure of the lowest rank that failed by itself (not one that was only interrupted by
another's), within the hang limit.

    assert run_threads(lambda comm, MPI: comm.allreduce(1), ranks=3) == [3, 3, 3]
    run_mpi_ranks(lambda comm, MPI: comm.Barrier())              # under mpirun -n N python -m pytest --with-mpi
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from hpcflow.bsp import thread_mpi
from hpcflow.bsp.thread_comm import ThreadComm, open_thread_group
from hpcflow.comm.mpi import MpiComm, import_mpi, open_mpi
from hpcflow.comm.watchdog import all_stacks, write_report
from hpcflow.errors import CollectiveAbortedError, StepTimeoutError
from hpcflow.testing.run import run_mpi

_world: MpiComm | None = None  # opened by the main threads together, at the first run_mpi_ranks


def run_threads(
    body: Callable[[Any, Any], Any], ranks: int, timeout_s: float = 60.0, wrap: Callable[[ThreadComm], Any] = lambda comm: comm
) -> list[Any]:
    """`body(wrap(comm), thread_mpi)` on `ranks` threads.

    Raises:
        Exception: the first rank's own failure, with a note naming the rank.
        StepTimeoutError: a rank was still running after `timeout_s` seconds; all stacks have been printed.
    """
    results: list[Any] = [None] * ranks
    errors: list[BaseException | None] = [None] * ranks

    def run(comm: ThreadComm) -> None:
        try:
            results[comm.rank] = body(wrap(comm), thread_mpi)
        except BaseException as error:
            error.add_note(f"on rank {comm.rank}")
            errors[comm.rank] = error
            comm.group.abort(error, comm.rank)

    comms = open_thread_group(ranks)
    threads = [threading.Thread(target=run, args=(comm,), name=f"rank-{comm.rank}", daemon=True) for comm in comms]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    hanging = [rank for rank, thread in enumerate(threads) if thread.is_alive()]
    if hanging:
        write_report(f"run_threads: ranks {hanging} still run after {timeout_s:.0f} s\n{all_stacks()}")
        comms[0].group.abort(StepTimeoutError("the hang limit of a test"))
        raise StepTimeoutError(f"ranks {hanging} of {ranks} were still running after {timeout_s:.0f} s; the stacks are on stderr")
    failed = [error for error in errors if error is not None]
    own = [error for error in failed if not isinstance(error, CollectiveAbortedError)]
    if failed:
        raise (own or failed)[0]
    return results


def run_mpi_ranks(body: Callable[[Any, Any], Any], timeout_s: float = 60.0, wrap: Callable[[Any], Any] = lambda comm: comm) -> list[Any]:
    """`body(wrap(comm), mpi4py.MPI)` on every rank of the world, on a thread of its own, over a new duplicate of it. Collective: for main threads.

    Raises as `run_mpi` does; a rank that hangs ends its process.
    """
    global _world
    if _world is None:
        _world = open_mpi()
    comm = _world.duplicate()
    module = import_mpi()
    results = run_mpi(lambda engine: body(wrap(comm), module), timeout_s)
    comm.Free()
    return results
