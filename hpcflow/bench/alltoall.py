"""alltoall: MPI's own all-to-all of equal parts, the bound for any shuffle on these wires."""

from __future__ import annotations

import numpy as np

from hpcflow.bench.world import World, best_of, gigabytes_per_second


def alltoall(world: World, size_bytes: int) -> None:
    """Each rank sends `size_bytes` in equal parts to all ranks, itself included."""
    seconds = alltoall_seconds(world, size_bytes)
    world.print_table(
        ["ranks", "MB per rank", "seconds", "GB/s per rank"],
        [[world.size, round(size_bytes / 1e6, 1), round(seconds, 4), gigabytes_per_second(size_bytes, seconds)]],
    )


def alltoall_seconds(world: World, size_bytes: int, repeats: int = 5) -> float:
    """Seconds of one all-to-all; the best of `repeats`."""
    part = max(1, size_bytes // 8 // world.size)
    sent = np.full(part * world.size, world.rank, dtype=np.int64)
    received = np.empty_like(sent)
    seconds = best_of(world, repeats, lambda: world.comm.Alltoall(sent, received))
    if not np.array_equal(received[::part], np.arange(world.size)):
        raise RuntimeError(f"rank {world.rank} received parts of the wrong ranks: this MPI or its network is broken")
    return seconds
