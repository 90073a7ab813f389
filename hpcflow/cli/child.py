"""One child process with all its descendants: its output passed on, signals forwarded, nothing left behind.

Invariant: when `run_child` returns, no descendant of the child is alive on this host. SIGINT and SIGTERM are passed to the child; what has not ended
`grace_s` seconds later is killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_CHILD_SUBREAPER = 36
_TAIL_CHUNKS = 64
_REMOVES_SCRATCH = b"\0hpcflow-scratch\0"
"""In the command line of the shell that removes a rank's scratch directory once the rank has gone (runtime/scratch_directory.py)."""
_REMOVAL_S = 1.0


@dataclass(frozen=True)
class ChildResult:
    """status: exit status, negative for a signal; output: the tail of stdout and stderr; interrupted_by: the first signal that was forwarded."""

    status: int
    output: str
    interrupted_by: int | None


def run_child(argv: list[str], environ: Mapping[str, str], grace_s: float = 3.0, hide: bytes = b"") -> ChildResult:
    """Run `argv` to its end, in a session of its own. To be called on the main thread (it installs signal handlers for the time being).

    hide: lines of stdout that begin with it are kept from our stdout; `ChildResult.output` has them
    """
    _adopt_orphans()
    before_us = frozenset(descendants(os.getpid()))
    child = subprocess.Popen(
        argv, env=dict(environ), start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL if sys.stdin is None or sys.stdin.isatty() else None,  # a launcher in the background must not read a terminal
    )  # fmt: skip
    tails: tuple[deque[bytes], deque[bytes]] = (deque(maxlen=_TAIL_CHUNKS), deque(maxlen=_TAIL_CHUNKS))
    pipes = (child.stdout, child.stderr)
    copies = [
        threading.Thread(target=_copy, args=(pipe.fileno(), target, tail, LineFilter(hide if target == 1 else b"")), daemon=True)
        for pipe, target, tail in zip(pipes, (1, 2), tails, strict=True)
        if pipe is not None
    ]
    for copy in copies:
        copy.start()
    caught: list[int] = []
    killer = threading.Timer(grace_s, _kill_descendants, (before_us,))

    def forward(number: int, frame: FrameType | None) -> None:
        if not caught:
            killer.start()
        caught.append(number)
        if child.poll() is None:
            child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        status = child.wait()
    finally:
        killer.cancel()
        _kill_descendants(before_us)
        for number, handler in before.items():
            signal.signal(number, handler)
    for copy in copies:
        copy.join(timeout=2.0)
    output = b"".join([*tails[0], b"\n", *tails[1]]).decode(errors="replace")
    return ChildResult(status, output, caught[0] if caught else None)


def descendants(pid: int) -> list[int]:
    """Process ids below `pid`, from /proc, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _adopt_orphans() -> None:
    """A rank whose launcher has died becomes our child (Linux's subreaper), so that it is found and ended."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _kill_descendants(spared: frozenset[int]) -> None:
    """All but `spared`; those that remove scratch directories have a moment to do it when the ranks have gone."""
    left = frozenset(descendants(os.getpid())) - spared
    removing = {pid for pid in left if _REMOVES_SCRATCH in _command_line(pid)}
    for pid in left - removing:
        _kill(pid)
    deadline = time.monotonic() + _REMOVAL_S
    while removing and time.monotonic() < deadline:
        time.sleep(0.01)
        removing = {pid for pid in removing if _command_line(pid)}
    for pid in frozenset(descendants(os.getpid())) - spared:
        _kill(pid)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _command_line(pid: int) -> bytes:
    """Empty when the process has ended."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


class LineFilter:
    """Drops the lines that begin with `prefix` from a stream that comes in pieces of any length; holds back nothing else.

    >>> lines = LineFilter(b"no"); [lines.feed(b"yes\\nn"), lines.feed(b"ot"), lines.feed(b" this\\nna"), lines.feed(b"me")]
    [b'yes\\n', b'', b'na', b'me']
    """

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._start = b""  # the current line as far as it may still become one to drop
        self._undecided = bool(prefix)

    def feed(self, piece: bytes) -> bytes:
        """What of the stream can be passed on after this piece."""
        if not self._prefix:
            return piece
        passed = []
        for line in piece.splitlines(keepends=True):
            if self._undecided:
                self._start += line
                if self._prefix.startswith(self._start):
                    continue
                if self._start.startswith(self._prefix):
                    self._start = self._start if not line.endswith(b"\n") else b""
                    continue
                line, self._start, self._undecided = self._start, b"", False
            passed.append(line)
            self._undecided = line.endswith(b"\n")
        return b"".join(passed)

    def rest(self) -> bytes:
        """What was held back at the end of the stream and is no line to drop."""
        return b"" if self._prefix and self._start.startswith(self._prefix) else self._start


def _copy(source: int, target: int, tail: deque[bytes], lines: LineFilter) -> None:
    """Pass bytes on at once; go on reading when our own output is closed, so that the ranks never block on it."""
    while chunk := os.read(source, 1 << 16):
        tail.append(chunk[-(1 << 14) :])
        _write(target, lines.feed(chunk))
    _write(target, lines.rest())


def _write(target: int, piece: bytes) -> None:
    view = memoryview(piece)
    try:
        while view:
            view = view[os.write(target, view) :]
    except OSError:
        return  # our reader has gone
