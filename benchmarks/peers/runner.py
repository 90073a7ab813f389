"""One system's runner as its parent sees it: ask, wait with a limit, count the CPU seconds of its processes, end it.

Invariant: after `close` no process of the runner is left.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from collections import deque
from pathlib import Path
from typing import Any

from benchmarks.peers.serve import MARK
from benchmarks.peers.systems import System


class RunnerError(Exception):
    """The runner ended, or gave no answer in time; holds the last lines it wrote."""


class Runner:
    """A started system. `versions` is what it says of itself; `workloads` names what it can do."""

    def __init__(self, system: System, data: Path, limit_s: float) -> None:
        self.system, self.limit_s = system, limit_s
        self._tail: deque[str] = deque(maxlen=30)
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._child = subprocess.Popen(
            system.argv(data), env=system.environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True, cwd=data,
        )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            hello = self._answer()
        except RunnerError:
            self.close()
            raise
        self.versions: str = hello["versions"]
        self.workloads: list[str] = hello["workloads"]

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            mark = line.find(MARK)
            if mark >= 0 and line[mark + len(MARK)] == "{":
                self._answers.put(json.loads(line[mark + len(MARK) :]))
            else:
                self._tail.append(line.rstrip())
        self._answers.put(None)

    def _answer(self) -> dict[str, Any]:
        try:
            answer = self._answers.get(timeout=self.limit_s)
        except queue.Empty:
            raise RunnerError(f"{self.system.name}: no answer in {self.limit_s:.0f} s\n" + "\n".join(self._tail)) from None
        if answer is None:
            raise RunnerError(f"{self.system.name}: ended with status {self._child.wait()}\n" + "\n".join(self._tail))
        return answer

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(line + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # the answer tells
        return self._answer()

    def run(self, workload: str) -> dict[str, Any]:
        """{"seconds", "rows", "cpu_s", "sums"} of one run, or {"error"}. cpu_s: user and system time of all its processes."""
        before = cpu_seconds(self._child.pid)
        result = self._ask(f"run {workload}")
        if "error" in result:
            return result
        return result | {"cpu_s": round(cpu_seconds(self._child.pid) - before, 2)} | self._ask("check")

    def close(self) -> None:
        """Ask it to quit; end what is left of it."""
        left = descendants(self._child.pid) | {p: stat[19] for p in (self._child.pid,) if (stat := _stat(p))}
        try:
            assert self._child.stdin is not None
            self._child.stdin.write("quit\n")
            self._child.stdin.close()
        except OSError:
            pass
        try:
            self._child.wait(15)
        except subprocess.TimeoutExpired:
            pass
        for pid, started in left.items():
            stat = _stat(pid)
            if stat and stat[19] == started:  # the same process, not another that got its number
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self._child.wait()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on ([0]); empty when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []
    return [] if fields[0] == "Z" else fields


def descendants(pid: int) -> dict[int, str]:
    """Process number -> start time of all processes below `pid`, itself left out."""
    stats = {int(entry.name): _stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found: dict[int, str] = {}
    layer = {pid}
    while layer:
        layer = {child for child, stat in stats.items() if stat and int(stat[1]) in layer}
        found |= {child: stats[child][19] for child in layer}
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of `pid` and all processes below it, children that have ended included."""
    ticks = sum(sum(int(ticks) for ticks in stat[11:15]) for p in (pid, *descendants(pid)) if (stat := _stat(p)))
    return ticks / os.sysconf("SC_CLK_TCK")
