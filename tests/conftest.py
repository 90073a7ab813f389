"""For all tests: what a process is set to before any of them is imported."""

import gc
import os
import signal
import sys
from collections.abc import Generator

import pytest
from _pytest.doctest import DoctestModule

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else every program that a test starts from a background run ignores Ctrl-C

# The many programs that tests start, and the next run, read compiled modules instead of compiling them again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

if "PYTEST_XDIST_WORKER" in os.environ:
    for threads in ("POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS"):  # the cores are shared: threads for each core in each process wake each other up
        os.environ.setdefault(threads, "1")

gc.disable()  # while thousands of tests are collected, which all live to the end


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """How many examples a random test tries in the fast part, and with `--hypothesis-profile=thorough` (make test-thorough)."""
    if config.getoption("with_mpi", default=False):
        return  # ranks run no random tests, and start sooner without the import
    from hypothesis import settings

    settings.register_profile("fast", max_examples=10, deadline=None)
    settings.register_profile("thorough", max_examples=60, deadline=None)
    settings.load_profile("fast")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Doctests are looked for in the package, not in the tests."""
    return [collector for collector in (yield) if not isinstance(collector, DoctestModule)]


def pytest_collection_finish() -> None:
    """The garbage collector need not look at the collected tests again and again."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)  # and need not look at a young session fourteen times
