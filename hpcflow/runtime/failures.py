"""From an exception in a task to the one error on the driver: which operator, which file, and the exception itself where it can travel.

Invariant: whatever a user's code raises, what leaves the worker is text and bytes, so that no rank fails at reading it. A fused chain fails as a
whole; which of its operators it was is found by running it again operator by operator, functions that ran already (`map_batches`) excepted.

    worker: locate(...) -> TaskFailed      driver: error_of(TaskFailed, ...) -> SourceError, SinkError, ... with a note, or TaskError with its cause
"""

from __future__ import annotations

import traceback
from typing import Any

import cloudpickle
import polars as pl

from hpcflow.errors import HpcflowError, TaskError
from hpcflow.ir.operators.source import Source, Split, named_source_error
from hpcflow.plan.physical import PhysicalPlan, SourceLeaf, SplitRef, TaskSpec
from hpcflow.runtime import messages as m
from hpcflow.runtime.tasks import OperatorTrace

_LAZY_FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What collecting a chain may raise on behalf of another operator than the one that collects; functions in expressions come as ComputeError."""


def task_failed(action: int, rank: int, host: str, plan: PhysicalPlan, task: TaskSpec, trace: OperatorTrace, error: BaseException) -> m.TaskFailed:
    """The message for a task that raised `error`; to be called while it is being handled."""
    text = traceback.format_exc()
    operator, named = locate(plan, task, trace, error)
    shown = named or error
    return m.TaskFailed(action, rank, host, task.stage, task.index, operator, first_line(shown), text, pack_error(shown), attempt=trace.attempt)


def locate(plan: PhysicalPlan, task: TaskSpec, trace: OperatorTrace, error: BaseException) -> tuple[str, HpcflowError | None]:
    """(operator that failed, error that says more than `error` does, if any)."""
    if isinstance(error, HpcflowError) or not isinstance(error, _LAZY_FAILURES):
        return trace.name, None
    for name, frame in trace.built:
        try:
            frame.collect()
        except BaseException:
            splits: list[tuple[Source, Split]] = []
            for leaf, ref in task.reads:
                if isinstance(leaf, SourceLeaf) and isinstance(ref, SplitRef) and isinstance(source := plan.operator(leaf.vertex), Source):
                    splits.append((source, ref.split))
            return name, named_source_error(error, splits)
    return trace.name, None


def error_of(message: m.TaskFailed, stage: str, worker: int | None = None) -> BaseException:
    """What the driver raises: one of our errors as itself with the place as a note (`except hf.SourceError` works), else a TaskError."""
    cause = unpack_error(message.error)
    error = TaskError(
        message.message,
        rank=message.rank,
        host=message.host,
        stage=stage,
        task=message.index,
        operator=message.operator,
        remote_traceback=message.remote_traceback,
        worker=worker,
    )
    if isinstance(cause, HpcflowError) and not isinstance(cause, TaskError):
        cause.add_note(str(error).partition("\n")[2])
        raised: HpcflowError = cause
    else:
        raised = error.with_cause(cause)
    if message.attempt:
        raised.add_note(f"this was attempt {message.attempt + 1} of the task: those before failed too, for reasons that might have passed")
    return raised


def worker_error(message: m.WorkerFailed) -> BaseException:
    """What the driver raises when a worker could not do what it was told."""
    cause = unpack_error(message.error)
    where = f"rank {message.rank} on {message.host}"
    if isinstance(cause, HpcflowError):
        cause.add_note(where)
        return cause
    error = HpcflowError(f"{where}: {message.message}\n  remote traceback:\n{message.remote_traceback}")
    error.__cause__ = cause
    return error


def pack_error(error: BaseException) -> bytes | None:
    """The exception as bytes; None where it cannot travel (its text travels anyway)."""
    try:
        blob: bytes = cloudpickle.dumps(error, protocol=5)  # by value where the class is of the user's program
        cloudpickle.loads(blob)
        return blob
    except BaseException:
        return None


def unpack_error(blob: bytes | None) -> BaseException | None:
    """The exception, or None when this process cannot read it either."""
    if blob is None:
        return None
    try:
        error: Any = cloudpickle.loads(blob)
    except BaseException:
        return None
    return error if isinstance(error, BaseException) else None


def first_line(error: BaseException) -> str:
    """`ValueError: what it says`; our own errors word themselves."""
    return str(error) if isinstance(error, HpcflowError) else f"{type(error).__name__}: {error}"
