"""Run one function on several ranks, as threads or under mpirun, and get every rank's result.

Invariant: both return on every rank, with the results of all ranks in rank order, or raise the same first failure everywhere; neither runs longer
than its hang limit. A test body is therefore the same for both.

    def job(engine): return engine.rank
    assert run_local(job, workers=3) == [0, 1, 2]
    assert run_mpi(job) == list(range(world_size()))     # under mpirun -n N python -m pytest --with-mpi
"""

from __future__ import annotations

import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from hpcflow.comm.base import Buffer, Comm
from hpcflow.comm.engine import Engine
from hpcflow.comm.in_process import InProcessComm, open_group
from hpcflow.comm.mpi import MpiComm, open_mpi
from hpcflow.comm.watchdog import EXIT_FAILURE, abort_process, all_stacks, write_report
from hpcflow.errors import HpcflowError, StepTimeoutError

T = TypeVar("T")
Job = Callable[[Engine], T]

_VERDICT: Final = 3
_AFTER_FAILURE_S = 10.0  # how long the other ranks may go on after one has failed
_verdicts: MpiComm | None = None  # a communicator for verdicts alone, used by the main thread; opened at the first run_mpi


class _Outcome(Generic[T]):
    """What one rank's job came to; written by that rank's thread, `over` last."""

    def __init__(self) -> None:
        self.over = False
        self.value: T | None = None
        self.error: BaseException | None = None
        self.may_stop = threading.Event()


def run_local(job: Job[T], workers: int, timeout_s: float = 60.0, allocate: Callable[[int], Buffer] = bytearray) -> list[T]:
    """Run `job(engine)` on `workers` threads that are the ranks of one in-process group.

    Raises:
        Exception: the first rank's failure, with a note naming the rank.
        StepTimeoutError: a rank was still running after `timeout_s` seconds; all stacks have been printed.
    """
    comms = open_group(workers)
    outcomes: list[_Outcome[T]] = [_Outcome() for _ in comms]
    threads = [
        threading.Thread(target=_run_rank, args=(comm.rank, _opener(comm), job, allocate, outcome), name=f"rank-{comm.rank}", daemon=True)
        for comm, outcome in zip(comms, outcomes, strict=True)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout_s
    while not all(outcome.over for outcome in outcomes) and time.monotonic() < deadline:
        if any(outcome.error is not None for outcome in outcomes):
            deadline = min(deadline, time.monotonic() + 2.0)
        time.sleep(0.0005)
    hanging = [rank for rank, outcome in enumerate(outcomes) if not outcome.over]
    error = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
    if hanging or error is not None:
        if error is None:
            write_report(f"run_local: ranks {hanging} still run after {timeout_s:.0f} s\n{all_stacks()}")
            error = StepTimeoutError(f"ranks {hanging} of {workers} were still running after {timeout_s:.0f} s; the stacks are on stderr")
        for comm in comms:
            comm.abort(EXIT_FAILURE)
    for outcome in outcomes:
        outcome.may_stop.set()
    if error is not None:
        raise error
    for thread in threads:
        thread.join(timeout_s)
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [outcome.value for outcome in outcomes]  # type: ignore[misc]  # without a failure each is a T


def run_mpi(job: Job[T], timeout_s: float = 60.0, allocate: Callable[[int], Buffer] = bytearray, open_comm: Callable[[], Comm] = open_mpi) -> list[T]:
    """Run `job(engine)` on every rank of the world; a collective call of the main threads. Results are pickled to all ranks.

    When a rank hangs, all stacks are printed and that process ends with a status other than 0: a thread that waits cannot be unwound.

    Raises:
        Exception: the failure of the lowest failed rank, on every rank, with a note naming the rank and its traceback.
    """
    global _verdicts
    if _verdicts is None:
        _verdicts = open_mpi()
    comm = _verdicts
    outcome: _Outcome[T] = _Outcome()
    thread = threading.Thread(target=_run_rank, args=(comm.rank, open_comm, job, allocate, outcome), name="rank", daemon=True)
    thread.start()
    verdicts = _exchange_verdicts(comm, outcome, timeout_s)
    outcome.may_stop.set()
    thread.join(_AFTER_FAILURE_S)
    if thread.is_alive():
        abort_process(f"run_mpi: the engine of rank {comm.rank} did not stop\n{all_stacks()}", EXIT_FAILURE)
    error = next((error for _, error in verdicts if error is not None), outcome.error)
    if error is not None:
        raise error
    return [value for value, _ in verdicts]


def world_size() -> int:
    """Ranks started by the launcher, read from its environment: 1 without mpirun or srun. Does not touch MPI."""
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE"):
        if name in os.environ:
            return int(os.environ[name])
    return 1


def _exchange_verdicts(comm: Comm, outcome: _Outcome[Any], timeout_s: float) -> list[tuple[Any, BaseException | None]]:
    """Tell every rank how this rank's job ended, and wait for all of theirs; ends the process at the hang limit."""
    verdicts: dict[int, tuple[Any, BaseException | None]] = {}
    peers = [rank for rank in range(comm.size) if rank != comm.rank]
    sends: list[Any] | None = None
    deadline = time.monotonic() + timeout_s
    while len(verdicts) < comm.size or sends is None or not all(send.test() for send in sends):
        if outcome.over and sends is None:
            verdicts[comm.rank] = (outcome.value, outcome.error)
            payload = _pickle_verdict(outcome)
            sends = [comm.isend(payload, peer, _VERDICT) for peer in peers]
        while (incoming := comm.poll()) is not None:
            buffer = bytearray(incoming.size_bytes)
            receive = incoming.receive_into(buffer)
            while not receive.test():
                time.sleep(0)
            verdicts[incoming.source] = pickle.loads(buffer)
        failures = [error for _, error in verdicts.values() if error is not None]
        if failures:
            deadline = min(deadline, time.monotonic() + _AFTER_FAILURE_S)
        if time.monotonic() > deadline:
            missing = sorted(set(range(comm.size)) - verdicts.keys())
            notes = "\n".join("".join(traceback.format_exception(error)) for error in failures)
            abort_process(
                f"run_mpi: rank {comm.rank} gave up after {timeout_s:.0f} s waiting for ranks {missing}\n{notes}\n{all_stacks()}", EXIT_FAILURE
            )
        time.sleep(0.0002)
    return [verdicts[rank] for rank in range(comm.size)]


def _run_rank(rank: int, open_comm: Callable[[], Comm], job: Job[T], allocate: Callable[[int], Buffer], outcome: _Outcome[T]) -> None:
    errors: list[BaseException] = []
    engine = Engine(open_comm, allocate, on_error=errors.append)
    try:
        engine.start()
        outcome.value = job(engine)
    except BaseException as error:
        error.add_note(f"on rank {rank}")
        outcome.error = error
    if errors and outcome.error is None:
        errors[0].add_note(f"on the engine thread of rank {rank}")
        outcome.error = errors[0]
    outcome.over = True
    outcome.may_stop.wait()
    try:
        engine.stop(timeout_s=10.0)
    except HpcflowError as error:
        outcome.error = outcome.error or error


def _pickle_verdict(outcome: _Outcome[Any]) -> bytes:
    error = outcome.error
    if error is not None:
        error.add_note("remote traceback:\n" + "".join(traceback.format_exception(error)))
    try:
        return pickle.dumps((outcome.value, error))
    except Exception:
        text = (
            "".join(traceback.format_exception(error))
            if error is not None
            else f"its result of type {type(outcome.value).__name__} cannot be pickled"
        )
        return pickle.dumps((None, HpcflowError(text)))


def _opener(comm: InProcessComm) -> Callable[[], Comm]:
    return lambda: comm
