"""One child process: its output passed on, lines hidden, orphans ended."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.cli.child import LineFilter
from tests.cli.programs import environment

ORPHAN = """
import subprocess, sys
from hpcflow.cli.child import run_child
import os
sleeper = "[sys.executable, '-c', 'import time; time.sleep(60)']"
program = f"import subprocess, sys; p = subprocess.Popen({sleeper}, start_new_session=True); print(p.pid, flush=True)"
result = run_child([sys.executable, "-c", program], os.environ)
print(result.status, result.interrupted_by)
"""


@given(st.lists(st.sampled_from([b"[mpi", b"exec@", b"[mpiexec@vm] x", b"\n", b"a", b"[", b"row\n"]), max_size=20))
def test_only_lines_with_the_prefix_are_hidden_however_the_stream_is_cut(pieces: list[bytes]) -> None:
    lines = LineFilter(b"[mpiexec@")
    passed = b"".join([*(lines.feed(piece) for piece in pieces), lines.rest()])
    whole = b"".join(pieces)
    assert passed == b"".join(line for line in whole.splitlines(keepends=True) if not line.startswith(b"[mpiexec@"))


@pytest.mark.thorough
def test_a_process_that_outlives_the_launcher_is_ended(tmp_path: Path) -> None:
    answer = subprocess.run([sys.executable, "-c", ORPHAN], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=30, check=True)
    orphan, verdict = answer.stdout.splitlines()
    assert verdict == "0 None"
    deadline = time.monotonic() + 2
    while Path(f"/proc/{orphan}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{orphan}").exists()
