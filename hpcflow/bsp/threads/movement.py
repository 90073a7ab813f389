"""What the rank that comes last does for all: the data movement of the upper-case collectives, over the calls in rank order.

Invariant: a function here reads the send side of every call before it writes a receive side that could be the same memory (IN_PLACE); counts
that do not fit together raise `MpiError` and are seen by all ranks.

    broadcast([Call("Bcast", send=span), Call("Bcast", receive=span), ...])
"""

from __future__ import annotations

from hpcflow.bsp.threads.buffers import Span
from hpcflow.bsp.threads.datatypes import Datatype
from hpcflow.bsp.threads.errors import ERR_TRUNCATE, ERR_TYPE, MpiError
from hpcflow.bsp.threads.operations import Array, Op
from hpcflow.bsp.threads.rounds import Call


def nothing(calls: list[Call]) -> None:
    """A barrier: to meet is all."""


def broadcast(calls: list[Call]) -> None:
    root = calls[0].root
    data = next(call.send for call in calls if call.send is not None).pack()
    for rank, call in enumerate(calls):
        if rank != root:
            call.receive.fill_all(data)


def gather(calls: list[Call]) -> None:
    into = next(call.receive for call in calls if call.receive is not None)
    for rank, call in enumerate(calls):
        if not call.in_place:
            into.block(rank).fill_all(call.send.pack())


def scatter(calls: list[Call]) -> None:
    source = next(call.send for call in calls if call.send is not None)
    for rank, call in enumerate(calls):
        if not call.in_place:
            call.receive.fill_all(source.block(rank).pack())


def allgather(calls: list[Call]) -> None:
    parts = [call.receive.block(rank).pack() if call.in_place else call.send.pack() for rank, call in enumerate(calls)]
    for rank, call in enumerate(calls):
        for source, part in enumerate(parts):
            if not (call.in_place and source == rank):
                call.receive.block(source).fill_all(part)


def alltoall(calls: list[Call]) -> None:
    """Also Alltoallv and Alltoallw: blocks know their counts and types."""
    ranks = range(len(calls))
    parts = [[call.receive.block(peer).pack().copy() if call.in_place else call.send.block(peer).pack() for peer in ranks] for call in calls]
    for rank, call in enumerate(calls):
        for source in ranks:
            call.receive.block(source).fill_all(parts[source][rank])


def reduce(calls: list[Call]) -> None:
    op, operands, datatype = _reduction(calls)
    root = calls[0].root
    assert root is not None
    calls[root].receive.fill_all(_bytes(op.reduce(operands, datatype)))


def allreduce(calls: list[Call]) -> None:
    op, operands, datatype = _reduction(calls)
    result = _bytes(op.reduce(operands, datatype))
    for call in calls:
        call.receive.fill_all(result)


def reduce_scatter(calls: list[Call]) -> None:
    """Each call's `counts`: the items of every rank; None: what each rank's receive buffer holds."""
    op, operands, datatype = _reduction(calls)
    counts = calls[0].counts or [call.receive.count for call in calls]
    if any(call.counts is not None and call.counts != counts for call in calls) or sum(counts) != len(operands[0]):
        raise MpiError(ERR_TRUNCATE, f"mismatch in send count {len(operands[0])} and the ranks' receive counts {counts}")
    result = op.reduce(operands, datatype)
    start = 0
    for call, count in zip(calls, counts, strict=True):
        target = call.receive
        Span(target.memory, target.datatype, target.start, count).fill_all(_bytes(result[start : start + count]))
        start += count


def scan(calls: list[Call]) -> None:
    op, operands, datatype = _reduction(calls)
    for call, accumulated in zip(calls, op.scan(operands, datatype), strict=True):
        call.receive.fill_all(_bytes(accumulated))


def exscan(calls: list[Call]) -> None:
    """Rank 0's receive buffer is left alone."""
    op, operands, datatype = _reduction(calls)
    before: Array | None = None
    for call, accumulated in zip(calls, op.scan(operands, datatype), strict=True):
        if before is not None:
            call.receive.fill_all(_bytes(before))
        before = accumulated.copy()


def _reduction(calls: list[Call]) -> tuple[Op, list[Array], Datatype]:
    spans: list[Span] = [call.receive if call.in_place else call.send for call in calls]
    datatype, count = spans[0].datatype, spans[0].count
    if any(each.datatype != datatype for each in spans):
        raise MpiError(ERR_TYPE, f"the ranks reduce different types: {[each.datatype.name or str(each.datatype.dtype) for each in spans]}")
    if any(each.count != count for each in spans):
        raise MpiError(ERR_TRUNCATE, f"the ranks reduce different counts: {[each.count for each in spans]}")
    op: Op = calls[0].op
    if op.is_predefined and not datatype.is_predefined:
        raise MpiError(ERR_TYPE, f"{op.name} of a derived type: it takes the types of MPI; a derived one needs an operation made by Op.Create")
    return op, [each.values() for each in spans], datatype


def _bytes(array: Array) -> Array:
    return array.view("u1")
