"""The ranks as a Cartesian grid: whose neighbour is who, and which part of an axis is whose.

    grid = GridPlace(ctx.comm, ctx.MPI, (2, 0), periodic=(True, False))
    grid.coords, grid.rank_at((1, 0)), grid.share(1000, axis=0)

Invariant: the grid has a communicator of its own, so that its messages meet nobody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpcflow.errors import ConfigError
from hpcflow.native import ArenaPool


class GridPlace:
    """See `hpcflow.bsp.grids.CartesianGrid`."""

    def __init__(self, comm: Any, module: Any, dims: Sequence[int], periodic: bool | Sequence[bool] = False, pool: ArenaPool | None = None) -> None:
        size = comm.Get_size()
        fixed = int(np.prod([one for one in dims if one], dtype=np.int64))
        if min(dims, default=-1) < 0 or size % fixed or (0 not in dims and fixed != size):
            raise ConfigError(f"a grid of {tuple(dims)} for {size} ranks: the product has to be {size}; 0 is a free number")
        self.dims: tuple[int, ...] = tuple(module.Compute_dims(size, list(dims)))
        flags = [periodic] * len(self.dims) if isinstance(periodic, bool) else [bool(one) for one in periodic]
        if len(flags) != len(self.dims):
            raise ConfigError(f"periodic has {len(flags)} values for {len(self.dims)} axes")
        self.periodic = tuple(flags)
        self.MPI = module
        self.pool = pool or ArenaPool()
        self.comm = comm.Create_cart(list(self.dims), periods=flags, reorder=False)
        """The grid's communicator, with mpi4py's Neighbor_ calls."""
        self.rank: int = self.comm.Get_rank()
        self.coords: tuple[int, ...] = tuple(self.comm.Get_coords(self.rank))
        """This rank's place."""
        self.closed = False
        self.tables_begun = 0
        """Exchanges of tables so far: the same on all ranks."""
        self.sends: list[Any] = []
        """Requests of tables that may not have left yet. A neighbour may take them late: who waits for them in an exchange waits in a circle."""

    def rank_at(self, offset: Sequence[int]) -> int | None:
        """The rank so many places away along each axis; None beyond a border."""
        place = []
        for coordinate, step, count, wraps in zip(self.coords, offset, self.dims, self.periodic, strict=True):
            moved = coordinate + step
            if not wraps and not 0 <= moved < count:
                return None
            place.append(moved % count)
        return int(self.comm.Get_cart_rank(place))

    def share(self, count: int, axis: int) -> tuple[int, int]:
        """This rank's neighbouring part (start, stop) of `count` cells along an axis; parts differ by at most one in length."""
        return count * self.coords[axis] // self.dims[axis], count * (self.coords[axis] + 1) // self.dims[axis]

    def close(self) -> None:
        """Free the communicator, once all tables have left. Collective; twice is fine. Programs and steps close theirs at the end."""
        if not self.closed:
            self.closed = True
            self.MPI.Request.Waitall(self.sends)
            self.comm.Free()
