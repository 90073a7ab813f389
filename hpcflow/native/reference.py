"""Every kernel once more, in NumPy, Polars and Python integers: the oracle of the tests, and the definition to read.

Invariant: for any table, each function here gives what the kernel of the same name gives. Nothing here is meant to be fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Words = NDArray[np.uint64]

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
NULL = 0xB5AD4ECEDA1CE2A9
LIST = 0x8CB92BA72F3D8DD7
STRUCT = 0xD1342543DE82EF95
WIDE = 0xAEF17502108EF2D9
BYTES_1, BYTES_2 = 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
NAN = 0x7FF8000000000000
CHECKSUM_KEYS = (
    0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89,
    0x452821E638D01377, 0xBE5466CF34E90C6C, 0xC0AC29B7C97C50DD, 0x3F84D5B5B5470917,
)  # fmt: skip


def hash_rows(columns: pl.DataFrame, seed: int = 0) -> Words:
    """state = mix(seed + GOLDEN); for each column: state = mix(digest ^ state)."""
    state = np.full(columns.height, mix((seed + GOLDEN) & MASK), dtype=np.uint64)
    for column in columns.get_columns():
        state = mix_words(digests(column) ^ state)
    return state


def partition_ids_from_hashes(hashes: Words, partitions: int) -> NDArray[np.uint32]:
    """The high 32 bits, scaled: (high * partitions) >> 32."""
    return (((hashes >> np.uint64(32)) * np.uint64(partitions)) >> np.uint64(32)).astype(np.uint32)


def hash_partition_ids(columns: pl.DataFrame, partitions: int, seed: int = 0) -> NDArray[np.uint32]:
    return partition_ids_from_hashes(hash_rows(columns, seed), partitions)


def partition_histogram(ids: NDArray[np.uint32], partitions: int) -> Words:
    return np.bincount(ids, minlength=partitions).astype(np.uint64)


def range_partition_ids(
    columns: pl.DataFrame,
    splitters: pl.DataFrame,
    descending: Sequence[bool],
    nulls_last: Sequence[bool],
    position_start: int | None = None,
    splitter_positions: Sequence[int] | None = None,
) -> NDArray[np.uint32]:
    """Sorts rows and splitters together, as Polars sorts; a row's partition is the number of splitters before it.

    Equal keys are ordered by position; a row and a splitter at one position: the row first. Without positions all rows come before equal splitters.
    """
    by_position = position_start is not None and splitter_positions is not None
    rows = columns.with_columns(
        __position=pl.int_range(columns.height) + (position_start or 0) if by_position else pl.lit(0, pl.Int64),
        __splitter=pl.lit(False),
        __row=pl.int_range(columns.height),
    )
    positions = pl.Series(list(splitter_positions or [])[: splitters.height] if by_position else [0] * splitters.height, dtype=pl.Int64)
    cuts = splitters.with_columns(positions.alias("__position"), __splitter=pl.lit(True), __row=pl.lit(-1, pl.Int64))
    keys = columns.columns
    merged = pl.concat([rows, cuts]).sort(
        [*keys, "__position", "__splitter"], descending=[*descending, False, False], nulls_last=[*nulls_last, False, False], maintain_order=True
    )
    counted = merged.with_columns(pl.col("__splitter").cum_sum().alias("__id")).filter(~pl.col("__splitter")).sort("__row")
    return counted["__id"].cast(pl.UInt32).to_numpy()


def pack_frames(frame_df: pl.DataFrame, partition_ids: NDArray[np.uint32], partition_bounds: Sequence[int]) -> list[pl.DataFrame | None]:
    """The rows of each destination's frame, in the frame's order: by partition, then by row."""
    order = np.argsort(partition_ids, kind="stable")
    cuts = np.searchsorted(partition_ids[order], np.asarray(partition_bounds))
    tables = [frame_df[order[begin:end]] for begin, end in pairwise(cuts)]
    return [table if table.height else None for table in tables]


def checksum(data: bytes) -> int:
    """Eight lanes of multiply and add over 64-byte stripes, the last one zero padded; then the lanes are mixed with the length."""
    lanes = list(range(1, 9))
    padded = data + bytes(-len(data) % 64)
    for start in range(0, len(padded), 64):
        for k, key in enumerate(CHECKSUM_KEYS):
            word = int.from_bytes(padded[start + 8 * k : start + 8 * k + 8], "little")
            keyed = word ^ ((lanes[k] + key) & MASK)
            lanes[k] = (rotate(lanes[k], 23) + (keyed & 0xFFFFFFFF) * (keyed >> 32) + word) & MASK
    state = mix(len(data) ^ GOLDEN)
    for lane in lanes:
        state = mix(state ^ lane)
    return state


def mix(x: int) -> int:
    """Pelle Evensen's "moremur" finalizer: a bijection of 64 bits."""
    x ^= x >> 27
    x = x * 0x3C79AC492BA7B653 & MASK
    x ^= x >> 33
    x = x * 0x1C69B3F74AC4AE35 & MASK
    return x ^ (x >> 27)


def mix_words(x: Words) -> Words:
    x = x ^ (x >> np.uint64(27))
    x = x * np.uint64(0x3C79AC492BA7B653)
    x = x ^ (x >> np.uint64(33))
    x = x * np.uint64(0x1C69B3F74AC4AE35)
    return x ^ (x >> np.uint64(27))


def rotate(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (64 - bits))) & MASK


def digests(column: pl.Series) -> Words:
    """uint64[rows]: what each value brings to the hash."""
    dtype = column.dtype
    nulls = column.is_null().to_numpy()
    out: Words
    if isinstance(dtype, pl.Boolean):
        out = column.fill_null(False).cast(pl.UInt64).to_numpy()
    elif dtype.is_float():
        out = _float_digests(column.cast(pl.Float64).fill_null(0.0).to_numpy())
    elif dtype in (pl.Int128, pl.UInt128):
        out = _words([0 if v is None else digest_wide(v) for v in column.to_list()])
    elif isinstance(dtype, pl.Decimal):
        out = _words([0 if v is None else digest_decimal(v) for v in column.to_list()])
    elif isinstance(dtype, pl.UInt64):
        out = column.fill_null(0).to_numpy()
    elif dtype.is_integer() or dtype.is_temporal():
        out = column.to_physical().cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64)
    elif isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        out = _words([0 if v is None else digest_bytes(v.encode()) for v in column.cast(pl.String).to_list()])
    elif isinstance(dtype, pl.Binary):
        out = _words([0 if v is None else digest_bytes(v) for v in column.to_list()])
    elif isinstance(dtype, pl.List | pl.Array):
        out = _words([NULL if null else _list_digest(column[i]) for i, null in enumerate(nulls)])
    elif isinstance(dtype, pl.Struct):
        out = np.full(len(column), STRUCT, dtype=np.uint64)
        for field in dtype.fields:
            out = mix_words(digests(column.struct.field(field.name)) ^ out)
    elif isinstance(dtype, pl.Null):
        out = np.zeros(len(column), dtype=np.uint64)
    else:
        raise NotImplementedError(f"no reference digest for {dtype}")
    return np.where(nulls, np.uint64(NULL), out)


def digest_wide(value: int) -> int:
    """A 128-bit integer: its low word when the high word only extends it (as sign or as zeros)."""
    low, high = value & MASK, (value >> 64) & MASK
    if high == 0 or (high == MASK and low >> 63):
        return low
    return mix(low ^ mix(high ^ WIDE))


def digest_decimal(value: Decimal) -> int:
    """The value without trailing zeros: equal at any scale."""
    sign, figures, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    unscaled, scale = int("".join(map(str, figures))) * (-1 if sign else 1), -exponent
    if unscaled == 0:
        return 0
    while scale > 0 and unscaled % 10 == 0:
        unscaled, scale = unscaled // 10, scale - 1
    digest = digest_wide(unscaled * 10 ** max(0, -scale))
    return digest if scale <= 0 else mix(digest ^ mix(scale ^ WIDE))


def digest_bytes(data: bytes) -> int:
    """Steps of 16 bytes, the last one over the last 16; 8 to 16 bytes: the first and last 8; fewer: zero padded, and 0."""
    n = len(data)
    state = (n * GOLDEN + BYTES_2) & MASK
    if n < 8:
        return _step(state, int.from_bytes(data, "little"), 0)
    if n <= 16:
        return _step(state, int.from_bytes(data[:8], "little"), int.from_bytes(data[-8:], "little"))
    for start in [*range(0, n - 16, 16), n - 16]:
        state = _step(state, int.from_bytes(data[start : start + 8], "little"), int.from_bytes(data[start + 8 : start + 16], "little"))
    return state


def _step(state: int, a: int, b: int) -> int:
    product = (a ^ state ^ BYTES_1) * (b ^ rotate(state, 32) ^ BYTES_2)
    return (product & MASK) ^ (product >> 64)


def _list_digest(elements: pl.Series) -> int:
    state = mix(LIST ^ len(elements))
    for digest in digests(elements).tolist():
        state = mix(state ^ digest)
    return state


def _float_digests(values: NDArray[np.float64]) -> Words:
    bits = np.where(values == 0.0, 0.0, values).view(np.uint64)
    return np.where(np.isnan(values), np.uint64(NAN), bits)


def _words(values: list[Any]) -> Words:
    return np.array(values, dtype=np.uint64)
