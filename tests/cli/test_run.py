"""`hpcflow run` with the real mpirun of this environment: roles, arguments, exit status, signals, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.programs import WORLD, command, environment, hpcflow, needs_mpirun
from tests.thorough import thorough


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "job.py").write_text(WORLD)
    return tmp_path


@needs_mpirun
def test_ranks_get_roles_arguments_and_threads(job: Path) -> None:
    answer = hpcflow("run", "job.py", "-n", "3", "say", "--", "--flag", "a b", cwd=job)
    assert answer.returncode == 0, answer.stderr
    assert "hpcflow: 3 ranks: 1 master + 2 workers" in answer.stderr
    assert "arguments ['say', '--flag', 'a b']" in answer.stdout
    assert answer.stdout.count("rank ") == 3
    assert "Exit codes" not in answer.stdout


@needs_mpirun
@pytest.mark.parametrize(
    ("what", "status", "words"),
    [
        ("raise", 1, "rank 1 on HOST ended with exit status 1"),
        thorough("exit", 7, "rank 1 on HOST ended with exit status 7"),
        ("kill", 137, "ended by signal 9 (SIGKILL)"),
    ],
)
def test_the_first_bad_rank_is_named_once_and_its_status_passed_on(job: Path, what: str, status: int, words: str) -> None:
    started = time.monotonic()
    answer = hpcflow("run", "job.py", "-n", "3", what, cwd=job)
    assert time.monotonic() - started < 10
    assert answer.returncode == status, answer.stderr
    last = answer.stderr.strip().splitlines()[-1]
    assert last.startswith("hpcflow: "), last
    assert all(part.strip() in last for part in words.split(" on HOST ")), last
    assert ("ValueError: boom" in answer.stderr) == (what == "raise")
    assert "runpy" not in answer.stderr


@needs_mpirun
@pytest.mark.parametrize("number", [signal.SIGINT, thorough(signal.SIGTERM)])
def test_a_signal_ends_all_ranks_within_five_seconds(job: Path, number: signal.Signals) -> None:
    run = subprocess.Popen(
        command("run", "job.py", "-n", "3", "sleep"), cwd=job, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert run.stdout is not None
    seen = ""
    while seen.count("rank ") < 3:
        seen += run.stdout.readline()
    started = time.monotonic()
    run.send_signal(number)
    assert run.wait(timeout=20) == 128 + number
    assert time.monotonic() - started < 5
    assert not ranks_of(job)


def ranks_of(job: Path) -> list[str]:
    """Processes that still run in this test's directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if Path(os.readlink(entry / "cwd")) == job and b"job.py" in (entry / "cmdline").read_bytes():
                    found.append(entry.name)
            except OSError:
                continue
    return found


@needs_mpirun
def test_a_dry_run_prints_the_line_and_starts_nothing(job: Path) -> None:
    answer = hpcflow("run", "job.py", "-n", "3", "--dry-run", "--", "--x", "a b", cwd=job)
    assert answer.returncode == 0
    assert answer.stdout.rstrip().endswith("-m hpcflow --bind-worker=1 job.py --x 'a b'")
    assert "rank " not in answer.stdout


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        thorough(("run",), 2, "requires an argument"),
        (("run", "absent.py"), 1, "no such program: absent.py"),
        thorough(("run", "job.py", "-n", "many"), 2, 'unable to convert "many" into int'),
        thorough(("run", "job.py", "--rank", "3"), 2, "Did you mean --ranks"),
        (("run", "job.py", "-n", "0"), 1, "the number of MPI ranks must be at least 1"),
        (("rum",), 2, "Did you mean"),
    ],
)
def test_a_wrong_line_is_refused_in_one_line(job: Path, words: tuple[str, ...], status: int, message: str) -> None:
    answer = hpcflow(*words, cwd=job)
    assert answer.returncode == status
    assert message in answer.stderr
    assert answer.stderr.startswith("hpcflow: error: ")
    assert len(answer.stderr.strip().splitlines()) == 1


def test_worlds_do_not_nest(job: Path) -> None:
    answer = hpcflow("run", "job.py", "-n", "2", cwd=job, PMI_RANK="0", PMI_SIZE="2", MPI_LOCALRANKID="0")
    assert answer.returncode == 1
    assert "this is rank 0 of a world of 2 already" in answer.stderr


# -- distributed mode -------------------------------------------------------------------------------------------------------------------------------

PROGRAM = """
import os
import hpcflow as hf

class Ranks(hf.Program):
    def execute(self, ctx):
        everything = ctx.comm.gather((ctx.rank, ctx.arguments, len(os.sched_getaffinity(0)), os.environ["OMP_NUM_THREADS"]))
        if ctx.is_root:
            print(f"gathered {everything}", flush=True)

@hf.program
def ranks(ctx):
    Ranks().execute(ctx)

def plain(ctx):
    Ranks().execute(ctx)

value = 3

if __name__ == "__main__":
    Ranks().run()
"""


@needs_mpirun
@pytest.mark.parametrize("target", ["distributed.py:Ranks", *map(thorough, ["distributed.py:ranks", "distributed:plain", "distributed.py"])])
@pytest.mark.thorough
def test_every_rank_of_distributed_mode_is_a_worker_and_runs_the_program(tmp_path: Path, target: str) -> None:
    (tmp_path / "distributed.py").write_text(PROGRAM)
    answer = hpcflow("run", "--mode", "distributed", target, "-n", "3", "say", "--", "--flag", "a b", cwd=tmp_path, OMP_NUM_THREADS="7")
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == "hpcflow: 3 workers\n"
    assert answer.stdout.count("gathered") == 1
    for rank in range(3):
        assert f"({rank}, ('say', '--flag', 'a b'), " in answer.stdout and "'7')" in answer.stdout


def test_a_dry_run_of_distributed_mode_names_the_program_and_limits_its_threads(tmp_path: Path) -> None:
    (tmp_path / "distributed.py").write_text(PROGRAM)
    answer = hpcflow("run", "--mode", "distributed", "distributed.py:Ranks", "-n", "2", "--cores", "1", "--dry-run", "--", "--x", cwd=tmp_path)
    if "no mpirun beside" in answer.stderr:
        pytest.skip("no MPI here")
    assert answer.stdout.rstrip().endswith("-m hpcflow --bind-rank=1 --program=distributed.py:Ranks --x"), answer
    assert "OMP_NUM_THREADS" in answer.stdout and "OPENBLAS_NUM_THREADS" in answer.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "distributed.py:Ranks"), "names a program within distributed.py: say --mode distributed"),
        (("run", "--mode", "distributed", "absent.py:Ranks"), "no such program: absent.py"),
        (("run", "--mode", "distributed", "distributed.py:a b"), "give a program as job.py, job.py:Name or module:Name"),
    ],
)
def test_a_wrong_program_is_refused_before_anything_starts(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "distributed.py").write_text(PROGRAM)
    answer = hpcflow(*words, cwd=tmp_path)
    assert answer.returncode == 1 and message in answer.stderr and len(answer.stderr.strip().splitlines()) == 1, answer


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("distributed.py:Rank", "distributed.py has no 'Rank'; did you mean 'Ranks' or 'ranks'? Programs there: Ranks, ranks"),
        thorough("distributed.py:value", "distributed.py:value is a int: give a hf.Program, or a function that takes ctx"),
        thorough("distribute:ranks", "no module distribute (from "),
    ],
)
def test_a_name_that_is_no_program_is_told_by_the_ranks(tmp_path: Path, target: str, message: str) -> None:
    (tmp_path / "distributed.py").write_text(PROGRAM)
    answer = hpcflow(f"--program={target}", cwd=tmp_path)
    assert answer.returncode == 1 and message in answer.stderr and len(answer.stderr.strip().splitlines()) == 1, answer


@pytest.mark.thorough
def test_a_program_by_name_runs_without_a_launcher_too(tmp_path: Path) -> None:
    (tmp_path / "distributed.py").write_text(PROGRAM)
    answer = hpcflow("--program=distributed.py:ranks", "x", cwd=tmp_path, HPCFLOW_WORKERS="2", OMP_NUM_THREADS="1")
    assert answer.returncode == 0 and "(1, ('x',), " in answer.stdout, answer
