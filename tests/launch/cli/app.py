"""A program with a command line."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge

from hpcflow import launch
from hpcflow.errors import ConfigError


@dataclass
class Optimizer:
    """How to step.

    Args:
        lr: step size
    """

    lr: float = 1e-3


@dataclass
class Model:
    hidden: Annotated[int, Ge(1), "width of a layer"] = 64
    activation: Literal["relu", "gelu"] = "relu"
    optimizer: Optimizer = field(default_factory=Optimizer)


@launch.cli.factory
def small(size: int = 8) -> Model:
    """A small one."""
    return launch.Config(Model, hidden=size)


@launch.cli.factory
def quick(steps: int = 1) -> launch.Partial[float]:
    return launch.Partial(train, Model(), steps=steps)


@launch.cli.entrypoint
def train(model: Model, steps: int, *, tags: list[str] | None = None, note: str = "", fail: str = "") -> float:
    """Train a model.

    Args:
        model: what to train,
            in full
        steps: how long
    """
    print("training", model.hidden, model.optimizer.lr, steps, tags, repr(note), "HPCFLOW_JOB_KEY" in os.environ)
    if fail == "config":
        raise ConfigError("in the run")
    if fail:
        raise ValueError(fail)
    return 0.5


if __name__ == "__main__":
    launch.cli.main()
