"""Cartesian grids of ranks, and the exchange of halos of N-dimensional arrays; of tables see `hpcflow.bsp.grid_tables`.

A rank's array has its cells inside and `width` layers of ghost cells around them, along the axes that the grid cuts:

    ghost of the left neighbour |g|cells ........ |g| ghost of the right neighbour

Invariant: after an exchange every ghost cell has the value of the cell that it stands for; ghosts beyond the border of a grid that is not periodic
there stay as they are.

    grid = CartesianGrid(ctx.comm, ctx.MPI, (2, 2), periodic=(True, False))
    halo = grid.start_halo(u, width=1)       # u: float64[rows + 2, columns + 2]
    ...                                      # compute inside
    halo.finish()                            # now the border cells may be computed
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcflow.bsp.announcing import AnnouncedCall
from hpcflow.bsp.grid_tables import GridTables
from hpcflow.errors import ConfigError
from hpcflow.native import ArenaPool

Array = npt.NDArray[Any]
Region = tuple[slice, ...]


class CartesianGrid(GridTables):
    """Ranks as a grid, numbered row by row. Collective.

    Args:
        comm: the ranks.
        module: `mpi4py.MPI`, or the twin that fits.
        dims: ranks along each axis; 0 lets MPI choose an even number. Their product is the number of ranks.
        periodic: whether the ends of an axis meet; one bool for all axes or one each.
        pool: memory for tables on their way; default one of the grid's own.
    """

    def __init__(self, comm: Any, module: Any, dims: Sequence[int], periodic: bool | Sequence[bool] = False, pool: ArenaPool | None = None) -> None:
        super().__init__(comm, module, dims, periodic, pool)
        self._plans: dict[tuple[Any, ...], list[_Plan]] = {}

    def exchange_halo(self, array: Array, width: int | Sequence[int] = 1, *, corners: bool = True) -> None:
        """Fill the ghost cells of `array`. Collective. Arguments and errors as of `start_halo`."""
        self.start_halo(array, width, corners=corners).finish()

    def start_halo(self, array: Array, width: int | Sequence[int] = 1, *, corners: bool = True) -> HaloExchange:
        """Begin to fill the ghost cells; they, and the cells that travel, are not to be touched before `finish`. Several may be on their way,
        when all ranks start them in the same order. Collective.

        Args:
            array: any dtype of fixed size and any strides; its first axes are the grid's, and more may follow. The ghost layers are part of it.
            width: layers of ghost cells; one number for all the grid's axes or one each (0: none along this axis).
            corners: also the ghost cells of diagonal neighbours, for stencils that look at them.

        Raises:
            ConfigError: the array has too few axes, or an axis fewer cells inside than ghost layers.
        """
        widths = (width,) * len(self.dims) if isinstance(width, int) else tuple(width)
        key = (array.shape, array.strides, array.dtype, widths, corners)
        idle = self._plans.setdefault(key, [])
        return HaloExchange(self, idle.pop() if idle else _Plan(self, array, widths, corners), array, idle)

    def exchange_neighbours(self, outgoing: Mapping[tuple[int, ...], Array], like: Mapping[tuple[int, ...], Array]) -> None:
        """Send `outgoing[offset]` to the rank at that offset, receive into `like[offset]` what the rank there sends to this one. Collective.

        Offsets beyond a border are left out on their own. Arrays are C-contiguous; both sides agree on their sizes.
        """
        self.start_neighbours(outgoing, like).finish()

    def start_neighbours(self, outgoing: Mapping[tuple[int, ...], Array], like: Mapping[tuple[int, ...], Array]) -> ArraysUnderWay:
        """`exchange_neighbours` that does not block: no array is to be touched before `finish`."""
        requests = []
        for offset, into in like.items():
            source = self.rank_at(offset)
            if source is not None:
                requests.append(self.comm.Irecv([_bytes(into), self.MPI.BYTE], source, _tag([-one for one in offset])))
        for offset, array in outgoing.items():
            target = self.rank_at(offset)
            if target is not None:
                requests.append(self.comm.Isend([_bytes(array), self.MPI.BYTE], target, _tag(offset)))
        return ArraysUnderWay(self, requests)

    def close(self) -> None:
        """As `GridPlace.close`. Collective."""
        self._plans.clear()
        super().close()


class ArraysUnderWay:
    """Arrays on their way between neighbours. Made by `CartesianGrid.start_neighbours`."""

    def __init__(self, grid: CartesianGrid, requests: list[Any]) -> None:
        self._call = AnnouncedCall(grid.comm, "grid.start_neighbours")
        self._module = grid.MPI
        self._requests = requests

    def test(self) -> bool:
        """Whether `finish` would not wait."""
        return self._call.agreed(0.0) and bool(self._module.Request.Testall(self._requests))

    def finish(self) -> None:
        """Wait until all have arrived and left. Twice is fine."""
        self._call.agreed()
        self._module.Request.Waitall(self._requests)


class HaloExchange:
    """A halo on its way. Made by `CartesianGrid.start_halo`."""

    def __init__(self, grid: CartesianGrid, plan: _Plan, array: Array, idle: list[_Plan]) -> None:
        self._call = AnnouncedCall(grid.comm, "grid.start_halo")
        self._grid = grid
        self._idle = idle  # takes the plan, whose memory is free again after the exchange
        self._plan: _Plan | None = plan
        self._array = array
        byte = grid.MPI.BYTE
        self._requests = [grid.comm.Irecv([one.incoming(array), byte], one.source, one.tag) for one in plan.receives]
        self._requests += [grid.comm.Isend([one.outgoing(array), byte], one.target, one.tag) for one in plan.sends]

    def test(self) -> bool:
        """Whether `finish` would not wait."""
        return self._call.agreed(0.0) and bool(self._grid.MPI.Request.Testall(self._requests))

    def finish(self) -> None:
        """Wait until the ghost cells are filled. Twice is fine."""
        if self._plan is None:
            return
        self._call.agreed()
        self._grid.MPI.Request.Waitall(self._requests)
        for one in self._plan.receives:
            one.place(self._array)
        self._idle.append(self._plan)
        self._plan = None


class _Strip:
    """One message: a region of the array, and memory between where the region is not contiguous."""

    def __init__(self, peer: int, tag: int, region: Region, array: Array) -> None:
        self.source = self.target = peer
        self.tag = tag
        self._region = region
        part = array[region]
        self._staging = None if part.flags.c_contiguous else np.empty(part.shape, part.dtype)

    def outgoing(self, array: Array) -> Array:
        if self._staging is None:
            return _bytes(array[self._region])
        np.copyto(self._staging, array[self._region])
        return _bytes(self._staging)

    def incoming(self, array: Array) -> Array:
        return _bytes(array[self._region] if self._staging is None else self._staging)

    def place(self, array: Array) -> None:
        if self._staging is not None:
            array[self._region] = self._staging


class _Plan:
    """Which regions of an array of one shape go where; its memory is used again by the next exchange."""

    def __init__(self, grid: CartesianGrid, array: Array, widths: tuple[int, ...], corners: bool) -> None:
        self.sends: list[_Strip] = []
        self.receives: list[_Strip] = []
        axes = len(grid.dims)
        if len(widths) != axes or array.ndim < axes or array.dtype.hasobject:
            raise ConfigError(
                f"a halo of widths {widths} of an array {array.dtype}{array.shape} on a grid of {axes} axes: give one width and axis each"
            )
        for axis, width in enumerate(widths):
            if width < 0 or array.shape[axis] < 3 * width:
                raise ConfigError(f"axis {axis} of the array has {array.shape[axis]} cells: too few for {width} ghost layers at each end")
        for offset in itertools.product((-1, 0, 1), repeat=axes):
            moved = [axis for axis, step in enumerate(offset) if step]
            peer = grid.rank_at(offset)
            if not moved or (len(moved) > 1 and not corners) or peer is None or not all(widths[axis] for axis in moved):
                continue
            cells = tuple(_cells(step, width, length) for step, width, length in zip(offset, widths, array.shape, strict=False))
            ghosts = tuple(_ghosts(step, width, length) for step, width, length in zip(offset, widths, array.shape, strict=False))
            self.sends.append(_Strip(peer, _tag(offset), cells, array))
            self.receives.append(_Strip(peer, _tag([-step for step in offset]), ghosts, array))


def _cells(step: int, width: int, length: int) -> slice:
    """Cells inside that the neighbour at `step` has as ghosts."""
    return (slice(width, length - width), slice(length - 2 * width, length - width), slice(width, 2 * width))[step]


def _ghosts(step: int, width: int, length: int) -> slice:
    """Ghost cells that stand for the neighbour's at `step`."""
    return (slice(width, length - width), slice(length - width, length), slice(0, width))[step]


def _tag(offset: Sequence[int]) -> int:
    """A number for each direction: a peer may be the neighbour in several."""
    tag = 0
    for step in offset:
        tag = 3 * tag + step + 1
    return tag


def _bytes(part: Array) -> Array:
    return part.reshape(-1).view(np.uint8)
