"""After Polars could not parse a piece of a CSV file: which line it was.

Invariant: runs only when a read has failed; halves the piece at row starts until the first row that fails is alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from hpcflow.errors import SourceError
from hpcflow.ir.operators.byte_ranges import Piece, is_divisible, read_range
from hpcflow.ir.operators.quote_scan import QuoteScan, open_scan
from hpcflow.ir.operators.source import READ_ERRORS

if TYPE_CHECKING:
    from hpcflow.ir.operators.read_csv import CsvOptions


def scan_rows(path: str, options: CsvOptions) -> contextlib.AbstractContextManager[QuoteScan]:
    """A scan for the row starts of a file that is read with `options`."""
    return open_scan(
        path,
        quote=options.quote_char.encode() if options.quote_char else None,
        eol=options.eol_char.encode(),
        comment=options.comment_prefix.encode() if options.comment_prefix else None,
        skip_lines=options.skip_lines,
        head_rows=options.skip_rows + 1 + options.skip_rows_after_header,
    )


def find_bad_row(piece: Piece, scan: Callable[[Piece], pl.LazyFrame], options: CsvOptions, damage: BaseException) -> SourceError:
    """The SourceError for a piece that failed with `damage`: file, byte range, and the first line that fails by itself."""
    if piece.stop is None and not is_divisible(piece.path):
        return SourceError(f"cannot read {piece.path}: {damage}")
    low, high = piece.start, piece.start + piece.size
    with scan_rows(piece.path, options) as rows:
        while True:
            (middle,) = rows.row_starts([(low + high) // 2])
            if middle >= high:  # the last row of the range is longer than half of it
                middle = _last_row_start(rows, low, high)
            if not low < middle < high:
                break
            low, high = (low, middle) if _fails(replace(piece, start=low, stop=middle, size=middle - low), scan) else (middle, high)
    line = read_range(piece.path, 0, low).count(options.eol_char.encode()) + 1
    text = read_range(piece.path, low, min(high, low + 200)).decode(errors="replace").rstrip("\r\n")
    where = f"{piece.path}, bytes {piece.start} to {piece.start + piece.size}"
    return SourceError(f"cannot read {where}: line {line} (byte {low}): {damage}\n  the line: {text}")


def _last_row_start(rows: QuoteScan, low: int, high: int) -> int:
    """A row start strictly between `low` and `high` that is nearest to `low`, or `high`."""
    (following,) = rows.row_starts([low + 1])
    return min(following, high)


def _fails(piece: Piece, scan: Callable[[Piece], pl.LazyFrame]) -> bool:
    try:
        scan(piece).collect()
    except READ_ERRORS:
        return True
    return False
