"""Expressions on partitions: expansion, classification, splitting and exact decomposition of Polars expressions."""

from hpcflow.expressions.classify import Classification, classify
from hpcflow.expressions.decompose import Decomposition, GroupDecomposition, decompose, decompose_all
from hpcflow.expressions.expand import expand
from hpcflow.expressions.functions import Kind
from hpcflow.expressions.keys import common_key_types, row_wise_keys
from hpcflow.expressions.order import reads_order
from hpcflow.expressions.planning import AggregateSplit, WindowSplit, check_right_when_whole, plan_expressions, split_aggregates, split_windows
from hpcflow.expressions.steps import AggregateStep, ExpressionPlan, WindowStep

__all__ = [
    "AggregateSplit",
    "AggregateStep",
    "Classification",
    "Decomposition",
    "ExpressionPlan",
    "GroupDecomposition",
    "Kind",
    "WindowSplit",
    "WindowStep",
    "check_right_when_whole",
    "classify",
    "common_key_types",
    "decompose",
    "decompose_all",
    "expand",
    "plan_expressions",
    "reads_order",
    "row_wise_keys",
    "split_aggregates",
    "split_windows",
]
