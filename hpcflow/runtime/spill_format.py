"""How a block looks on scratch: one codec byte, then the bytes.

    frame   | codec: 0 none, 1 lz4, 2 zstd, 3 bare lz4 | length, 8 bytes | compressed frame |       codec 0 where compression gives nothing
    table   | Arrow IPC file, its buffers compressed |

Invariant: `decode(encode(x))` is `x` bit for bit, every dtype of Polars but Object included. Length and checksum of the whole stand around it, in the
header that `ScratchSpace` writes.
"""

from __future__ import annotations

import io
import struct
from typing import Any, Literal

import polars as pl
import pyarrow as pa

from hpcflow.errors import SchemaError

Codec = Literal["none", "lz4", "zstd"]
_STORED_CODECS = ("none", "lz4", "zstd", "lz4_raw")
_FRAME = struct.Struct("<B7xQ")
_WORTH_IT = 0.95  # a frame that does not get smaller than this is stored as it is
_LZ4_RAW_MOST_BYTES = 1 << 30  # bare lz4 is twice as fast as its framed form, whose checksum we do not need, and takes less than 2 GiB


def encode_frame(frame: Any, codec: Codec) -> tuple[Any, ...]:
    """A buffer as parts for scratch; what is stored as it is, is not copied."""
    raw = memoryview(frame).cast("B")
    stored: str = "none" if not len(raw) else "lz4_raw" if codec == "lz4" and len(raw) <= _LZ4_RAW_MOST_BYTES else codec
    body: Any = raw
    if stored != "none":
        compressed = pa.compress(raw, codec=stored)
        body = memoryview(compressed)[: compressed.size]  # its buffer protocol shows the capacity
        if len(body) > _WORTH_IT * len(raw):
            body, stored = raw, "none"
    return _FRAME.pack(_STORED_CODECS.index(stored), len(raw)), body


def decode_frame(payload: bytes, pool: Any = None) -> Any:
    """The buffer again: an arena of `pool`, or 64-byte aligned plain memory."""
    number, size = _FRAME.unpack_from(payload)
    body: Any = memoryview(payload)[_FRAME.size :]
    if number:
        body = pa.decompress(body, decompressed_size=size, codec=_STORED_CODECS[number])
        if pool is None:
            return body
    into = pa.allocate_buffer(size) if pool is None else pool.acquire(size)
    memoryview(into).cast("B")[:size] = memoryview(body).cast("B")
    return into


def encode_table(df: pl.DataFrame, codec: Codec) -> tuple[Any, ...]:
    """A DataFrame as an Arrow IPC file, in parts for scratch."""
    stream = io.BytesIO()
    df.write_ipc(stream, compression="uncompressed" if codec == "none" else codec, compat_level=pl.CompatLevel.newest())
    return (stream.getbuffer(),)


def decode_table(payload: bytes) -> pl.DataFrame:
    """The DataFrame again."""
    return pl.read_ipc(payload)


def refuse_object_columns(df: pl.DataFrame) -> None:
    """`SchemaError` naming the columns of dtype Object: they have no bytes that could be written or sent."""
    names = [name for name, dtype in df.schema.items() if dtype == pl.Object]
    if names:
        raise SchemaError(f"columns {names} have dtype Object, which cannot be kept or sent; turn them into strings, numbers or structs first")
