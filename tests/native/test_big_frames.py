"""One string column with more bytes than the 2^30 of a view's window: read through several windows."""

from __future__ import annotations

import polars as pl
import pytest

from hpcflow.native import ArenaPool, pack_frame, unpack_frame


@pytest.mark.big
def test_string_data_beyond_one_window_comes_back() -> None:
    long = [letter * (50 << 20) for letter in "ab"]
    df = pl.DataFrame({"s": long})[[i % 2 for i in range(46)]].with_row_index()  # 2.25 GiB of values, 100 MiB of memory
    pool = ArenaPool()
    frame = pack_frame(df, pool=pool)
    assert frame.size_bytes > 2 << 30
    got = unpack_frame(frame, df.schema)
    assert got["s"].str.len_bytes().to_list() == [50 << 20] * 46
    assert all(got["s"][i] == long[i % 2] for i in (0, 19, 20, 21, 40, 45))
    del got, frame
    assert pool.resident_bytes == 0
    pool.trim()
