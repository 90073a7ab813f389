"""TeraSort: records of 100 bytes with random 10-byte keys, generated where they are needed, sorted, and checked; twice: by hand and as dataflow.

    python examples/terasort.py --records 1000000                          # in-process workers
    mpirun -n 4 python examples/terasort.py --records 10000000             # as a program: ctx.sort
    mpirun -n 4 python examples/terasort.py --records 10000000 --dataflow  # a session: Dataset.sort

After the sort benchmark's `gensort` and `valsort`: record i is a function of the seed and i, so that any rank makes any part of the input; the check
compares number and checksum of the records with those generated, and sees that keys ascend within ranks and from rank to rank.

    record: 10 bytes key | 00 11 | 32 hex digits of i | 88 99 AA BB | 48 bytes of filler | CC DD EE FF
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

import hpcflow as hf

KEY_BYTES, RECORD_BYTES = 10, 100
SCHEMA = {"key": pl.Binary, "value": pl.Binary}
CHUNK_RECORDS = 1 << 18
"""Generated and checked at a time."""
_HEX = np.frombuffer(b"0123456789ABCDEF", np.uint8)


def mixed(numbers: np.ndarray) -> np.ndarray:
    """uint64 -> well-mixed uint64 (SplitMix64, Steele et al. 2014)."""
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def records(seed: int, start: int, stop: int) -> np.ndarray:
    """uint8[stop - start, 100]: records `start` to `stop` of the input with this seed."""
    index = np.arange(start, stop, dtype=np.uint64)
    stream = mixed(np.array([seed], np.uint64))
    high, low = mixed(2 * index ^ stream), mixed((2 * index + np.uint64(1)) ^ stream)
    out = np.empty((stop - start, RECORD_BYTES), np.uint8)
    out[:, :8] = high.astype(">u8").view(np.uint8).reshape(-1, 8)
    out[:, 8:10] = (low >> np.uint64(48)).astype(">u2").view(np.uint8).reshape(-1, 2)
    out[:, 10:12] = (0x00, 0x11)
    out[:, 12:28] = _HEX[0]
    shifts = np.arange(60, -4, -4, dtype=np.uint64)
    out[:, 28:44] = _HEX[(index[:, None] >> shifts) & np.uint64(15)]
    out[:, 44:48] = (0x88, 0x99, 0xAA, 0xBB)
    out[:, 48:96] = np.repeat(_HEX[(low[:, None] >> shifts[4:]) & np.uint64(15)], 4, axis=1)
    out[:, 96:] = (0xCC, 0xDD, 0xEE, 0xFF)
    return out


def as_table(rows: np.ndarray) -> pl.DataFrame:
    """Records as columns key and value (Binary)."""
    parts = {"key": rows[:, :KEY_BYTES], "value": rows[:, KEY_BYTES:]}
    arrays = [
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(part.shape[1]), len(part), [None, pa.py_buffer(np.ascontiguousarray(part))])
        for part in parts.values()
    ]
    return pl.DataFrame(pa.table(dict(zip(parts, arrays, strict=True))))


def as_records(table: pl.DataFrame) -> np.ndarray:
    """uint8[n, 100]: the records of a table again."""
    columns = [np.frombuffer(b"".join(table[name].to_list()), np.uint8) for name in ("key", "value")]
    return np.hstack([column.reshape(table.height, -1 if table.height else 1) for column in columns]) if table.height else records(0, 0, 0)


def checksum(rows: np.ndarray) -> int:
    """Sum of the records' hashes modulo 2**64: the same for the same records in any order."""
    padded = np.zeros((len(rows), 104), np.uint8)
    padded[:, :RECORD_BYTES] = rows
    odd = mixed(np.arange(13, dtype=np.uint64)) | np.uint64(1)
    return int(mixed((padded.view(np.uint64) * odd).sum(axis=1, dtype=np.uint64)).sum(dtype=np.uint64))


@dataclass(frozen=True)
class Summary:
    """What `valsort` keeps of one part of the output."""

    count: int
    checksum: int
    ordered: bool
    first: bytes | None
    last: bytes | None


def summarize(table: pl.DataFrame) -> Summary:
    """One rank's part."""
    keys = table["key"]
    total = sum(checksum(as_records(table.slice(start, CHUNK_RECORDS))) for start in range(0, table.height, CHUNK_RECORDS))
    ordered = bool((keys.slice(1) >= keys.slice(0, max(0, len(keys) - 1))).all())
    return Summary(table.height, total % 2**64, ordered, *((keys[0], keys[-1]) if table.height else (None, None)))


def validate(parts: list[Summary], seed: int, count: int) -> str:
    """Check the parts, in rank order, against the input; what was found, in a line. Raises ValueError for the first thing that is wrong."""
    before: bytes | None = None
    for rank, part in enumerate(parts):
        if not part.ordered:
            raise ValueError(f"the keys of rank {rank} do not ascend")
        if part.first is not None:
            if before is not None and part.first < before:
                raise ValueError(f"the first key of rank {rank} is less than the last one before it")
            before = part.last
    found = sum(part.count for part in parts)
    if found != count:
        raise ValueError(f"{found} records have come out, {count} went in")
    wanted = sum(checksum(records(seed, start, min(start + CHUNK_RECORDS, count))) for start in range(0, count, CHUNK_RECORDS)) % 2**64
    total = sum(part.checksum for part in parts) % 2**64
    if total != wanted:
        raise ValueError(f"the checksum of the output is {total:016x}, that of the input {wanted:016x}")
    return f"{count} records in order, checksum {total:016x}"


def generated(seed: int, start: int, stop: int) -> pl.DataFrame:
    """Records of a part of the input as a table of chunks."""
    chunks = [as_table(records(seed, first, min(first + CHUNK_RECORDS, stop))) for first in range(start, stop, CHUNK_RECORDS)]
    return pl.concat(chunks, rechunk=False) if chunks else pl.DataFrame(schema=SCHEMA)


class TeraSort(hf.Program):
    """On every rank: generate a share, sort together, check together. Rank 0 returns the verdict and the seconds of the sort."""

    def execute(self, ctx: Any) -> tuple[str, float] | None:
        options = parse(ctx.arguments)
        share = generated(options.seed, *ctx.share(options.records))
        ctx.comm.Barrier()
        started = time.perf_counter()
        mine = ctx.sort(share, "key")
        ctx.comm.Barrier()
        seconds = time.perf_counter() - started
        parts = ctx.comm.gather(summarize(mine))
        return (validate(parts, options.seed, options.records), seconds) if ctx.rank == 0 else None


def sort_as_dataflow(session: hf.Session, seed: int, count: int) -> str:
    """The same as one action: tasks generate, the engine sorts, one bsp step checks what each worker has."""
    numbers = session.range(count, name="n")
    table = numbers.map_batches(lambda df: generated(seed, *bounds(df)), schema=SCHEMA)
    found = table.sort("key").bsp(_summary_of_worker, schema=_SUMMARY).collect()
    parts = [
        Summary(count=row["count"], checksum=row["checksum"], ordered=row["ordered"], first=row["first"], last=row["last"])
        for row in found.to_dicts()
    ]
    return validate(parts, seed, count)


def bounds(numbers: pl.DataFrame) -> tuple[int, int]:
    """(first, end) of the consecutive numbers of a task."""
    return (numbers["n"][0], numbers["n"][-1] + 1) if numbers.height else (0, 0)


_SUMMARY = {"count": pl.Int64, "checksum": pl.UInt64, "ordered": pl.Boolean, "first": pl.Binary, "last": pl.Binary}


def _summary_of_worker(ctx: Any, table: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame([vars(summarize(table))], schema=_SUMMARY)


def parse(arguments: Any = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000, help="of 100 bytes each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dataflow", action="store_true", help="sort by Dataset.sort in a session, not by ctx.sort in a program")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    if options.dataflow:
        with hf.Session() as session:
            started = time.perf_counter()
            print(sort_as_dataflow(session, options.seed, options.records))
            print(f"generated, sorted and checked in {time.perf_counter() - started:.2f} s on {session.workers} workers")
        return
    result = TeraSort().run()
    if result is not None:
        verdict, seconds = result
        print(f"{verdict}\nsorted in {seconds:.2f} s: {options.records * RECORD_BYTES / 1e6 / seconds:.0f} MB/s")


if __name__ == "__main__":
    main()
