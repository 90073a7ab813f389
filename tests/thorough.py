"""What of a sweep the fast part runs: `pytest` runs the cases that have no mark, `make test-thorough` those marked `thorough`, `make test-all` both.

    @pytest.mark.parametrize("dtype", spread(DTYPES, every=3))        # each third case is in the fast part
    @pytest.mark.parametrize("level", ["avx2", thorough("avx512")])   # this one never is

Invariant: nothing is left out of both parts. Random tests (Hypothesis) are in both: a few examples in the fast part, many in the thorough one
(profiles of `tests/conftest.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def thorough(*values: Any, id: str | None = None) -> Any:
    """One case of a parametrization, for the thorough part alone."""
    return pytest.param(*values, id=id, marks=pytest.mark.thorough)


def spread(cases: Iterable[Any], every: int, first: int = 0) -> list[Any]:
    """The cases with every `every`-th one, from number `first` on, in the fast part, and the others in the thorough part."""
    return [case if n % every == first else _marked(case) for n, case in enumerate(cases)]


def _marked(case: Any) -> Any:
    """`case` as a thorough one; a pytest.param keeps its id and its marks."""
    if isinstance(case, type(pytest.param(0))):
        return pytest.param(*case.values, id=case.id, marks=[*case.marks, pytest.mark.thorough])
    return thorough(*case) if isinstance(case, tuple) else thorough(case)
