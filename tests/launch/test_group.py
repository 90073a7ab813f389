"""Steps of a group with ranks, cores and memory of their own: the job is as large as they need, and they run side by side."""

import pytest

from hpcflow.errors import ConfigError
from hpcflow.launch import Experiment, LocalExecutor, Script, SlurmExecutor, SlurmFields, Step
from hpcflow.launch.executors.registry import from_json

pytestmark = pytest.mark.usefixtures("no_slurm")


def step(**needs):
    return Step(Script(inline="true"), **needs)


def added(*steps, executor=None, mode="parallel", **options):
    """(the task as it is kept, the text of its dry run)."""
    exp = Experiment("g", executor=executor or SlurmExecutor())
    exp.add(list(steps), mode=mode, **options)
    return exp.spec().tasks[0], exp.dryrun()


def directives(text):
    return [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH --")]


@pytest.mark.parametrize(
    ("steps", "mode", "shape"),
    [
        ([{"cpus_per_task": 6}, {"cpus_per_task": 1}], "parallel", {"ntasks=1", "cpus-per-task=7"}),
        ([{"cpus_per_task": 6}, {"cpus_per_task": 1}], "sequential", {"ntasks=1", "cpus-per-task=6"}),
        ([{"cpus_per_task": 4}, {"cpus_per_task": 4}], "parallel", {"ntasks=2", "cpus-per-task=4"}),
        ([{"ntasks": 3, "launcher": "srun"}, {}], "parallel", {"ntasks=4", "cpus-per-task=1"}),
        ([{"memory_mb": 300}, {"memory_mb": 200}], "parallel", {"ntasks=2", "cpus-per-task=1", "mem=500M"}),
        ([{"memory_mb": 300}, {"memory_mb": 200}], "sequential", {"ntasks=1", "cpus-per-task=1", "mem=300M"}),
        ([{"gpus": 2}, {"gpus": 1}, {}], "parallel", {"ntasks=3", "cpus-per-task=1", "gpus=3"}),
        ([{"gpus": 2}, {"gpus": 1}], "sequential", {"ntasks=1", "cpus-per-task=1", "gpus=2"}),
    ],
)
def test_a_job_is_as_large_as_its_steps_need(steps, mode, shape):
    _, text = added(*(step(**needs) for needs in steps), mode=mode)
    kinds = ("ntasks", "cpus-per-task", "nodes", "mem", "gpus")
    assert {line for line in directives(text) if line.partition("=")[0] in kinds} == shape


def test_each_step_asks_for_its_own_share_and_keeps_to_it():
    _, text = added(step(name="big", cpus_per_task=6, memory_mb=500), step(name="ranks", ntasks=2, launcher="srun", memory_mb=100))
    assert "POLARS_MAX_THREADS=6 srun --ntasks=1 --nodes=1 --cpus-per-task=6 --exact --mem=500M" in text
    assert "POLARS_MAX_THREADS=1 srun --ntasks=2 --mpi=pmi2 --kill-on-bad-exit=1 --cpus-per-task=1 --exact --mem=100M" in text


def test_an_mpirun_beside_others_is_a_step_that_holds_the_cores_of_its_ranks_on_one_node():
    steps = (step(name="left", ntasks=3, cpus_per_task=2, launcher="mpirun", memory_mb=300), step(name="right", cpus_per_task=2, memory_mb=100))
    _, text = added(*steps)
    (left,) = [line for line in text.splitlines() if "-rank-" in line]
    held = "srun --ntasks=1 --nodes=1 --mpi=none --cpus-per-task=6 --exact --mem=300M env -u SLURM_JOBID -u SLURM_NODELIST -u SLURM_JOB_NODELIST"
    assert f"{held} /opt/bin/mpirun -print-all-exitcodes -launcher fork -bind-to none -genv POLARS_MAX_THREADS 2 -n 3 " in left
    assert {"ntasks=1", "cpus-per-task=8", "mem=400M"} <= {*directives(text)}  # of one node: pieces of several could not hold a step
    _, alone = added(*steps, mode="sequential")
    assert "srun" not in next(line for line in alone.splitlines() if "-rank-" in line)


def test_steps_of_a_heterogeneous_job_are_not_put_side_by_side():
    with pytest.raises(ConfigError, match="one MPI world, and its commands run one after the other"):
        added(step(), step(), executor=SlurmExecutor(components=[SlurmFields()], launcher="srun"))


def test_steps_of_a_task_with_gpus_have_their_own():
    _, text = added(step(name="two", gpus=2), step(name="none"), executor=SlurmExecutor(gpus_per_node="a100:2"))
    assert "--exact --mem=0M --gpus=2" in text and "--exact --mem=0M --gpus=0" in text and "#SBATCH --gpus-per-node=a100:2" in text


def test_a_group_without_needs_of_its_own_is_left_as_it_was():
    kept, text = added(Script(inline="true"), step(name="b"), executor=SlurmExecutor(ntasks=2))
    assert kept.executor == {"type": "slurm", "ntasks": 2} and [c["name"] for c in kept.payload["commands"]] == ["script", "b"]
    assert not any("ntasks" in command for command in kept.payload["commands"]) and "--mem=0M" in text


@pytest.mark.parametrize(
    ("steps", "executor", "options", "says"),
    [
        (
            [{"cpus_per_task": 3}, {}],
            SlurmExecutor(cpus_per_task=2),
            {},
            "cores side by side, and cpus_per_task=2 gives 2: .* leave cpus_per_task out",
        ),
        ([{"cpus_per_task": 3}, {}], SlurmExecutor(nodes=1, ntasks=3), {}, "need 4 cores side by side, and ntasks=3, nodes=1 gives 3"),
        ([{"memory_mb": 300}, {"memory_mb": 300}], SlurmExecutor(mem="500M"), {}, "need 600 MB together, and the task has 500"),
        ([{"memory_mb": 300}, {"memory_mb": 300}], None, {"memory_mb": 400}, "need 600 MB together, and the task has 400"),
        ([{"memory_mb": 300}, {}], None, {}, "step 'script-2' says no memory_mb, and others do"),
        ([{"ntasks": 2}], None, {}, "ntasks=2 needs a launcher"),
        ([{"gpus": 2}, {"gpus": 1}], SlurmExecutor(gpus=2), {}, "need 3 GPUs together, and the task has 2"),
        ([{"cpus_per_task": 1}, {}], SlurmExecutor(gpus_per_node="a100:2"), {}, "take all of them one after the other: say Step"),
        ([{}, {}], LocalExecutor(cores=4, gpus=("0", "1")), {"gpus": 2}, "take all of them one after the other"),
        ([{"gpus": 2}, {"gpus": 1}], LocalExecutor(cores=4, gpus=("0", "1")), {}, "wants 3 GPUs, and this executor has 2"),
        ([{"name": "a"}, {"name": "a"}], None, {}, "two steps of one group are called 'a'"),
        ([{"cpus_per_task": 30}], LocalExecutor(cores=4), {}, "wants 1 x 30 cores, and this executor has 4"),
    ],
)
def test_what_could_only_run_one_after_the_other_is_refused(steps, executor, options, says):
    with pytest.raises(ConfigError, match=says):
        added(*(step(**needs) for needs in steps), executor=executor, **options)


def test_more_than_is_needed_is_given_and_whole_nodes_are_not_counted():
    for executor in (
        SlurmExecutor(ntasks=8),
        SlurmExecutor(exclusive=True),
        SlurmExecutor(nodes="1-2"),
        SlurmExecutor(ntasks=4, cpus_per_task=2, mem="1G"),
        *(SlurmExecutor(ntasks=8, mem=whole) for whole in (0, "0", "0K", "0T")),
    ):
        kept, _ = added(step(cpus_per_task=6, memory_mb=10), step(memory_mb=10), executor=executor)
        assert from_json(kept.executor) == executor


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        ({"cpus_per_task": 0}, "Step.cpus_per_task=0: expected a whole number from 1"),
        ({"ntasks": "2"}, "Step.ntasks='2'"),
        ({"memory_mb": 1.5}, "Step.memory_mb=1.5"),
        ({"ntasks": True}, "Step.ntasks=True"),
        ({"gpus": -1}, "Step.gpus=-1: expected a whole number from 0"),
        ({"launcher": "sran"}, "Step.launcher='sran'; did you mean 'srun'"),
        ({"name": "a/b"}, "Step.name: 'a/b' names a command's log file"),
        ({"name": ""}, "Step.name: '' names a command's log file"),
    ],
)
def test_a_wrong_need_is_refused_when_the_step_is_made(needs, says):
    with pytest.raises(ConfigError, match=says):
        step(**needs)
    with pytest.raises(ConfigError, match="expected a Script, got str"):
        Step("x.sh")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="one command of a group"):
        Experiment("g").add(step())


def test_steps_count_in_the_budget_of_this_host():
    kept, _ = added(step(cpus_per_task=2, memory_mb=10), step(memory_mb=20), executor=LocalExecutor(cores=4))
    executor = from_json(kept.executor)
    assert (executor.ntasks, executor.cpus_per_task, kept.resources["memory_mb"]) == (1, 3, 30)


@pytest.mark.parametrize(("mode", "wanted"), [("parallel", ["7,9", "3", ""]), ("sequential", ["7,9", "7", ""])])
def test_gpus_of_this_host_are_dealt_out_among_the_steps(mode, wanted):
    exp = Experiment("gpus", executor=LocalExecutor(cores=4, gpus=["7", "9", "3"]))
    show = Script(inline="echo $CUDA_VISIBLE_DEVICES")
    exp.add([Step(show, name="a", gpus=2), Step(show, name="b", gpus=1), Step(show, name="c")], name="t", mode=mode)
    assert exp.run(quiet=True).exit_status() == 0
    assert [exp.logs("t", command=name).strip() for name in "abc"] == wanted


def test_steps_of_this_host_run_side_by_side_each_with_its_threads(tmp_path):
    exp = Experiment("here", executor=LocalExecutor(cores=4))
    meet = [f"touch {a}; until [ -e {b} ]; do sleep 0.02; done; echo $POLARS_MAX_THREADS" for a, b in (("left", "right"), ("right", "left"))]
    exp.add([Step(Script(inline=meet[0]), name="l", cpus_per_task=3), Step(Script(inline=meet[1]), name="r")], name="two", mode="parallel")
    assert exp.run().exit_status() == 0
    assert (exp.logs("two", command="l"), exp.logs("two", command="r")) == ("3\n", "1\n")
