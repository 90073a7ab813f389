"""What the kernels do on one core: hash, partition ids, pack, unpack, range. Results are checked; GB/s of table bytes are printed and kept.

    taskset -c 0 python -m pytest benchmarks/kernels --benchmark-only

Invariant: arenas are reused, as they are in a shuffle (fresh pages would halve packing), and "bytes" are those of the table: 16 for a row of int64
and float64, a string's own bytes without its 16-byte view. On a busy machine
`--benchmark-timer=time.process_time` counts this process only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from polars.testing import assert_frame_equal

from hpcflow.native import ArenaPool, hash_partition_ids, hash_rows, pack_frame, pack_frames, range_partition_ids, reference, unpack_frame

ROWS = 4_000_000
STRINGS = 1_000_000
RANDOM = np.random.default_rng(1)


def numbers() -> pl.DataFrame:
    return pl.DataFrame({"k": RANDOM.integers(0, 1 << 60, ROWS), "v": RANDOM.random(ROWS)})


def strings() -> pl.DataFrame:
    """Lengths 16 to 48 bytes, 32 in the mean."""
    return pl.DataFrame({"s": [f"{i:08d}".ljust(int(length), "x") for i, length in enumerate(RANDOM.integers(16, 49, STRINGS))]})


def mixed() -> pl.DataFrame:
    """Strings, numbers, nulls, a boolean and lists."""
    df = pl.DataFrame({"k": RANDOM.integers(0, 1 << 40, STRINGS), "s": [f"row {i}" for i in range(STRINGS)], "b": RANDOM.random(STRINGS) > 0.5})
    return df.with_columns(n=pl.when("b").then("k"), l=pl.concat_list("k", "k"))


TABLES: dict[str, tuple[Callable[[], pl.DataFrame], str]] = {"numbers": (numbers, "k"), "strings": (strings, "s"), "mixed": (mixed, "k")}


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    return {name: make() for name, (make, _) in TABLES.items()}


def table_bytes(df: pl.DataFrame) -> int:
    return sum(int(column.str.len_bytes().sum()) if column.dtype == pl.String else int(column.estimated_size()) for column in df.get_columns())


def rate(benchmark: Any, size_bytes: int) -> None:
    """Prints and records GB/s of the fastest round."""
    gigabytes = size_bytes / benchmark.stats.stats.min / 1e9
    benchmark.extra_info["GB_per_s"] = gigabytes
    print(f"  {benchmark.name}: {gigabytes:.2f} GB/s")


def bounds(partitions: int, destinations: int) -> NDArray[np.uint32]:
    return np.linspace(0, partitions, destinations + 1).astype(np.uint32)


@pytest.mark.parametrize(("partitions", "destinations"), [(4, 2), (32, 4), (256, 4), (1024, 64)])
@pytest.mark.parametrize("name", TABLES)
def test_hash_ids_and_pack(benchmark: Any, tables: dict[str, pl.DataFrame], name: str, partitions: int, destinations: int) -> None:
    df, key, pool, cuts = tables[name], TABLES[name][1], ArenaPool(), bounds(partitions, destinations)

    def run() -> int:
        ids = hash_partition_ids(df.select(key), partitions)
        return sum(frame is not None for frame in pack_frames(df, ids, cuts, pool=pool))

    assert benchmark(run) == destinations
    ids = hash_partition_ids(df.select(key), partitions)
    for frame, want in zip(pack_frames(df, ids, cuts, pool=pool)[:2], reference.pack_frames(df, ids, cuts.tolist())[:2], strict=True):
        assert frame is not None and want is not None
        assert_frame_equal(unpack_frame(frame, df.schema), want)
    rate(benchmark, table_bytes(df))


@pytest.mark.parametrize("name", TABLES)
def test_hash(benchmark: Any, tables: dict[str, pl.DataFrame], name: str) -> None:
    df = tables[name]
    hashes = benchmark(lambda: hash_rows(df))
    assert hashes[:100].tolist() == reference.hash_rows(df[:100]).tolist()
    rate(benchmark, table_bytes(df))


@pytest.mark.parametrize("checksum", [False, True], ids=["plain", "checksum"])
@pytest.mark.parametrize("name", TABLES)
def test_pack_whole(benchmark: Any, tables: dict[str, pl.DataFrame], name: str, checksum: bool) -> None:
    df, pool = tables[name], ArenaPool()
    frame = benchmark(lambda: pack_frame(df, pool=pool, checksum=checksum))
    assert_frame_equal(unpack_frame(frame, df.schema), df)
    rate(benchmark, table_bytes(df))


@pytest.mark.parametrize("name", TABLES)
def test_unpack(benchmark: Any, tables: dict[str, pl.DataFrame], name: str) -> None:
    df = tables[name]
    frame = pack_frame(df, pool=ArenaPool())
    assert_frame_equal(benchmark(lambda: unpack_frame(frame, df.schema)), df)
    rate(benchmark, table_bytes(df))


@pytest.mark.parametrize("partitions", [8, 256])
@pytest.mark.parametrize("name", ["numbers", "strings"])
def test_range_ids(benchmark: Any, tables: dict[str, pl.DataFrame], name: str, partitions: int) -> None:
    keys = tables[name].select(TABLES[name][1])
    cuts = keys.sample(partitions - 1, seed=3).sort(keys.columns)
    ids = benchmark(lambda: range_partition_ids(keys, cuts, [False], [False]))
    assert ids[:2000].tolist() == reference.range_partition_ids(keys[:2000], cuts, [False], [False]).tolist()
    rate(benchmark, table_bytes(keys))
