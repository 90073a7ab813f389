"""The wording of mpirun: golden argument lists for both MPIs."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from hpcflow.errors import LaunchError
from hpcflow.launch.launchers import mpirun
from hpcflow.launch.launchers.mpirun import Flavour
from hpcflow.launch.launchers.request import LaunchRequest

JOB = ("python", "job.py")

GOLDEN = [
    (
        "three ranks on two cores as root",
        LaunchRequest(JOB, ranks=3, available_cores=2, as_root=True),
        "mpirun --allow-run-as-root --map-by slot:OVERSUBSCRIBE --bind-to none -x POLARS_MAX_THREADS=1 -n 3 python job.py",
        "mpirun -print-all-exitcodes -launcher fork -bind-to none -genv POLARS_MAX_THREADS 1 -n 3 python job.py",
    ),
    (
        "four ranks on eight cores",
        LaunchRequest(JOB, ranks=4, available_cores=8),
        "mpirun --bind-to none -x POLARS_MAX_THREADS=1 -n 4 python job.py",
        "mpirun -print-all-exitcodes -launcher fork -bind-to none -genv POLARS_MAX_THREADS 1 -n 4 python job.py",
    ),
    (
        "two cores a rank, bound",
        LaunchRequest(JOB, ranks=4, cores_per_rank=2, available_cores=8, bind="core"),
        "mpirun --map-by slot:PE=2 --bind-to core -x POLARS_MAX_THREADS=2 -n 4 python job.py",
        "mpirun -print-all-exitcodes -launcher fork -bind-to core:2 -genv POLARS_MAX_THREADS 2 -n 4 python job.py",
    ),
    (
        "two named hosts",
        LaunchRequest(JOB, ranks=6, hosts=(("a", 4), ("b", 2)), available_cores=4),
        "mpirun --host a:4,b:2 --bind-to none -x POLARS_MAX_THREADS=1 -n 6 python job.py",
        "mpirun -print-all-exitcodes -hosts a:4,b:2 -bind-to none -genv POLARS_MAX_THREADS 1 -n 6 python job.py",
    ),
    (
        "inside an allocation",
        LaunchRequest(JOB, ranks=6, in_allocation=True),
        "mpirun --bind-to none -x POLARS_MAX_THREADS=1 -n 6 python job.py",
        "mpirun -print-all-exitcodes -bind-to none -genv POLARS_MAX_THREADS 1 -n 6 python job.py",
    ),
    (
        "variables and arguments with blanks, quotes and commas",
        LaunchRequest(("python", "my job.py", "--x=a 'b'"), ranks=1, env={"B": "x, y=z", "POLARS_MAX_THREADS": "7"}),
        """mpirun --bind-to none -x 'B=x, y=z' -x POLARS_MAX_THREADS=7 -n 1 python 'my job.py' '--x=a '"'"'b'"'"''""",
        """mpirun -print-all-exitcodes -launcher fork -bind-to none -genv B 'x, y=z' -genv POLARS_MAX_THREADS 7 -n 1 """
        """python 'my job.py' '--x=a '"'"'b'"'"''""",
    ),
]


@pytest.mark.parametrize(("request_", "openmpi", "mpich"), [case[1:] for case in GOLDEN], ids=[case[0] for case in GOLDEN])
def test_the_argument_list_is_the_golden_one(request_: LaunchRequest, openmpi: str, mpich: str) -> None:
    assert shlex.join(mpirun.command(request_, "openmpi")) == openmpi
    assert shlex.join(mpirun.command(request_, "mpich")) == mpich


@pytest.mark.parametrize(
    ("text", "flavour"),
    [
        ("mpirun (Open MPI) 5.0.11\n\nReport bugs to https://www.open-mpi.org/community/help/", "openmpi"),
        ("HYDRA build details:\n    Version:                                 5.0.2", "mpich"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.14", "mpich"),
        ("mpirun of something else 1.0", None),
        ("", None),
    ],
)
def test_the_flavour_is_read_from_the_version_text(text: str, flavour: Flavour | None) -> None:
    assert mpirun.flavour_of(text) == flavour


def test_detect_names_a_program_that_is_no_known_mpirun(tmp_path: Path) -> None:
    stranger = tmp_path / "mpirun"
    stranger.write_text("#!/bin/sh\necho other 3.1\n")
    os.chmod(stranger, 0o755)
    with pytest.raises(LaunchError, match=r"neither Open MPI's nor MPICH's \(it says: other 3.1\)"):
        mpirun.detect(str(stranger))
    with pytest.raises(LaunchError, match="did not run"):
        mpirun.detect(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"program": ()}, "the program is empty"),
        ({"ranks": 0}, "at least 1"),
        ({"cores_per_rank": 0}, "at least 1"),
        ({"hosts": (("a", 1),)}, "the hosts hold 1 ranks, but 2 were asked for"),
        ({"bind": "core", "available_cores": 1}, "do not fit 1 cores"),
    ],
)
def test_an_impossible_request_says_what_is_wrong(change: dict[str, object], message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        LaunchRequest(**({"program": JOB, "ranks": 2} | change))  # type: ignore[arg-type]
