"""What is submitted together, and how a Slurm array is worded: golden."""

from dataclasses import replace
from pathlib import Path

import pytest

from hpcflow.errors import ConfigError
from hpcflow.launch.config.script import Script
from hpcflow.launch.executors import slurm, slurm_array
from hpcflow.launch.executors.base import Batch, SubmitLimitError, batch_of
from hpcflow.launch.executors.local import LocalExecutor
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.executors.slurm_fields import SlurmFields
from hpcflow.launch.executors.slurm_query import SEPARATOR, parse_squeue
from hpcflow.launch.experiment.driver import UNLIMITED, Driver
from hpcflow.launch.experiment.experiment import Experiment
from hpcflow.launch.experiment.fan_out import Ready, plan
from hpcflow.launch.experiment.lease import Lease
from hpcflow.launch.experiment.model import Task
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.request import Command, JobRequest


@pytest.fixture(autouse=True)
def arrays_of_a_thousand(no_slurm, monkeypatch):
    monkeypatch.setattr(slurm.commands, "max_array_size", lambda: 1000)


def ready(name, executor, key=None, number=1, **fields):
    request = JobRequest(key or "not-yet", name, number, f"/x/tasks/{name}/attempts/{number}", (Command(("true",)),), **fields)
    return Ready(Task(name, name, {}, {}), number, request, executor, key is not None)


def shape(groups):
    return [("batch" if g.key else "alone", [r.task.name for r in g.members.values()]) for g in groups]


def test_equal_tasks_are_a_batch_and_different_ones_are_not():
    small, big = SlurmExecutor(mem="50M"), SlurmExecutor(mem="9G")
    found = plan([ready("a", small), ready("b", big), ready("c", small), ready("d", LocalExecutor()), ready("e", LocalExecutor())], "x", UNLIMITED)
    assert shape(found) == [("batch", ["a", "c"]), ("alone", ["b"]), ("alone", ["d"]), ("alone", ["e"])]
    keys = [r.request.key for r in found[0].members.values()]
    assert [batch_of(key) for key in keys] == [(found[0].key, 0), (found[0].key, 1)] and found[0].key.startswith("x-")


def test_what_needs_more_or_waits_for_something_else_is_another_job():
    one = SlurmExecutor()
    after = replace(one, dependency={"afterok": ("12_0",)})
    different = [ready("a", one), ready("b", one, ntasks=2), ready("c", one, memory_mb=5), ready("d", after), ready("e", one, stop_budget=1)]
    assert {kind for kind, _ in shape(plan(different, "x", UNLIMITED))} == {"alone"}
    assert shape(plan([ready("a", SlurmExecutor(components=(SlurmFields(),), launcher="srun"))] * 2, "x", UNLIMITED))[0][0] == "alone"


def test_a_batch_is_no_larger_than_arrays_and_limits_allow(monkeypatch):
    many = [ready(f"t{i}", SlurmExecutor()) for i in range(5)]
    assert [len(g.members) for g in plan(many, "x", 2)] == [2, 2, 1]
    monkeypatch.setattr(slurm.commands, "max_array_size", lambda: 1)  # a site without arrays
    assert {kind for kind, _ in shape(plan(many, "x", UNLIMITED))} == {"alone"}


def test_announced_elements_are_submitted_under_their_keys_and_indices():
    executor = SlurmExecutor()
    found = plan([ready("a", executor, "x-1_4"), ready("b", executor), ready("c", executor, "x-1_7"), ready("d", executor, "x-2-1")], "x", UNLIMITED)
    assert [(g.key, list(g.members)) for g in found if g.key] == [("x-1", [4, 7])]
    assert shape(found) == [("batch", ["a", "c"]), ("alone", ["b"]), ("alone", ["d"])]


def test_an_array_finds_its_elements_by_links_and_evaluates_no_text(tmp_path):
    executor = SlurmExecutor(mem="50M", array_limit=3)
    names = ["plain", "$(touch pwned) 'x'"]
    requests = [JobRequest(f"k-1_{i}", name, 1, f"{tmp_path}/tasks/{i}/attempts/1", (Command(("true",)),)) for i, name in enumerate(names)]
    batch = Batch("k-1", f"{tmp_path}/it's 100%/k-1", {i: executor.render(r) for i, r in zip((0, 5), requests, strict=True)})
    text = executor.render_batch(batch)
    assert (
        text
        == f"""#!/bin/sh
#SBATCH --job-name=plain.k-1
#SBATCH --output="{tmp_path}/it's 100%%/k-1/elements/%a/logs/log.txt"
#SBATCH --array=0,5%3
#SBATCH --open-mode=append
#SBATCH --export=NIL
#SBATCH --no-requeue
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=50M
# A fan-out: element N runs the script of its own attempt, to whose directory `elements/N` is a link. Its log is there too.
hf_element='{tmp_path}/it'"'"'s 100%/k-1'/elements/$SLURM_ARRAY_TASK_ID
[ -f "$hf_element/script.sh" ] || {{ echo "hpcflow: there is no $hf_element/script.sh" >&2; exit 73; }}
exec /bin/sh "$hf_element/script.sh"
"""
    )
    script = slurm_array.write(batch, text)
    links = {path.name: path.readlink() for path in (script.parent / "elements").iterdir()}
    assert links == {"0": Path(requests[0].directory), "5": Path(requests[1].directory)}
    assert slurm_array.write(batch, text) == script  # again, after a crash


def test_squeue_gives_the_key_of_an_element():
    line = SEPARATOR.join(("12_3", "15", "RUNNING", "None", "N/A", "a.b name.ab-1"))
    other = SEPARATOR.join(("13", "13", "RUNNING", "None", "N/A", "name.ab-2-1"))
    assert [each.key for each in parse_squeue(f"{line}\n{other}\n")] == ["ab-1_3", "ab-2-1"]


def test_a_limit_below_one_is_refused():
    with pytest.raises(ConfigError, match="array_limit=0"):
        SlurmExecutor(array_limit=0)


def test_a_submit_limit_halves_the_batch_and_then_waits(monkeypatch):
    sizes: list[int] = []

    def submit_batch(self, batch):
        sizes.append(len(batch.elements))
        raise SubmitLimitError("too many")

    def submit(self, rendered):
        sizes.append(1)
        raise SubmitLimitError("too many")

    monkeypatch.setattr(SlurmExecutor, "submit_batch", submit_batch)
    monkeypatch.setattr(SlurmExecutor, "submit", submit)
    exp = Experiment("many", executor=SlurmExecutor())
    for i in range(8):
        exp.add(Script(inline=f"echo {i}"))
    records = Records.create(exp.directory, exp.spec())
    driver = Driver(records, Lease.take(exp.directory))
    while driver._act():
        pass
    assert sizes == [8, 4, 2, 1]
    assert not driver._act() and len(sizes) == 4  # it waits
