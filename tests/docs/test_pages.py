"""What the documentation says can be done: links lead somewhere, the programs of the quickstart and the README run or at least name what exists."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path

import polars as pl
import pytest

import hpcflow as hf

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "design").glob("*.md"), ROOT / "README.md"])
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_graph_on_the_graph_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = _PYTHON.findall((ROOT / "docs" / "graph.md").read_text())
    exec(compile(block, "graph.md", "exec"), {})
    told = capsys.readouterr().out
    assert "numbers --keyed_reduce" in told and "shape: (7, 2)" in told


def test_the_program_on_the_page_of_collectives_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = _PYTHON.findall((ROOT / "docs" / "collectives.md").read_text())
    exec(compile(block, "collectives.md", "exec"), {"__name__": "collectives"})
    assert capsys.readouterr().out == "([6.0, 6.0, 6.0], 3)\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    targets = [target for target in _LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_page_is_reached_from_the_index() -> None:
    seen, waiting = set(), [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            waiting += [page.parent / target for target in _LINK.findall(page.read_text()) if "://" not in target]
    assert {page.relative_to(ROOT).as_posix() for page in PAGES} - {page.relative_to(ROOT).as_posix() for page in seen} == {"README.md"}


@pytest.mark.thorough
def test_every_name_users_import_is_in_the_reference_with_a_docstring(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None and spec.loader is not None
    builder = importlib.util.module_from_spec(spec)
    sys.modules["docs_build"] = builder  # dataclasses look their module up
    spec.loader.exec_module(builder)
    assert builder.build(tmp_path / "site") == []
    dataset = (tmp_path / "site" / "reference" / "hpcflow.api.dataset.html").read_text()
    assert "with_columns(*exprs: Any, **named_exprs: Any) -&gt; Dataset" in dataset
    assert (tmp_path / "site" / "index.html").exists()


def test_the_program_on_the_programs_page_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCFLOW_WORKERS", "3")
    (block,) = _PYTHON.findall((ROOT / "docs" / "programs.md").read_text())
    exec(compile(block, "programs.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == "499.5\n"


def test_the_quickstart_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = _PYTHON.findall((ROOT / "docs" / "quickstart.md").read_text())
    assert len(blocks) >= 5
    names: dict[str, object] = {}
    try:
        for block in blocks:
            exec(compile(block, "quickstart.md", "exec"), names)
    finally:
        session = names.get("s")
        if isinstance(session, hf.Session):
            session.close()
    assert list(tmp_path.glob("late/*.parquet"))


def test_the_pass_on_the_compiler_page_runs() -> None:
    names: dict[str, object] = {}
    (block,) = _PYTHON.findall((ROOT / "docs" / "compiler.md").read_text())
    exec(compile(block, "compiler.md", "exec"), names)
    with hf.Session(policy=names["policy"]) as s:
        grouped = s.range(100).group_by(pl.col("value") % 3).agg(pl.len())
        assert "zstd" in grouped.explain()
        assert grouped.sort("value").collect()["len"].to_list() == [34, 33, 33]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_on_a_page_parses(page: Path) -> None:
    for block in _PYTHON.findall(page.read_text()):
        ast.parse(block)


def test_methods_that_the_api_page_calls_absent_are_absent() -> None:
    text = (ROOT / "docs" / "api.md").read_text().split("Not there:")[1]
    listed = [name for words in re.findall(r"`([a-z_ ]+)`", text.split("`unpivot` has")[0]) for name in words.split()]
    assert "shift" in listed and "pivot" in listed
    assert [name for name in listed if hasattr(hf.Dataset, name)] == []
