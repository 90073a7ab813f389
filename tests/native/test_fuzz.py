"""Damaged frames: an error or a valid table, never a crash. FUZZ_ROUNDS makes it longer; run_sanitized.sh runs it under the sanitizers.

Three kinds of damage: flipped bits as they are, truncations, and flips after which the checksums are computed anew, so that every check behind
them is reached.
"""

from __future__ import annotations

import os
import random

import numpy as np
import polars as pl
import pytest

from hpcflow.errors import FrameError
from hpcflow.native import ArenaPool, _kernels, pack_frame, pack_frames, partition_row_offsets, read_header, unpack_frame
from tests.thorough import spread

from .tables import VALUES, column

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "25"))
POOL = ArenaPool()


def frames(type_name: str) -> list[tuple[bytes, pl.Schema]]:
    df = column(type_name, "nulls", 37).to_frame()
    plain = column(type_name, "plain", 20).to_frame()
    ids = (np.arange(37) % 3).astype(np.uint32)
    scattered = pack_frames(df, ids, [0, 3], pool=POOL)[0]
    assert scattered is not None
    return [(bytes(scattered), df.schema), (bytes(pack_frame(plain, pool=POOL)), plain.schema)]


def read_all(buffer: bytes | bytearray, schema: pl.Schema) -> bool:
    """Reads everything a program could; False for a FrameError."""
    try:
        header = read_header(buffer)
        partition_row_offsets(buffer)
        tables = [unpack_frame(buffer, schema)]
        tables += [unpack_frame(buffer, schema, header.first_partition + i) for i in range(min(header.partition_count, 3))]
    except FrameError:
        return False
    for table in tables:
        for series in table.get_columns():
            series.rechunk().equals(series[::-1].rechunk()) if not series.dtype.is_nested() else series.is_null().sum()
            if series.dtype in (pl.String, pl.Binary):
                series.to_list()
    return True


@pytest.mark.parametrize("type_name", spread(VALUES, every=3, first=0))
def test_flipped_bits_are_found(type_name: str) -> None:
    rng = random.Random(type_name)
    for raw, schema in frames(type_name):
        assert read_all(raw, schema)
        body = int.from_bytes(raw[64:72], "little")
        for _ in range(ROUNDS):
            damaged = bytearray(raw)
            at = rng.randrange(len(damaged))
            damaged[at] ^= 1 << rng.randrange(8)
            survived = read_all(damaged, schema)
            assert not (survived and at < body), f"a flip in the metadata at byte {at} went unseen"


@pytest.mark.parametrize("type_name", spread(VALUES, every=3, first=1))
def test_resealed_damage_is_an_error_or_a_valid_table(type_name: str) -> None:
    rng = random.Random(type_name + "resealed")
    for raw, schema in frames(type_name):
        body = int.from_bytes(raw[64:72], "little")
        for _ in range(ROUNDS * 3):
            damaged = bytearray(raw)
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(damaged)) if rng.random() < 0.5 else rng.randrange(8, body)
                if 64 <= at < 72 or 6 <= at < 8 or 56 <= at < 64 or 44 <= at < 56:  # lengths the sealer itself believes
                    continue
                damaged[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, damaged[at] ^ 1 << rng.randrange(8), rng.randrange(256)))
            _kernels.seal(damaged, rng.random() < 0.5)
            read_all(damaged, schema)


@pytest.mark.parametrize("type_name", spread(VALUES, every=3, first=2))
def test_truncated_frames_are_errors(type_name: str) -> None:
    rng = random.Random(type_name + "cut")
    for raw, schema in frames(type_name):
        for length in [0, 1, 127, 128, len(raw) - 64, len(raw) - 1] + [rng.randrange(len(raw)) for _ in range(20)]:
            assert not read_all(raw[:length], schema)


def test_a_body_checksum_finds_every_flip() -> None:
    rng = random.Random(5)
    df = pl.DataFrame({"v": np.arange(100.0), "s": ["x" * (i % 30) for i in range(100)]})
    raw = bytes(pack_frame(df, pool=POOL, checksum=True))
    for _ in range(300):
        damaged = bytearray(raw)
        damaged[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        with pytest.raises(FrameError):
            unpack_frame(damaged, df.schema)


def test_a_frame_of_another_schema_is_refused() -> None:
    frame = pack_frame(pl.DataFrame({"a": [1]}), pool=POOL)
    for schema in ({"a": pl.Float64()}, {"b": pl.Int64()}, {"a": pl.Int64(), "b": pl.Int64()}, {}):
        with pytest.raises(FrameError):
            unpack_frame(frame, schema)
    enum = pack_frame(pl.DataFrame({"e": pl.Series(["x"], dtype=pl.Enum(["x", "y"]))}), pool=POOL)
    with pytest.raises(FrameError, match="another schema"):
        unpack_frame(enum, {"e": pl.Enum(["y", "x"])})


def test_random_bytes_are_no_frame() -> None:
    rng = random.Random(9)
    for length in (0, 64, 128, 5000):
        with pytest.raises(FrameError):
            read_header(rng.randbytes(length))
