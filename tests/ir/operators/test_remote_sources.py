"""Files behind URLs: read through Polars' object store, rows cut without their row groups."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from hpcflow.errors import SourceError
from hpcflow.ir.operators.read_csv import ReadCsv
from hpcflow.ir.operators.read_ipc import ReadIpc
from hpcflow.ir.operators.read_parquet import ReadParquet
from hpcflow.ir.operators.read_text import ReadText
from hpcflow.ir.operators.source import SplitHint
from tests.ir.operators.frames import read_all

FRAME = pl.DataFrame({"a": range(100), "s": ["x", "y"] * 50})


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A small HTTP server that knows byte ranges, over a folder with FRAME in every format."""
    FRAME.write_parquet(tmp_path / "f.parquet", row_group_size=20)
    FRAME.write_csv(tmp_path / "f.csv")
    FRAME.write_ipc(tmp_path / "f.arrow")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = tmp_path / self.path.lstrip("/")
            if not path.exists():
                self.send_error(404)
                return
            content, asked = path.read_bytes(), self.headers.get("Range")
            start, stop = 0, len(content)
            if asked:
                first, last = asked.removeprefix("bytes=").split("-")
                start = int(first) if first else max(0, len(content) - int(last))
                stop = min(len(content), int(last) + 1) if first and last else len(content)
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
            self.send_header("Content-Length", str(stop - start))
            self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[start:stop])

        do_HEAD = do_GET  # noqa: N815 (the library's names)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(("kind", "name", "splits"), [(ReadParquet, "f.parquet", 3), (ReadIpc, "f.arrow", 3), (ReadCsv, "f.csv", 1)])
def test_remote_rows_are_those_of_the_file(url: str, kind: Any, name: str, splits: int) -> None:
    source = kind.of(f"{url}/{name}")
    cut = source.splits(SplitHint(3, 1 << 40))
    assert len(cut) == splits
    assert read_all(source, cut).equals(FRAME)


def test_a_predicate_on_remote_files_keeps_all_rows(url: str) -> None:
    source = ReadParquet.of(f"{url}/f.parquet").with_pushdown(("a",), pl.col("a") > 90)
    assert read_all(source, source.splits(SplitHint(2, 1 << 40))).equals(FRAME.select("a"))


def test_two_remote_files_are_two_splits(url: str) -> None:
    source = ReadText.of([f"{url}/f.csv", f"{url}/f.csv"])
    splits = source.splits(SplitHint(2, 1 << 40))
    assert len(splits) == 2 and read_all(source, splits).height == 202


@pytest.mark.parametrize("kind", [ReadParquet, ReadIpc, ReadCsv])
def test_a_missing_remote_file_is_named(url: str, kind: Any) -> None:
    with pytest.raises(SourceError, match="nothing_there"):
        kind.of(f"{url}/nothing_there.bin")
