"""Every error a user can see, one class per kind of reader.

Invariant: whatever hpcflow raises on purpose derives from `HpcflowError`, says in its message what happened and what to do next, and survives
pickling (errors travel from workers to the driver).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from concurrent.futures import CancelledError
from typing import Any


class HpcflowError(Exception):
    """Base of all errors that hpcflow raises on purpose."""


class ConfigError(HpcflowError):
    """An option, variable or configuration file is wrong."""


class ArgumentTypeError(ConfigError, TypeError):
    """An argument of a type that the call does not take, one that it does not have, or one that is missing."""


class ArgumentValueError(ConfigError, ValueError):
    """An argument of the right type with a value that the call cannot work with."""


class LaunchError(HpcflowError):
    """The program was started in a way that cannot work (world size, thread level, versions)."""


class UnsupportedExpressionError(HpcflowError):
    """An expression that cannot be evaluated on partitions; the message names the node and the reason."""


class SchemaError(HpcflowError):
    """Types or shapes of a program do not fit together."""


class ColumnNotFoundError(SchemaError):
    """A column is not there; the message lists near names."""


class SourceError(HpcflowError):
    """An input file or table is missing or damaged; the message names the file and the part of it."""


class SinkError(HpcflowError):
    """An output could not be written; nothing half-written is left."""


class FrameError(HpcflowError):
    """A frame is damaged, truncated or of another version."""


class SpillError(HpcflowError):
    """Spilling to scratch failed (disk full, directory gone)."""


class OutOfBudgetError(HpcflowError):
    """A single partition or key does not fit the memory budget and cannot be split."""


class NotConvergedError(HpcflowError):
    """A loop reached its limit of iterations before its condition was true."""

    def __init__(self, message: str, *, iterations: int = 0, metrics: dict[str, Any] | None = None, state: Any = None) -> None:
        super().__init__(message)
        self.iterations = iterations
        """Iterations that were run."""
        self.metrics = metrics
        """What the last one reported, by name; None where the body gives no metrics."""
        self.state = state
        """Datasets of the state so far, in the form that `iterate` returns."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self.args)  # the datasets stay with their session


class WorkerLostError(HpcflowError):
    """A worker process ended or stopped answering."""


class StepTimeoutError(HpcflowError):
    """A step made no progress for the configured time."""


class ActionCancelledError(HpcflowError, CancelledError):
    """The action was cancelled, here or on another rank. It is a `concurrent.futures.CancelledError` too."""


class CollectiveAbortedError(HpcflowError):
    """Another rank of an in-process group has failed: this call was given up. `first_failure` is that rank's exception, where it is known here."""

    def __init__(self, message: str, first_failure: BaseException | None = None) -> None:
        super().__init__(message)
        self.first_failure = first_failure

    def __reduce__(self) -> tuple[object, ...]:  # the message names the failure; an exception of user code may not pickle
        return (CollectiveAbortedError, (str(self),))


class CollectiveMismatchError(HpcflowError):
    """The ranks of a communicator have entered different collective calls, or one never came; the message names who entered what, and where."""


class UnpicklableError(HpcflowError):
    """A function or object of the program cannot travel to the workers; named before anything starts."""


class TaskError(HpcflowError):
    """A task failed on a worker. Carries where, and the remote traceback as text. rank: in the MPI world; worker: among the workers, from 0, as
    `ctx.rank` and `placement` count."""

    def __init__(
        self, message: str, *, rank: int, host: str, stage: str, task: int, operator: str, remote_traceback: str, worker: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.rank = rank
        self.host = host
        self.stage = stage
        self.task = task
        self.operator = operator
        self.remote_traceback = remote_traceback
        self.worker = worker

    def with_cause(self, cause: BaseException | None) -> TaskError:
        """This error with the remote exception, where it could travel, as `__cause__`."""
        self.__cause__ = cause
        return self

    def __reduce__(self) -> tuple[object, ...]:
        place = {name: getattr(self, name) for name in ("rank", "host", "stage", "task", "operator", "remote_traceback", "worker")}
        return (_rebuild_task_error, (self.message, place))

    def __str__(self) -> str:
        worker = "" if self.worker is None else f" (worker {self.worker})"
        return (
            f"{self.message}\n  rank {self.rank}{worker} on {self.host}, stage {self.stage}, task {self.task}, operator {self.operator}\n"
            f"  remote traceback:\n{_indent(self.remote_traceback)}"
        )


def _rebuild_task_error(message: str, place: dict[str, Any]) -> TaskError:
    return TaskError(message, **place)


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in text.rstrip().splitlines())


def near_names(wrong: str, valid: Iterable[str], count: int = 3) -> str:
    """`"; did you mean 'a' or 'b'?"`, or the empty string when nothing is near."""
    names = difflib.get_close_matches(wrong, list(dict.fromkeys(valid)), n=count, cutoff=0.5)
    return "" if not names else "; did you mean " + " or ".join(repr(name) for name in names) + "?"
