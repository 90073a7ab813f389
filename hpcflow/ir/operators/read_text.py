"""Text files, one row a line: column "text" holds the line without its end (\\n or \\r\\n).

Splits are byte ranges that begin and end at a line; a compressed file is one split. Files are UTF-8.

    ReadText.of("logs/*.txt")
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import polars as pl

from hpcflow.errors import SourceError
from hpcflow.ir.operators.base import fingerprint_of
from hpcflow.ir.operators.byte_ranges import Piece, cut_files, file_size, read_range
from hpcflow.ir.operators.paths import PathsLike, is_remote, list_files
from hpcflow.ir.operators.source import READ_ERRORS, Source, SourceStatistics, Split, SplitHint

_WINDOW = 1 << 16


@dataclass(frozen=True, eq=False)
class ReadText(Source):
    """Lines of text files."""

    name: ClassVar[str] = "read_text"

    label: str
    """What the user wrote."""
    storage_options: dict[str, Any] | None
    files: tuple[str, ...] = field(repr=False)
    """Rank 0 only: a pickled source has none."""
    sizes: tuple[int, ...] = field(repr=False)
    """Bytes of each file, 0 for remote ones; rank 0 only."""

    @classmethod
    def of(cls, source: PathsLike, *, name: str = "text", glob: bool = True, storage_options: dict[str, Any] | None = None) -> Self:
        """List the files; `name` is the column's. SourceError names a file that is missing or not readable."""
        listed = list_files(source, glob=glob)
        return cls(pl.Schema({name: pl.String()}), listed.label, storage_options, listed.files, tuple(map(file_size, listed.files)))

    def statistics(self) -> SourceStatistics:
        return SourceStatistics(None, None if any(map(is_remote, self.files)) else sum(self.sizes))

    def splits(self, hint: SplitHint) -> tuple[Split, ...]:
        total = sum(self.sizes)
        cut = cut_files(self.files, self.sizes, hint.splits_for(total, total), _next_lines)
        return tuple(Split(index, pieces, None, sum(piece.size for piece in pieces)) for index, pieces in enumerate(cut))

    def scan(self, split: Split) -> pl.LazyFrame:
        return pl.concat([self._scan_piece(piece) for piece in split.payload])

    def describe(self) -> str:
        return f"{self.label}{f', {len(self.files)} files, {sum(self.sizes):,} bytes' if self.files else ''}"

    def fingerprint(self) -> object:
        """Equal for the same files."""
        return (type(self), tuple(self.schema.items()), self.files or id(self), fingerprint_of(self.storage_options))

    def diagnose(self, split: Split, error: BaseException) -> SourceError | None:
        """The first piece of the split that cannot be read, and where it is not UTF-8."""
        for piece in split.payload:
            try:
                self._scan_piece(piece).collect()
            except READ_ERRORS as damage:
                return damage if isinstance(damage, SourceError) else SourceError(f"cannot read {piece.path}: {damage}{_bad_line(piece)}")
        return None

    def _scan_piece(self, piece: Piece) -> pl.LazyFrame:
        (column,) = self.schema
        if piece.stop is None:
            return pl.scan_lines(piece.path, name=column, glob=False, storage_options=self.storage_options)
        return pl.scan_lines(read_range(piece.path, piece.start, piece.stop), name=column)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "files": (), "sizes": ()}


def _next_lines(path: str, offsets: list[int]) -> list[int]:
    """The starts of the lines that follow these offsets; a line that starts at an offset counts."""
    found = []
    with open(path, "rb") as file:
        for offset in offsets:
            file.seek(offset - 1)
            position = offset - 1
            while chunk := file.read(_WINDOW):
                end = chunk.find(b"\n")
                if end >= 0:
                    position += end + 1
                    break
                position += len(chunk)
            found.append(position)
    return found


def _bad_line(piece: Piece) -> str:
    """The first line of the piece that is not UTF-8, in words; empty when it cannot be told (compressed or remote)."""
    try:
        start, stop = piece.start, piece.start + piece.size if piece.stop is None else piece.stop
        content = read_range(piece.path, start, stop)
        content.decode()
    except UnicodeDecodeError as error:
        line = read_range(piece.path, 0, start + error.start).count(b"\n") + 1
        return f" (byte {start + error.start}, line {line})"
    except SourceError:
        pass
    return ""
