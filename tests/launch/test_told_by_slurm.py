"""Why Slurm ended a job: from its log, from its state, and both beside the exit file."""

import json

import pytest

from hpcflow.launch.executors import slurm_query as query
from hpcflow.launch.executors.attempt_files import read_exit, taken_from_its_node
from hpcflow.launch.executors.base import FailureClass, JobHandle, JobState, JobStatus
from hpcflow.launch.executors.told_by_slurm import TAIL_BYTES, reason_in, reason_in_logs

LINES = {
    "slurmstepd-n1: error: StepId=1.batch exceeded memory limit (225095680 > 52428800), being killed": "out of memory",
    "slurmstepd: error: Exceeded job memory limit": "out of memory",
    "slurmstepd: error: Detected 2 oom_kill events in StepId=7.batch. Some of the step tasks have been OOM Killed.": "out of memory",
    "slurmstepd-node0: error: Detected 1 oom-kill event(s) in StepId=7.0 cgroup. Some of your processes may have been killed": "out of memory",
    "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-01-31T12:00:00 DUE TO TIME LIMIT ***": "timeout",
    "slurmstepd: error: *** STEP 5.0 ON n1 CANCELLED AT 2026-01-31T12:00:00 DUE TO PREEMPTION ***": "preempted",
    "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-01-31T12:00:00 DUE TO JOB REQUEUE ***": "preempted",
    "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-01-31T12:00:00 DUE TO NODE FAILURE, SEE SLURMCTLD LOG ***": "node failure",
    "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-01-31T12:00:00 ***": None,
    "my program says: slurmstepd: error: Exceeded job memory limit": None,
    "MemoryError: exceeded memory limit": None,
}


@pytest.mark.parametrize(("line", "failure"), LINES.items())
def test_a_line_of_the_step_daemon_tells_the_kind_of_a_failure(line, failure):
    found = reason_in(f"hello\n{line}\nbye\n")
    assert (None if found is None else found[0]) == failure


def test_memory_outranks_the_kill_that_follows_from_it():
    cancelled, memory = list(LINES)[4], list(LINES)[1]
    assert reason_in(f"{cancelled}\n{memory}\n") == ("out of memory", "Exceeded job memory limit")


@pytest.fixture
def attempt(tmp_path):
    """`attempt(log, code=..., cancelled=...)` -> directory of an attempt with that exit file (none without a code)."""

    def make(log="", **facts):
        directory = tmp_path / "attempts" / "1"
        (directory / "logs").mkdir(parents=True)
        (directory / "logs" / "log.txt").write_text("x" * 2 * TAIL_BYTES + "\n" + log)
        if facts:
            (directory / "exit.json").write_text(json.dumps({"cancelled": None, **facts}))
        return str(directory)

    return make


@pytest.mark.parametrize(
    ("code", "cancelled", "failure"),
    [
        (137, None, FailureClass.TIMEOUT),
        (143, 15, FailureClass.TIMEOUT),
        (1, None, FailureClass.TIMEOUT),
        (75, None, FailureClass.STOPPED),
        (0, None, None),
    ],
)
def test_an_exit_file_gets_the_reason_of_the_log_unless_the_program_ended_as_it_wanted(attempt, code, cancelled, failure):
    status = read_exit(attempt(list(LINES)[4] + "\n", code=code, cancelled=cancelled))
    assert (status.code, status.failure) == (code, failure)


def test_without_a_reason_a_signal_is_a_cancel(attempt):
    directory = attempt("nothing", code=143, cancelled=15)
    assert reason_in_logs(directory) is None
    assert read_exit(directory).state is JobState.CANCELLED


RUNNING, CANCELLED = JobStatus(JobState.RUNNING), JobStatus(JobState.CANCELLED)
KILLED = JobStatus(JobState.FAILED, 137, FailureClass.PROGRAM, "exit status 137")
MEMORY = JobStatus(JobState.FAILED, None, FailureClass.OUT_OF_MEMORY, "oom")


@pytest.mark.parametrize(
    ("ended", "told", "status"),
    [
        (KILLED, RUNNING, JobStatus(JobState.RUNNING, None, None, "ending")),  # Slurm may know why, when it is done with the job
        (KILLED, MEMORY, JobStatus(JobState.FAILED, 137, FailureClass.OUT_OF_MEMORY, "oom")),
        (KILLED, JobStatus(JobState.FAILED, 137, FailureClass.PROGRAM), KILLED),
        (KILLED, JobStatus(JobState.UNKNOWN), KILLED),
        (CANCELLED, JobStatus(JobState.FAILED, None, FailureClass.TIMEOUT, "t"), JobStatus(JobState.FAILED, None, FailureClass.TIMEOUT, "t")),
        (CANCELLED, CANCELLED, CANCELLED),
    ],
)
def test_of_a_killed_job_slurm_tells_the_reason(ended, told, status):
    assert query.killed(ended)
    assert query.settled(ended, told) == status


def test_a_program_s_own_end_needs_nobody_else():
    assert not query.killed(JobStatus(JobState.FAILED, 1, FailureClass.PROGRAM))
    assert not query.killed(JobStatus(JobState.SUCCEEDED, 0))
    assert not query.killed(JobStatus(JobState.FAILED, 75, FailureClass.STOPPED))


def test_a_job_that_announced_a_further_attempt_has_lost_its_node(attempt, tmp_path):
    handle = JobHandle("k-1", attempt("nothing"), "12")
    assert not query.run_again(handle)
    (tmp_path / "attempts" / "2").mkdir()
    (tmp_path / "attempts" / "2" / "submitted.json").write_text('{"id": "13"}')
    assert not query.run_again(handle)
    (tmp_path / "attempts" / "2" / "submitted.json").write_text('{"id": "12"}')
    assert query.run_again(handle)
    assert taken_from_its_node(handle.directory).failure is FailureClass.NODE
