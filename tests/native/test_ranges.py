"""Range partitions follow Polars' sort order, and compiled user partitioners are checked."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.errors import HpcflowError, SchemaError
from hpcflow.native import range_partition_ids, reference, user_partition_ids
from tests.thorough import spread

from .tables import VALUES, column

SORTED_SHAPES = ("plain", "nulls", "all_null", "sliced_nulls", "empty")
SORTED_BY = [name for name in VALUES if name not in ("map",)]
FLOATS = st.sampled_from([None, float("nan"), -0.0, 0.0, 1.0, -1.0, float("inf")])
WORDS = st.sampled_from([None, "", "a", "a\0", "ab", "abcdefgh", "abcdefghi", "abcdefgh" * 3, "é"])
KEYS = {
    "f": (pl.Float64, FLOATS),
    "i": (pl.Int16, st.sampled_from([None, -3, 0, 1])),
    "s": (pl.String, WORDS),
    "b": (pl.Boolean, st.sampled_from([None, True, False])),
}


@st.composite
def sorted_cuts(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame, list[bool], list[bool], list[int]]:
    names = draw(st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=3, unique=True))
    rows = draw(st.integers(1, 40))
    df = pl.DataFrame({name: pl.Series(draw(st.lists(KEYS[name][1], min_size=rows, max_size=rows)), dtype=KEYS[name][0]) for name in names})
    descending, nulls_last = (draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names))) for _ in range(2))
    at = draw(st.lists(st.integers(0, rows - 1), max_size=8, unique=True))
    ordered = df.with_row_index("__at").sort(names, descending=descending, nulls_last=nulls_last, maintain_order=True)
    cuts = ordered[sorted(at)] if at else ordered[:0]
    return df, cuts.select(names), descending, nulls_last, cuts["__at"].to_list()


@given(sorted_cuts(), st.integers(0, 2**40))
def test_range_ids_equal_a_sort_by_polars(case: tuple[pl.DataFrame, pl.DataFrame, list[bool], list[bool], list[int]], start: int) -> None:
    df, cuts, descending, nulls_last, positions = case
    moved = [position + start for position in positions]
    with_ties = range_partition_ids(df, cuts, descending, nulls_last, start, moved)
    assert with_ties.tolist() == reference.range_partition_ids(df, cuts, descending, nulls_last, start, moved).tolist()
    without = range_partition_ids(df, cuts, descending, nulls_last)
    assert without.tolist() == reference.range_partition_ids(df, cuts, descending, nulls_last).tolist()


@pytest.mark.parametrize(("type_name", "shape", "descending"), spread(itertools.product(SORTED_BY, SORTED_SHAPES, [False, True]), every=7))
def test_every_type_is_a_sort_key(type_name: str, shape: str, descending: bool) -> None:
    df = column(type_name, shape, 80).alias("k").to_frame().with_row_index("__at")
    ordered = df.sort("k", descending=descending, nulls_last=descending, maintain_order=True)
    cut_rows = [position for position in (5, 6, 30, 31, 50) if position < df.height]
    cuts = ordered[cut_rows] if cut_rows else ordered[:0]
    ids = range_partition_ids(df.select("k"), cuts.select("k"), [descending], [descending], 0, cuts["__at"].to_list())
    want = np.searchsorted(cut_rows, np.arange(df.height))
    assert ordered.select(pl.col("__at")).with_columns(id=pl.Series(ids[ordered["__at"].to_numpy()]))["id"].to_list() == want.tolist()


def test_a_hot_key_spans_neighbours_by_position() -> None:
    keys = pl.DataFrame({"k": [7] * 12})
    cuts = pl.DataFrame({"k": [7, 7, 7]})
    assert range_partition_ids(keys, cuts, [False], [False], 100, [102, 105, 108]).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert range_partition_ids(keys, cuts, [True], [True]).tolist() == [0] * 12


def test_no_splitters_make_one_partition() -> None:
    keys = pl.DataFrame({"k": [3, 1], "s": ["x", None]})
    assert range_partition_ids(keys, keys[:0], [False, True], [False, True], 0, []).tolist() == [0, 0]


def test_unsorted_splitters_and_other_types_are_refused() -> None:
    keys = pl.DataFrame({"k": [1, 2]})
    with pytest.raises(ValueError, match="not in sort order"):
        range_partition_ids(keys, pl.DataFrame({"k": [5, 3]}), [False], [False])
    with pytest.raises(SchemaError, match="splitters' schema"):
        range_partition_ids(keys, pl.DataFrame({"k": [5.0]}), [False], [False])
    with pytest.raises(ValueError, match="1 sort keys need as many flags"):
        range_partition_ids(keys, pl.DataFrame({"k": [5]}), [False, True], [False])
    with pytest.raises(ValueError, match="2 positions for 1 splitters"):
        range_partition_ids(keys, pl.DataFrame({"k": [5]}), [False], [False], 0, [1, 2])


@pytest.mark.thorough
def test_a_compiled_partitioner_runs_in_the_native_loop() -> None:
    numba = pytest.importorskip("numba")
    types = numba.types

    @numba.cfunc(types.void(types.int64, types.CPointer(types.voidptr), types.int64, types.CPointer(types.uint32)))  # type: ignore[untyped-decorator]
    def two_columns(rows, columns, partitions, out):  # type: ignore[no-untyped-def]
        keys = numba.carray(columns[0], (rows,), dtype=np.int64)
        values = numba.carray(columns[1], (rows,), dtype=np.float32)
        ids = numba.carray(out, (rows,))
        for i in range(rows):
            ids[i] = (keys[i] + int(values[i])) % (partitions + 1)

    df = pl.DataFrame({"k": np.arange(150_000), "v": np.ones(150_000, dtype=np.float32)})
    few = df.filter(pl.col("k") % 5 != 3)
    assert user_partition_ids(two_columns.address, few[3:], 4).tolist() == ((few["k"][3:].to_numpy() + 1) % 5).tolist()
    with pytest.raises(HpcflowError, match="row 3: the function gave partition 4, of 4 partitions"):
        user_partition_ids(two_columns.address, df, 4)
    with pytest.raises(SchemaError, match=r"'k'.*without nulls"):
        user_partition_ids(two_columns.address, pl.DataFrame({"k": [1, None], "v": [1.0, 1.0]}), 4)
    with pytest.raises(SchemaError, match=r"'k'.*fixed-width"):
        user_partition_ids(two_columns.address, pl.DataFrame({"k": ["x"]}), 4)
