"""Placement strategies: pure functions behind one protocol."""

from hpcflow.runtime.placement.base import PartitionView, Placement, TaskView, WorkerView
from hpcflow.runtime.placement.registry import STRATEGIES, resolve_placement

__all__ = ["STRATEGIES", "PartitionView", "Placement", "TaskView", "WorkerView", "resolve_placement"]
