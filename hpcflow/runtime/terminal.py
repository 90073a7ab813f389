"""A terminal that does not say how wide it is: some launchers (PRRTE's, of Open MPI) give rank 0 one of no columns, in which Polars would print
tables with cells of three letters.

Invariant: what the user has set stays, and terminals that know their width are left alone.

    mend_table_width()          # POLARS_TABLE_WIDTH=100 where stdout is such a terminal
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Final

WIDTH: Final = 100
"""What Polars takes where there is no terminal."""


def mend_table_width(output: int = 1, environ: MutableMapping[str, str] = os.environ) -> None:
    """Let tables be as wide as in a file where the terminal `output` (a file descriptor) has no columns."""
    if "POLARS_TABLE_WIDTH" in environ:
        return
    try:
        columns = os.get_terminal_size(output).columns
    except OSError:  # a file or a pipe
        return
    if columns == 0:
        environ["POLARS_TABLE_WIDTH"] = str(WIDTH)
