"""What node arrays, user reductions and grids must do on any ranks: one suite for threads and for MPI.

check(lambda job: run_on_threads(job, workers=3))        # for check in ARRAY_CHECKS
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hpcflow.bsp.grids import CartesianGrid
from hpcflow.bsp.nodes import Nodes
from hpcflow.bsp.reductions import Reduction
from hpcflow.errors import ConfigError, HpcflowError, SchemaError
from hpcflow.testing.bsp import EngineGroup

Run = Callable[[Callable[[EngineGroup], Any]], list[Any]]
Check = Callable[[Run], None]


@contextmanager
def refused(error: type[Exception], text: str) -> Iterator[None]:
    """The block raises `error` with `text` in it."""
    try:
        yield
    except error as found:
        assert text in str(found), str(found)
        return
    raise AssertionError(f"no {error.__name__}: {text}")


def nodes_of(group: EngineGroup) -> Iterator[Nodes]:
    """The nodes as they are, and pretended ones of two ranks each."""
    for node in (None, group.rank // 2, group.rank % 2):
        nodes = Nodes(group.comm, group.MPI, node)
        yield nodes
        nodes.close()


def ranks_of_a_node_share_one_array(run: Run) -> None:
    def job(group: EngineGroup) -> None:
        for nodes in nodes_of(group):
            shared = nodes.shared_array((group.size, 3), np.int64)
            assert (shared.array == 0).all()
            shared.fence()
            shared.array[group.rank] = group.rank + 1
            shared.fence()
            mine = nodes.node_of_rank[group.rank]
            for rank, node in enumerate(nodes.node_of_rank):
                assert (shared.array[rank] == (rank + 1 if node == mine else 0)).all()
            shared.fence()
            with nodes.shared_array(0) as empty:
                assert empty.array.shape == (0,)
            shared.free()
            with refused(HpcflowError, "has been freed"):
                shared.array.sum()
            with refused(ConfigError, "Python objects live in one process"):
                nodes.shared_array(3, object)

    run(job)


def a_node_broadcast_gives_one_read_only_copy_a_node(run: Run) -> None:
    dtype = np.dtype([("x", "f8"), ("n", "i4")])

    def job(group: EngineGroup) -> None:
        for nodes in nodes_of(group):
            for root in (0, group.size - 1):
                for given in (np.arange(1000.0).reshape(10, 100)[:, ::2], np.ones(17, dtype), np.zeros(0)):
                    shared = nodes.bcast(given if group.rank == root else None, root)
                    assert shared.array.dtype == given.dtype
                    assert np.array_equal(shared.array, given)
                    assert not shared.array.flags.writeable
            with refused(ConfigError, "root=99"):
                nodes.bcast(None, 99)

    run(job)


def a_two_level_allreduce_equals_a_plain_one(run: Run) -> None:
    def job(group: EngineGroup) -> None:
        for nodes in nodes_of(group):
            mine = np.arange(1001.0) + group.rank
            wanted = np.empty_like(mine)
            group.comm.Allreduce(mine, wanted)
            assert np.array_equal(nodes.allreduce(mine), wanted)
            assert np.array_equal(nodes.allreduce(mine.reshape(7, 143).T, group.MPI.MAX), (np.arange(1001.0) + group.size - 1).reshape(7, 143).T)
            assert nodes.allreduce(mine, out=mine) is mine
            assert np.array_equal(mine, wanted)
            nearest = Reduction(group.MPI, lambda a, b: np.where(abs(a) < abs(b), a, b), np.float64, commutative=True)
            assert nodes.allreduce(np.array([group.rank - 0.25]), nearest)[0] == -0.25
            nearest.free()
            first = Reduction(group.MPI, lambda a, b: a, np.float64)
            with refused(ConfigError, "does not commute"):
                nodes.allreduce(mine, first)
            first.free()
            with refused(ConfigError, "give a C-contiguous array"):
                nodes.allreduce(mine, out=np.empty(3))

    run(job)


def python_functions_reduce_structured_arrays_in_rank_order(run: Run) -> None:
    dtype = np.dtype([("cost", "f8"), ("rank", "i4")])

    def job(group: EngineGroup) -> None:
        best = Reduction(group.MPI, lambda a, b: np.where(a["cost"] <= b["cost"], a, b), dtype, commutative=True)
        mine = np.array([(abs(group.rank - 1), group.rank), (7.0 + group.rank, group.rank)], dtype)
        found = best.allreduce(group.comm, mine)
        assert found["rank"].tolist() == [min(1, group.size - 1), 0]
        at_last = best.reduce(group.comm, mine, group.size - 1)
        assert (at_last is None) == (group.rank != group.size - 1)
        assert at_last is None or np.array_equal(at_last, found)
        best.free()

        def append(a: Any, b: Any) -> None:
            """Digits in rank order: associative, not commutative; in place."""
            b["digits"][:] = a["digits"] * 10 ** b["length"] + b["digits"]
            b["length"][:] += a["length"]

        digits = np.dtype([("digits", "i8"), ("length", "i8")])
        text = Reduction(group.MPI, append, digits)
        number = text.scan(group.comm, np.array([(group.rank + 1, 1)], digits))
        assert number["digits"][0] == int("".join(str(rank + 1) for rank in range(group.rank + 1)))
        out = np.empty(1, digits)
        group.comm.Allreduce(text.buffer(np.array([(group.rank + 1, 1)], digits)), text.buffer(out), op=text.op)
        assert out["digits"][0] == int("".join(str(rank + 1) for rank in range(group.size)))
        with refused(SchemaError, "takes C-contiguous arrays"):
            text.allreduce(group.comm, np.zeros(3))
        text.free()

    run(job)


def numba_functions_reduce(run: Run) -> None:
    dtype = np.dtype([("low", "f8"), ("high", "f8")])

    def job(group: EngineGroup) -> None:
        if group.size > 4:
            return  # every process compiles: few show as much as many
        hypot = Reduction(group.MPI, lambda a, b: (a * a + b * b) ** 0.5, np.float64, commutative=True, each=True)
        assert np.allclose(hypot.allreduce(group.comm, np.full((2, 3), 2.0)), 2.0 * group.size**0.5)
        hypot.free()

        def widen(a: Any, b: Any, out: Any) -> None:
            out.low = min(a.low, b.low)
            out.high = max(a.high, b.high)

        ranges = Reduction(group.MPI, widen, dtype, commutative=True, each=True)
        found = ranges.allreduce(group.comm, np.array([(group.rank, group.rank + 0.5)], dtype))
        assert found[0].tolist() == (0.0, group.size - 0.5)
        ranges.free()

    run(job)


def _global(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    return np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)


def halos_are_the_neighbours_cells(run: Run) -> None:
    """Against np.pad of the whole array: wrapped where periodic, untouched (-1) beyond other borders."""

    def check(
        group: EngineGroup, dims: tuple[int, ...], periodic: tuple[bool, ...], width: tuple[int, ...], extra: tuple[int, ...], corners: bool
    ) -> None:
        grid = CartesianGrid(group.comm, group.MPI, dims, periodic)
        shape = tuple(4 * count + 1 for count in grid.dims)
        whole = _global((*shape, *extra), np.float32)
        padded = whole
        for axis, (layers, wraps) in enumerate(zip(width, periodic, strict=True)):
            pad = [(layers, layers) if index == axis else (0, 0) for index in range(whole.ndim)]
            padded = np.pad(padded, pad, "wrap") if wraps else np.pad(padded, pad, constant_values=-1)
        ranges = [grid.share(count, axis) for axis, count in enumerate(shape)]
        inside = tuple(slice(layers, layers + stop - start) for (start, stop), layers in zip(ranges, width, strict=True))
        wanted = padded[tuple(slice(start, stop + 2 * layers) for (start, stop), layers in zip(ranges, width, strict=True))]
        mine = np.full(wanted.shape, -1, np.float32)
        mine[inside] = whole[tuple(slice(start, stop) for start, stop in ranges)]
        fortran = np.asfortranarray(mine)
        first = grid.start_halo(mine, width, corners=corners)
        second = grid.start_halo(fortran, width, corners=corners)
        second.finish()
        first.finish()
        first.finish()
        assert first.test()
        looked_at = np.ones(wanted.shape, bool)
        if not corners:
            ghost = np.zeros(wanted.shape, np.int8)
            for axis, layers in enumerate(width):
                if layers:
                    index: list[Any] = [slice(None)] * wanted.ndim
                    for part in (slice(0, layers), slice(wanted.shape[axis] - layers, None)):
                        index[axis] = part
                        ghost[tuple(index)] += 1
            looked_at = ghost < 2
        for found in (mine, fortran):
            assert np.array_equal(found[looked_at], wanted[looked_at])
        before = mine.copy()
        grid.exchange_halo(mine, width, corners=corners)  # with the plan of before
        assert np.array_equal(mine, before)
        grid.close()

    def job(group: EngineGroup) -> None:
        check(group, (0,), (True,), (1,), (), True)
        check(group, (0,), (False,), (2,), (3,), True)
        check(group, (0, 0), (True, False), (1, 2), (), True)
        check(group, (1, 0), (True, True), (1, 1), (), True)
        check(group, (0, 0), (False, False), (1, 1), (), False)
        check(group, (0, 0, 0), (True, True, True), (1, 0, 2), (2,), True)

    run(job)


def neighbours_exchange_arrays_of_their_own_sizes(run: Run) -> None:
    def job(group: EngineGroup) -> None:
        grid = CartesianGrid(group.comm, group.MPI, (0,), False)
        place = grid.coords[0]
        outgoing: dict[tuple[int, ...], Any] = {(-1,): np.full(place + 1, place), (1,): np.full((2, 2), place)}
        into: dict[tuple[int, ...], Any] = {(-1,): np.full((2, 2), -1), (1,): np.full(place + 2, -1)}
        grid.exchange_neighbours(outgoing, into)
        assert (into[(-1,)] == (place - 1 if place else -1)).all()
        assert (into[(1,)] == (place + 1 if place + 1 < group.size else -1)).all()
        grid.close()

    run(job)


def wrong_grids_are_refused(run: Run) -> None:
    def job(group: EngineGroup) -> None:
        for dims in ((group.size + 1,), (group.size, 2), (-1,)):
            with refused(ConfigError, f"the product has to be {group.size}"):
                CartesianGrid(group.comm, group.MPI, dims)
        grid = CartesianGrid(group.comm, group.MPI, (0, 0))
        with refused(ConfigError, "too few for 3 ghost layers"):
            grid.start_halo(np.zeros((8, 20)), 3)
        with refused(ConfigError, "give one width and axis each"):
            grid.start_halo(np.zeros(8), 1)
        grid.close()

    run(job)


ARRAY_CHECKS: tuple[Check, ...] = (
    ranks_of_a_node_share_one_array,
    a_node_broadcast_gives_one_read_only_copy_a_node,
    a_two_level_allreduce_equals_a_plain_one,
    python_functions_reduce_structured_arrays_in_rank_order,
    numba_functions_reduce,
    halos_are_the_neighbours_cells,
    neighbours_exchange_arrays_of_their_own_sizes,
    wrong_grids_are_refused,
)
