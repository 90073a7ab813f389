"""The watchdog, and leaving the process after an error."""

import subprocess
import sys
import threading
import time

import pytest

from hpcflow.comm.watchdog import EXIT_FAILURE, Watchdog


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)


def test_a_step_without_progress_is_reported_once_with_all_stacks(capfd):
    stalls = []
    called = threading.Event()
    watchdog = Watchdog(timeout_s=0.1, on_stall=lambda name, report: (stalls.append((name, report)), called.set()))
    with watchdog.watch("step 7"):
        assert called.wait(5)
        time.sleep(0.3)
    watchdog.stop()
    assert [name for name, _ in stalls] == ["step 7"]
    assert "test_a_step_without_progress" in stalls[0][1]
    assert "step 7 made no progress" in stalls[0][1]


def test_a_step_that_moves_is_left_alone():
    stalls = []
    watchdog = Watchdog(timeout_s=0.5, on_stall=lambda name, report: stalls.append(name))
    with watchdog.watch("step 8") as progress:
        for _ in range(14):
            time.sleep(0.05)
            progress.advance()
    watchdog.stop()
    assert stalls == []


def test_a_step_that_has_ended_is_not_watched():
    stalls = []
    watchdog = Watchdog(timeout_s=0.1, on_stall=lambda name, report: stalls.append(name))
    with watchdog.watch("short"):
        pass
    time.sleep(0.4)
    watchdog.stop()
    assert stalls == []


def test_a_timeout_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        Watchdog(timeout_s=0)


@pytest.mark.parametrize(
    "body",
    ["raise KeyError('lost')", "import threading; t = threading.Thread(target=lambda: {}['lost']); t.start(); t.join(); import time; time.sleep(9)"],
    ids=["main", "thread"],
)
def test_an_uncaught_exception_ends_the_process_with_a_report(body):
    result = run_python(f"from hpcflow.comm.watchdog import install_excepthooks; install_excepthooks()\nprint('out')\n{body}")
    assert result.returncode == EXIT_FAILURE
    assert result.stdout == "out\n"
    assert "KeyError: 'lost'" in result.stderr
    assert "this rank ends now" in result.stderr


def test_the_exit_skips_atexit_handlers_and_is_never_zero():
    result = run_python(
        "import atexit; atexit.register(print, 'finalized'); from hpcflow.comm.watchdog import abort_process; abort_process('why', 0)"
    )
    assert (result.returncode, result.stdout, result.stderr) == (EXIT_FAILURE, "", "why\n")


def test_sys_exit_keeps_its_own_status():
    assert run_python("from hpcflow.comm.watchdog import install_excepthooks; install_excepthooks(); import sys; sys.exit(3)").returncode == 3
