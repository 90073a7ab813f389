"""Run a program on real MPI ranks and look at how it ends: status, output, seconds, and whether any of its processes is left.

Invariant: whatever the program does, `launch` returns within `limit_s` seconds with nothing of it running. The MPI is the one of this Python's
environment, so that the same tests run with either wheel.

    ended = launch(PROGRAM, ranks=3)
    assert ended.status == 0 and not ended.left
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpcflow.cli.start import find_mpirun
from hpcflow.launch.launchers import mpirun
from hpcflow.launch.launchers.request import LaunchRequest

PRELUDE = """
import os, signal, sys, time
import polars as pl
import hpcflow as hf

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
"""
ON_ONE_HOST = {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1", "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_btl": "^ofi"}
"""For MPI: there are more ranks than cores, so one that waits sleeps (MPICH) or gives its turn away (Open MPI); and Open MPI need not sleep for a
second at each start to look for a network between hosts."""
MARK = "HPCFLOW_TEST_LIMIT_S"
"""A variable that every process of a launch inherits, with a value of its own: by it what is left is found."""


@dataclass(frozen=True)
class Ended:
    """status: of the launcher; seconds: from start to end; left: processes that were alive `settle_s` after the launcher had ended."""

    status: int
    stdout: str
    stderr: str
    seconds: float
    after_s: float
    """Seconds from the disturbance (or the start) until no process was left."""
    left: tuple[int, ...]

    @property
    def text(self) -> str:
        return self.stdout + self.stderr


def launch(
    program: str,
    ranks: int = 3,
    limit_s: float = 60.0,
    disturb: Callable[[subprocess.Popen[str], Path], None] | None = None,
    through: str = "mpirun",
    environ: dict[str, str] | None = None,
    folder: Path = Path("/tmp"),
) -> Ended:
    """Run `program` (source text, after PRELUDE) on `ranks` ranks, in `folder`; `disturb(process, output file)` runs meanwhile.

    through: "mpirun", "hpcflow run" or "alone"
    """
    tag = f"{time.time_ns() % 10**12 + 10**6}"
    script, out, err = folder / f"program-{tag}.py", folder / f"out-{tag}", folder / f"err-{tag}"
    script.write_text(PRELUDE + textwrap.dedent(program))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI_", "PRTE_", "HPCFLOW_"))}
    env |= {MARK: tag, "POLARS_MAX_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2]), "HPCFLOW_PROGRESS": "off"}
    env |= ON_ONE_HOST | (environ or {})
    started = time.monotonic()
    with out.open("w") as stdout, err.open("w") as stderr:
        argv = _command(script, ranks, through)
        process = subprocess.Popen(
            argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True, text=True
        )
        since, status = started, -999
        try:
            if disturb is not None:
                disturb(process, out)
                since = time.monotonic()
            status = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            pass  # status says so, and what is left is ended below
        finally:
            left = _wait_for_none(tag, 5.0 if status != -999 else 0.0)
            after = time.monotonic() - since
            for pid in left:
                _kill(pid)
            process.wait(timeout=10)
    return Ended(status, out.read_text(), err.read_text(), time.monotonic() - started, after, left)


def processes_left(tag: str, settle_s: float = 5.0) -> tuple[int, ...]:
    """Processes that carry MARK=tag and still live after `settle_s` seconds; they are ended."""
    left = _wait_for_none(tag, settle_s)
    for pid in left:
        _kill(pid)
    return left


def wait_for(file: Path, word: str, limit_s: float = 45.0) -> str:
    """The text of `file` once `word` is in it."""
    deadline = time.monotonic() + limit_s
    while word not in (text := file.read_text()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{word!r} did not appear in {limit_s:.0f} s; there is {text!r}")
        time.sleep(0.02)
    return text


def after_word(word: str, act: Callable[[int, subprocess.Popen[str]], None]) -> Callable[[subprocess.Popen[str], Path], None]:
    """A disturbance: wait for a line `word PID`, then `act(PID, launcher)`."""

    def disturb(process: subprocess.Popen[str], out: Path) -> None:
        text = wait_for(out, word + " ")
        time.sleep(0.2)
        act(int(text.split(word + " ", 1)[1].split()[0]), process)

    return disturb


def send_signal(number: int) -> Callable[[int, subprocess.Popen[str]], None]:
    """Send it to the process that said its pid."""
    return lambda pid, process: os.kill(pid, number)


def _command(script: Path, ranks: int, through: str) -> list[str]:
    if through == "alone":
        return [sys.executable, str(script)]
    if through == "hpcflow run":
        return [sys.executable, "-m", "hpcflow", "run", str(script), "-n", str(ranks)]
    launcher = find_mpirun()
    request = LaunchRequest((sys.executable, str(script)), ranks, 1, {}, available_cores=os.cpu_count() or 1, bind="none", as_root=os.geteuid() == 0)
    return mpirun.command(request, mpirun.detect(launcher), launcher)


def _wait_for_none(tag: str, limit_s: float) -> tuple[int, ...]:
    deadline = time.monotonic() + limit_s
    while (left := _tagged(tag)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _tagged(tag: str) -> tuple[int, ...]:
    """Processes whose environment carries the mark."""
    needle = f"{MARK}={tag}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if needle in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue  # ended, or not ours
    return tuple(found)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
