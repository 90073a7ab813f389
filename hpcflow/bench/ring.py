"""ring: every rank sends to the next and receives from the one before, in growing messages: latency and bandwidth of neighbours."""

from __future__ import annotations

import numpy as np

from hpcflow.bench.world import World, best_of, gigabytes_per_second


def ring(world: World, size_bytes: int) -> None:
    """Messages from 8 bytes up to `size_bytes`."""
    rows = []
    size = 8
    while size <= max(8, size_bytes):
        seconds = ring_seconds(world, size)
        rows.append([size, round(seconds * 1e6, 1), gigabytes_per_second(size, seconds)])
        size *= 16
    world.print_table(["bytes", "microseconds", "GB/s per rank"], rows)


def ring_seconds(world: World, size_bytes: int) -> float:
    """Seconds of one step round the ring; the best of five, each over several steps for small messages. Checks what arrived."""
    steps = max(1, min(200, (1 << 22) // size_bytes))
    sent = np.full(size_bytes, world.rank % 251, dtype=np.uint8)
    received = np.empty(size_bytes, dtype=np.uint8)
    following, previous = (world.rank + 1) % world.size, (world.rank - 1) % world.size

    def turn() -> None:
        for _ in range(steps):
            world.comm.Sendrecv(sent, following, 0, received, previous, 0)

    seconds = best_of(world, 5, turn) / steps
    if not (received[0] == received[-1] == previous % 251):
        raise RuntimeError(f"rank {world.rank} received other bytes than rank {previous} sent: this MPI or its network is broken")
    return seconds
