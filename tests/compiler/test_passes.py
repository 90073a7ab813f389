"""Each pass as the text of a small program before and after it."""

import textwrap

import polars as pl
import pytest

from hpcflow.compiler.passes.annotate import set_compression, set_data_flow, set_default_parallelism
from hpcflow.compiler.passes.broadcast_join import broadcast_small_sides
from hpcflow.compiler.passes.combine_before_shuffle import combine_before_shuffle
from hpcflow.compiler.passes.common_subexpressions import merge_common_subexpressions
from hpcflow.compiler.passes.drop_redundant_shuffle import drop_redundant_shuffles
from hpcflow.compiler.passes.predicate_pushdown import push_predicates
from hpcflow.compiler.passes.projection_pushdown import push_projections
from hpcflow.ir.properties import DataStore, Pattern
from tests.compiler.programs import after, dag, parquet, table, text


def turns(run, dataset, wanted, *more, **options):
    """The pass makes of the program what `wanted` shows."""
    before, got = text(dag(dataset, *more)), after(run, dataset, *more, **options)
    wanted = textwrap.dedent(wanted).strip()
    assert got == wanted, f"before\n{before}\n\ngot\n{got}\n\nwanted\n{wanted}"


def stays(run, *datasets, **options):
    assert after(run, *datasets, **options) == text(dag(*datasets))


OTHER = {"k": pl.Int64(), "z": pl.Int64()}

# -- predicate_pushdown -----------------------------------------------------------------------------------------------------------------------------


def test_a_filter_passes_columns_that_it_does_not_read():
    turns(
        push_predicates,
        table().with_columns(x=pl.col("v") * 2).filter(pl.col("k") > 1),
        """
        collect#1
          with_columns#2 expressions=[[(col("v")) * (dyn int: 2)].alias("x")]  <- gather
            filter#3 predicate=[(col("k")) > (dyn int: 1)]
              from_memory#4 table of the driver, 3 columns, 4 rows
        """,
    )


def test_a_filter_passes_a_sort_and_goes_to_the_left_of_a_join():
    turns(
        push_predicates,
        table().join(table(**OTHER), on="k", how="left").sort("k").filter(pl.col("v") > 1),
        """
        collect#1
          sort#2 col("k")  <- gather
            join#3 how=left, on k = k  <- range shuffle(col("k"))
              filter#4 predicate=[(col("v")) > (dyn int: 1)]  <- hash shuffle(col("k"))
                from_memory#5 table of the driver, 3 columns, 4 rows
              from_memory#6 table of the driver, 2 columns, 4 rows  <- hash shuffle(col("k"))
        """,
    )


def test_a_filter_goes_to_the_right_of_an_inner_join():
    turns(
        push_predicates,
        table().join(table(**OTHER), on="k").filter(pl.col("z") > 1),
        """
        collect#1
          join#2 how=inner, on k = k  <- gather
            from_memory#3 table of the driver, 3 columns, 4 rows  <- hash shuffle(col("k"))
            filter#4 predicate=[(col("z")) > (dyn int: 1)]  <- hash shuffle(col("k"))
              from_memory#5 table of the driver, 2 columns, 4 rows
        """,
    )


@pytest.mark.parametrize(
    "program",
    [
        lambda t, o: t.with_columns(k=pl.col("v") * 2).filter(pl.col("k") > 1),
        lambda t, o: t.select(k=pl.col("v")).filter(pl.col("k") > 1),
        lambda t, o: t.join(o, on="k", how="left").filter(pl.col("z") > 1),
        lambda t, o: t.join(o, on="k", how="full").filter(pl.col("v") > 1),
        lambda t, o: t.join(o, on="k", how="right").filter(pl.col("v") > 1),
        lambda t, o: t.group_by("k").agg(pl.col("v").sum()).filter(pl.col("v") > 1),
        lambda t, o: t.unique("k", keep="none").filter(pl.col("v") > 1),
        lambda t, o: t.with_row_index().filter(pl.col("v") > 1),
        lambda t, o: t.head(3).filter(pl.col("v") > 1),
        lambda t, o: t.cache().filter(pl.col("v") > 1),
        lambda t, o: t.map_batches(lambda df: df, schema=t.schema).filter(pl.col("v") > 1),
    ],
)
def test_a_filter_stays_above_what_it_depends_on(program):
    stays(push_predicates, program(table(), table(**OTHER)))


def test_a_filter_on_a_shared_dataset_stays():
    shared = table().with_columns(x=pl.lit(1))
    stays(push_predicates, shared.filter(pl.col("k") > 1), shared)


def test_a_file_is_told_of_the_filter(tmp_path):
    assert 'row groups where [(col("k")) > (dyn int: 1)]' in after(push_predicates, parquet(tmp_path / "t.parquet").filter(pl.col("k") > 1))


# -- projection_pushdown ----------------------------------------------------------------------------------------------------------------------------


def test_only_needed_columns_are_read_computed_and_moved():
    turns(
        push_projections,
        table().with_columns(x=pl.col("v") * 2, y=pl.col("s")).sort("k").select("x"),
        """
        collect#1
          select#2 expressions=[col("x")]  <- gather
            sort#3 col("k")
              select#4 expressions=[col("k"), col("x")]  <- range shuffle(col("k"))
                with_columns#5 expressions=[[(col("v")) * (dyn int: 2)].alias("x")]
                  from_memory#6 table of the driver, 2 columns, 4 rows
        """,
    )


def test_aggregations_that_nobody_reads_are_dropped():
    turns(
        push_projections,
        table().group_by("k").agg(pl.col("v").sum(), pl.col("s").first()).select("k", "v"),
        """
        collect#1
          select#2 expressions=[col("k"), col("v")]  <- gather
            group_by#3 keys=[k], aggregations=[col("v").sum()]
              from_memory#4 table of the driver, 2 columns, 4 rows  <- hash shuffle(col("k"))
        """,
    )


def test_a_replaced_column_is_not_read_and_keeps_its_place():
    turns(
        push_projections,
        table().with_columns(k=pl.lit(1)),
        """
        collect#1
          select#2 expressions=[col("k"), col("v"), col("s")]  <- gather
            with_columns#3 expressions=[dyn int: 1.alias("k")]
              from_memory#4 table of the driver, 2 columns, 4 rows
        """,
    )


def test_what_all_readers_need_is_kept():
    shared = table().filter(pl.col("k") > 1)
    assert "3 columns" in after(push_projections, shared.select("v"), shared.select("s"))
    assert "2 columns" in after(push_projections, shared.select("v"), shared.select("k"))


def test_user_code_sees_all_columns():
    t = table()
    stays(push_projections, t.map_batches(lambda df: df, schema=t.schema).select("k"))
    stays(push_projections, t.repartition(2, partitioner=lambda df: df["v"]))


# -- common_subexpressions --------------------------------------------------------------------------------------------------------------------------


def test_equal_steps_of_one_source_become_one():
    t = table()
    turns(
        merge_common_subexpressions,
        t.filter(pl.col("k") > 1).sort("v"),
        """
        collect#1
          sort#2 col("v")  <- gather
            filter#3 predicate=[(col("k")) > (dyn int: 1)]  <- range shuffle(col("v"))
              from_memory#4 table of the driver, 3 columns, 4 rows
        collect#5
          select#6 expressions=[col("v")]  <- gather
            filter#3 (above)
        """,
        t.filter(pl.col("k") > 1).select("v"),
    )


def test_steps_that_differ_stay_two():
    t = table()
    stays(merge_common_subexpressions, t.filter(pl.col("k") > 1), t.filter(pl.col("k") > 2))
    stays(merge_common_subexpressions, t.sort("k"), t.sort("k", descending=True))
    stays(merge_common_subexpressions, table(), table())


def test_user_functions_are_merged_only_where_declared_deterministic():
    t = table()

    def function(df):
        return df

    stays(merge_common_subexpressions, *(t.map_batches(function, schema=t.schema) for _ in range(2)))
    assert "(above)" in after(merge_common_subexpressions, *(t.map_batches(function, schema=t.schema, deterministic=True) for _ in range(2)))
    stays(merge_common_subexpressions, *(t.map_batches(lambda df: df, schema=t.schema, deterministic=True) for _ in range(2)))


# -- default_parallelism, data_flow, compression ----------------------------------------------------------------------------------------------------


def test_shuffles_get_partitions_for_all_workers():
    assert 'hash shuffle(col("k")) x12' in after(set_default_parallelism, table().group_by("k").agg(), workers=3)
    assert " x7" in after(set_default_parallelism, table().group_by("k").agg(), workers=7, partitions_per_worker=1)
    both = after(set_default_parallelism, table().repartition(5, by="k").join(table(), on="k"))
    assert both.count(" x8") == 2
    assert both.count(" x5") == 1


def test_a_range_shuffle_is_pulled():
    assert 'range shuffle(col("k")) pull' in after(set_data_flow, table().sort("k"))
    assert "pull" not in after(set_data_flow, table().group_by("k").agg())


def test_frames_are_compressed_between_hosts_or_where_asked():
    assert "lz4" in after(set_compression, table().sort("k"), nodes=2)
    stays(set_compression, table().sort("k"), nodes=1)
    assert "zstd" in after(set_compression, table().sort("k"), compression="zstd")
    stays(set_compression, table().sort("k"), nodes=2, compression="none")
    chosen = table().group_by("k").agg().with_property(compression="zstd")
    assert "zstd" in after(set_compression, chosen, compression="lz4")


# -- broadcast_join ---------------------------------------------------------------------------------------------------------------------------------


def test_a_small_side_is_broadcast():
    turns(
        broadcast_small_sides,
        table(1000).join(table(**OTHER), on="k", how="left"),
        """
        collect#1
          join#2 how=left, on k = k  <- gather
            from_memory#3 table of the driver, 3 columns, 1,000 rows
            from_memory#4 table of the driver, 2 columns, 4 rows  <- broadcast
        """,
    )


@pytest.mark.parametrize("how", ["full", "right"])
def test_a_side_whose_unmatched_rows_count_is_not_broadcast(how):
    stays(broadcast_small_sides, table(1000).join(table(**OTHER), on="k", how=how))


def test_a_side_is_broadcast_only_below_the_threshold_and_where_nobody_forbids_it():
    stays(broadcast_small_sides, table(1000).join(table(**OTHER), on="k"), broadcast_threshold_bytes=0)
    stays(broadcast_small_sides, table(1000).join(table(**OTHER), on="k").with_property(input=1, pattern=Pattern.HASH_SHUFFLE))
    stays(broadcast_small_sides, table(1000).join(table(1000), on="k"), workers=7)


# -- drop_redundant_shuffle -------------------------------------------------------------------------------------------------------------------------


def test_a_second_shuffle_by_the_same_keys_is_dropped():
    turns(
        drop_redundant_shuffles,
        table().group_by("k").agg(n=pl.len()).filter(pl.col("n") > 1).join(table(**OTHER), on="k"),
        """
        collect#1
          join#2 how=inner, on k = k  <- gather
            filter#3 predicate=[(col("n")) > (dyn int: 1)]
              group_by#4 keys=[k], aggregations=[len().alias("n")]
                from_memory#5 table of the driver, 3 columns, 4 rows  <- hash shuffle(col("k"))
            from_memory#6 table of the driver, 2 columns, 4 rows  <- hash shuffle(col("k"))
        """,
    )


@pytest.mark.parametrize(
    "program",
    [
        lambda t: t.group_by("k", "v").agg(n=pl.len()).group_by("k").agg(pl.col("n").sum()),
        lambda t: t.group_by("k").agg(n=pl.len()).with_columns(k=pl.col("n")).group_by("k").agg(pl.col("n").sum()),
        lambda t: t.sort("k").group_by("k").agg(),
        lambda t: t.repartition(3, by="k").group_by("k").agg().repartition(3, by="k"),
        lambda t: t.join(t, on="k", how="full").group_by("k").agg(),
        lambda t: t.join(t, on="k", how="right").group_by("k").agg(),
        lambda t: t.group_by("k").agg(n=pl.len()).map_batches(lambda df: df).group_by("k").agg(),
    ],
)
def test_a_shuffle_that_is_needed_stays(program):
    made = program(table())
    assert after(drop_redundant_shuffles, made).count("hash shuffle") == text(dag(made)).count("hash shuffle")


def test_a_join_keeps_the_shuffle_of_rows_that_lie_in_blocks():
    groups = table().group_by("k").agg(n=pl.len())
    shared = groups.filter(pl.col("n") > 1).join(table(**OTHER), on="k")
    stays(drop_redundant_shuffles, shared, groups)
    stays(drop_redundant_shuffles, groups.filter(pl.col("n") > 1).with_property(data_store=DataStore.SCRATCH).join(table(**OTHER), on="k"))


# -- combine_before_shuffle -------------------------------------------------------------------------------------------------------------------------


def test_sums_are_combined_before_the_shuffle():
    got = after(combine_before_shuffle, table().group_by("k").agg(pl.col("v").sum()))
    assert [line.split("#")[0].strip() for line in got.splitlines()] == ["collect", "final_group_by", "partial_group_by", "from_memory"]
    assert "hash shuffle" in got.splitlines()[2]


def test_distinct_rows_are_combined_before_the_shuffle():
    turns(
        combine_before_shuffle,
        table().unique("k", keep="first"),
        """
        collect#1
          unique#2 subset=[k], keep=first  <- gather
            unique#3 subset=[k], keep=first, maintain_order=True, partial=True  <- hash shuffle(col("k"))
              from_memory#4 table of the driver, 3 columns, 4 rows
        """,
    )


@pytest.mark.parametrize(
    "program",
    [
        lambda t: t.group_by("k").agg(pl.col("v").median()),
        lambda t: t.group_by("k").agg(pl.col("v").sum(), m=pl.col("v").median()),
        lambda t: t.unique("k", keep="none"),
        lambda t: t.group_by("k").agg(pl.col("v").sum()).with_property(combiner=False),
    ],
)
def test_what_does_not_combine_is_left_alone(program):
    stays(combine_before_shuffle, program(table()))
