"""What the ranks of a node share: arrays of which there is one copy a node, and reductions in two levels.

    ranks of node 0: 0* 1 2       ranks of node 1: 3* 4 5          * leaders; they alone speak between nodes

Invariant: every call is collective over the communicator that the group of nodes was made of. In-process all ranks are on one node, and a shared
array is the very same memory for all of them.

    nodes = Nodes(ctx.comm, ctx.MPI)
    table = nodes.bcast(array if ctx.rank == 0 else None)       # table.array: read-only, once a node
    nodes.allreduce(gradient)                                   # in the node, across leaders, back
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hpcflow.bsp.reductions import Reduction
from hpcflow.errors import ConfigError, HpcflowError

_UNIT_BYTES = 64

Array = npt.NDArray[Any]


class NodeArray:
    """An array in memory that all ranks of a node see; each node has its own. Made by `Nodes`; free it on every rank, or let its `Nodes` do so.

    What a rank writes is seen by the others of its node behind the next `fence`.
    """

    def __init__(self, window: Any, array: Array) -> None:
        self._window = window
        self._array: Array | None = array

    @property
    def array(self) -> Array:
        """The memory as an array. HpcflowError after `free`: do not use what you have kept of it then, the memory is gone."""
        if self._array is None:
            raise HpcflowError("this node array has been freed: copy what is needed longer before free()")
        return self._array

    def fence(self) -> None:
        """Wait for all ranks of the node; what they wrote before is seen behind it. Collective in the node."""
        self._window.Fence()

    def free(self) -> None:
        """Give the memory back. Collective in the node; twice is fine."""
        if self._array is not None:
            self._array = None
            self._window.Free()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:  # else another rank may never come to the collective free
            self.free()


class Nodes:
    """The nodes of a communicator. Collective.

    Args:
        comm: the ranks.
        module: `mpi4py.MPI`, or the twin that fits.
        node: number of this rank's node, where it is not to be found out by who can share memory with whom; ranks of one number must be able to.
    """

    def __init__(self, comm: Any, module: Any, node: int | None = None) -> None:
        self.comm = comm
        self.MPI = module
        rank = comm.Get_rank()
        self.node_comm = comm.Split_type(module.COMM_TYPE_SHARED, rank) if node is None else comm.Split(node, rank)
        """Communicator of this rank's node, ordered by rank."""
        self.local_rank: int = self.node_comm.Get_rank()
        self.is_leader = self.local_rank == 0
        leaders = comm.Split(0 if self.is_leader else module.UNDEFINED, rank)
        self.leader_comm: Any = leaders if self.is_leader else None
        """Communicator of the nodes' first ranks, ordered by rank; None on other ranks."""
        number = self.node_comm.bcast(leaders.Get_rank() if self.is_leader else None)
        self.node_of_rank: tuple[int, ...] = tuple(comm.allgather(number))
        """Rank -> number of its node: nodes are numbered by their lowest rank."""
        self.count = max(self.node_of_rank) + 1
        self._arrays: list[NodeArray] = []

    def shared_array(self, shape: int | Sequence[int], dtype: Any = np.float64) -> NodeArray:
        """A zeroed array of this shape on every node, that all its ranks may read and write."""
        array = self._allocate((shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype))
        if self.is_leader:
            array.array[...] = np.zeros((), array.array.dtype)
        array.fence()
        return array

    def bcast(self, array: Array | None, root: int = 0) -> NodeArray:
        """The root's array, read-only, one copy a node; the other ranks give None."""
        size = self.comm.Get_size()
        if not 0 <= root < size:
            raise ConfigError(f"node_bcast: root={root}: there are the ranks 0 to {size - 1}")
        is_root = self.comm.Get_rank() == root
        if is_root and array is None:
            raise ConfigError(f"node_bcast: rank {root} is the root and has no array: give it one")
        shape, dtype = self.comm.bcast((np.asarray(array).shape, np.asarray(array).dtype) if is_root else None, root)
        shared = self._allocate(shape, dtype)
        if is_root:
            shared.array[...] = array
        shared.fence()
        if self.leader_comm is not None and self.count > 1:
            memory, _ = shared._window.Shared_query(0)
            unit = self.MPI.BYTE.Create_contiguous(_UNIT_BYTES).Commit()
            self.leader_comm.Bcast([memory, _units(shared.array.nbytes), unit], self.node_of_rank[root])
            unit.Free()
        shared.fence()
        shared.array.flags.writeable = False
        return shared

    def allreduce(self, array: Array, op: Any = None, out: Array | None = None) -> Array:
        """The ranks' arrays reduced element by element: within each node, across the leaders, and back.

        One message a node crosses the network, where a plain Allreduce may send one a rank. Which of the two is faster depends on the machine:
        measure.

        Args:
            array: the same shape and dtype on all ranks.
            op: of `module` (default SUM), or a `Reduction`; it has to commute, since ranks of a node come together whatever their numbers.
            out: C-contiguous, for the result; may be `array` itself. Default: a new array.
        """
        op = self.MPI.SUM if op is None else op
        plain = op.op if isinstance(op, Reduction) else op
        if not plain.Is_commutative():
            raise ConfigError("node_allreduce: the operation does not commute: use ctx.comm.Allreduce, which keeps the order of the ranks")
        given = np.ascontiguousarray(array)
        result = np.empty_like(given) if out is None else out
        if not result.flags.c_contiguous or result.shape != given.shape or result.dtype != given.dtype:
            raise ConfigError(f"node_allreduce: out is {result.dtype}{result.shape}: give a C-contiguous array of {given.dtype}{given.shape}")
        if self.leader_comm is None:
            self.node_comm.Reduce(_spec(given, op), None, plain, 0)
        else:
            source = self.MPI.IN_PLACE if result is given else _spec(given, op)
            self.node_comm.Reduce(source, _spec(result, op), plain, 0)
            self.leader_comm.Allreduce(self.MPI.IN_PLACE, _spec(result, op), plain)
        self.node_comm.Bcast(_spec(result, op), 0)
        return result

    def close(self) -> None:
        """Free the arrays that are left and the communicators. Collective."""
        for array in self._arrays:
            array.free()
        self._arrays.clear()
        if self.leader_comm is not None:
            self.leader_comm.Free()
        self.node_comm.Free()

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NodeArray:
        if dtype.hasobject:
            raise ConfigError(f"a node array of dtype {dtype}: Python objects live in one process; use numbers, or a structured dtype of them")
        count = int(np.prod(shape, dtype=np.int64))
        size_bytes = max(1, _units(count * dtype.itemsize)) * _UNIT_BYTES
        window = self.MPI.Win.Allocate_shared(size_bytes if self.is_leader else 0, 1, comm=self.node_comm)
        memory, _ = window.Shared_query(0)
        array = NodeArray(window, np.ndarray(shape, dtype, buffer=memory))
        self._arrays.append(array)
        return array


def _units(size_bytes: int) -> int:
    return -(-size_bytes // _UNIT_BYTES)


def _spec(array: Array, op: Any) -> Any:
    return op.buffer(array) if isinstance(op, Reduction) else array
