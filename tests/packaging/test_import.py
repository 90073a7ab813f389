"""`import hpcflow`: light, lazy, and safe beside a foreign distribution of the same import name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hpcflow
from hpcflow import foreign

PACKAGE = Path(hpcflow.__file__).parent


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60, check=False)


def test_importing_hpcflow_imports_nothing_else() -> None:
    answer = run("import sys; before = set(sys.modules); import hpcflow; print(sorted(set(sys.modules) - before - {'__future__'}))")
    assert answer.stdout.strip() == "['hpcflow']", answer.stdout + answer.stderr


def test_the_launchers_import_no_table_library() -> None:
    heavy = "{'polars', 'pyarrow', 'numpy', 'mpi4py', 'pandas'}"
    answer = run(f"import sys, hpcflow.launch.launchers.mpirun, hpcflow.launch.launchers.srun, hpcflow.cli.start; print({heavy} & set(sys.modules))")
    assert answer.stdout.strip() == "set()", answer.stdout + answer.stderr


def test_every_exported_name_is_there() -> None:
    answer = run("import hpcflow; print([n for n in hpcflow.__all__ if getattr(hpcflow, n) is None])")
    assert answer.stdout.strip() == "[]", answer.stderr


def test_type_checkers_see_the_exported_names_where_they_are_looked_up() -> None:
    statements = ast.parse((PACKAGE / "__init__.py").read_text()).body
    block = next(node for node in statements if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {name.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names if name.name == name.asname}
    assert seen == hpcflow._HOME


def test_every_error_of_the_errors_module_is_exported() -> None:
    from hpcflow import errors

    public = {name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == "hpcflow.errors"}
    assert public <= set(hpcflow.__all__)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="it exports Session, Dataset"):
        hpcflow.Sesion  # noqa: B018


def test_a_foreign_distribution_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: {"hpcflow": "0.3.0"}[name])
    with pytest.raises(ImportError) as refusal:
        foreign.refuse_foreign()
    assert "pip uninstall -y hpcflow hpcflow-mpi && pip install hpcflow-mpi" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_asking_for_a_session_beside_a_foreign_distribution_is_refused(tmp_path: Path) -> None:
    information = tmp_path / "hpcflow-0.3.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: hpcflow\nVersion: 0.3.0\n")
    answer = run(f"import sys; sys.path.append({str(tmp_path)!r}); import hpcflow; hpcflow.Session")
    assert answer.returncode != 0
    assert answer.stderr.strip().splitlines()[-1].startswith("ImportError: the distribution hpcflow 0.3.0 is another project")


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_only_the_native_folder_imports_the_extension() -> None:
    users = [str(file) for file in PACKAGE.rglob("*.py") if file.parent != PACKAGE / "native" and _imports(file, "hpcflow.native._kernels")]
    assert users == []


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    optional = [name for extra in ("mpi", "pandas", "numba", "launch") for name in project["optional-dependencies"][extra]]
    declared = {re.split(r"[<>=\[]", name)[0] for name in [*project["dependencies"], *optional]}
    used = {name.split(".")[0] for file in PACKAGE.rglob("*.py") for name in _imported(file)} - sys.stdlib_module_names - {"hpcflow"}
    assert used <= declared


def _imported(file: Path) -> list[str]:
    """Names of the modules that `file` imports, at any depth."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return plain + [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module is not None]


def _imports(file: Path, module: str) -> bool:
    source = file.read_text()
    if module.rpartition(".")[2] not in source:
        return False
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(alias.name.startswith(module) for alias in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and any(f"{node.module}.{alias.name}".startswith(module) for alias in node.names):
            return True
    return False
