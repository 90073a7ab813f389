"""A submission to be killed: what the child process of test_killed_submissions.py does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from multiprocessing.connection import Connection

from hpcflow.launch.config.script import Script
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.experiment.experiment import Experiment

TASKS = ("first", "second", "after")
"""Two equal ones, which are one array, and one of its own that depends on the first, unless the jobs are held."""


def submit(title: str, directory: str, variables: Mapping[str, str], held: bool, began: Connection) -> None:
    """Submit an experiment of three tasks, each of which adds its name to the file `title`. Says its directory just before it begins.

    held: the jobs stay in the queue
    """
    os.environ.update(variables)
    os.chdir(directory)
    experiment = Experiment(title, executor=SlurmExecutor(mem="50M", extra_directives=("--hold",) if held else ()))
    first, _ = (experiment.add(Script(inline=f"echo {name} >>{title}"), name=name) for name in TASKS[:2])
    experiment.add(Script(inline=f"echo {TASKS[2]} >>{title}"), name=TASKS[2], dependencies=[] if held else [first], cpus_per_task=2)
    began.send(str(experiment.directory))
    experiment.run(detach=True)
    began.send("submitted")
