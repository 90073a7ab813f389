"""What is concluded from Slurm's answers, and that nothing is from none: its programs are played by scripts that fail, are slow or missing."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcflow.cli.launch import app
from hpcflow.errors import LaunchError
from hpcflow.launch.config.script import Script
from hpcflow.launch.executors import slurm_commands
from hpcflow.launch.executors.base import JobHandle, JobState, QueryFailedError, SubmitLimitError, SubmitUnclearError
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.executors.slurm_query import SEPARATOR
from hpcflow.launch.experiment.experiment import Experiment
from hpcflow.launch.experiment.lease import Lease
from hpcflow.launch.experiment.question import latest
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.files import write_json
from tests.launch.slurm_programs import SlurmPrograms
from tests.thorough import thorough

NO_JOB = "slurm_load_jobs error: Invalid job id specified"
NO_ACCOUNTS = "AccountingStorageType   = accounting_storage/none\nMaxArraySize = 1001\n"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    found = SlurmPrograms(tmp_path / "bin")
    monkeypatch.setenv("PATH", found.path)
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    _forget()
    yield found
    _forget()


def _forget():
    for cached in (slurm_commands.cluster_name, slurm_commands.keeps_no_accounts, slurm_commands.max_array_size, slurm_commands._configuration):
        cached.cache_clear()


def jobs(tmp_path, *ids):
    """Attempts without an exit file."""
    handles = []
    for id in ids:
        directory = tmp_path / "tasks" / id / "attempts" / "1"
        directory.mkdir(parents=True)
        handles.append(JobHandle(f"k-{id}", str(directory), id))
    return handles


def line(id, state):
    return SEPARATOR.join((id, id, state, "None", "N/A", f"t.k-{id}")) + "\n"


def ended(handle, code):
    (Path(handle.directory) / "exit.json").write_text(json.dumps({"code": code, "cancelled": None}))


def test_no_answer_of_squeue_changes_nothing_and_hides_no_exit_file(programs, tmp_path):
    programs.fail("squeue")
    done, open_one = jobs(tmp_path, "1", "2")
    ended(done, 0)
    with pytest.raises(QueryFailedError, match="Unable to contact") as failed:
        SlurmExecutor().states([done, open_one])
    assert {key: status.state for key, status in failed.value.told.items()} == {"k-1": JobState.SUCCEEDED}


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, how) for name in ("scontrol", "sacct", "squeue") for how in ("fails", "is missing")),
        *(("squeue", "is slow"), thorough("scontrol", "is slow"), thorough("sacct", "is slow")),
    ],
)
def test_a_job_is_not_unknown_while_somebody_who_might_know_it_gives_no_answer(programs, tmp_path, monkeypatch, name, how):
    programs.fail("scontrol", says=NO_JOB)
    if how == "fails":
        programs.fail(name)
    elif how == "is slow":
        monkeypatch.setattr(slurm_commands, "COMMAND_TIMEOUT_S", 1.0)
        programs.slow(name, 5)
    else:
        programs.missing(name)
        if name == "sacct":
            (programs.directory / "scontrol.fails").write_text("1")
            programs.answer("scontrol", NO_ACCOUNTS.replace("none", "slurmdbd"))
    with pytest.raises(QueryFailedError) as failed:
        SlurmExecutor().states(jobs(tmp_path, "5"))
    assert failed.value.told == {} and name in str(failed.value)


def test_a_job_that_nobody_knows_is_unknown_if_it_has_begun_once_both_have_said_so(programs, tmp_path):
    programs.fail("scontrol", says=NO_JOB)
    programs.fail("sacct", says="Slurm accounting storage is disabled")
    begun, never = jobs(tmp_path, "5", "6")
    (Path(begun.directory) / "claim.json").write_text("{}")
    found = SlurmExecutor().states([begun, never])
    assert found["k-5"].state is JobState.UNKNOWN
    assert found["k-6"].state is JobState.CANCELLED and found["k-6"].reason.startswith("the job has never begun")


def test_elements_that_never_began_are_read_out_of_one_line_of_accounting_in_which_nothing_is_cut_short(programs, tmp_path):
    programs.answer("sacct", "6_[0-1,3%2]|CANCELLED by 0|0:0\n6_2|COMPLETED|0:0\n")
    programs.answer("scontrol", "")
    found = SlurmExecutor().states(jobs(tmp_path, *(f"6_{i}" for i in range(5))))
    assert [found[f"k-6_{i}"].state.value for i in (0, 1, 3)] == ["cancelled"] * 3
    assert "no exit file" in found["k-6_2"].reason and found["k-6_4"].reason.startswith("the job has never begun")
    assert slurm_commands.call(("/usr/bin/env",)).stdout.count("SLURM_BITSTR_LEN=0\n") == 1


def test_a_missing_sacct_is_an_answer_where_slurm_keeps_no_accounts(programs, tmp_path):
    programs.missing("sacct")
    programs.fail("scontrol", times=1, says=NO_JOB)
    programs.answer("scontrol", NO_ACCOUNTS)
    (handle,) = jobs(tmp_path, "5")
    (Path(handle.directory) / "claim.json").write_text("{}")
    assert SlurmExecutor().states([handle])["k-5"].state is JobState.UNKNOWN


def test_accounting_answers_when_scontrol_does_not_and_some_answers_are_kept_without_others(programs, tmp_path):
    programs.fail("scontrol")
    programs.answer("sacct", "5|TIMEOUT|0:0\n6_2|FAILED|3:0\n")
    programs.answer("squeue", line("8", "RUNNING"))
    with pytest.raises(QueryFailedError, match="scontrol") as failed:
        SlurmExecutor().states(jobs(tmp_path, "5", "6_2", "7", "8"))
    told = {key: (status.state.value, status.code) for key, status in failed.value.told.items()}
    assert told == {"k-5": ("failed", None), "k-6_2": ("failed", 3), "k-8": ("running", None)}


def test_many_forgotten_jobs_are_asked_for_together(programs, tmp_path):
    programs.answer("scontrol", "JobId=3 JobName=x JobState=FAILED ExitCode=4:0\n")
    programs.answer("sacct", "".join(f"{i}|COMPLETED|0:0\n" for i in range(20)))
    found = SlurmExecutor().states(jobs(tmp_path, *map(str, range(20))))
    assert len(programs.calls("squeue")) == len(programs.calls("scontrol")) == len(programs.calls("sacct")) == 1
    assert found["k-3"].code == 4 and "no exit file" in found["k-9"].reason


def test_an_exit_file_that_cannot_be_read_hides_no_other_job(programs, tmp_path):
    bad, good = jobs(tmp_path, "1", "2")
    (Path(bad.directory) / "exit.json").write_text("{")
    programs.answer("squeue", line("2", "PENDING"))
    with pytest.raises(QueryFailedError, match=r"exit\.json cannot be read") as failed:
        SlurmExecutor().states([bad, good])
    assert failed.value.told.keys() == {"k-2"}


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        ("QOSMaxSubmitJobPerUserLimit\nBatch job submission failed: Job violates accounting/QOS policy (job submit limit, ...)", SubmitLimitError),
        ("AssocGrpSubmitJobsLimit\nBatch job submission failed: Job violates accounting/QOS policy", SubmitLimitError),
        ("Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", SubmitLimitError),
        ("Batch job submission failed: Resource temporarily unavailable", SubmitLimitError),
        ("QOSMaxWallDurationPerJobLimit\nBatch job submission failed: Job violates accounting/QOS policy", LaunchError),
        ("Batch job submission failed: Invalid account or account/partition combination specified", LaunchError),
        ("Batch job submission failed: Socket timed out on send/recv operation", SubmitUnclearError),
        ("Batch job submission failed: Unable to contact slurm controller (connect failure)", SubmitUnclearError),
    ],
)
def test_what_sbatch_says_is_a_limit_a_refusal_or_unclear(programs, says, kind):
    programs.fail("sbatch", says=f"sbatch: error: {says}")
    with pytest.raises(LaunchError) as failed:
        slurm_commands.sbatch(("sbatch", "script.sh"), "task 't'")
    assert type(failed.value) is kind


def test_sbatch_that_is_too_slow_is_unclear_and_one_that_is_missing_is_an_error(programs, monkeypatch):
    monkeypatch.setattr(slurm_commands, "COMMAND_TIMEOUT_S", 0.2)
    programs.slow("sbatch", 5)
    with pytest.raises(SubmitUnclearError, match="may have been taken"):
        slurm_commands.sbatch(("sbatch", "script.sh"), "task 't'")
    programs.missing("sbatch")
    with pytest.raises(LaunchError, match="not on PATH"):
        slurm_commands.sbatch(("sbatch", "script.sh"), "task 't'")


def test_a_job_of_another_cluster_is_neither_asked_for_nor_cancelled_here(programs, tmp_path):
    programs.answer("scontrol", NO_ACCOUNTS + "ClusterName = here\n")
    programs.answer("squeue", line("1", "RUNNING") + line("2", "COMPLETED"))
    mine, foreign = (replace(handle, facts={"cluster": name}) for handle, name in zip(jobs(tmp_path, "1", "2"), ("here", "there"), strict=True))
    with pytest.raises(QueryFailedError, match="job 2 is in the cluster there, and this host asks here") as failed:
        SlurmExecutor().states([mine, foreign])
    assert {key: status.state for key, status in failed.value.told.items()} == {"k-1": JobState.RUNNING}
    with pytest.raises(LaunchError, match="do it on a host of there"):
        SlurmExecutor().cancel([mine, foreign])
    assert not programs.calls("scancel")
    write_json(Path(foreign.directory) / "intent.json", {"key": "k-2", "attempt": 1, "facts": {"cluster": "there"}})
    with pytest.raises(QueryFailedError, match="job of the key k-2 is in the cluster there"):
        SlurmExecutor().find({"k-2": foreign.directory})  # else it would be submitted here too
    assert latest("slurm", 10.0, SlurmExecutor(), [mine]).jobs.keys() == {"k-1"}
    assert "cluster there" in (latest("slurm", 10.0, SlurmExecutor(), [foreign]).error or "")
    assert sorted(path.name for path in (tmp_path / "home").glob("answer-*")) == ["answer-slurm-here.json", "answer-slurm-there.json"]


# -- one question for all ----------------------------------------------------------------------------------------------------------------------------


def _ask(handle: JobHandle, answers: multiprocessing.Queue) -> None:
    answers.put({key: status.state.value for key, status in latest("slurm", 10.0, SlurmExecutor(), [handle]).jobs.items()})


def test_many_who_look_at_once_ask_once_and_hear_the_same(programs, tmp_path):
    programs.answer("squeue", line("1", "RUNNING"))
    programs.slow("squeue", 0.3)
    (handle,) = jobs(tmp_path, "1")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    children = [context.Process(target=_ask, args=(handle, answers)) for _ in range(6)]
    for child in children:
        child.start()
    heard = [answers.get(timeout=20) for _ in children]
    for child in children:
        child.join()
    assert len(programs.calls("squeue")) == 1
    assert {"k-1": "running"} in heard and all(found in ({}, {"k-1": "running"}) for found in heard)  # nobody waits for who asks
    assert latest("slurm", 10.0, SlurmExecutor(), []).jobs["k-1"].state is JobState.RUNNING
    assert len(programs.calls("squeue")) == 1


def test_the_next_question_is_asked_when_it_is_time_and_a_failed_one_counts_as_one(programs, tmp_path):
    (handle,) = jobs(tmp_path, "1")
    programs.fail("squeue", times=1)
    answer = latest("slurm", 10.0, SlurmExecutor(), [handle])
    assert answer.jobs == {} and "Unable to contact" in (answer.error or "")
    assert latest("slurm", 10.0, SlurmExecutor(), [handle]) == answer and len(programs.calls("squeue")) == 1
    programs.answer("squeue", line("1", "RUNNING"))
    stamp = tmp_path / "home" / "asked-slurm"
    os.utime(stamp, (time.time() - 11, time.time() - 11))
    assert latest("slurm", 10.0, SlurmExecutor(), [handle]).jobs["k-1"].state is JobState.RUNNING
    assert oct(stamp.stat().st_mode)[-3:] == oct((tmp_path / "home" / "answer-slurm.json").stat().st_mode)[-3:] == "600"


def test_a_pending_task_shows_why_and_when_it_is_thought_to_start_whoever_has_asked(programs, tmp_path, capsys):
    exp = Experiment("queued", executor=SlurmExecutor())
    exp.add(Script(inline="true"), name="t")
    records = Records.create(exp.directory, exp.spec())
    directory = records.write_intent(records.spec().task("t"), 1, "k-7")
    records.write_submitted(JobHandle("k-7", str(directory), "7"))
    lease = Lease.take(exp.directory)  # somebody drives it, and has asked
    programs.answer("squeue", SEPARATOR.join(("7", "7", "PENDING", "Priority", "2030-01-02T03:04:05", "t.k-7")) + "\n")
    latest("slurm", 60.0, SlurmExecutor(), [JobHandle("k-7", str(directory), "7")])
    assert app(["status", exp.id]) == 3
    assert "Priority; starts about 2030-01-02T03:04:05" in " ".join(capsys.readouterr().out.replace("\n", " ").split())
    assert app(["status", exp.id, "--json"]) == 3
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["reason"], row["start_estimate"]) == ("Priority", "2030-01-02T03:04:05")
    lease.give_back()
