"""Stages: where a program is cut, and what each part reads and fills."""

import polars as pl
import pytest

from hpcflow.compiler.default import DEFAULT
from hpcflow.compiler.policy import optimize
from hpcflow.ir.properties import DataFlow, DataStore
from hpcflow.plan.physical import BlocksLeaf, BroadcastLeaf, DriverLeaf, ExchangeLeaf, ExchangeOutput, SinkOutput, StoreOutput
from hpcflow.plan.stages import split_stages
from tests.compiler.programs import context, dag, parquet, table

OTHER = {"k": pl.Int64(), "z": pl.Int64()}


def plan(*datasets, **options):
    made = context(broadcast_threshold_bytes=0, **options)
    return split_stages(optimize(dag(*datasets), DEFAULT, made)[0], made.default_partitions)


def labels(*datasets):
    return [stage.label for stage in plan(*datasets).stages]


CUTS = {
    "row-wise operators are one stage": (lambda t: t.filter(pl.col("k") > 1).select("v"), ["from_memory > filter > select"]),
    "a shuffle is a cut": (lambda t: t.repartition(by="k").select("k"), ["from_memory", "repartition > select"]),
    "sums are combined in the stage before": (
        lambda t: t.group_by("k").agg(pl.col("v").sum()),
        ["from_memory > partial_group_by", "final_group_by"],
    ),
    "a sort stores, partitions and sorts": (lambda t: t.sort("k"), ["from_memory", "partition by range", "sort"]),
    "a pulled shuffle stores first": (
        lambda t: t.repartition(by="k").with_property(data_flow=DataFlow.PULL),
        ["from_memory", "partition by hash", "repartition"],
    ),
    "scratch is a cut": (
        lambda t: t.filter(pl.col("k") > 1).with_columns(x=pl.lit(1)).with_property(data_store=DataStore.SCRATCH),
        ["from_memory > filter", "with_columns"],
    ),
    "positions are a cut": (lambda t: t.with_row_index(), ["from_memory", "with_row_index"]),
}


@pytest.mark.parametrize("name", CUTS)
def test_where_a_program_is_cut(name):
    program, wanted = CUTS[name]
    assert labels(program(table())) == wanted


def test_a_join_reads_two_exchanges_in_one_stage():
    stages = plan(table().join(table(**OTHER), on="k")).stages
    assert [type(leaf) for leaf in stages[-1].leaves()] == [ExchangeLeaf, ExchangeLeaf]
    assert stages[-1].depends == (0, 1)


def test_a_broadcast_side_is_read_whole_by_every_task():
    made = context()
    joined = table(1000).join(table(**OTHER), on="k", how="left")
    stages = split_stages(optimize(dag(joined), DEFAULT, made)[0], 8).stages
    assert [type(leaf) for leaf in stages[-1].leaves()] == [DriverLeaf, BroadcastLeaf]


def test_a_shared_dataset_is_stored_once_with_a_statistic_for_each_reader():
    shared = table().filter(pl.col("k") > 1)
    first = plan(shared.sort("k"), shared.sort("v"), shared.repartition(by="s").with_property(data_flow=DataFlow.PULL)).stages[0]
    (store,) = first.outputs
    assert isinstance(store, StoreOutput)
    assert sorted(kind for _, kind in store.statistics) == ["histogram", "sample", "sample"]


def test_every_stage_comes_after_those_it_depends_on(tmp_path):
    t = parquet(tmp_path / "t.parquet")
    cached = t.group_by("s").agg(pl.len().alias("n")).cache()
    made = plan(t.join(cached, on="s").sort("n"), cached, t.with_columns(x=pl.col("v") - pl.col("v").mean()).tail(3))
    for stage in made.stages:
        assert all(other < stage.id for other in stage.depends)
        for leaf in stage.leaves():
            if isinstance(leaf, BlocksLeaf):
                assert any(isinstance(output, StoreOutput) for output in made.stages[leaf.stage].outputs)
        for output in stage.outputs:
            if isinstance(output, ExchangeOutput):
                assert made.exchanges[output.edge].producer == stage.id
    assert len(made.results) == 3
    assert [made.exchanges[edge].to_driver for edge in made.results.values()] == [True] * 3


def test_the_stricter_properties_of_fused_operators_hold():
    t = table().with_property(slots=2, placement=(0, 1)).filter(pl.col("k") > 1).with_property(memory_bytes=100, placement=(1, 2))
    (stage,) = plan(t).stages
    assert (stage.properties.slots, stage.properties.memory_bytes, stage.properties.placement) == (2, 100, (1,))


def test_a_sink_is_the_output_of_its_stage(tmp_path):
    from hpcflow.api import building
    from hpcflow.ir.operators.write_parquet import WriteParquet

    t = table()
    made = split_stages(building.to_dag([t._then(WriteParquet.to(tmp_path / "out", t.schema))], {}), 8)
    assert [type(output) for output in made.stages[0].outputs] == [SinkOutput]
    assert list(made.ends.values()) == [0]


def test_rows_that_a_stage_caches_are_counted_there():
    from hpcflow.api import building
    from hpcflow.ir.operators.concat import Keep

    cached = table().filter(pl.col("k") > 1).cache()
    made = split_stages(building.to_dag([cached._then(Keep())], {}), 8)
    assert [stage.label for stage in made.stages] == ["from_memory > filter > cache"]
    assert list(made.ends.values()) == [0]
