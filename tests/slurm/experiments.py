"""What tests of experiments on a real Slurm share."""

from __future__ import annotations

import time
from typing import Any

from hpcflow.launch.config.script import Script
from hpcflow.launch.experiment.experiment import Experiment

SMALL: dict[str, Any] = {"mem": "50M", "overcommit": True}


def sh(text: str) -> Script:
    """Lines of shell."""
    return Script(inline=text)


def states(experiment: Experiment) -> dict[str, str]:
    """Task -> its state."""
    return {name: state.value for name, state in experiment.status().items()}


def wait(experiment: Experiment, limit_s: float = 90.0) -> None:
    """Until all is decided, asking as often as a test may."""
    deadline = time.monotonic() + limit_s
    while not all(state.final for state in experiment.status(refresh=True).values()):
        for stamp in (experiment.directory.parents[1]).glob("asked-*"):
            stamp.unlink(missing_ok=True)
        assert time.monotonic() < deadline, states(experiment)
        time.sleep(0.3)
