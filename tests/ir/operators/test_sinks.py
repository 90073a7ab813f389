"""Sinks: all files or none, whatever fails, and nothing of somebody else's is touched."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from hpcflow.errors import SinkError
from hpcflow.ir.operators import file_sink
from hpcflow.ir.operators.file_sink import FileSink
from hpcflow.ir.operators.foreach_partition import ForeachPartition
from hpcflow.ir.operators.write_csv import WriteCsv
from hpcflow.ir.operators.write_ipc import WriteIpc
from hpcflow.ir.operators.write_parquet import WriteParquet
from tests.ir.operators.frames import every_type

FRAME = pl.DataFrame({"a": [1, 2, 3], "s": ["x", "y,\n", None]})
SINKS = [WriteParquet, WriteCsv, WriteIpc]
READERS: dict[type[FileSink], Any] = {WriteParquet: pl.read_parquet, WriteCsv: pl.read_csv, WriteIpc: pl.read_ipc}


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def visible(folder: Path) -> list[str]:
    return [name for name in names(folder) if not name.startswith(".")]


@pytest.mark.parametrize("kind", SINKS)
def test_parts_become_visible_only_by_the_commit_and_in_order(tmp_path: Path, kind: Any) -> None:
    target = tmp_path / "new" / "out"
    sink = kind.to(target, FRAME.schema)
    worker = pickle.loads(pickle.dumps(sink))
    parts = [worker.write(FRAME[row : row + 1], row, 0) for row in (2, 0, 1)]
    assert not target.exists() and all(part.rows == 1 and part.bytes > 0 for part in parts)
    sink.commit(parts)
    assert names(target) == [f"part-0000{row}{kind.suffix}" for row in range(3)]
    assert pl.concat([READERS[kind](target / name) for name in names(target)]).equals(FRAME)


@pytest.mark.parametrize("kind", SINKS)
@pytest.mark.parametrize("tasks", [0, 1, 3])
def test_no_rows_at_all_give_one_empty_file_with_the_schema(tmp_path: Path, kind: Any, tasks: int) -> None:
    sink = kind.to(tmp_path, FRAME.schema)
    sink.commit([sink.write(FRAME.clear(), task, 0) for task in range(tasks)])
    assert names(tmp_path) == [f"part-00000{kind.suffix}"]
    assert READERS[kind](tmp_path / names(tmp_path)[0]).columns == FRAME.columns


def test_empty_tasks_write_no_file_beside_others(tmp_path: Path) -> None:
    sink = WriteParquet.to(tmp_path, FRAME.schema)
    sink.commit([sink.write(FRAME.clear(), 0, 0), sink.write(FRAME, 1, 0)])
    assert names(tmp_path) == ["part-00001.parquet"]


@pytest.mark.parametrize("kind", SINKS)
def test_abort_removes_everything_also_of_attempts_nobody_reported(tmp_path: Path, kind: Any) -> None:
    target = tmp_path / "out"
    sink = kind.to(target, FRAME.schema)
    for attempt in range(3):
        sink.write(FRAME, 0, attempt)
    sink.abort(())
    sink.abort(())
    assert names(tmp_path) == []


def test_abort_leaves_a_directory_that_was_there_and_other_runs_alone(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    other, sink = WriteParquet.to(target, FRAME.schema), WriteParquet.to(target, FRAME.schema)
    kept = other.write(FRAME, 0, 0)
    sink.write(FRAME, 0, 0)
    sink.abort(())
    assert os.path.exists(kept.temporary or "") and names(target) == []
    other.abort(())
    assert names(tmp_path) == ["out"]


def test_commit_takes_the_reported_attempt_and_drops_the_others(tmp_path: Path) -> None:
    sink = WriteParquet.to(tmp_path, FRAME.schema)
    sink.write(FRAME[:1], 0, 0)
    sink.commit([sink.write(FRAME, 0, 1)])
    assert names(tmp_path) == ["part-00000.parquet"]
    assert pl.read_parquet(tmp_path / "part-00000.parquet").height == 3


def test_a_directory_with_files_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(SinkError, match=r"already holds 'mine.txt'.*mode='overwrite' or 'ignore'"):
        WriteParquet.to(tmp_path, FRAME.schema)
    with pytest.raises(SinkError, match=r"overwrite.*only files named part-.*holds 'mine.txt'"):
        WriteParquet.to(tmp_path, FRAME.schema, mode="overwrite")


def readable(folder: Path) -> int:
    """Rows that a reader of everything in the folder finds: Polars reads hidden files too."""
    return sum(pl.read_parquet(path).height for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("there", [True, False])
def test_a_killed_run_leaves_nothing_in_the_target_and_what_it_left_beside_goes_with_the_next(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "out"
    if there:
        target.mkdir()
    killed = WriteParquet.to(target, FRAME.schema)
    killed.write(FRAME, 0, 0)
    assert readable(target) == 0 and len(names(tmp_path)) == 1 + there
    sink = WriteParquet.to(target, FRAME.schema)
    sink.commit([sink.write(FRAME[:1], 0, 0)])
    assert names(tmp_path) == ["out"] and readable(target) == 1


def test_what_a_run_killed_in_its_commit_has_moved_aside_stays_unless_it_is_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "out"
    killed = WriteParquet.to(target, FRAME.schema, mode="overwrite")
    killed.write(FRAME, 0, 0)
    aside = Path(killed.staging) / "old.part-00000.parquet"
    FRAME.write_parquet(aside)
    for mode, stays in (("error", True), ("overwrite", False)):
        sink = WriteParquet.to(target, FRAME.schema, mode=mode)
        sink.commit([sink.write(FRAME, 0, 0)])
        assert aside.exists() == stays


def test_where_nothing_can_be_moved_from_beside_files_are_written_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, rename = tmp_path / "out", os.rename
    target.mkdir()

    def fail(source: str, to: str) -> None:
        if not os.fspath(source).startswith(f"{target}{os.sep}"):
            raise OSError(18, "Invalid cross-device link")
        rename(source, to)

    monkeypatch.setattr(file_sink.os, "rename", fail)
    sink = WriteParquet.to(target, FRAME.schema)
    part = sink.write(FRAME, 0, 0)
    assert (part.temporary or "").startswith(f"{target}{os.sep}.") and names(tmp_path) == ["out"]
    sink.commit([part])
    assert names(target) == ["part-00000.parquet"] and names(tmp_path) == ["out"]


def test_overwrite_replaces_all_old_parts(tmp_path: Path) -> None:
    first = WriteParquet.to(tmp_path, FRAME.schema)
    first.commit([first.write(FRAME, task, 0) for task in range(3)])
    second = WriteCsv.to(tmp_path, FRAME.schema, mode="overwrite")
    part = second.write(FRAME[:1], 0, 0)
    assert len(visible(tmp_path)) == 3
    second.commit([part])
    assert names(tmp_path) == ["part-00000.csv"]


def test_a_failing_overwrite_puts_the_old_parts_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = WriteParquet.to(tmp_path, FRAME.schema)
    first.commit([first.write(FRAME, task, 0) for task in range(3)])
    second = WriteParquet.to(tmp_path, FRAME.schema, mode="overwrite")
    parts = [second.write(FRAME[:1], task, 0) for task in range(2)]
    rename, failing = os.rename, parts[1].temporary

    def fail(source: str, target: str) -> None:
        if source == failing:
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(file_sink.os, "rename", fail)
    with pytest.raises(SinkError, match="the disk is full"):
        second.commit(parts)
    assert names(tmp_path) == [f"part-0000{task}.parquet" for task in range(3)]
    assert pl.read_parquet(tmp_path).height == 9


def test_ignore_writes_nothing_where_something_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    sink = WriteParquet.to(tmp_path, FRAME.schema, mode="ignore")
    assert sink.is_skipped
    sink.commit([sink.write(FRAME, 0, 0)])
    assert names(tmp_path) == ["mine.txt"]


def test_ignore_writes_where_nothing_is(tmp_path: Path) -> None:
    sink = WriteParquet.to(tmp_path, FRAME.schema, mode="ignore")
    sink.commit([sink.write(FRAME, 0, 0)])
    assert names(tmp_path) == ["part-00000.parquet"]


def test_somebody_elses_parts_that_appear_meanwhile_are_not_replaced(tmp_path: Path) -> None:
    first, second = WriteParquet.to(tmp_path, FRAME.schema), WriteParquet.to(tmp_path, FRAME.schema)
    first.commit([first.write(FRAME, 0, 0)])
    with pytest.raises(SinkError, match="was empty when the action began"):
        second.commit([second.write(FRAME[:1], 0, 0)])
    assert pl.read_parquet(tmp_path).height == 3 and len(names(tmp_path)) == 1


def test_a_part_that_the_driver_cannot_see_is_an_error(tmp_path: Path) -> None:
    target = tmp_path / "out"
    sink = WriteParquet.to(target, FRAME.schema)
    parts = [sink.write(FRAME, task, 0) for task in range(2)]
    os.unlink(parts[1].temporary or "")
    with pytest.raises(SinkError, match="all nodes share"):
        sink.commit(parts)
    assert names(tmp_path) == []


def test_wrong_targets_and_options_are_named_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SinkError, match="file is a file"):
        WriteParquet.to(tmp_path / "file", FRAME.schema)
    with pytest.raises(SinkError, match="file/out: Not a directory"):
        WriteParquet.to(tmp_path / "file" / "out", FRAME.schema)
    with pytest.raises(SinkError, match="mode 'append' is not one of 'error', 'overwrite', 'ignore'"):
        WriteParquet.to(tmp_path / "out", FRAME.schema, mode="append")
    with pytest.raises(SinkError, match="write_parquet cannot write these columns or options"):
        WriteParquet.to(tmp_path / "out", FRAME.schema, compression="zip")
    with pytest.raises(SinkError, match="write_csv cannot write"):
        WriteCsv.to(tmp_path / "out", pl.Schema({"l": pl.List(pl.Int64)}))
    with pytest.raises(SinkError, match="duration"):  # Polars writes a column of it that has no rows
        WriteCsv.to(tmp_path / "out", pl.Schema({"d": pl.Duration("ms")}))
    with pytest.raises(SinkError, match="s3://"):
        WriteParquet.to("s3://bucket/out", FRAME.schema)
    assert names(tmp_path) == ["file"]


def test_a_target_that_cannot_be_written_is_named() -> None:
    with pytest.raises(SinkError, match=r"/proc/out|/proc"):
        sink = WriteParquet.to("/proc/out", FRAME.schema)
        sink.write(FRAME, 0, 0)


LIMITED = """
import resource, signal, sys, polars as pl
from hpcflow.errors import SinkError
from hpcflow.ir.operators.write_parquet import WriteParquet
from hpcflow.ir.operators.write_csv import WriteCsv
from hpcflow.ir.operators.write_ipc import WriteIpc
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
df = pl.DataFrame({"a": range(200_000)})
for kind in (WriteParquet, WriteCsv, WriteIpc):
    sink = kind.to(sys.argv[1], df.schema)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    try:
        sink.write(df, 0, 0)
    except SinkError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def test_a_file_that_does_not_fit_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True)
    lines = [line for line in run.stdout.splitlines() if line.startswith("cannot write")]
    assert len(lines) == 3 and all(f"{tmp_path}/part-00000." in line for line in lines), run.stdout
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", [WriteParquet, WriteIpc])
def test_every_type_comes_back(tmp_path: Path, kind: Any) -> None:
    frame = every_type()
    sink = kind.to(tmp_path, frame.schema, durable=True)
    sink.commit([sink.write(frame, 0, 0)])
    read = READERS[kind](tmp_path / names(tmp_path)[0])
    assert read.schema == frame.schema and read.equals(frame)


def test_files_get_the_mode_of_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        sink = WriteParquet.to(tmp_path, FRAME.schema)
        sink.commit([sink.write(FRAME, 0, 0)])
    finally:
        os.umask(old)
    assert (tmp_path / "part-00000.parquet").stat().st_mode & 0o777 == 0o640


def test_what_a_write_leaves_is_read_as_a_directory(tmp_path: Path) -> None:
    from hpcflow.ir.operators.read_parquet import ReadParquet

    sink = WriteParquet.to(tmp_path, FRAME.schema)
    sink.commit([sink.write(FRAME, task, 0) for task in range(3)])
    WriteParquet.to(tmp_path, FRAME.schema, mode="overwrite").write(FRAME, 0, 0)  # another run's unfinished file
    assert ReadParquet.of(tmp_path).statistics().rows == 9


def test_foreach_partition_calls_the_function_once_a_filled_partition() -> None:
    seen: list[Any] = []
    sink = ForeachPartition(seen.append, FRAME.schema, "numpy")
    parts = [sink.write(FRAME, 0, 0), sink.write(FRAME.clear(), 1, 0)]
    sink.commit(parts)
    assert len(seen) == 1 and seen[0]["a"].tolist() == [1, 2, 3]
    assert [part.rows for part in parts] == [3, 0]
