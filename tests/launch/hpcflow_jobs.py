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
    "MPIR_CVAR_ENABLE_HEAVY_YIELD": "1",  # there may be more ranks than cores: one that waits in MPI sleeps (MPICH) or gives its turn away (Open MPI)
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_btl": "^ofi",  # sleeps for a second at each start
}


def both_modes(executor: Executor, folder: Path, **ranks: object) -> Experiment:
    """The word count as dataflow (a master and workers) and by hand (workers alone), on the ranks that the fields `ranks` of the executor say."""
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.txt").write_text("one two two\nthree three three\n" * (i + 1))
    exp = Experiment("hpcflow in both modes", executor=executor)
    files = [str(folder / "*.txt")]
    connected, distributed = (
        exp.add(Script(EXAMPLES / "word_count.py", args=[*files, *words], env=ENV, interpreter=[sys.executable]), name=name, **ranks)
        for name, words in (("connected", []), ("distributed", ["--by-hand"]))
    )
    exp.add(Script(inline="echo both are over"), name="after", dependencies=[connected, distributed])
    return exp


def check(exp: Experiment) -> None:
    """Raises AssertionError unless every task has done what it does: both ways have counted the same."""
    logs = {name: exp.logs(name) for name in ("connected", "distributed", "after")}
    assert {name: state.value for name, state in exp.status().items()} == dict.fromkeys(logs, "succeeded"), logs
    first = {name: exp.logs(name, rank=0) for name in ("connected", "distributed")}
    assert first["connected"] == first["distributed"] and "3 different words, 36 in all" in first["connected"], logs
    assert all(word in first["connected"] for word in ("three", "18", "12")), logs
    assert "both are over" in logs["after"], logs
