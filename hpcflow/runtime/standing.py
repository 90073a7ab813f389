"""Where a thread of a user's program stands: the call, its line, and whether it is a call of MPI that waits for other ranks.

Invariant: looks at frames and source text only; runs no code of the program, and never raises for a frame it does not understand.

    standing_of(sys._current_frames()[ident])
    # Standing(call="ctx.comm.Barrier()", place="job.py:12 in execute", waits_in_mpi=True)
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import sysconfig
import traceback
from dataclasses import dataclass
from types import FrameType, TracebackType

_WAITING = """
    Barrier Bcast Gather Gatherv Scatter Scatterv Allgather Allgatherv Alltoall Alltoallv Alltoallw Reduce Allreduce Reduce_scatter Scan Exscan
    Reduce_scatter_block Neighbor_allgather Neighbor_allgatherv Neighbor_alltoall Neighbor_alltoallv Neighbor_alltoallw Send Ssend Rsend Bsend Recv
    Sendrecv Sendrecv_replace Probe Mprobe Wait Waitall Waitany Waitsome Fence Flush Lock Lock_all Unlock Unlock_all Complete Start Dup Split Free
    Split_type Create Create_cart Create_group Create_graph Create_dist_graph Create_dist_graph_adjacent Allocate Allocate_shared Disconnect
    barrier bcast gather scatter allgather alltoall reduce allreduce scan exscan neighbor_allgather neighbor_alltoall send ssend bsend recv sendrecv
    probe mprobe wait waitall waitany waitsome
"""
WAITING_CALLS = frozenset(_WAITING.split())
"""Methods of mpi4py's communicators, requests and windows in which a rank may wait for another one."""

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARIES = tuple({os.path.abspath(path) + os.sep for path in (*sysconfig.get_paths().values(), os.path.dirname(os.__file__))} - {os.sep})
_METHOD = re.compile(r"\.(\w+)\s*\(")
_MOST_TEXT = 100


@dataclass(frozen=True)
class Standing:
    """call: source text of the call that the innermost frame of the program is in; place: `file:line in function`."""

    call: str
    place: str
    waits_in_mpi: bool

    def __str__(self) -> str:
        return f"{self.call} at {self.place}" if self.call else self.place


def standing_of(frame: FrameType | None) -> Standing:
    """Of the frames from this one outwards, the innermost one that is the program's."""
    while frame is not None and not is_users(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    if frame is None:
        return Standing("", "(no frame)", False)
    call = _call_text(frame)
    methods = _METHOD.findall(call.partition("(")[0] + "(")
    return Standing(call, place_of(frame, frame.f_lineno), bool(methods) and methods[-1] in WAITING_CALLS)


def call_site(trace: TracebackType | None) -> str:
    """`file:line in function` of the innermost frame of the program in a traceback."""
    frames = list(traceback.walk_tb(trace))
    users = [pair for pair in frames if is_users(pair[0].f_code.co_filename)] or frames
    return place_of(*users[-1]) if users else "(no frame)"


def place_of(frame: FrameType, line: int | None) -> str:
    """`job.py:12 in execute`"""
    return f"{_short(frame.f_code.co_filename)}:{line} in {frame.f_code.co_qualname}"


def users_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the program's first frame on: without what called it."""
    while trace is not None and not is_users(trace.tb_frame.f_code.co_filename) and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def stack_text(frame: FrameType | None) -> str:
    """The stack from the program's first frame inwards, as tracebacks show it."""
    if frame is None:
        return "  (the thread has ended)\n"
    frames = traceback.extract_stack(frame)
    first = next((index for index, one in enumerate(frames) if is_users(one.filename)), 0)
    return "".join(traceback.format_list(frames[first:]))


def is_users(file: str) -> bool:
    """Whether a source file is the program's: not ours, not an installed library's, not Python's own."""
    path = os.path.abspath(file)
    return not file.startswith("<frozen") and not path.startswith(_OURS) and not path.startswith(_LIBRARIES)


def current_frame(thread: int) -> FrameType | None:
    """The innermost Python frame of a thread, None when it has ended."""
    return sys._current_frames().get(thread)


def _call_text(frame: FrameType) -> str:
    """The source of the call that runs now, in one line; empty when there is no source."""
    positions = list(frame.f_code.co_positions())
    index = frame.f_lasti // 2
    line, end_line, start, end = positions[index] if 0 <= index < len(positions) else (None, None, None, None)
    if line is None or end_line is None or start is None or end is None:
        return ""
    lines = [linecache.getline(frame.f_code.co_filename, number) for number in range(line, end_line + 1)]
    if not all(lines):
        return ""
    encoded = [text.encode() for text in lines]  # columns count bytes
    encoded[-1] = encoded[-1][:end]
    encoded[0] = encoded[0][start:]
    text = " ".join(b"".join(encoded).decode(errors="replace").split())
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 3] + "..."


def _short(file: str) -> str:
    """The path as it is shortest to read: below the working directory without that."""
    path = os.path.abspath(file)
    return os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path
