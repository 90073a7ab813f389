"""Arenas: aligned, reused, and never reused too early."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from hpcflow.native import Arena, ArenaPool, pack_frame, unpack_frame


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 10**6, 9 << 20])
def test_an_arena_is_aligned_and_writable(size: int) -> None:
    arena = ArenaPool().acquire(size)
    assert arena.size_bytes == len(arena) == size <= arena.capacity_bytes
    assert arena.address % 64 == 0
    view = memoryview(arena)
    view[:] = b"\x07" * size
    assert bytes(arena) == b"\x07" * size


def test_an_arena_is_reused_when_the_last_reference_is_gone() -> None:
    pool = ArenaPool()
    arena = pool.acquire(100_000)
    address, capacity = arena.address, arena.capacity_bytes
    assert (pool.resident_bytes, pool.idle_bytes) == (capacity, 0)
    view = memoryview(arena)
    del arena
    assert pool.resident_bytes == capacity, "the view still refers to it"
    del view
    assert (pool.resident_bytes, pool.idle_bytes) == (0, capacity)
    assert pool.acquire(99_000).address == address


@pytest.mark.thorough
def test_an_unpacked_table_holds_its_arena() -> None:
    pool = ArenaPool()
    df = pl.DataFrame({"s": [f"a string of more than twelve bytes {i}" for i in range(1000)], "l": [[i] for i in range(1000)]})
    got = unpack_frame(pack_frame(df, pool=pool), df.schema)
    part = got["s"][500:]
    del got
    gc.collect()
    assert pool.resident_bytes > 0
    again = [pack_frame(df.reverse(), pool=pool) for _ in range(3)]  # would overwrite an arena that was let go too early
    assert part.to_list() == df["s"][500:].to_list()
    del part, again
    gc.collect()
    assert pool.resident_bytes == 0


def test_a_table_may_be_dropped_by_another_thread() -> None:
    pool = ArenaPool()
    df = pl.DataFrame({"v": np.arange(10_000), "s": ["x" * 20] * 10_000})
    raw = bytearray(bytes(pack_frame(df, pool=pool)))
    box = [unpack_frame(pack_frame(df, pool=pool), df.schema), unpack_frame(raw, df.schema)]
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join()
    assert pool.resident_bytes == 0
    raw.append(0)  # no export is left


def test_a_table_may_be_dropped_inside_polars() -> None:
    pool = ArenaPool()
    df = pl.DataFrame({"v": np.arange(50_000), "k": np.arange(50_000) % 7})
    for _ in range(20):
        lazy = pl.concat([unpack_frame(pack_frame(df, pool=pool), df.schema).lazy() for _ in range(4)])
        total = lazy.group_by("k").agg(pl.col("v").sum()).select(pl.col("v").sum()).collect().item()
        del lazy
        assert total == 4 * df["v"].sum()
    gc.collect()
    assert pool.resident_bytes == 0


def test_threads_share_a_pool() -> None:
    pool = ArenaPool(limit_bytes=4 << 20)
    df = pl.DataFrame({"v": np.arange(3000), "s": [str(i) * 5 for i in range(3000)]})
    wrong: list[object] = []

    def work() -> None:
        for i in range(60):
            part = df[i * 7 :]
            try:
                assert_frame_equal(unpack_frame(pack_frame(part, pool=pool), df.schema), part)
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert wrong == []
    assert pool.resident_bytes == 0 and pool.idle_bytes <= 4 << 20


def test_a_limit_bounds_what_is_kept_idle() -> None:
    pool = ArenaPool(limit_bytes=1 << 20)
    arenas = [pool.acquire(400_000) for _ in range(5)]
    assert pool.resident_bytes > 1 << 20, "acquire never fails for the limit"
    del arenas
    assert pool.idle_bytes <= 1 << 20
    pool.trim()
    assert pool.idle_bytes == 0


def test_a_pool_may_go_before_its_arenas() -> None:
    pool = ArenaPool()
    df = pl.DataFrame({"v": [1, 2]})
    got = unpack_frame(pack_frame(df, pool=pool), df.schema)
    del pool
    assert got["v"].to_list() == [1, 2]


def test_arenas_come_from_pools_only() -> None:
    with pytest.raises(TypeError, match=r"ArenaPool\.acquire"):
        Arena()
    with pytest.raises(MemoryError):
        ArenaPool().acquire(2**60)


def test_the_interpreter_ends_quietly_with_tables_alive() -> None:
    code = (
        "import threading, polars as pl, hpcflow.native as n\n"
        "df = pl.DataFrame({'s': ['x' * 30] * 1000}); pool = n.ArenaPool()\n"
        "keep = [n.unpack_frame(n.pack_frame(df, pool=pool), df.schema), n.unpack_frame(bytes(n.pack_frame(df, pool=pool)), df.schema)]\n"
        "import builtins; builtins.keep = keep\n"
        "stop = threading.Event(); threading.Thread(target=stop.wait, daemon=True).start()\n"
        "print('end')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
