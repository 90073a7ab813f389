"""What every executor keeps, as one suite: `check_executor(make, tmp_path)` runs all of it against real jobs.

`make(**fields)` gives an executor. Jobs are submitted together and looked at after, so that the suite takes seconds on a scheduler too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hpcflow.launch.config.secret import Secret
from hpcflow.launch.executors.base import Executor, FailureClass, JobHandle, JobState, JobStatus
from hpcflow.launch.request import Command, JobRequest

WAIT_S = 60.0


class Jobs:
    """Submits and waits; remembers what it has submitted."""

    def __init__(self, executor: Executor, root: Path) -> None:
        self.executor = executor
        self.root = root
        self.handles: dict[str, JobHandle] = {}

    def request(self, name: str, *argv: str, attempt: int = 1, **fields: Any) -> JobRequest:
        directory = self.root / "tasks" / "".join(c if c.isalnum() else "-" for c in name) / "attempts" / str(attempt)
        directory.mkdir(parents=True)
        key = f"hf-{os.urandom(4).hex()}-{attempt}"
        commands = fields.pop("commands", None) or (Command(argv),)
        return JobRequest(key=key, task=name, attempt=attempt, directory=str(directory), commands=commands, **fields)

    def submit(self, request: JobRequest) -> JobHandle:
        handle = self.executor.submit(self.executor.render(request))
        self.handles[handle.key] = handle
        return handle

    def shell(self, name: str, script: str, **fields: Any) -> JobHandle:
        return self.submit(self.request(name, "/bin/sh", "-c", script, **fields))

    def wait(self, handles: Sequence[JobHandle], until: Callable[[JobStatus], bool] = lambda status: status.state.final) -> list[JobStatus]:
        deadline = time.monotonic() + WAIT_S
        while True:
            found = self.executor.states(handles)
            if all(until(found[handle.key]) for handle in handles):
                return [found[handle.key] for handle in handles]
            assert time.monotonic() < deadline, found
            time.sleep(0.1)


def log(handle: JobHandle, name: str = "log.txt") -> str:
    """Text of a log of an attempt; empty while there is none."""
    path = Path(handle.directory) / "logs" / name
    return path.read_text() if path.exists() else ""


def check_executor(executor: Executor, root: Path) -> None:
    """Raises AssertionError for what does not hold."""
    jobs = Jobs(executor, root)
    codes = {code: jobs.shell(f"exit {code}", f"exit {code}") for code in (0, 1, 3)}
    killed = {137: jobs.shell("kills itself", "kill -KILL $$"), 143: jobs.shell("ends itself", "kill -TERM $$")}
    odd = "a 'task' \"with\" $(touch pwned) `touch pwned` ünï\\cödé; #漢 %j"
    odd_handle = jobs.submit(jobs.request(odd, sys.executable, "-c", "import sys; print(sys.argv[1:])", odd, "", " ", "*", "~", "a\tb"))
    secret = root / "secret of 'root'"
    secret.write_text("hidden value\n")
    secret.chmod(0o600)
    variables = jobs.submit(
        jobs.request(
            "variables",
            "/bin/sh",
            "-c",
            'printf "%s|" "$A" "$B" "$C" "$HPCFLOW_ATTEMPT"',
            commands=(Command(("/bin/sh", "-c", 'printf "%s|" "$A" "$B" "$C" "$HPCFLOW_ATTEMPT"'), environment={"B": "of 'the' command"}),),
            environment={"A": odd, "B": "of the job"},
            secrets={"C": Secret.file(secret)},
        )
    )
    setup = jobs.shell("setup", 'test "$FROM_SETUP" = yes && pwd', setup=("FROM_SETUP=yes", "export FROM_SETUP"), workdir=str(root))
    steps = tuple(Command(("/bin/sh", "-c", f"echo {name}; exit {code}"), name=name) for name, code in (("one", 0), ("two", 4), ("three", 0)))
    stopping, going_on = jobs.submit(jobs.request("stop", commands=steps)), jobs.submit(jobs.request("go on", commands=steps, on_failure="continue"))
    beside = jobs.submit(
        jobs.request(
            "beside",
            mode="parallel",
            on_failure="continue",
            commands=tuple(
                # each waits for the other's file: they end only when they run at once
                Command(("/bin/sh", "-c", f"touch {root}/{mine}; while [ ! -e {root}/{other} ]; do sleep 0.05; done"), name=mine, memory_mb=100)
                for mine, other in (("left", "right"), ("right", "left"))
            ),
            ntasks=2,
        )
    )
    saved = jobs.shell("saves", "exit 75")

    for code, handle in (codes | killed).items():
        (status,) = jobs.wait([handle])
        wanted = JobState.SUCCEEDED if code == 0 else JobState.FAILED
        assert (status.state, status.code) == (wanted, code), (code, status)
        assert code == 0 or status.failure is FailureClass.PROGRAM, status
    assert jobs.wait([odd_handle])[0].state is JobState.SUCCEEDED
    assert log(odd_handle).splitlines()[-1] == str([odd, "", " ", "*", "~", "a\tb"]), log(odd_handle)
    assert not list(root.rglob("pwned")) and not Path("pwned").exists()
    jobs.wait([variables])
    assert log(variables).endswith(f"{odd}|of 'the' command|hidden value|1|"), log(variables)
    assert "hidden value" not in (Path(variables.directory) / "script.sh").read_text()
    assert jobs.wait([setup])[0].state is JobState.SUCCEEDED, log(setup)
    assert log(setup).strip().endswith(str(root))
    assert [status.code for status in jobs.wait([stopping, going_on])] == [4, 4]
    assert not (Path(stopping.directory) / "logs" / "three.txt").exists()
    assert log(going_on, "three.txt") == "three\n"
    assert [(Path(going_on.directory) / "commands" / f"{i}.exit").read_text().strip() for i in range(3)] == ["0", "4", "0"]
    assert jobs.wait([beside])[0].state is JobState.SUCCEEDED
    (stopped,) = jobs.wait([saved])
    assert (stopped.state, stopped.failure) == (JobState.FAILED, FailureClass.STOPPED)

    _check_claims(jobs)
    _check_cancelling(jobs)
    _check_cancelling_of_commands(jobs)
    for handle in jobs.handles.values():
        assert oct((Path(handle.directory) / "script.sh").stat().st_mode)[-3:] == "600"


def _check_claims(jobs: Jobs) -> None:
    """A second run of an attempt's script leaves at once and changes nothing; a retry repeats the unfinished commands only."""
    first = jobs.submit(jobs.request("claimed", commands=(Command(("/bin/sh", "-c", "echo ran"), name="a"), Command(("false",), name="b"))))
    jobs.wait([first])
    before = {path: path.read_bytes() for path in Path(first.directory).rglob("*") if path.is_file()}
    again = subprocess.run(["/bin/sh", f"{first.directory}/script.sh"], capture_output=True, text=True, check=False, timeout=20)
    assert (again.returncode, again.stdout) == (0, ""), again
    assert {path: path.read_bytes() for path in Path(first.directory).rglob("*") if path.is_file()} == before
    claim = json.loads((Path(first.directory) / "claim.json").read_text())
    assert claim["key"] == first.key and claim["host"] and claim["pid"] > 0 and claim["boot_id"] and claim["process_start"]

    second = jobs.submit(
        jobs.request("claimed", attempt=2, commands=(Command(("/bin/sh", "-c", "echo ran"), name="a"), Command(("true",), name="b")))
    )
    assert jobs.wait([second])[0].state is JobState.SUCCEEDED
    assert not (Path(second.directory) / "logs" / "a.txt").exists()  # done by the first attempt


def _check_cancelling(jobs: Jobs) -> None:
    """Cancel while running, after the end, by force; find by key."""
    running = jobs.shell("long", "echo started; sleep 600")
    stubborn = jobs.shell("stubborn", "trap '' TERM; echo started; while :; do sleep 1; done")
    finished = jobs.shell("finished", "true")
    jobs.wait([finished])
    jobs.wait([running, stubborn], lambda status: status.state is JobState.RUNNING)
    for handle in (running, stubborn):
        deadline = time.monotonic() + WAIT_S
        while "started" not in log(handle):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    found = jobs.executor.find({running.key: running.directory, "hf-nobody-1": str(jobs.root)})
    assert found.keys() == {running.key} and found[running.key].id == running.id, (found, running)
    jobs.executor.cancel([running, finished])
    assert jobs.wait([running])[0].state is JobState.CANCELLED
    assert jobs.wait([finished])[0].state is JobState.SUCCEEDED
    jobs.executor.cancel([stubborn])
    jobs.executor.cancel([stubborn], force=True)
    assert jobs.wait([stubborn])[0].state is JobState.CANCELLED


def _check_cancelling_of_commands(jobs: Jobs) -> None:
    """One command of a group ends when it is cancelled, and the others go on; one that has not begun never does; the metadata is there."""
    go = jobs.root / "go"
    wait = f"echo began; while [ ! -e '{go}' ]; do sleep 0.05; done; echo over"

    def group(name: str, mode: str, *scripts: str) -> JobHandle:
        commands = tuple(Command(("/bin/sh", "-c", script), name=f"c{i}", memory_mb=50) for i, script in enumerate(scripts))
        return jobs.submit(jobs.request(name, commands=commands, mode=mode, ntasks=len(scripts) if mode == "parallel" else 1))

    beside = group("cancels one beside", "parallel", "echo began; exec sleep 600", wait)
    behind = group("cancels one behind", "sequential", wait, "echo never")
    for handle, name in ((beside, "c0.txt"), (beside, "c1.txt"), (behind, "c0.txt")):
        deadline = time.monotonic() + WAIT_S
        while "began" not in log(handle, name):
            assert time.monotonic() < deadline, (handle, name)
            time.sleep(0.05)
    (Path(beside.directory).parents[1] / "cancelled" / "0").touch()
    jobs.executor.tell(beside)
    deadline = time.monotonic() + WAIT_S
    while not (Path(beside.directory) / "commands" / "0.exit").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not (Path(beside.directory) / "commands" / "1.exit").exists()  # a failure would have ended it
    (Path(behind.directory).parents[1] / "cancelled" / "1").touch()
    jobs.executor.tell(behind)
    go.touch()
    assert [status.state for status in jobs.wait([beside, behind])] == [JobState.CANCELLED, JobState.CANCELLED]
    assert log(beside, "c1.txt") == log(behind, "c0.txt") == "began\nover\n"
    assert not (Path(behind.directory) / "logs" / "c1.txt").exists()
    facts = json.loads((Path(beside.directory) / "metadata.json").read_text())
    assert facts["key"] == beside.key and facts["host"] and facts["cpu"] and facts["cores"] > 0 and "PATH" in facts["environment"], facts
    jobs.executor.tell(beside)  # it is over: nothing
