"""The wire format is pinned: these bytes, field by field. A change here is a new HF_FRAME_VERSION and a new page of docs/frame_format.md.

python -m tests.native.test_golden      # prints the frame of this build, for a new golden file
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from hpcflow.native import ArenaPool, _kernels, pack_frames, partition_row_offsets, read_header, reference, unpack_frame

GOLDEN = Path(__file__).parent / "golden" / "frame_v1.txt"
HEADER = struct.Struct("<IHHQIIIIQIIIIQQQQQ32s")
NODE = struct.Struct("<BBHIQQQQQQ")


def golden_table() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "k": pl.Series([1, None, 3, -4], dtype=pl.Int64),
            "s": ["short", "more than twelve bytes", None, "exactly 12 b"],
            "b": [True, False, True, True],
            "l": [[1], [], [2, 3], [4]],
            "e": pl.Series(["y", "x", "y", None], dtype=pl.Enum(["x", "y"])),
        },
        schema_overrides={"l": pl.List(pl.Int16)},
    )


def golden_frame() -> bytes:
    ids = np.array([6, 5, 5, 6], dtype=np.uint32)
    frame = pack_frames(golden_table(), ids, [5, 7], step=258, source_task=3, attempt=1, sequence=2, pool=ArenaPool(), checksum=True)[0]
    assert frame is not None
    return bytes(frame)


def dump(frame: bytes) -> str:
    return "".join(f"{at:04x}  {frame[at : at + 16].hex(' ', 4)}\n" for at in range(0, len(frame), 16))


def test_a_frame_has_exactly_these_bytes() -> None:
    assert dump(golden_frame()) == GOLDEN.read_text()


def test_the_golden_bytes_are_read() -> None:
    raw = bytes.fromhex("".join(line[6:] for line in GOLDEN.read_text().splitlines()))
    table = golden_table()
    assert partition_row_offsets(raw).tolist() == [0, 2, 4]
    assert_frame_equal(unpack_frame(raw, table.schema), table[[1, 2, 0, 3]])
    assert_frame_equal(unpack_frame(raw, table.schema, 6), table[[0, 3]])


def test_header_and_nodes_are_laid_out_as_documented() -> None:
    raw = golden_frame()
    assert HEADER.size == 128 and NODE.size == 56
    (
        magic,
        version,
        header_bytes,
        step,
        task,
        attempt,
        sequence,
        columns,
        rows,
        first,
        partitions,
        flags,
        nodes,
        total,
        body,
        fingerprint,
        metadata,
        checksum,
        rest,
    ) = HEADER.unpack_from(raw)
    assert (magic, version, header_bytes) == (int.from_bytes(b"HFRM", "little"), 1, 128)
    assert (step, task, attempt, sequence, columns, rows, first, partitions, flags, nodes) == (258, 3, 1, 2, 5, 4, 5, 2, 1, 6)
    assert total == len(raw) and body % 64 == 0 and rest == bytes(32)
    header = read_header(raw)
    assert (header.checksum, header.fingerprint) == (checksum, fingerprint)
    assert reference.checksum(raw[body:]) == checksum
    assert reference.checksum(raw[:80] + bytes(8) + raw[88:body]) == metadata
    kinds = [NODE.unpack_from(raw, 128 + 8 * (partitions + 1) + NODE.size * i)[0] for i in range(nodes)]
    assert kinds == [2, 3, 1, 4, 2, 2]


def test_checksums_equal_the_reference() -> None:
    for length in (0, 1, 63, 64, 65, 1000):
        data = bytes(i * 7 % 256 for i in range(length))
        assert _kernels.checksum(data) == reference.checksum(data)


if __name__ == "__main__":
    print(dump(golden_frame()), end="")
