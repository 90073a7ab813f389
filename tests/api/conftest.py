"""Sessions that all tests of the api share: from one worker to five, with splits, partitions and joins as small and as shuffled as they get."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hpcflow.session import Session
from hpcflow.testing.session import InProcessSession
from tests.thorough import thorough

SHAPES = {
    "1x1": {"workers": 1, "threads": 1},
    "2x3": {"workers": 2, "threads": 3, "target_split_bytes": 4000, "target_partition_bytes": 8000, "broadcast_threshold_bytes": 0},
    "5x1": {"workers": 5, "threads": 1, "target_split_bytes": 4000, "partitions_per_worker": 1},
}


@pytest.fixture(scope="session")
def _sessions() -> Iterator[dict[str, Session]]:
    opened: dict[str, Session] = {}
    yield opened
    for session in opened.values():
        session.close()


@pytest.fixture(params=["2x3", thorough("1x1"), thorough("5x1")])
def session(request: pytest.FixtureRequest, _sessions: dict[str, Session]) -> Session:
    """One of the shapes; the same session for all tests."""
    if request.param not in _sessions:
        _sessions[request.param] = InProcessSession(progress="off", step_timeout_s=30, **SHAPES[request.param])
    return _sessions[request.param]


@pytest.fixture
def one_session(_sessions: dict[str, Session]) -> Session:
    """The shape with two workers, for what does not depend on how many there are."""
    if "2x3" not in _sessions:
        _sessions["2x3"] = InProcessSession(progress="off", step_timeout_s=30, **SHAPES["2x3"])
    return _sessions["2x3"]
