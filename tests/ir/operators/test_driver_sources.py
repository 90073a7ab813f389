"""Ranges, driver-held tables, and how paths and rows are cut."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.errors import ColumnNotFoundError, SourceError
from hpcflow.ir.operators.from_memory import FromMemory
from hpcflow.ir.operators.paths import list_files
from hpcflow.ir.operators.range import Range
from hpcflow.ir.operators.row_ranges import FileLayout, cut_rows
from hpcflow.ir.operators.source import SplitHint, fixed_width_bytes
from tests.ir.operators.frames import every_type, read_all


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-7, 7).filter(bool), st.integers(1, 9))
def test_a_range_counts_as_polars_does(start: int, end: int, step: int, tasks: int) -> None:
    source = Range.of(start, end, step, name="n")
    splits = pickle.loads(pickle.dumps(source.splits(SplitHint(tasks, 1 << 40))))
    assert read_all(source, splits).equals(pl.select(pl.int_range(start, end, step).alias("n")))
    assert sum(split.rows for split in splits) == source.statistics().rows


def test_a_range_with_one_argument_ends_there() -> None:
    source = Range.of(3)
    assert read_all(source, source.splits(SplitHint(2, 1 << 40)))["value"].to_list() == [0, 1, 2]


def test_a_wide_range_is_split_without_being_counted() -> None:
    source = Range.of(0, 1 << 62)
    splits = source.splits(SplitHint(10, 1 << 61))
    assert sum(split.rows or 0 for split in splits) == 1 << 62


@pytest.mark.parametrize(
    ("arguments", "message"), [((0, 5, 0), "step must not be 0"), ((0, 300), "0 to 299 does not fit UInt8"), ((-1, 3), "-1 to 2 does not fit UInt8")]
)
def test_an_impossible_range_is_refused(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        Range.of(*arguments, dtype=pl.UInt8)
    with pytest.raises(SourceError, match="integer type"):
        Range.of(3, dtype=pl.Float64)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "columns"),
    [
        ([1, 2, 3], {"value": [1, 2, 3]}),
        (["x", "yz"], {"value": ["x", "yz"]}),
        ([{"a": 1}, {"a": 2}], {"a": [1, 2]}),
        ([(1, "x"), (2, "y")], {"column_0": [1, 2], "column_1": ["x", "y"]}),
        ({"a": np.arange(2)}, {"a": [0, 1]}),
        (np.arange(4).reshape(2, 2), {"column_0": [0, 2], "column_1": [1, 3]}),
        (pd.DataFrame({"a": [1, 2]}), {"a": [1, 2]}),
        (pa.table({"a": [1, 2]}), {"a": [1, 2]}),
        (pl.Series("a", [1, 2]), {"a": [1, 2]}),
    ],
)
def test_a_table_may_come_as_anything_table_like(data: Any, columns: dict[str, list[Any]]) -> None:
    source = FromMemory.of(data)
    assert read_all(source, source.splits(SplitHint(2, 1 << 40))).to_dict(as_series=False) == columns


@pytest.mark.parametrize("data", [5, object(), [1, "a"], pl.LazyFrame({"a": [1]})])
def test_what_is_no_table_is_refused(data: Any) -> None:
    with pytest.raises(SourceError):
        FromMemory.of(data)


@given(st.lists(st.text(max_size=40), max_size=60), st.integers(1, 9), st.integers(50, 2000))
def test_slices_give_the_rows_in_order_and_stay_small(texts: list[str], tasks: int, target: int) -> None:
    frame = pl.DataFrame({"s": texts}, schema={"s": pl.String})
    source = FromMemory.of(frame)
    splits = pickle.loads(pickle.dumps(source.splits(SplitHint(tasks, target))))
    assert read_all(source, splits).equals(frame)
    assert all((split.rows or 0) <= 1 or split.payload.estimated_size() <= target for split in splits)


def test_every_type_travels_in_a_split() -> None:
    source = FromMemory.of(every_type())
    assert read_all(source, pickle.loads(pickle.dumps(source.splits(SplitHint(3, 1 << 40))))).equals(every_type())


def test_the_rows_stay_with_the_driver() -> None:
    source = FromMemory.of(pl.DataFrame({"a": range(100_000), "b": range(100_000)}))
    assert len(pickle.dumps(source)) < 1000
    with pytest.raises(SourceError, match="only rank 0"):
        pickle.loads(pickle.dumps(source)).splits(SplitHint(1, 1))
    narrow = source.with_pushdown(("b",), None)
    assert read_all(narrow, narrow.splits(SplitHint(2, 1 << 40))).columns == ["b"]
    with pytest.raises(ColumnNotFoundError, match="'c'"):
        source.with_pushdown(("c",), None)


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 9), st.integers(0, 10), st.data())
def test_row_ranges_cover_all_kept_rows_once_and_in_order(rows: list[int], parts: int, halved: int, data: st.DataObject) -> None:
    kept_groups = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    file_of = sorted(data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows))))
    group_rows, group_file = np.array(rows, dtype=np.int64), np.array(file_of, dtype=np.int64)
    kept = np.where(np.array(kept_groups, dtype=np.bool_), group_rows, 0)
    layout = FileLayout(tuple("abcd"), group_file, group_rows, kept)
    height = {name: int(group_rows[group_file == index].sum()) for index, name in enumerate("abcd")}
    seen: list[tuple[str, int]] = []
    for low, high in cut_rows(kept, parts, halved):
        for run in layout.runs(low, high):
            rows_of_run = [(name, row) for name in run.files for row in range(height[name])]
            seen += rows_of_run[run.offset : run.offset + run.rows]
            assert run.whole == (len(rows_of_run) == run.rows)
    wanted: list[tuple[str, int]] = []
    at = dict.fromkeys("abcd", 0)
    for index, count, is_kept in zip(file_of, rows, kept_groups, strict=True):
        name = "abcd"[index]
        wanted += [(name, at[name] + row) for row in range(count)] if is_kept else []
        at[name] += count
    assert seen == wanted


def test_the_last_row_ranges_are_cut_in_two_where_that_is_asked_for() -> None:
    groups = np.full(12, 100, dtype=np.int64)
    assert [high - low for low, high in cut_rows(groups, 3)] == [400, 400, 400]
    assert [high - low for low, high in cut_rows(groups, 3, halved=2)] == [400, 200, 200, 200, 200]
    assert [high - low for low, high in cut_rows(groups[:1], 2, halved=2)] == [25, 25, 25, 25]


def test_files_of_a_directory_come_in_polars_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.x", "a.x", "sub/c.x", "a-x.x", ".hidden.x", "_tmp/d.x", "sub/_e.x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    found = [str(Path(path).relative_to(tmp_path)) for path in list_files(tmp_path).files]
    assert found == ["a-x.x", "a.x", "b.x", "sub/c.x"]
    assert len(list_files(str(tmp_path / "**/*.x")).files) >= 4


def test_paths_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.txt").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"mixes files of the kinds '\.csv', '\.txt'"):
        list_files(tmp_path)
    with pytest.raises(SourceError, match="no file matches"):
        list_files(str(tmp_path / "*.json"))
    with pytest.raises(SourceError, match="has no files to read"):
        list_files(tmp_path / "empty")
    with pytest.raises(SourceError, match="list of paths is empty"):
        list_files([])
    with pytest.raises(SourceError, match="nor is there a directory"):
        list_files(tmp_path / "nowhere" / "a.csv")


def test_urls_are_left_to_polars() -> None:
    assert list_files(["s3://bucket/*.parquet"]).files == ("s3://bucket/*.parquet",)


def test_widths_are_those_of_the_values() -> None:
    dtypes = {pl.Int8(): 1, pl.Datetime("ns"): 8, pl.Boolean(): 0.125, pl.Struct({"a": pl.Int32, "b": pl.Date}): 8, pl.Array(pl.Int16, 3): 6}
    assert {dtype: fixed_width_bytes(dtype) for dtype in dtypes} == dtypes
    assert fixed_width_bytes(pl.String()) is None and fixed_width_bytes(pl.List(pl.Int8)) is None
    assert fixed_width_bytes(pl.Struct({"a": pl.String})) is None
