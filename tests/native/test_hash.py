"""The row hash: equal to its reference, canonical, and evenly spread."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing.parametric import dataframes

from hpcflow.errors import ConfigError, SchemaError
from hpcflow.native import hash_partition_ids, hash_rows, partition_histogram, partition_ids_from_hashes, reference, simd_level
from tests.thorough import spread, thorough

from .tables import SHAPES, VALUES, column

HASHED = [name for name in VALUES if name != "map"]


@pytest.mark.parametrize(("type_name", "shape"), spread(itertools.product(HASHED, SHAPES), every=3))
def test_a_column_hashes_as_its_reference(type_name: str, shape: str) -> None:
    df = column(type_name, shape).to_frame()
    assert hash_rows(df, 11).tolist() == reference.hash_rows(df, 11).tolist()


@given(
    dataframes(
        max_cols=4,
        max_size=60,
        allowed_dtypes=[
            pl.Int8,
            pl.Int32,
            pl.Int64,
            pl.UInt64,
            pl.Float32,
            pl.Float64,
            pl.Boolean,
            pl.String,
            pl.Binary,
            pl.Date,
            pl.Datetime,
            pl.Categorical,
        ],
    ),
    st.integers(0, 2**64 - 1),
    st.integers(1, 5000),
)
def test_random_tables_hash_as_their_reference(df: pl.DataFrame, seed: int, partitions: int) -> None:
    hashes = hash_rows(df, seed)
    assert hashes.tolist() == reference.hash_rows(df, seed).tolist()
    ids = hash_partition_ids(df, partitions, seed)
    assert ids.tolist() == partition_ids_from_hashes(hashes, partitions).tolist() == reference.partition_ids_from_hashes(hashes, partitions).tolist()
    if df.height:
        assert partition_histogram(ids, partitions).tolist() == reference.partition_histogram(ids, partitions).tolist()


@given(st.binary(max_size=200))
def test_bytes_digest_as_their_reference(data: bytes) -> None:
    df = pl.DataFrame({"b": [data]})
    assert hash_rows(df)[0] == reference.hash_rows(df)[0]


def one(value: object, dtype: object) -> int:
    return int(hash_rows(pl.DataFrame({"k": pl.Series([value], dtype=dtype)}))[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, 1, 100])
def test_an_integer_hashes_alike_at_every_width(value: int) -> None:
    kinds = [
        pl.Int8,
        pl.Int16,
        pl.Int32,
        pl.Int64,
        pl.Int128,
        pl.UInt8,
        pl.UInt16,
        pl.UInt32,
        pl.UInt64,
        pl.UInt128,
        pl.Decimal(10, 2),
        pl.Decimal(30, 0),
    ]
    assert len({one(value, kind) for kind in kinds}) == 1


def test_negative_integers_hash_alike_at_every_width() -> None:
    assert len({one(-5, kind) for kind in (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128, pl.Decimal(10, 2))}) == 1


def test_floats_are_canonical() -> None:
    assert one(-0.0, pl.Float64) == one(0.0, pl.Float64) == one(0.0, pl.Float32) == one(-0.0, pl.Float16)
    strange = np.array([0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000001], dtype=np.uint64).view(np.float64)
    assert len(set(hash_rows(pl.DataFrame({"k": strange})).tolist())) == 1
    assert one(float("nan"), pl.Float64) == one(float("nan"), pl.Float32)
    assert one(1.5, pl.Float64) == one(1.5, pl.Float32) == one(1.5, pl.Float16)


def test_decimals_hash_by_value_at_every_scale() -> None:
    assert one(Decimal("1.5"), pl.Decimal(10, 1)) == one(Decimal("1.5"), pl.Decimal(38, 9))
    assert one(Decimal("1.5"), pl.Decimal(10, 1)) != one(Decimal(15), pl.Decimal(10, 0))


def test_categories_hash_as_their_strings() -> None:
    words = ["x", "a word of more than twelve bytes", "", None]
    want = hash_rows(pl.DataFrame({"k": words})).tolist()
    for dtype in (pl.Categorical, pl.Categorical(pl.Categories("n", physical=pl.UInt16)), pl.Enum(["", "a word of more than twelve bytes", "x"])):
        assert hash_rows(pl.DataFrame({"k": pl.Series(words, dtype=dtype)})).tolist() == want


def test_slices_and_chunks_do_not_change_hashes() -> None:
    df = pl.DataFrame([column(name, "nulls", 100) for name in HASHED])
    whole = hash_rows(df)
    assert hash_rows(df[13:77]).tolist() == whole[13:77].tolist()
    assert hash_rows(pl.concat([df[:5], df[5:6], df[6:]], rechunk=False)).tolist() == whole.tolist()


def test_nulls_order_of_columns_and_seeds_count() -> None:
    df = pl.DataFrame({"a": [1, None, 0], "b": [2, 1, None]})
    assert len(set(hash_rows(df).tolist())) == 3
    assert hash_rows(df).tolist() != hash_rows(df.select("b", "a")).tolist()
    assert hash_rows(df, 1).tolist() != hash_rows(df, 2).tolist()
    assert hash_rows(pl.DataFrame({"a": [1], "b": [1]})) != hash_rows(pl.DataFrame({"a": [2], "b": [2]}))


KEYS = {
    "counting": np.arange(200_000),
    "even": np.arange(200_000) * 2,
    "thousands": np.arange(200_000) * 1000,
    "high bits": np.arange(200_000, dtype=np.int64) << 40,
    "floats": np.arange(200_000) / 8,
}


@pytest.mark.parametrize("partitions", [3, 64, *map(thorough, (2, 7, 1000))])
@pytest.mark.parametrize("keys", KEYS)
def test_partitions_are_even(keys: str, partitions: int) -> None:
    df = pl.DataFrame({"k": KEYS[keys]})
    counts = partition_histogram(hash_partition_ids(df, partitions, 5), partitions).astype(float)
    mean = len(df) / partitions
    chi_square = float(((counts - mean) ** 2 / mean).sum())
    assert abs(chi_square - (partitions - 1)) < 6 * np.sqrt(2 * (partitions - 1)) + 6
    assert counts.max() / mean < 1.5


def test_strings_spread_evenly() -> None:
    df = pl.DataFrame({"k": [f"user-{i:07d}@example.org" for i in range(100_000)]})
    counts = partition_histogram(hash_partition_ids(df, 64), 64)
    assert counts.max() / counts.mean() < 1.12


def test_another_seed_splits_one_partition_evenly() -> None:
    df = pl.DataFrame({"k": np.arange(400_000)})
    inside = df.filter(pl.Series(hash_partition_ids(df, 16, 0) == 3))
    counts = partition_histogram(hash_partition_ids(inside, 16, 1), 16)
    assert counts.max() / counts.mean() < 1.15


def test_wrong_partition_counts_are_refused() -> None:
    with pytest.raises(ConfigError, match="partitions=0"):
        hash_partition_ids(pl.DataFrame({"k": [1]}), 0)
    with pytest.raises(SchemaError, match="'o'"):
        hash_rows(pl.DataFrame({"o": [object()]}))
    with pytest.raises(ValueError, match="partition id 3"):
        partition_histogram(np.array([0, 3]), 3)


@pytest.mark.thorough
def test_every_simd_level_gives_the_same_bits() -> None:
    code = (
        "import polars as pl, numpy as np, hashlib\n"
        "from hpcflow.native import hash_rows, range_partition_ids, simd_level, _kernels\n"
        "df = pl.DataFrame({'a': np.arange(5000), 'b': np.arange(5000) / 3, 'c': [str(i) * 3 for i in range(5000)]})\n"
        "ids = range_partition_ids(df.select('a'), pl.DataFrame({'a': [5, 70, 900, 3000]}), [False], [False])\n"
        "digest = hashlib.sha256(hash_rows(df, 9).tobytes() + ids.tobytes()).hexdigest()\n"
        "print(simd_level(), digest, _kernels.checksum(bytes(range(256)) * 3 + b'xyz'))\n"
    )
    answers = {}
    for level in ("scalar", "avx2", "avx512"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "HPCFLOW_SIMD": level, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        used, *answer = done.stdout.split()
        answers[used] = answer
    assert "scalar" in answers and len({tuple(answer) for answer in answers.values()}) == 1


def test_an_unknown_simd_level_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert simd_level() in ("scalar", "avx2", "avx512")
    monkeypatch.setenv("HPCFLOW_SIMD", "sse9")
    with pytest.raises(ConfigError, match="scalar, avx2, avx512"):
        simd_level()
