"""CSV sources: any split of any quoted text reads as Polars reads the whole."""

from __future__ import annotations

import csv
import gzip
import io
import pickle
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hpcflow.errors import SourceError
from hpcflow.ir.operators.read_csv import ReadCsv
from hpcflow.ir.operators.source import Split, SplitHint
from tests.ir.operators.frames import read_all

MANY = SplitHint(7, 1 << 40)


def _file(folder: Path, content: str | bytes, name: str = "f.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _agrees(path: Any, tasks: int, **options: Any) -> None:
    """Split reading gives what Polars gives for the whole file with the same options."""
    whole = pl.scan_csv(path, **options).collect()
    source = ReadCsv.of(path, **options)
    read = read_all(pickle.loads(pickle.dumps(source)), source.splits(SplitHint(tasks, 1 << 40)))
    assert read.schema == whole.schema
    assert read.equals(whole)


FIELD = st.none() | st.text(st.sampled_from('ab",;#\n\r é'), max_size=6)
ROWS = st.lists(st.tuples(st.integers(-99, 99) | st.none(), FIELD, FIELD), max_size=12)


def _text(rows: list[tuple[Any, ...]], *, header: str, separator: str, end: str, quoting: Any, final: bool) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator=end, quoting=quoting).writerows(
        [["" if value is None else value.replace("\r", "") if isinstance(value, str) else value for value in row] for row in rows]
    )
    text = header + out.getvalue()
    return text if final else text.removesuffix(end)


@given(
    ROWS,
    st.integers(1, 9),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([",", ";"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)
def test_quoted_text_reads_the_same_in_any_number_of_splits(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], tasks: int, end: str, separator: str, quoting: Any, final: bool
) -> None:
    text = _text(rows, header=separator.join(["i", '"x ""y"""', "s"]) + end, separator=separator, end=end, quoting=quoting, final=final)
    path = _file(tmp_path_factory.mktemp("c"), text)
    _agrees(path, tasks, separator=separator, infer_schema_length=None)


LINE = st.sampled_from(["1,a", '2,"b\nc"', '3,"d""e"', "#note", '#odd " quote', '4,"#x\n#y"', "5,#z", '6,"\n#a"', '7,""', "-8,é", "9"])


@given(
    st.lists(LINE, max_size=14),
    st.integers(1, 9),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.lists(st.sampled_from(["#top", "", '#"']), max_size=2),
)
def test_comment_lines_and_short_rows_read_the_same_in_any_number_of_splits(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], tasks: int, end: str, final: bool, top: list[str]
) -> None:
    text = end.join([*top, "k,v", *lines]) + (end if final else "")
    path = _file(tmp_path_factory.mktemp("c"), text)
    options: dict[str, Any] = {"comment_prefix": "#", "schema_overrides": {"k": pl.Int64, "v": pl.String}}
    try:
        pl.read_csv(path, **options)
    except pl.exceptions.ComputeError:  # Polars refuses a last row such as 1,"a\n#b" without a line end
        assume(False)
    _agrees(path, tasks, **options)


@given(st.lists(st.sampled_from(["1", "", "22", '"3"', '"4\n"']), min_size=1, max_size=10), st.integers(1, 9), st.booleans())
def test_blank_lines_are_rows_wherever_the_cuts_fall(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], tasks: int, has_header: bool
) -> None:
    path = _file(tmp_path_factory.mktemp("c"), "\n".join(["7", *lines]) + "\n")
    _agrees(path, tasks, has_header=has_header, infer_schema=False)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a;b\n" + "1,5;x\n" * 20, {"separator": ";", "decimal_comma": True}),
        ('junk\n"half quote\na,b\n' + "1,x\n" * 20, {"skip_lines": 2}),
        ('"two\nlines",z\nq,r\na,b\n' + "1,x\n" * 20, {"skip_rows": 2}),
        ("a,b\nunits,none\n" + "1,x\n" * 20, {"skip_rows_after_header": 1}),
        ("1,x\n" * 20, {"has_header": False}),
        ("1,x\n" * 20, {"has_header": False, "new_columns": ["p", "q"]}),
        ("1,x\n" * 20, {"has_header": False, "schema": {"p": pl.Int8, "q": pl.String}}),
        ("a,b\n" + "1,x\n" * 20, {"schema": {"b": pl.String, "a": pl.Float32}}),
        ("a,b\n" + "NA,x\n1,-\n" * 20, {"null_values": ["NA", "-"]}),
        ("a,b\n" + "NA,NA\n1,-\n" * 20, {"null_values": {"a": "NA"}}),
        ("a,b\n" + "1,'x,\n'\n" * 20, {"quote_char": "'"}),
        ("a,b\n" + '1,5" pipe\n' * 20, {"quote_char": None}),
        ("a,b\n" + "2020-01-02,2020-01-02T10:00:00\n" * 20, {"try_parse_dates": True}),
        ("a,b\n" + "x,2\n1,y\n" * 20, {"schema_overrides": {"a": pl.Int64, "b": pl.Int64}, "ignore_errors": True}),
        ("a,b\n" + "1,2,3\n1\n" * 20, {"truncate_ragged_lines": True}),
        ("a,b;" + "1,x;" * 20, {"eol_char": ";"}),
        ("\ufeffa,b\n" + "1,x\n" * 20, {}),
        ("a,a\n" + "1,x\n" * 20, {}),
        ("a,b\n", {}),
        ("a,b", {}),
        ("a,b\n" + ",\n" * 20, {"empty_string_is_null": False, "infer_schema": False}),
    ],
)
@pytest.mark.parametrize("tasks", [1, 3, 50])
def test_options_mean_what_they_mean_in_polars(tmp_path: Path, text: str, options: dict[str, Any], tasks: int) -> None:
    _agrees(_file(tmp_path, text), tasks, **options)


def test_dtypes_are_those_of_the_head_for_every_split(tmp_path: Path) -> None:
    path = _file(tmp_path, "a\n" + "1\n" * 200 + "2\n" * 200)
    source = ReadCsv.of(path, infer_schema_length=10)
    assert {source.scan(split).collect_schema()["a"] for split in source.splits(MANY)} == {pl.Int64()}


def test_a_late_value_that_does_not_parse_is_named_with_file_and_line(tmp_path: Path) -> None:
    rows = [f'{row},"text\nof two lines"' for row in range(1000)]
    rows[700] = "seven,x"
    path = _file(tmp_path, "a,b\n" + "\n".join(rows) + "\n")
    source = ReadCsv.of(path)
    bad = _first_failing(source, source.splits(MANY))
    found = pickle.loads(pickle.dumps(source)).diagnose(*bad)
    assert isinstance(found, SourceError)
    message = str(found)
    assert str(path) in message and "line 1402" in message and "seven,x" in message and "could not parse `seven`" in message


def test_a_bad_value_of_an_undivided_file_is_named_too(tmp_path: Path) -> None:
    path = _file(tmp_path, "a,b\n" + "1,x\n" * 300 + "one,x\n" + "1,x\n" * 5)
    source = ReadCsv.of(path)
    assert "line 302" in str(source.diagnose(*_first_failing(source, source.splits(SplitHint(1, 1 << 40)))))


def _first_failing(source: ReadCsv, splits: tuple[Split, ...]) -> tuple[Split, Exception]:
    for split in splits:
        try:
            source.scan(split).collect()
        except Exception as error:
            return split, error
    raise AssertionError("no split failed")


def test_several_files_are_cut_and_coalesced_by_size(tmp_path: Path) -> None:
    for number, rows in enumerate([3, 1, 1, 400, 2]):
        _file(tmp_path, "a,b\n" + "".join(f"{number},{row}\n" for row in range(rows)), f"{number}.csv")
    source = ReadCsv.of(tmp_path)
    splits = source.splits(SplitHint(4, 1 << 40))
    assert [len({piece.path for piece in split.payload}) for split in splits] == [4, 1, 1, 2]
    assert read_all(source, splits).equals(pl.read_csv(tmp_path / "*.csv"))


def test_a_compressed_file_is_one_split(tmp_path: Path) -> None:
    path = _file(tmp_path, gzip.compress(b"a,b\n" + b"1,x\n" * 100), "f.csv.gz")
    source = ReadCsv.of(path)
    splits = source.splits(MANY)
    assert len(splits) == 1 and read_all(source, splits).height == 100


@pytest.mark.parametrize(
    ("header", "message"), [("a,c", "column 2 is 'c' and not 'b'"), ("b,a", "column 1 is 'b' and not 'a'"), ("a,b,c", "3 columns and not 2")]
)
def test_a_file_with_another_header_is_named(tmp_path: Path, header: str, message: str) -> None:
    _file(tmp_path, "a,b\n1,x\n", "0.csv")
    _file(tmp_path, f"{header}\n1,x,y\n", "1.csv")
    with pytest.raises(SourceError, match=rf"1\.csv does not have the columns of .*0\.csv: {message}"):
        ReadCsv.of(tmp_path)


def test_an_empty_or_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read the head of .*f\.csv"):
        ReadCsv.of(_file(tmp_path, ""))
    with pytest.raises(SourceError, match=r"no such file.*did you mean 'f\.csv'"):
        ReadCsv.of(tmp_path / "ff.csv")


def test_a_schema_about_other_columns_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, "a,b\n1,x\n")
    with pytest.raises(SourceError, match="has no column 'z'"):
        ReadCsv.of(path, schema={"a": pl.Int64, "z": pl.String})
    with pytest.raises(SourceError, match="column 'b' that the schema does not name"):
        ReadCsv.of(path, schema={"a": pl.Int64})
    with pytest.raises(SourceError, match="has 2 columns, the schema names 1"):
        ReadCsv.of(path, has_header=False, schema={"a": pl.Int64})


def test_only_the_pushed_columns_are_parsed(tmp_path: Path) -> None:
    path = _file(tmp_path, "a,b\n" + "1,x\n" * 100)
    source = ReadCsv.of(path, schema_overrides={"b": pl.Int64}).with_pushdown(("a",), pl.col("a") > 0)
    assert read_all(source, source.splits(MANY)).columns == ["a"]


def test_a_file_that_shrank_is_an_error(tmp_path: Path) -> None:
    path = _file(tmp_path, "a,b\n" + "1,x\n" * 1000)
    source = ReadCsv.of(path)
    last = source.splits(MANY)[-1]
    _file(tmp_path, "a,b\n1,x\n")
    with pytest.raises(SourceError, match="cut short"):
        source.scan(last)


def test_equal_sources_have_equal_fingerprints(tmp_path: Path) -> None:
    path = _file(tmp_path, "a,b\n1,x\n")
    assert ReadCsv.of(path).fingerprint() == ReadCsv.of(path).fingerprint() != ReadCsv.of(path, null_values="x").fingerprint()


def test_a_file_without_a_header_whose_first_line_is_short_is_refused(tmp_path):
    with pytest.raises(SourceError, match="its first line has 1 fields and others have 2"):
        ReadCsv.of(_file(tmp_path, "\n1,2\n"), has_header=False)
