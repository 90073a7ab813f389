"""The engine thread where the contract suite does not look: failures, stopping, rest."""

import subprocess
import sys
import textwrap
import time

import pytest

from hpcflow.comm.base import CONTROL, EXCHANGE
from hpcflow.comm.engine import FAREWELL, Engine
from hpcflow.comm.in_process import open_group
from hpcflow.errors import LaunchError, StepTimeoutError, WorkerLostError


class StubbornComm:
    """A Comm that has to be polled, as MPI has, and never gets anything."""

    rank, size = 0, 1

    def poll(self):
        return None

    def set_waker(self, wake):
        return False

    def close(self):
        pass


def test_a_failure_to_open_is_raised_by_start():
    def open_comm():
        raise LaunchError("no such world")

    with pytest.raises(LaunchError, match="no such world"):
        Engine(open_comm).start()


@pytest.mark.thorough
def test_an_idle_polling_engine_leaves_the_core_to_others():
    engine = Engine(StubbornComm)
    engine.start()
    time.sleep(1.2)
    before, started = time.process_time(), time.monotonic()
    time.sleep(1.5)
    used = (time.process_time() - before) / (time.monotonic() - started)
    engine.stop()
    assert used < 0.1, f"{used:.1%} of a core"  # spinning would be all of it; benchmarks/session holds it to 2 %


def test_an_active_engine_without_traffic_leaves_most_of_the_core():
    engine = Engine(StubbornComm)
    engine.start()
    engine.set_active(True)
    before, started = time.process_time(), time.monotonic()
    time.sleep(0.5)
    used = (time.process_time() - before) / (time.monotonic() - started)
    engine.stop()
    assert used < 0.5, f"{used:.1%} of a core"


def test_stop_waits_for_the_other_ranks_and_then_gives_up(capfd):
    first, _ = open_group(2)
    engine = Engine(lambda: first)
    engine.start()
    with pytest.raises(StepTimeoutError, match="1 of 1 other ranks have not stopped"):
        engine.stop(timeout_s=0.2)


def test_a_failing_handler_without_on_error_aborts_the_group(capfd):
    first, second = open_group(2)
    engine = Engine(lambda: first)
    engine.start()
    engine.subscribe(CONTROL, lambda source, buffer: 1 / 0)
    engine.send(0, CONTROL, b"")
    deadline = time.monotonic() + 10
    with pytest.raises(WorkerLostError):
        while time.monotonic() < deadline:
            second.poll()
            time.sleep(0.001)
    assert isinstance(engine.error, ZeroDivisionError)
    assert "ZeroDivisionError" in capfd.readouterr().err
    with pytest.raises(WorkerLostError):
        engine.send(0, CONTROL, b"")


def test_the_tag_of_farewells_is_taken():
    (comm,) = open_group(1)
    engine = Engine(lambda: comm)
    engine.start()
    with pytest.raises(ValueError, match="own"):
        engine.subscribe(FAREWELL, print)
    engine.stop()


def test_a_slow_destination_holds_up_nobody_else():
    comms = open_group(3)
    engine = Engine(lambda: comms[0])
    engine.start()
    for _ in range(100):
        engine.send(1, EXCHANGE, bytes(1 << 20))  # rank 1 never receives
    engine.send(2, EXCHANGE, b"first")
    deadline = time.monotonic() + 5
    while (incoming := comms[2].poll()) is None and time.monotonic() < deadline:
        time.sleep(0.001)
    assert incoming is not None
    waiting = 0
    while comms[1].poll() is not None:
        waiting += 1
    assert waiting <= 5, "sends to one destination are bounded"
    comms[0].abort(1)


def test_a_program_that_forgets_stop_still_ends():
    code = """
        from hpcflow.comm.engine import Engine
        from hpcflow.comm.in_process import open_group
        engine = Engine(lambda: open_group(1)[0])
        engine.start()
        print("end of program")
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=20, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "end of program\n", "")
