"""The connection between a driver and the rank 0 that it has started: who comes in, and what crosses it."""

from __future__ import annotations

import json
import os
import pickle
import socket
import stat
import threading
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection

import polars as pl
import pytest

from hpcflow.native import ArenaPool
from hpcflow.runtime.remote import channel as channel_module
from hpcflow.runtime.remote.channel import Channel, Doorkeeper, connect, frames_of, table_of
from hpcflow.runtime.remote.errors import pack, unpack
from hpcflow.testing.tables import table_of_every_type


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("unpickled before authentication",))


@pytest.fixture(params=[True, False], ids=["unix", "tcp"])
def door(request):
    keeper = Doorkeeper(request.param)
    yield keeper
    keeper.close()


def test_who_knows_the_key_comes_in_and_both_may_speak(door):
    theirs = []
    thread = threading.Thread(target=lambda: theirs.append(connect(door.invitation().decode())))
    thread.start()
    ours = door.wait(10, lambda: False)
    thread.join(10)
    assert isinstance(ours, Channel)
    ours.send({"n": 1})
    theirs[0].send("rows", b"frame")
    assert theirs[0].receive() == ({"n": 1}, None) and ours.receive() == ("rows", b"frame")
    theirs[0].close()
    with pytest.raises((EOFError, OSError)):
        ours.receive()


def test_who_does_not_know_the_key_stays_outside(door):
    told = json.loads(door.invitation())
    with pytest.raises((AuthenticationError, EOFError, OSError)):
        connect(json.dumps({**told, "key": "00" * 32}))
    address = told["addresses"][0]
    client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    client.connect(address if isinstance(address, str) else tuple(address))
    intruder = Connection(client.detach())
    intruder.send_bytes(pickle.dumps(Trap()))
    assert door.wait(0.5, lambda: False) is None
    intruder.close()


def test_the_socket_is_in_a_folder_that_only_its_owner_opens():
    door = Doorkeeper(True)
    folder = os.path.dirname(json.loads(door.invitation())["addresses"][0])
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    door.close()
    assert not os.path.exists(folder)


def test_rows_of_every_type_cross_in_bounded_frames(monkeypatch):
    table = table_of_every_type(500)
    monkeypatch.setattr(channel_module, "CHUNK_BYTES", 20_000)
    frames = [bytes(frame) for frame in frames_of(table, ArenaPool())]
    assert len(frames) > 3 and table_of(frames, table.schema).equals(table)
    assert table_of([], table.schema).equals(table.clear()) and not list(frames_of(pl.DataFrame({"a": []}), ArenaPool()))


def test_an_error_keeps_its_class_notes_and_cause_or_its_text():
    error = ValueError("mine")
    error.__cause__ = KeyError("why")
    error.add_note("a note")
    found = unpack(pack(error), "ValueError: mine")
    assert isinstance(found, ValueError) and found.__notes__ == ["a note"] and isinstance(found.__cause__, KeyError)
    odd = ValueError(threading.Lock())
    assert "as text" in str(unpack(pack(odd), "as text"))
