"""Bodies for `check_intracomm`: communicators made of communicators, grids and shared memory."""

from __future__ import annotations

from typing import Any

import numpy as np


def ranks_know_their_place(comm: Any, MPI: Any) -> None:
    assert comm.Get_rank() == comm.rank and comm.Get_size() == comm.size
    assert comm.allgather(comm.rank) == list(range(comm.size))
    assert comm.Is_intra() and not comm.Is_inter()


def a_duplicate_shares_nothing_with_its_original(comm: Any, MPI: Any) -> None:
    other = comm.Dup()
    assert (other.rank, other.size) == (comm.rank, comm.size)
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    sends = [comm.isend("original", dest=right), other.isend("duplicate", dest=right)]
    assert other.recv(source=left) == "duplicate"
    assert comm.recv(source=left) == "original"
    MPI.Request.waitall(sends)
    first, second = np.zeros(1), np.zeros(1)
    one, two = np.ones(1), np.full(1, 2.0)  # in variables: mpi4py's nonblocking reductions do not keep the send buffer
    a, b = comm.Iallreduce(one, first), other.Iallreduce(two, second)
    b.Wait()
    a.Wait()
    assert (first[0], second[0]) == (comm.size, 2.0 * comm.size), (first, second)
    other.Free()


def split_makes_groups_by_color_ordered_by_key(comm: Any, MPI: Any) -> None:
    part = comm.Split(color=comm.rank % 2, key=-comm.rank)
    members = [rank for rank in range(comm.size) if rank % 2 == comm.rank % 2][::-1]
    assert part.size == len(members) and members[part.rank] == comm.rank
    assert part.allgather(comm.rank) == members
    part.Free()
    only = comm.Split(0 if comm.rank == 0 else MPI.UNDEFINED)
    assert (only == MPI.COMM_NULL) is (comm.rank != 0) and bool(only) is (comm.rank == 0)
    if only:
        assert only.size == 1 and only.allreduce(3) == 3
        only.Free()


def all_ranks_of_a_node_share_memory(comm: Any, MPI: Any) -> None:
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    window = MPI.Win.Allocate_shared(8 * 10 if node.rank == 0 else 0, 8, comm=node)
    memory, unit = window.Shared_query(0)
    table = np.ndarray(buffer=memory, dtype="f8", shape=(10,))
    window.Fence()
    if node.rank == 0:
        table[:] = np.arange(10)
    window.Fence()
    assert unit == 8 and table.tolist() == list(range(10))
    window.Fence()
    table[node.rank % 10] = -1.0 - node.rank
    window.Fence()
    expected = np.arange(10.0)
    for rank in range(node.size):
        expected[rank % 10] = -1.0 - rank
    np.testing.assert_array_equal(table, expected)
    del table, memory
    window.Free()
    node.Free()


def each_rank_may_bring_memory_to_a_window(comm: Any, MPI: Any) -> None:
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    window = MPI.Win.Allocate_shared(16, 8, comm=node)
    mine = np.ndarray(buffer=window.tomemory(), dtype="i8", shape=(2,))
    window.Fence()
    mine[:] = [node.rank, node.rank + 100]
    window.Fence()
    theirs = [np.ndarray(buffer=window.Shared_query(rank)[0], dtype="i8", shape=(2,)).tolist() for rank in range(node.size)]
    assert theirs == [[rank, rank + 100] for rank in range(node.size)]
    window.Fence()
    del mine
    window.Free()
    node.Free()


def a_grid_knows_coordinates_and_neighbours(comm: Any, MPI: Any) -> None:
    dims = MPI.Compute_dims(comm.size, 2)
    grid = comm.Create_cart(dims, periods=[True, False])
    assert grid.Get_topo() == (dims, [1, 0], grid.Get_coords(grid.rank)) and grid.dims == dims and grid.Get_dim() == 2
    row, column = grid.coords
    assert (row, column) == divmod(grid.rank, dims[1])
    assert grid.Get_cart_rank([row, column]) == grid.rank
    assert grid.Get_cart_rank([row + dims[0], column]) == grid.rank  # periodic
    above, below = grid.Shift(0, 1)
    assert (above, below) == (grid.Get_cart_rank([row - 1, column]), grid.Get_cart_rank([row + 1, column]))
    left, right = grid.Shift(1, 1)
    assert left == (grid.rank - 1 if column > 0 else MPI.PROC_NULL)
    assert right == (grid.rank + 1 if column < dims[1] - 1 else MPI.PROC_NULL)
    got = grid.sendrecv(grid.rank, dest=right, source=left)
    assert got == (None if column == 0 else left)
    rows = grid.Sub([False, True])
    assert rows.dims == [dims[1]] and rows.coords == [column] and rows.allgather(grid.rank) == [row * dims[1] + c for c in range(dims[1])]
    rows.Free()
    grid.Free()


def ranks_beyond_the_grid_get_none(comm: Any, MPI: Any) -> None:
    grid = comm.Create_cart([max(1, comm.size - 1)], periods=False)
    assert (grid == MPI.COMM_NULL) is (comm.size > 1 and comm.rank == comm.size - 1)
    if grid != MPI.COMM_NULL:
        assert grid.size == max(1, comm.size - 1)
        grid.Free()


def neighbours_exchange_on_an_open_line(comm: Any, MPI: Any) -> None:
    line = comm.Create_cart([comm.size], periods=[False])
    rank, last = line.rank, line.rank == line.size - 1
    ghosts = np.full(2, -1.0)
    line.Neighbor_alltoall(np.array([rank + 0.25, rank + 0.5]), ghosts)
    assert ghosts.tolist() == [-1.0 if rank == 0 else rank - 1 + 0.5, -1.0 if last else rank + 1.25]
    around = np.full((2, 3), -1)
    line.Neighbor_allgather(np.full(3, rank), around)
    assert around.tolist() == [[rank - 1] * 3, [-1 if last else rank + 1] * 3]
    varied = np.full(3, -1.0)
    line.Neighbor_alltoallv([np.array([1.0, 2.0, 2.0]) + 10 * rank, [1, 2]], [varied, [2, 1]])
    below, above = ([-1.0] * 2 if rank == 0 else [10 * rank - 8.0] * 2), [-1.0 if last else 10 * rank + 11.0]
    assert varied.tolist() == below + above
    ghosts[:] = -1
    line.Ineighbor_alltoall(np.array([rank + 0.25, rank + 0.5]), ghosts).Wait()
    assert ghosts[0] == (-1.0 if rank == 0 else rank - 0.5)
    assert line.neighbor_allgather(rank) == [None if rank == 0 else rank - 1, None if last else rank + 1]
    below_object, above_object = line.neighbor_alltoall([("down", rank), ("up", rank)])
    assert below_object == (None if rank == 0 else ("up", rank - 1)) and above_object == (None if last else ("down", rank + 1))
    line.Free()


def neighbours_exchange_around_a_ring(comm: Any, MPI: Any) -> None:
    if comm.size < 3:
        return  # with one or two ranks both neighbours are the same rank, and MPI libraries differ in which block is whose
    ring = comm.Create_cart([comm.size], periods=[True])
    left, right = ring.Shift(0, 1)
    ghosts = np.zeros((2, 2), "i8")
    ring.Neighbor_alltoall(np.array([[ring.rank, 0], [ring.rank, 1]]), ghosts)
    assert ghosts.tolist() == [[left, 1], [right, 0]]
    assert ring.neighbor_allgather(ring.rank) == [left, right]
    ring.Free()


def dims_are_as_even_as_they_can_be(comm: Any, MPI: Any) -> None:
    for nodes, dims, expected in ((12, 3, [3, 2, 2]), (24, 2, [6, 4]), (60, 3, [5, 4, 3]), (7, 2, [7, 1]), (1, 2, [1, 1]), (8, 3, [2, 2, 2])):
        assert MPI.Compute_dims(nodes, dims) == expected
    assert MPI.Compute_dims(12, [0, 2]) == [6, 2]


GROUP_CHECKS = (
    ranks_know_their_place,
    a_duplicate_shares_nothing_with_its_original,
    split_makes_groups_by_color_ordered_by_key,
    all_ranks_of_a_node_share_memory,
    each_rank_may_bring_memory_to_a_window,
    a_grid_knows_coordinates_and_neighbours,
    ranks_beyond_the_grid_get_none,
    neighbours_exchange_on_an_open_line,
    neighbours_exchange_around_a_ring,
    dims_are_as_even_as_they_can_be,
)
