"""The policies that come with hpcflow."""

from __future__ import annotations

from hpcflow.compiler.passes.annotate import set_compression, set_data_flow, set_default_parallelism, set_transport
from hpcflow.compiler.passes.broadcast_join import broadcast_small_sides
from hpcflow.compiler.passes.combine_before_shuffle import combine_before_shuffle
from hpcflow.compiler.passes.common_subexpressions import merge_common_subexpressions
from hpcflow.compiler.passes.drop_redundant_shuffle import drop_redundant_shuffles
from hpcflow.compiler.passes.limit_pushdown import push_limits
from hpcflow.compiler.passes.predicate_pushdown import push_predicates
from hpcflow.compiler.passes.projection_pushdown import push_projections
from hpcflow.compiler.policy import Pass, Policy

DEFAULT = Policy(
    (
        # First, while equal parts of the program still look alike.
        Pass("common_subexpressions", merge_common_subexpressions, reshapes=True),
        # Filters before projections: a column that only a filter reads need not travel past it.
        Pass("predicate_pushdown", push_predicates, reshapes=True),
        Pass("projection_pushdown", push_projections, reshapes=True),
        # After filters have moved, which it must not pass; before anything is decided by the sizes of sources.
        Pass("limit_pushdown", push_limits, reshapes=True),
        # Partition counts before any pass that compares partitionings.
        Pass("default_parallelism", set_default_parallelism, annotates=("parallelism", "partition_count")),
        # Before shuffles are dropped: a broadcast takes away the shuffle of the other side as well.
        Pass("broadcast_join", broadcast_small_sides, annotates=("pattern", "keys", "partition_count", "most_bytes")),
        Pass(
            "drop_redundant_shuffle",
            drop_redundant_shuffles,
            requires=("default_parallelism", "broadcast_join"),
            annotates=("pattern", "keys", "partition_count"),
        ),
        # After shuffles were dropped: what does not travel needs no combiner.
        Pass("combine_before_shuffle", combine_before_shuffle, requires=("drop_redundant_shuffle",), reshapes=True),
        Pass("data_flow", set_data_flow, annotates=("data_flow",)),
        # Last: on the edges that are left.
        Pass("compression", set_compression, annotates=("compression",)),
        # What is compressed is sent.
        Pass("transport", set_transport, requires=("compression",), annotates=("transport",)),
    )
)
"""On unless a session says otherwise."""

NONE = Policy((Pass("default_parallelism", set_default_parallelism, annotates=("parallelism", "partition_count")),))
"""No optimization: the program as written. What optimization may not change is compared against it."""
