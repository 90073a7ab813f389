"""The thread of bsp steps: one step at a time, in order, and what counts as getting on."""

import threading
import time
from types import SimpleNamespace

import pytest

from hpcflow.bsp.step import Step, UserThread
from hpcflow.errors import ActionCancelledError, HpcflowError


class _Exchanges:
    def __init__(self):
        self.aborted = []

    def abort(self, step, reason):
        self.aborted.append(step)


def _wait_for(condition, limit_s=5.0):
    deadline = time.monotonic() + limit_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert condition()


def test_steps_run_one_after_the_other_in_the_order_of_their_numbers():
    thread, ran, inside = UserThread("steps"), [], threading.Lock()

    def step(number):
        with inside:
            ran.append(number)
            time.sleep(0.002)

    for number in (3, 4, 9):
        thread.submit(number, lambda number=number: step(number))
    with pytest.raises(HpcflowError, match="step 5 came after step 9"):
        thread.submit(5, lambda: None)
    thread.stop(5)
    assert ran == [3, 4, 9]


def test_a_thread_that_waits_stands_still_and_one_that_loops_gets_on():
    thread, release = UserThread("still"), threading.Event()

    def waits():
        release.wait()

    def loops():
        for turn in range(10**9):
            if release.is_set() and turn:
                break

    assert thread.still() is None
    thread.submit(1, waits)
    _wait_for(lambda: (found := thread.still()) is not None and found[0] == 1 and found[1] > 0.05)
    release.set()
    _wait_for(lambda: thread.still() is None)
    release.clear()
    thread.submit(2, loops)
    looks = []
    for _ in range(10):
        time.sleep(0.02)
        looks.append(thread.still())
    assert sum(seconds == 0.0 for _, seconds in looks) > 3, looks  # on a busy machine it may not have run between two looks
    release.set()
    thread.stop(5)


@pytest.mark.thorough
def test_computing_within_one_call_is_getting_on_unless_the_call_waits_in_mpi():
    stop = threading.Event()

    for waits in (True, False):
        thread = UserThread("busy", lambda frame, waits=waits: waits)
        thread.submit(1, lambda: _spin(stop))
        looks = []
        for _ in range(8):
            time.sleep(0.03)
            looks.append(thread.still()[1])
        if waits:
            assert looks == sorted(looks) and looks[-1] > 0.1, looks
        else:
            assert looks.count(0.0) > 3, looks
        stop.set()
        thread.stop(5)
        stop.clear()


def _spin(stop):
    import hashlib

    hashlib.pbkdf2_hmac("sha256", b"word", b"salt", 700_000)  # one call, of some tenths of a second
    stop.wait()


def test_exchanges_of_a_step_have_numbers_of_their_own_and_end_with_it():
    exchanges = _Exchanges()
    step = Step(7, lambda step: None, exchanges)
    numbers = [step.next_exchange() for _ in range(3)]
    assert len(set(numbers)) == 3 and min(numbers) > 10**7 and numbers != [Step(8, lambda s: None, exchanges).next_exchange() for _ in range(3)]
    step.cancel("over")
    assert exchanges.aborted == numbers
    with pytest.raises(ActionCancelledError, match="over"):
        step.next_exchange()


def test_a_step_knows_whether_its_function_has_returned():
    step = Step(1, lambda step: SimpleNamespace(comm=None, name="context", end=lambda: None), _Exchanges())
    assert step.call(lambda context: context.name + "!") == "context!" and step.left
    failing = Step(2, lambda step: None, _Exchanges())
    with pytest.raises(ZeroDivisionError):
        failing.call(lambda context: 1 // 0)
    assert not failing.left
