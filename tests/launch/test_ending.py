"""Who ended first, read from what real launchers have printed."""

from __future__ import annotations

import pytest

from hpcflow.launch.launchers.ending import Ending, read_ending

BANNER = "=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n=   PID 10312 RUNNING AT vm\n=   EXIT CODE: 9\n"
KILLED = "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)\n"
CASES = {
    "mpich: killed": (9, f"{BANNER}[mpiexec@vm] Exit codes: [vm] 0,9,0\n{KILLED}", Ending(9, 1, "vm", signal=9)),
    "mpich: one of several killed": (9, f"{BANNER}[mpiexec@vm] Exit codes: [vm] 9,9,0\n{KILLED}", Ending(9, None, None, signal=9)),
    "mpich: left with 7, others killed": (9, f"{BANNER}[mpiexec@vm] Exit codes: [vm] 9,1792,9\n{KILLED}", Ending(9, 1, "vm", exit_code=7)),
    "mpich: left with 1": (1, "[mpiexec@vm] Exit codes: [vm] 0,256,0\n", Ending(1, 1, "vm", exit_code=1)),
    "mpich: crashed on the second host": (
        11,
        "[mpiexec@a] Exit codes: [a] 9,9 [b] 9,11\nYOUR APPLICATION TERMINATED WITH THE EXIT STRING: Segmentation fault (signal 11)\n",
        Ending(11, 3, "b", signal=11),
    ),
    "mpich: ended before MPI was up": (7, "hpcflow: rank 1 on vm ended with exit status 7 before MPI was up\n", Ending(7, 1, "vm", exit_code=7)),
    "mpich: no list of exit codes": (9, KILLED, Ending(9, signal=9)),
    "open mpi: killed": (
        137,
        "prterun noticed that process rank 1 with PID 10324 on node vm exited on\nsignal 9 (Killed).\n",
        Ending(137, 1, "vm", signal=9),
    ),
    "open mpi: left with 70": (
        70,
        "thus causing the job to be terminated. The first process to do so was:\n\n   Process name: [prterun-vm-1@1,2]\n   Exit code:    70\n",
        Ending(70, 2, exit_code=70),
    ),
    "srun: killed": (137, "srun: error: n1: task 1: Killed\nsrun: error: n1: task 0: Terminated\n", Ending(137, 1, "n1", signal=9)),
    "srun: left with 70": (70, "srun: error: n2: task 3: Exited with exit code 70\n", Ending(70, 3, "n2", exit_code=70)),
    "nothing known": (3, "some text\n", Ending(3)),
    "the launcher itself was killed": (-9, "", Ending(137)),
}


@pytest.mark.parametrize(("status", "output", "ending"), CASES.values(), ids=CASES.keys())
def test_the_first_rank_that_ended_badly_is_found(status: int, output: str, ending: Ending) -> None:
    assert read_ending(status, output) == ending


@pytest.mark.parametrize(
    ("ending", "status", "words"),
    [
        (Ending(9, 1, "vm", signal=9), 137, "rank 1 on vm was ended by signal 9 (SIGKILL): often the out-of-memory killer"),
        (Ending(9, 1, "vm", exit_code=7), 7, "rank 1 on vm ended with exit status 7; what it wrote, if anything, is above"),
        (Ending(9, signal=11), 139, "a rank was ended by signal 11 (SIGSEGV): a crash in native code"),
        (Ending(3), 3, "the launch ended with exit status 3"),
    ],
)
def test_the_sentence_and_the_exit_status_follow(ending: Ending, status: int, words: str) -> None:
    assert ending.exit_status == status
    assert ending.sentence().startswith(words)
    assert "\n" not in ending.sentence()
