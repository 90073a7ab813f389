"""Tasks from what is known of a stage's inputs: pure, so checked as numbers."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.compiler.default import NONE
from hpcflow.compiler.policy import optimize
from hpcflow.plan.physical import ExchangeLeaf, PartitionRun
from hpcflow.plan.stages import split_stages
from hpcflow.runtime.task_making import KnownInputs, make_tasks
from tests.compiler.programs import context, dag, table


def known(plan, owners, sizes, target=1000):
    return KnownInputs(
        splits=lambda vertex: (),
        owners=dict.fromkeys(plan.exchanges, owners),
        sizes={edge: {p: (size, size) for p, size in enumerate(sizes)} for edge in plan.exchanges},
        blocks=lambda leaf: (),
        target_bytes=target,
        tasks_per_owner=1,
    )


def last_stage(dataset):
    made = context()
    plan = split_stages(optimize(dag(dataset), NONE, made)[0], made.default_partitions)
    return plan, plan.stages[-1]


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=20), st.integers(1, 4))
def test_tasks_cover_all_partitions_once_in_order_where_they_are(sizes, workers):
    plan, stage = last_stage(table().group_by("k").agg(pl.col("v").median()))
    owners = tuple(p * workers // len(sizes) + 1 for p in range(len(sizes)))
    tasks = make_tasks(plan, stage, known(plan, owners, sizes))
    runs = [ref for task in tasks for _, ref in task.spec.reads]
    assert [p for run in runs for p in range(run.start, run.stop)] == list(range(len(sizes)))
    assert [task.spec.index for task in tasks] == list(range(len(tasks)))
    for task, run in zip(tasks, runs, strict=True):
        assert {task.rank} == set(owners[run.start : run.stop])


def test_the_two_inputs_of_a_join_are_read_in_step():
    plan, stage = last_stage(table().join(table(), on="k"))
    tasks = make_tasks(plan, stage, known(plan, (1, 1, 2, 2), (2000, 2000, 1, 1)))
    for task in tasks:
        (one, left), (two, right) = task.spec.reads
        assert isinstance(one, ExchangeLeaf) and isinstance(two, ExchangeLeaf) and one != two
        assert left == right
    assert [task.spec.reads[0][1] for task in tasks] == [PartitionRun(0, 1), PartitionRun(1, 2), PartitionRun(2, 4)]
