"""The upper-case collectives: buffers, without pickling.

Invariant: a blocking call and its I-variant prepare the same round; buffers are read and written between the call and its completion only.

    comm.Allreduce(MPI.IN_PLACE, x, op=MPI.SUM)
    request = comm.Iallgatherv(part, [whole, counts]); request.Wait()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hpcflow.bsp.threads import movement
from hpcflow.bsp.threads.base import RankBase
from hpcflow.bsp.threads.buffers import Blocks, Span, equal_blocks, flat_bytes, span, varied_blocks
from hpcflow.bsp.threads.datatypes import as_datatype, count_of
from hpcflow.bsp.threads.foreign import is_in_place
from hpcflow.bsp.threads.operations import SUM, as_op
from hpcflow.bsp.threads.requests import Request
from hpcflow.bsp.threads.rounds import Call, Work

Prepared = tuple[Call, Work]
BlocksOf = Callable[[Any, int, bool], Blocks]


class ArrayCalls(RankBase):
    """Collectives on buffers that move data; reductions are in `ReduceCalls`."""

    def Barrier(self) -> None:
        """Return when every rank has come."""
        self._meet(Call("Barrier"), movement.nothing)

    def Ibarrier(self) -> Request:
        return self._start(Call("Ibarrier"), movement.nothing)

    def Bcast(self, buf: Any, root: int = 0) -> None:
        """The root's items to all ranks; every rank gives the same count."""
        self._meet(*self._bcast("Bcast", buf, root))

    def Ibcast(self, buf: Any, root: int = 0) -> Request:
        return self._start(*self._bcast("Ibcast", buf, root))

    def Gather(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        """Every rank's items, one after the other, to the root."""
        self._meet(*self._gather("Gather", sendbuf, recvbuf, root, equal_blocks))

    def Igather(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> Request:
        return self._start(*self._gather("Igather", sendbuf, recvbuf, root, equal_blocks))

    def Gatherv(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        self._meet(*self._gather("Gatherv", sendbuf, recvbuf, root, varied_blocks))

    def Igatherv(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> Request:
        return self._start(*self._gather("Igatherv", sendbuf, recvbuf, root, varied_blocks))

    def Scatter(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        """Block r of the root's items to rank r."""
        self._meet(*self._scatter("Scatter", sendbuf, recvbuf, root, equal_blocks))

    def Iscatter(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> Request:
        return self._start(*self._scatter("Iscatter", sendbuf, recvbuf, root, equal_blocks))

    def Scatterv(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        self._meet(*self._scatter("Scatterv", sendbuf, recvbuf, root, varied_blocks))

    def Iscatterv(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> Request:
        return self._start(*self._scatter("Iscatterv", sendbuf, recvbuf, root, varied_blocks))

    def Allgather(self, sendbuf: Any, recvbuf: Any) -> None:
        """Every rank's items, one after the other, to all ranks."""
        self._meet(*self._allgather("Allgather", sendbuf, recvbuf, equal_blocks))

    def Iallgather(self, sendbuf: Any, recvbuf: Any) -> Request:
        return self._start(*self._allgather("Iallgather", sendbuf, recvbuf, equal_blocks))

    def Allgatherv(self, sendbuf: Any, recvbuf: Any) -> None:
        self._meet(*self._allgather("Allgatherv", sendbuf, recvbuf, varied_blocks))

    def Iallgatherv(self, sendbuf: Any, recvbuf: Any) -> Request:
        return self._start(*self._allgather("Iallgatherv", sendbuf, recvbuf, varied_blocks))

    def Alltoall(self, sendbuf: Any, recvbuf: Any) -> None:
        """Block r to rank r, from everyone to everyone."""
        self._meet(*self._alltoall("Alltoall", sendbuf, recvbuf, equal_blocks))

    def Ialltoall(self, sendbuf: Any, recvbuf: Any) -> Request:
        return self._start(*self._alltoall("Ialltoall", sendbuf, recvbuf, equal_blocks))

    def Alltoallv(self, sendbuf: Any, recvbuf: Any) -> None:
        self._meet(*self._alltoall("Alltoallv", sendbuf, recvbuf, varied_blocks))

    def Ialltoallv(self, sendbuf: Any, recvbuf: Any) -> Request:
        return self._start(*self._alltoall("Ialltoallv", sendbuf, recvbuf, varied_blocks))

    def Alltoallw(self, sendbuf: Any, recvbuf: Any) -> None:
        """As Alltoallv with a type for each peer, and displacements in bytes: [buffer, (counts, displacements), types]."""
        self._meet(*self._alltoall("Alltoallw", sendbuf, recvbuf, typed_blocks))

    def Ialltoallw(self, sendbuf: Any, recvbuf: Any) -> Request:
        return self._start(*self._alltoall("Ialltoallw", sendbuf, recvbuf, typed_blocks))

    def _bcast(self, name: str, buf: Any, root: int) -> Prepared:
        root = self._root(root)
        sends = root == self.rank
        side = span(buf, writable=not sends)
        return Call(name, send=side if sends else None, receive=None if sends else side, root=root), movement.broadcast

    def _gather(self, name: str, sendbuf: Any, recvbuf: Any, root: int, blocks: BlocksOf) -> Prepared:
        root = self._root(root)
        into = blocks(recvbuf, self.size, True) if root == self.rank else None
        in_place = root == self.rank and is_in_place(sendbuf)
        return Call(name, send=None if in_place else span(sendbuf, False), receive=into, root=root, in_place=in_place), movement.gather

    def _scatter(self, name: str, sendbuf: Any, recvbuf: Any, root: int, blocks: BlocksOf) -> Prepared:
        root = self._root(root)
        source = blocks(sendbuf, self.size, False) if root == self.rank else None
        in_place = root == self.rank and is_in_place(recvbuf)
        return Call(name, send=source, receive=None if in_place else span(recvbuf, True), root=root, in_place=in_place), movement.scatter

    def _allgather(self, name: str, sendbuf: Any, recvbuf: Any, blocks: BlocksOf) -> Prepared:
        in_place = is_in_place(sendbuf)
        send = None if in_place else span(sendbuf, False)
        return Call(name, send=send, receive=blocks(recvbuf, self.size, True), in_place=in_place), movement.allgather

    def _alltoall(self, name: str, sendbuf: Any, recvbuf: Any, blocks: BlocksOf) -> Prepared:
        in_place = is_in_place(sendbuf)
        send = None if in_place else blocks(sendbuf, self.size, False)
        return Call(name, send=send, receive=blocks(recvbuf, self.size, True), in_place=in_place), movement.alltoall


class ReduceCalls(RankBase):
    """Reductions of buffers: in rank order, so repeatable bit for bit."""

    def Reduce(self, sendbuf: Any, recvbuf: Any, op: Any = SUM, root: int = 0) -> None:
        self._meet(*self._reduce("Reduce", sendbuf, recvbuf, op, root))

    def Ireduce(self, sendbuf: Any, recvbuf: Any, op: Any = SUM, root: int = 0) -> Request:
        return self._start(*self._reduce("Ireduce", sendbuf, recvbuf, op, root))

    def Allreduce(self, sendbuf: Any, recvbuf: Any, op: Any = SUM) -> None:
        self._meet(*self._reduction("Allreduce", sendbuf, recvbuf, op, movement.allreduce))

    def Iallreduce(self, sendbuf: Any, recvbuf: Any, op: Any = SUM) -> Request:
        return self._start(*self._reduction("Iallreduce", sendbuf, recvbuf, op, movement.allreduce))

    def Reduce_scatter_block(self, sendbuf: Any, recvbuf: Any, op: Any = SUM) -> None:
        """Block r of the reduced items to rank r."""
        self._meet(*self._reduce_scatter_block("Reduce_scatter_block", sendbuf, recvbuf, op))

    def Ireduce_scatter_block(self, sendbuf: Any, recvbuf: Any, op: Any = SUM) -> Request:
        return self._start(*self._reduce_scatter_block("Ireduce_scatter_block", sendbuf, recvbuf, op))

    def Reduce_scatter(self, sendbuf: Any, recvbuf: Any, recvcounts: Sequence[int] | None = None, op: Any = SUM) -> None:
        """`recvcounts[r]` of the reduced items to rank r; None: as many as each receive buffer holds."""
        self._meet(*self._reduce_scatter("Reduce_scatter", sendbuf, recvbuf, recvcounts, op))

    def Ireduce_scatter(self, sendbuf: Any, recvbuf: Any, recvcounts: Sequence[int] | None = None, op: Any = SUM) -> Request:
        return self._start(*self._reduce_scatter("Ireduce_scatter", sendbuf, recvbuf, recvcounts, op))

    def Scan(self, sendbuf: Any, recvbuf: Any, op: Any = SUM) -> None:
        """To rank r the reduction over ranks 0 to r."""
        self._meet(*self._reduction("Scan", sendbuf, recvbuf, op, movement.scan))

    def Iscan(self, sendbuf: Any, recvbuf: Any, op: Any = SUM) -> Request:
        return self._start(*self._reduction("Iscan", sendbuf, recvbuf, op, movement.scan))

    def Exscan(self, sendbuf: Any, recvbuf: Any, op: Any = SUM) -> None:
        """To rank r the reduction over ranks 0 to r - 1; rank 0's receive buffer keeps what it holds."""
        self._meet(*self._reduction("Exscan", sendbuf, recvbuf, op, movement.exscan))

    def Iexscan(self, sendbuf: Any, recvbuf: Any, op: Any = SUM) -> Request:
        return self._start(*self._reduction("Iexscan", sendbuf, recvbuf, op, movement.exscan))

    def _reduce(self, name: str, sendbuf: Any, recvbuf: Any, op: Any, root: int) -> Prepared:
        root = self._root(root)
        if root == self.rank:
            call, _ = self._reduction(name, sendbuf, recvbuf, op, movement.reduce)
            call.root = root
        else:
            call = Call(name, send=span(sendbuf, False), root=root, op=as_op(op))
        return call, movement.reduce

    def _reduction(self, name: str, sendbuf: Any, recvbuf: Any, op: Any, work: Work) -> Prepared:
        receive = span(recvbuf, True)
        in_place = is_in_place(sendbuf)
        send = None if in_place else span(sendbuf, False)
        if send is not None:
            _check_alike(send, receive)
        return Call(name, send=send, receive=receive, op=as_op(op), in_place=in_place), work

    def _reduce_scatter_block(self, name: str, sendbuf: Any, recvbuf: Any, op: Any) -> Prepared:
        in_place = is_in_place(sendbuf)
        whole = equal_blocks(recvbuf if in_place else sendbuf, self.size, in_place)
        count = whole.counts[0]
        every = Span(whole.memory, whole.datatype, whole.displacements[0] * whole.datatype.extent, count * self.size)
        receive = every if in_place else span(recvbuf, True)
        if not in_place:
            _check_alike(whole.block(0), receive)
        return Call(
            name, send=None if in_place else every, receive=receive, op=as_op(op), in_place=in_place, counts=[count] * self.size
        ), movement.reduce_scatter

    def _reduce_scatter(self, name: str, sendbuf: Any, recvbuf: Any, recvcounts: Sequence[int] | None, op: Any) -> Prepared:
        in_place = is_in_place(sendbuf)
        receive = span(recvbuf, True)
        send = None if in_place else span(sendbuf, False)
        counts = None if recvcounts is None else [count_of(count) for count in recvcounts]
        if counts is None and in_place:
            raise ValueError("Reduce_scatter(IN_PLACE, ...) needs recvcounts: one count a rank")
        if counts is not None:
            if len(counts) != self.size:
                raise ValueError(f"message: expecting {self.size} items, got {len(counts)}")
            whole = receive if send is None else send
            if whole.count != sum(counts):
                raise ValueError(f"mismatch in {'receive' if in_place else 'send'} count {whole.count} and sum(counts) {sum(counts)}")
            if not in_place and receive.count != counts[self.rank]:
                raise ValueError(f"mismatch in receive count {receive.count} and counts[{self.rank}] {counts[self.rank]}")
        return Call(name, send=send, receive=receive, op=as_op(op), in_place=in_place, counts=counts), movement.reduce_scatter


def _check_alike(send: Span, receive: Span) -> None:
    if send.datatype != receive.datatype:
        raise ValueError("mismatch in send and receive MPI datatypes")
    if send.count != receive.count:
        raise ValueError(f"mismatch in send count {send.count} and receive count {receive.count}")


@dataclass(frozen=True, slots=True)
class TypedBlocks:
    """Spans of different types in one memory."""

    spans: list[Span]

    def block(self, index: int) -> Span:
        return self.spans[index]


def typed_blocks(spec: Any, blocks: int, writable: bool) -> Any:
    """[buffer, types], [buffer, (counts, displacements), types] or [buffer, counts, displacements, types], displacements in bytes."""
    if len(spec) == 2:
        (buffer, types), counts, displacements = spec, [1] * blocks, [0] * blocks
    elif len(spec) == 3:
        buffer, (counts, displacements), types = spec
    else:
        buffer, counts, displacements, types = spec
    if not len(counts) == len(displacements) == len(types) == blocks:
        raise ValueError(f"message: expecting {blocks} counts, displacements and types")
    memory, _ = flat_bytes(buffer, writable)
    items = zip(counts, displacements, types, strict=True)
    return TypedBlocks([Span(memory, as_datatype(kind), int(start), count_of(count)) for count, start, kind in items])
