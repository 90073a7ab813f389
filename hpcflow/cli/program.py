"""Run a user's program as `__main__`, and never leave the other ranks waiting: `python -m hpcflow job.py args`.

Invariant: an uncaught exception is reported once, without our own frames, and ends the process with a status that is not 0. A rank of an MPI
world ends by `os._exit`, since a normal exit waits in MPI_Finalize for ranks that will not come; the launcher then ends the others.
"""

from __future__ import annotations

import os
import runpy
import select
import sys
import traceback
from collections.abc import Callable, Sequence

FAILURE = 1


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
    if _rank() is None:
        sys.stderr.write(text)
        raise SystemExit(status)
    from hpcflow.comm.watchdog import end_process, write_report

    if text:
        write_report(text)
    _join_hydra()
    end_process(status)


def _join_hydra() -> None:
    """Make MPICH's launcher care how this rank ends, when MPI has not been initialized yet.

    Hydra ends the other ranks only for a process that has spoken to its PMI server; one that fails before MPI_Init (a module missing on one host)
    would leave them waiting in MPI_Init for ever. So this speaks the first line of PMI-1, as MPI_Init would have done.
    """
    mpi = sys.modules.get("mpi4py.MPI")
    server = os.environ.get("PMI_FD", "")
    if "MPI_LOCALRANKID" not in os.environ or not server.isdigit() or (mpi is not None and mpi.Is_initialized()):
        return
    try:
        os.write(int(server), b"cmd=init pmi_version=1 pmi_subversion=1\n")
        select.select([int(server)], [], [], 1.0)
    except OSError:
        return  # the server has gone, and with it the job
