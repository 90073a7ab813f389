"""`python -m hpcflow job.py`: the program runs as it would under python, and its failures end the process with the right status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.programs import hpcflow
from tests.thorough import thorough


def write(directory: Path, text: str) -> Path:
    (directory / "job.py").write_text(text)
    (directory / "neighbour.py").write_text("value = 42\n")
    return directory


def test_the_program_is_main_and_sees_its_arguments_and_neighbours(tmp_path: Path) -> None:
    answer = hpcflow("job.py", "--a", "b c", cwd=write(tmp_path, "import sys, neighbour\nprint(__name__, sys.argv, neighbour.value, __file__)\n"))
    assert answer.stdout == "__main__ ['job.py', '--a', 'b c'] 42 job.py\n"
    assert answer.returncode == 0


@pytest.mark.parametrize(
    ("text", "status", "error"),
    [
        ("raise ValueError('boom')", 1, "ValueError: boom"),
        ("import sys; sys.exit(5)", 5, ""),
        ("import sys; sys.exit('no data')", 1, "no data"),
        ("import sys; sys.exit()", 0, ""),
        ("raise KeyboardInterrupt", 130, "interrupted"),
        ("1 +", 1, "SyntaxError"),
    ],
)
@pytest.mark.parametrize("launched", [thorough(False, id="alone"), pytest.param(True, id="as a rank")])
def test_the_end_of_the_program_is_the_end_of_the_process(tmp_path: Path, text: str, status: int, error: str, launched: bool) -> None:
    variables = {"PMI_RANK": "2", "PMI_SIZE": "3", "MPI_LOCALRANKID": "2"} if launched else {}
    answer = hpcflow("job.py", cwd=write(tmp_path, text), **variables)
    assert answer.returncode == status
    assert error in answer.stderr
    assert ("on rank 2" in answer.stderr) == (launched and status == 1 and "exit" not in text)
    assert "runpy" not in answer.stderr


def test_a_rank_ends_at_once_though_a_thread_still_runs(tmp_path: Path) -> None:
    text = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nraise ValueError('boom')\n"
    answer = hpcflow("job.py", cwd=write(tmp_path, text), timeout_s=10, PMI_RANK="0", PMI_SIZE="2")
    assert answer.returncode == 1


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    answer = hpcflow("absent.py", cwd=tmp_path)
    assert answer.returncode == 1
    assert "no such program: absent.py" in answer.stderr


PLANNED = "import hpcflow as hf\nwith hf.Session() as s:\n    [s.range(n).sort('value').write_parquet(f'out{n}') for n in range(1, 40)]\n"


def test_explain_prints_the_plans_and_runs_nothing(tmp_path: Path) -> None:
    answer = hpcflow("explain", "job.py", cwd=write(tmp_path, PLANNED))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("action 1: write_parquet\nprogram\n") and "action 39: write_parquet" in answer.stdout
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["job.py", "neighbour.py"]


def test_explain_of_a_program_without_actions_says_so(tmp_path: Path) -> None:
    answer = hpcflow("explain", "job.py", cwd=write(tmp_path, "print('hello')\n"))
    assert (answer.returncode, answer.stdout) == (0, "hello\n")
    assert "job.py ran no action, so there is no plan" in answer.stderr


def test_explain_ends_without_a_traceback_when_nobody_reads_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hpcflow", "explain", "job.py"]
    with subprocess.Popen(command, cwd=write(tmp_path, PLANNED), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == ("", 1)
