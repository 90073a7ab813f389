"""What SlurmExecutor would submit, word for word: requests of each kind. Binding and GPU options are shown here alone: the test Slurm has none."""

import re

import pytest

from hpcflow.errors import ConfigError
from hpcflow.launch.config.script import Script
from hpcflow.launch.executors import slurm
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.executors.slurm_fields import SlurmFields, dependency_text
from hpcflow.launch.executors.slurm_steps import srun_words
from hpcflow.launch.experiment.experiment import Experiment
from hpcflow.launch.launchers import wording
from hpcflow.launch.request import Command, JobRequest

KEPT = ["#SBATCH --job-name=t.k-1", "#SBATCH --output=/x/tasks/t/attempts/1/logs/log.txt", "#SBATCH --open-mode=append", "#SBATCH --export=NIL"]
LOGS = wording.RANK_LOGS


@pytest.fixture(autouse=True)
def a_user(no_slurm, monkeypatch):
    """mpirun has an option more for root."""
    monkeypatch.setattr(wording.os, "geteuid", lambda: 1000)


def request(*commands, **fields):
    return JobRequest("k-1", "t", 1, "/x/tasks/t/attempts/1", commands or (Command(("prog", "a b")),), **fields)


def lines(executor, **fields):
    found = executor.directives(request(**fields))
    assert found[:4] == KEPT
    return [line.removeprefix("#SBATCH ") for line in found[4:]]


def argv(executor, *commands, **fields):
    """Of each command, as it stands in the script."""
    wanted = request(*commands, **fields)
    parallel = wanted.mode == "parallel" and len(wanted.commands) > 1
    return [srun_words(executor, wording.slurm_argv(command, wanted, parallel)) for command in wanted.commands]


GPUS = [
    ({"gpus": 2}, ["--gpus=2"]),
    ({"gpus": "a100:2"}, ["--gpus=a100:2"]),
    ({"nodes": 2, "gpus_per_node": 4}, ["--nodes=2", "--gpus-per-node=4"]),
    ({"ntasks": 4, "gpus_per_task": 1, "cpus_per_gpu": 8, "mem_per_gpu": "20G"}, [
        "--ntasks=4", "--mem-per-gpu=20G", "--gpus-per-task=1", "--cpus-per-gpu=8"]),
    ({"gres": "gpu:h100:1,nvme:1"}, ["--gres=gpu:h100:1,nvme:1"]),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "wanted"), GPUS, ids=[next(iter(f)) + str(i) for i, (f, _) in enumerate(GPUS)])
def test_gpu_options_are_the_golden_ones(fields, wanted):
    plain = [line for line in lines(SlurmExecutor(**fields)) if line not in ("--no-requeue", "--ntasks=1", "--cpus-per-task=1")]
    assert plain == wanted


def test_gpus_of_a_task_are_asked_for_unless_the_executor_says_otherwise():
    assert "--gpus=2" in lines(SlurmExecutor(), gpus=2)
    assert "--gpus=2" not in lines(SlurmExecutor(gpus_per_task=1), gpus=2)


BINDING = [
    ({"cpu_bind": "cores"}, ["--cpu-bind=cores"]),
    ({"cpu_bind": "map_cpu:0,4", "distribution": "block:cyclic"}, ["--cpu-bind=map_cpu:0,4", "--distribution=block:cyclic"]),
    ({"gpu_bind": "closest", "srun_args": ("--mem-bind=local",)}, ["--gpu-bind=closest", "--mem-bind=local"]),
]


@pytest.mark.parametrize(("fields", "wanted"), BINDING, ids=[next(iter(f)) + str(i) for i, (f, _) in enumerate(BINDING)])
def test_binding_options_are_the_golden_ones(fields, wanted):
    executor = SlurmExecutor(ntasks=4, cpus_per_task=2, launcher="srun", **fields)
    (words,) = argv(executor, Command(("prog",), launcher="srun"), ntasks=4, cpus_per_task=2)
    assert words == ("srun", *wanted, "--ntasks=4", "--mpi=pmi2", "--kill-on-bad-exit=1", "--cpus-per-task=2", *LOGS, "main", "prog")


def test_cores_by_gpu_leave_no_cores_by_task_which_slurm_would_refuse_beside_them():
    executor = SlurmExecutor(ntasks=2, gpus_per_task=1, cpus_per_gpu=8, launcher="srun")
    assert not [line for line in lines(executor) if "cpus-per-task" in line]
    (words,) = argv(executor, Command(("prog", "--cpus-per-task=1"), launcher="srun"), ntasks=2)
    assert words == ("srun", "--ntasks=2", "--mpi=pmi2", "--kill-on-bad-exit=1", *LOGS, "main", "prog", "--cpus-per-task=1")
    with pytest.raises(ConfigError, match="cpus_per_task and cpus_per_gpu exclude each other"):
        SlurmExecutor(cpus_per_task=2, cpus_per_gpu=2)


def test_binding_is_refused_where_srun_does_not_start_the_ranks_and_where_it_is_no_word():
    with pytest.raises(ConfigError, match="cpu-bind=cores is an option of srun"):
        argv(SlurmExecutor(cpu_bind="cores", launcher="mpirun"), Command(("prog",), launcher="mpirun"))
    for bad in ("a b", "cores;id", "$(id)"):
        with pytest.raises(ConfigError, match="give srun's words"):
            SlurmExecutor(cpu_bind=bad)


def test_each_launcher_has_its_words():
    command = {kind: Command(("prog", "a b"), launcher=kind) for kind in ("none", "mpirun", "srun")}
    executor = SlurmExecutor()
    assert argv(executor, command["none"]) == [("prog", "a b")]
    (mpirun,) = argv(executor, command["mpirun"], ntasks=3)
    assert mpirun[0] == "/opt/bin/mpirun" and mpirun[-4:] == (LOGS[-1], "main", "prog", "a b") and "3" in mpirun
    (srun,) = argv(executor, command["srun"], ntasks=3)
    assert srun == ("srun", "--ntasks=3", "--mpi=pmi2", "--kill-on-bad-exit=1", "--cpus-per-task=1", *LOGS, "main", "prog", "a b")


def test_steps_beside_each_other_take_their_own_cores_and_memory_exactly():
    commands = Command(("left",), name="l", cpus_per_task=2, memory_mb=500), Command(("right",), name="r", launcher="srun", ntasks=2)
    left, right = argv(SlurmExecutor(), *commands, mode="parallel", ntasks=4)
    assert left == ("srun", "--ntasks=1", "--nodes=1", "--cpus-per-task=2", "--exact", "--mem=500M", "left")
    assert right[:7] == ("srun", "--ntasks=2", "--mpi=pmi2", "--kill-on-bad-exit=1", "--cpus-per-task=1", "--exact", "--mem=0M")


def test_heterogeneous_components_are_one_world_by_srun():
    executor = SlurmExecutor(ntasks=1, launcher="srun", cpu_bind="cores", components=(SlurmFields(nodes=2, ntasks=4, cpus_per_task=8),))
    (words,) = argv(executor, Command(("prog",), launcher="srun"), ntasks=1)
    text = " ".join(words)
    assert re.search(
        r"--het-group=0 --ntasks=1 --cpus-per-task=1 .*--cpu-bind=cores .* : --het-group=1 --ntasks=4 --cpus-per-task=8 .*--cpu-bind=cores", text
    )
    found = lines(executor)
    at = found.index("hetjob")
    assert found[at + 1 :] == ["--nodes=2", "--ntasks=4", "--cpus-per-task=8"]


def test_lines_of_setup_stand_in_the_script_once_and_ranks_know_their_threads():
    exp = Experiment("once", executor=SlurmExecutor(setup=("module load gcc",), launcher="srun", cpus_per_task=3))
    exp.add(Script(inline="true"))
    text = exp.dryrun()
    assert text.count("module load gcc") == 1
    assert "export POLARS_MAX_THREADS=3\n" in text and "export SRUN_CPUS_PER_TASK=3\n" in text


def test_stops_retries_dependencies_and_extra_lines():
    executor = SlurmExecutor(
        time="01:00:00", stop_before_s=90, dependency={"afterok": ("3", "4_1"), "afterany": ("5",)}, extra_directives=("--spread-job",)
    )
    assert lines(executor, stop_budget=2) == [
        "--requeue", "--signal=B:USR1@90", "--dependency=afterok:3:4_1,afterany:5", "--kill-on-invalid-dep=yes", "--ntasks=1", "--cpus-per-task=1",
        "--time=01:00:00", "--spread-job",
    ]  # fmt: skip


def test_a_field_of_a_newer_slurm_is_refused_with_the_version_it_needs(monkeypatch):
    monkeypatch.setattr(slurm, "known_version", lambda: (22, 5))
    with pytest.raises(ConfigError, match=r"segment needs Slurm 24\.11, and this is 22\.05"):
        lines(SlurmExecutor(segment=4))


@pytest.mark.parametrize("text", ["--job-name=x", "--export=ALL", "-J x", "--array=1-3"])
def test_an_extra_directive_does_not_set_what_jobs_are_found_by(text):
    with pytest.raises(ConfigError, match="is set by hpcflow"):
        SlurmExecutor(extra_directives=(text,))


def test_a_dependency_on_one_id_is_a_list_of_one():
    with pytest.raises(ConfigError, match="give the job ids as a list"):
        dependency_text({"afterok": "123"})
