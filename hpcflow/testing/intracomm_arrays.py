"""Bodies for `check_intracomm`: the upper-case collectives that move data."""

from __future__ import annotations

from typing import Any

import numpy as np


def a_barrier_holds_until_all_have_come(comm: Any, MPI: Any) -> None:
    seen = np.zeros(1, "i8")
    if comm.rank == comm.size - 1:
        for peer in range(comm.size - 1):
            comm.Send(np.ones(1, "i8"), peer, 3)
    else:
        comm.Recv(seen, comm.size - 1, 3)
    comm.Barrier()
    comm.barrier()
    request = comm.Ibarrier()
    request.Wait()
    assert comm.size == 1 or seen[0] == (comm.rank != comm.size - 1)


def bcast_gives_the_roots_items_to_all(comm: Any, MPI: Any) -> None:
    for root in range(comm.size):
        for dtype in ("i1", "u2", "i4", "i8", "f4", "f8", "c16", "?"):
            x = (np.arange(12) % 2 + root).astype(dtype) if comm.rank == root else np.zeros(12, dtype)
            comm.Bcast(x, root=root)
            np.testing.assert_array_equal(x, (np.arange(12) % 2 + root).astype(dtype))
    matrix = np.full((3, 4), comm.rank, order="F")
    comm.Bcast([matrix, 12, MPI.LONG if matrix.itemsize == 8 else MPI.INT])
    assert (matrix == 0).all()
    empty = np.empty(0)
    comm.Bcast(empty)
    raw = bytearray(b"root" if comm.rank == 0 else b"----")
    comm.Bcast(raw)
    assert bytes(raw) == b"root"


def gather_puts_blocks_in_rank_order(comm: Any, MPI: Any) -> None:
    for root in {0, comm.size - 1}:
        whole = np.full((comm.size, 3), -1, "i4") if comm.rank == root else None
        comm.Gather(np.full(3, comm.rank, "i4"), whole, root=root)
        if whole is not None:
            np.testing.assert_array_equal(whole, np.repeat(np.arange(comm.size), 3).reshape(-1, 3))
    whole = np.full(comm.size, 7.0)
    comm.Gather(MPI.IN_PLACE if comm.rank == 0 else np.array([float(comm.rank)]), whole if comm.rank == 0 else None)
    if comm.rank == 0:
        np.testing.assert_array_equal(whole, [7.0, *range(1, comm.size)])


def gatherv_takes_a_count_from_each_rank(comm: Any, MPI: Any) -> None:
    counts = [rank % 3 for rank in range(comm.size)]
    mine = np.full(counts[comm.rank], comm.rank, "i8")
    whole = np.full(sum(counts), -1, "i8")
    comm.Gatherv(mine, [whole, counts] if comm.rank == 0 else None)
    if comm.rank == 0:
        np.testing.assert_array_equal(whole, np.repeat(np.arange(comm.size), counts))
    spread = np.full(4 * comm.size, -1, "i8")
    places = [4 * (comm.size - 1 - rank) for rank in range(comm.size)]
    comm.Gatherv(mine, [spread, counts, places, MPI.INT64_T], root=0)
    if comm.rank == 0:
        for rank in range(comm.size):
            part = spread[places[rank] : places[rank] + 4]
            np.testing.assert_array_equal(part, [rank] * counts[rank] + [-1] * (4 - counts[rank]))


def scatter_gives_each_rank_its_block(comm: Any, MPI: Any) -> None:
    root = comm.size - 1
    whole = np.arange(2.0 * comm.size) if comm.rank == root else None
    mine = np.zeros(2)
    comm.Scatter(whole, mine, root=root)
    np.testing.assert_array_equal(mine, [2.0 * comm.rank, 2.0 * comm.rank + 1])
    counts = [rank + 1 for rank in range(comm.size)]
    part = np.zeros(comm.rank + 1, "u1")
    source = np.repeat(np.arange(comm.size), counts).astype("u1")
    comm.Scatterv([source, counts] if comm.rank == 0 else None, part, root=0)
    assert (part == comm.rank).all()
    if comm.rank == 0:
        comm.Scatter(source[: comm.size].copy(), MPI.IN_PLACE)
    else:
        comm.Scatter(None, part[:1])
        assert part[0] == source[comm.rank]


def allgather_gives_all_blocks_to_all(comm: Any, MPI: Any) -> None:
    whole = np.empty(2 * comm.size, "f4")
    comm.Allgather(np.full(2, comm.rank, "f4"), whole)
    np.testing.assert_array_equal(whole, np.repeat(np.arange(comm.size), 2))
    whole = np.full(comm.size, -1.0)
    whole[comm.rank] = comm.rank
    comm.Allgather(MPI.IN_PLACE, whole)
    np.testing.assert_array_equal(whole, np.arange(comm.size))
    counts = [(rank * 2) % 5 for rank in range(comm.size)]
    varied = np.empty(sum(counts), "i4")
    comm.Allgatherv(np.full(counts[comm.rank], comm.rank, "i4"), [varied, counts])
    np.testing.assert_array_equal(varied, np.repeat(np.arange(comm.size), counts))
    varied = np.full(sum(counts), -1, "i4")
    start = sum(counts[: comm.rank])
    varied[start : start + counts[comm.rank]] = comm.rank
    comm.Allgatherv(MPI.IN_PLACE, (varied, counts))
    np.testing.assert_array_equal(varied, np.repeat(np.arange(comm.size), counts))


def alltoall_transposes_the_blocks(comm: Any, MPI: Any) -> None:
    ranks = np.arange(comm.size)
    got = np.empty(comm.size, "i8")
    comm.Alltoall(100 * comm.rank + ranks, got)
    np.testing.assert_array_equal(got, 100 * ranks + comm.rank)
    in_place = 100 * comm.rank + ranks
    comm.Alltoall(MPI.IN_PLACE, in_place)
    np.testing.assert_array_equal(in_place, 100 * ranks + comm.rank)


def alltoallv_moves_a_count_for_each_pair(comm: Any, MPI: Any) -> None:
    send_counts = [(comm.rank + peer) % 4 for peer in range(comm.size)]  # symmetric: what rank r sends to p has the length of what p sends to r
    source = np.repeat(100 * comm.rank + np.arange(comm.size), send_counts).astype("f8")
    got = np.empty(sum(send_counts))
    comm.Alltoallv([source, send_counts], [got, send_counts])
    np.testing.assert_array_equal(got, np.repeat(100 * np.arange(comm.size) + comm.rank, send_counts))
    starts = np.concatenate([[0], np.cumsum(send_counts)[:-1]])
    again = np.empty_like(got)
    comm.Alltoallv([source, (send_counts, starts)], [again, (send_counts, starts), MPI.DOUBLE])
    np.testing.assert_array_equal(again, got)


def nonblocking_collectives_may_overlap_and_end_in_any_order(comm: Any, MPI: Any) -> None:
    a, b, c = np.zeros(3), np.zeros(comm.size, "i4"), np.full(2, comm.rank, "i8")
    total, prefix = np.zeros(3), np.zeros(3)
    mine, ones = np.full(3, comm.rank + 1.0), np.ones(3)  # in variables: mpi4py's nonblocking reductions do not keep the send buffer
    requests = [
        comm.Iallreduce(mine, a),
        comm.Iallgather(np.array([comm.rank], "i4"), b),
        comm.Ibcast(c, root=comm.size - 1),
        comm.Ireduce(ones, total if comm.rank == 0 else None, root=0),
        comm.Iscan(ones, prefix),
        comm.Ibarrier(),
    ]
    requests[2].Wait()
    assert (c == comm.size - 1).all()
    while not requests[1].Test():
        pass
    np.testing.assert_array_equal(b, np.arange(comm.size))
    MPI.Request.Waitall(requests)
    assert not any(requests)
    assert (a == comm.size * (comm.size + 1) / 2).all()
    assert (prefix == comm.rank + 1).all()
    assert comm.rank != 0 or (total == comm.size).all()


def every_i_variant_gives_what_its_blocking_form_gives(comm: Any, MPI: Any) -> None:
    ranks = np.arange(comm.size)
    mine, whole = np.full(2, comm.rank, "i8"), np.zeros(2 * comm.size, "i8")
    root = comm.rank == 0
    counts = [2] * comm.size
    for call, arguments in (
        (comm.Igather, (mine, whole if root else None)),
        (comm.Igatherv, (mine, [whole, counts] if root else None)),
        (comm.Iallgather, (mine, whole)),
        (comm.Iallgatherv, (mine, [whole, counts])),
    ):
        whole[:] = -1
        call(*arguments).Wait()
        if root or call in (comm.Iallgather, comm.Iallgatherv):
            np.testing.assert_array_equal(whole, np.repeat(ranks, 2))
    part = np.zeros(2, "i8")
    whole = np.repeat(ranks, 2)
    comm.Iscatter(whole if root else None, part).Wait()
    assert (part == comm.rank).all()
    part[:] = -1
    comm.Iscatterv([whole, counts] if root else None, part).Wait()
    assert (part == comm.rank).all()
    swapped = np.zeros(comm.size, "i8")
    for into, call in ((swapped, comm.Ialltoall), ([swapped, [1] * comm.size], comm.Ialltoallv)):
        swapped[:] = -1
        call(10 * comm.rank + ranks, into).wait()
        np.testing.assert_array_equal(swapped, 10 * ranks + comm.rank)


ARRAY_CHECKS = (
    a_barrier_holds_until_all_have_come,
    bcast_gives_the_roots_items_to_all,
    gather_puts_blocks_in_rank_order,
    gatherv_takes_a_count_from_each_rank,
    scatter_gives_each_rank_its_block,
    allgather_gives_all_blocks_to_all,
    alltoall_transposes_the_blocks,
    alltoallv_moves_a_count_for_each_pair,
    nonblocking_collectives_may_overlap_and_end_in_any_order,
    every_i_variant_gives_what_its_blocking_form_gives,
)
