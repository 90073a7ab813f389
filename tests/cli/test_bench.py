"""`hpcflow bench` on two real ranks prints a table with figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.programs import hpcflow, needs_mpirun
from tests.thorough import spread

TABLES = [("hello", "POLARS_MAX_THREADS"), ("ring", "microseconds"), ("alltoall", "seconds"), ("shuffle", "x MPI alltoall")]


@needs_mpirun
@pytest.mark.parametrize(("name", "word"), spread(TABLES, every=4, first=3))
@pytest.mark.thorough
def test_each_check_prints_its_table(tmp_path: Path, name: str, word: str) -> None:
    answer = hpcflow("bench", name, "-n", "2", "--size", "1MiB", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    head, *rows = answer.stdout.strip().splitlines()[-3 if name == "hello" else 0 :]
    assert word in head
    assert rows
    assert all(any(cell.replace(".", "").isdigit() for cell in row.split()) for row in rows)
