"""The life of a stage within an action.

WAITING --inputs complete--> RUNNING --last task ended--> DRAINING --its exchanges complete--> DONE
                                |  (no exchange to drain: straight to DONE)
   any --------------------------------- a task failed, the action was cancelled ------------> ABORTED
"""

from __future__ import annotations

from enum import Enum


class StageState(Enum):
    """Where a stage is."""

    WAITING = "waiting"
    RUNNING = "running"
    DRAINING = "draining"
    DONE = "done"
    ABORTED = "aborted"


TRANSITIONS: dict[tuple[StageState, StageState], str] = {
    (StageState.WAITING, StageState.RUNNING): "all exchanges and blocks it reads are complete",
    (StageState.RUNNING, StageState.DRAINING): "its last task has ended; rows it sent are still arriving",
    (StageState.RUNNING, StageState.DONE): "its last task has ended and it fills no exchange",
    (StageState.DRAINING, StageState.DONE): "every owner has all rows of its exchanges",
    (StageState.WAITING, StageState.ABORTED): "the action failed or was cancelled",
    (StageState.RUNNING, StageState.ABORTED): "the action failed or was cancelled",
    (StageState.DRAINING, StageState.ABORTED): "the action failed or was cancelled",
}


def check_transition(old: StageState, new: StageState) -> None:
    """Raises RuntimeError for an arrow that is not drawn above."""
    if (old, new) not in TRANSITIONS:
        raise RuntimeError(f"a stage cannot go from {old.value} to {new.value}")
