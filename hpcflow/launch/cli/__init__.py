"""Command lines from functions: `entrypoint`, `factory`, `main`.

from hpcflow import launch

@launch.cli.factory
def small(size: int = 64) -> Model:
    return launch.Config(Model, hidden=size)

@launch.cli.entrypoint
def train(model: Model, lr: float = 1e-3) -> None:
    ...

if __name__ == "__main__":
    launch.cli.main()            # python train.py model=small(size=9) lr=1e-4
"""

from __future__ import annotations

from hpcflow.launch.cli.entrypoints import entrypoint as entrypoint
from hpcflow.launch.cli.program import main as main
from hpcflow.launch.config.factories import factory as factory

__all__ = ["entrypoint", "factory", "main"]
