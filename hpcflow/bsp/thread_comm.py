"""ThreadComm: an `mpi4py.MPI.Intracomm` whose ranks are threads of one process.

Invariant: a program that is right under MPI gives the same results here, without MPI: the same names, buffer specs, operators, matching order
and errors. All reductions are folded in rank order. When one rank has failed, `group.abort(error)` makes every call of every rank raise
`CollectiveAbortedError`, those that wait included.

    ranks = open_thread_group(3)                 # one ThreadComm for each thread
    def main(comm):
        total = np.zeros(1); comm.Allreduce(np.ones(1), total, op=thread_mpi.SUM)
        return comm.allgather(comm.rank)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from hpcflow.bsp.threads.array_calls import ArrayCalls, ReduceCalls
from hpcflow.bsp.threads.errors import ERR_ARG, MpiError
from hpcflow.bsp.threads.foreign import COMM_TYPE_SHARED, UNDEFINED, is_constant, mpi4py_module
from hpcflow.bsp.threads.message_calls import MessageCalls
from hpcflow.bsp.threads.object_calls import ObjectCalls
from hpcflow.bsp.threads.rounds import Call, Context
from hpcflow.bsp.threads.waiting import ThreadGroup
from hpcflow.errors import CollectiveAbortedError

if TYPE_CHECKING:
    from hpcflow.bsp.threads.cart import ThreadCartcomm


class NullComm:
    """The twin of `COMM_NULL`: what a rank gets that is in no new communicator."""

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        module = mpi4py_module()
        return isinstance(other, NullComm) or (module is not None and other is not self and isinstance(other, module.Comm) and not other)

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "COMM_NULL"


COMM_NULL = NullComm()


class ThreadComm(ArrayCalls, ReduceCalls, ObjectCalls, MessageCalls):
    """One rank of a communicator of threads. Use `open_thread_group`; one thread at a time makes a rank's collective calls.

    Attributes:
        rank, size: this rank's number, and how many there are.
        group: the world of threads; `group.abort(error)` ends it.
    """

    name = "ThreadComm"
    is_inter, is_intra, is_topo = False, True, False

    def Get_rank(self) -> int:
        return self.rank

    def Get_size(self) -> int:
        return self.size

    def Get_name(self) -> str:
        return self.name

    def Set_name(self, name: str) -> None:
        self.name = name

    def Is_inter(self) -> bool:
        return False

    def Is_intra(self) -> bool:
        return True

    def Get_topology(self) -> int:
        return UNDEFINED

    @property
    def topology(self) -> int:
        return self.Get_topology()

    def Dup(self, info: Any = None) -> ThreadComm:
        """A communicator of the same ranks, whose messages and collectives meet nobody else's. Collective."""
        return self._duplicate()

    Clone = Dup

    def Split(self, color: int = 0, key: int = 0) -> Any:
        """A communicator for each color, ranks in order of (key, rank); COMM_NULL for UNDEFINED. Collective."""
        chosen = None if is_constant(color, UNDEFINED, "UNDEFINED") else int(color)
        if chosen is not None and chosen < 0:
            raise MpiError(ERR_ARG, f"color {color}: give 0 or more, or UNDEFINED")
        return self._split("Split", chosen, key)

    def Split_type(self, split_type: int, key: int = 0, info: Any = None) -> Any:
        """COMM_TYPE_SHARED: all ranks, which are in one process. Collective."""
        if is_constant(split_type, UNDEFINED, "UNDEFINED"):
            return self._split("Split_type", None, key)
        module = mpi4py_module()
        if split_type != COMM_TYPE_SHARED and (module is None or split_type != module.COMM_TYPE_SHARED):
            raise MpiError(ERR_ARG, f"split type {split_type}: in one process there is COMM_TYPE_SHARED alone")
        return self._split("Split_type", 0, key)

    def Create_cart(self, dims: Sequence[int], periods: Sequence[bool] | bool | None = None, reorder: bool = False) -> ThreadCartcomm | NullComm:
        """A grid of the first prod(dims) ranks, row by row; COMM_NULL for the others. Collective."""
        from hpcflow.bsp.threads.cart import create_cart

        return create_cart(self, dims, periods)

    def Free(self) -> None:
        """This rank uses the communicator no more."""
        self._check()
        self._freed = True

    def Abort(self, errorcode: int = 0) -> NoReturn:
        """End the whole group: all calls of all ranks raise CollectiveAbortedError, this one included."""
        self.group.abort(CollectiveAbortedError(f"rank {self.rank} called Abort({errorcode})"), self._context.members[self.rank])
        self.group.check()
        raise AssertionError("an aborted group raises")

    def _duplicate(self) -> ThreadComm:
        return ThreadComm(self._new_context("Dup"), self.rank)

    def _new_context(self, name: str) -> Context:
        def work(calls: list[Call]) -> None:
            context = Context(self.group, self._context.members)
            for call in calls:
                call.result = context

        context: Context = self._meet(Call(name), work)
        return context

    def _split(self, name: str, color: int | None, key: int) -> Any:
        found = self._meet(Call(name, send=(color, int(key))), self._divide)
        return COMM_NULL if found is None else ThreadComm(*found)

    def _divide(self, calls: list[Call]) -> None:
        for color in {call.send[0] for call in calls if call.send[0] is not None}:
            ranks = sorted((call.send[1], rank) for rank, call in enumerate(calls) if call.send[0] == color)
            context = Context(self.group, tuple(self._context.members[rank] for _, rank in ranks))
            for new, (_, rank) in enumerate(ranks):
                calls[rank].result = (context, new)

    def __bool__(self) -> bool:
        return not self._freed

    def __repr__(self) -> str:
        return f"<{self.name}: rank {self.rank} of {self.size}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ThreadComm belongs to the threads of its group and cannot be pickled: pass what is computed from it")


def open_thread_group(size: int) -> list[ThreadComm]:
    """`size` ranks of a new world; hand one to each thread.

    Raises:
        ValueError: `size` is less than 1.
    """
    if size < 1:
        raise ValueError(f"a group of {size} ranks: at least one is needed")
    context = Context(ThreadGroup(size), tuple(range(size)))
    return [ThreadComm(context, rank) for rank in range(size)]
