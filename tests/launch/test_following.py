"""Waiting for experiments and following their logs: every line comes once, and nobody waits for a driver that is not there."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from hpcflow.cli.launch import app
from hpcflow.errors import ConfigError, LaunchError
from hpcflow.launch.config.script import Script
from hpcflow.launch.executors.local import LocalExecutor
from hpcflow.launch.executors.processes import boot_id, process_start
from hpcflow.launch.experiment import abandoned, log_tail, starting
from hpcflow.launch.experiment.decide import TaskState, to_run_again
from hpcflow.launch.experiment.experiment import Experiment
from hpcflow.launch.experiment.lease import Lease, driven, last_holder
from hpcflow.launch.experiment.log_tail import Follower, LogTail, follow
from hpcflow.launch.experiment.model import Condition, Task
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.files import write_json
from tests.until import until


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Ten lines in the job's log and in those of two ranks, the last without an end, in each of three attempts that follow each other at once.
CHATTY = """
for i in 0 1 2 3 4 5 6 7 8 9; do
    echo "log $HPCFLOW_ATTEMPT $i"
    for r in 0 1; do echo "rank $HPCFLOW_ATTEMPT $i" >>"$HPCFLOW_ATTEMPT_DIRECTORY/logs/main-rank-$r.txt"; done
    sleep 0.03
done
printf 'last %s' "$HPCFLOW_ATTEMPT"
[ "$HPCFLOW_ATTEMPT" = 3 ]
"""
LOG = [line for n in (1, 2, 3) for line in [*(f"log {n} {i}" for i in range(10)), f"last {n}"]]
RANK = [f"rank {n} {i}" for n in (1, 2, 3) for i in range(10)]


def chatty():
    exp = Experiment("chatty")
    exp.add(Script(inline=CHATTY), name="t", retries=2, backoff_s=0.0)
    return exp


def test_following_gives_every_line_of_every_attempt_and_rank_once(at_home, capsys):
    exp = chatty()
    exp.run(detach=True)
    assert app(["logs", exp.id, "t", "--follow"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(("log", "last"))] == LOG
    for rank in range(2):
        assert [line.partition(" | ")[2] for line in lines if line.startswith(f"main-rank-{rank} | ")] == RANK
    assert [line for line in lines if line.startswith("--")] == ["-- attempt 2", "-- attempt 3"]
    assert list(follow(exp, "t", rank=1, attempt=2)) == [f"rank 2 {i}" for i in range(10)]
    assert exp.logs("t", rank=0, follow=True) == "".join(f"rank 3 {i}\n" for i in range(10))
    assert capsys.readouterr().out.splitlines() == [f"rank 3 {i}" for i in range(10)]
    with pytest.raises(ConfigError, match="no task 'x'"):
        next(follow(exp, "x"))


def test_a_task_that_is_not_there_is_refused_with_near_names(at_home):
    exp = Experiment("names")
    exp.add(Script(inline="true"), name="train")
    exp.run(quiet=True)
    asks = (
        exp.result,
        exp.logs,
        exp.commands,
        lambda name: exp.wait([name]),
        lambda name: exp.cancel([name]),
        lambda name: exp.cancel_command(name, 0),
    )
    for ask in asks:
        with pytest.raises(ConfigError, match="no task 'trian'; did you mean 'train'"):
            ask("trian")


def test_the_tail_of_a_running_experiment_loses_no_line_either(at_home):
    exp, out = chatty(), io.StringIO()
    exp.run(detach=True)
    tail = LogTail(exp, out)
    exp.wait(timeout_s=30)
    tail.close()
    lines = out.getvalue().splitlines()
    assert [line for line in lines if line.startswith("t | ")] == [f"t | {line}" for line in LOG]
    assert [line for line in lines if line.startswith("t main-rank-1 | ")] == [f"t main-rank-1 | {line}" for line in RANK]


def test_an_attempt_whose_end_was_seen_is_soon_not_read_any_more_and_a_further_one_is(at_home, monkeypatch):
    exp = Experiment("ends")
    exp.add(Script(inline="printf 'a\nb'; exit 1"), name="t")
    exp.run(quiet=True)
    records = Records(exp.directory)
    task = records.spec().task("t")
    follower = Follower(records, task)
    assert [line for _, _, line in follower.added()] == ["a"] and list(follower.ended) == [1]
    assert list(follower.added()) == []
    monkeypatch.setattr(log_tail, "SETTLED_S", -1.0)
    assert [line for _, _, line in follower.added()] == ["b"]  # nobody writes there any more, so the line is whole
    monkeypatch.setattr(follower._executor.__class__, "logs", lambda self, directory: pytest.fail(directory))
    assert list(follower.added(whole=False)) == []
    monkeypatch.undo()
    further = records.write_intent(task, 2, "key-2")
    (further / "logs").mkdir()
    (further / "logs" / "log.txt").write_text("c\n")
    assert [(number, line) for number, _, line in follower.added()] == [(2, "c")]


def test_who_waits_for_a_killed_driver_is_told_so_in_a_line_and_how_to_go_on(at_home, capsys):
    exp = Experiment("orphans", executor=LocalExecutor(cores=4))
    long = exp.add(Script(inline="echo began; while [ ! -e go ]; do sleep 0.02; done; echo over"), name="long")
    exp.add(Script(inline="echo after"), name="after", dependencies=[long])
    exp.run(detach=True)
    until(lambda: "began" in exp.logs("long"))
    waiting: list[BaseException] = []

    def wait():
        try:
            Experiment.open(exp.directory).wait(["after"])
        except LaunchError as error:
            waiting.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    holder = last_holder(exp.directory)
    assert holder is not None and holder.drives and exp.problem() is None
    os.kill(holder.pid, signal.SIGKILL)
    thread.join(20)
    words = f"process {holder.pid} on {holder.host} drove this experiment and has ended; task after waits for it: `hpcflow launch resume {exp.id}`"
    assert len(waiting) == 1 and str(waiting[0]).startswith(words) and "\n" not in str(waiting[0])
    for argv in (["status", exp.id], ["status", exp.id, "--follow"], ["logs", exp.id, "after", "--follow"]):
        with pytest.raises(LaunchError, match="drove this experiment and has ended"):
            app(argv)
    assert "running" in capsys.readouterr().out
    (at_home / "go").touch()
    assert exp.wait(["long"], 20) == {"long": TaskState.SUCCEEDED}  # what runs goes on, and is waited for
    assert app(["logs", exp.id, "long", "--follow"]) == 0 and capsys.readouterr().out == "began\nover\n"
    assert exp.resume() == 0 and exp.problem() is None


def test_a_driver_that_never_began_is_told_of_after_a_while(at_home, monkeypatch):
    monkeypatch.setattr(starting, "start_supervisor", lambda directory: None)
    exp = Experiment("nobody")
    exp.add(Script(inline="true"), name="t")
    exp.run(detach=True)
    assert exp.problem() is None  # it may be about to begin
    monkeypatch.setattr(abandoned, "GRACE_S", 0.0)
    with pytest.raises(LaunchError, match=r"no driver has begun .*driver\.log may say why"):
        exp.wait()
    Records(exp.directory).note("driver stopped", message="squeue gave no answer")
    with pytest.raises(LaunchError, match=r"has stopped \(squeue gave no answer\)"):
        exp.wait()


def test_a_lease_is_taken_from_who_died_while_taking_it_and_from_nobody_who_lives(at_home):
    gone = subprocess.Popen(["true"])
    start = process_start(gone.pid)
    gone.wait()
    dead = {"fence": 1, "host": socket.gethostname(), "pid": gone.pid, "boot_id": boot_id(), "start": start or "0", "renewed": time.time()}
    write_json(at_home / "lease-1.json", dead)  # killed before lease.json was written
    assert not driven(at_home)
    lease = Lease.take(at_home)
    assert lease.fence == 2 and driven(at_home)
    with pytest.raises(LaunchError, match="drives this experiment"):
        Lease.take(at_home)
    (at_home / "lease.json").unlink()  # alive, and about to write it
    with pytest.raises(LaunchError, match="drives this experiment"):
        Lease.take(at_home)


def task(name, needs=(), condition="all_succeeded"):
    return Task(name, name, {}, {"type": "local"}, needs=tuple(needs), condition=Condition(condition))


@pytest.mark.parametrize(
    ("graph", "states", "wanted"),
    [
        ([task("a"), task("b"), task("h", "a", "any_failed")], {"a": "succeeded", "b": "failed", "h": "skipped"}, {"b": ()}),
        ([task("a"), task("b"), task("h", "ab", "any_failed")], {"a": "succeeded", "b": "cancelled", "h": "skipped"}, {"b": (), "h": ("b",)}),
        ([task("a"), task("h", "a", "any_failed"), task("r", "h")], {"a": "succeeded", "h": "skipped", "r": "skipped"}, {}),
        ([task("a"), task("h", "a", "any_failed"), task("r", "h", "all_finished")], {"a": "succeeded", "h": "skipped", "r": "failed"}, {"r": ()}),
        ([task("a"), task("b"), task("c", "ab")], {"a": "succeeded", "b": "failed", "c": "skipped"}, {"b": (), "c": ("b",)}),
        ([task("a"), task("b"), task("c", "ab", "any_succeeded")], {"a": "succeeded", "b": "failed", "c": "failed"}, {"b": (), "c": ()}),
        ([task("c", "a"), task("a")], {"a": "failed", "c": "skipped"}, {"c": ("a",), "a": ()}),
    ],
)
def test_what_runs_again_is_what_did_not_succeed_and_still_can_run(graph, states, wanted):
    chosen = to_run_again(graph, {name: TaskState(state) for name, state in states.items()})
    assert {each.name: each.needs for each in chosen} == wanted and [each.name for each in chosen] == list(wanted)


def test_a_handler_of_failures_that_was_rightly_skipped_does_not_run_again(at_home):
    exp = Experiment("handlers")
    good, bad = exp.add(Script(inline="true"), name="good"), exp.add(Script(inline="test -e fixed"), name="bad")
    exp.add(Script(inline="echo handled >>ran"), name="of good", dependencies=[good], condition="any_failed", required=False)
    exp.add(Script(inline="echo mended >>ran"), name="of bad", dependencies=[bad], condition="any_failed")
    exp.run()
    (at_home / "fixed").touch()
    again = exp.rerun(failed_only=True).run()
    assert again.exit_status() == 0 and list(again.status()) == ["bad"]
    assert (at_home / "ran").read_text() == "mended\n"
    with pytest.raises(ConfigError, match="nothing to run again"):
        again.rerun(failed_only=True)
