"""What a session needs of a master, wherever that is: in this process (`master.Master`) or on rank 0 of ranks it started (`remote_master`).

Invariant: `prepare` then `run` on one thread; `cancel`, `hurry`, `unpersist` and `settle` from any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from hpcflow.errors import WorkerLostError
from hpcflow.plan.physical import PhysicalPlan
from hpcflow.plan.reuse import Bindings
from hpcflow.runtime.action_result import ActionResult
from hpcflow.runtime.messages import Hello
from hpcflow.runtime.task_making import CachedBlocks


class RunnableAction(Protocol):
    """One plan that is ready to run, once."""

    id: int

    def run(self) -> ActionResult:
        """To its end; raises what failed first. Ctrl-C ends the waiting, and the action behind it."""

    def cancel(self, reason: str) -> bool:
        """End it at the next boundary of its tasks; False when it is too late."""


class MasterFace(Protocol):
    """Runs plans on workers."""

    @property
    def worker_ranks(self) -> tuple[int, ...]:
        """Ranks of the workers, in their order."""

    @property
    def hellos(self) -> Mapping[int, Hello]:
        """Rank -> what the worker said of itself."""

    @property
    def ranks(self) -> int:
        """Ranks of the world."""

    @property
    def lost(self) -> WorkerLostError | None:
        """Why no more actions can run."""

    def prepare(self, plan: PhysicalPlan, name: str, bindings: Bindings | None = None) -> RunnableAction:
        """The action; CacheGoneError when the plan reads what is no longer cached."""

    def cached(self) -> Mapping[str, CachedBlocks]:
        """What is cached now."""

    def unpersist(self, key: str) -> None:
        """Free a cached dataset once no action reads it."""

    def settle(self, patience_s: float) -> None:
        """Cancel what runs and wait until the workers have let go."""
