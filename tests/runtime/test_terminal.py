"""Terminals that do not say how wide they are, as some launchers give them to rank 0."""

import fcntl
import os
import pty
import struct
import termios

import pytest

from hpcflow.runtime.terminal import mend_table_width


@pytest.fixture
def terminal():
    controller, terminal = pty.openpty()
    yield terminal
    os.close(controller)
    os.close(terminal)


def test_a_terminal_without_columns_gets_the_width_of_a_file(terminal):
    environ = {}
    mend_table_width(terminal, environ)
    assert environ == {"POLARS_TABLE_WIDTH": "100"}


def test_what_is_known_stays(terminal, tmp_path):
    chosen = {"POLARS_TABLE_WIDTH": "70"}
    mend_table_width(terminal, chosen)
    assert chosen == {"POLARS_TABLE_WIDTH": "70"}
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    for output in (terminal, os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)):
        environ = {}
        mend_table_width(output, environ)
        assert environ == {}
