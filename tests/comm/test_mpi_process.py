"""MPI as a program sees it, which a test under pytest-mpi cannot: started, finalized and killed by us. Runs mpirun itself; skips without it."""

import importlib.util
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.thorough import thorough

MPIRUN = Path(sys.executable).with_name("mpirun")
pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None or not MPIRUN.exists(), reason="no mpi4py with mpirun in this environment"),
    pytest.mark.skipif(any(name in os.environ for name in ("PMI_RANK", "OMPI_COMM_WORLD_RANK")), reason="inside mpirun"),
]


def launch(code, ranks=2, timeout_s=60):
    environment = {
        **os.environ,
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    command = [str(MPIRUN), "-n", str(ranks), sys.executable, "-c", textwrap.dedent(code)]
    started = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=environment)
    return result, time.monotonic() - started


PRELUDE = """
import queue, sys, threading, time
from hpcflow.comm.engine import Engine
from hpcflow.comm.mpi import open_mpi
from hpcflow.comm.watchdog import install_excepthooks
install_excepthooks()
engine = Engine(open_mpi)
engine.start()
inbox = queue.SimpleQueue()
engine.subscribe(1, lambda source, buffer: inbox.put((source, bytes(buffer))))
"""


def program(body):
    return PRELUDE + textwrap.dedent(body)


def test_the_engine_initializes_and_finalizes_mpi_on_its_own_thread():
    result, _ = launch(
        program("""
        assert threading.current_thread() is threading.main_thread()
        from mpi4py import MPI
        assert MPI.Is_initialized() and not MPI.Is_thread_main()
        engine.send(1 - engine.rank, 1, b"hello")
        print(inbox.get(timeout=20)[1].decode())
        engine.stop()
        assert MPI.Is_finalized()
        """)
    )
    assert (result.returncode, result.stdout.count("hello")) == (0, 2), result.stderr


def test_a_program_that_forgets_stop_still_finalizes():
    result, _ = launch(program("engine.send(1 - engine.rank, 1, b'hello'); inbox.get(timeout=20)"))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "end", ["raise RuntimeError('boom')", *map(thorough, ["import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(3)"])]
)
def test_all_ranks_are_gone_soon_after_one_has_died(end):
    result, seconds = launch(
        program(f"""
        if engine.rank == 1:
            {end}
        inbox.get()
        """)
    )
    assert result.returncode != 0
    assert seconds < 15
    assert "boom" in result.stderr or "boom" not in end


def test_mpi_initialized_below_multiple_is_one_clear_error():
    result, _ = launch(
        """
        import mpi4py
        mpi4py.rc.thread_level = "funneled"
        from mpi4py import MPI
        from hpcflow.comm.engine import Engine
        from hpcflow.comm.mpi import open_mpi
        from hpcflow.errors import LaunchError
        try:
            Engine(open_mpi).start()
        except LaunchError as error:
            print(error)
        """,
        ranks=1,
    )
    assert result.returncode == 0, result.stderr
    assert "MPI_THREAD_MULTIPLE" in result.stdout or "below" in result.stdout


def test_mpi_initialized_by_the_program_is_used_and_left_to_it():
    result, _ = launch(
        """
        from mpi4py import MPI
        from hpcflow.comm.engine import Engine
        from hpcflow.comm.mpi import open_mpi
        engine = Engine(open_mpi)
        engine.start()
        engine.stop()
        assert not MPI.Is_finalized()
        print(MPI.COMM_WORLD.allreduce(1))
        """
    )
    assert (result.returncode, result.stdout.count("2")) == (0, 2), result.stderr
