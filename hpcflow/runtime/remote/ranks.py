"""The ranks that a session has started: the launcher's process, what it prints, and its end.

Invariant: when `start_ranks` raises, and when the cluster it returned has been closed, nothing of the launch is left on this host; when the driver is
killed, rank 0 reads the end of the connection and all ranks end by themselves.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from hpcflow.config import SessionConfig
from hpcflow.errors import LaunchError
from hpcflow.events.log import EventLog
from hpcflow.resources import process_namespace
from hpcflow.runtime.cluster import Cluster
from hpcflow.runtime.remote import messages as r
from hpcflow.runtime.remote.channel import Channel, Doorkeeper
from hpcflow.runtime.remote.errors import unpack
from hpcflow.runtime.remote.master import RemoteMaster

PROGRAM = (sys.executable, "-m", "hpcflow.runtime.remote.rank_0")
STOP_TIMEOUT_S = 20.0
TERM_TIMEOUT_S = 3.0
TAIL_LINES = 60
_NOISE = b"[mpiexec@"  # Hydra's line about exit codes, for `launchers.ending`


class Ranks:
    """A running launch."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = tuple(argv)
        try:
            self.process = subprocess.Popen(
                list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )  # a session of its own: Ctrl-C in the driver's terminal is the driver's
        except OSError as error:
            raise LaunchError(f"{argv[0]} did not start ({error}); see `hpcflow doctor`") from error
        self._tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._descriptors: list[int] = []
        self._copies = []
        for pipe, target in ((self.process.stdout, "stdout"), (self.process.stderr, "stderr")):
            assert pipe is not None
            self._copies.append(threading.Thread(target=self._copy, args=(pipe, target), name=f"hpcflow-{target}", daemon=True))
            self._copies[-1].start()

    @property
    def gone(self) -> bool:
        """The launcher has ended."""
        return self.process.poll() is not None

    def tell(self, line: bytes) -> None:
        """To the standard input of rank 0."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def remember(self, pids: Sequence[int]) -> None:
        """Processes of this host that belong to it, to be ended if it comes to that."""
        for pid in pids:
            with contextlib.suppress(OSError, AttributeError):
                self._descriptors.append(os.pidfd_open(pid))

    def output(self) -> str:
        """The end of what launcher and ranks have printed."""
        for copy in self._copies:
            copy.join(timeout=1.0)
        return b"".join(self._tail).decode(errors="replace")

    def end(self, patience_s: float = 0.0) -> int:
        """Wait `patience_s` for the launch to end by itself, then end it. Returns the launcher's status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=patience_s)
        if not self.gone:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=TERM_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for descriptor in self._descriptors:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)
        self._descriptors.clear()
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        return self.process.wait()

    def _copy(self, pipe: BinaryIO, target: str) -> None:
        """Line by line to the driver's own stdout and stderr, as Python knows them: a notebook shows them in its cell."""
        with pipe:
            for line in pipe:
                self._tail.append(line)
                if not line.startswith(_NOISE):
                    with contextlib.suppress(Exception):  # our reader has gone; the ranks must not wait for it
                        stream = getattr(sys, target)
                        stream.write(line.decode(errors="replace"))
                        stream.flush()


class RankCluster(Cluster[RemoteMaster]):
    """The cluster of a launch of our own."""

    def __init__(self, master: RemoteMaster, close: Callable[[], None], launch: Ranks) -> None:
        super().__init__(master, close, ())
        self.launch = launch


def start_ranks(
    argv: Sequence[str], ranks: int, same_host: bool, timeout_s: float, config: SessionConfig, events: EventLog, why: Callable[[int, str], str]
) -> RankCluster:
    """Start the launcher `argv` and open a session on its ranks.

    ranks: of the world; same_host: all of them are here; why: from the launcher's status and output to a sentence about its end

    Raises:
        LaunchError: they did not come up within `timeout_s`; one message with what they printed.
    """
    door = Doorkeeper(same_host)
    try:
        launch = Ranks(argv)
        try:
            launch.tell(door.invitation())
            channel = door.wait(timeout_s, lambda: launch.gone)
            if channel is None:
                raise _not_started(launch, timeout_s, why)
            opened = _open(channel, launch, config, timeout_s, why)
            if opened.ranks != ranks:
                raise LaunchError(
                    f"{ranks} ranks were started, and MPI sees a world of {opened.ranks}: the launcher and this Python's MPI do not fit"
                )
        except BaseException:
            launch.end()
            raise
    finally:
        door.close()
    here = (socket.gethostname(), process_namespace())
    near = [h.pid for h in opened.hellos.values() if (h.host, h.namespace) == here]
    launch.remember([*near, *([opened.pid] if (opened.host, opened.namespace) == here else [])])

    def how_it_ended() -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            launch.process.wait(timeout=TERM_TIMEOUT_S)
        status = launch.end()
        return why(status, launch.output()) if status else "the launcher ended"

    master = RemoteMaster(channel, opened, config, events, how_it_ended)

    def close() -> None:
        in_order = master.lost is None and master.send_quietly(r.Close())
        launch.end(STOP_TIMEOUT_S if in_order else 0.0)
        channel.close()

    return RankCluster(master, close, launch)


def _open(channel: Channel, launch: Ranks, config: SessionConfig, timeout_s: float, why: Callable[[int, str], str]) -> r.Opened:
    plain = replace(config, comm=None, policy="default", launch=None, event_log=None, progress="off", workers=None)
    channel.send(r.Open(plain))
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def read() -> None:
        try:
            while not isinstance(answer := channel.receive()[0], r.Opened | r.NotOpened):
                pass  # an event
            answers.put(answer)
        except (EOFError, OSError):
            answers.put(None)

    threading.Thread(target=read, name="hpcflow-opening", daemon=True).start()
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(queue.Empty):
            answer = answers.get(timeout=0.2)
            break
        if time.monotonic() > deadline:
            raise _not_started(launch, timeout_s, why)
    if isinstance(answer, r.Opened):
        return answer
    if answer is None:
        raise _not_started(launch, timeout_s, why)
    raise unpack(answer.error, answer.text)


def _not_started(launch: Ranks, timeout_s: float, why: Callable[[int, str], str]) -> LaunchError:
    with contextlib.suppress(subprocess.TimeoutExpired):
        launch.process.wait(timeout=TERM_TIMEOUT_S)
    late = not launch.gone
    status = launch.end()
    what = f"were not there within {timeout_s:.0f} s" if late else f"ended at once: {why(status, launch.output())}"
    said = "\n".join("  " + line for line in launch.output().strip().splitlines()[-15:])
    text = f"the ranks of this session {what}. Check with `hpcflow doctor`; the launch was: {' '.join(launch.argv[:6])} ..."
    return LaunchError(text + (f"\nThey said:\n{said}" if said else ""))
