"""Sessions that start their own ranks: nothing outlives the driver, a lost world is replaced, what cannot start says so once.

With the MPI of this Python."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.harness import after_word, launch, send_signal

pytestmark = pytest.mark.faults

SESSION = "hf.Session(launch='mpirun', workers=2)"


def run(program: str, tmp_path, **more):
    return launch(program, through="alone", folder=tmp_path, limit_s=90, **more)


def test_a_program_runs_on_ranks_of_its_session_and_leaves_nothing(tmp_path):
    ended = run(
        f"""
        class Mine(Exception):
            pass

        def own(df):
            say("on", os.getpid() != {os.getpid()})
            return df.with_columns(x=pl.col("value") * 2)

        def fails(df):
            raise Mine("of the program")

        with {SESSION} as s:
            assert s.workers == 2
            data = s.range(1000).map_batches(own, schema={{"value": pl.Int64, "x": pl.Int64}})
            assert data.repartition(5, by="value").sort("x").collect()["x"].to_list() == list(range(0, 2000, 2))
            table = pl.DataFrame({{"a": range(300_000), "s": ["some text"] * 300_000}})
            big = s.from_polars(table)
            assert big.collect().equals(table) and big.select("a").collect().equals(table.select("a"))
            assert big.filter(pl.col("a") < 3).count() == 3
            futures = [s.range(n).submit("count") for n in range(1, 9)]
            assert [f.result(30) for f in futures] == list(range(1, 9))
            try:
                s.range(10).map_batches(fails, schema={{"value": pl.Int64}}).collect()
            except hf.TaskError as error:
                assert isinstance(error.__cause__, Mine) and "in fails" in str(error), error
            cached = s.range(500).cache()
            assert cached.count() == 500 and [b.height for b in cached.iter_batches(300)] == [300, 200]
            cached.unpersist()
            assert cached.count() == 500
            total, factor = hf.accumulator(0), hf.broadcast(7)
            def adds(df):
                total.add(df.height * factor.value)
                return df
            assert s.range(20).map_batches(adds, schema={{"value": pl.Int64}}).count() == 20
            assert total.value == 140, total.value
            big.write_parquet("out")
            assert s.read_parquet("out").count() == 300_000
            s.range(10).map_batches(lambda df: print("printed by a task", flush=True) or df, schema={{"value": pl.Int64}}).count()
        print("done")
        """,
        tmp_path,
    )
    assert ended.status == 0 and "done" in ended.stdout and not ended.left, ended
    assert "on True" in ended.stdout and "printed by a task" in ended.stdout and ended.stderr == "", ended


@pytest.mark.thorough
def test_the_key_is_in_no_argument_and_no_variable(tmp_path):
    ended = run(
        """
        import pathlib, re
        seen = []
        def look(*args, **kwargs):
            key = real(*args, **kwargs)
            seen.append(key.hex())
            return key
        import secrets
        real, secrets.token_bytes = secrets.token_bytes, look
        with hf.Session(launch="mpirun", workers=1) as s:
            mine = os.environ["HPCFLOW_TEST_LIMIT_S"].encode()
            def read(process, file):
                try:
                    return (process / file).read_bytes()
                except OSError:
                    return b""
            ours = [p for p in pathlib.Path("/proc").iterdir() if p.name.isdigit() and mine in read(p, "environ")]
            dumps = [read(p, file) for p in ours for file in ("cmdline", "environ")]
            assert len(seen) == 1 and len(dumps) >= 6, (seen, len(dumps))
            assert not any(seen[0].encode() in dump for dump in dumps)
            print("looked")
        """,
        tmp_path,
    )
    assert ended.status == 0 and "looked" in ended.stdout, ended


IN_A_TASK = f"""
def slow(df):
    say("WORKER", os.getpid())
    time.sleep(30)
    return df

s = {SESSION}
say("DRIVER", os.getpid())
s.range(100).map_batches(slow, schema={{"value": pl.Int64}}).write_parquet("out")
"""


@pytest.mark.parametrize("where", ["in a task", "idle"])
def test_nothing_outlives_a_killed_driver(tmp_path, where):
    program = IN_A_TASK if where == "in a task" else f"s = {SESSION}\nsay('WORKER', 0)\nsay('DRIVER', os.getpid())\ntime.sleep(30)"
    ended = run(program, tmp_path, disturb=after_word("WORKER", lambda pid, process: os.kill(process.pid, signal.SIGKILL)))
    assert ended.status == -signal.SIGKILL and not ended.left and ended.after_s < 5.0, ended
    assert not [name for name in os.listdir(tmp_path / "out") if not name.startswith(".")] if (tmp_path / "out").exists() else True


def test_killed_ranks_are_a_lost_worker_and_the_next_action_starts_new_ones(tmp_path):
    ended = run(
        f"""
        import threading
        def slow(df):
            if not os.path.exists("second"):
                say("WORKER", os.getpid())
                time.sleep(30)
            return df

        with {SESSION} as s:
            cached = s.range(100).with_columns(x=pl.col("value") * 2).cache()
            assert cached.count() == 100
            before = {{h.pid for h in s._cluster.master.hellos.values()}}
            try:
                cached.map_batches(slow, schema={{"value": pl.Int64, "x": pl.Int64}}).count()
            except hf.WorkerLostError as error:
                print("lost:", error)
            open("second", "w").close()
            assert cached.map_batches(slow, schema={{"value": pl.Int64, "x": pl.Int64}}).count() == 100
            assert cached.filter(pl.col("x") == 8).count() == 1
            assert not before & {{h.pid for h in s._cluster.master.hellos.values()}}
            print("went on")
        """,
        tmp_path,
        disturb=after_word("WORKER", send_signal(signal.SIGKILL)),
    )
    assert ended.status == 0 and "lost:" in ended.stdout and "went on" in ended.stdout and not ended.left, ended


@pytest.mark.thorough
def test_a_killed_launcher_is_noticed_too(tmp_path):
    ended = run(
        f"""
        with {SESSION} as s:
            assert s.range(10).count() == 10
            os.kill(s._cluster.launch.process.pid, signal.SIGKILL)
            try:
                for _ in range(100):
                    s.range(10).count()
                    time.sleep(0.1)
            except hf.WorkerLostError as error:
                print("lost")
            assert s.range(11).count() == 11
        """,
        tmp_path,
    )
    assert ended.status == 0 and not ended.left, ended


@pytest.mark.thorough
def test_ctrl_c_cancels_the_action_and_not_the_ranks(tmp_path):
    ended = run(
        f"""
        def slow(df):
            say("WORKER", os.getpid())
            time.sleep(1.5)
            return df

        with {SESSION} as s:
            say("DRIVER", os.getpid())
            pids = {{h.pid for h in s._cluster.master.hellos.values()}}
            try:
                s.range(100).with_property(parallelism=20).map_batches(slow, schema={{"value": pl.Int64}}).collect()
            except KeyboardInterrupt:
                print("interrupted")
            assert s.range(7).count() == 7
            assert pids == {{h.pid for h in s._cluster.master.hellos.values()}}
            print("same ranks")
        """,
        tmp_path,
        disturb=after_word("WORKER", lambda pid, process: os.kill(process.pid, signal.SIGINT)),
    )
    assert ended.status == 0 and "interrupted" in ended.stdout and "same ranks" in ended.stdout and not ended.left, ended


@pytest.mark.thorough
def test_an_uncaught_exception_ends_the_ranks_with_the_program(tmp_path):
    ended = run(f"s = {SESSION}\ns.range(10).count()\nraise ValueError('mine')", tmp_path)
    assert ended.status == 1 and ended.stderr.count("ValueError: mine") == 1 and not ended.left, ended


@pytest.mark.thorough
def test_what_cannot_start_is_one_clear_message(tmp_path):
    cases = {
        "hf.Session(launch='mpiexec', workers=2)": "there are 'mpirun', 'srun' and 'mpi'",
        "hf.Session(launch={'launcher': 'mpirun', 'corse': 1}, workers=2)": "unknown field 'corse'",
        "hf.Session(launch={'launcher': 'mpirun', 'env': {'PYTHONPATH': '/nowhere', 'PYTHONHOME': '/nowhere'}}, workers=2)": "ended at once",
        "hf.Session(launch='mpirun', workers=1, master='shared')": "single rank",
    }
    for session, words in cases.items():
        ended = run(f"try:\n    {session}\nexcept (hf.LaunchError, hf.ConfigError) as error:\n    print('refused:', error)", tmp_path)
        assert ended.status == 0 and "refused:" in ended.stdout and words in ended.stdout and not ended.left, (session, ended)


@pytest.mark.thorough
def test_no_mpirun_is_said(tmp_path):
    ended = run(
        """
        import hpcflow.launch.launchers.starting as starting
        starting.sysconfig.get_path = lambda name: "/nowhere"
        os.environ["PATH"] = "/nowhere"
        try:
            hf.Session(launch="mpirun", workers=2)
        except hf.LaunchError as error:
            print("refused:", error)
        """,
        tmp_path,
    )
    assert ended.status == 0 and "refused: no mpirun beside this Python" in ended.stdout, ended


@pytest.mark.thorough
def test_ranks_on_named_hosts_come_over_tcp(tmp_path):
    ended = run(
        """
        import socket
        with hf.Session(launch={"launcher": "mpirun", "hosts": {"localhost": 3}}) as s:
            assert s.workers == 2 and s.range(100).repartition(3).count() == 100
        print("done")
        """,
        tmp_path,
    )
    assert ended.status == 0 and "done" in ended.stdout and not ended.left, ended


@pytest.mark.thorough
def test_a_terminal_session_starts_ranks_and_ctrl_c_returns_to_the_prompt(tmp_path):
    """`python -i` on a pseudo-terminal: each statement is one of a user's; code above the session runs once."""
    import pty
    import select
    import subprocess
    import sys
    import time

    terminal, inner = pty.openpty()
    env = {**os.environ, "HPCFLOW_PROGRESS": "plain", "TERM": "dumb", "PYTHONPATH": os.getcwd(), "PYTHONSTARTUP": ""}
    process = subprocess.Popen([sys.executable, "-i", "-q"], stdin=inner, stdout=inner, stderr=inner, env=env, cwd=tmp_path, start_new_session=True)
    os.close(inner)
    seen = ""

    def until(words: str, limit_s: float = 60.0) -> None:
        nonlocal seen
        deadline = time.monotonic() + limit_s
        while words not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([terminal], [], [], 0.2)[0]:
                seen += os.read(terminal, 4096).decode(errors="replace")

    def say(line: str) -> None:
        os.write(terminal, (line + "\n").encode())

    try:
        say("import time, hpcflow as hf; print('above', 'once')")
        until("above once")
        say(f"s = {SESSION}")
        say("data = s.range(100); data")
        until("<hpcflow.Dataset range [value: Int64]")
        say("double = lambda df: df * 2")
        say("print('sum', data.map_batches(double, schema=data.schema).collect()['value'].sum())")
        until("sum 9900")
        say("slow = lambda df: time.sleep(1.5) or df")
        say("data.with_property(parallelism=20).map_batches(slow, schema=data.schema).count()")
        time.sleep(1.5)
        os.kill(process.pid, signal.SIGINT)
        until("KeyboardInterrupt")
        say("print('rows', data.count())")
        until("rows 100")
        assert seen.count("above once") == 1
        say("exit()")
        assert process.wait(30) == 0
    finally:
        process.kill()
        os.close(terminal)
