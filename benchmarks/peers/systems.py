"""The systems that are compared: what to install for each, and how its runner is started.

Every runner does the same workloads on the same files with two cores: two workers or ranks or processes of one thread, or one process of two threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class System:
    """requirement: what pip installs into the system's environment (words), None for what runs in ours; start: words before the runner's path, by
    default the environment's Python; env: variables of its own; folder: of benchmarks/, where its runner is."""

    name: str
    requirement: str | None
    start: tuple[str, ...] = ("{bin}/python",)
    env: dict[str, str] = field(default_factory=dict)
    folder: str = "peers"

    @property
    def environment(self) -> Path:
        """The virtual environment of this system."""
        return ROOT / f".venv-{self.folder}-{self.name}"

    def argv(self, data: Path) -> list[str]:
        """The runner's command line. `{bin}` stands for the environment's folder of programs."""
        words = [word.format(bin=self.environment / "bin") for word in self.start]
        return [*words, str(ROOT / "benchmarks" / self.folder / f"run_{self.name}.py"), str(data)]

    def environ(self) -> dict[str, str]:
        """Variables of the runner's process."""
        return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **self.env}

    def missing(self) -> str | None:
        """Why this system cannot run here, or None; makes its environment when it is not there."""
        if self.requirement is None:
            return None
        done = self.environment / ".stamp"
        if done.exists() and done.read_text() == self.requirement:
            return None
        print(f"installing {self.requirement} into {self.environment.name}/", file=sys.stderr, flush=True)
        for argv in (
            [sys.executable, "-m", "venv", str(self.environment)],
            [str(self.environment / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *self.requirement.split()],
        ):
            made = subprocess.run(argv, capture_output=True, text=True, check=False)
            if made.returncode:
                return f"`pip install '{self.requirement}'` failed: {(made.stderr.strip().splitlines() or ['no message'])[-1]}"
        done.write_text(self.requirement)
        return None


SYSTEMS = (
    System("hpcflow", None, (sys.executable, "-m", "hpcflow", "run", "-n", "3")),
    System("duckdb", "duckdb"),
    System("polars", "polars", env={"POLARS_MAX_THREADS": "2"}),
    # Bodo 2026.10 takes any pandas, but fails to import with 3.1.
    System(
        "bodo",
        "bodo pandas<3.1",
        ("{bin}/mpiexec", "-n", "2", "{bin}/python"),
        {"BODO_SPAWN_MODE": "0", "OMP_NUM_THREADS": "1", "NUMBA_CACHE_DIR": str(ROOT / ".benchmarks" / "numba")},
    ),
    System("dask", "dask[dataframe,distributed]"),
    System("spark", "pyspark", env={"PYSPARK_PYTHON": "python3", "SPARK_LOCAL_IP": "127.0.0.1"}),
)
