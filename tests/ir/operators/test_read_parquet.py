"""Parquet sources: any cut gives the file's rows, pruning never loses one, bad files are named."""

from __future__ import annotations

import datetime
import pickle
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.errors import ColumnNotFoundError, SourceError
from hpcflow.ir.operators.read_parquet import ReadParquet
from hpcflow.ir.operators.source import Source, SplitHint, named_source_error
from tests.ir.operators.frames import every_type, read_all
from tests.thorough import thorough

WHOLE = SplitHint(1, 1 << 40)


def _write(folder: Path, heights: list[int], group: int) -> list[str]:
    paths, start = [], 0
    for number, height in enumerate(heights):
        rows = range(start, start + height)
        frame = pl.DataFrame({"a": rows, "s": [f"row {row}" for row in rows]}, schema={"a": pl.Int64, "s": pl.String})
        path = folder / f"{number:03}.parquet"
        frame.write_parquet(path, row_group_size=group)
        paths.append(str(path))
        start += height
    return paths


@pytest.mark.parametrize("heights", [[10], [0], [0, 7, 0, 0, 5, 0], [100, 1, 1, 1, 50], [3] * 20])
@pytest.mark.parametrize("tasks", [1, thorough(2), 3, thorough(7), 1000])
def test_any_number_of_splits_gives_the_rows_in_order(tmp_path: Path, heights: list[int], tasks: int) -> None:
    paths = _write(tmp_path, heights, group=4)
    source = ReadParquet.of(tmp_path)
    splits = source.splits(SplitHint(tasks, 1 << 40))
    assert 1 <= len(splits) <= max(1, min(tasks, sum(heights)))
    assert sum(split.rows or 0 for split in splits) == sum(heights) == source.statistics().rows
    assert read_all(source, splits).equals(pl.read_parquet(paths))


def test_splits_are_cut_at_row_groups_and_near_equal(tmp_path: Path) -> None:
    _write(tmp_path, [1000], group=100)
    rows = [split.rows for split in ReadParquet.of(tmp_path).splits(SplitHint(4, 1 << 40))]
    assert rows == [300, 200, 300, 200] or rows == [200, 300, 200, 300]


def test_a_single_large_row_group_is_cut_inside(tmp_path: Path) -> None:
    _write(tmp_path, [1000], group=1000)
    assert [split.rows for split in ReadParquet.of(tmp_path).splits(SplitHint(4, 1 << 40))] == [250] * 4


def test_many_small_files_share_a_split_and_its_scan(tmp_path: Path) -> None:
    _write(tmp_path, [5] * 30, group=5)
    splits = ReadParquet.of(tmp_path).splits(SplitHint(3, 1 << 40))
    assert [(len(split.payload), len(split.payload[0].files)) for split in splits] == [(1, 10)] * 3


def test_splits_stay_below_the_wished_bytes(tmp_path: Path) -> None:
    _write(tmp_path, [1000], group=10)
    assert max(split.bytes or 0 for split in ReadParquet.of(tmp_path).splits(SplitHint(1, 4000))) <= 5000


def test_every_type_comes_back(tmp_path: Path) -> None:
    frame = every_type()
    frame.write_parquet(tmp_path / "types.parquet", row_group_size=2)
    source = ReadParquet.of(tmp_path / "types.parquet")
    assert source.schema == frame.schema
    assert read_all(source, source.splits(SplitHint(3, 1 << 40))).equals(frame)


def test_only_the_pushed_columns_are_scanned(tmp_path: Path) -> None:
    _write(tmp_path, [20], group=5)
    source = ReadParquet.of(tmp_path).with_pushdown(("s",), None)
    assert source.schema == pl.Schema({"s": pl.String})
    plan = source.scan(source.splits(WHOLE)[0]).explain()
    assert "PROJECT 1/2 COLUMNS" in plan
    assert read_all(source, source.splits(SplitHint(3, 1 << 40))).columns == ["s"]


def test_no_columns_still_counts_rows(tmp_path: Path) -> None:
    _write(tmp_path, [20], group=5)
    source = ReadParquet.of(tmp_path).with_pushdown((), None)
    assert source.schema.names() == ["a"]
    assert read_all(source, source.splits(WHOLE)).height == 20


def test_filters_and_projections_reach_the_reader_of_a_slice(tmp_path: Path) -> None:
    _write(tmp_path, [20, 20], group=5)
    source = ReadParquet.of(tmp_path)
    plan = source.scan(source.splits(SplitHint(4, 1 << 40))[1]).filter(pl.col("a") > 12).select("a").explain()
    assert "SELECTION" in plan and "PROJECT 1/2" in plan and "SLICE" in plan


def test_a_predicate_drops_row_groups_before_tasks_are_made(tmp_path: Path) -> None:
    _write(tmp_path, [100, 100], group=10)
    source = ReadParquet.of(tmp_path).with_pushdown(None, pl.col("a").is_between(95, 104))
    assert source.statistics().rows == 20
    (split,) = source.splits(WHOLE)
    assert [(len(run.files), run.offset, run.rows) for run in split.payload] == [(2, 90, 20)]
    assert read_all(source, [split])["a"].to_list() == list(range(90, 110))


def test_a_predicate_that_rules_out_everything_leaves_one_empty_split(tmp_path: Path) -> None:
    _write(tmp_path, [10], group=5)
    source = ReadParquet.of(tmp_path).with_pushdown(("s",), pl.col("a") > 1000)
    assert read_all(source, source.splits(SplitHint(3, 1 << 40))).equals(pl.DataFrame(schema={"s": pl.String}))


def test_pushed_predicates_add_up(tmp_path: Path) -> None:
    _write(tmp_path, [100], group=10)
    source = ReadParquet.of(tmp_path).with_pushdown(None, pl.col("a") >= 50).with_pushdown(("a",), pl.col("a") < 60)
    assert source.statistics().rows == 10


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "i": st.integers(-5, 5),
    "f": st.sampled_from([0.0, -0.0, 1.5, -2.5, float("nan"), float("inf"), float("-inf")]),
    "s": st.sampled_from(["", "a", "ab", "é", "z", "\U0001f600"]),
    "d": st.dates(datetime.date(1969, 12, 30), datetime.date(1970, 1, 3)),
    "t": st.datetimes(datetime.datetime(1969, 12, 31), datetime.datetime(1970, 1, 2)),
    "b": st.booleans(),
}
DTYPES = {"i": pl.Int32, "f": pl.Float64, "s": pl.String, "d": pl.Date, "t": pl.Datetime("us"), "b": pl.Boolean}


@st.composite
def _comparisons(draw: st.DrawFn) -> pl.Expr:
    name = draw(st.sampled_from(list(VALUES)))
    column, value, other = pl.col(name), pl.lit(draw(VALUES[name]), DTYPES[name]), pl.lit(draw(VALUES[name]), DTYPES[name])
    listed = draw(st.lists(VALUES[name], max_size=3))
    kinds = [
        column < value, column <= value, column > value, column >= value, column == value, column != value, value < column, value >= column,
        column.is_null(), column.is_not_null(), column.is_between(value, other), column.is_between(value, other, closed="none"),
        column.is_in(listed), ~(column == value), column.eq_missing(value), column == pl.lit(None),
    ]  # fmt: skip
    return draw(st.sampled_from(kinds))


def _joined(parts: tuple[pl.Expr, pl.Expr, bool]) -> pl.Expr:
    return parts[0] & parts[1] if parts[2] else parts[0] | parts[1]


PREDICATES = st.recursive(_comparisons(), lambda inner: st.tuples(inner, inner, st.booleans()).map(_joined), max_leaves=4)


@given(st.lists(st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()}), max_size=12), PREDICATES, st.integers(1, 4))
def test_pruning_never_loses_a_row(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], predicate: pl.Expr, group: int) -> None:
    frame = pl.DataFrame(rows, schema=DTYPES)
    path = tmp_path_factory.mktemp("p") / "f.parquet"
    frame.write_parquet(path, row_group_size=group)
    source = ReadParquet.of(path).with_pushdown(None, predicate)
    assert read_all(source, source.splits(SplitHint(2, 1 << 40))).filter(predicate).equals(frame.filter(predicate))


def test_hive_folders_become_columns_of_one_type(tmp_path: Path) -> None:
    pl.DataFrame({"a": range(6), "year": [2023, 2023, 2024, 2024, 2025, 2025], "kind": ["1", "x"] * 3}).write_parquet(
        tmp_path / "hive", partition_by=["year", "kind"], mkdir=True
    )
    source = ReadParquet.of(tmp_path / "hive")
    whole = pl.scan_parquet(tmp_path / "hive").collect()
    assert source.schema == whole.schema
    assert read_all(source, source.splits(SplitHint(6, 1 << 40))).equals(whole)


def test_folders_above_the_given_one_name_no_columns(tmp_path: Path) -> None:
    folder = tmp_path / "run=1" / "data"
    pl.DataFrame({"a": range(4), "year": [1, 1, 2, 2]}).write_parquet(folder, partition_by=["year"], mkdir=True)
    source = ReadParquet.of(folder)
    assert source.schema.names() == pl.scan_parquet(folder).collect_schema().names() == ["a", "year"]
    assert read_all(source, source.splits(SplitHint(3, 1 << 40)))["year"].to_list() == [1, 1, 2, 2]


def test_file_paths_are_included_when_asked(tmp_path: Path) -> None:
    paths = _write(tmp_path, [3, 3], group=3)
    source = ReadParquet.of(paths, include_file_paths="from")
    assert read_all(source, source.splits(SplitHint(3, 1 << 40)))["from"].to_list() == [paths[0]] * 3 + [paths[1]] * 3


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    folder = tmp_path / "sub [1]"
    folder.mkdir()
    pl.DataFrame({"a": [1]}).write_parquet(folder / "f1.parquet")
    pl.DataFrame({"b": ["x"]}).write_parquet(folder / "f[12].parquet")
    source = ReadParquet.of(folder / "f[12].parquet")
    assert source.scan(source.splits(SplitHint(1, 1 << 20))[0]).collect().to_dict(as_series=False) == {"b": ["x"]}
    assert ReadParquet.of(folder / "f1.parquet").schema == {"a": pl.Int64}


@pytest.mark.parametrize("other", [pl.Enum(["b", "a"]), pl.Categorical, pl.String])
def test_files_whose_types_differ_in_their_categories_alone_are_refused_before_anything_runs(tmp_path: Path, other: Any) -> None:
    paths = [tmp_path / "1.parquet", tmp_path / "2.parquet"]
    for path, dtype in zip(paths, (pl.Enum(["a", "b"]), other), strict=True):
        pl.DataFrame({"e": pl.Series(["a", "b"], dtype=dtype)}).write_parquet(path)
    with pytest.raises(SourceError, match=r"2\.parquet does not have the schema of .*1\.parquet: column 'e' is "):
        ReadParquet.of(paths)


def test_paths_may_be_globs_lists_and_file_urls(tmp_path: Path) -> None:
    paths = _write(tmp_path, [3, 3], group=3)
    for given_paths in (str(tmp_path / "*.parquet"), paths, [Path(path) for path in paths], f"file://{paths[0]}"):
        assert ReadParquet.of(given_paths).statistics().rows in (3, 6)


def test_what_travels_to_workers_has_no_footers(tmp_path: Path) -> None:
    _write(tmp_path, [50] * 20, group=1)
    source = ReadParquet.of(tmp_path)
    small = pickle.dumps(source)
    assert len(small) < 3000
    worker: Source = pickle.loads(small)
    assert read_all(worker, source.splits(SplitHint(3, 1 << 40))).height == 1000
    assert worker.describe()


def test_equal_sources_have_equal_fingerprints(tmp_path: Path) -> None:
    _write(tmp_path, [5], group=5)
    first, second = ReadParquet.of(tmp_path), ReadParquet.of(tmp_path)
    assert first.fingerprint() == second.fingerprint()
    assert first.fingerprint() != first.with_pushdown(("a",), None).fingerprint()


def test_missing_file_names_the_near_one(tmp_path: Path) -> None:
    _write(tmp_path, [5], group=5)
    with pytest.raises(SourceError, match=r"no such file.*00\.parquet.*did you mean '000\.parquet'"):
        ReadParquet.of(tmp_path / "00.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_a_damaged_footer_is_named_when_the_source_is_built(tmp_path: Path, content: bytes) -> None:
    _write(tmp_path, [5], group=5)
    (tmp_path / "001.parquet").write_bytes(content)
    with pytest.raises(SourceError, match=r"001\.parquet"):
        ReadParquet.of(tmp_path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"a": [1.5], "s": ["x"]}, "column 'a' is Float64 and not Int64"),
        ({"a": [1]}, "column 's' is missing"),
        ({"a": [1], "s": ["x"], "z": [1]}, "column 'z'"),
    ],
)
def test_a_file_of_another_schema_is_named(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    _write(tmp_path, [5, 5], group=5)
    pl.DataFrame(other).write_parquet(tmp_path / "001.parquet")
    with pytest.raises(SourceError, match=rf"001\.parquet does not have the schema of .*{message}"):
        ReadParquet.of(tmp_path)


def test_columns_in_another_order_are_no_difference(tmp_path: Path) -> None:
    _write(tmp_path, [2], group=5)
    pl.DataFrame({"s": ["x"], "a": [7]}).write_parquet(tmp_path / "001.parquet")
    source = ReadParquet.of(tmp_path)
    assert read_all(source, source.splits(SplitHint(3, 1 << 40)))["a"].to_list() == [0, 1, 7]


def test_missing_columns_are_inserted_when_asked(tmp_path: Path) -> None:
    _write(tmp_path, [2], group=5)
    pl.DataFrame({"a": [7]}).write_parquet(tmp_path / "001.parquet")
    source = ReadParquet.of(tmp_path, missing_columns="insert")
    assert read_all(source, source.splits(SplitHint(3, 1 << 40)))["s"].to_list() == ["row 0", "row 1", None]


def test_a_damaged_page_is_diagnosed_with_its_row_group(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": range(4000), "s": [f"row {row}" for row in range(4000)]})
    path = tmp_path / "f.parquet"
    frame.write_parquet(path, row_group_size=1000, compression="zstd")
    content = bytearray(path.read_bytes())
    start = len(content) * 5 // 8 - 200
    content[start : start + 400] = b"\xff" * 400
    path.write_bytes(content)
    source = ReadParquet.of(path)
    (split,) = source.splits(WHOLE)
    with pytest.raises(Exception) as caught:
        source.scan(split).collect()
    found = pickle.loads(pickle.dumps(source)).diagnose(split, caught.value)
    assert isinstance(found, SourceError)
    assert "f.parquet, row group 2 (rows 2000 to 3000)" in str(found)


def test_an_intact_split_is_not_blamed(tmp_path: Path) -> None:
    _write(tmp_path, [5], group=5)
    source = ReadParquet.of(tmp_path)
    assert source.diagnose(source.splits(WHOLE)[0], ValueError("a user's mistake")) is None


def test_a_file_that_a_worker_cannot_see_is_named(tmp_path: Path) -> None:
    paths = _write(tmp_path, [5], group=5)
    source = ReadParquet.of(tmp_path)
    (split,) = source.splits(WHOLE)
    Path(paths[0]).unlink()
    assert "000.parquet" in str(source.diagnose(split, OSError()))


def test_unknown_column_lists_near_names(tmp_path: Path) -> None:
    _write(tmp_path, [5], group=5)
    with pytest.raises(ColumnNotFoundError, match="'ss'; did you mean 's'"):
        ReadParquet.of(tmp_path).with_pushdown(("ss",), None)


@given(st.data())
def test_flipped_bytes_read_or_are_named_and_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("d") / "f.parquet"
    pl.DataFrame({"a": range(300), "s": [f"row {row % 7}" for row in range(300)]}).write_parquet(path, row_group_size=100, compression="lz4")
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(4, len(content) - 5), min_size=1, max_size=4)):
        content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        source = ReadParquet.of(path)
        splits = source.splits(WHOLE)
    except SourceError as error:
        assert "f.parquet" in str(error)
        return
    try:
        source.scan(splits[0]).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        assert "f.parquet" in str(named_source_error(error, [(source, splits[0])]))


def _filtered(source: ReadParquet, predicate: pl.Expr) -> pl.DataFrame:
    pushed = source.with_pushdown(None, predicate)
    return read_all(pushed, pushed.splits(WHOLE)).filter(predicate)


def test_a_field_of_a_struct_is_not_taken_for_a_column_with_a_dot_in_its_name(tmp_path: Path) -> None:
    table = pl.DataFrame({"a": [{"b": i} for i in range(40)], "a.b": [1000 - i for i in range(40)]})
    table.write_parquet(tmp_path / "x.parquet", row_group_size=10)
    predicate = pl.col("a.b") > 985
    assert _filtered(ReadParquet.of(tmp_path), predicate).equals(table.filter(predicate))


def test_a_column_of_the_path_is_not_judged_by_a_column_of_its_name_in_the_file(tmp_path: Path) -> None:
    for year in (2020, 2021):
        (tmp_path / f"year={year}").mkdir()
        pl.DataFrame({"year": [year - 2000], "v": [year]}).write_parquet(tmp_path / f"year={year}" / "x.parquet")
    assert _filtered(ReadParquet.of(tmp_path), pl.col("year") == 2021)["v"].to_list() == [2021]


def test_dates_that_python_does_not_have_are_read(tmp_path: Path) -> None:
    ticks = pl.Series([-(2**62), 2**62, 0, None], dtype=pl.Int64)
    table = pl.DataFrame(
        {"d": pl.Series([-(10**6), 10**7, 0, None], dtype=pl.Int32).cast(pl.Date), "t": ticks.cast(pl.Datetime("us")), "v": range(4)}
    )
    table.write_parquet(tmp_path / "x.parquet", row_group_size=2)
    source = ReadParquet.of(tmp_path)
    assert _filtered(source, pl.col("d") < datetime.date(2000, 1, 1))["v"].to_list() == [0, 2]
    assert _filtered(source, pl.col("t") > datetime.datetime(2000, 1, 1))["v"].to_list() == [1]


@pytest.mark.parametrize("dtype", [pl.Int128, pl.UInt128])
def test_a_type_that_pyarrow_does_not_know_is_read(tmp_path: Path, dtype: Any) -> None:
    table = pl.DataFrame({"x": pl.Series([2**100, 0, None], dtype=dtype), "v": range(3)})
    for name in "ab":
        table.write_parquet(tmp_path / f"{name}.parquet", row_group_size=1)
    source = ReadParquet.of(tmp_path)
    assert (source.schema, source.statistics().rows) == (table.schema, 6)
    assert read_all(source, source.splits(SplitHint(3, 1 << 40))).equals(pl.concat([table, table]))
    table.drop("v").write_parquet(tmp_path / "c.parquet")
    with pytest.raises(SourceError, match=r"c\.parquet does not have the schema of .*a\.parquet: column 'v' is missing"):
        ReadParquet.of(tmp_path)
