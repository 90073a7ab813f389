"""Looking without driving: bring the journals of experiments that nobody drives up to date with what the executors say.

Invariant: schedulers are asked by the one question of `question.py`; no answer changes nothing; an experiment that has a living driver is left to it.
"""

from __future__ import annotations

from collections.abc import Mapping

from hpcflow.launch.executors.base import JobState, JobStatus, QueryFailedError
from hpcflow.launch.experiment.lease import driven
from hpcflow.launch.experiment.question import cluster_of, executor_of, latest, open_jobs, unfinished
from hpcflow.launch.experiment.records import Records, View
from hpcflow.launch.settings import settings

_spread: dict[tuple[str, str], float] = {}
"""Kind of executor, cluster -> the time of the answer that this process has written down for all experiments."""


def refresh_states(records: Records) -> None:
    """Ask about the open attempts of an experiment that nobody drives, as often as manners allow; a new answer is written down for all of these."""
    if driven(records.directory):
        return
    view = records.view()
    for kind in sorted({task.executor["type"] for task in view.spec.tasks}):
        handles = list(open_jobs(view, kind).values())
        if not handles:
            continue
        executor = executor_of(view, kind)
        if kind == "local":
            try:
                _write_down(records, view, executor.states(handles))
            except QueryFailedError as error:
                _write_down(records, view, error.told)
            continue
        for cluster in sorted({cluster_of(handle) for handle in handles}):
            answer = latest(kind, settings().poll_s, executor, [handle for handle in handles if cluster_of(handle) == cluster])
            _write_down(records, view, answer.jobs)
            if _spread.get((kind, cluster)) != answer.asked_s:
                _spread[kind, cluster] = answer.asked_s
                for other, its in unfinished():
                    if other.directory != records.directory and not driven(other.directory):
                        _write_down(other, its, answer.jobs)


def _write_down(records: Records, view: View, told: Mapping[str, JobStatus]) -> None:
    for name, handle in view.handles.items():
        last = view.attempts[name][-1]
        status = None if handle is None or last.status.state.final else told.get(handle.key)
        if status is None or status == last.status or (status.state is JobState.PENDING and last.status.state is JobState.RUNNING):
            continue  # an answer may be older than what the job itself has written
        records.observe(name, last.number, status)
