"""What an `Intracomm` must do for a program, whether its ranks are processes (mpi4py) or threads (`ThreadComm`): one suite for both.

Each check is a body that every rank runs, as a user would write it: `body(comm, MPI)`. It asserts on its own rank. A test file is one
parametrized call:

    @pytest.mark.parametrize("check", INTRACOMM_CHECKS, ids=lambda check: check.__name__)
    def test_threads(check): check_intracomm(lambda body: run_threads(body, ranks=3), check)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpcflow.testing.intracomm_arrays import ARRAY_CHECKS
from hpcflow.testing.intracomm_buffers import BUFFER_CHECKS
from hpcflow.testing.intracomm_groups import GROUP_CHECKS
from hpcflow.testing.intracomm_messages import MESSAGE_CHECKS
from hpcflow.testing.intracomm_objects import OBJECT_CHECKS
from hpcflow.testing.intracomm_reductions import REDUCTION_CHECKS

Body = Callable[[Any, Any], None]
RunBody = Callable[[Body], Any]

FAMILIES: dict[str, tuple[Body, ...]] = {
    "arrays": ARRAY_CHECKS,
    "buffers": BUFFER_CHECKS,
    "reductions": REDUCTION_CHECKS,
    "objects": OBJECT_CHECKS,
    "messages": MESSAGE_CHECKS,
    "groups": GROUP_CHECKS,
}
INTRACOMM_CHECKS: tuple[Body, ...] = tuple(check for family in FAMILIES.values() for check in family)


def check_intracomm(run: RunBody, *checks: Body) -> None:
    """Run the given bodies (default: all) in one `run(body)`, which calls `body(comm, MPI)` on every rank; each check has a duplicate of its own."""

    def body(comm: Any, MPI: Any) -> None:
        for check in checks or INTRACOMM_CHECKS:
            own = comm.Dup()
            check(own, MPI)
            own.Free()

    run(body)
