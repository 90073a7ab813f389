"""shuffle: a table of random keys to the owners of their partitions, table in to table out, through hpcflow's exchange."""

from __future__ import annotations

import time

import numpy as np
import polars as pl

from hpcflow.bench.alltoall import alltoall_seconds
from hpcflow.bench.world import World, gigabytes_per_second
from hpcflow.comm.engine import Engine
from hpcflow.comm.mpi import open_mpi
from hpcflow.native import ArenaPool
from hpcflow.runtime.block_store import BlockStore
from hpcflow.runtime.memory import MemoryBudget
from hpcflow.runtime.memory_limits import default_limit_bytes
from hpcflow.shuffle.exchange import ExchangeService, ExchangeSpec
from hpcflow.shuffle.partitioners import HashPartitioner

_ROW_BYTES = 16
_CHUNK_ROWS = 1 << 20
_REPEATS = 3
_PARTITIONS_PER_RANK = 4


def shuffle(world: World, size_bytes: int) -> None:
    """Each rank inserts `size_bytes` of 16-byte rows (int64 key, float64 value); beside it MPI's all-to-all of the same bytes."""
    rows = max(1, size_bytes // _ROW_BYTES)
    table = pl.DataFrame({"key": np.random.default_rng(world.rank).integers(0, 1 << 40, rows), "value": np.full(rows, 1.0)})
    bound = alltoall_seconds(world, size_bytes)
    pool = ArenaPool()
    ranks_here = world.comm.allgather(world.host).count(world.host)
    store = BlockStore(MemoryBudget(default_limit_bytes(ranks_here)), pool=pool)
    engine = Engine(open_mpi, allocate=pool.acquire)
    engine.start()
    service = ExchangeService(engine, pool, store)
    engine.set_active(True)
    seconds = min(_run(world, service, table, step) for step in range(1, _REPEATS + 1))
    engine.set_active(False)
    world.comm.Barrier()
    engine.stop(timeout_s=10.0)
    store.close()
    figures = [world.size, round(size_bytes / 1e6, 1), round(seconds, 4), gigabytes_per_second(size_bytes, seconds), round(seconds / bound, 2)]
    world.print_table(["ranks", "MB per rank", "seconds", "GB/s per rank", "x MPI alltoall"], [figures])


def _run(world: World, service: ExchangeService, table: pl.DataFrame, step: int) -> float:
    """Seconds of one exchange, of the slowest rank; all rows must have arrived and be where their keys belong."""
    partitioner = HashPartitioner(("key",), _PARTITIONS_PER_RANK * world.size)
    owners = tuple(partition // _PARTITIONS_PER_RANK for partition in range(partitioner.partitions))
    mine = [partition for partition, rank in enumerate(owners) if rank == world.rank]
    world.comm.Barrier()
    started = time.perf_counter()
    exchange = service.open(ExchangeSpec(step=step, owners=owners, sources=tuple(range(world.size)), schema=table.schema))
    for start in range(0, table.height, _CHUNK_ROWS):
        chunk = table.slice(start, _CHUNK_ROWS)
        exchange.insert(chunk, partitioner.partition_ids(chunk, start), task=world.rank)
    exchange.finish()
    exchange.wait(timeout_s=300.0)
    received = exchange.extract(mine)
    seconds = world.slowest(time.perf_counter() - started)
    ids = partitioner.partition_ids(received.slice(0, 1000), 0)
    total = sum(world.comm.allgather(received.height))
    if total != sum(world.comm.allgather(table.height)) or not np.isin(ids, mine).all():
        raise RuntimeError(f"rank {world.rank}: the exchange lost or misplaced rows ({total} arrived); please report it with `hpcflow doctor --json`")
    exchange.release(mine)
    exchange.close()
    return seconds
