"""Processes by /proc, and as macOS tells of them (its programs are scripts of the test's here)."""

import os
import signal
import subprocess

import pytest

from hpcflow.launch.executors import processes
from hpcflow.launch.executors.local import LocalExecutor
from hpcflow.launch.experiment import index_place
from hpcflow.testing.executor_contract import Jobs
from tests.until import until


def test_a_process_is_known_by_its_start_and_a_dead_one_has_none():
    child = subprocess.Popen(["sleep", "60.417"])
    try:
        assert processes.process_start(child.pid) == processes.process_start(child.pid) != ""
        until(lambda: processes.processes_of([["sleep", "60.417"], ["no", "such"]]) == {("sleep", "60.417"): child.pid})
    finally:
        child.kill()
    for _ in range(100):
        if processes.process_state(child.pid) == "Z":
            break
        os.sched_yield()
    child.wait()
    assert processes.process_start(child.pid) == ""


def test_a_shell_is_found_and_not_the_copies_it_makes_of_itself(tmp_path):
    script = tmp_path / "script.sh"
    script.write_text("for i in 1 2 3 4; do (while :; do sleep 0.05; done) & done; echo; wait\n")
    with subprocess.Popen(["/bin/sh", str(script)], start_new_session=True, stdout=subprocess.PIPE) as shell:
        try:
            shell.stdout.readline()
            assert processes.processes_of([["/bin/sh", str(script)]]) == {("/bin/sh", str(script)): shell.pid}
        finally:
            os.killpg(shell.pid, signal.SIGKILL)


@pytest.fixture
def mac(tmp_path, monkeypatch):
    """No /proc, and sysctl, ps and mount as on macOS; `say(program, text)` sets what one answers."""
    monkeypatch.setattr(processes, "PROC", tmp_path / "no-proc")

    def say(program, text):
        path = tmp_path / "bin" / program
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return say


def test_macos_boots_have_ids(mac):
    mac("sysctl", 'case $2 in kern.bootsessionuuid) echo 5F7A-11;; *) echo "{ sec = 17, usec = 1 } Sat Nov  1";; esac')
    assert processes.boot_id.__wrapped__() == "5F7A-11"
    mac("sysctl", 'case $2 in kern.boottime) echo "{ sec = 17, usec = 1 } Sat Nov  1";; *) exit 1;; esac')
    assert processes.boot_id.__wrapped__() == "17"
    mac("sysctl", "exit 1")
    assert processes.boot_id.__wrapped__() == "unknown"


def test_macos_processes_are_asked_of_ps(mac, tmp_path):
    mac("ps", 'case "$*" in *812*) echo "S    Tue Nov  3 09:12:44 2026    ";; *-ax*) echo "  812 /bin/sh /a/script.sh";; *) exit 1;; esac')
    assert (processes.process_start(812), processes.process_state(812)) == ("Tue Nov  3 09:12:44 2026", "S")
    assert processes.process_start(813) == ""
    assert processes.processes_of([["/bin/sh", "/a/script.sh"]]) == {("/bin/sh", "/a/script.sh"): 812}


def test_jobs_are_followed_and_cancelled_without_proc(mac, tmp_path):
    """With this host's ps, which understands the same words."""
    jobs = Jobs(LocalExecutor(cores=2), tmp_path / "jobs")
    good, long = jobs.shell("good", "exit 3"), jobs.shell("long", "echo began; sleep 300")
    assert jobs.wait([good])[0].code == 3
    while not (tmp_path / "jobs/tasks/long/attempts/1/claim.json").exists():
        pass
    assert jobs.executor.find({long.key: long.directory})[long.key].id == long.id
    jobs.executor.cancel([long])
    assert jobs.wait([long])[0].state.value == "cancelled"


def test_macos_network_file_systems_are_told_from_mount(mac, monkeypatch, tmp_path):
    mac("mount", f"echo '/dev/disk1 on / (apfs, local)'; echo 'nas:/v on {tmp_path} (nfs, nodev)'")
    monkeypatch.setattr(index_place.sys, "platform", "darwin")
    assert index_place.on_network(tmp_path / "home") and not index_place.on_network(tmp_path.parent)
