"""One exchange of tables between the neighbours of a Cartesian grid, on its way.

Invariant: a rank speaks with its neighbours alone, in one message each; the message says its own length. Each exchange has tags of its own, so that
several may be under way and be waited for in any order.

    under_way = TablesUnderWay(grid, {(1,): last_row, (-1,): first_row}, "halo", lambda found: found)
    ...
    from_neighbours = under_way.wait()          # offset -> table
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import polars as pl

from hpcflow.bsp.announcing import AnnouncedCall
from hpcflow.bsp.flow import concat, named_schema
from hpcflow.bsp.grid_place import GridPlace
from hpcflow.bsp.table_messages import Table, message, packed, plans_of, unit_type, units_of, unpacked
from hpcflow.comm.base import UNIT_BYTES
from hpcflow.errors import ConfigError, SchemaError, StepTimeoutError
from hpcflow.native.tables import as_frame

Offset = tuple[int, ...]
T = TypeVar("T")
_TAGS: Final = 32767
"""Highest tag that every MPI has."""
_BLOCK: Final = 128
"""Tags of one exchange."""
_LOOK_S: Final = 1e-4


class TablesUnderWay(Generic[T]):
    """Tables on their way to and from the neighbours; every rank has to end its own, by `wait` or by a `test` that says True."""

    def __init__(
        self,
        grid: GridPlace,
        outgoing: Mapping[Offset, Table],
        what: str,
        read: Callable[[dict[Offset, pl.DataFrame]], T],
        schema: pl.Schema | None = None,
        *,
        blocks: bool = False,
    ) -> None:
        tables = {offset: as_frame(table) for offset, table in outgoing.items()}
        self._schema = _one_schema(tables, what) if schema is None else schema
        for offset in tables:
            if len(offset) != len(grid.dims):
                raise ConfigError(f"{what}: the offset {offset} for a grid of {len(grid.dims)} axes: give a number for each")
        self._call = AnnouncedCall(grid.comm, f"grid.{what}", detail=f"offsets {sorted(tables)}")
        if blocks:
            self._call.agreed()
        self._grid, self._what, self._read = grid, what, read
        self._value: T | None = None
        self._done = False
        grid.tables_begun += 1
        tags = _tags(tables, grid.tables_begun, len(grid.dims))
        self._awaited: dict[Offset, tuple[int, int]] = {}  # offset -> source, tag
        self._arenas: dict[Offset, tuple[Any, int]] = {}  # offset -> arena, units
        self._requests: list[Any] = []  # of what is received
        grid.sends = [send for send in grid.sends if not send.Test()]
        messages: dict[int, list[Any]] = {}  # of a table, by id: packed once, however many neighbours get it
        for offset, table in tables.items():
            source = grid.rank_at([-step for step in offset])
            if source is not None:
                self._awaited[_turned(offset)] = source, tags[offset]
            target = grid.rank_at(offset)
            if target is not None:
                if id(table) not in messages:
                    plans = plans_of(table)
                    messages[id(table)] = message(grid.MPI, packed(grid.pool, plans), units_of(plans))
                grid.sends.append(grid.comm.Isend(messages[id(table)], target, tags[offset]))

    def test(self) -> tuple[bool, T | None]:
        """(True, the result) once it is there, else (False, None). Does not wait."""
        if self._done:
            return True, self._value
        if not self._call.agreed(0.0):
            return False, None
        for offset, (source, tag) in list(self._awaited.items()):
            status = self._grid.MPI.Status()
            found = self._grid.comm.Improbe(source, tag, status)
            if found is not None:
                self._receive(offset, found, status)
        if self._awaited or not self._grid.MPI.Request.Testall(self._requests):
            return False, None
        return True, self._finish()

    def wait(self, timeout_s: float | None = None) -> T:
        """The result. StepTimeoutError after `timeout_s` seconds; the exchange goes on then and may be waited for again."""
        if timeout_s is not None:
            deadline = time.monotonic() + timeout_s
            while not self.test()[0]:
                if time.monotonic() >= deadline:
                    ranks = sorted({source for source, _ in self._awaited.values()})
                    raise StepTimeoutError(f"{self._what}: not complete after {timeout_s} s; tables are missing from ranks {ranks} of the grid")
                time.sleep(_LOOK_S)
        if self._done:
            return self._value  # type: ignore[return-value]  # set by _finish
        self._call.agreed()
        for offset, (source, tag) in list(self._awaited.items()):
            status = self._grid.MPI.Status()
            self._receive(offset, self._grid.comm.Mprobe(source, tag, status), status)
        self._grid.MPI.Request.Waitall(self._requests)
        return self._finish()

    def _receive(self, offset: Offset, found: Any, status: Any) -> None:
        units = status.Get_count(unit_type(self._grid.MPI))
        arena = self._grid.pool.acquire(units * UNIT_BYTES)
        self._requests.append(found.Irecv(message(self._grid.MPI, arena, units)))
        self._arenas[offset] = arena, units
        del self._awaited[offset]

    def _finish(self) -> T:
        with named_schema(self._what, self._schema):
            tables = {offset: concat(unpacked(arena, self._schema, 0, units), self._schema) for offset, (arena, units) in self._arenas.items()}
        self._value = self._read(dict(sorted(tables.items())))
        self._done = True
        self._requests, self._arenas = [], {}
        return self._value


def _tags(offsets: Iterable[Offset], number: int, axes: int) -> dict[Offset, int]:
    """A tag for each offset of exchange `number`: a peer may be the neighbour in several ways, and several exchanges may be under way. Array
    exchanges have the tags below 3 ** axes."""
    order, block = sorted(offsets), max(_BLOCK, 3**axes)
    if len(order) > block:
        raise ConfigError(f"an exchange of tables with {len(order)} offsets: it may have {block}, make several of it")
    first = block * (1 + number % (_TAGS // block - 1))
    return {offset: first + place for place, offset in enumerate(order)}


def _turned(offset: Offset) -> Offset:
    return tuple(-step for step in offset)


def _one_schema(tables: Mapping[Offset, pl.DataFrame], what: str) -> pl.Schema:
    if not tables:
        raise ConfigError(f"{what}: no offsets: give the same ones on all ranks, with empty tables where there is nothing to send")
    schemas = [table.schema for table in tables.values()]
    if any(schema != schemas[0] for schema in schemas):
        raise SchemaError(f"{what}: tables of several schemas: {dict(schemas[0])} and {dict(next(s for s in schemas if s != schemas[0]))}")
    return schemas[0]
