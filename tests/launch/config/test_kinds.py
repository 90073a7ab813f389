"""Annotations beyond the plain ones: typed dicts, protocols, new types, special containers, a Config that is wanted as such."""

from __future__ import annotations

import collections
import re
import warnings
from typing import Any

import pytest

from hpcflow.errors import ConfigError
from hpcflow.launch import Config, Partial, dumps, loads, override
from tests.launch.config.targets import Model, Plain, kinds

GOOD: list[tuple[str, Any]] = [
    ("options", {"depth": 1}),
    ("options", {"depth": 1, "label": "x"}),
    ("runs", Config(Plain, 1)),
    ("user", 7),
    ("queue", collections.deque([1, 2])),
    ("words", ["a", "b"]),
    ("words", ("a",)),
    ("items", [1, 2]),
    ("wanted", Config(Plain, 1)),
    ("cells", [0, 1]),
]

BAD = [
    ("options", {"label": "x"}, "kinds.options: Options needs the key 'depth'"),
    ("options", {"depth": "x"}, "['depth']: expected int, got str 'x'"),
    ("options", {"depth": 1, "lable": "x"}, "Options has no key 'lable'; did you mean 'label'"),
    ("runs", 3, "expected Runs, got int 3"),
    ("user", "x", "expected UserId, got str 'x'"),
    ("counts", {"a": 1}, "expected defaultdict, got dict"),
    ("counts", collections.defaultdict(int, a="x"), "defaultdict['a']: expected int, got str 'x'"),
    ("queue", [1], "expected deque[int] | None, got list [1]"),
    ("words", "abc", "instances are not allowed as a Sequence"),
    ("items", 3, "expected Iterable[int], got int 3"),
    ("wanted", Config(Model), "expected Config[Plain] | None, got a Config of Model"),
    ("wanted", Plain(1), "expected Config[Plain], got Plain"),
    ("cells", [1, -1], "kinds.cells[1]: input should be greater than or equal to 0"),
]


@pytest.mark.parametrize(("name", "value"), GOOD, ids=lambda v: repr(v)[:30])
def test_a_fitting_value_is_stored_written_and_read(name: str, value: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = Partial(kinds, **{name: value})
    assert getattr(config, name) == value
    assert config()[name] is not None
    assert loads(dumps(config), allow=["tests.launch.config.targets"]) == config


@pytest.mark.parametrize(("name", "value", "says"), BAD, ids=lambda v: repr(v)[:30])
def test_a_wrong_value_is_refused(name: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        setattr(Partial(kinds), name, value)


def test_a_wanted_config_is_built_with_the_rest() -> None:
    assert isinstance(Partial(kinds, wanted=Config(Plain, 3))()["wanted"], Plain)  # type: ignore[arg-type]


def test_texts_become_them() -> None:
    config = Partial(kinds)
    override(config, "options={depth: 1, label: 5}", "queue=[1,2]", "user=3", "words=[a]")
    assert (config.options, config.queue, config.user, config.words) == ({"depth": 1, "label": "5"}, collections.deque([1, 2]), 3, ["a"])
    with pytest.raises(ConfigError, match=r"kinds\.cells\[0\]: input should be greater than or equal to 0"):
        override(config, "cells=[-1]")
