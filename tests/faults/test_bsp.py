"""How programs end whose bsp functions fail or hang, under mpirun: user MPI code that fails ends the ranks. With the MPI of this Python."""

from __future__ import annotations

import time

import pytest

from tests.faults.harness import launch

pytestmark = pytest.mark.faults


def test_a_failing_function_ends_the_job_with_its_error_within_5_s(tmp_path):
    ended = launch(
        """
        def fails(ctx, table):
            if ctx.rank == 1:
                raise ValueError("of one rank")
            ctx.comm.Barrier()

        with hf.Session() as s:
            s.range(100).count()
            say("begins", time.time())
            s.range(100).bsp(fails).count()
        """,
        folder=tmp_path,
    )
    assert ended.status not in (0, -999) and not ended.left, ended
    assert "user MPI code has failed on rank 2" in ended.stderr and "ValueError: of one rank" in ended.stderr
    assert "TaskError: ValueError: of one rank" in ended.stderr and "operator bsp" in ended.stderr
    began = float(ended.stdout.split("begins ")[1].split()[0])
    assert time.time() - began < 10  # 2 s of grace for the driver, and what a busy machine takes


@pytest.mark.thorough
def test_a_job_that_goes_on_after_the_error_ends_all_the_same(tmp_path):
    ended = launch(
        """
        def fails(ctx, table):
            if ctx.rank == 0:
                raise ValueError("caught")
            ctx.comm.Barrier()

        with hf.Session() as s:
            try:
                s.range(100).bsp(fails).count()
            except hf.TaskError as error:
                say("told", error.rank)
            try:
                s.range(100).count()
            except hf.WorkerLostError as error:
                say("lost:", error)
            time.sleep(30)
        """,
        folder=tmp_path,
    )
    assert ended.status not in (0, -999) and not ended.left and ended.seconds < 15, ended
    assert "told 1" in ended.stdout and "lost: this session has lost a worker" in ended.stdout and "user MPI code has failed" in ended.stdout


@pytest.mark.thorough
def test_a_rank_that_never_comes_is_a_timeout_with_the_stacks_of_all_ranks(tmp_path):
    ended = launch(
        """
        def waits(ctx, table):
            if ctx.rank == 0:
                time.sleep(100)
            ctx.comm.Barrier()

        with hf.Session(step_timeout_s=1.5) as s:
            s.range(100).bsp(waits).count()
        """,
        folder=tmp_path,
    )
    assert ended.status not in (0, -999) and not ended.left and ended.seconds < 25, ended
    assert "StepTimeoutError: the bsp step of stage" in ended.stderr and "stood still on ranks [1, 2]" in ended.stderr, ended.stderr
    assert ended.stderr.count("in waits") >= 2, ended.stderr


@pytest.mark.thorough
def test_a_step_that_computes_for_longer_than_the_limit_is_left_alone(tmp_path):
    ended = launch(
        """
        import numpy as np

        def computes(ctx, table):
            if ctx.rank == 0:
                a = np.random.rand(400, 400)
                until = time.time() + 5
                while time.time() < until:
                    a = a @ a / np.abs(a @ a).max()
            return {"size": [ctx.comm.allreduce(1)]}

        with hf.Session(step_timeout_s=1.5) as s:
            print("found", s.range(100).bsp(computes, schema={"size": pl.Int64}).collect()["size"].to_list())
        """,
        folder=tmp_path,
    )
    assert ended.status == 0 and "found [2, 2]" in ended.stdout, ended


@pytest.mark.thorough
def test_a_session_after_another_has_the_same_communicator(tmp_path):
    ended = launch(
        """
        for i in range(2):
            with hf.Session(master="shared" if i else "dedicated") as s:
                print("sizes", s.range(9).bsp(lambda ctx, t: {"n": [ctx.comm.size]}, schema={"n": pl.Int64}).collect()["n"].to_list())
        """,
        folder=tmp_path,
    )
    assert ended.status == 0 and "sizes [2, 2]" in ended.stdout and "sizes [3, 3, 3]" in ended.stdout, ended
