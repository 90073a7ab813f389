"""Text and Arrow IPC sources: any split gives the lines or rows of the file; bad files are named."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.errors import SourceError
from hpcflow.ir.operators.read_ipc import ReadIpc
from hpcflow.ir.operators.read_text import ReadText
from hpcflow.ir.operators.source import SplitHint, named_source_error
from tests.ir.operators.frames import every_type, read_all

MANY = SplitHint(7, 1 << 40)


@given(
    st.lists(st.lists(st.sampled_from(["", "a", "long line " * 4, "é\r", "\r", "x\ry"]), max_size=8), min_size=1, max_size=3),
    st.integers(1, 9),
    st.booleans(),
)
def test_lines_are_the_same_in_any_number_of_splits(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[str]], tasks: int, final: bool
) -> None:
    folder = tmp_path_factory.mktemp("t")
    for number, lines in enumerate(files):
        (folder / f"{number}.txt").write_bytes(("\n".join(lines) + ("\n" if final else "")).encode())
    source = ReadText.of(folder)
    whole = pl.concat([pl.scan_lines(path, name="text").collect() for path in sorted(folder.iterdir())])
    assert read_all(pickle.loads(pickle.dumps(source)), source.splits(SplitHint(tasks, 1 << 40))).equals(whole)


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    path.write_bytes(b"line\n" * 100 + b"\xff\xfe\n" + b"line\n" * 100)
    source = ReadText.of(path)
    found = [source.diagnose(split, ValueError()) for split in source.splits(MANY)]
    (damage,) = [error for error in found if error is not None]
    assert isinstance(damage, SourceError) and "f.txt" in str(damage) and "line 101" in str(damage)


def test_compressed_text_is_one_split(tmp_path: Path) -> None:
    (tmp_path / "f.txt.gz").write_bytes(gzip.compress(b"a\nb\n" * 50))
    source = ReadText.of(tmp_path, name="line")
    splits = source.splits(MANY)
    assert len(splits) == 1 and read_all(source, splits).height == 100 and source.schema.names() == ["line"]


def test_empty_text_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_bytes(b"")
    source = ReadText.of(tmp_path)
    assert read_all(source, source.splits(MANY)).height == 0


@pytest.mark.parametrize("tasks", [1, 3, 7, 100])
@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_ipc_rows_are_the_same_in_any_number_of_splits(tmp_path: Path, tasks: int, compression: str) -> None:
    for number, height in enumerate([10, 0, 1, 35]):
        frame = pl.DataFrame({"a": range(height), "s": [str(row) for row in range(height)]}, schema={"a": pl.Int64, "s": pl.String})
        frame.write_ipc(tmp_path / f"{number}.arrow", compression=compression, record_batch_size=4)  # type: ignore[arg-type]
    source = ReadIpc.of(tmp_path)
    splits = source.splits(SplitHint(tasks, 1 << 40))
    assert source.statistics().rows == 46 and sum(split.rows or 0 for split in splits) == 46
    assert read_all(pickle.loads(pickle.dumps(source)), splits).equals(pl.concat(pl.read_ipc(path) for path in sorted(tmp_path.iterdir())))


def test_every_type_comes_back_from_ipc(tmp_path: Path) -> None:
    frame = every_type()
    frame.write_ipc(tmp_path / "f.arrow", record_batch_size=2)
    source = ReadIpc.of(tmp_path)
    assert source.schema == frame.schema
    assert read_all(source, source.splits(SplitHint(3, 1 << 40))).equals(frame)
    assert read_all(source.with_pushdown(("enum", "str"), None), source.splits(MANY)).equals(frame.select("enum", "str"))


def test_a_type_that_pyarrow_does_not_know_comes_back_from_ipc(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": pl.Series([2**100, None, 0] * 4, dtype=pl.Int128), "y": pl.Series([2**127, 1, None] * 4, dtype=pl.UInt128)})
    frame.write_ipc(tmp_path / "f.arrow", record_batch_size=2)
    source = ReadIpc.of(tmp_path)
    assert (source.schema, source.statistics().rows) == (frame.schema, 12)
    assert read_all(source, source.splits(SplitHint(3, 1 << 40))).equals(frame)


@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0", b"not arrow", b"ARROW1\0\0" + b"\xff" * 200 + b"ARROW1"])
def test_a_damaged_ipc_file_is_named(tmp_path: Path, content: bytes) -> None:
    pl.DataFrame({"a": [1]}).write_ipc(tmp_path / "0.arrow")
    (tmp_path / "1.arrow").write_bytes(content)
    with pytest.raises(SourceError, match=r"1\.arrow"):
        ReadIpc.of(tmp_path)


def test_an_ipc_file_of_another_schema_is_named(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_ipc(tmp_path / "0.arrow")
    pl.DataFrame({"a": ["x"]}).write_ipc(tmp_path / "1.arrow")
    with pytest.raises(SourceError, match=r"1\.arrow does not have the schema of .*0\.arrow: column 'a' is String and not Int64"):
        ReadIpc.of(tmp_path)


def test_a_damaged_record_batch_is_diagnosed(tmp_path: Path) -> None:
    path = tmp_path / "f.arrow"
    pl.DataFrame({"s": [f"row {row}" for row in range(4000)]}).write_ipc(path, compression="zstd", record_batch_size=1000)
    content = bytearray(path.read_bytes())
    middle = len(content) * 5 // 8
    content[middle - 300 : middle + 300] = b"\xff" * 600
    path.write_bytes(content)
    source = ReadIpc.of(path)
    found = source.diagnose(source.splits(SplitHint(1, 1 << 40))[0], ValueError())
    assert isinstance(found, SourceError) and "f.arrow, record batch 2 (rows 2000 to 3000)" in str(found)


def test_equal_sources_have_equal_fingerprints(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_ipc(tmp_path / "0.arrow")
    assert ReadIpc.of(tmp_path).fingerprint() == ReadIpc.of(tmp_path).fingerprint()
    assert ReadText.of(tmp_path).fingerprint() == ReadText.of(tmp_path).fingerprint() != ReadText.of(tmp_path, name="x").fingerprint()


def test_a_failed_task_blames_the_file_only_when_it_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_bytes(b"a\n")
    (tmp_path / "bad.txt").write_bytes(b"\xff\n")
    good, bad = ReadText.of(tmp_path / "good.txt"), ReadText.of(tmp_path / "bad.txt")
    reads = [(source, source.splits(MANY)[0]) for source in (good, bad)]
    assert "bad.txt" in str(named_source_error(pl.exceptions.ComputeError("x"), reads))
    assert named_source_error(pl.exceptions.ComputeError("x"), reads[:1]) is None
    assert named_source_error(ZeroDivisionError("a user's function"), reads) is None
    assert named_source_error(SourceError("named already"), reads) is None
