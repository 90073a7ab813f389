"""What workers are told, and how many messages that takes."""

import polars as pl
import pytest

from hpcflow.runtime import messages
from hpcflow.testing.session import InProcessSession


@pytest.fixture(scope="module")
def session():
    with InProcessSession(workers=2, threads=1, progress="off") as session:
        yield session


def told(session, monkeypatch, dataset):
    """The rows, and what each message to a worker was made of."""
    envelopes = []
    send_to = session._cluster.master.send_to

    def seen(ranks, message):
        whole = message.messages if isinstance(message, messages.Several) else (message,)
        envelopes.extend((rank, [type(one).__name__ for one in whole]) for rank in ranks)
        send_to(ranks, message)

    monkeypatch.setattr(session._cluster.master, "send_to", seen)
    rows = dataset.collect()
    monkeypatch.undo()
    return rows, envelopes


def test_a_small_action_takes_one_message_a_stage_for_each_worker(session, monkeypatch):
    rows, envelopes = told(session, monkeypatch, session.from_dict({"k": [1, 2] * 5, "v": list(range(10))}).group_by("k").agg(pl.col("v").sum()))
    assert sorted(rows.rows()) == [(1, 20), (2, 25)]
    for worker in (1, 2):
        assert [kinds for rank, kinds in envelopes if rank == worker] == [
            ["KeepPlan"],
            ["LoadPlan", "OpenExchange", "RunTasks"],
            ["OpenExchange", "RunTasks", "EndAction"],
        ]


def test_the_rows_of_a_large_table_of_the_driver_travel_through_an_exchange(session, monkeypatch):
    table = pl.DataFrame({"v": range(20_000)})
    rows, envelopes = told(session, monkeypatch, session.from_polars(table).filter(pl.col("v") % 2 == 0))
    assert rows["v"].sum() == table["v"].filter(table["v"] % 2 == 0).sum()
    assert [kinds for rank, kinds in envelopes if rank == 1] == [
        ["KeepPlan"],
        ["LoadPlan", "OpenExchange"],
        ["OpenExchange", "RunTasks", "EndAction"],
    ]


def test_every_type_of_a_small_table_of_the_driver_keeps_its_values(session):
    from hpcflow.testing.tables import table_of_every_type

    table = table_of_every_type(20)
    assert session.from_polars(table).collect().equals(table, null_equal=True)
