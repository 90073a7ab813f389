"""A session in a real Jupyter kernel: cells that fail, are interrupted and lose ranks, each followed by cells that give the right result.

With the MPI of this Python; needs ipykernel."""

from __future__ import annotations

import os
import queue
import signal
import time
from pathlib import Path
from textwrap import dedent

import pytest

from tests.faults.harness import MARK, ON_ONE_HOST, processes_left

pytestmark = pytest.mark.faults
jupyter_client = pytest.importorskip("jupyter_client")
pytest.importorskip("ipykernel")


class Notebook:
    """A kernel; `run` gives what a cell showed, `begin` leaves it running."""

    def __init__(self, folder: Path) -> None:
        self.tag = f"{time.time_ns() % 10**12 + 10**6}"
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI_", "PRTE_", "HPCFLOW_"))}
        env |= {MARK: self.tag, "POLARS_MAX_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2]), "HPCFLOW_PROGRESS": "off"}
        self.manager = jupyter_client.KernelManager()
        self.manager.start_kernel(cwd=str(folder), env=env | ON_ONE_HOST | {"IPYTHONDIR": str(folder)})
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        try:
            self.client.wait_for_ready(timeout=60)
        except BaseException:
            self.close()
            raise

    def begin(self, cell: str) -> str:
        return self.client.execute(dedent(cell))

    def end(self, cell: str, limit_s: float = 60.0) -> tuple[str, str]:
        """(what the cell showed as its value, name and text of its error or ""). What ranks say may come out with a later cell."""
        shown, error, deadline = "", "", time.monotonic() + limit_s
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=1.0)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            if message["msg_type"] == "execute_result":
                shown += content["data"]["text/plain"]
            elif message["msg_type"] == "error":
                error = f"{content['ename']}: {content['evalue']}"
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return shown, error
        raise AssertionError(f"a cell did not end within {limit_s:.0f} s; it showed {shown!r}")

    def run(self, cell: str) -> str:
        shown, error = self.end(self.begin(cell))
        assert not error, error
        return shown

    def fail(self, cell: str) -> str:
        error = self.end(self.begin(cell))[1]
        assert error
        return error

    def close(self) -> tuple[int, ...]:
        """End the kernel; processes that are left of it and its sessions."""
        self.client.stop_channels()
        self.manager.shutdown_kernel()
        return processes_left(self.tag)


@pytest.fixture
def notebook(tmp_path):
    opened = Notebook(tmp_path)
    yield opened
    assert not opened.close()


START = """
import os, time
import polars as pl
import hpcflow as hf
s = hf.Session(launch="mpirun", workers=2)
X = {"value": pl.Int64}

def pids():
    "The workers' processes."
    where = s.range(1000).bsp(lambda ctx, df: {"pid": [os.getpid()]}, schema={"pid": pl.Int64})
    return where.collect()["pid"].to_list()
"""
RIGHT = """
thirds = s.range(1000).filter(pl.col("value") % 7 == 0).with_columns(k=pl.col("value") % 3)
thirds.group_by("k").agg(pl.len()).sort("k").collect()["len"].to_list()
"""


def test_cells_go_on_after_failures_interrupts_and_lost_ranks(notebook, tmp_path):
    right = str([48, 48, 47])
    notebook.run(START)
    assert notebook.run(RIGHT) == right
    assert "Dataset" in notebook.run("s.range(10)") and "value: Int64" in notebook.run("s.range(10)")
    kept = "kept = s.range(500).with_columns(x=pl.col('value') * 2).cache(); kept.count()"
    assert notebook.run(kept) == "500"
    ranks = notebook.run("before = pids(); before")

    # a failing cell, with a function and an exception of the notebook's own
    error = notebook.fail(
        """
        class Mine(Exception):
            pass

        def fails(df):
            raise Mine("in a cell")

        s.range(10).map_batches(fails, schema=X).collect()
        """
    )
    assert error.startswith("TaskError") and "in a cell" in error
    assert notebook.fail("s.range(10).select('no such column')").startswith("ColumnNotFoundError")
    assert notebook.run(RIGHT) == right and notebook.run("pids()") == ranks

    # an interrupted cell: its action is cancelled, the ranks and what they keep stay
    cell = notebook.begin(
        f"""
        def slow(df):
            open({str(tmp_path / "begun")!r}, "w").close()
            time.sleep(1.0)
            return df

        s.range(100).with_property(parallelism=40).map_batches(slow, schema=X).collect()
        """
    )
    _wait_for(tmp_path / "begun")
    began = time.monotonic()
    notebook.manager.interrupt_kernel()
    assert notebook.end(cell)[1].startswith("KeyboardInterrupt")
    assert time.monotonic() - began < 5.0
    assert notebook.run(RIGHT) == right and notebook.run("pids()") == ranks and notebook.run("kept.count()") == "500"

    # a killed rank, between two cells and in the middle of one
    os.kill(int(notebook.run("before[1]")), signal.SIGKILL)
    assert _right_again(notebook, right)
    assert not set(notebook.run("pids()").strip("[]").split(", ")) & set(ranks.strip("[]").split(", "))
    assert notebook.fail(
        """
        def dies(df):
            os.kill(os.getpid(), 9)

        s.range(10).map_batches(dies, schema=X).collect()
        """
    ).startswith("WorkerLostError")
    assert notebook.run(RIGHT) == right and notebook.run("kept.filter(pl.col('x') == 8).count()") == "1"

    assert notebook.run("s.close(); s.is_open") == "False"
    notebook.run("s = hf.Session(launch='mpirun', workers=2)")
    assert notebook.run(RIGHT) == right


def _wait_for(file: Path) -> None:
    deadline = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} did not appear"
        time.sleep(0.02)


def _right_again(notebook: Notebook, right: str) -> bool:
    """The first cell after the loss may be the one that hears of it; the next has new ranks."""
    shown, error = notebook.end(notebook.begin(RIGHT))
    assert not error or error.startswith("WorkerLostError"), error
    return shown == right or notebook.run(RIGHT) == right
