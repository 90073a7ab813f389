"""Programs of many operators in a row."""

from __future__ import annotations

import sys

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.ir import depth


@pytest.fixture
def limit():
    before = sys.getrecursionlimit()
    yield before
    sys.setrecursionlimit(before)


def test_a_chain_of_hundreds_of_operators_runs(limit: int) -> None:
    with hf.Session(workers=2, progress="off") as session:
        data = session.range(1000)
        for number in range(300):
            data = data.filter(pl.col("value") != number)
        assert data.count() == 700
    assert sys.getrecursionlimit() > limit


def test_few_operators_leave_the_limit_of_python(limit: int) -> None:
    depth.make_room(40)
    assert sys.getrecursionlimit() == limit


def test_a_chain_that_is_too_deep_says_what_to_do(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "_MOST_CALLS", 100)
    with hf.Session(workers=1, progress="off") as session:
        data = session.range(10)
        for number in range(700):
            data = data.filter(pl.col("value") != number)
        for act in (data.count, data.explain):
            with pytest.raises(hf.HpcflowError, match=r"the program has 70\d operators, too many of them in a row; .*cache\(\) and count\(\)"):
                act()


def test_a_callers_own_recursion_stays_what_it_is(limit: int) -> None:
    with pytest.raises(RecursionError), depth.room_for(3):
        raise RecursionError("maximum recursion depth exceeded")
