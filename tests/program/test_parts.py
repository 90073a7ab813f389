"""Parts of a program's ranks: places and resources, metrics, scratch directories, standing, events, standstill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcflow as hf
from hpcflow.bsp.metrics import Metrics
from hpcflow.bsp.place import Description, deal, place_of, resources_of
from hpcflow.events import MetricReported, ProgramFailed, ProgramFinished, ProgramStarted, read_events
from hpcflow.resources import visible_gpus
from hpcflow.runtime.scratch_directory import PREFIX, ScratchDirectory, remove_orphans
from hpcflow.runtime.standing import standing_of

# -- places and resources ---------------------------------------------------------------------------------------------------------------------------


def test_nodes_are_numbered_by_their_first_rank() -> None:
    ranks = [Description(node, node, (0,), ()) for node in ("b", "b", "a", "b", "a")]
    places = [place_of(ranks, rank) for rank in range(5)]
    assert [(p.node, p.local_rank, p.local_size, p.host) for p in places] == [
        (0, 0, 3, "b"),
        (0, 1, 3, "b"),
        (1, 0, 2, "a"),
        (0, 2, 3, "b"),
        (1, 1, 2, "a"),
    ]
    assert {p.nodes for p in places} == {2}


def test_ranks_that_the_launcher_has_bound_keep_their_cores_and_others_share() -> None:
    bound = [Description("n", "n", (0, 1), ()), Description("n", "n", (2, 3), ())]
    assert [resources_of(bound, rank, 100).cores for rank in range(2)] == [2, 2]
    loose = [Description("n", "n", (0, 1, 2, 3), ())] * 2
    assert [resources_of(loose, rank, 100).cores for rank in range(2)] == [2, 2]
    assert resources_of(loose, 0, 100, core_limit=1).cores == 1
    assert resources_of(loose, 0, 100).memory_bytes == 50


def test_gpus_are_dealt_to_ranks_that_see_the_same_and_left_to_ranks_that_slurm_has_told_apart() -> None:
    same = [Description("n", "n", (0,), ("0", "1", "2", "3"))] * 2
    assert [resources_of(same, rank, 1).gpus for rank in range(2)] == [("0", "1"), ("2", "3")]
    told_apart = [Description("n", "n", (0,), (gpu,)) for gpu in "01"]
    assert [resources_of(told_apart, rank, 1).gpus for rank in range(2)] == [("0",), ("1",)]
    other_node = [Description(node, node, (0,), ("0", "1")) for node in "ab"]
    assert [resources_of(other_node, rank, 1).gpus for rank in range(2)] == [("0", "1")] * 2


@given(st.integers(0, 9), st.integers(1, 9))
def test_every_gpu_is_used_and_every_rank_has_one_where_there_are_any(items: int, takers: int) -> None:
    ids = tuple(map(str, range(items)))
    shares = [deal(ids, place, takers) for place in range(takers)]
    assert set().union(*shares) == set(ids)
    assert all(shares) or not items
    assert items < takers or sum(map(len, shares)) == items


def test_gpus_come_from_variables_and_else_from_device_files(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for name in ("nvidia1", "nvidia0", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / "dev" / name).touch()
    assert visible_gpus({}, tmp_path) == ("0", "1")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "GPU-ab, 3"}, tmp_path) == ("GPU-ab", "3")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "1,-1,2"}, tmp_path) == ("1",)
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, tmp_path) == ()
    assert visible_gpus({"ROCR_VISIBLE_DEVICES": "2"}, tmp_path) == ("2",)


# -- metrics and events -----------------------------------------------------------------------------------------------------------------------------


def test_metrics_keep_sums_last_values_and_seconds() -> None:
    told: list = []
    metrics = Metrics(3, told.append)
    for amount in (1, 2.5):
        metrics.counter("rows").add(amount)
    for value in (4, -1, 2):
        metrics.gauge("loss").set(value)
    with metrics.timer("step"):
        time.sleep(0.01)
    metrics.timer("step").add(1.0)
    assert metrics.values() == {"rows": 3.5, "loss": 2.0, "step": pytest.approx(1.01, abs=0.1)}
    assert [(e.name, e.value) for e in told[:2]] == [("rows", 1.0), ("loss", 4.0)] and len(told) == 3  # one record a second
    metrics.flush()
    last = {e.name: e for e in told}
    assert (last["loss"].metric, last["loss"].value, last["loss"].count, last["loss"].least, last["loss"].most, last["loss"].rank) == (
        "gauge",
        2,
        3,
        -1,
        4,
        3,
    )
    before = len(told)
    metrics.flush()
    assert len(told) == before
    with pytest.raises(hf.ConfigError, match="'rows' is a counter already"):
        metrics.gauge("rows")
    with pytest.raises(hf.ConfigError, match="only grows"):
        metrics.counter("rows").add(-1)


@pytest.mark.parametrize("size", [1, 3])
def test_the_event_log_tells_a_program_and_the_metrics_of_every_rank(tmp_path: Path, size: int) -> None:
    @hf.program
    def counts(ctx):
        ctx.metrics.counter("n").add(ctx.rank)

    counts.run(workers=size, event_log=tmp_path / "log")
    events = list(read_events(tmp_path / "log"))
    assert isinstance(events[0], ProgramStarted) and (events[0].ranks, events[0].in_process) == (size, True)
    assert events[0].name.endswith("counts")
    assert isinstance(events[-1], ProgramFinished) and events[-1].seconds > 0
    assert {(e.rank, e.value) for e in events if isinstance(e, MetricReported)} == {(rank, rank) for rank in range(size)}
    assert len({e.job for e in events}) == 1


def test_the_event_log_tells_a_failure_with_its_place(tmp_path: Path) -> None:
    @hf.program
    def fails(ctx):
        if ctx.rank == 1:
            raise ValueError("mine")
        ctx.comm.barrier()

    with pytest.raises(ValueError, match="mine"):
        fails.run(workers=2, event_log=tmp_path / "log")
    (failed,) = [e for e in read_events(tmp_path / "log") if isinstance(e, ProgramFailed)]
    assert (failed.rank, failed.error, failed.message) == (1, "ValueError", "mine") and "test_parts.py" in failed.place


# -- scratch ----------------------------------------------------------------------------------------------------------------------------------------


def test_scratch_is_private_to_a_rank_and_gone_afterwards(tmp_path: Path) -> None:
    @hf.program
    def writes(ctx):
        (ctx.scratch / "deep").mkdir()
        (ctx.scratch / "deep" / "file").write_text("x")
        ctx.comm.barrier()
        return str(ctx.scratch), os.stat(ctx.scratch).st_mode & 0o777

    found = writes.run_all(workers=3, scratch=tmp_path)
    assert len({path for path, _ in found}) == 3 and {mode for _, mode in found} == {0o700}
    assert all(Path(path).parent == tmp_path for path, _ in found) and os.listdir(tmp_path) == []


def test_scratch_is_made_only_when_asked_for_and_removed_after_a_failure(tmp_path: Path) -> None:
    hf.program(lambda ctx: None).run(workers=2, scratch=tmp_path)
    assert os.listdir(tmp_path) == []
    with pytest.raises(ZeroDivisionError):
        hf.program(lambda ctx: (ctx.scratch, 1 / 0)).run(workers=2, scratch=tmp_path)
    assert os.listdir(tmp_path) == []


KILLED = """
import os, sys
from hpcflow.runtime.scratch_directory import ScratchDirectory

scratch = ScratchDirectory([sys.argv[1]])
(scratch.path() / "file").touch()
print(len(os.listdir(sys.argv[1])), flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_killed_process_leaves_no_scratch_directory(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, stdout=subprocess.PIPE, timeout=30)
    assert (ended.returncode, ended.stdout) == (-9, b"1\n")
    deadline = time.monotonic() + 5
    while os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.listdir(tmp_path) == []


def test_directories_that_nobody_holds_are_removed_and_held_and_young_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = ScratchDirectory([str(tmp_path)])
    held.path()
    (tmp_path / f"{PREFIX}orphan").mkdir()
    (tmp_path / "others").mkdir()
    remove_orphans(str(tmp_path))
    assert len(os.listdir(tmp_path)) == 3
    monkeypatch.setattr("hpcflow.runtime.scratch_directory._YOUNG_S", -1.0)
    remove_orphans(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted([held.path().name, "others"])
    held.remove()
    held.remove()
    with pytest.raises(hf.SpillError, match="has been removed"):
        held.path()


def test_a_scratch_directory_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(hf.SpillError, match=r"file: .*set HPCFLOW_SCRATCH"):
        ScratchDirectory([str(tmp_path / "file")]).path()


# -- standing still ---------------------------------------------------------------------------------------------------------------------------------


class Looks:
    """As a communicator, whose calls say where their caller stands."""

    def Barrier(self):
        return standing_of(sys._getframe(1))

    def other(self):
        return standing_of(sys._getframe(1))


def test_standing_names_the_call_its_line_and_whether_it_waits_in_mpi() -> None:
    comm = Looks()
    stands = comm.Barrier()
    assert stands.call == "comm.Barrier()" and stands.waits_in_mpi
    assert stands.place.endswith("in test_standing_names_the_call_its_line_and_whether_it_waits_in_mpi") and "test_parts.py:" in stands.place
    assert not comm.other().waits_in_mpi
    assert str(standing_of(None)) == "(no frame)"


@pytest.mark.thorough
def test_a_program_that_stands_still_ends_with_where_each_rank_stands(capfd: pytest.CaptureFixture[str]) -> None:
    @hf.program
    def stuck(ctx):
        if ctx.rank == 0:
            ctx.comm.recv(source=1, tag=7)
        elif ctx.rank == 1:
            ctx.comm.Barrier()

    with pytest.raises(hf.StepTimeoutError, match=r"no rank of the program has moved for 0\.3 s"):
        stuck.run(workers=3, step_timeout_s=0.3)
    shown = capfd.readouterr().err
    assert "ranks 0: ctx.comm.recv(source=1, tag=7) at " in shown and "ranks 1: ctx.comm.Barrier() at " in shown and "ranks 2: has finished" in shown
    assert "stack of ranks 1 on " in shown


@pytest.mark.thorough
def test_a_rank_that_computes_keeps_the_program_alive() -> None:
    @hf.program
    def uneven(ctx):
        end = time.monotonic() + 1.5
        while ctx.rank == 0 and time.monotonic() < end:
            pass
        ctx.comm.Barrier()
        return True

    assert uneven.run_all(workers=2, step_timeout_s=0.6) == [True, True]
