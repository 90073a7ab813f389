"""An experiment of hpcflow's own examples in both job modes, for an executor: connected, then distributed, then a task that reads what they left."""

from __future__ import annotations

import sys
from pathlib import Path

from hpcflow.launch.config.script import Script
from hpcflow.launch.executors.base import Executor
from hpcflow.launch.experiment.experiment import Experiment

PROJECT = Path(__file__).parents[2]
EXAMPLES = PROJECT / "examples"
ENV = {
    "PYTHONPATH": str(PROJECT),
    "HPCFLOW_PROGRESS": "off",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
}


def both_modes(executor: Executor, data: Path, **ranks: object) -> Experiment:
    """Three ranks each: a master and two workers, and three workers. ranks: the executor's fields that say so."""
    exp = Experiment("hpcflow in both modes", executor=executor)
    flights = Script(EXAMPLES / "late_flights.py", args=["--data", str(data)], env=ENV, interpreter=[sys.executable])
    product = Script(EXAMPLES / "matrix_multiplication.py", args=["--size", "200", "--check"], env=ENV, interpreter=[sys.executable])
    connected = exp.add(flights, name="connected", **ranks)
    distributed = exp.add(product, name="distributed", **ranks)
    exp.add(Script(inline='ls "$1/late" | wc -l', args=[str(data)]), name="after", dependencies=[connected, distributed])
    return exp


def check(exp: Experiment, workers: int = 2) -> None:
    """Raises AssertionError unless every task has done what it does."""
    logs = {name: exp.logs(name) for name in ("connected", "distributed", "after")}
    assert {name: state.value for name, state in exp.status().items()} == dict.fromkeys(logs, "succeeded"), logs
    first = exp.logs("connected", rank=0)
    assert "SkyWest Airlines Inc." in first and "written by the workers: part-" in first, logs
    assert "on a 3 x 1 grid" in exp.logs("distributed", rank=0), logs
    assert int(logs["after"]) == workers, logs
