"""Programs on in-process ranks: what run gives, what ctx has, and how failures come to the caller."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import hpcflow as hf
from hpcflow.bsp.thread_comm import ThreadComm

SIZES = (1, 2, 3)


class Sums(hf.Program):
    """Its parameter comes by __init__, another by run."""

    def __init__(self, factor: int = 1) -> None:
        self.factor = factor

    def execute(self, ctx, offset=0):
        x = np.full(3, float(ctx.rank + offset))
        ctx.comm.Allreduce(ctx.MPI.IN_PLACE, x, op=ctx.MPI.SUM)
        return (x * self.factor).tolist()


@hf.program
def ranks(ctx, *, scale: int = 1):
    return ctx.rank * scale


@pytest.mark.parametrize("size", SIZES)
def test_every_rank_executes_and_rank_0s_value_is_returned(size: int) -> None:
    assert Sums(2).run(workers=size) == [size * (size - 1.0)] * 3
    assert Sums()(workers=size, offset=1) == [size * (size + 1) / 2] * 3
    assert Sums().run_all(1, workers=size) == [[size * (size + 1) / 2] * 3] * size


@pytest.mark.parametrize("size", SIZES)
def test_a_function_is_a_program_too(size: int) -> None:
    assert ranks.run_all(workers=size, scale=10) == [10 * rank for rank in range(size)]
    assert ranks.run(workers=size) == 0
    assert ranks.name == "ranks"


def test_without_workers_there_is_one_rank() -> None:
    assert ranks.run_all() == [0]


def test_a_parameter_named_as_an_option_is_refused_when_it_is_defined() -> None:
    with pytest.raises(hf.ConfigError, match="parameter 'workers' is named as an option"):

        @hf.program
        def wrong(ctx, workers): ...

    with pytest.raises(hf.ConfigError, match="parameter 'scratch'"):

        class Wrong(hf.Program):
            def execute(self, ctx, scratch): ...


def test_an_unknown_keyword_is_refused_with_near_names() -> None:
    with pytest.raises(hf.ConfigError, match="did you mean 'workers'"):
        ranks.run(wrokers=2)
    with pytest.raises(hf.ConfigError, match="does not start ranks itself"):
        ranks.run(launch="mpirun")


def test_keywords_of_a_program_that_takes_any_are_its_own_unless_they_are_options() -> None:
    @hf.program
    def takes_any(ctx, **given):
        return ctx.size, given

    assert takes_any.run(workers=2, colour="red") == (2, {"colour": "red"})


def test_options_come_from_variables_and_a_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCFLOW_WORKERS", "3")
    assert ranks.run_all() == [0, 1, 2]
    (tmp_path / "options.toml").write_text("[hpcflow]\nworkers = 5\nstep_timeout_s = '7s'\n")
    monkeypatch.delenv("HPCFLOW_WORKERS")

    @hf.program
    def limits(ctx):
        return ctx.size, ctx.config.step_timeout_s

    assert limits.run(config=tmp_path / "options.toml") == (5, 7.0)


def test_ctx_knows_its_place_and_what_it_may_use() -> None:
    @hf.program
    def places(ctx):
        assert isinstance(ctx.comm, ThreadComm) and ctx.comm.Get_rank() == ctx.rank and ctx.comm.Get_size() == ctx.size
        assert ctx.is_root == (ctx.rank == 0) and list(ctx.engine_ranks) == list(range(ctx.size))
        return ctx.rank, ctx.size, ctx.node, ctx.nodes, ctx.local_rank, ctx.local_size, ctx.arguments, ctx.resources

    found = places.run_all(workers=3, arguments=["a", 1])
    assert [f[:7] for f in found] == [(rank, 3, 0, 1, rank, 3, ("a", "1")) for rank in range(3)]
    shares = [f[7] for f in found]
    assert all(share.cores >= 1 and set(share.cpus) == os.sched_getaffinity(0) for share in shares)
    assert len({share.memory_bytes for share in shares}) == 1 and shares[0].memory_bytes > 1 << 20


def test_steps_have_the_same_numbers_on_all_ranks() -> None:
    @hf.program
    def steps(ctx):
        return [ctx.next_step() for _ in range(4)]

    assert steps.run_all(workers=3) == [[1, 2, 3, 4]] * 3


def test_log_lines_name_the_rank(capsys: pytest.CaptureFixture[str]) -> None:
    @hf.program
    def speaks(ctx):
        assert isinstance(ctx.logger, logging.Logger)
        ctx.logger.warning("half of %d", 7)
        ctx.logger.debug("not shown")

    speaks.run(workers=2)
    lines = sorted(line.split(" ", 2)[2] for line in capsys.readouterr().err.splitlines())
    assert [line.split()[:2] + line.split()[3:] for line in lines] == [["rank", f"{r}/2", "WARNING", "half", "of", "7"] for r in range(2)]


# -- failures ---------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["in a collective", "in a receive", "at the end", "in a sleep"])
def test_the_first_failure_is_raised_and_the_others_are_let_go(where: str) -> None:
    @hf.program
    def fails(ctx):
        if ctx.rank == 1:
            raise ValueError("mine")
        if where == "in a collective":
            ctx.comm.Barrier()
        elif where == "in a receive":
            ctx.comm.recv(source=1)
        elif where == "in a sleep":
            time.sleep(0.5)

    started = time.monotonic()
    with pytest.raises(ValueError, match="mine") as caught:
        fails.run(workers=3)
    assert time.monotonic() - started < 5
    assert any("on rank 1 of 3, at " in note and "in " in note and "fails" in note for note in caught.value.__notes__)


def test_nothing_of_a_failed_run_is_left() -> None:
    before = {thread.name for thread in threading.enumerate()}

    @hf.program
    def fails(ctx):
        if ctx.rank == 0:
            raise KeyError("x")
        ctx.comm.barrier()

    with pytest.raises(KeyError):
        fails.run(workers=3)
    deadline = time.monotonic() + 5
    while (left := {thread.name for thread in threading.enumerate()} - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left
    assert ranks.run_all(workers=3) == [0, 1, 2]


@pytest.mark.parametrize("code", [3, "gone"])
def test_sys_exit_of_a_rank_ends_the_program_with_it(code: object) -> None:
    @hf.program
    def leaves(ctx):
        if ctx.rank == 1:
            raise SystemExit(code)
        ctx.comm.barrier()

    with pytest.raises(SystemExit) as caught:
        leaves.run(workers=2)
    assert caught.value.code == code


def test_sys_exit_0_is_an_ordinary_end_of_that_rank() -> None:
    seen = []

    @hf.program
    def leaves(ctx):
        if ctx.rank == 0:
            raise SystemExit(0)
        time.sleep(0.1)
        seen.append(ctx.rank)

    with pytest.raises(SystemExit) as caught:
        leaves.run(workers=2)
    assert caught.value.code == 0 and seen == [1]


# -- debug_collectives ------------------------------------------------------------------------------------------------------------------------------


def test_different_collectives_are_named_with_their_lines_in_debug_mode() -> None:
    @hf.program
    def differs(ctx):
        ctx.comm.barrier()
        if ctx.rank == 1:
            ctx.comm.bcast(1)
        else:
            ctx.comm.allreduce(1)

    with pytest.raises(hf.CollectiveMismatchError, match=r"bcast.*test_run\.py|test_run\.py.*bcast") as caught:
        differs.run(workers=3, debug_collectives=True)
    assert "allreduce" in str(caught.value)


def test_a_rank_that_leaves_others_in_a_collective_is_named_in_debug_mode() -> None:
    @hf.program
    def leaves(ctx):
        if ctx.rank != 1:
            ctx.comm.barrier()

    with pytest.raises(hf.CollectiveMismatchError, match="rank 1"):
        leaves.run(workers=3, debug_collectives=True)


def test_debug_mode_is_off_unless_asked_for_by_option_or_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    @hf.program
    def kind(ctx):
        return type(ctx.comm).__name__

    assert kind.run_all(workers=2) == ["ThreadComm"] * 2
    monkeypatch.setenv("HPCFLOW_DEBUG_COLLECTIVES", "1")
    assert kind.run_all(workers=2) == ["CheckedThreadComm"] * 2
    monkeypatch.setenv("HPCFLOW_DEBUG_COLLECTIVES", "perhaps")
    with pytest.raises(hf.ConfigError, match="expected true or false"):
        kind.run()
