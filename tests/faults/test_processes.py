"""Whatever ends a process of a job, all are gone soon, the status is not 0, and one message says what happened. With the MPI of this Python."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from hpcflow.comm.watchdog import EXIT_FAILURE
from tests.faults.harness import Ended, after_word, launch, send_signal

pytestmark = pytest.mark.faults

GONE_S = 5.0


def assert_ended_badly(ended: Ended) -> None:
    assert ended.status not in (0, -999), ended.text
    assert not ended.left, ended.text
    assert ended.after_s < GONE_S, (ended.after_s, ended.text)


def signal_launcher(number: int):
    return lambda pid, launcher: os.kill(launcher.pid, number)


IN_A_TASK = """
def slow(df):
    say("WORKER", os.getpid())
    time.sleep(20)
    return df

with hf.Session() as s:
    say("DRIVER", os.getpid())
    s.range(100).map_batches(slow, schema={"value": pl.Int64}).write_parquet("out")
"""

IN_AN_EXCHANGE = """
with hf.Session(window_bytes=65536, chunk_bytes=16384) as s:
    n = 3_000_000
    def producing(df):
        say("WORKER", os.getpid())
        return df
    data = s.range(n).map_batches(producing, schema={"value": pl.Int64}).with_columns(text=pl.col("value").cast(pl.String))
    for _ in range(50):
        data.repartition(16, by="value").sort("text").write_parquet("out", mode="overwrite")
"""

IDLE = """
s = hf.Session()
assert s.range(100).count() == 100
say("DRIVER", os.getpid())
say("WORKER", s._cluster.master.hellos[1].pid)
time.sleep(20)
"""


@pytest.mark.parametrize("through", ["mpirun", "hpcflow run"])
def test_a_worker_killed_in_a_task(tmp_path, through):
    ended = launch(IN_A_TASK, disturb=after_word("WORKER", send_signal(signal.SIGKILL)), through=through, folder=tmp_path)
    assert_ended_badly(ended)
    assert_nothing_visible(tmp_path)
    if through == "hpcflow run":
        assert "ended by signal 9 (SIGKILL)" in ended.stderr or "has ended in the middle of the job" in ended.stderr
    else:
        assert any(words in ended.text for words in ("has ended in the middle of the job", "Killed (signal 9)", "signal 9 (Killed)"))


def test_a_worker_killed_in_an_exchange(tmp_path):
    ended = launch(IN_AN_EXCHANGE, disturb=after_word("WORKER", send_signal(signal.SIGKILL)), folder=tmp_path)
    assert_ended_badly(ended)
    assert_nothing_visible(tmp_path, allow_complete=True)


def test_a_worker_killed_while_idle(tmp_path):
    assert_ended_badly(launch(IDLE, disturb=after_word("WORKER", send_signal(signal.SIGKILL)), folder=tmp_path))


@pytest.mark.parametrize("status", [0, 5])
def test_a_user_function_that_calls_os_exit_is_told_with_its_rank(tmp_path, status):
    ended = launch(
        f"""
        def leaves(df):
            os._exit({status})

        with hf.Session() as s:
            s.range(100).map_batches(leaves, schema={{"value": pl.Int64}}).write_parquet("out")
        """,
        folder=tmp_path,
    )
    assert ended.status not in (0, -999) and not ended.left, ended.text
    assert f"os._exit({status}) was called on rank" in ended.stderr and "in leaves" in ended.stderr
    assert_nothing_visible(tmp_path)


@pytest.mark.parametrize("program", [IN_A_TASK, IDLE], ids=["in a task", "idle"])
def test_the_driver_killed(tmp_path, program):
    assert_ended_badly(launch(program, disturb=after_word("DRIVER", send_signal(signal.SIGKILL)), folder=tmp_path))
    assert_nothing_visible(tmp_path)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_driver_interrupted_in_a_long_task(tmp_path, number, status):
    ended = launch(IN_A_TASK, disturb=after_word("WORKER", lambda pid, launcher: os.kill(driver_of(ended_output(tmp_path)), number)), folder=tmp_path)
    assert_ended_badly(ended)
    # MPICH's mpirun reports the ranks that it has ended itself as well, and the bits of two statuses as one.
    assert ended.status in (status, signal.SIGKILL, status | EXIT_FAILURE), ended.text
    assert ("KeyboardInterrupt" if number == signal.SIGINT else "was told to end (SIGTERM)") in ended.stderr
    assert_nothing_visible(tmp_path, also_beside=True)


@pytest.mark.parametrize(("number", "through"), [(signal.SIGINT, "mpirun"), (signal.SIGTERM, "mpirun"), (signal.SIGINT, "hpcflow run")])
def test_the_launcher_interrupted(tmp_path, number, through):
    ended = launch(IN_A_TASK, disturb=after_word("WORKER", signal_launcher(number)), through=through, folder=tmp_path)
    assert_ended_badly(ended)
    assert_nothing_visible(tmp_path)


def test_ctrl_c_in_a_short_task_closes_in_order(tmp_path):
    ended = launch(
        """
        def slow(df):
            time.sleep(0.7)
            return df

        with hf.Session() as s:
            say("DRIVER", os.getpid())
            s.range(100).map_batches(slow, schema={"value": pl.Int64}).collect()
        """,
        disturb=after_word("DRIVER", send_signal(signal.SIGINT)),
        folder=tmp_path,
    )
    assert_ended_badly(ended)
    assert ended.status == 130 and "still run" not in ended.stderr, ended.text


def test_scratch_is_empty_after_a_kill(tmp_path):
    scratch = tmp_path / "scratch"
    ended = launch(
        f"""
        with hf.Session(memory_budget="2MB", scratch={str(scratch)!r}) as s:
            data = s.range(1_000_000).with_columns(x=pl.col("value") * 3)
            def last(df):
                say("WORKER", os.getpid())
                time.sleep(20)
                return df
            data.repartition(8, by="value").map_batches(last, schema={{"value": pl.Int64, "x": pl.Int64}}).count()
        """,
        disturb=after_word("WORKER", send_signal(signal.SIGKILL)),
        folder=tmp_path,
    )
    assert_ended_badly(ended)
    assert scratch.is_dir() and not os.listdir(scratch)


def assert_nothing_visible(folder: Path, allow_complete: bool = False, also_beside: bool = False) -> None:
    """No output, not even hidden files in it, which Polars would read. What was not complete lies beside it, where nobody was left to tidy up."""
    out = folder / "out"
    assert allow_complete or not out.exists(), os.listdir(out)
    assert not also_beside or not [name for name in os.listdir(folder) if name.startswith(".out.")]


def ended_output(folder: Path) -> str:
    return "".join(file.read_text() for file in sorted(folder.glob("out-*")))


def driver_of(output: str) -> int:
    return int(output.split("DRIVER ", 1)[1].split()[0])
