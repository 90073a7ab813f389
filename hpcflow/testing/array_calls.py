"""Every collective call on arrays, against NumPy: a check for each, which takes the rank (or its grid) and the call.

ARRAY_CALLS["Allreduce"](ctx, ctx.comm.Allreduce)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[..., Any]
Check = Callable[[Any, Call], None]


def _row(rank: int, length: int = 4) -> Any:
    return np.arange(length, dtype=float) + 10 * rank


def _same(found: Any, wanted: Any) -> None:
    assert np.array_equal(found, wanted), f"{found} and not {wanted}"


def around(grid: Any) -> list[int | None]:
    """The neighbours on a line, -1 then +1."""
    return [rank if 0 <= rank < grid.dims[0] else None for rank in (grid.coords[0] - 1, grid.coords[0] + 1)]


def _barrier(ctx: Any, call: Call) -> None:
    call()


def _bcast(ctx: Any, call: Call) -> None:
    root = ctx.size - 1
    x = _row(root) if ctx.rank == root else np.zeros(4)
    call(x, root=root)
    _same(x, _row(root))


def _scatter(ctx: Any, call: Call) -> None:
    out = np.zeros(2)
    call(_row(0, 2 * ctx.size) if ctx.rank == 0 else None, out, root=0)
    _same(out, _row(0, 2 * ctx.size)[2 * ctx.rank : 2 * ctx.rank + 2])


def _scatterv(ctx: Any, call: Call) -> None:
    counts = [rank + 1 for rank in range(ctx.size)]
    out = np.zeros(ctx.rank + 1)
    call([_row(0, sum(counts)), counts] if ctx.rank == 0 else None, out, root=0)
    _same(out, _row(0, sum(counts))[sum(counts[: ctx.rank]) :][: ctx.rank + 1])


def _gather(ctx: Any, call: Call) -> None:
    out = np.zeros((ctx.size, 4)) if ctx.rank == 0 else None
    call(_row(ctx.rank), out, root=0)
    if ctx.rank == 0:
        _same(out, [_row(rank) for rank in range(ctx.size)])


def _gatherv(ctx: Any, call: Call) -> None:
    counts = [rank + 1 for rank in range(ctx.size)]
    out = np.zeros(sum(counts))
    call(_row(ctx.rank, ctx.rank + 1), [out, counts] if ctx.rank == 0 else None, root=0)
    if ctx.rank == 0:
        _same(out, np.concatenate([_row(rank, rank + 1) for rank in range(ctx.size)]))


def _allgather(ctx: Any, call: Call) -> None:
    out = np.zeros((ctx.size, 4))
    call(_row(ctx.rank), out)
    _same(out, [_row(rank) for rank in range(ctx.size)])


def _allgatherv(ctx: Any, call: Call) -> None:
    counts = [rank + 1 for rank in range(ctx.size)]
    out = np.zeros(sum(counts))
    call(_row(ctx.rank, ctx.rank + 1), [out, counts])
    _same(out, np.concatenate([_row(rank, rank + 1) for rank in range(ctx.size)]))


def _alltoall(ctx: Any, call: Call) -> None:
    out = np.zeros(ctx.size)
    call(_row(ctx.rank, ctx.size), out)
    _same(out, [_row(rank, ctx.size)[ctx.rank] for rank in range(ctx.size)])


def _alltoallv(ctx: Any, call: Call) -> None:
    counts, mine = [target + 1 for target in range(ctx.size)], [ctx.rank + 1] * ctx.size
    out = np.zeros(sum(mine))
    call([_row(ctx.rank, sum(counts)), counts], [out, mine])
    _same(out, np.concatenate([_row(rank, sum(counts))[sum(counts[: ctx.rank]) :][: ctx.rank + 1] for rank in range(ctx.size)]))


def _reduce(ctx: Any, call: Call) -> None:
    mine, out = _row(ctx.rank), np.zeros(4)
    call(mine, out if ctx.rank == 0 else None, op=ctx.MPI.SUM, root=0)
    if ctx.rank == 0:
        _same(out, sum(_row(rank) for rank in range(ctx.size)))


def _allreduce(ctx: Any, call: Call) -> None:
    mine, out = _row(ctx.rank), np.zeros(4)
    call(mine, out, op=ctx.MPI.MAX)
    _same(out, _row(ctx.size - 1))


def _reduce_scatter(ctx: Any, call: Call) -> None:
    counts = [rank + 1 for rank in range(ctx.size)]
    mine, out = _row(ctx.rank, sum(counts)), np.zeros(ctx.rank + 1)
    call(mine, out, counts, op=ctx.MPI.SUM)
    _same(out, sum(_row(rank, sum(counts)) for rank in range(ctx.size))[sum(counts[: ctx.rank]) :][: ctx.rank + 1])


def _reduce_scatter_block(ctx: Any, call: Call) -> None:
    mine, out = _row(ctx.rank, 2 * ctx.size), np.zeros(2)
    call(mine, out, op=ctx.MPI.SUM)
    _same(out, sum(_row(rank, 2 * ctx.size) for rank in range(ctx.size))[2 * ctx.rank : 2 * ctx.rank + 2])


def _scan(ctx: Any, call: Call) -> None:
    mine, out = _row(ctx.rank), np.zeros(4)
    call(mine, out, op=ctx.MPI.SUM)
    _same(out, sum(_row(rank) for rank in range(ctx.rank + 1)))


def _exscan(ctx: Any, call: Call) -> None:
    mine, out = _row(ctx.rank), np.zeros(4)
    call(mine, out, op=ctx.MPI.SUM)
    if ctx.rank:
        _same(out, sum(_row(rank) for rank in range(ctx.rank)))


def _neighbor_allgather(grid: Any, call: Call) -> None:
    out = np.full((2, 4), -1.0)
    call(_row(grid.rank), out)
    _same(out, [np.full(4, -1.0) if rank is None else _row(rank) for rank in around(grid)])


def _neighbor_allgatherv(grid: Any, call: Call) -> None:
    counts = [0 if rank is None else rank + 1 for rank in around(grid)]
    out = np.zeros(sum(counts))
    call(_row(grid.rank, grid.rank + 1), [out, counts])
    _same(out, np.concatenate([[], *(_row(rank, rank + 1) for rank in around(grid) if rank is not None)]))


def _neighbor_alltoall(grid: Any, call: Call) -> None:
    out = np.full(2, -1.0)
    call(_row(grid.rank, 2), out)  # element 0 to the left, 1 to the right
    left, right = around(grid)
    _same(out, [-1 if left is None else _row(left, 2)[1], -1 if right is None else _row(right, 2)[0]])


def _neighbor_alltoallv(grid: Any, call: Call) -> None:
    left, right = around(grid)
    sent, received = [1, 2], [0 if left is None else 2, 0 if right is None else 1]
    out = np.zeros(sum(received))
    call([_row(grid.rank, 3), sent], [out, received])
    _same(out, np.concatenate([[], *([] if left is None else [_row(left, 3)[1:]]), *([] if right is None else [_row(right, 3)[:1]])]))


def _neighbours(grid: Any, call: Call) -> None:
    left, right = around(grid)
    into = {(-1,): np.full(2, -1.0), (1,): np.full(3, -1.0)}
    call({(-1,): _row(grid.rank, 3), (1,): _row(grid.rank, 2)}, into)
    _same(into[(-1,)], np.full(2, -1.0) if left is None else _row(left, 2))
    _same(into[(1,)], np.full(3, -1.0) if right is None else _row(right, 3))


def _halo(grid: Any, call: Call) -> None:
    cells = np.full((5, 3), -1.0)
    cells[1:-1] = grid.rank
    call(cells, 1)
    left, right = around(grid)
    _same(cells[:, 0], [-1 if left is None else left, grid.rank, grid.rank, grid.rank, -1 if right is None else right])


_ARRAYS: dict[str, Check] = {
    "Barrier": _barrier,
    "Bcast": _bcast,
    "Scatter": _scatter,
    "Scatterv": _scatterv,
    "Gather": _gather,
    "Gatherv": _gatherv,
    "Allgather": _allgather,
    "Allgatherv": _allgatherv,
    "Alltoall": _alltoall,
    "Alltoallv": _alltoallv,
    "Reduce": _reduce,
    "Allreduce": _allreduce,
    "Reduce_scatter": _reduce_scatter,
    "Reduce_scatter_block": _reduce_scatter_block,
    "Scan": _scan,
    "Exscan": _exscan,
}
_GRID_ARRAYS: dict[str, Check] = {
    "Neighbor_allgather": _neighbor_allgather,
    "Neighbor_allgatherv": _neighbor_allgatherv,
    "Neighbor_alltoall": _neighbor_alltoall,
    "Neighbor_alltoallv": _neighbor_alltoallv,
}
ARRAY_CALLS: dict[str, Check] = {
    **_ARRAYS,
    **{f"I{name.lower()}": check for name, check in _ARRAYS.items()},
    **{f"grid.comm.{name}": check for name, check in _GRID_ARRAYS.items()},
    **{f"grid.comm.I{name.lower()}": check for name, check in _GRID_ARRAYS.items()},
    "grid.exchange_neighbours": _neighbours,
    "grid.start_neighbours": _neighbours,
    "grid.exchange_halo": _halo,
    "grid.start_halo": _halo,
}
"""Call as the docs name it -> its check."""
