"""Every collective call by its name, against NumPy and Polars: what the table of docs/collectives.md promises, cell by cell.

Invariant: a check takes the call itself, so that one check serves the call that blocks and the one that does not (which is waited for).

    check_call("Allreduce", ctx);   check_call("iscan", ctx);   check_call("grid.start_halo", ctx)
"""

from __future__ import annotations

import re
from typing import Any

from hpcflow.testing.array_calls import ARRAY_CALLS
from hpcflow.testing.table_calls import TABLE_CALLS

ALL_CALLS = {**ARRAY_CALLS, **TABLE_CALLS}


def check_call(name: str, ctx: Any) -> None:
    """Make the collective call of this name on ctx.comm, ctx or a grid, and compare what it gives. Collective.

    Raises:
        KeyError: no check of that name.
    """
    grid = ctx.cartesian((0,), periodic=(False,)) if name.startswith("grid.") else None
    owner: Any = ctx if name in TABLE_CALLS else ctx.comm
    if grid is not None:
        owner = grid.comm if name.startswith("grid.comm.") else grid
    call = getattr(owner, name.rpartition(".")[2])

    def waited(*arguments: Any, **keywords: Any) -> Any:
        result = call(*arguments, **keywords)
        for end in ("wait", "Wait", "finish"):
            if hasattr(result, end):
                ended = getattr(result, end)()
                return None if end == "Wait" else ended
        return result

    if grid is None:
        ALL_CALLS[name](ctx, waited)
    else:
        ALL_CALLS[name](grid, waited)
        grid.close()


def cells_of(page: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    """The table of calls in the text of docs/collectives.md: row -> names in its cells (arrays, arrays without blocking, tables, tables without)."""
    lines = page[page.index("| collective |") :].split("\n\n")[0].splitlines()[2:]
    rows = [[part.strip() for part in line.strip("|").split("|")] for line in lines]
    return {row[0]: tuple(tuple(re.findall("`([^`]+)`", cell)) for cell in row[1:]) for row in rows}
