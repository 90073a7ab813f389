"""Shares of files and tables, and one directory written together, against Polars on the whole."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import hpcflow as hf
from hpcflow.bsp.shares import deal_splits

SIZES = (1, 2, 3, 7)
ROWS = pl.DataFrame({"a": range(100), "b": [f"text {i % 7}" for i in range(100)], "c": [i / 3 if i % 5 else None for i in range(100)]})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The rows in several files of each kind, some empty, of uneven length."""
    for number, (low, high) in enumerate([(0, 40), (40, 40), (40, 42), (42, 100)]):
        part = ROWS.slice(low, high - low)
        part.write_parquet(tmp_path / f"{number}.parquet", row_group_size=7)
        part.write_ipc(tmp_path / f"{number}.arrow")
        if part.height:  # a file without rows has columns of text for Polars
            part.write_csv(tmp_path / f"{number}.csv")
        (tmp_path / f"{number}.txt").write_text("".join(f"{text}\n" for text in part["b"]))
    return tmp_path


def gathered(size: int, function) -> pl.DataFrame:
    """The ranks' tables, concatenated in rank order."""
    return pl.concat(hf.program(function).run_all(workers=size))


@pytest.mark.parametrize("size", SIZES)
def test_the_shares_of_files_are_their_rows_in_order(files: Path, size: int) -> None:
    assert_frame_equal(gathered(size, lambda ctx: ctx.read_parquet(files / "*.parquet")), ROWS)
    assert_frame_equal(gathered(size, lambda ctx: ctx.read_ipc(files / "*.arrow")), ROWS)
    assert_frame_equal(gathered(size, lambda ctx: ctx.read_csv(files / "*.csv")), ROWS)
    assert_frame_equal(gathered(size, lambda ctx: ctx.read_text(files / "*.txt")), ROWS.select(text="b"))


@pytest.mark.parametrize("size", SIZES)
def test_columns_and_predicates_are_polars(files: Path, size: int) -> None:
    predicate = (pl.col("c") > 3) & (pl.col("b") != "text 2")
    want = ROWS.filter(predicate).select("b", "a")
    assert_frame_equal(gathered(size, lambda ctx: ctx.read_parquet(files / "*.parquet", columns=["b", "a"], predicate=predicate)), want)
    assert_frame_equal(gathered(size, lambda ctx: ctx.read_csv(files / "*.csv", columns=["b", "a"], predicate=[predicate, pl.col("a") >= 0])), want)
    assert_frame_equal(gathered(size, lambda ctx: ctx.read_ipc(files / "*.arrow", columns=["b", "a"], predicate=predicate)), want)
    none = gathered(size, lambda ctx: ctx.read_parquet(files / "*.parquet", columns="a", predicate=pl.col("a") > 1000))
    assert_frame_equal(none, ROWS.select("a").clear())


def test_shares_of_a_file_are_even(files: Path) -> None:
    heights = hf.program(lambda ctx: ctx.read_parquet(files / "*.parquet").height).run_all(workers=3)
    assert sum(heights) == 100 and max(heights) - min(heights) < 20


@pytest.mark.parametrize("size", SIZES)
def test_the_shares_of_tables_are_their_rows_in_order(size: int) -> None:
    assert_frame_equal(gathered(size, lambda ctx: ctx.from_polars(ROWS)), ROWS)
    assert_frame_equal(gathered(size, lambda ctx: ctx.from_arrow(ROWS.to_arrow())), ROWS)
    assert_frame_equal(gathered(size, lambda ctx: ctx.from_pandas(ROWS.to_pandas())), ROWS)
    assert_frame_equal(gathered(size, lambda ctx: ctx.from_dict(ROWS.to_dict())), ROWS)
    array = np.arange(12.0).reshape(6, 2)
    assert gathered(size, lambda ctx: ctx.from_numpy(array)).to_numpy().tolist() == array.tolist()
    assert gathered(size, lambda ctx: ctx.from_items([3, 1, 2]))["value"].to_list() == [3, 1, 2]
    assert gathered(size, lambda ctx: ctx.range(5))["value"].to_list() == list(range(5))
    assert gathered(size, lambda ctx: ctx.range(9, -4, -3, name="x"))["x"].to_list() == list(range(9, -4, -3))
    assert hf.program(lambda ctx: ctx.share(5)).run_all(workers=size)[-1][1] == 5


def test_a_predicate_that_looks_at_other_rows_is_refused(files: Path) -> None:
    with pytest.raises(hf.UnsupportedExpressionError, match=r"is not row-wise.*reduce over the ranks"):
        hf.program(lambda ctx: ctx.read_parquet(files / "*.parquet", predicate=pl.col("a") > pl.col("a").mean())).run(workers=2)
    with pytest.raises(hf.SchemaError, match="not Boolean"):
        hf.program(lambda ctx: ctx.read_parquet(files / "*.parquet", predicate=pl.col("a") + 1)).run(workers=2)
    with pytest.raises(hf.ColumnNotFoundError, match="'aa'"):
        hf.program(lambda ctx: ctx.read_parquet(files / "*.parquet", columns=["aa"])).run(workers=2)


def test_what_rank_0_meets_is_raised_on_every_rank_which_may_go_on(tmp_path: Path) -> None:
    @hf.program
    def reads(ctx):
        try:
            ctx.read_parquet(tmp_path / "absent.parquet")
        except hf.SourceError as error:
            return "absent.parquet" in str(error), getattr(error, "__notes__", [])

    found = reads.run_all(workers=3)
    assert [yes for yes, _ in found] == [True] * 3
    assert found[0][1] == [] and all("raised on rank 0" in notes[-1] for _, notes in found[1:])


def test_a_damaged_file_is_named(files: Path) -> None:
    path = files / "3.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[20:60] = b"\xff" * 40
    path.write_bytes(damaged)
    with pytest.raises(hf.SourceError, match=r"3\.parquet"):
        hf.program(lambda ctx: ctx.read_parquet(files / "*.parquet")).run(workers=3)


@pytest.mark.parametrize("size", SIZES)
def test_a_directory_written_together_is_the_ranks_rows_in_order(tmp_path: Path, size: int) -> None:
    @hf.program
    def writes(ctx):
        df = ctx.from_polars(ROWS)
        return ctx.write_parquet(df, tmp_path / "p"), ctx.write_csv(df, tmp_path / "c"), ctx.write_ipc(df, tmp_path / "i")

    assert writes.run_all(workers=size) == [(100, 100, 100)] * size
    assert len(os.listdir(tmp_path / "p")) == size and not [name for name in os.listdir(tmp_path / "p") if name.startswith(".")]
    assert_frame_equal(pl.read_parquet(tmp_path / "p"), ROWS)
    assert_frame_equal(pl.read_csv(tmp_path / "c"), ROWS)
    assert_frame_equal(pl.read_ipc(tmp_path / "i"), ROWS)


def test_a_directory_without_rows_keeps_the_schema(tmp_path: Path) -> None:
    assert hf.program(lambda ctx: ctx.write_parquet(ROWS.clear(), tmp_path / "p")).run(workers=3) == 0
    assert pl.read_parquet(tmp_path / "p").schema == ROWS.schema


def test_modes_of_writing(tmp_path: Path) -> None:
    def run(mode: str, rows: pl.DataFrame):
        return hf.program(lambda ctx: ctx.write_parquet(ctx.from_polars(rows), tmp_path / "p", mode=mode)).run(workers=2)

    run("error", ROWS)
    with pytest.raises(hf.SinkError, match="already holds"):
        run("error", ROWS)
    run("ignore", ROWS.head(3))
    assert pl.read_parquet(tmp_path / "p").height == 100
    run("overwrite", ROWS.head(3))
    assert pl.read_parquet(tmp_path / "p").height == 3


def test_one_rank_that_cannot_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpcflow.ir.operators.write_parquet import WriteParquet

    hf.program(lambda ctx: ctx.write_parquet(ctx.from_polars(ROWS), tmp_path / "p")).run(workers=3)
    real = WriteParquet.write

    def write(self, df, task, attempt):
        if task == 2:
            raise OSError("disk on fire")
        return real(self, df, task, attempt)

    monkeypatch.setattr(WriteParquet, "write", write)

    @hf.program
    def writes(ctx):
        try:
            ctx.write_parquet(ctx.from_polars(ROWS.head(9)), tmp_path / "p", mode="overwrite")
        except OSError as error:
            return str(error), "while rank 2 on" in " ".join(error.__notes__)

    assert writes.run_all(workers=3) == [("disk on fire", True)] * 3
    assert sorted(os.listdir(tmp_path / "p")) == [f"part-0000{rank}.parquet" for rank in range(3)]
    assert pl.read_parquet(tmp_path / "p").height == 100


def test_tables_of_different_schemas_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(hf.SchemaError, match="rank 1 writes columns a String, and rank 0 writes a Int64"):
        hf.program(lambda ctx: ctx.write_parquet(pl.DataFrame({"a": [1 if ctx.rank == 0 else "x"]}), tmp_path / "p")).run(workers=2)
    assert not (tmp_path / "p").exists()
    with pytest.raises(hf.SchemaError, match=r"rank 0 writes a list: give a polars\.DataFrame"):
        hf.program(lambda ctx: ctx.write_parquet([], tmp_path / "p")).run()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.integers(1, 9))
def test_shares_are_neighbouring_runs_that_cover_every_split(weights: list[int], size: int) -> None:
    runs = deal_splits([float(w) for w in weights], size)
    assert len(runs) == size and runs[0][0] == 0 and runs[-1][1] == len(weights)
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(runs))
    mean, largest = sum(weights) / size, max(weights)
    assert len(weights) == size or all(sum(weights[low:high]) <= mean + largest or sum(weights) == 0 for low, high in runs)
