"""Repartition a table of 16-byte rows between all ranks, table in to table out, against MPI_Alltoallv and a copy of the same bytes in the same run.

    mpirun -n 2 python benchmarks/exchange/repartition.py --megabytes 512

Prints one JSON line: the seconds of both, their ratio, and the peak resident memory above the idle rank as a multiple of the input.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hpcflow.comm.engine import Engine
from hpcflow.comm.mpi import import_mpi, open_mpi
from hpcflow.native import ArenaPool, hash_partition_ids
from hpcflow.shuffle.exchange import ExchangeService, ExchangeSpec
from hpcflow.shuffle.node_memory import open_node_memory
from hpcflow.testing.exchange_contract import DictStore


@dataclass(frozen=True)
class Figures:
    ranks: int
    megabytes_per_rank: float
    partitions_per_rank: int
    transport: str
    in_place: float
    """Share of the bytes sent that were read where they were packed."""
    chunk_bytes: int
    exchange_s: float
    """Median of the repetitions after the first; slowest rank."""
    first_exchange_s: float
    alltoallv_and_copy_s: float
    """Median as well; each run stands next to one of the exchange."""
    ratio: float
    """Of the two medians."""
    peak_over_input: float
    """Peak resident bytes above the idle rank, the input table included, over the input's bytes; worst rank."""
    blocked_s: float
    library: str


def main() -> None:
    options = _options()
    engine_ready = Engine(open_mpi, (pool := ArenaPool()).acquire)
    engine_ready.start()
    mpi = import_mpi()
    world = engine_ready.comm.duplicate()  # type: ignore[attr-defined]
    store = DictStore()
    memory = open_node_memory(engine_ready, options.shared_memory << 20) if options.transport == "shared memory" else None
    service = ExchangeService(engine_ready, pool, store, node_memory=memory)
    engine_ready.set_active(True)
    rank, size = engine_ready.rank, engine_ready.size

    rows = options.megabytes * (1 << 20) // 16
    idle = _resident_bytes()
    sys.setswitchinterval(5e-4)  # as workers do
    generator = np.random.default_rng(rank)
    df = pl.DataFrame({"key": generator.integers(0, 1 << 36, rows), "value": generator.random(rows)})
    input_bytes = rows * 16
    peak = _PeakMemory()
    schema = df.schema
    seconds: list[float] = []
    reference: list[float] = []
    compare = _AlltoallvAndCopy(world, mpi, input_bytes)
    blocked = in_place = 0.0
    for step in range(options.repeat):
        owners = tuple(owner for owner in range(size) for _ in range(options.partitions))
        spec = ExchangeSpec(
            step, owners, tuple(range(size)), schema, chunk_bytes=options.chunk, window_bytes=options.window, transport=options.transport
        )
        world.Barrier()
        started = time.perf_counter()
        exchange = service.open(spec)
        for start in range(0, rows, options.batch):
            batch = df.slice(start, options.batch)
            exchange.insert(batch, hash_partition_ids(batch.select("key"), len(owners)), task=rank)
        exchange.finish()
        exchange.wait(300)
        tables = [exchange.extract([partition]) for partition, owner in enumerate(owners) if owner == rank]
        received = sum(table.height for table in tables)
        exchange.release([partition for partition, owner in enumerate(owners) if owner == rank])
        seconds.append(world.allreduce(time.perf_counter() - started, op=mpi.MAX))
        blocked, in_place = exchange.stats.blocked_s, exchange.stats.bytes_in_place / max(exchange.stats.bytes_sent, 1)
        exchange.close()
        assert world.allreduce(received) == rows * size
        checksum = world.allreduce(sum(int(table["key"].sum()) for table in tables))
        assert checksum == world.allreduce(int(df["key"].sum()))
        del tables, exchange
        reference.append(compare.seconds())
    peak_bytes = peak.stop() - idle - compare.size_bytes
    engine_ready.set_active(False)
    typical, reference_s = statistics.median(seconds[1:]), statistics.median(reference[1:])
    figures = Figures(
        ranks=size,
        megabytes_per_rank=options.megabytes,
        partitions_per_rank=options.partitions,
        transport=options.transport,
        in_place=round(in_place, 2),
        chunk_bytes=options.chunk,
        exchange_s=round(typical, 4),
        first_exchange_s=round(seconds[0], 4),
        alltoallv_and_copy_s=round(reference_s, 4),
        ratio=round(typical / reference_s, 2),
        peak_over_input=round(world.allreduce(peak_bytes, op=mpi.MAX) / input_bytes, 2),
        blocked_s=round(blocked, 3),
        library=engine_ready.comm.facts.mpi_library,  # type: ignore[attr-defined]
    )
    if rank == 0:
        print(json.dumps(asdict(figures)), flush=True)
    world.Free()
    engine_ready.stop()


class _PeakMemory:
    """Samples the resident size of this process every 5 ms."""

    def __init__(self) -> None:
        self._peak = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(0.005):
            self._peak = max(self._peak, _resident_bytes())

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self._peak


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class _AlltoallvAndCopy:
    """Moves the same bytes with one MPI_Alltoallv between warm buffers and copies them once."""

    def __init__(self, world: Any, mpi: Any, input_bytes: int) -> None:
        self._world, self._mpi = world, mpi
        part = input_bytes // world.size // 64 * 64
        self._source, self._target, self._copied = (np.ones(part * world.size, np.uint8) for _ in range(3))
        self._counts, self._displacements = [part // 64] * world.size, [part // 64 * peer for peer in range(world.size)]
        self._unit = mpi.BYTE.Create_contiguous(64).Commit()
        self.size_bytes = 3 * part * world.size

    def seconds(self) -> float:
        """Of one run; slowest rank."""
        self._world.Barrier()
        started = time.perf_counter()
        sent, received = (self._source, self._counts, self._displacements, self._unit), (self._target, self._counts, self._displacements, self._unit)
        self._world.Alltoallv(list(sent), list(received))
        np.copyto(self._copied, self._target)
        return float(self._world.allreduce(time.perf_counter() - started, op=self._mpi.MAX))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=512, help="input per rank, MiB")
    parser.add_argument("--partitions", type=int, default=4, help="partitions per rank")
    parser.add_argument("--chunk", type=int, default=2 << 20, help="chunk_bytes of the exchange")
    parser.add_argument("--transport", choices=("chunks", "shared memory"), default="chunks", help="how frames get to the other ranks")
    parser.add_argument("--shared-memory", type=int, default=1024, help="with it: most of it per rank, MiB")
    parser.add_argument("--window", type=int, default=16 << 20, help="window_bytes of the exchange")
    parser.add_argument("--batch", type=int, default=1 << 22, help="rows per insert")
    parser.add_argument("--repeat", type=int, default=8, help="pairs of exchange and MPI_Alltoallv; the first is a warm-up")
    return parser.parse_args()


if __name__ == "__main__":
    main()
