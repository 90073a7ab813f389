"""Cartesian communicators: ranks on a grid, their neighbours, and the calls that exchange with neighbours.

Invariant: ranks lie in row-major order, as MPI without reordering has them; neighbours come as (below, above) for each dimension, and blocks of
PROC_NULL neighbours (the edge of a grid that is not periodic) are neither sent nor written.

    grid = comm.Create_cart([2, 3], periods=[True, False])
    up, down = grid.Shift(0, 1)
    grid.Neighbor_alltoall(sides, ghosts)        # block 2d to the neighbour below in dimension d, block 2d + 1 to the one above
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hpcflow.bsp.thread_comm import COMM_NULL, NullComm, ThreadComm
from hpcflow.bsp.threads.array_calls import BlocksOf, Prepared
from hpcflow.bsp.threads.buffers import equal_blocks, span, varied_blocks
from hpcflow.bsp.threads.errors import ERR_ARG, ERR_DIMS, ERR_RANK, MpiError
from hpcflow.bsp.threads.foreign import PROC_NULL
from hpcflow.bsp.threads.pickling import pickle
from hpcflow.bsp.threads.requests import Request
from hpcflow.bsp.threads.rounds import Call, Context

CART = 1


class ThreadCartcomm(ThreadComm):
    """One rank of a grid."""

    is_topo = True

    def __init__(self, context: Context, rank: int, dims: tuple[int, ...], periods: tuple[bool, ...]) -> None:
        super().__init__(context, rank)
        self._dims = dims
        self._periods = periods

    @property
    def dims(self) -> list[int]:
        return list(self._dims)

    @property
    def periods(self) -> list[int]:
        return [int(period) for period in self._periods]

    @property
    def coords(self) -> list[int]:
        return self.Get_coords(self.rank)

    @property
    def ndim(self) -> int:
        return len(self._dims)

    dim = ndim

    @property
    def topo(self) -> tuple[list[int], list[int], list[int]]:
        return self.Get_topo()

    def Get_topology(self) -> int:
        return CART

    def Get_dim(self) -> int:
        return len(self._dims)

    def Get_topo(self) -> tuple[list[int], list[int], list[int]]:
        """dims, periods, and the coordinates of this rank."""
        return self.dims, self.periods, self.coords

    def Get_coords(self, rank: int) -> list[int]:
        if not 0 <= rank < self.size:
            raise MpiError(ERR_RANK, f"{rank} in a grid of {self.size} ranks")
        return [int(coordinate) for coordinate in np.unravel_index(rank, self._dims)] if self._dims else []

    def Get_cart_rank(self, coords: Sequence[int]) -> int:
        """The rank at `coords`; periodic dimensions wrap around."""
        rank = self._rank_at(coords)
        if rank is None:
            raise MpiError(ERR_ARG, f"coordinates {list(coords)} lie outside a grid of {self.dims} with periods {self.periods}")
        return rank

    def Shift(self, direction: int, disp: int) -> tuple[int, int]:
        """(source, destination) for moving data `disp` steps along a dimension; PROC_NULL beyond an edge."""
        if not 0 <= direction < len(self._dims):
            raise MpiError(ERR_DIMS, f"direction {direction} in a grid of {len(self._dims)} dimensions")
        source, target = self._moved(direction, -disp), self._moved(direction, disp)
        return PROC_NULL if source is None else source, PROC_NULL if target is None else target

    def Sub(self, remain_dims: Sequence[bool]) -> ThreadCartcomm:
        """Grids of the dimensions that remain, one for each position in the others. Collective."""
        kept = [dim for dim, remains in enumerate(remain_dims) if remains]
        if len(remain_dims) != len(self._dims):
            raise MpiError(ERR_DIMS, f"{len(remain_dims)} flags for a grid of {len(self._dims)} dimensions")
        coords, color, key = self.coords, 0, 0
        for dim, length in enumerate(self._dims):
            if dim in kept:
                key = key * length + coords[dim]
            else:
                color = color * length + coords[dim]
        context, rank = self._meet(Call("Sub", send=(color, key)), self._divide)
        return ThreadCartcomm(context, rank, tuple(self._dims[dim] for dim in kept), tuple(self._periods[dim] for dim in kept))

    @property
    def indegree(self) -> int:
        return 2 * len(self._dims)

    outdegree = indegree

    def neighbor_allgather(self, sendobj: Any) -> list[Any]:
        """The objects of the neighbours; None for those beyond an edge."""
        return self._objects("neighbor_allgather", [sendobj] * self.indegree)

    def neighbor_alltoall(self, sendobj: Sequence[Any]) -> list[Any]:
        """Item i to neighbour i; the neighbours' items for this rank."""
        items = list(sendobj)
        if len(items) != self.indegree:
            raise ValueError(f"expecting {self.indegree} items, got {len(items)}")
        return self._objects("neighbor_alltoall", items)

    def Neighbor_allgather(self, sendbuf: Any, recvbuf: Any) -> None:
        self._meet(*self._gathers("Neighbor_allgather", sendbuf, recvbuf, equal_blocks))

    def Ineighbor_allgather(self, sendbuf: Any, recvbuf: Any) -> Request:
        return self._start(*self._gathers("Ineighbor_allgather", sendbuf, recvbuf, equal_blocks))

    def Neighbor_allgatherv(self, sendbuf: Any, recvbuf: Any) -> None:
        self._meet(*self._gathers("Neighbor_allgatherv", sendbuf, recvbuf, varied_blocks))

    def Ineighbor_allgatherv(self, sendbuf: Any, recvbuf: Any) -> Request:
        return self._start(*self._gathers("Ineighbor_allgatherv", sendbuf, recvbuf, varied_blocks))

    def Neighbor_alltoall(self, sendbuf: Any, recvbuf: Any) -> None:
        self._meet(*self._swaps("Neighbor_alltoall", sendbuf, recvbuf, equal_blocks))

    def Ineighbor_alltoall(self, sendbuf: Any, recvbuf: Any) -> Request:
        return self._start(*self._swaps("Ineighbor_alltoall", sendbuf, recvbuf, equal_blocks))

    def Neighbor_alltoallv(self, sendbuf: Any, recvbuf: Any) -> None:
        self._meet(*self._swaps("Neighbor_alltoallv", sendbuf, recvbuf, varied_blocks))

    def Ineighbor_alltoallv(self, sendbuf: Any, recvbuf: Any) -> Request:
        return self._start(*self._swaps("Ineighbor_alltoallv", sendbuf, recvbuf, varied_blocks))

    def _duplicate(self) -> ThreadCartcomm:
        return ThreadCartcomm(self._new_context("Dup"), self.rank, self._dims, self._periods)

    def _gathers(self, name: str, sendbuf: Any, recvbuf: Any, blocks: BlocksOf) -> Prepared:
        return Call(name, send=span(sendbuf, False), receive=blocks(recvbuf, self.indegree, True)), self._gather_from_neighbours

    def _swaps(self, name: str, sendbuf: Any, recvbuf: Any, blocks: BlocksOf) -> Prepared:
        return Call(name, send=blocks(sendbuf, self.outdegree, False), receive=blocks(recvbuf, self.indegree, True)), self._swap_with_neighbours

    def _gather_from_neighbours(self, calls: list[Call]) -> None:
        for rank, call in enumerate(calls):
            for slot, neighbour in enumerate(self._neighbours(rank)):
                if neighbour is not None:
                    call.receive.block(slot).fill_all(calls[neighbour].send.pack())

    def _swap_with_neighbours(self, calls: list[Call]) -> None:
        for rank, call in enumerate(calls):
            for slot, neighbour in enumerate(self._neighbours(rank)):
                if neighbour is not None:  # from the neighbour below comes what it sends upwards: its slot of the same dimension, other side
                    call.receive.block(slot).fill_all(calls[neighbour].send.block(slot ^ 1).pack())

    def _objects(self, name: str, items: list[Any]) -> list[Any]:
        def work(calls: list[Call]) -> None:
            for rank, call in enumerate(calls):
                around = enumerate(self._neighbours(rank))
                call.result = [None if neighbour is None else calls[neighbour].send[slot ^ 1] for slot, neighbour in around]

        parts = self._meet(Call(name, send=[pickle.dumps(item) for item in items]), work)
        return [None if part is None else pickle.loads(part) for part in parts]

    def _neighbours(self, rank: int) -> list[int | None]:
        return [self._moved(dim, step, rank) for dim in range(len(self._dims)) for step in (-1, 1)]

    def _moved(self, dim: int, step: int, rank: int | None = None) -> int | None:
        coords = self.Get_coords(self.rank if rank is None else rank)
        coords[dim] += step
        return self._rank_at(coords)

    def _rank_at(self, coords: Sequence[int]) -> int | None:
        rank = 0
        for coordinate, length, periodic in zip(coords, self._dims, self._periods, strict=True):
            if not periodic and not 0 <= coordinate < length:
                return None
            rank = rank * length + coordinate % length
        return rank


def create_cart(comm: ThreadComm, dims: Sequence[int], periods: Sequence[bool] | bool | None) -> ThreadCartcomm | NullComm:
    """The grid of `comm`'s first ranks."""
    lengths = tuple(int(length) for length in dims)
    wraps = (bool(periods),) * len(lengths) if periods is None or isinstance(periods, bool | int) else tuple(bool(period) for period in periods)
    if len(wraps) != len(lengths):
        raise ValueError(f"{len(lengths)} dims and {len(wraps)} periods: give one period a dimension")
    ranks = math.prod(lengths)
    if any(length < 1 for length in lengths) or ranks > comm.size:
        raise MpiError(
            ERR_DIMS, f"a grid of {list(lengths)} for {comm.size} ranks: MPI.Compute_dims({comm.size}, {len(lengths)}) gives one that fits"
        )
    found: tuple[Context, int] | None = comm._meet(Call("Create_cart", send=(0 if comm.rank < ranks else None, comm.rank)), comm._divide)
    return COMM_NULL if found is None else ThreadCartcomm(*found, lengths, wraps)


def Compute_dims(nnodes: int, dims: int | Sequence[int]) -> list[int]:
    """`MPI_Dims_create`: `nnodes` ranks as a grid that is as even as possible, longest dimension first; dims that are not 0 are kept."""
    given = [0] * dims if isinstance(dims, int) else [int(length) for length in dims]
    fixed = math.prod(length for length in given if length)
    free = given.count(0)
    if nnodes < 1 or any(length < 0 for length in given) or nnodes % fixed or (free == 0 and nnodes != fixed):
        raise MpiError(ERR_DIMS, f"{nnodes} ranks do not fill a grid of {given}")
    lengths = iter(_most_even(nnodes // fixed, free, nnodes // fixed))
    return [length or next(lengths) for length in given]


def _most_even(ranks: int, dims: int, limit: int) -> list[int]:
    """Factors of `ranks`, none over `limit`, descending: of all ways the one with the smallest largest factor, and so on."""
    if dims <= 1:
        return [ranks] * dims
    for first in range(math.ceil(round(ranks ** (1 / dims), 6)), min(limit, ranks) + 1):
        if ranks % first == 0:
            rest = _most_even(ranks // first, dims - 1, first)
            if all(length <= first for length in rest):
                return [first, *rest]
    return [limit + 1] * dims  # no way below the limit: the caller tries the next factor
