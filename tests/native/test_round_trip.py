"""Every type, with and without nulls, whole and sliced, through pack and unpack."""

from __future__ import annotations

import itertools
import mmap
import weakref
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from hpcflow.errors import FrameError, SchemaError
from hpcflow.native import ArenaPool, FramePlan, pack_frame, pack_frames, partition_row_offsets, read_header, reference, unpack_frame
from tests.thorough import spread

from .tables import ENUM, SHAPES, VALUES, column

POOL = ArenaPool()


@pytest.mark.parametrize(("type_name", "shape"), spread(itertools.product(VALUES, SHAPES), every=3))
def test_a_table_comes_back_from_one_frame(type_name: str, shape: str) -> None:
    df = column(type_name, shape).to_frame()
    assert_frame_equal(unpack_frame(pack_frame(df, pool=POOL), df.schema), df)


@pytest.mark.parametrize(("type_name", "shape"), spread(itertools.product(VALUES, SHAPES), every=3, first=1))
def test_scattered_rows_equal_the_reference(type_name: str, shape: str) -> None:
    df = column(type_name, shape).to_frame()
    ids = (np.arange(df.height, dtype=np.uint32) * 7 + 3) % 11 % 6
    bounds = [0, 2, 2, 5, 6]
    frames = pack_frames(df, ids, bounds, pool=POOL, checksum=True)
    for d, (frame, want) in enumerate(zip(frames, reference.pack_frames(df, ids, bounds), strict=True)):
        if frame is None or want is None:
            assert frame is None and want is None
            continue
        assert_frame_equal(unpack_frame(frame, df.schema), want)
        offsets = partition_row_offsets(frame)
        for p in range(bounds[d], bounds[d + 1]):
            rows = df.filter(pl.Series(ids == p, dtype=pl.Boolean))
            assert int(offsets[p - bounds[d] + 1] - offsets[p - bounds[d]]) == rows.height
            assert_frame_equal(unpack_frame(frame, df.schema, p), rows)


def test_all_types_side_by_side_in_many_partitions() -> None:
    df = pl.DataFrame([column(name, "nulls", 3000) for name in VALUES])
    ids = np.random.default_rng(3).integers(0, 40, df.height).astype(np.uint32)
    frames = pack_frames(df, ids, [0, 13, 40], pool=POOL)
    for frame, want in zip(frames, reference.pack_frames(df, ids, [0, 13, 40]), strict=True):
        assert frame is not None and want is not None
        assert_frame_equal(unpack_frame(frame, df.schema), want)


def test_unpacked_tables_survive_polars_operations() -> None:
    df = pl.DataFrame([column(name, "nulls", 500) for name in VALUES])
    ids = np.random.default_rng(3).integers(0, 5, df.height).astype(np.uint32)
    frame = pack_frames(df, ids, [0, 5], pool=POOL)[0]
    assert frame is not None
    parts = [unpack_frame(frame, df.schema, p) for p in range(5)]
    order = np.argsort(ids, kind="stable")
    merged = pl.concat(parts)
    assert_frame_equal(merged, df[order])
    assert_frame_equal(merged.select("list", "int64").explode("list"), df[order].select("list", "int64").explode("list"))
    assert_frame_equal(merged.select(pl.col("struct").struct.unnest()), df[order].select(pl.col("struct").struct.unnest()))
    assert_frame_equal(parts[2].select("string").sort("string"), df.filter(pl.Series(ids == 2)).select("string").sort("string"))
    backwards = np.arange(merged.height)[::-1].copy()
    assert_frame_equal(merged.rechunk()[backwards], df[order][backwards])


def test_bounds_may_start_above_zero() -> None:
    df = pl.DataFrame({"k": [1, 2, 3, 4]})
    ids = np.array([5, 7, 5, 6], dtype=np.uint32)
    left, right = pack_frames(df, ids, [5, 6, 8], pool=POOL)
    assert left is not None and right is not None
    assert read_header(left).partitions == (5, 1) and read_header(right).partitions == (6, 2)
    assert unpack_frame(right, df.schema, 7)["k"].to_list() == [2]
    with pytest.raises(ValueError, match="before the first bound"):
        pack_frames(df, np.array([4, 5, 5, 5], dtype=np.uint32), [5, 6], pool=POOL)


def test_ids_and_bounds_out_of_range_are_refused() -> None:
    df = pl.DataFrame({"k": [1, 2]})
    with pytest.raises(ValueError, match="partition id 2 with 2 partitions"):
        pack_frames(df, np.array([0, 2]), [0, 1, 2], pool=POOL)
    with pytest.raises(ValueError, match="must lie in"):
        pack_frames(df, np.array([0, -1]), [0, 1, 2], pool=POOL)
    with pytest.raises(ValueError, match="1 partition ids for 2 rows"):
        pack_frames(df, np.array([0]), [0, 1], pool=POOL)
    with pytest.raises(ValueError, match="ascend"):
        pack_frames(df, np.array([0, 0]), [0, 2, 1], pool=POOL)
    with pytest.raises(TypeError, match="integers"):
        pack_frames(df, np.array([0.0, 1.0]), [0, 2], pool=POOL)
    with pytest.raises(ValueError, match="not in this frame"):
        unpack_frame(pack_frame(df, pool=POOL), df.schema, 1)


def test_objects_are_refused_by_column_name() -> None:
    df = pl.DataFrame({"k": [1], "things": [object()]})
    with pytest.raises(SchemaError, match=r"'things'.*cannot travel"):
        pack_frame(df, pool=POOL)


def test_a_table_without_columns_keeps_its_rows() -> None:
    df = pl.DataFrame(height=5)
    assert unpack_frame(pack_frame(df, pool=POOL), df.schema).shape == (5, 0)
    frames = pack_frames(df, np.array([0, 1, 0, 1, 1]), [0, 1, 2], pool=POOL)
    assert [unpack_frame(frame, {}).height for frame in frames if frame is not None] == [2, 3]


def test_the_stamp_is_in_the_header() -> None:
    header = read_header(
        pack_frame(pl.DataFrame({"a": [1, 2]}), partition=9, step=2**40, source_task=7, attempt=1, sequence=3, pool=POOL, checksum=True)
    )
    assert (header.step, header.source_task, header.attempt, header.sequence) == (2**40, 7, 1, 3)
    assert (header.rows, header.columns, header.first_partition, header.partition_count, header.flags) == (2, 1, 9, 1, 1)
    assert header.checksum != 0 and header.total_bytes % 64 == 0


def test_frames_are_read_from_bytes_and_memory_maps(tmp_path: Path) -> None:
    df = pl.DataFrame({"s": ["x" * i for i in range(50)], "v": list(range(50))})
    raw = bytes(memoryview(pack_frame(df, pool=POOL)))
    assert_frame_equal(unpack_frame(raw, df.schema), df)
    assert_frame_equal(unpack_frame(bytearray(raw), df.schema), df)
    assert_frame_equal(unpack_frame(memoryview(b"abc" + raw)[3:], df.schema), df)  # not aligned: copied
    (tmp_path / "frame").write_bytes(raw)
    with (tmp_path / "frame").open("rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        got = unpack_frame(mapped, df.schema)
        del mapped
    assert_frame_equal(got, df)


def test_unpacking_copies_nothing() -> None:
    df = pl.DataFrame({"v": np.arange(1000.0)})
    arena = pack_frame(df, pool=POOL)
    got = unpack_frame(arena, df.schema)
    assert arena.address <= got["v"].to_numpy().__array_interface__["data"][0] < arena.address + arena.size_bytes


def test_other_arrow_producers_are_taken() -> None:
    pa = pytest.importorskip("pyarrow")
    data = pa.table({"a": [1, None, 3], "s": ["x", "y", None]})
    got = unpack_frame(pack_frame(data, pool=POOL), pl.DataFrame(data).schema)
    assert got.rows() == [(1, "x"), (None, "y"), (3, None)]


def test_enums_travel_as_codes_and_categoricals_as_strings() -> None:
    rows = 1000
    long_name = "a level with a long name"
    enum = pack_frame(pl.DataFrame({"e": pl.Series([long_name] * rows, dtype=ENUM)}), pool=POOL)
    categorical = pack_frame(pl.DataFrame({"e": pl.Series([long_name] * rows, dtype=pl.Categorical)}), pool=POOL)
    assert enum.size_bytes < 2 * rows
    assert categorical.size_bytes > rows * (16 + len(long_name))


def test_frames_are_planned_first_and_written_into_memory_that_is_given() -> None:
    df = pl.DataFrame([column(name, "nulls", 300) for name in VALUES])
    ids = np.random.default_rng(3).integers(0, 5, df.height).astype(np.uint32)
    plan = FramePlan(df, ids, [0, 2, 2, 5])
    one = FramePlan(df)
    assert plan.sizes[1] == 0 and all(size % 64 == 0 for size in plan.sizes)
    arena = POOL.acquire(sum(plan.sizes) + one.sizes[0])
    view = memoryview(arena)
    ends = np.cumsum([*plan.sizes, *one.sizes]).tolist()
    plan.write([view[: ends[0]], None, view[ends[1] : ends[2]]], step=9)
    one.write([view[ends[2] :]])
    del view
    wanted = pack_frames(df, ids, [0, 2, 2, 5], pool=POOL, step=9)
    assert bytes(memoryview(arena)[: ends[0]]) == bytes(wanted[0]) and bytes(memoryview(arena)[ends[1] : ends[2]]) == bytes(wanted[2])
    read = unpack_frame(arena, df.schema, offset=ends[1], length=ends[2] - ends[1])
    whole = unpack_frame(arena, df.schema, offset=ends[2])
    assert read_header(bytes(wanted[0])).fingerprint == one.fingerprint and one.rows == df.height
    held = weakref.ref(arena)
    del arena  # the columns keep the memory
    assert held() is None
    assert_frame_equal(read, unpack_frame(wanted[2], df.schema))
    assert_frame_equal(whole, df)


def test_wrong_memory_for_planned_frames_is_refused() -> None:
    df = pl.DataFrame({"a": [1, 2, 3]})
    arena = POOL.acquire(4096)
    size = FramePlan(df).sizes[0]
    for target in ([memoryview(arena)], [memoryview(arena)[8 : 8 + size]], [None], []):
        with pytest.raises(ValueError, match="buffer"):
            FramePlan(df).write(target)
    plan = FramePlan(df)
    plan.write([memoryview(arena)[:size]])
    with pytest.raises(ValueError, match="written once"):
        plan.write([memoryview(arena)[:size]])
    with pytest.raises(FrameError, match="does not lie in a buffer"):
        unpack_frame(arena, df.schema, offset=4000, length=200)
