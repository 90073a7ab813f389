"""Bodies for `check_intracomm`: reductions of buffers, with MPI's operators and the user's."""

from __future__ import annotations

from typing import Any

import numpy as np


def reductions_equal_numpys(comm: Any, MPI: Any) -> None:
    for dtype in ("i4", "u8", "f8"):
        everyone = np.stack([_data(rank, dtype) for rank in range(comm.size)])
        for op, oracle in (
            (MPI.SUM, everyone.sum(0)),
            (MPI.PROD, everyone.prod(0)),
            (MPI.MAX, everyone.max(0)),
            (MPI.MIN, everyone.min(0)),
        ):
            got = np.empty(7, dtype)
            comm.Allreduce(everyone[comm.rank].copy(), got, op=op)
            np.testing.assert_array_equal(got, oracle.astype(dtype))  # small whole numbers: exact in any order


def logical_and_bitwise_reductions_equal_numpys(comm: Any, MPI: Any) -> None:
    everyone = np.stack([_data(rank, "i4") % 4 for rank in range(comm.size)])
    truth = everyone != 0
    for op, oracle in (
        (MPI.BAND, np.bitwise_and.reduce(everyone)),
        (MPI.BOR, np.bitwise_or.reduce(everyone)),
        (MPI.BXOR, np.bitwise_xor.reduce(everyone)),
        (MPI.LAND, truth.all(0)),
        (MPI.LOR, truth.any(0)),
        (MPI.LXOR, np.logical_xor.reduce(truth)),
    ):
        got = everyone[comm.rank].copy()
        comm.Allreduce(MPI.IN_PLACE, got, op=op)
        if comm.size > 1:  # one rank keeps its items as they are
            np.testing.assert_array_equal(got, oracle.astype("i4"))


def maxloc_and_minloc_name_the_lowest_rank_that_has_it(comm: Any, MPI: Any) -> None:
    pairs = np.zeros(3, np.dtype([("value", "f8"), ("index", "i4")], align=True))
    values = np.stack([_data(rank, "f8")[:3] for rank in range(comm.size)])
    pairs["value"], pairs["index"] = values[comm.rank], comm.rank
    got = np.zeros_like(pairs)
    comm.Allreduce([pairs, MPI.DOUBLE_INT], [got, MPI.DOUBLE_INT], op=MPI.MAXLOC)
    np.testing.assert_array_equal(got["value"], values.max(0))
    np.testing.assert_array_equal(got["index"], values.argmax(0))
    comm.Allreduce([pairs, MPI.DOUBLE_INT], [got, MPI.DOUBLE_INT], op=MPI.MINLOC)
    np.testing.assert_array_equal(got["index"], values.argmin(0))
    two = np.array([[5, comm.rank]], "i4")
    best = np.zeros_like(two)
    comm.Allreduce([two, 1, MPI.TWOINT], [best, 1, MPI.TWOINT], op=MPI.MAXLOC)
    assert best.tolist() == [[5, 0]]


def reduce_gives_the_root_alone(comm: Any, MPI: Any) -> None:
    for root in range(comm.size):
        got = np.full(2, -1.0)
        comm.Reduce(np.array([1.0, comm.rank]), got if comm.rank == root else None, op=MPI.SUM, root=root)
        assert got.tolist() == ([comm.size, comm.size * (comm.size - 1) / 2] if comm.rank == root else [-1.0, -1.0])
    x = np.ones(3, "i8")
    comm.Reduce(MPI.IN_PLACE if comm.rank == 0 else x, x if comm.rank == 0 else None)
    assert (x == (comm.size if comm.rank == 0 else 1)).all()


def float_sums_repeat_bit_for_bit(comm: Any, MPI: Any) -> None:
    x = np.random.default_rng(comm.rank).standard_normal(1000)
    first, second = np.empty(1000), np.empty(1000)
    comm.Allreduce(x, first)
    comm.Allreduce(x, second)
    assert first.tobytes() == second.tobytes()
    roots = comm.bcast(first)
    assert first.tobytes() == roots.tobytes()


def reduce_scatter_deals_out_the_reduced_items(comm: Any, MPI: Any) -> None:
    counts = [rank % 3 + 1 for rank in range(comm.size)]
    whole = np.arange(sum(counts), dtype="f8") + comm.rank
    mine = np.empty(counts[comm.rank])
    start = sum(counts[: comm.rank])
    expected = comm.size * np.arange(start, start + counts[comm.rank]) + sum(range(comm.size))
    comm.Reduce_scatter(whole, mine, counts)
    np.testing.assert_array_equal(mine, expected)
    mine[:] = 0
    comm.Reduce_scatter(whole, mine)
    np.testing.assert_array_equal(mine, expected)
    comm.Ireduce_scatter(whole, mine, counts, MPI.MAX).Wait()
    np.testing.assert_array_equal(mine, np.arange(start, start + counts[comm.rank]) + comm.size - 1)
    block = np.empty(2, "i8")
    comm.Reduce_scatter_block(np.arange(2 * comm.size), block)
    np.testing.assert_array_equal(block, comm.size * np.array([2 * comm.rank, 2 * comm.rank + 1]))
    in_place = np.arange(2 * comm.size)
    comm.Reduce_scatter_block(MPI.IN_PLACE, in_place)
    np.testing.assert_array_equal(in_place[:2], block)


def scan_and_exscan_reduce_the_ranks_before(comm: Any, MPI: Any) -> None:
    x = np.array([comm.rank + 1.0, 2.0])
    got = np.zeros(2)
    comm.Scan(x, got)
    assert got.tolist() == [(comm.rank + 1) * (comm.rank + 2) / 2, 2.0 * (comm.rank + 1)]
    got[:] = -1
    comm.Exscan(x, got)
    if comm.rank > 0:  # on rank 0 the buffer is undefined by the standard
        assert got.tolist() == [comm.rank * (comm.rank + 1) / 2, 2.0 * comm.rank]
    in_place = x.copy()
    comm.Scan(MPI.IN_PLACE, in_place, op=MPI.PROD)
    assert in_place[1] == 2.0 ** (comm.rank + 1)
    request = comm.Iexscan(x, got)
    request.Wait()
    assert comm.rank == 0 or got[1] == 2.0 * comm.rank


def a_users_operator_is_applied_in_rank_order(comm: Any, MPI: Any) -> None:
    """Composition of x -> a x + b: associative, not commutative."""

    def compose(first: Any, then: Any, datatype: Any) -> None:
        a, b = np.frombuffer(first, "i8").reshape(-1, 2), np.frombuffer(then, "i8").reshape(-1, 2)
        b[:, 1] += b[:, 0] * a[:, 1]
        b[:, 0] *= a[:, 0]

    op = MPI.Op.Create(compose, commute=False)
    assert not op.Is_commutative()
    mine = np.array([[2, comm.rank], [1, 1]], "i8")
    got = np.empty_like(mine)
    comm.Allreduce(mine, got, op=op)
    value = 0
    for rank in range(comm.size):
        value = 2 * value + rank
    assert got.tolist() == [[2**comm.size, value], [1, comm.size]]
    comm.Scan(mine, got, op=op)
    assert got[0, 0] == 2 ** (comm.rank + 1)
    op.Free()


def a_users_commutative_operator_works_on_wide_items(comm: Any, MPI: Any) -> None:
    def larger_norm(left: Any, right: Any, datatype: Any) -> None:
        a, b = np.frombuffer(left, "f8"), np.frombuffer(right, "f8")
        if abs(a).sum() > abs(b).sum():
            b[:] = a

    op = MPI.Op.Create(larger_norm, commute=True)
    got = np.empty(5)
    comm.Allreduce(np.full(5, comm.rank - 1.5), got, op=op)
    best = max(range(comm.size), key=lambda rank: (abs(rank - 1.5), -rank))
    assert abs(got[0]) == abs(best - 1.5)
    op.Free()


def _data(rank: int, dtype: str) -> Any:
    return ((np.arange(7) * 5 + rank * 3) % 4 + 1).astype(dtype)


REDUCTION_CHECKS = (
    reductions_equal_numpys,
    logical_and_bitwise_reductions_equal_numpys,
    maxloc_and_minloc_name_the_lowest_rank_that_has_it,
    reduce_gives_the_root_alone,
    float_sums_repeat_bit_for_bit,
    reduce_scatter_deals_out_the_reduced_items,
    scan_and_exscan_reduce_the_ranks_before,
    a_users_operator_is_applied_in_rank_order,
    a_users_commutative_operator_works_on_wide_items,
)
