"""Table collectives that do not block: they return a request, and rows move while the program computes.

They go through the exchange, not through `group.comm`: two collectives of two phases (sizes, then bytes) on one communicator swap their data when
ranks get to the second phases in different orders, and waiting for the sizes at the call would block. Every exchange has a step number of its own,
and the engine thread moves its frames, so requests may be open together and be waited for in any order.

Invariant: the calls pack at once (the tables may change afterwards) and wait for no other rank; the results are those of `hpcflow.bsp.tables`.

    request = iallgather(group, df)
    compute()
    everything = request.wait()
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
import polars as pl

from hpcflow.bsp.announcing import AnnouncedCall
from hpcflow.bsp.flow import NO_LIMIT_BYTES, Flow
from hpcflow.bsp.group import Group
from hpcflow.bsp.table_messages import Table
from hpcflow.bsp.tables import checked_root, parts_of
from hpcflow.errors import ConfigError, StepTimeoutError
from hpcflow.native.tables import as_frame

T = TypeVar("T")
Opening = Callable[[float | None], "Flow | None"]
"""Opens the exchange of the rows; None when what it needs is not there after so many seconds."""
_SCHEMA = pl.Schema({"schema": pl.Binary})


class TableRequest(Generic[T]):
    """A table collective under way on this rank. `wait` or a `test` that says True ends it; every rank has to end its own."""

    def __init__(
        self,
        flow: Flow | None,
        read: Callable[[Flow], T],
        value: T | None = None,
        opening: Opening | None = None,
        call: AnnouncedCall | None = None,
    ) -> None:
        self._call = call
        self._flow = flow
        self._read = read
        self._value = value
        self._opening = opening

    def test(self) -> tuple[bool, T | None]:
        """(True, the result) once it is there, else (False, None). Does not wait."""
        if not self._agreed(0.0) or not self._open(0.0) or (self._flow is not None and not self._flow.complete):
            return False, None
        return True, self._take()

    def wait(self, timeout_s: float | None = None) -> T:
        """The result. StepTimeoutError after `timeout_s` seconds; the request goes on then and may be waited for again."""
        if not self._agreed(timeout_s):
            raise StepTimeoutError(f"a table collective was not complete after {timeout_s} s: not all ranks have made their calls")
        if not self._open(timeout_s):
            raise StepTimeoutError(f"a table collective was not complete after {timeout_s} s: the root has not made its call")
        if self._flow is not None:
            self._flow.wait(timeout_s)
        return self._take()

    def _agreed(self, timeout_s: float | None) -> bool:
        """Whether all ranks are known to have made this call; in debug mode alone anybody asks."""
        return self._call is None or self._call.agreed(timeout_s)

    def _open(self, timeout_s: float | None) -> bool:
        """Whether the rows' schema is known and their exchange open here."""
        if self._opening is not None:
            self._flow = self._opening(timeout_s)
            if self._flow is None:
                return False
            self._opening = None
        return True

    def _take(self) -> T:
        if self._flow is not None:
            self._value = self._read(self._flow)
            self._flow.close()
            self._flow = None
        return self._value  # type: ignore[return-value]  # without a flow it was given


def iallgather(group: Group, df: Table) -> TableRequest[pl.DataFrame]:
    """`allgather` that does not block."""
    return TableRequest(gathering(group, as_frame(df), None, "iallgather"), Flow.collect, call=AnnouncedCall(group.comm, "ctx.iallgather"))


def igather(group: Group, df: Table, root: int = 0) -> TableRequest[pl.DataFrame | None]:
    """`gather` that does not block; the others' requests are complete at once and give None."""
    root = checked_root(group, root, "igather")
    flow = gathering(group, as_frame(df), root, "igather")
    return TableRequest(flow, Flow.collect if group.rank == root else _nothing, call=AnnouncedCall(group.comm, "ctx.igather", root))


def gathering(group: Group, table: pl.DataFrame, root: int | None, what: str) -> Flow:
    """An exchange that brings all ranks' tables to the root, or to every rank; this rank's is under way."""
    if root is None:
        flow = Flow(group, table.schema, group.size, broadcast=True, window_bytes=NO_LIMIT_BYTES, what=what)
        flow.insert(table)
    else:
        flow = Flow(group, table.schema, 1, owners=(root,), window_bytes=NO_LIMIT_BYTES, what=what)
        flow.insert(table, np.zeros(table.height, np.uint32))
    flow.finish()
    return flow


def ialltoall(group: Group, tables: Sequence[Table]) -> TableRequest[list[pl.DataFrame]]:
    """`alltoall` that does not block."""
    parts = parts_of(tables, group.size, "ialltoall")
    size, schema = group.size, parts[0].schema
    owners = [rank for rank in range(size) for _ in range(size)]  # a partition for each pair: target * size + source
    flow = Flow(group, schema, size * size, owners=owners, window_bytes=NO_LIMIT_BYTES, what="ialltoall")
    for rank, part in enumerate(parts):
        flow.insert(part, np.full(part.height, rank * size + group.rank, np.uint32))
    flow.finish()
    return TableRequest(flow, lambda done: [rows for _, rows in done], call=AnnouncedCall(group.comm, "ctx.ialltoall"))


def ibcast(group: Group, df: Table | None, root: int = 0) -> TableRequest[pl.DataFrame]:
    """`bcast` that does not block. The root's request is complete at once."""
    root = checked_root(group, root, "ibcast")
    others = [rank for rank in range(group.size) if rank != root]
    table = None if df is None else as_frame(df)
    if group.rank == root and table is None:
        raise ConfigError(f"ibcast: rank {root} is the root and has no table: give it one")
    call = AnnouncedCall(group.comm, "ctx.ibcast", root)
    if not others:
        return TableRequest(None, Flow.collect, table)
    schemas, step = _schema_flow(group, None if table is None else table.schema, root, others, "ibcast"), group.next_step()

    def open_rows(schema: pl.Schema) -> Flow:
        options = {"owners": others, "sources": (root,), "broadcast": True, "window_bytes": NO_LIMIT_BYTES, "step": step}
        return Flow(group, schema, len(others), **options, what="ibcast")  # type: ignore[arg-type]  # a dict of options

    if group.rank != root:
        return TableRequest(None, Flow.collect, opening=_opening(schemas, open_rows), call=call)
    assert table is not None
    _end(schemas)
    flow = open_rows(table.schema)
    flow.insert(table)
    flow.finish()
    _end(flow)
    return TableRequest(None, Flow.collect, table, call=call)


def iscatter(group: Group, tables: Table | Sequence[Table] | None, root: int = 0) -> TableRequest[pl.DataFrame]:
    """`scatter` that does not block. The root's request is complete at once."""
    root = checked_root(group, root, "iscatter")
    others = [rank for rank in range(group.size) if rank != root]
    parts = parts_of(tables, group.size, "iscatter") if group.rank == root else []
    call = AnnouncedCall(group.comm, "ctx.iscatter", root)
    if not others:
        return TableRequest(None, Flow.collect, parts[0])
    schemas, step = _schema_flow(group, parts[0].schema if parts else None, root, others, "iscatter"), group.next_step()

    def open_rows(schema: pl.Schema) -> Flow:
        options = {"owners": others, "sources": (root,), "window_bytes": NO_LIMIT_BYTES, "step": step}
        return Flow(group, schema, len(others), **options, what="iscatter")  # type: ignore[arg-type]  # a dict of options

    if group.rank != root:
        return TableRequest(None, Flow.collect, opening=_opening(schemas, open_rows), call=call)
    _end(schemas)
    flow = open_rows(parts[0].schema)
    for partition, rank in enumerate(others):
        flow.insert(parts[rank], np.full(parts[rank].height, partition, np.uint32))
    flow.finish()
    _end(flow)
    return TableRequest(None, Flow.collect, parts[root], call=call)


def _schema_flow(group: Group, schema: pl.Schema | None, root: int, others: Sequence[int], what: str) -> Flow:
    """The root tells the others its schema."""
    flow = Flow(group, _SCHEMA, len(others), owners=others, sources=(root,), broadcast=True, window_bytes=NO_LIMIT_BYTES, what=what)
    if group.rank == root:
        flow.insert(pl.DataFrame({"schema": [pickle.dumps(schema)]}, schema=_SCHEMA))
    flow.finish()
    return flow


def _opening(schemas: Flow, open_rows: Callable[[pl.Schema], Flow]) -> Opening:
    """Opens the rows' exchange once the schema is there: frames that come before wait for it."""

    def opening(timeout_s: float | None) -> Flow | None:
        if timeout_s is None:
            schemas.wait()
        elif not schemas.complete:
            try:
                schemas.wait(timeout_s)
            except StepTimeoutError:
                return None
        schema = pickle.loads(schemas.collect()["schema"][0])
        schemas.close()
        flow = open_rows(schema)
        flow.finish()
        return flow

    return opening


def _end(flow: Flow) -> None:
    """On the root, which receives nothing: complete as soon as the engine has seen it."""
    flow.wait()
    flow.close()


def _nothing(flow: Flow) -> None:
    return None
