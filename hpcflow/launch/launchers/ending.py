"""How a launch ended: which rank went first and why, read from what mpirun or srun said.

Invariant: pure on the launcher's status and the tail of its output; whatever the text does not tell is None, never guessed.

    >>> read_ending(137, "prterun noticed that process rank 1 with PID 10 on node vm exited on\\nsignal 9 (Killed).")
    Ending(status=137, rank=1, host='vm', signal=9, exit_code=None)
"""

from __future__ import annotations

import re
import signal as signals
from dataclasses import dataclass

_OPENMPI_SIGNAL = re.compile(r"process rank (\d+) with PID \d+ on node (\S+) exited on\s+signal (\d+)")
_OPENMPI_EXIT = re.compile(r"Process name: \[[^\]]*,(\d+)\]\s+Exit code:\s+(\d+)")
_OWN = re.compile(r"^hpcflow: rank (\d+) on (\S+) ended with exit status (\d+) before MPI was up$", re.MULTILINE)
"""What a rank says before it asks MPICH's launcher to end the job (cli/program.py): the launcher names no rank then."""
_MPICH_STRING = re.compile(r"EXIT STRING: .*\(signal (\d+)\)")
_MPICH_STATUSES = re.compile(r"^\[\S+\] Exit codes:((?: \[[^\]]+\] [0-9,]+)+)", re.MULTILINE)
_MPICH_HOST = re.compile(r"\[([^\]]+)\] ([0-9,]+)")
_SRUN_TASK = re.compile(r"srun: error: (\S+): tasks? (\d+)[^:]*: (.*)")
_SRUN_EXIT = re.compile(r"exit code (\d+)")

_WHY = {
    signals.SIGKILL: "often the out-of-memory killer (see `dmesg`, or give less memory_budget)",
    signals.SIGSEGV: "a crash in native code",
    signals.SIGBUS: "a crash in native code, or a full /dev/shm",
    signals.SIGILL: "an instruction that this processor lacks",
    signals.SIGABRT: "native code gave up; its message is above",
}


@dataclass(frozen=True)
class Ending:
    """The first rank that ended badly. status: of mpirun or srun; signal or exit_code: of the rank, the other one None."""

    status: int
    rank: int | None = None
    host: str | None = None
    signal: int | None = None
    exit_code: int | None = None

    @property
    def exit_status(self) -> int:
        """What a shell would report: 128 + signal for a killed rank, its own status for one that left, else the launcher's status."""
        if self.signal is not None:
            return 128 + self.signal
        return self.exit_code or self.status

    def sentence(self) -> str:
        who = "a rank" if self.rank is None else f"rank {self.rank}"
        place = "" if self.host is None else f" on {self.host}"
        if self.signal is not None:
            return f"{who}{place} was ended by signal {self.signal} ({_signal_name(self.signal)}){_why(self.signal)}; the other ranks were ended"
        if self.exit_code is not None:
            return f"{who}{place} ended with exit status {self.exit_code}; what it wrote, if anything, is above; the other ranks were ended"
        return f"the launch ended with exit status {self.status}; what the launcher said is above"


def read_ending(status: int, output: str) -> Ending:
    """What the tail of the launcher's output says about a launch that ended with `status` (not 0; negative: the launcher itself was killed)."""
    if status < 0:
        return Ending(128 - status)
    if match := _OWN.search(output):
        return Ending(status, int(match[1]), match[2], exit_code=int(match[3]))
    return _openmpi(status, output) or _mpich(status, output) or _srun(status, output) or Ending(status)


def _openmpi(status: int, output: str) -> Ending | None:
    if match := _OPENMPI_SIGNAL.search(output):
        return Ending(status, int(match[1]), match[2], signal=int(match[3]))
    if match := _OPENMPI_EXIT.search(output):
        return Ending(status, int(match[1]), exit_code=int(match[2]))
    return None


def _mpich(status: int, output: str) -> Ending | None:
    """Hydra lists wait statuses, ranks in blocks per host: `[mpiexec@a] Exit codes: [a] 0,9 [b] 0` (70 << 8 is exit status 70).

    Its own exit status and banner speak of any rank, also of one that Hydra has ended itself by signal 9 or 15. So the cause is the first rank that
    left by itself with a status, else one ended by another signal, else the only one with a signal at all.
    """
    killed = _MPICH_STRING.search(output)
    line = _MPICH_STATUSES.search(output)
    if line is None:
        return Ending(status, signal=int(killed[1])) if killed else None
    words = [(host, int(word)) for host, words in _MPICH_HOST.findall(line[1]) for word in words.split(",") if word]
    ended = [(rank, host, word) for rank, (host, word) in enumerate(words) if word != 0]
    by_itself = [entry for entry in ended if entry[2] & 0x7F == 0]
    crashed = [entry for entry in ended if entry[2] & 0x7F not in (0, signals.SIGKILL, signals.SIGTERM)]
    cause = next(iter(by_itself or crashed or (ended if len(ended) == 1 else [])), None)
    if cause is None:
        return Ending(status, signal=int(killed[1])) if killed else Ending(status)
    rank, host, word = cause
    return Ending(status, rank, host, exit_code=word >> 8) if by_itself else Ending(status, rank, host, signal=word & 0x7F)


def _srun(status: int, output: str) -> Ending | None:
    """srun names each task; the first line that is no consequence of another (Terminated, Killed by us) is the cause, else the first line."""
    lines = _SRUN_TASK.findall(output)
    if not lines:
        return None
    host, task, what = next((line for line in lines if not line[2].startswith("Terminated")), lines[0])
    if match := _SRUN_EXIT.search(what):
        return Ending(status, int(task), host, exit_code=int(match[1]))
    number = next((int(s) for s in signals.Signals if (signals.strsignal(s) or "?") == what.split(" (")[0].strip()), None)
    return Ending(status, int(task), host, signal=number)


def _why(number: int) -> str:
    why = next((text for known, text in _WHY.items() if known == number), None)
    return "" if why is None else f": {why}"


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return "unknown"
