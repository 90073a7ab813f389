"""The twin of the module `mpi4py.MPI` for ThreadComm: constants, datatypes, operations, requests; `ctx.MPI` of an in-process program.

Invariant: a name that is here means what it means in mpi4py; a name that is not here is not supported in-process, and asking for it says so.
There is no COMM_WORLD: a program's communicator is `ctx.comm`.

    from hpcflow.bsp import thread_mpi as MPI
    comm.Allreduce(MPI.IN_PLACE, x, op=MPI.SUM)
    comm.Recv([row, MPI.DOUBLE], source=MPI.ANY_SOURCE, status=(status := MPI.Status()))
"""

from __future__ import annotations

import socket
import time
from typing import NoReturn

from hpcflow.bsp.thread_comm import COMM_NULL as COMM_NULL
from hpcflow.bsp.thread_comm import ThreadComm
from hpcflow.bsp.threads import datatypes as _datatypes
from hpcflow.bsp.threads.cart import CART as CART
from hpcflow.bsp.threads.cart import Compute_dims as Compute_dims
from hpcflow.bsp.threads.cart import ThreadCartcomm
from hpcflow.bsp.threads.datatypes import ORDER_C as ORDER_C
from hpcflow.bsp.threads.datatypes import ORDER_F as ORDER_F
from hpcflow.bsp.threads.datatypes import Datatype as Datatype
from hpcflow.bsp.threads.errors import ERR_ARG as ERR_ARG
from hpcflow.bsp.threads.errors import ERR_BUFFER as ERR_BUFFER
from hpcflow.bsp.threads.errors import ERR_COMM as ERR_COMM
from hpcflow.bsp.threads.errors import ERR_COUNT as ERR_COUNT
from hpcflow.bsp.threads.errors import ERR_DIMS as ERR_DIMS
from hpcflow.bsp.threads.errors import ERR_GROUP as ERR_GROUP
from hpcflow.bsp.threads.errors import ERR_INTERN as ERR_INTERN
from hpcflow.bsp.threads.errors import ERR_LASTCODE as ERR_LASTCODE
from hpcflow.bsp.threads.errors import ERR_OP as ERR_OP
from hpcflow.bsp.threads.errors import ERR_OTHER as ERR_OTHER
from hpcflow.bsp.threads.errors import ERR_PENDING as ERR_PENDING
from hpcflow.bsp.threads.errors import ERR_RANK as ERR_RANK
from hpcflow.bsp.threads.errors import ERR_REQUEST as ERR_REQUEST
from hpcflow.bsp.threads.errors import ERR_ROOT as ERR_ROOT
from hpcflow.bsp.threads.errors import ERR_TAG as ERR_TAG
from hpcflow.bsp.threads.errors import ERR_TOPOLOGY as ERR_TOPOLOGY
from hpcflow.bsp.threads.errors import ERR_TRUNCATE as ERR_TRUNCATE
from hpcflow.bsp.threads.errors import ERR_TYPE as ERR_TYPE
from hpcflow.bsp.threads.errors import ERR_UNKNOWN as ERR_UNKNOWN
from hpcflow.bsp.threads.errors import ERR_WIN as ERR_WIN
from hpcflow.bsp.threads.errors import SUCCESS as SUCCESS
from hpcflow.bsp.threads.errors import MpiError
from hpcflow.bsp.threads.foreign import ANY_SOURCE as ANY_SOURCE
from hpcflow.bsp.threads.foreign import ANY_TAG as ANY_TAG
from hpcflow.bsp.threads.foreign import COMM_TYPE_SHARED as COMM_TYPE_SHARED
from hpcflow.bsp.threads.foreign import IN_PLACE as IN_PLACE
from hpcflow.bsp.threads.foreign import PROC_NULL as PROC_NULL
from hpcflow.bsp.threads.foreign import ROOT as ROOT
from hpcflow.bsp.threads.foreign import TAG_UB as TAG_UB
from hpcflow.bsp.threads.foreign import UNDEFINED as UNDEFINED
from hpcflow.bsp.threads.foreign import InPlaceType as InPlaceType
from hpcflow.bsp.threads.message_calls import MatchedMessage
from hpcflow.bsp.threads.operations import BAND as BAND
from hpcflow.bsp.threads.operations import BOR as BOR
from hpcflow.bsp.threads.operations import BXOR as BXOR
from hpcflow.bsp.threads.operations import LAND as LAND
from hpcflow.bsp.threads.operations import LOR as LOR
from hpcflow.bsp.threads.operations import LXOR as LXOR
from hpcflow.bsp.threads.operations import MAX as MAX
from hpcflow.bsp.threads.operations import MAXLOC as MAXLOC
from hpcflow.bsp.threads.operations import MIN as MIN
from hpcflow.bsp.threads.operations import MINLOC as MINLOC
from hpcflow.bsp.threads.operations import PROD as PROD
from hpcflow.bsp.threads.operations import SUM as SUM
from hpcflow.bsp.threads.operations import Op as Op
from hpcflow.bsp.threads.pickling import Pickle as Pickle
from hpcflow.bsp.threads.pickling import pickle as pickle
from hpcflow.bsp.threads.requests import Prequest as Prequest
from hpcflow.bsp.threads.requests import Request as Request
from hpcflow.bsp.threads.status import Status as Status
from hpcflow.bsp.threads.window import Win as Win

Comm = Intracomm = ThreadComm
Cartcomm = Topocomm = ThreadCartcomm
Message = MatchedMessage
Exception = MpiError
REQUEST_NULL = Request()
INFO_NULL = None
VERSION, SUBVERSION = 4, 0
THREAD_SINGLE, THREAD_FUNNELED, THREAD_SERIALIZED, THREAD_MULTIPLE = range(4)
MODE_NOCHECK, MODE_NOSTORE, MODE_NOPUT, MODE_NOPRECEDE, MODE_NOSUCCEED = 1, 2, 4, 8, 16  # hints to Fence and Lock_all, without effect

for _name, _datatype in _datatypes.NAMED.items():
    globals()[_name] = _datatype


def Wtime() -> float:
    """Seconds of a steady clock."""
    return time.perf_counter()


def Wtick() -> float:
    return time.get_clock_info("perf_counter").resolution


def Get_processor_name() -> str:
    return socket.gethostname()


def Get_version() -> tuple[int, int]:
    return VERSION, SUBVERSION


def Get_library_version() -> str:
    return "hpcflow ThreadComm: the ranks are threads of one process"


def Is_initialized() -> bool:
    return True


def Is_finalized() -> bool:
    return False


def Query_thread() -> int:
    return THREAD_MULTIPLE


def Get_error_string(errorcode: int) -> str:
    return MpiError(errorcode).Get_error_string()


def __getattr__(name: str) -> NoReturn:
    if name in ("COMM_WORLD", "COMM_SELF"):
        raise AttributeError(
            f"MPI.{name} does not exist in-process, where the ranks are threads of one process: use the program's communicator, ctx.comm"
        )
    raise AttributeError(f"MPI.{name} is not supported in-process (hpcflow.bsp.thread_mpi): run under mpirun, where ctx.MPI is mpi4py.MPI")


def __dir__() -> list[str]:
    return sorted(name for name in globals() if not name.startswith("_"))
