"""What `Experiment.add` gives back: a task by its name, to depend on, to wait for, to ask for its result.

Invariant: holds no state of its own; everything is read from the experiment's files.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from hpcflow.errors import LaunchError
from hpcflow.launch.experiment.decide import TaskState

if TYPE_CHECKING:
    from hpcflow.launch.experiment.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class TaskHandle:
    """A task of an experiment."""

    experiment: Experiment
    name: str

    def state(self) -> TaskState:
        """As the files say."""
        return self.experiment.status()[self.name]

    def wait(self, timeout_s: float | None = None) -> TaskState:
        """Until the task is decided. Raises LaunchError after `timeout_s`."""
        return self.experiment.wait([self.name], timeout_s)[self.name]

    def result(self, timeout_s: float | None = None) -> Any:
        """What its function returned: JSON data, a NumPy array, or a polars.DataFrame. Raises LaunchError when it failed or kept nothing."""
        state = self.wait(timeout_s)
        if state is not TaskState.SUCCEEDED:
            raise LaunchError(f"task {self.name!r} has {state.value}: {self.experiment.logs(self.name)[-2000:]}")
        return self.experiment.result(self.name)

    def __repr__(self) -> str:
        return f"<task {self.name!r} of {self.experiment!r}>"
