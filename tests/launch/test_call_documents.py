"""What a job calls is what the configuration builds here: random calls through the document that travels, read by the runner."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hpcflow.launch import Config, Partial, build
from hpcflow.launch.calls import call_document
from hpcflow.launch.config.document import identical
from hpcflow.launch.runner import Builder
from tests.launch import tasks_of_tests as tasks
from tests.launch.config.targets import Checked, Model, Optimizer, Plain, Records, everything, unannotated
from tests.launch.config.test_files import VALUES
from tests.launch.config.test_random_files import EVERYTHING

INTS = st.integers(-9, 9)


def in_the_job(task: Any) -> Any:
    """What the runner would call, called."""
    document = json.loads(json.dumps(call_document(task)))
    return Builder(document["main"]).value(document["call"])()


def same(one: Any, other: Any) -> bool:
    """Equal through objects of the targets, which do not all compare."""
    if isinstance(one, functools_partial) and isinstance(other, functools_partial):
        return bool(one.func is other.func and same(one(), other()))  # a default may stand there as it is or be left to the function
    if type(one) is type(other) and type(one) in (Plain, Model, Optimizer, Checked, Records):
        return same(vars(one), vars(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(same, one, other))
    return identical(one, other) or repr(one) == repr(other)


functools_partial: Any = type(build(Partial(unannotated)))


@given(given_=EVERYTHING)
def test_arguments_of_every_annotation_arrive_as_they_are_built_here(given_: dict[str, Any]) -> None:
    call = Partial(everything, **given_)
    assert same(in_the_job(call), build(call)())


@given(value=VALUES)
def test_any_value_without_an_annotation_arrives_as_it_is(value: Any) -> None:
    assert same(in_the_job(Partial(unannotated, value)), value)


@given(before=st.lists(INTS, min_size=1, max_size=6), named=st.dictionaries(st.sampled_from(["c", "d", "x", "y"]), INTS, max_size=3))
def test_arguments_by_position_and_by_name_arrive_where_they_belong(before: list[int], named: dict[str, int]) -> None:
    given_ = {name: value for name, value in named.items() if name != "c" or len(before) < 3}
    call = Partial(tasks.by_position, *before, **given_)
    assert in_the_job(call) == call() == tasks.by_position(*before, **given_)


def test_one_config_in_two_places_is_one_object_in_the_job_as_well() -> None:
    shared = Config(Optimizer, lr=0.5)
    call = Partial(unannotated, x=[shared, shared, Config(Optimizer, lr=0.5)])
    first, second, other = in_the_job(call)
    assert first is second and first is not other and first == other
