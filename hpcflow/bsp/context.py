"""Context: what `Program.execute(ctx)` and a bsp function see.

Its parts are mixed in, one idea a file: `rank.py` (place, communicator, resources, logger, metrics, scratch), `files.py` (this rank's share of files
and tables, and writing them together), `collective_methods.py` (collectives and dataflow operators on tables, arrays of nodes and grids).

Invariant: `ctx.comm` is a communicator itself, with nothing around it unless `debug_collectives` is on; methods of ctx that say "collective" are
called by all ranks in the same order.

    def execute(self, ctx):
        df = ctx.read_parquet("points/*.parquet")               # this rank's rows
        total = ctx.comm.allreduce(df.height, op=ctx.MPI.SUM)
"""

from __future__ import annotations

from hpcflow.bsp.collective_methods import Together
from hpcflow.bsp.files import Files


class Context(Files, Together):
    """A rank of a program, and what it can do together with the others."""
