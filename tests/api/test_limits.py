"""head, slice and tail ask sources for what they need, and stop the tasks before them: tables without an end are no reason to wait."""

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.events import records
from hpcflow.ir.operators.range import Range
from hpcflow.ir.operators.read_ipc import ReadIpc
from hpcflow.ir.operators.read_parquet import ReadParquet
from hpcflow.ir.operators.source import SplitHint, window_of
from hpcflow.testing.session import InProcessSession
from tests.api.oracle import check, events, same
from tests.thorough import spread

HUGE = 10**11
FIRST = {
    "head": (lambda t: t.head(3), [0, 1, 2]),
    "limit": (lambda t: t.limit(2), [0, 1]),
    "first": (lambda t: t.first(), [0]),
    "slice": (lambda t: t.slice(10**7, 2), [10**7, 10**7 + 1]),
    "tail": (lambda t: t.tail(2), [HUGE - 2, HUGE - 1]),
    "slice_from_the_end": (lambda t: t.slice(-5, 2), [HUGE - 5, HUGE - 4]),
    "computed": (lambda t: t.with_columns(pl.col("value") * 2).rename({"value": "value_"}).select(value="value_").head(2), [0, 2]),
    "twice": (lambda t: hf.concat([t, t]).head(2), [0, 1]),
    "head_of_a_head": (lambda t: t.head(1000).filter(pl.col("value") > 5).head(2), [6, 7]),
    "filtered": (lambda t: t.filter(pl.col("value") % 10**7 == 5).head(2), [5, 10**7 + 5]),
    "filtered_slice": (lambda t: t.filter(pl.col("value") % 10**7 == 5).slice(1, 1), [10**7 + 5]),
    "mapped": (lambda t: t.map_batches(lambda df: df, schema={"value": pl.Int64}).head(2), [0, 1]),
}


@pytest.fixture(scope="module")
def plain_session():
    with InProcessSession(workers=2, progress="off", step_timeout_s=30) as session:
        yield session


@pytest.mark.parametrize("name", spread(FIRST, every=3))
def test_the_first_rows_of_a_table_without_an_end_come_at_once(plain_session, name):
    chain, want = FIRST[name]
    assert chain(plain_session.range(HUGE)).collect()["value"].to_list() == want


def test_limits_give_the_rows_that_they_give_in_polars(session):
    for chain in (
        lambda t: t.filter(pl.col("w") > 40).head(7),
        lambda t: t.filter(pl.col("w") > 40).slice(3, 4),
        lambda t: t.filter(pl.col("w") > 40).slice(-9, 4),
        lambda t: t.filter(pl.col("w") > 400).head(7),
        lambda t: t.sort("w", "i").head(5),
        lambda t: t.unique("k", maintain_order=True).head(3),
        lambda t: t.head(50).tail(20).slice(1, 5),
        lambda t: t.slice(70, 5),
        lambda t: t.slice(-100, 50),
        lambda t: t.head(0),
    ):
        check(session, chain, events(400))


def test_tasks_behind_the_last_row_that_is_needed_are_not_begun(one_session):
    ended = []
    unsubscribe = one_session.events.subscribe(lambda event: ended.append(event) if isinstance(event, records.TaskFinished) else None)
    try:
        rows = one_session.range(100_000).filter(pl.col("value") >= 600)  # 200 tasks of 500 rows
        assert rows.head(5).collect()["value"].to_list() == [600, 601, 602, 603, 604]
    finally:
        unsubscribe()
    assert 0 < len(ended) < 40


@pytest.mark.parametrize("kind", ["parquet", "ipc"])
def test_head_does_not_open_the_files_that_it_does_not_need(one_session, tmp_path, kind):
    table = pl.DataFrame({"a": range(100)})
    for number in range(6):
        getattr(table.with_columns(pl.col("a") + 100 * number), f"write_{kind}")(tmp_path / f"{number}.{kind}")
    dataset = getattr(one_session, f"read_{kind}")(tmp_path)
    for number in range(1, 5):
        (tmp_path / f"{number}.{kind}").write_bytes(b"damaged")
    assert dataset.head(3).collect()["a"].to_list() == [0, 1, 2]
    assert dataset.tail(3).collect()["a"].to_list() == [597, 598, 599]
    with pytest.raises(hf.SourceError, match=rf"[1-4]\.{kind}"):
        dataset.collect()


WINDOWS = [(0, 3), (0, 0), (0, 250), (7, 100), (-3, 3), (-250, 250), (199, 1), (300, 5)]


@pytest.mark.parametrize("kind", ["range", "parquet", "ipc"])
@pytest.mark.parametrize(("offset", "length"), spread(WINDOWS, every=4, first=3))
def test_a_window_of_a_source_has_its_rows_in_splits_of_any_number(tmp_path, kind, offset, length):
    table = pl.DataFrame({"value": range(200)})
    for number in range(4):
        part = table.slice(50 * number, 50)
        part.write_parquet(tmp_path / f"{number}.parquet", row_group_size=20)
        part.write_ipc(tmp_path / f"{number}.arrow", record_batch_size=20)
    sources = {"range": Range.of(200), "parquet": ReadParquet.of(tmp_path / "*.parquet"), "ipc": ReadIpc.of(tmp_path / "*.arrow")}
    narrowed = sources[kind].with_rows(offset, length)
    start, stop = window_of(200, offset, length)
    for tasks in (1, 5, 70):
        splits = narrowed.splits(SplitHint(tasks, 1 << 20))
        assert [split.index for split in splits] == list(range(len(splits)))
        same(pl.concat([narrowed.scan(split) for split in splits]).collect(), table.slice(start, max(0, stop - start)))
    assert narrowed.statistics().rows == max(0, stop - start)


def test_n_rows_and_row_index_are_those_of_polars(session, tmp_path):
    table = events(90).select("i", "w", "s")
    table.head(50).write_parquet(tmp_path / "a.parquet")
    table.tail(40).write_parquet(tmp_path / "b.parquet")
    table.write_csv(tmp_path / "a.csv")
    table.write_ipc(tmp_path / "a.arrow")
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n")
    for options in (
        {"n_rows": 7},
        {"n_rows": 0},
        {"n_rows": 70, "row_index_name": "n", "row_index_offset": 5},
        {"row_index_name": "n"},
        {"n_rows": 900},
    ):
        same(session.read_parquet(tmp_path / "*.parquet", **options).collect(), pl.scan_parquet(tmp_path / "*.parquet", **options).collect())
        same(session.read_csv(tmp_path / "a.csv", **options).collect(), pl.scan_csv(tmp_path / "a.csv", **options).collect())
        same(session.read_ipc(tmp_path / "a.arrow", **options).collect(), pl.scan_ipc(tmp_path / "a.arrow", **options).collect())
    assert session.read_text(tmp_path / "a.txt", n_rows=2).collect()["text"].to_list() == ["one", "two"]
