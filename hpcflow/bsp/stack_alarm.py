"""The stacks of all ranks on stderr, asked for by one of them: where does everybody stand?

Invariant: a rank answers whatever its user's thread does, since a thread of its own listens; in-process there is one process and one report.
Each process reports once a minute at most, however many ranks ask.

    alarm = open_alarm(private_duplicate, MPI)
    alarm.ring("rank 2 did not come")            # returns when all ranks have written theirs, or after two seconds
    alarm.stop()
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from hpcflow.bsp.thread_comm import ThreadComm
from hpcflow.comm.watchdog import all_stacks, where, write_report

_ASK_TAG: Final = 2
_ANSWER_TAG: Final = 3
_LISTEN_S: Final = 0.1
_ANSWERS_S: Final = 2.0
_QUIET_S: Final = 60.0

_reported = 0.0  # one report for all ranks of this process: guarded by _lock
_lock = threading.Lock()


class StackAlarm:
    """In-process: the stacks of this process hold all ranks."""

    def ring(self, reason: str) -> None:
        """Have the stacks of all ranks written to their stderr."""
        report(reason)

    def stop(self) -> None:
        """End what listens."""


class MpiStackAlarm(StackAlarm):
    """Over MPI: a listening thread on each rank; it needs MPI_THREAD_MULTIPLE."""

    def __init__(self, private: Any, mpi: Any) -> None:
        self._private = private
        self._mpi = mpi
        self._sends: list[Any] = []  # kept: MPI reads their memory until they are received
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="hpcflow-stack-alarm", daemon=True)
        self._thread.start()

    def ring(self, reason: str) -> None:
        report(reason)
        peers = [peer for peer in range(self._private.size) if peer != self._private.rank]
        self._sends += [self._private.isend(reason, dest=peer, tag=_ASK_TAG) for peer in peers]
        answers, deadline = 0, time.monotonic() + _ANSWERS_S
        while answers < len(peers) and time.monotonic() < deadline:
            message = self._private.improbe(self._mpi.ANY_SOURCE, _ANSWER_TAG)
            if message is None:
                time.sleep(0.01)
            else:
                message.recv()
                answers += 1

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _listen(self) -> None:
        status = self._mpi.Status()
        while not self._stopped.wait(_LISTEN_S) and not self._mpi.Is_finalized():
            message = self._private.improbe(self._mpi.ANY_SOURCE, _ASK_TAG, status)
            if message is not None:
                report(message.recv())
                self._sends.append(self._private.isend(None, dest=status.Get_source(), tag=_ANSWER_TAG))


def open_alarm(private: Any, mpi: Any) -> StackAlarm:
    """The alarm that fits the communicator. Without MPI_THREAD_MULTIPLE only the rank that rings writes its stacks."""
    if isinstance(private, ThreadComm) or private.size == 1 or mpi.Query_thread() < mpi.THREAD_MULTIPLE:
        return StackAlarm()
    return MpiStackAlarm(private, mpi)


def report(reason: str) -> None:
    """The stacks of this process, unless they were written within the last minute."""
    global _reported
    with _lock:
        now = time.monotonic()
        if _reported and now - _reported < _QUIET_S:
            return
        _reported = now
    write_report(f"hpcflow: {reason}\nstacks of all threads on {where()}:\n{all_stacks()}")
