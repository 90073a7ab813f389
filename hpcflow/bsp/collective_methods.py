"""What ranks do together with tables and arrays, as methods of Context. Each is the function of its module with the context as the group.

everything = ctx.allgather(df)                                  # hpcflow.bsp.tables
request = ctx.iallgather(df); ...; everything = request.wait()  # hpcflow.bsp.table_requests
totals = ctx.allreduce(df, pl.col("v").mean())                  # hpcflow.bsp.table_reductions
counts = ctx.keyed_reduce(df, "word", pl.len())                 # hpcflow.bsp.keyed, hpcflow.bsp.operators
grid = ctx.cartesian((0, 0))                                    # hpcflow.bsp.grids, hpcflow.bsp.nodes, hpcflow.bsp.reductions
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hpcflow.bsp import keyed, operators, table_reductions, table_requests, tables
from hpcflow.bsp.grids import CartesianGrid
from hpcflow.bsp.nodes import Array, NodeArray, Nodes
from hpcflow.bsp.rank import Rank
from hpcflow.bsp.reductions import Reduction


class Together(Rank):
    """The part of Context that moves tables and arrays between ranks. All of it is collective."""

    bcast = tables.bcast
    scatter = tables.scatter
    gather = tables.gather
    allgather = tables.allgather
    alltoall = tables.alltoall
    reduce = table_reductions.reduce
    allreduce = table_reductions.allreduce
    reduce_scatter = table_reductions.reduce_scatter
    reduce_scatter_block = table_reductions.reduce_scatter_block
    scan = table_reductions.scan
    exscan = table_reductions.exscan

    ibcast = table_requests.ibcast
    iscatter = table_requests.iscatter
    igather = table_requests.igather
    iallgather = table_requests.iallgather
    ialltoall = table_requests.ialltoall
    ireduce = table_reductions.ireduce
    iallreduce = table_reductions.iallreduce
    ireduce_scatter = table_reductions.ireduce_scatter
    ireduce_scatter_block = table_reductions.ireduce_scatter_block
    iscan = table_reductions.iscan
    iexscan = table_reductions.iexscan

    scatterv, gatherv, allgatherv, alltoallv = scatter, gather, allgather, alltoall  # tables have sizes of their own: MPI's v calls are these
    iscatterv, igatherv, iallgatherv, ialltoallv = iscatter, igather, iallgather, ialltoall

    partition = operators.partition
    keyed_partition = operators.keyed_partition
    direct = operators.direct
    broadcast = operators.broadcast
    union = operators.union
    rebalance = operators.rebalance
    sort = operators.sort
    open_flow = operators.open_flow

    keyed_reduce = keyed.keyed_reduce
    open_keyed_reduce = keyed.open_keyed_reduce
    keyed_gather = keyed.keyed_gather
    join = keyed.join

    _nodes: Nodes | None = None
    _grids: Sequence[CartesianGrid] = ()
    """Open ones: what they send has to leave before its memory is used again."""

    @property
    def node_group(self) -> Nodes:
        """The ranks of this node and the leaders of all nodes, made when first asked for. Collective."""
        if self._nodes is None:
            self._nodes = Nodes(self.comm, self.MPI)
        return self._nodes

    def node_shared_array(self, shape: int | Sequence[int], dtype: Any = np.float64) -> NodeArray:
        """A zeroed array on every node that all its ranks read and write, see `Nodes.shared_array`. Collective."""
        return self.node_group.shared_array(shape, dtype)

    def node_bcast(self, array: Array | None, root: int = 0) -> NodeArray:
        """The root's array, read-only, one copy a node, see `Nodes.bcast`. Collective."""
        return self.node_group.bcast(array, root)

    def node_allreduce(self, array: Array, op: Any = None, out: Array | None = None) -> Array:
        """Reduce in the node, across the nodes' leaders, and back, see `Nodes.allreduce`. Collective."""
        return self.node_group.allreduce(array, op, out)

    def reduction(self, function: Callable[..., Any], dtype: Any, *, commutative: bool = False, each: bool = False) -> Reduction:
        """A Python or Numba function as a reduction operator, see `Reduction`."""
        return Reduction(self.MPI, function, dtype, commutative=commutative, each=each)

    def cartesian(self, dims: Sequence[int], periodic: bool | Sequence[bool] = False) -> CartesianGrid:
        """The ranks as a grid, with halo exchange, see `CartesianGrid`. Collective."""
        grid = CartesianGrid(self.comm, self.MPI, dims, periodic, self.pool)
        self._grids = [*(one for one in self._grids if not one.closed), grid]
        return grid

    def end(self) -> None:
        """Give back what the methods above hold. The runtime calls it where every rank has come to its end; collective."""
        grids, self._grids = self._grids, ()
        for grid in grids:
            grid.close()
        nodes, self._nodes = self._nodes, None
        if nodes is not None:
            nodes.close()
