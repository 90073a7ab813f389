"""probe: what doctor wants to know from inside an MPI world, as one line of JSON on rank 0."""

from __future__ import annotations

import json
import os

from hpcflow.bench.ring import ring_seconds
from hpcflow.bench.world import World, gigabytes_per_second, library_name

MARK = "hpcflow-probe: "
_MESSAGE_BYTES = 1 << 22


def probe(world: World, size_bytes: int) -> None:
    """Library, thread level, hosts, shared-memory windows, latency and bandwidth; `size_bytes` is not used."""
    facts = {
        "library": library_name(world.facts.mpi_library),
        "standard": list(world.facts.standard),
        "thread_level": world.facts.thread_level,
        "ranks": world.size,
        "hosts": world.comm.allgather(world.host),
        "shared_memory": all(world.comm.allgather(_shared_window_works(world))),
        "latency_us": round(ring_seconds(world, 8) * 1e6, 1),
        "bandwidth_gb_s": gigabytes_per_second(_MESSAGE_BYTES, ring_seconds(world, _MESSAGE_BYTES)),
        "polars_threads": os.environ.get("POLARS_MAX_THREADS"),
    }
    if world.rank == 0:
        print(MARK + json.dumps(facts), flush=True)


def _shared_window_works(world: World) -> bool:
    """Whether a byte that the node's first rank writes into a shared window is seen by the others."""
    from hpcflow.comm.mpi import import_mpi

    mpi = import_mpi()
    node = world.comm.Split_type(mpi.COMM_TYPE_SHARED)
    try:
        window = mpi.Win.Allocate_shared(64 if node.rank == 0 else 0, 1, comm=node)
    except mpi.Exception:
        node.Free()
        return False
    memory, _ = window.Shared_query(0)
    if node.rank == 0:
        memory[0:1] = b"\x2a"
    window.Fence()
    seen = bool(memory[0] == 0x2A)
    window.Fence()
    window.Free()
    node.Free()
    return seen
