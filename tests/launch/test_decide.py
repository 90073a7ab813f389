"""What an experiment does next, as pure functions."""

import pytest

from hpcflow.errors import ConfigError
from hpcflow.launch.executors.base import FailureClass, JobState, JobStatus
from hpcflow.launch.experiment.decide import (
    Attempt,
    Skip,
    Submit,
    TaskState,
    cannot_begin,
    exit_status,
    may_retry,
    next_steps,
    retry_at_s,
    state_of,
    verdict,
)
from hpcflow.launch.experiment.model import Condition, Spec, Task, order, spec_from_json
from hpcflow.launch.experiment.retries import budgets, pauses

S, F, C, K, W, R = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED, TaskState.WAITING, TaskState.RUNNING


def task(name, *needs, **fields):
    return Task(name, name, {"kind": "commands", "commands": []}, {"type": "local"}, needs=needs, **fields)


def spec(*tasks):
    return Spec("id", "title", "now", tasks)


def ended(state, *, failure=None, number=1, at=0.0):
    return Attempt(number, JobStatus(state, 0 if state is JobState.SUCCEEDED else 1, failure), at)


OK = (ended(JobState.SUCCEEDED),)
BAD = (ended(JobState.FAILED, failure=FailureClass.PROGRAM),)


@pytest.mark.parametrize(
    ("condition", "ends", "wanted"),
    [
        ("all_succeeded", (S, S), True),
        ("all_succeeded", (S, R), None),
        ("all_succeeded", (R, F), False),
        ("all_succeeded", (S, K), False),
        ("any_succeeded", (R, S), True),
        ("any_succeeded", (F, R), None),
        ("any_succeeded", (F, C), False),
        ("all_finished", (F, S, K), True),
        ("all_finished", (F, W), None),
        ("any_failed", (F, R), True),
        ("any_failed", (S, R), None),
        ("any_failed", (S, C, K), False),
    ],
)
def test_a_condition_holds_cannot_hold_or_waits(condition, ends, wanted):
    assert verdict(Condition(condition), ends) is wanted


def test_tasks_without_needs_start_at_once_and_dependents_after_them():
    s = spec(task("a"), task("b", "a"), task("c"))
    assert next_steps(s, {}, {}, frozenset(), 0) == [Submit("a", 1), Submit("c", 1)]
    assert next_steps(s, {"a": OK, "c": OK}, {}, frozenset(), 0) == [Submit("b", 1)]


def test_what_cannot_run_is_skipped_with_the_reason_and_so_is_what_needs_it():
    s = spec(task("a"), task("b", "a"), task("c", "b"), task("d", "a", condition=Condition.ANY_FAILED))
    steps = next_steps(s, {"a": BAD}, {}, frozenset(), 0)
    assert steps == [Skip("b", "all_succeeded cannot come true: a failed"), Submit("d", 1)]
    assert next_steps(s, {"a": BAD, "d": OK}, {"b": "x"}, frozenset(), 0) == [Skip("c", "all_succeeded cannot come true: b skipped")]


def test_what_waits_in_slurms_queue_for_what_has_ended_otherwise_is_skipped_whatever_slurm_remembers():
    s = spec(task("a"), task("b", "a"), task("c", "b"), task("d", "a", condition=Condition.ANY_FAILED))
    for state in (JobState.PENDING, JobState.UNKNOWN, JobState.CANCELLED):
        waiting = (Attempt(1, JobStatus(state)),)
        sent = {"b": waiting, "c": waiting, "d": waiting}
        wanted = {"b": "all_succeeded cannot come true: a failed", "c": "all_succeeded cannot come true: b skipped"}
        assert cannot_begin(s, {"a": BAD, **sent}, (), ()) == wanted
        assert cannot_begin(s, {"a": OK, **sent}, (), ()) == {"d": "any_failed cannot come true: a succeeded"} | (
            {"c": "all_succeeded cannot come true: b cancelled"} if state is JobState.CANCELLED else {}
        )
        assert cannot_begin(s, {"a": BAD, **sent}, (), {"b", "c"}) == {}  # whoever cancelled them did that
        assert cannot_begin(s, {"a": (Attempt(1, JobStatus(JobState.RUNNING)),), **sent}, (), ()) == (
            {"c": "all_succeeded cannot come true: b cancelled"} if state is JobState.CANCELLED else {}
        )


def test_a_retry_comes_after_its_back_off_and_only_within_the_budget_of_its_kind():
    t = task("a", retries={"node failure": 2}, backoff_s=10)
    node = [ended(JobState.FAILED, failure=FailureClass.NODE, number=i, at=100.0) for i in (1, 2, 3)]
    s = spec(t, task("b", "a"))
    assert next_steps(s, {"a": node[:1]}, {}, frozenset(), 109) == []
    assert next_steps(s, {"a": node[:1]}, {}, frozenset(), 110) == [Submit("a", 2)]
    assert next_steps(s, {"a": node[:2]}, {}, frozenset(), 119) == []
    assert next_steps(s, {"a": node[:2]}, {}, frozenset(), 120) == [Submit("a", 3)]
    assert state_of(t, node) is TaskState.FAILED
    assert state_of(t, BAD) is TaskState.FAILED
    assert next_steps(s, {"a": node}, {}, frozenset(), 999) == [Skip("b", "all_succeeded cannot come true: a failed")]


def test_each_kind_of_failure_has_its_own_budget_and_pause_and_doubles_by_itself():
    t = task("a", retries={"node failure": 2, "program error": 1}, backoff_s={"node failure": 60, "program error": 2})
    node = [ended(JobState.FAILED, failure=FailureClass.NODE, number=i, at=100.0) for i in (1, 2)]
    program = ended(JobState.FAILED, failure=FailureClass.PROGRAM, number=2, at=100.0)
    assert [retry_at_s(t, found) for found in (node[:1], node, [node[0], program])] == [160, 220, 102]
    assert may_retry(t, [node[0], program]) and not may_retry(t, [program, program]) and may_retry(t, [program, *node])
    stopped = ended(JobState.FAILED, failure=FailureClass.STOPPED, at=100.0)
    memory = ended(JobState.FAILED, failure=FailureClass.OUT_OF_MEMORY, at=100.0)
    assert (retry_at_s(t, [stopped]), retry_at_s(t, [memory])) == (100, 105)


@pytest.mark.parametrize(
    ("check", "given", "says"),
    [
        (budgets, {"time out": 1}, "retries: no failure class 'time out'; did you mean 'timeout'"),
        (budgets, {"timeout": -1}, r"retries\['timeout'\]=-1: expected a whole number from 0"),
        (budgets, 1.5, "retries=1.5: expected a whole number"),
        (budgets, True, "retries=True: expected a whole number"),
        (pauses, {"node": 1}, "backoff_s: no failure class 'node'; did you mean 'node failure'"),
        (pauses, {"node failure": "1m"}, r"backoff_s\['node failure'\]='1m': expected seconds from 0"),
        (pauses, -1, "backoff_s=-1: expected seconds"),
        (pauses, float("nan"), "backoff_s=nan: expected seconds"),
        (pauses, {"stopped to be continued": 3}, "is no failure and goes on at once"),
        (pauses, {1: 2}, "backoff_s: no failure class 1"),
    ],
)
def test_a_wrong_budget_or_pause_is_refused_by_name(check, given, says):
    with pytest.raises(ConfigError, match=says):
        check(given)


def test_a_dependent_waits_while_its_parent_has_an_attempt_left():
    s = spec(task("a", retries={"program error": 1}, backoff_s=5), task("b", "a", condition=Condition.ANY_FAILED))
    assert next_steps(s, {"a": BAD}, {}, frozenset(), 1) == []


def test_a_cancelled_task_is_not_tried_again_nor_begun():
    t = task("a", retries={"program error": 5})
    assert state_of(t, BAD, cancelled=True) is TaskState.FAILED
    assert state_of(t, (), cancelled=True) is TaskState.CANCELLED
    assert next_steps(spec(t), {}, {}, frozenset({"a"}), 0) == []


def test_the_exit_status_is_0_only_when_every_required_task_succeeded():
    s = spec(task("a"), task("b", required=False))
    assert exit_status(s, {"a": S, "b": F}) == 0
    assert exit_status(s, {"a": K, "b": S}) == 1


def test_a_circle_is_shown():
    with pytest.raises(ConfigError, match=r"a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c|a -> c -> b -> a"):
        spec(task("a", "c"), task("b", "a"), task("c", "b"))


def test_names_are_unique_and_needs_exist():
    with pytest.raises(ConfigError, match="two tasks are called 'a'"):
        spec(task("a"), task("a"))
    with pytest.raises(ConfigError, match="needs 'x', which is no task"):
        spec(task("a", "x"))


def test_order_keeps_what_may_stay():
    assert [t.name for t in order([task("b", "a"), task("a"), task("c")])] == ["a", "c", "b"]


def test_a_spec_survives_json():
    import json

    paused = task("a", retries={"timeout": 1}, backoff_s={"timeout": 60.0})
    s = Spec("id", "t", "now", (paused, task("b", "a", condition=Condition.ANY_FAILED)), ("x",), "n", {"host": "h"})
    assert spec_from_json(json.loads(json.dumps(s.to_json()))) == s
