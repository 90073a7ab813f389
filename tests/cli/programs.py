"""Small programs for the command line's tests, and how to run the command as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

needs_mpirun = pytest.mark.skipif(
    not os.access(Path(sysconfig.get_path("scripts")) / "mpirun", os.X_OK), reason="no MPI wheel in this environment (make test installs one)"
)

WORLD = """
import os, sys, time, signal
from hpcflow.launch.launchers.environment import detect
hint = detect(os.environ)
what, me = (sys.argv[1:] or ["say"])[0], hint.rank
print(f"rank {me} of {hint.size}, threads {os.environ.get('POLARS_MAX_THREADS')}, arguments {sys.argv[1:]}", flush=True)
if what == "raise" and me == 1: raise ValueError("boom")
if what == "exit" and me == 1: sys.exit(7)
if what == "kill" and me == 1: time.sleep(0.5); os.kill(os.getpid(), signal.SIGKILL)
if what == "say": sys.exit(0)
time.sleep(60)
"""


def hpcflow(*words: str, cwd: Path, timeout_s: float = 60.0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m hpcflow words...` from `cwd` (never the source tree) and wait for it."""
    return subprocess.run(command(*words), cwd=cwd, env=environment(**variables), capture_output=True, text=True, timeout=timeout_s, check=False)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "hpcflow", *words]


def environment(**variables: str) -> dict[str, str]:
    """This environment without a launcher's variables, with the source tree importable."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PMI", "OMPI_", "POLARS_MAX", "OPENBLAS_"))}
    return own | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | variables
