"""CSV files, cut into byte ranges at rows; dtypes are fixed once on rank 0.

The first split of a file is read with the user's options as it stands; every other gets a header line put before its bytes, so that Polars treats
ragged, blank and quoted rows as it does in the whole file. A value that does not parse on a worker is an error that names file, byte range and line.
A compressed or remote file is one split.

    ReadCsv.of("flights.csv", null_values=["NA"])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self

import polars as pl

from hpcflow.errors import SourceError
from hpcflow.ir.operators.base import fingerprint_of
from hpcflow.ir.operators.byte_ranges import Piece, cut_files, file_size, is_divisible, read_range
from hpcflow.ir.operators.csv_diagnosis import find_bad_row, scan_rows
from hpcflow.ir.operators.paths import FileList, PathsLike, is_remote, list_files
from hpcflow.ir.operators.source import READ_ERRORS, Source, SourceStatistics, Split, SplitHint

_SAMPLED_BYTES = 1 << 16


@dataclass(frozen=True, eq=False)
class CsvOptions:
    """How the files are read; Polars' names. All dtypes are fixed when the source is built."""

    file_names: tuple[str, ...]
    """Columns as the files name them, in their order."""
    names: tuple[str, ...]
    """The same as the user names them."""
    dtypes: tuple[pl.DataType, ...]
    has_header: bool
    separator: str
    comment_prefix: str | None
    quote_char: str | None
    skip_rows: int
    skip_lines: int
    skip_rows_after_header: int
    null_values: str | Sequence[str] | Mapping[str, str] | None
    empty_string_is_null: bool
    ignore_errors: bool
    encoding: Literal["utf8", "utf8-lossy"]
    try_parse_dates: bool
    eol_char: str
    truncate_ragged_lines: bool | None
    decimal_comma: bool
    storage_options: dict[str, Any] | None

    def scan_start(self, source: str | bytes) -> pl.LazyFrame:
        """A file, or its first bytes, from the first line on."""
        scan = pl.scan_csv(
            source,
            has_header=self.has_header,
            skip_rows=self.skip_rows,
            skip_lines=self.skip_lines,
            skip_rows_after_header=self.skip_rows_after_header,
            schema_overrides=list(self.dtypes),
            null_values=self.null_values,  # type: ignore[arg-type]
            storage_options=self.storage_options if isinstance(source, str) else None,
            glob=isinstance(source, str) and is_remote(source),
            **self.common(),
        )
        return scan if self.names == self.file_names else scan.rename(dict(zip(self.file_names, self.names, strict=True)))

    def scan_middle(self, piece: Piece) -> pl.LazyFrame:
        """Rows from somewhere in a file, behind a header line of our own."""
        assert piece.stop is not None
        ours = self.header_names()
        schema = dict(zip(ours, self.dtypes, strict=True))
        rows = read_range(piece.path, piece.start, piece.stop, before=self.header())
        scan = pl.scan_csv(rows, has_header=True, schema=schema, null_values=self._null_values(ours), **self.common())
        return scan.rename(dict(zip(ours, self.names, strict=True)))

    def header_names(self) -> list[str]:
        """The columns' names where none needs quoting or starts a comment (errors then name them), else numbers."""
        special = [self.separator, self.eol_char, "\r", "\n", self.quote_char or "", self.comment_prefix or ""]
        is_plain = all(name and not any(text and text in name for text in special) for name in self.names)
        return list(self.names) if is_plain else [f"_{index}" for index in range(len(self.names))]

    def header(self) -> bytes:
        """A header line of those names."""
        return (self.separator.join(self.header_names()) + self.eol_char).encode()

    def _null_values(self, names: Sequence[str]) -> Any:
        if isinstance(self.null_values, Mapping):
            known = dict(zip(self.file_names, names, strict=True))
            return {known[name]: text for name, text in self.null_values.items() if name in known}
        return self.null_values

    def common(self) -> dict[str, Any]:
        """Arguments that hold for any part of a file."""
        shared = ("separator", "comment_prefix", "quote_char", "empty_string_is_null", "ignore_errors", "encoding", "eol_char")
        return {name: getattr(self, name) for name in (*shared, "truncate_ragged_lines", "decimal_comma", "try_parse_dates")}


@dataclass(frozen=True, eq=False)
class ReadCsv(Source):
    """Rows of CSV files."""

    name: ClassVar[str] = "read_csv"

    label: str
    """What the user wrote."""
    options: CsvOptions
    files: tuple[str, ...] = field(repr=False)
    """Rank 0 only: a pickled source has none."""
    sizes: tuple[int, ...] = field(repr=False)
    """Bytes of each file; rank 0 only."""
    expansion: float = field(repr=False)
    """Bytes in memory for each byte of the file, from its first rows."""

    @classmethod
    def of(
        cls,
        source: PathsLike,
        *,
        has_header: bool = True,
        separator: str = ",",
        comment_prefix: str | None = None,
        quote_char: str | None = '"',
        skip_rows: int = 0,
        skip_lines: int = 0,
        schema: Any = None,
        schema_overrides: Any = None,
        null_values: str | Sequence[str] | Mapping[str, str] | None = None,
        empty_string_is_null: bool = True,
        ignore_errors: bool = False,
        infer_schema: bool = True,
        infer_schema_length: int | None = 100,
        infer_schema_files: int = 10,
        encoding: Literal["utf8", "utf8-lossy"] = "utf8",
        skip_rows_after_header: int = 0,
        try_parse_dates: bool = False,
        eol_char: str = "\n",
        new_columns: Sequence[str] | None = None,
        truncate_ragged_lines: bool | None = None,
        decimal_comma: bool = False,
        glob: bool = True,
        storage_options: dict[str, Any] | None = None,
    ) -> Self:
        """List the files and fix names and dtypes from their heads. Arguments as in `pl.scan_csv`; SourceError names a missing or differing file."""
        listed = list_files(source, glob=glob)
        sizes = tuple(map(file_size, listed.files))
        options = CsvOptions(
            (), (), (), has_header, separator, comment_prefix, quote_char, skip_rows, skip_lines, skip_rows_after_header, null_values,
            empty_string_is_null, ignore_errors, encoding, try_parse_dates, eol_char, truncate_ragged_lines, decimal_comma, storage_options,
        )  # fmt: skip
        names = _one_header(listed, options)
        if schema is not None:
            fixed = pl.Schema(schema)
            _check_schema(fixed, names, has_header, listed)
            in_file = fixed if not has_header else pl.Schema({name: fixed[name] for name in names})
        else:
            in_file = fixed = _infer(listed, options, schema_overrides, new_columns, infer_schema_length if infer_schema else 0, infer_schema_files)
        if len(in_file) != len(names):  # without a header
            raise SourceError(
                f"cannot read {listed.label}: its first line has {len(names)} fields and others have {len(in_file)}; let skip_rows begin at a line "
                "with all fields"
            )
        options = replace(options, file_names=names, names=tuple(in_file), dtypes=tuple(in_file.values()))
        found = cls(fixed, listed.label, options, listed.files, sizes, 1.0)
        return replace(found, expansion=_expansion(options, listed.files[0], sizes[0]))

    def statistics(self) -> SourceStatistics:
        return SourceStatistics(None, None if any(map(is_remote, self.files)) else int(sum(self.sizes) * self.expansion))

    def splits(self, hint: SplitHint) -> tuple[Split, ...]:
        total = sum(self.sizes)
        cut = cut_files(self.files, self.sizes, hint.splits_for(int(total * self.expansion), total), self._row_starts)
        return tuple(Split(index, pieces, None, int(sum(piece.size for piece in pieces) * self.expansion)) for index, pieces in enumerate(cut))

    def scan(self, split: Split) -> pl.LazyFrame:
        return pl.concat([self._scan_piece(piece) for piece in split.payload])

    def describe(self) -> str:
        files = f", {len(self.files)} files, {sum(self.sizes):,} bytes" if self.files else ""
        return f"{self.label}{files}, {len(self.schema)} columns"

    def fingerprint(self) -> object:
        """Equal for the same files read in the same way."""
        options = tuple((f.name, fingerprint_of(getattr(self.options, f.name))) for f in fields(self.options))
        return (type(self), tuple(self.schema.items()), self.files or id(self), options)

    def diagnose(self, split: Split, error: BaseException) -> SourceError | None:
        """The first piece of the split that cannot be read, and the line in it that does not parse."""
        for piece in split.payload:
            try:
                self._scan_piece(piece).collect()
            except READ_ERRORS as damage:
                return damage if isinstance(damage, SourceError) else find_bad_row(piece, self._scan_piece, self.options, damage)
        return None

    def _scan_piece(self, piece: Piece) -> pl.LazyFrame:
        if piece.stop is None:
            scan = self.options.scan_start(piece.path)
        elif piece.start == 0:
            scan = self.options.scan_start(read_range(piece.path, 0, piece.stop))
        else:
            scan = self.options.scan_middle(piece)
        return scan.select(list(self.schema))

    def _row_starts(self, path: str, offsets: list[int]) -> list[int]:
        with scan_rows(path, self.options) as scan:
            return scan.row_starts(offsets)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "files": (), "sizes": ()}


def _head(path: str | list[str], options: CsvOptions, **more: Any) -> pl.Schema:
    """Names and dtypes that Polars reads from the head of files."""
    return pl.scan_csv(
        path,
        has_header=options.has_header,
        skip_rows=options.skip_rows,
        skip_lines=options.skip_lines,
        skip_rows_after_header=options.skip_rows_after_header,
        null_values=options.null_values,  # type: ignore[arg-type]
        storage_options=options.storage_options,
        **options.common(),
        **more,
    ).collect_schema()


def _one_header(listed: FileList, options: CsvOptions) -> tuple[str, ...]:
    """The column names, which are those of every file; SourceError names the first file that differs."""

    def read(path: str) -> tuple[str, ...]:
        try:
            return tuple(_head(path, options, infer_schema_length=0, glob=is_remote(path)))
        except READ_ERRORS as error:
            raise SourceError(f"cannot read the head of {path}: {error}") from error

    with ThreadPoolExecutor(min(16, len(listed.files))) as pool:
        headers = list(pool.map(read, listed.files))
    for path, header in zip(listed.files, headers, strict=True):
        if header != headers[0]:
            where = next((index for index, (one, other) in enumerate(zip(header, headers[0], strict=False)) if one != other), None)
            counts = f"{len(header)} columns and not {len(headers[0])}"
            what = counts if where is None else f"column {where + 1} is {header[where]!r} and not {headers[0][where]!r}"
            raise SourceError(f"{path} does not have the columns of {listed.files[0]}: {what}")
    return headers[0]


def _check_schema(schema: pl.Schema, names: tuple[str, ...], has_header: bool, listed: FileList) -> None:
    """SourceError when a given schema is not about the columns of the files."""
    if has_header:
        missing, extra = [name for name in schema if name not in names], [name for name in names if name not in schema]
        if missing or extra:
            what = f"has no column {missing[0]!r}" if missing else f"has a column {extra[0]!r} that the schema does not name"
            raise SourceError(f"{listed.files[0]} {what}; it has {', '.join(map(repr, names))}")
    elif len(schema) != len(names):
        raise SourceError(f"{listed.files[0]} has {len(names)} columns, the schema names {len(schema)}")


def _infer(listed: FileList, options: CsvOptions, overrides: Any, new_columns: Sequence[str] | None, rows: int | None, files: int) -> pl.Schema:
    """Names and dtypes as Polars infers them from the first `rows` rows of the first `files` files."""
    inference = {"schema_overrides": overrides, "infer_schema_length": rows, "infer_schema_files": files}
    try:
        found = _head(list(listed.files), options, glob=any(map(is_remote, listed.files)), **inference)
    except READ_ERRORS as error:
        raise SourceError(f"cannot infer the columns of {listed.label}: {error}") from error
    new = found.names() if new_columns is None else list(new_columns)
    if len(new) != len(found):
        raise SourceError(f"new_columns names {len(new)} columns, {listed.label} has {len(found)}")
    return pl.Schema(dict(zip(new, found.dtypes(), strict=True)))


def _expansion(options: CsvOptions, path: str, size: int) -> float:
    """Bytes in memory for each byte of text, from the first rows; 4 for a compressed or remote file is as good as any."""
    if is_remote(path) or not is_divisible(path):
        return 4.0
    text = read_range(path, 0, min(size, _SAMPLED_BYTES))
    cut = len(text) if len(text) == size else text.rfind(options.eol_char.encode()) + 1
    try:
        frame = options.scan_start(text[:cut]).collect()
    except pl.exceptions.PolarsError:  # cut inside a quoted field, or a bad value: the tasks will say so
        return 1.0
    return float(frame.estimated_size()) / max(1, cut)
