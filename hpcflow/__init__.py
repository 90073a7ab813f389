"""hpcflow: one Polars-style program, from in-process workers on a laptop to an MPI world.

    import polars as pl
    import hpcflow as hf

    with hf.Session() as s:
        late = s.read_csv("flights.csv").group_by("carrier").agg(pl.col("arr_delay").mean())
        print(late.collect())

Invariant: importing hpcflow imports nothing of ours or of others (PEP 562): a name is looked up in its layer when first used. That keeps
command lines quick, and leaves `POLARS_MAX_THREADS` and MPI to whoever starts first. Type checkers read the same names from the block of imports
below, which never runs.
"""

from __future__ import annotations

import os as _os

__version__ = "0.1.0"

# Polars' allocator returns freed pages to the system at once, and tasks that free and take hundreds of megabytes pay for that in page faults: a
# join of 10 M x 10 M rows took 2.9 s of CPU, and 1.7 s with pages kept for 10 s. The variable is read when Polars is loaded, so import hpcflow
# first (`hpcflow run` does). A user's own setting stays.
_os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:10000,muzzy_decay_ms:10000")

TYPE_CHECKING = False  # what type checkers take for true; the one of typing would import typing
if TYPE_CHECKING:
    from hpcflow.api.dataset import Dataset as Dataset
    from hpcflow.api.functions import collect_all as collect_all
    from hpcflow.api.functions import concat as concat
    from hpcflow.api.graph import Graph as Graph
    from hpcflow.api.loops import iterate as iterate
    from hpcflow.api.shared import Accumulator as Accumulator
    from hpcflow.api.shared import Broadcast as Broadcast
    from hpcflow.api.shared import accumulator as accumulator
    from hpcflow.api.shared import broadcast as broadcast
    from hpcflow.errors import ActionCancelledError as ActionCancelledError
    from hpcflow.errors import ArgumentTypeError as ArgumentTypeError
    from hpcflow.errors import ArgumentValueError as ArgumentValueError
    from hpcflow.errors import CollectiveAbortedError as CollectiveAbortedError
    from hpcflow.errors import CollectiveMismatchError as CollectiveMismatchError
    from hpcflow.errors import ColumnNotFoundError as ColumnNotFoundError
    from hpcflow.errors import ConfigError as ConfigError
    from hpcflow.errors import FrameError as FrameError
    from hpcflow.errors import HpcflowError as HpcflowError
    from hpcflow.errors import LaunchError as LaunchError
    from hpcflow.errors import NotConvergedError as NotConvergedError
    from hpcflow.errors import OutOfBudgetError as OutOfBudgetError
    from hpcflow.errors import SchemaError as SchemaError
    from hpcflow.errors import SinkError as SinkError
    from hpcflow.errors import SourceError as SourceError
    from hpcflow.errors import SpillError as SpillError
    from hpcflow.errors import StepTimeoutError as StepTimeoutError
    from hpcflow.errors import TaskError as TaskError
    from hpcflow.errors import UnpicklableError as UnpicklableError
    from hpcflow.errors import UnsupportedExpressionError as UnsupportedExpressionError
    from hpcflow.errors import WorkerLostError as WorkerLostError
    from hpcflow.programs import Program as Program
    from hpcflow.programs import program as program
    from hpcflow.runtime.futures import Future as Future
    from hpcflow.runtime.task_resources import task_resources as task_resources
    from hpcflow.session import Session as Session

_HOME = {
    "Session": "hpcflow.session",
    "Dataset": "hpcflow.api.dataset",
    "Future": "hpcflow.runtime.futures",
    "Program": "hpcflow.programs",
    "program": "hpcflow.programs",
    "Graph": "hpcflow.api.graph",
    "task_resources": "hpcflow.runtime.task_resources",
    "concat": "hpcflow.api.functions",
    "collect_all": "hpcflow.api.functions",
    "iterate": "hpcflow.api.loops",
    "broadcast": "hpcflow.api.shared",
    "Broadcast": "hpcflow.api.shared",
    "accumulator": "hpcflow.api.shared",
    "Accumulator": "hpcflow.api.shared",
    "HpcflowError": "hpcflow.errors",
    "ConfigError": "hpcflow.errors",
    "ArgumentTypeError": "hpcflow.errors",
    "ArgumentValueError": "hpcflow.errors",
    "LaunchError": "hpcflow.errors",
    "UnsupportedExpressionError": "hpcflow.errors",
    "SchemaError": "hpcflow.errors",
    "CollectiveAbortedError": "hpcflow.errors",
    "CollectiveMismatchError": "hpcflow.errors",
    "ColumnNotFoundError": "hpcflow.errors",
    "SourceError": "hpcflow.errors",
    "SinkError": "hpcflow.errors",
    "FrameError": "hpcflow.errors",
    "SpillError": "hpcflow.errors",
    "OutOfBudgetError": "hpcflow.errors",
    "NotConvergedError": "hpcflow.errors",
    "WorkerLostError": "hpcflow.errors",
    "StepTimeoutError": "hpcflow.errors",
    "ActionCancelledError": "hpcflow.errors",
    "UnpicklableError": "hpcflow.errors",
    "TaskError": "hpcflow.errors",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 (the names of _HOME are strings)


if not TYPE_CHECKING:  # so that type checkers refuse unknown names

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'hpcflow' has no attribute {name!r}; it exports {', '.join(_HOME)}")
        import importlib

        if name == "Session":
            from hpcflow.foreign import refuse_foreign

            refuse_foreign()
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])


# The foreign distribution `hpcflow` writes its files into this very folder. One stat at import; the full look-up waits until Session is asked for.
if _os.path.exists(_os.path.join(_os.path.dirname(__file__), "__pyinstaller", "hook-hpcflow.py")):
    from hpcflow.foreign import refuse_foreign as _refuse_foreign

    _refuse_foreign()
