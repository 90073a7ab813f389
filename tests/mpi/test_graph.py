"""A task graph with every kind of edge, on real ranks: task by task as evaluated in plain Python."""

import pytest

from hpcflow.testing.session import run_session_mpi
from tests.api.graph_oracle import Drawn, draw, evaluate

DRAWING = [
    Drawn(3, rows=5),
    Drawn(2, rows=4),
    Drawn(3, ((0, "direct"), (1, "broadcast"), (0, "allreduce"))),
    Drawn(2, ((2, "keyed_partition"), (1, "direct"), (1, "keyed_reduce"))),
    Drawn(1, ((3, "gather"), (2, "reduce"))),
    Drawn(2, ((3, "partition"), (4, "allgather"), (2, "keyed_gather"))),
    Drawn(2, ((5, "keyed_direct"), (5, "keyed_reduce_function"))),
]


@pytest.mark.mpi
def test_each_task_gets_its_rows_on_any_number_of_ranks():
    got = run_session_mpi(lambda session: draw(session, DRAWING).run())
    wanted = {f"all of {number}": [row for part in tasks for row in part] for number, tasks in enumerate(evaluate(DRAWING))}
    assert {name: table.rows() for name, table in got.items()} == wanted
    assert sum(map(len, wanted.values())) > 40
