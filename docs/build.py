"""`make docs`: the pages of docs/ and an API reference made from docstrings, as plain HTML in docs/_build.

Invariant: every public class and function of a public module stands in the reference with its signature; one without a docstring in a package that
users import from fails the build. Links between pages keep working (page.md becomes page.html).

    python docs/build.py            # docs/_build/index.html, docs/_build/reference/*.html
"""

from __future__ import annotations

import html
import importlib
import inspect
import pkgutil
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from markdown_it import MarkdownIt

DOCS = Path(__file__).resolve().parent
TARGET = DOCS / "_build"
USER_FACING = ("api", "session", "errors", "config", "compiler", "plan", "ir", "events", "expressions")
"""Packages in which every public name has to have a docstring."""
_STYLE = """body{max-width:62rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif;color:#222}
pre{background:#f5f5f5;padding:.7rem;overflow-x:auto}code{background:#f5f5f5;font-size:90%}table{border-collapse:collapse;margin:1rem 0}
td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:left;vertical-align:top}h3 code{background:none}.in{margin-left:1.5rem}"""


@dataclass(frozen=True)
class Chapter:
    """One page of the reference: a module and its public names."""

    module: str
    markdown: str
    undocumented: tuple[str, ...]


def build(target: Path) -> list[str]:
    """Write everything below `target`; returns the full names in user-facing packages that have no docstring."""
    shutil.rmtree(target, ignore_errors=True)
    for page in sorted(DOCS.rglob("*.md")):
        if target not in page.parents:
            more = "\n\n[API reference](reference/index.html)\n" if page.name == "index.md" and page.parent == DOCS else ""
            _write(target / page.relative_to(DOCS).with_suffix(".html"), page.read_text() + more)
    chapters = [chapter(importlib.import_module(name)) for name in public_modules()]
    for one in chapters:
        _write(target / "reference" / f"{one.module}.html", one.markdown)
    lines = ["# API reference", "", "| module | |", "|---|---|"]
    lines += [f"| [{one.module}]({one.module}.md) | {_summary(importlib.import_module(one.module))} |" for one in chapters]
    _write(target / "reference" / "index.html", "\n".join([*lines, "", "Back to [the pages](../index.md)."]))
    return [name for one in chapters for name in one.undocumented if name.split(".")[1] in USER_FACING]


def public_modules() -> Iterator[str]:
    """Every module of hpcflow whose name has no underscore and that imports without MPI and Numba; the package itself first."""
    import hpcflow

    yield "hpcflow"
    for found in pkgutil.walk_packages(hpcflow.__path__, "hpcflow."):
        if not any(part.startswith("_") for part in found.name.split(".")) and found.name != "hpcflow.comm.mpi":
            yield found.name


def chapter(module: ModuleType) -> Chapter:
    """The reference page of one module. Its public names are those defined in it, and for a package those it exports."""
    missing: list[str] = []
    parts = [f"# {module.__name__}", _prose(module.__doc__, module.__name__, missing)]
    for name, value in _public(module):
        full = f"{module.__name__}.{name}"
        if value.__module__ != module.__name__ and f"{value.__module__}.{name}" != full:
            parts.append(f"- `{name}`: see [{value.__module__}]({value.__module__}.md)")
        elif inspect.isclass(value):
            parts += _class(value, full, missing)
        else:
            parts += [f"## `{name}{_signature(value)}`", _prose(value.__doc__, full, missing)]
    return Chapter(module.__name__, "\n\n".join(part for part in parts if part), tuple(missing))


def _public(module: ModuleType) -> list[tuple[str, Any]]:
    names = getattr(module, "__all__", None) or [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
    values = [(n, getattr(module, n)) for n in names if not n.startswith("_")]
    return [(n, v) for n, v in values if (inspect.isclass(v) or inspect.isroutine(v)) and str(v.__module__).startswith("hpcflow")]


def _class(kind: type, full: str, missing: list[str]) -> list[str]:
    parts = [f"## class `{kind.__name__}{_signature(kind)}`", _prose(vars(kind).get("__doc__"), full, missing), _fields(kind)]
    for name, member in vars(kind).items():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if name.startswith("_") or not inspect.isroutine(function) or name in getattr(kind, "__dataclass_fields__", ()):
            continue
        text = _prose(function.__doc__ or inspect.getdoc(getattr(kind, name)), f"{full}.{name}", missing)
        parts += [f"### `{name}{'' if isinstance(member, property) else _signature(function)}`", text]
    return parts


def _fields(kind: type) -> str:
    """Fields of a dataclass with the string below each: their documentation in this project."""
    if not hasattr(kind, "__dataclass_fields__"):
        return ""
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        return ""
    found = re.findall(r'^    (\w+): [^\n]+\n(?:    """((?:[^"]|"(?!""))*)""")?', source, re.MULTILINE)
    rows = [f"| `{name}` | {' '.join(text.split()).replace('|', chr(92) + '|')} |" for name, text in found if text]
    return "\n".join(["| field | |", "|---|---|", *rows]) if rows else ""


def _signature(value: object) -> str:
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return "(...)"
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    return str(signature.replace(parameters=parameters)).replace("'", "").replace("hpcflow.", "")


def _prose(docstring: str | None, name: str, missing: list[str]) -> str:
    """A docstring as Markdown: indented examples stay code, an `Args:` section becomes a list."""
    if not docstring:
        missing.append(name)
        return ""
    text = inspect.cleandoc(docstring)
    before, found, after = text.partition("Args:\n")
    if not found:
        return text
    section, rest = (*re.split(r"\n\n(?=\S)", after, maxsplit=1), "")[:2]
    items = re.sub(r"^    (\w+): ", r"- `\1`: ", section, flags=re.MULTILINE)
    return f"{before}\n{items}\n\n{rest}"


def _summary(module: ModuleType) -> str:
    return (inspect.getdoc(module) or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _write(path: Path, markdown: str) -> None:
    linked = re.sub(r"\]\(([^):\s]+)\.md(#[^)]*)?\)", r"](\1.html\2)", markdown)
    title = html.escape(markdown.split("\n", 1)[0].strip("# "))
    body = MarkdownIt("commonmark").enable("table").render(linked)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<!doctype html>\n<meta charset=utf-8>\n<title>{title}</title>\n<style>{_STYLE}</style>\n{body}")


if __name__ == "__main__":
    undocumented = build(TARGET)
    print(f"{TARGET / 'index.html'}: {len(list(TARGET.rglob('*.html')))} pages")
    if undocumented:
        sys.exit("without a docstring: " + ", ".join(undocumented))
