"""Bodies for `check_intracomm`: the lower-case collectives."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np


def bcast_gives_every_rank_a_copy_of_its_own(comm: Any, MPI: Any) -> None:
    for root in range(comm.size):
        mine: Any = {"root": root, "x": np.arange(3)} if comm.rank == root else None
        got = comm.bcast(mine, root=root)
        assert got["root"] == root
        got["x"] += comm.rank
        got["root"] = -1
        assert comm.rank != root or (mine["root"] == root and mine["x"].tolist() == [0, 1, 2])
        comm.Barrier()
        assert got["x"].tolist() == [comm.rank, comm.rank + 1, comm.rank + 2]


def gather_and_scatter_keep_rank_order(comm: Any, MPI: Any) -> None:
    root = comm.size // 2
    got = comm.gather(("rank", comm.rank), root=root)
    assert got == ([("rank", rank) for rank in range(comm.size)] if comm.rank == root else None)
    items = [{"to": rank} for rank in range(comm.size)] if comm.rank == root else None
    assert comm.scatter(items, root=root) == {"to": comm.rank}
    assert comm.allgather(str(comm.rank)) == [str(rank) for rank in range(comm.size)]
    assert comm.alltoall([(comm.rank, peer) for peer in range(comm.size)]) == [(peer, comm.rank) for peer in range(comm.size)]


def objects_of_all_kinds_travel(comm: Any, MPI: Any) -> None:
    for obj in (None, True, 3, 2.5, "text", b"bytes", [1, [2]], {"k": (1,)}, {1, 2}, 1 << 200, range(3), float("inf")):
        assert comm.bcast(obj if comm.rank == 0 else "other") == obj
        assert comm.allgather(obj) == [obj] * comm.size
    large = comm.allgather(np.full(50_000, comm.rank))
    assert [(len(part), part[0]) for part in large] == [(50_000, rank) for rank in range(comm.size)]
    large[0][:] = -1  # writable, and nobody else's


def reduce_folds_from_left_to_right(comm: Any, MPI: Any) -> None:
    assert comm.allreduce([comm.rank]) == list(range(comm.size))  # + of lists does not commute
    assert comm.allreduce(str(comm.rank), op=lambda left, right: left + right) == "".join(map(str, range(comm.size)))
    root = comm.size - 1
    assert comm.reduce([comm.rank], root=root) == (list(range(comm.size)) if comm.rank == root else None)
    assert comm.scan([comm.rank]) == list(range(comm.rank + 1))
    assert comm.exscan([comm.rank]) == (list(range(comm.rank)) if comm.rank else None)


def operators_work_on_objects(comm: Any, MPI: Any) -> None:
    n = comm.size
    value = comm.rank + 1
    assert comm.allreduce(value, op=MPI.SUM) == n * (n + 1) // 2
    assert comm.allreduce(value, op=MPI.PROD) == int(np.prod(np.arange(1, n + 1)))
    assert comm.allreduce(value, op=MPI.MAX) == n
    assert comm.allreduce(value, op=MPI.MIN) == 1
    assert comm.allreduce(value % 2 == 1, op=MPI.LAND) is (n == 1)
    assert comm.allreduce(value % 2 == 0, op=MPI.LOR) is (n > 1)
    assert comm.allreduce(value, op=MPI.BAND) == np.bitwise_and.reduce(np.arange(1, n + 1))
    assert comm.allreduce(value, op=MPI.BOR) == np.bitwise_or.reduce(np.arange(1, n + 1))
    assert comm.allreduce(value, op=MPI.BXOR) == np.bitwise_xor.reduce(np.arange(1, n + 1))
    assert comm.allreduce((value % 2, comm.rank), op=MPI.MAXLOC) == (1, 0)
    assert comm.allreduce((value % 2, comm.rank), op=MPI.MINLOC) == ((0, 1) if n > 1 else (1, 0))
    total = comm.allreduce(np.array([value, 1]))
    assert total.tolist() == [n * (n + 1) // 2, n]
    user = MPI.Op.Create(lambda x, y, datatype: max(x, y), commute=True)
    assert comm.allreduce(value, op=user) == n
    user.Free()


def a_compiled_function_reduces_like_a_python_one(comm: Any, MPI: Any) -> None:
    if comm.size > 4:
        return  # every process compiles: few show as much as many
    try:
        compiler: Any = importlib.import_module("numba")
    except ImportError:
        return  # the extra [numba] is not installed

    def of_two(x: Any, y: Any) -> Any:
        return (x * x + y * y) ** 0.5

    hypotenuse = compiler.njit(of_two)
    got = comm.allreduce(float(comm.rank + 1), op=hypotenuse)
    assert abs(got - np.sqrt(np.sum(np.arange(1, comm.size + 1) ** 2.0))) < 1e-12

    def merge(left: Any, right: Any, datatype: Any) -> None:
        x, y = np.frombuffer(left, "f8"), np.frombuffer(right, "f8")
        for index in range(len(x)):
            y[index] = hypotenuse(x[index], y[index])

    op = MPI.Op.Create(merge, commute=True)
    total = np.empty(2)
    comm.Allreduce(np.full(2, comm.rank + 1.0), total, op=op)
    np.testing.assert_allclose(total, got)
    op.Free()


def wrong_lengths_are_refused(comm: Any, MPI: Any) -> None:
    calls = (comm.alltoall, comm.scatter) if comm.size == 1 else (comm.alltoall,)  # the ranks that are not the root of a scatter would wait
    for call in calls:
        try:
            call([0] * (comm.size + 1))
        except ValueError:
            continue
        raise AssertionError("a list of the wrong length was taken")
    comm.Barrier()


OBJECT_CHECKS = (
    bcast_gives_every_rank_a_copy_of_its_own,
    gather_and_scatter_keep_rank_order,
    objects_of_all_kinds_travel,
    reduce_folds_from_left_to_right,
    operators_work_on_objects,
    a_compiled_function_reduces_like_a_python_one,
    wrong_lengths_are_refused,
)
