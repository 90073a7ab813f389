"""Run a user's program as `__main__`, and never leave the other ranks waiting: `python -m hpcflow job.py args`.

Invariant: an uncaught exception is reported once, without our own frames, and ends the process with a status that is not 0. A rank of an MPI
world ends by `os._exit`, since a normal exit waits in MPI_Finalize for ranks that will not come; the launcher then ends the others.
"""

from __future__ import annotations

import os
import runpy
import select
import socket
import sys
import traceback
from collections.abc import Callable, Sequence

FAILURE = 1
_ANSWER_S = 5.0


def run_program(script: str, arguments: Sequence[str] = ()) -> None:
    """Run `script` with `arguments`; returns when it ends well, else raises SystemExit (no launcher) or ends the process."""
    if not os.path.exists(script):
        _end(FAILURE, f"hpcflow: no such program: {script} (in {os.getcwd()})\n")
        return
    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    run_guarded(lambda: runpy.run_path(script, run_name="__main__"), script)


def run_guarded(program: Callable[[], object], script: str) -> None:
    """`program()`, which is the code of `script`; a failure ends this rank."""
    try:
        program()
    except SystemExit as end:
        status = _exit_status(end)
        if status != 0:
            _end(status, "" if isinstance(end.code, int) else f"{end.code}\n")
    except KeyboardInterrupt:
        _end(130, "hpcflow: interrupted\n")
    except BaseException as error:
        _end(FAILURE, report(error, script))


def report(error: BaseException, script: str) -> str:
    """The traceback from the program's first frame on, with the rank in front where there are several."""
    frames = error.__traceback__
    while frames is not None and not _is_program(frames.tb_frame.f_code.co_filename, script):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames) if frames else traceback.format_exception_only(error))
    rank = _rank()
    return text if rank is None else f"hpcflow: uncaught exception on rank {rank}; this rank ends now\n{text}"


def _is_program(file_name: str, script: str) -> bool:
    return os.path.abspath(file_name) == os.path.abspath(script)


def _exit_status(end: SystemExit) -> int:
    """Python's own rule: None is 0, a number is itself, anything else is printed and counts as 1."""
    if end.code is None:
        return 0
    return end.code if isinstance(end.code, int) else 1


def _rank() -> int | None:
    """This rank, None outside an MPI world."""
    from hpcflow.launch.launchers.environment import detect

    hint = detect(os.environ)
    return hint.rank if hint.launched else None


def _end(status: int, text: str) -> None:
    rank = _rank()
    if rank is None:
        sys.stderr.write(text)
        raise SystemExit(status)
    from hpcflow.comm.watchdog import end_process, write_report

    if text:
        write_report(text)
    if (server := _hydra()) is not None:
        write_report(f"hpcflow: rank {rank} on {socket.gethostname()} ended with exit status {status} before MPI was up\n")
        _abort_by_hydra(server, status)
    end_process(status)


def _hydra() -> int | None:
    """The socket to the PMI server of MPICH's launcher while nobody has spoken on it: MPI is not initialized."""
    mpi = sys.modules.get("mpi4py.MPI")
    server = os.environ.get("PMI_FD", "")
    if "MPI_LOCALRANKID" not in os.environ or not server.isdigit() or (mpi is not None and mpi.Is_initialized()):
        return None
    return int(server)


def _abort_by_hydra(server: int, status: int) -> None:
    """Make MPICH's launcher end the other ranks.

    Hydra does nothing about a process that ends before MPI_Init (a module missing on one host): the others would wait in MPI_Init for ever. So this
    speaks PMI-1 as MPI_Init and MPI_Abort would have done. Joining alone is not enough: Hydra may reap the process before it sees the closed socket
    and then ends nobody (measured with the MPICH 5.0.2 wheel: in one of thirty launches on a busy machine).
    """
    try:
        os.write(server, b"cmd=init pmi_version=1 pmi_subversion=1\n")
        if select.select([server], [], [], _ANSWER_S)[0]:
            os.read(server, 4096)  # it has also read our last words by now
        os.write(server, b"cmd=abort exitcode=%d\n" % status)
    except OSError:
        return  # the server has gone, and with it the job
