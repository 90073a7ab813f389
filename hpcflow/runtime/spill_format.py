"""How a block looks on scratch: one codec byte, then the bytes.

    frame   | codec: 0 none, 1 lz4, 2 zstd | length, 8 bytes | compressed frame |       codec 0 where compression gives nothing
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
_CODECS = ("none", "lz4", "zstd")
_FRAME = struct.Struct("<B7xQ")
_WORTH_IT = 0.95  # a frame that does not get smaller than this is stored as it is


def encode_frame(frame: Any, codec: Codec) -> bytearray:
    """A buffer as bytes for scratch."""
    raw = memoryview(frame).cast("B")
    body: Any = raw
    if codec != "none" and len(raw):
        compressed = pa.compress(raw, codec=codec)
        packed = memoryview(compressed)[: compressed.size]  # its buffer protocol shows the capacity
        body, codec = (packed, codec) if len(packed) < _WORTH_IT * len(raw) else (raw, "none")
    encoded = bytearray(_FRAME.pack(_CODECS.index(codec) if len(raw) else 0, len(raw)))
    encoded += body
    return encoded


def decode_frame(payload: memoryview, pool: Any = None) -> Any:
    """The buffer again: an arena of `pool`, or 64-byte aligned plain memory."""
    number, size = _FRAME.unpack_from(payload)
    body = payload[_FRAME.size :]
    if number and pool is None:
        return pa.decompress(body, decompressed_size=size, codec=_CODECS[number])
    raw = body if not number else memoryview(pa.decompress(body, decompressed_size=size, codec=_CODECS[number])).cast("B")
    into = pa.allocate_buffer(size) if pool is None else pool.acquire(size)
    memoryview(into).cast("B")[:size] = raw
    return into


def encode_table(df: pl.DataFrame, codec: Codec) -> memoryview:
    """A DataFrame as an Arrow IPC file."""
    stream = io.BytesIO()
    df.write_ipc(stream, compression="uncompressed" if codec == "none" else codec, compat_level=pl.CompatLevel.newest())
    return stream.getbuffer()


def decode_table(payload: memoryview) -> pl.DataFrame:
    """The DataFrame again."""
    return pl.read_ipc(io.BytesIO(payload))


def refuse_object_columns(df: pl.DataFrame) -> None:
    """`SchemaError` naming the columns of dtype Object: they have no bytes that could be written or sent."""
    names = [name for name, dtype in df.schema.items() if dtype == pl.Object]
    if names:
        raise SchemaError(f"columns {names} have dtype Object, which cannot be kept or sent; turn them into strings, numbers or structs first")
