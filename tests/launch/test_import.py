"""What `import hpcflow.launch` loads: nothing of others."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hpcflow import launch

PROGRAM = "import sys; before = set(sys.modules); {}; print(*sorted(set(sys.modules) - before))"
HEAVY = {"pydantic", "cyclopts", "jinja2", "rich", "yaml", "tomli_w", "polars", "numpy", "pyarrow", "mpi4py"}


def loaded(statement: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(statement)], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_import_loads_two_modules() -> None:
    assert loaded("import hpcflow.launch") - {"hpcflow", "hpcflow.launch", "__future__"} == set()


def test_a_config_is_named_without_any_library() -> None:
    assert not {name.partition(".")[0] for name in loaded("from hpcflow.launch import Config, Partial, Script, Secret, load, allow")} & HEAVY


@pytest.mark.parametrize("name", launch.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(launch, name) is not None and name in dir(launch)


@pytest.mark.parametrize("statement", ["from hpcflow.launch import Experiment", "from hpcflow.cli import main; main()"])
def test_windows_is_pointed_to_wsl_in_one_line(statement: str) -> None:
    program = f"import sys; sys.platform = 'win32'; {statement}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == "" and "`wsl --install`" in done.stderr.splitlines()[-1]
    assert len(done.stderr.splitlines()) == 1 or "ImportError" in done.stderr.splitlines()[-1]
