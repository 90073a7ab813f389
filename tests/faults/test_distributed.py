"""Programs on MPI ranks: however a rank ends, all are gone within seconds, the status is not 0, and one report says what happened."""

from __future__ import annotations

import os
import signal
import time

import pytest

from hpcflow.comm.watchdog import EXIT_FAILURE
from tests.faults.harness import Ended, after_word, launch, send_signal

pytestmark = pytest.mark.faults

GONE_S = 5.0
"""From the disturbance to the end of the last process; programs that fail by themselves have their start-up in addition."""
WAITS = {
    "in a collective": "ctx.comm.Barrier()",
    "in a receive": "ctx.comm.recv(source=1, tag=9)",
    "in a wait for a request": "import numpy; ctx.comm.Irecv(numpy.zeros(1), source=1, tag=9).Wait()",
    "in a loop": "while True: pass",
    "in a sleep": "time.sleep(60)",
    "at the end": "return",
}


def assert_ended_badly(ended: Ended, *statuses: int) -> None:
    """MPICH's mpirun may give the signal by which it has ended another rank, or the bits of two ranks' statuses; `hpcflow run` does not."""
    assert ended.status not in (0, -999), ended.text
    assert not statuses or ended.status in (*statuses, signal.SIGKILL, *(status | EXIT_FAILURE for status in statuses)), ended.text
    assert not ended.left, ended.text
    disturbed = ended.seconds - ended.after_s > 0.1
    assert ended.after_s < (GONE_S if disturbed else 4 * GONE_S), (ended.after_s, ended.text)


@pytest.mark.parametrize("where", WAITS)
@pytest.mark.thorough
def test_an_exception_on_one_rank_is_one_report_and_ends_all(tmp_path, where):
    ended = launch(
        f"""
        class Fails(hf.Program):
            def execute(self, ctx):
                ctx.comm.Barrier()
                if ctx.rank == 1:
                    say("NOW", os.getpid())
                    time.sleep(0.7)
                    self.inner()
                {WAITS[where]}

            def inner(self):
                raise ValueError("mine")

        Fails().run()
        """,
        disturb=after_word("NOW", lambda pid, launcher: None),
        folder=tmp_path,
    )
    assert_ended_badly(ended, 1)
    assert ended.stderr.count("ValueError: mine") == 1 and ended.stderr.count("Traceback") == 1, ended.stderr
    assert "hpcflow: rank 1 of 3 on " in ended.stderr and "in Fails.inner; all ranks end" in ended.stderr, ended.stderr
    assert "distributed.py" not in ended.stderr and "programs.py" not in ended.stderr, ended.stderr


@pytest.mark.parametrize("through", ["mpirun", "hpcflow run"])
@pytest.mark.parametrize(("code", "status", "words"), [("3", 3, ""), ("'no data'", 1, "no data")])
def test_sys_exit_of_one_rank_keeps_its_status(tmp_path, through, code, status, words):
    ended = launch(
        f"""
        @hf.program
        def leaves(ctx):
            if ctx.rank == 2:
                sys.exit({code})
            ctx.comm.Barrier()

        leaves.run()
        """,
        through=through,
        folder=tmp_path,
    )
    assert_ended_badly(ended, status)
    assert "Traceback" not in ended.stderr and words in ended.stderr, ended
    assert through == "mpirun" or ended.status == status


ORDINARY = {
    "two runs": "print(p.run()); print(p.run_all())",
    "MPI first": "from mpi4py import MPI\nprint(p.run())",
    "a communicator": "from mpi4py.MPI import COMM_WORLD as w\nhalf = w.Split(w.rank % 2)\nprint(p.run(comm=half)); print(p.run(comm=half))",
    "sys.exit": "p.run(); sys.exit()",
    "sys.exit(0) within": "p.run(leave=True)",
    "late ranks": "p.run()\nif os.environ.get('PMI_RANK', os.environ.get('OMPI_COMM_WORLD_RANK')) == '1': time.sleep(3.5)",
    "a session afterwards": "p.run()\nwith hf.Session() as s: print(s.range(10).count())",
}


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_end_has_status_0(tmp_path, name):
    program = "@hf.program\ndef p(ctx, leave=False):\n    if leave: sys.exit(0)\n    return ctx.comm.allreduce(1)\n"
    ended = launch(program + ORDINARY[name], folder=tmp_path)
    assert (ended.status, ended.stderr) == (0, ""), ended
    assert not ended.left, ended
    if name == "two runs":
        assert "3\n" in ended.stdout and "[3, 3, 3]" in ended.stdout and ended.stdout.count("None") == 4
    if name == "a session afterwards":
        assert ended.stdout.startswith("10\n") and "None" not in ended.stdout


@pytest.mark.thorough
def test_an_exception_after_the_run_ends_all_ranks(tmp_path):
    ended = launch(
        """
        @hf.program
        def fine(ctx):
            return ctx.rank

        if fine.run() is None:
            from mpi4py import MPI
            MPI.COMM_WORLD.Barrier()
        else:
            raise ValueError("after it")
        """,
        folder=tmp_path,
    )
    assert_ended_badly(ended, 1)
    assert ended.stderr.count("ValueError: after it") == 1, ended.stderr


@pytest.mark.thorough
def test_a_program_after_a_session_is_refused(tmp_path):
    ended = launch(
        """
        with hf.Session() as s:
            s.range(10).count()
        hf.program(lambda ctx: None).run()
        """,
        folder=tmp_path,
    )
    assert_ended_badly(ended, 1)
    assert "has opened a Session" in ended.stderr


@pytest.mark.thorough
def test_wrong_options_are_told_by_rank_0(tmp_path):
    for options, words in {"workers=7": "this MPI world has 3 ranks", "wrokers=1": "did you mean 'workers'"}.items():
        ended = launch(f"hf.program(lambda ctx: None).run({options})", folder=tmp_path)
        assert_ended_badly(ended, 1)
        assert words in ended.stderr and ended.stderr.count("Traceback") <= 1, ended.stderr


@pytest.mark.thorough
def test_what_rank_0_meets_for_all_is_told_once_in_full(tmp_path):
    ended = launch("hf.program(lambda ctx: ctx.read_parquet('absent.parquet')).run()", folder=tmp_path)
    assert_ended_badly(ended, 1)
    assert ended.stderr.count("Traceback") <= 1, ended.stderr  # a launcher may end rank 0 before its report, once another rank has ended
    assert "absent.parquet" in ended.stderr or "rank 0 raised SourceError" in ended.stderr, ended.stderr


BLOCKED = """
class Blocked(hf.Program):
    def execute(self, ctx):
        (ctx.scratch / "mine").write_text("x")
        ctx.comm.Barrier()
        if ctx.rank == 1:
            say("RANK1", os.getpid())
        {wait}

Blocked().run(scratch="scratch")
"""


@pytest.mark.parametrize("where", ["in a receive", "in a sleep", "in a loop"])
@pytest.mark.parametrize(("number", "status", "words"), [(signal.SIGINT, 130, "was interrupted"), (signal.SIGTERM, 143, "was told to end (SIGTERM)")])
@pytest.mark.thorough
def test_a_signal_to_one_rank_ends_all_wherever_it_stands(tmp_path, where, number, status, words):
    ended = launch(BLOCKED.format(wait=WAITS[where]), disturb=after_word("RANK1", send_signal(number)), folder=tmp_path)
    assert_ended_badly(ended, status)
    assert f"hpcflow: rank 1 {'on' if where == 'in a receive' else 'of 3 on'} " in ended.stderr and words in ended.stderr, ended.stderr
    assert "in Blocked.execute" in ended.stderr and "Traceback" not in ended.stderr, ended.stderr
    assert_scratch_is_empty(tmp_path)


@pytest.mark.parametrize("through", ["mpirun", "hpcflow run"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_ends_all(tmp_path, through, number):
    wait = WAITS["in a receive"]
    ended = launch(
        BLOCKED.format(wait=wait), disturb=after_word("RANK1", lambda pid, launcher: os.kill(launcher.pid, number)), through=through, folder=tmp_path
    )
    assert_ended_badly(ended)
    assert_scratch_is_empty(tmp_path)


@pytest.mark.parametrize("through", ["mpirun", "hpcflow run"])
def test_a_killed_rank_ends_all_and_leaves_no_scratch(tmp_path, through):
    wait = "time.sleep(60) if ctx.rank == 1 else ctx.comm.Barrier()"  # a barrier that all enter would let all end before the signal
    ended = launch(BLOCKED.format(wait=wait), disturb=after_word("RANK1", send_signal(signal.SIGKILL)), through=through, folder=tmp_path)
    assert_ended_badly(ended)
    assert_scratch_is_empty(tmp_path)


def assert_scratch_is_empty(folder) -> None:
    """Whoever removes it may need a moment after the last rank has gone."""
    deadline = time.monotonic() + 3
    while (left := os.listdir(folder / "scratch")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left


@pytest.mark.thorough
def test_a_rank_that_never_arrives_is_shown_with_the_stacks_of_all(tmp_path):
    ended = launch(
        """
        class Stuck(hf.Program):
            def execute(self, ctx):
                if ctx.rank == 1:
                    self.waits_for_nothing()
                elif ctx.rank == 2:
                    return
                ctx.comm.Barrier()

            def waits_for_nothing(self):
                time.sleep(100)

        Stuck().run(step_timeout_s=1)
        """,
        folder=tmp_path,
    )
    assert ended.status not in (0, -999) and not ended.left and ended.seconds < 20, ended
    assert ended.stderr.count("no rank of the program has moved for 1 s") == 1, ended.stderr
    for words in ("ranks 0: ctx.comm.Barrier() at ", "ranks 1: time.sleep(100) at ", "ranks 2: has finished", "in waits_for_nothing"):
        assert words in ended.stderr, ended.stderr


@pytest.mark.thorough
def test_waiting_for_a_rank_that_works_is_a_notice_and_no_end(tmp_path):
    ended = launch(
        """
        @hf.program
        def uneven(ctx):
            if ctx.rank == 1:
                end = time.monotonic() + 7
                while time.monotonic() < end:
                    pass
            ctx.comm.Barrier()
            return ctx.rank

        print(uneven.run_all(step_timeout_s=3))  # long enough for a barrier on a loaded machine
        """,
        folder=tmp_path,
    )
    assert ended.status == 0 and "[0, 1, 2]" in ended.stdout, ended
    assert "still work; the program goes on" in ended.stderr and "ctx.comm.Barrier() at " in ended.stderr, ended.stderr


@pytest.mark.thorough
def test_a_loop_of_collectives_and_a_long_computation_are_no_standstill(tmp_path):
    ended = launch(
        """
        import hashlib
        import numpy as np

        @hf.program
        def busy(ctx):
            x = np.zeros(1)
            go_on = True
            end = time.monotonic() + 7
            while go_on:
                go_on = bool(ctx.comm.allreduce(time.monotonic() < end, op=ctx.MPI.LAND))
            hashlib.pbkdf2_hmac("sha256", b"x", b"y", 10_000_000)  # seconds of C code, in one call
            return ctx.rank

        print(busy.run_all(step_timeout_s=3))
        """,
        folder=tmp_path,
    )
    assert ended.status == 0 and "[0, 1, 2]" in ended.stdout and "no rank" not in ended.stderr, ended


@pytest.mark.thorough
def test_a_thread_of_the_program_that_raises_ends_the_rank(tmp_path):
    ended = launch(
        """
        import threading

        def helper():
            raise ValueError("in a thread")

        @hf.program
        def threaded(ctx):
            if ctx.rank == 1:
                threading.Thread(target=helper).start()
            ctx.comm.recv(source=1)

        threaded.run()
        """,
        folder=tmp_path,
    )
    assert_ended_badly(ended)
    assert ended.stderr.count("ValueError: in a thread") == 1, ended.stderr


@pytest.mark.thorough
def test_os_exit_of_a_rank_is_told_and_never_status_0(tmp_path):
    ended = launch("hf.program(lambda ctx: os._exit(0) if ctx.rank == 1 else ctx.comm.Barrier()).run()", folder=tmp_path)
    assert_ended_badly(ended)
    assert "os._exit(0) was called on rank 1" in ended.stderr


@pytest.mark.parametrize("how", ["raise ValueError('mine')", "os.kill(os.getpid(), signal.SIGKILL)"])
@pytest.mark.thorough
def test_an_interrupted_write_leaves_no_visible_file(tmp_path, how):
    ended = launch(
        f"""
        @hf.program
        def writes(ctx):
            df = pl.DataFrame({{"a": [ctx.rank] * 10}})
            ctx.write_parquet(df, "out")
            assert len(os.listdir("out")) == 3
            if ctx.rank == 1:
                {how}
            ctx.write_parquet(df.with_columns(b=1), "out", mode="overwrite")

        writes.run()
        """,
        folder=tmp_path,
    )
    assert_ended_badly(ended)
    visible = sorted(name for name in os.listdir(tmp_path / "out") if not name.startswith("."))
    assert visible == [f"part-0000{rank}.parquet" for rank in range(3)]


@pytest.mark.thorough
def test_a_rank_that_never_starts_the_program_does_not_hold_the_others(tmp_path):
    ended = launch(
        """
        import hpcflow.runtime.cluster as cluster
        cluster.OPEN_TIMEOUT_S = 2
        if "1" in (os.environ.get("PMI_RANK"), os.environ.get("OMPI_COMM_WORLD_RANK")):
            time.sleep(60)
        hf.program(lambda ctx: None).run()
        """,
        folder=tmp_path,
    )
    assert ended.status not in (0, -999) and not ended.left, ended
    assert "starts_a_session" in ended.stderr and ended.seconds < 25


def test_different_collectives_are_told_within_seconds(tmp_path):
    ended = launch(
        """
        @hf.program
        def main(ctx):
            for _ in range(3):
                ctx.comm.barrier()
            ctx.comm.bcast(1) if ctx.rank == 1 else ctx.comm.allreduce(1)

        main.run(debug_collectives=True)
        """,
        folder=tmp_path,
    )
    assert_ended_badly(ended, 1)
    assert "ranks 0, 2: allreduce(op=SUM) at " in ended.stderr and "rank 1: bcast(root=0) at " in ended.stderr and "number 4" in ended.stderr, (
        ended.stderr
    )


@pytest.mark.thorough
def test_a_rank_that_never_comes_writes_its_stacks_too(tmp_path):
    ended = launch(
        """
        @hf.program
        def main(ctx):
            if ctx.rank == 2:
                forgotten()
            ctx.comm.barrier()

        def forgotten():
            time.sleep(60)

        main.run(debug_collectives=True, collective_timeout_s=1)
        """,
        folder=tmp_path,
    )
    assert_ended_badly(ended, 1)
    assert "rank 2 did not come to collective call number 1 within 1 s" in ended.stderr and "in forgotten" in ended.stderr, ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.thorough
def test_ranks_that_are_threads_end_by_a_signal_too(tmp_path, number):
    ended = launch(
        """
        @hf.program
        def main(ctx):
            (ctx.scratch / "mine").write_text("x")
            ctx.comm.Barrier()
            if ctx.rank == 1:
                say("NOW", os.getpid())
            ctx.comm.recv(source=1)

        main.run(workers=3, scratch="scratch")
        """,
        disturb=after_word("NOW", send_signal(number)),
        through="alone",
        folder=tmp_path,
    )
    assert_ended_badly(ended)
    assert number == signal.SIGTERM or ended.stderr.count("KeyboardInterrupt") == 1, ended.stderr
    assert_scratch_is_empty(tmp_path)
