"""What an empty job is compared with: MPI, the third-party modules that a session loads, one barrier."""

import cloudpickle  # noqa: F401
import msgpack  # noqa: F401
import numpy  # noqa: F401
import polars  # noqa: F401
import pyarrow.fs
import pyarrow.ipc
import pyarrow.parquet  # noqa: F401
from mpi4py import MPI

MPI.COMM_WORLD.Barrier()
