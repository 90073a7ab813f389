"""The signatures on the page of layer contracts are those of the code."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "design" / "0001-layer-contracts.md"
_FENCED = re.compile(r"^```python\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = _FENCED.findall(PAGE.read_text())
SEAMS = [(module, node) for module, block in BLOCKS for node in ast.parse(block).body]


def parameters_written(node: ast.FunctionDef) -> list[tuple[str, bool, bool]]:
    """(name, by keyword only, has a default) of each parameter on the page, self left out."""
    plain = node.args.args
    first_default = len(plain) - len(node.args.defaults)
    found = [(a.arg, False, i >= first_default) for i, a in enumerate(plain)]
    found += [(a.arg, True, default is not None) for a, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
    return [p for p in found if p[0] != "self"]


def parameters_of(function: Any) -> list[tuple[str, bool, bool]] | None:
    """The same of the code; None for a compiled function without a signature."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return None
    values = [p for p in signature.parameters.values() if p.name != "self"]
    if any(p.kind is p.VAR_POSITIONAL for p in values):  # Cython's `__init__`
        return None
    return [(p.name, p.kind is p.KEYWORD_ONLY, p.default is not p.empty) for p in values]


def has_attribute(kind: type, name: str) -> bool:
    """A property, class attribute, annotation, or what `__init__` sets."""
    if hasattr(kind, name) or any(name in vars(base).get("__annotations__", {}) for base in kind.__mro__):
        return True
    return inspect.isfunction(kind.__init__) and f"self.{name}" in inspect.getsource(kind.__init__)


@pytest.mark.parametrize(("module", "node"), SEAMS, ids=lambda value: getattr(value, "name", value))
def test_a_seam_is_as_the_page_says(module: str, node: ast.stmt) -> None:
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    found = getattr(importlib.import_module(module), node.name)
    if isinstance(node, ast.FunctionDef):
        assert parameters_of(found) in (None, parameters_written(node))
        return
    fields = []
    for item in node.body:
        if isinstance(item, ast.FunctionDef):
            assert parameters_of(getattr(found, item.name)) in (None, parameters_written(item)), f"{node.name}.{item.name}"
        else:
            assert isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
            assert has_attribute(found, item.target.id), f"{node.name}.{item.target.id}"
            fields.append(item.target.id)
    if node.decorator_list:
        assert [field.name for field in dataclasses.fields(found)] == fields
