"""Ending in time: a job is told that its limit is near, saves its state, and ends with status 75 to be run again.

    for step in range(start, steps):
        ...
        if launch.should_stop(comm):          # an all-reduce: every rank gets the same answer
            save(step)
            raise SystemExit(launch.STOP_CODE)

Invariant: no signal reaches the program; the job's shell takes USR1 and leaves a file, which is looked for here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

STOP_CODE = 75
"""Exit status of a program that wants to be run again."""
POLL_S = 0.5


def should_stop(comm: Any = None) -> bool:
    """Whether the job has been told to stop.

    Args:
        comm: an mpi4py communicator (or a twin of one): a collective call, with the same answer on all ranks. None: this process alone.
    """
    path = os.environ.get("HPCFLOW_STOP_FILE")
    told = path is not None and os.path.exists(path)
    return told if comm is None else any(comm.allgather(told))


def on_stop(function: Callable[[], object]) -> Callable[[], None]:
    """Call `function()` once, on a thread of its own, when the job is told to stop; returns what takes that back. Outside of a job: never."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(POLL_S):
            if should_stop():
                function()
                return

    if "HPCFLOW_STOP_FILE" in os.environ:
        threading.Thread(target=watch, name="hpcflow-on-stop", daemon=True).start()
    return over.set
