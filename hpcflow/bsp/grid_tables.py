"""Tables between the neighbours of a Cartesian grid: to some offsets, by MPI's neighbourhood names, and halos of rows that have a place.

A halo of rows: every rank has the rows (particles, cells) whose place is in its box, and gets those of its neighbours that lie within `width` of it:

    .-------.-------.
    |       |*  box |     * rows of the right box within `width` of the left one: the left rank gets them, under the offset (1,)
    '-------'-------'

Invariant: all ranks make the same calls in the same order, with the same offsets and tables of one schema; who has no neighbour somewhere gets
nothing from there. The calls that do not block pack at once and give a request.

    left = grid.exchange_tables({(1,): df.tail(1)})                              # {(-1,): the left neighbour's last row}, {} at the border
    near = grid.exchange_halo_rows(atoms, axes=("x", "y"), box=box, width=0.5)   # offset -> rows of that neighbour
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import polars as pl

from hpcflow.bsp.grid_exchange import Offset, TablesUnderWay
from hpcflow.bsp.grid_place import GridPlace
from hpcflow.bsp.table_messages import Table
from hpcflow.errors import ConfigError, SchemaError
from hpcflow.native.tables import as_frame


class GridTables(GridPlace):
    """The calls on tables of a `CartesianGrid`."""

    def exchange_tables(self, outgoing: Mapping[Offset, Table]) -> dict[Offset, pl.DataFrame]:
        """Send `outgoing[offset]` to the rank at that offset. Collective.

        Args:
            outgoing: offset -> table, for the same offsets on all ranks, also for those that lie beyond a border.

        Returns:
            -offset -> what the rank there sent, for each offset at which there is one.

        Raises:
            SchemaError: tables of several schemas here, or of another schema there.
        """
        return TablesUnderWay(self, outgoing, "exchange_tables", _as_found, blocks=True).wait()

    def start_tables(self, outgoing: Mapping[Offset, Table]) -> TablesUnderWay[dict[Offset, pl.DataFrame]]:
        """`exchange_tables` that does not block: the tables may change afterwards."""
        return TablesUnderWay(self, outgoing, "start_tables", _as_found)

    def neighbor_allgather(self, df: Table) -> list[pl.DataFrame | None]:
        """The neighbours' tables, in MPI's order (axis 0 down, axis 0 up, axis 1 down, ...); None beyond a border. Collective."""
        return _to_neighbours(self, [as_frame(df)] * 2 * len(self.dims), "neighbor_allgather", blocks=True).wait()

    def ineighbor_allgather(self, df: Table) -> TablesUnderWay[list[pl.DataFrame | None]]:
        """`neighbor_allgather` that does not block."""
        return _to_neighbours(self, [as_frame(df)] * 2 * len(self.dims), "ineighbor_allgather")

    def neighbor_alltoall(self, tables: Sequence[Table]) -> list[pl.DataFrame | None]:
        """`tables[i]` to neighbour i, in MPI's order, see `neighbor_allgather`; what they sent here. Collective."""
        return _to_neighbours(self, tables, "neighbor_alltoall", blocks=True).wait()

    def ineighbor_alltoall(self, tables: Sequence[Table]) -> TablesUnderWay[list[pl.DataFrame | None]]:
        """`neighbor_alltoall` that does not block."""
        return _to_neighbours(self, tables, "ineighbor_alltoall")

    def exchange_halo_rows(
        self,
        df: Table,
        axes: Sequence[str],
        box: Sequence[tuple[float, float]],
        width: float | Sequence[float],
        *,
        corners: bool = True,
    ) -> dict[Offset, pl.DataFrame]:
        """The neighbours' rows that lie within `width` of this rank's box, by the neighbour's offset. Collective.

        Args:
            df: this rank's rows; those without a place (null) stay at home.
            axes: columns of the rows' place, one for each axis of the grid.
            box: (low, high) along each axis: this rank's rows have low <= place < high.
            width: of the halo, one number or one for each axis; 0: none along this axis. The same on all ranks.
            corners: from diagonal neighbours too.

        Returns:
            offset -> rows, for each neighbour that there is; places are as the neighbour has them, also across a periodic border.

        Raises:
            ConfigError: not one axis, box or width for each axis of the grid, or a box narrower than the halo.
            SchemaError: a column that is not there.
        """
        near, schema = _near_the_borders(self, df, axes, box, width, corners)
        return TablesUnderWay(self, near, "exchange_halo_rows", _as_found, schema, blocks=True).wait()

    def start_halo_rows(
        self,
        df: Table,
        axes: Sequence[str],
        box: Sequence[tuple[float, float]],
        width: float | Sequence[float],
        *,
        corners: bool = True,
    ) -> TablesUnderWay[dict[Offset, pl.DataFrame]]:
        """`exchange_halo_rows` that does not block."""
        near, schema = _near_the_borders(self, df, axes, box, width, corners)
        return TablesUnderWay(self, near, "start_halo_rows", _as_found, schema)


def _as_found(found: dict[Offset, pl.DataFrame]) -> dict[Offset, pl.DataFrame]:
    return found


def _to_neighbours(grid: GridTables, tables: Sequence[Table], what: str, blocks: bool = False) -> TablesUnderWay[list[pl.DataFrame | None]]:
    order = _in_order(len(grid.dims))
    if len(tables) != len(order):
        raise ConfigError(f"{what}: {len(tables)} tables for {len(order)} neighbours: give one each, empty ones beyond a border")
    outgoing = dict(zip(order, tables, strict=True))
    return TablesUnderWay(grid, outgoing, what, lambda found: [found.get(offset) for offset in order], blocks=blocks)


def _near_the_borders(
    grid: GridTables, df: Table, axes: Sequence[str], box: Sequence[tuple[float, float]], width: float | Sequence[float], corners: bool
) -> tuple[dict[Offset, pl.DataFrame], pl.Schema]:
    """Offset -> this rank's rows in the halo of the neighbour there; the rows' schema."""
    table = as_frame(df)
    widths = (width,) * len(grid.dims) if isinstance(width, int | float) else tuple(width)
    if not len(axes) == len(box) == len(widths) == len(grid.dims):
        raise ConfigError(f"a halo of rows: {len(axes)} axes, {len(box)} sides of the box, {len(widths)} widths: the grid has {len(grid.dims)} axes")
    if missing := [name for name in axes if name not in table.columns]:
        raise SchemaError(f"a halo of rows: no column {missing[0]!r} among {table.columns}")
    for name, (low, high), layer in zip(axes, box, widths, strict=True):
        if layer < 0 or high - low < layer:
            raise ConfigError(f"a halo of rows: the box is {high - low} wide along {name!r}: too narrow for a halo of {layer}")
    near = {}
    for offset in itertools.product((-1, 0, 1), repeat=len(grid.dims)):
        moved = [axis for axis, step in enumerate(offset) if step]
        if moved and (corners or len(moved) == 1) and all(widths[axis] for axis in moved):
            near[offset] = table.filter(*(_at_border(axes[axis], offset[axis], box[axis], widths[axis]) for axis in moved))
    return near, table.schema


def _in_order(axes: int) -> list[Offset]:
    """The neighbours along the axes, as MPI numbers them."""
    return [tuple(step if at == axis else 0 for at in range(axes)) for axis in range(axes) for step in (-1, 1)]


def _at_border(name: str, step: int, side: tuple[float, float], width: float) -> pl.Expr:
    """Whether a row lies within `width` of the box's border in this direction."""
    return pl.col(name) < side[0] + width if step < 0 else pl.col(name) >= side[1] - width
