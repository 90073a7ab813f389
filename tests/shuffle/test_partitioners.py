"""Partitioners: pure, in range, balanced; users' mistakes are named."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.errors import ConfigError, SchemaError
from hpcflow.shuffle.partitioners import (
    HashPartitioner,
    NumbaPartitioner,
    RangePartitioner,
    RoundRobinPartitioner,
    SinglePartitioner,
    UserPartitioner,
    choose_splitters,
    sample_keys,
)

FRAME = pl.DataFrame({"k": [1, 2, 1, None], "v": [0.5, 1.5, 0.5, 2.5]})


def test_hash_sends_equal_keys_to_one_partition() -> None:
    ids = HashPartitioner(("k",), 8).partition_ids(FRAME, 0)
    assert ids.dtype == np.uint32 and ids[0] == ids[2] and (ids < 8).all()


def test_hash_ignores_position_and_other_columns() -> None:
    first = HashPartitioner(("k",), 8).partition_ids(FRAME, 0)
    assert (first == HashPartitioner(("k",), 8).partition_ids(FRAME.drop("v"), 77)).all()


def test_another_seed_cuts_a_partition_again() -> None:
    frame = pl.DataFrame({"k": range(10_000)})
    one = frame.filter(pl.Series(HashPartitioner(("k",), 4).partition_ids(frame, 0) == 2))
    counts = np.bincount(HashPartitioner(("k",), 4, seed=1).partition_ids(one, 0), minlength=4)
    assert counts.min() > 0.8 * counts.mean()


@pytest.mark.parametrize("start", [0, 1, 6, (5 << 40) + 3])
def test_round_robin_is_even_and_depends_on_position_only(start: int) -> None:
    dealer = RoundRobinPartitioner(3)
    frame = pl.DataFrame({"a": range(10)})
    ids = dealer.partition_ids(frame, start)
    assert np.bincount(ids, minlength=3).max() <= 4
    parts = [dealer.partition_ids(frame[:4], start), dealer.partition_ids(frame[4:], start + 4)]
    assert (np.concatenate(parts) == ids).all()


def test_round_robin_spreads_many_small_tasks() -> None:
    ids = [int(RoundRobinPartitioner(4).partition_ids(pl.DataFrame({"a": [1]}), task << 40)[0]) for task in range(12)]
    assert np.bincount(ids).tolist() == [3, 3, 3, 3]


def test_single_sends_everything_to_partition_zero() -> None:
    assert SinglePartitioner().partition_ids(FRAME, 5).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("returned", [[0, 1, 2, 1], np.array([0, 1, 2, 1]), pl.Series([0, 1, 2, 1]), np.array([0, 1, 2, 1], dtype=np.int8)])
def test_a_python_partitioner_may_return_any_integers(returned: Any) -> None:
    ids = UserPartitioner(lambda df: returned, 3).partition_ids(FRAME, 0)
    assert ids.dtype == np.uint32 and ids.tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([0, 1], r"shape \(2,\) for 4 rows"),
        (7, r"shape \(\) for 4 rows"),
        ([0.0, 1.0, 2.0, 0.0], "returned float64"),
        ([0, 1, 3, 0], "partition 3 for row 2; partitions are 0 to 2"),
        ([0, -1, 0, 0], "partition -1 for row 1"),
        (pl.Series([0, None, 1, 1]), "1 nulls"),
        (["a"] * 4, "returned <U1"),
    ],
)
def test_a_wrong_return_value_is_named(returned: Any, message: str) -> None:
    def by_region(df: pl.DataFrame) -> Any:
        return returned

    with pytest.raises(SchemaError, match=f"by_region.*{message}"):
        UserPartitioner(by_region, 3).partition_ids(FRAME, 0)


def test_an_empty_table_needs_no_ids() -> None:
    assert UserPartitioner(lambda df: [], 3).partition_ids(FRAME.clear(), 0).shape == (0,)


def test_numba_compiles_the_function_where_it_runs() -> None:
    pytest.importorskip("numba")
    partitioner = NumbaPartitioner(lambda k, v: k % 2 + (v > 1), ("k", "v"), 3)
    frame = FRAME.drop_nulls()
    assert partitioner.partition_ids(frame, 0).tolist() == [1, 1, 1]
    assert partitioner.partition_ids(frame.clear(), 0).shape == (0,)
    assert pickle.loads(pickle.dumps(NumbaPartitioner(_half, ("k",), 8))).partition_ids(frame, 0).tolist() == [0, 1, 0]


def _half(value: int) -> int:
    return value // 2


def test_numba_takes_an_already_jitted_function_and_dates() -> None:
    numba = pytest.importorskip("numba")
    frame = pl.DataFrame({"d": pl.Series([0, 9], dtype=pl.Int32).cast(pl.Date)})
    assert NumbaPartitioner(numba.njit(_half), ("d",), 8).partition_ids(frame, 0).tolist() == [0, 4]


def test_numba_takes_every_plain_type_and_many_rows() -> None:
    pytest.importorskip("numba")
    dtypes = [pl.Int8, pl.UInt16, pl.Int32, pl.UInt64, pl.Float32, pl.Float64, pl.Boolean]
    frame = pl.DataFrame([pl.Series(str(index), np.arange(100_000) % 2, dtype=dtype) for index, dtype in enumerate(dtypes)])
    ids = NumbaPartitioner(lambda a, b, c, d, e, f, g: int(a + b + c + d + e + f + g), tuple(frame.columns), 8).partition_ids(frame, 0)
    assert (ids == np.arange(100_000) % 2 * 7).all()


@pytest.mark.parametrize(
    ("function", "columns", "message"),
    [
        (lambda k: k, ("k",), "without nulls; 'k' has 1"),
        (lambda s: 0, ("s",), "'s' is String"),
        (lambda v: v, ("v",), "returns float64"),
        (lambda v, w: 0, ("v",), "takes 2 values, but 1 columns"),
        (lambda v: open("x"), ("v",), "Numba cannot compile"),  # noqa: SIM115
        (lambda v: int(v) + 1, ("v",), "returned partition 3 for row 3 .*; partitions are 0 to 2"),
        (lambda v: -1, ("v",), "returned partition -1 for row 0 .*; partitions are 0 to 2"),
    ],
)
def test_a_wrong_numba_partitioner_is_named(function: Any, columns: tuple[str, ...], message: str) -> None:
    pytest.importorskip("numba")
    with pytest.raises(SchemaError, match=message):
        NumbaPartitioner(function, columns, 3).partition_ids(FRAME.with_columns(s=pl.lit("x")), 0)


def test_without_numba_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ConfigError, match=r"hpcflow-mpi\[numba\]"):
        NumbaPartitioner(lambda v: 0, ("v",), 3).partition_ids(FRAME, 0)


def _partitions(frames: list[pl.DataFrame], count: int, descending: list[bool], nulls_last: list[bool], sampled: int) -> list[pl.DataFrame]:
    """Range-partition tasks by sampled splitters; the rows of each partition in order of position."""
    starts = np.concatenate([[0], np.cumsum([frame.height for frame in frames])]).tolist()
    names = frames[0].columns
    samples = [sample_keys(frame, names, sampled, start, seed=1) for frame, start in zip(frames, starts[:-1], strict=True)]
    splitters, positions = choose_splitters(samples, count, descending, nulls_last)
    partitioner = RangePartitioner(names, splitters, positions, descending=descending, nulls_last=nulls_last)
    ids = np.concatenate([partitioner.partition_ids(frame, start) for frame, start in zip(frames, starts[:-1], strict=True)])
    whole = pl.concat(frames)
    return [whole.filter(pl.Series(ids == partition, dtype=pl.Boolean)) for partition in range(count)]


KEY = st.none() | st.sampled_from([0.0, -0.0, 1.0, -1.5, 2.0, 3.0, float("inf"), float("nan")])
ROW = st.tuples(KEY, st.sampled_from(["", "a", "b", None]))


@given(st.lists(st.lists(ROW, max_size=8), min_size=1, max_size=4), st.integers(1, 5), st.booleans(), st.booleans(), st.integers(1, 6))
def test_sorting_range_partitions_one_by_one_sorts_the_whole(rows: list[Any], count: int, descending: bool, nulls_last: bool, sampled: int) -> None:
    frames = [pl.DataFrame(part, schema={"f": pl.Float64, "s": pl.String}, orient="row") for part in rows]
    down, last = [descending, not descending], [nulls_last, nulls_last]
    sort = {"by": ["f", "s"], "descending": down, "nulls_last": last, "maintain_order": True}
    parts = [part.sort(**sort) for part in _partitions(frames, count, down, last, sampled)]  # type: ignore[arg-type]
    assert pl.concat(parts).equals(pl.concat(frames).sort(**sort))  # type: ignore[arg-type]


def test_a_hot_key_spreads_over_all_partitions() -> None:
    frames = [pl.DataFrame({"k": [7] * 1000}) for _ in range(4)]
    heights = [part.height for part in _partitions(frames, 4, [False], [False], sampled=200)]
    assert sum(heights) == 4000 and max(heights) < 1.2 * 1000


def test_samples_of_unequal_tasks_are_weighted_by_their_rows() -> None:
    rng = np.random.default_rng(0)
    frames = [pl.DataFrame({"k": rng.random(height)}) for height in (20_000, 100, 100, 100)]
    heights = [part.height for part in _partitions(frames, 4, [False], [False], sampled=100)]
    assert max(heights) < 1.5 * 20_300 / 4


def test_sampling_is_repeatable_and_covers_sorted_input() -> None:
    frame = pl.DataFrame({"k": range(10_000)})
    keys, positions, weight = sample_keys(frame, ["k"], 100, 1 << 40, seed=3)
    again = sample_keys(frame, ["k"], 100, 1 << 40, seed=3)
    assert keys.equals(again[0]) and (positions == again[1]).all() and weight == again[2] == 100
    assert (keys["k"].to_numpy() // 100 == np.arange(100)).all()
    assert (positions == (1 << 40) + keys["k"].to_numpy()).all() and positions.dtype == np.uint64


def test_a_small_table_is_its_own_sample() -> None:
    keys, positions, weight = sample_keys(FRAME, [pl.col("k") * 2], 100, 10, seed=0)
    assert keys["k"].to_list() == [2, 4, 2, None] and positions.tolist() == [10, 11, 12, 13] and weight == 1


def test_splitters_of_no_rows_are_none() -> None:
    splitters, positions = choose_splitters([sample_keys(FRAME.clear(), ["k"], 10, 0, 0)], 4, [False], [False])
    assert splitters.height == 0 and positions.shape == (0,) and splitters.columns == ["k"]
