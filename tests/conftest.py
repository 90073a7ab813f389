"""For all tests: what a process is set to before any of them is imported."""

import gc
import os
import signal
import sys

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else every program that a test starts from a background run ignores Ctrl-C

# The many programs that tests start, and the next run, read compiled modules instead of compiling them again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # several processes share the cores: threads for each core in each of them wake each other up


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """How many examples a random test tries in the fast part, and with `--hypothesis-profile=thorough` (make test-thorough)."""
    if config.getoption("with_mpi", default=False):
        return  # ranks run no random tests, and start sooner without the import
    from hypothesis import settings

    settings.register_profile("fast", max_examples=10, deadline=None)
    settings.register_profile("thorough", max_examples=60, deadline=None)
    settings.load_profile("fast")


def pytest_collection_finish() -> None:
    """Thousands of collected tests live to the end: the garbage collector need not look at them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # and need not look at a young session fourteen times
