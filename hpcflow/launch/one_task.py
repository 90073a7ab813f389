"""run and map: an experiment in one line.

task = launch.run(launch.Partial(train, lr=1e-3), executor)
task.result()
launch.map(simulate, range(100), executor=SlurmExecutor(time="00:10:00"))      # a list of results, in order
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hpcflow.errors import LaunchError
from hpcflow.launch.config.buildable import Buildable, Partial, name_of
from hpcflow.launch.config.script import Script
from hpcflow.launch.executors.base import Executor
from hpcflow.launch.experiment.experiment import Experiment, TaskHandle


def run(task: Any, executor: Executor | None = None, *, title: str | None = None, detach: bool = False, **options: Any) -> TaskHandle:
    """Run one task and wait for its end (with `detach` return at once); what it came to is `.state()`, `.result()`.

    Args:
        task: a Partial, a Config, a Script, or a list of Scripts.
        options: those of `Experiment.add`.
    """
    experiment = Experiment(title or _title(task), executor)
    handle = experiment.add(task, **options)
    experiment.run(detach=detach, quiet=not detach)
    return handle


def map(
    function: Callable[[Any], Any], items: Iterable[Any], *, executor: Executor | None = None, title: str | None = None, **options: Any
) -> list[Any]:
    """`[function(item) for item in items]`, each a task of its own. Raises LaunchError with the first failures."""
    experiment = Experiment(title or str(getattr(function, "__name__", "map")), executor)
    tasks = [experiment.add(Partial(function, item), name=f"{i}", **options) for i, item in enumerate(items)]
    if not tasks:
        return []
    experiment.run(quiet=True)
    states = experiment.status()
    failed = [name for name, state in states.items() if state.value != "succeeded"]
    if failed:
        raise LaunchError(
            f"{len(failed)} of {len(tasks)} tasks have not succeeded ({', '.join(failed[:5])}); `hpcflow launch show {experiment.id}`. "
            f"The first: {experiment.logs(failed[0])[-1500:]}"
        )
    return [task.result() for task in tasks]


def _title(task: Any) -> str:
    if isinstance(task, Buildable):
        return name_of(task).rpartition(":")[2]
    if isinstance(task, Script):
        return str(task.path) or task.module or "script"
    return "group"
