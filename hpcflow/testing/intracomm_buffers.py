"""Bodies for `check_intracomm`: what may stand for a buffer, and what may not."""

from __future__ import annotations

from typing import Any

import numpy as np


def a_spec_may_name_count_displacement_and_type(comm: Any, MPI: Any) -> None:
    x = np.arange(10.0) if comm.rank == 0 else np.zeros(10)
    comm.Bcast([x, (4, 3), MPI.DOUBLE])
    expected = np.arange(10.0) if comm.rank == 0 else np.array([0, 0, 0, 3, 4, 5, 6, 0, 0, 0.0])
    np.testing.assert_array_equal(x, expected)
    y = np.arange(6, dtype="i4") if comm.rank == 0 else np.zeros(6, "i4")
    comm.Bcast([y, 2])
    comm.Bcast((y[2:], MPI.INT))
    np.testing.assert_array_equal(y, np.arange(6))
    times = np.full(2, comm.rank, "M8[s]")
    comm.Bcast([times, MPI.INT64_T], root=comm.size - 1)
    assert (times == np.datetime64(comm.size - 1, "s")).all()
    z = np.full(2, comm.rank, "f4")
    comm.Bcast([z, "f"])
    assert (z == 0).all()


def derived_types_pick_columns_and_parts(comm: Any, MPI: Any) -> None:
    matrix = np.arange(12.0).reshape(3, 4) + 100 * comm.rank
    column = MPI.DOUBLE.Create_vector(3, 1, 4).Commit()
    got = np.zeros(3)
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    comm.Sendrecv([matrix, 1, column], right, 0, [got, MPI.DOUBLE], left, 0)
    np.testing.assert_array_equal(got, np.arange(12.0).reshape(3, 4)[:, 0] + 100 * left)
    corner = MPI.DOUBLE.Create_subarray([3, 4], [2, 2], [1, 2]).Commit()
    into = np.zeros((3, 4))
    comm.Sendrecv([matrix, 1, corner], right, 1, [into, 1, corner], left, 1)
    expected = np.zeros((3, 4))
    expected[1:, 2:] = np.arange(12.0).reshape(3, 4)[1:, 2:] + 100 * left
    np.testing.assert_array_equal(into, expected)
    pair = MPI.DOUBLE.Create_contiguous(2).Commit()
    assert pair.Get_size() == 16 and pair.Get_extent() == (0, 16)
    x = np.arange(4.0) if comm.rank == 0 else np.zeros(4)
    comm.Bcast([x, 2, pair])
    np.testing.assert_array_equal(x, np.arange(4.0))
    for kind in (column, corner, pair):
        kind.Free()


def wrong_arguments_are_refused_before_anything_moves(comm: Any, MPI: Any) -> None:
    if comm.size > 1:
        _refused(ValueError, lambda: comm.Allgather(np.zeros(1), np.zeros(comm.size * 2 + 1)))
    _refused(ValueError, lambda: comm.Allreduce(np.zeros(2), np.zeros(3)))
    _refused(ValueError, lambda: comm.Allreduce(np.zeros(2, "f4"), np.zeros(2, "f8")))
    _refused(TypeError, lambda: comm.Bcast({"not": "a buffer"}))
    _refused(KeyError, lambda: comm.Bcast(np.zeros(2, [("a", "f8")])))
    _refused(BufferError, lambda: comm.Bcast(np.zeros((4, 4))[:, 1]))
    _refused(BufferError, lambda: comm.Bcast(np.zeros(2, "M8[s]")))
    _refused(BufferError, lambda: comm.Bcast(np.zeros(2, np.dtype("f8").newbyteorder())))
    _refused((BufferError, ValueError), lambda: comm.Recv(_read_only(), 0))
    _refused(MPI.Exception, lambda: comm.Send(np.zeros(1), comm.size))
    _refused(MPI.Exception, lambda: comm.Bcast(np.zeros(1), root=comm.size))
    comm.Barrier()


def _read_only() -> Any:
    x = np.zeros(1)
    x.setflags(write=False)
    return x


def _refused(kind: Any, call: Any) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"not refused with {kind}")


BUFFER_CHECKS = (
    a_spec_may_name_count_displacement_and_type,
    derived_types_pick_columns_and_parts,
    wrong_arguments_are_refused_before_anything_moves,
)
