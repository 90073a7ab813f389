"""The text of `--help`: every parameter at any depth with its type, default and meaning, every factory, every option.

Invariant: nothing is called for it but the factories of defaults; rich lays it out and is imported here.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpcflow.launch.cli.arguments import OPTIONS
from hpcflow.launch.cli.entrypoints import Entrypoint
from hpcflow.launch.cli.reach import NOTHING, places, value_of
from hpcflow.launch.config import factories
from hpcflow.launch.config.buildable import Buildable, name_of, target_of, unchecked
from hpcflow.launch.config.stands import spelled
from hpcflow.launch.config.target import UNSET, Parameter, signature_of
from hpcflow.launch.extras import require


@dataclasses.dataclass(frozen=True)
class Row:
    """One parameter in the help."""

    path: str
    type: str
    default: str  # "required" where there is none
    help: str


def rows(task: Any) -> list[Row]:
    """The parameters of a task, and of the Configs in it."""
    found: list[Row] = []
    for path, config, parameter in places(task):
        text = parameter.help or parameter_docs(target_of(config)).get(parameter.name, "")
        reason = unchecked(config).get(parameter.name)
        if reason:
            text = f"{text} (its annotation cannot be checked: {reason})".strip()
        found.append(Row(path, spelled(parameter.annotation), _default_text(value_of(config, parameter), parameter), text))
    extra = signature_of(task_target(task)).extra
    return found if extra is UNSET else [*found, Row("NAME", spelled(extra), "", "any other parameter")]


def _default_text(value: Any, parameter: Parameter) -> str:
    if value is NOTHING:
        return "required"
    if isinstance(value, Buildable):
        return name_of(value)
    text = repr(value) if not (isinstance(value, type) or inspect.isroutine(value)) else value.__name__
    return text if len(text) <= 60 else text[:57] + "..."


def parameter_docs(function: Any) -> dict[str, str]:
    """Parameter -> text, out of a doc string with a section `Args:` (or `Parameters:`), lines `name: text` or `name (type): text`."""
    docs: dict[str, str] = {}
    name, indent = "", 0
    inside = False
    for line in (inspect.getdoc(function) or "").splitlines():
        if re.fullmatch(r"(Args|Arguments|Parameters):\s*", line):
            inside = True
            continue
        if inside and line and not line[0].isspace():
            inside = False
        found = re.match(r"(\s+)\*{0,2}(\w+)(?: \([^)]*\))?: (.*)", line) if inside else None
        if found and (not name or len(found[1]) <= indent):
            indent, name = len(found[1]), found[2]
            docs[name] = found[3].strip()
        elif inside and name and line.strip():
            docs[name] += " " + line.strip()
    return docs


def print_help(program: str, one: Entrypoint, task: Any, alone: bool) -> None:
    """Print it for one command to standard output."""
    console = _console()
    console.print(f"Usage: {program}{'' if alone else ' ' + one.name} [OPTIONS] [PARAMETER=VALUE ...]", markup=False, highlight=False, soft_wrap=True)
    summary = one.doc.partition("\nArgs:")[0].strip()
    if summary:
        console.print(f"\n{summary}", markup=False, highlight=False)
    table = [(row.path, row.type, row.default, row.help) for row in rows(task)]
    _section(console, "Parameters", ("name", "type", "default", ""), table)
    _section(console, "Factories", ("name", "makes", "parameters", ""), list(_factory_rows(task)))
    _section(console, "Options", ("", "", "", ""), [(_option_text(option), option.help, "", "") for option in OPTIONS])
    console.print(
        "\nValues: a=1, a.b=x, a[0]=x, a+=x, a-=x, ~a (back to the default), a=@file.yaml:section, a=factory(b=1); a=1,2: a run for each.",
        markup=False,
        highlight=False,
    )


def print_commands(program: str, commands: Mapping[str, Entrypoint]) -> None:
    """Print the commands of a program with several."""
    console = _console()
    console.print(f"Usage: {program} COMMAND [OPTIONS] [PARAMETER=VALUE ...]", markup=False, highlight=False, soft_wrap=True)
    _section(console, "Commands", ("", "", "", ""), [(name, one.doc.partition("\n")[0], "", "") for name, one in sorted(commands.items())])


def _factory_rows(task: Any) -> Iterator[tuple[str, str, str, str]]:
    seen: set[int] = set()
    for _, _, parameter in places(task):
        for name, factory in factories.factories_for(parameter.annotation).items():
            if id(factory) not in seen:
                seen.add(id(factory))
                parameters = ", ".join(_parameter_text(each) for each in factory.signature.parameters.values())
                yield name, spelled(factory.returns), parameters, (inspect.getdoc(factory.function) or "").partition("\n")[0]
    for name in factories.names():
        for factory in factories.named(name):
            if id(factory) not in seen and factory.returns is not None and _makes(factory, task):
                yield f"--factory {name}", name_of(task), ", ".join(map(_parameter_text, factory.signature.parameters.values())), ""


def _makes(factory: factories.Factory, task: Any) -> bool:
    from hpcflow.launch.config.stands import is_callable_type, returned_by, stands_for

    returns = signature_of(task_target(task)).returns
    return is_callable_type(factory.returns) and returned_by(factory.returns) is not Any and stands_for(returned_by(factory.returns), returns)


def task_target(task: Any) -> Any:
    """The function of a task."""
    return target_of(task)


def _parameter_text(parameter: Parameter) -> str:
    default = "" if parameter.required else f" = {_default_text(parameter.make_default(), parameter)}"
    return f"{parameter.name}: {spelled(parameter.annotation)}{default}"


def _option_text(option: Any) -> str:
    short = f"-{option.short}, " if option.short else ""
    return f"{short}--{option.name}{' ' + option.value if option.value else ''}"


def _console() -> Any:
    rich = require("rich.console", "--help")
    width = None if sys.stdout.isatty() else 150
    return rich.Console(width=width, highlight=False, markup=False)


def _section(console: Any, title: str, heads: tuple[str, ...], table: Sequence[tuple[str, ...]]) -> None:
    if not table:
        return
    tables, text = require("rich.table", "--help"), require("rich.text", "--help")
    console.print(f"\n{title}:", markup=False)
    grid = tables.Table(box=None, show_header=any(heads), pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    used = [column for column in range(len(heads)) if heads[column] or any(row[column] for row in table)]
    for column in used:
        grid.add_column(heads[column], overflow="fold", no_wrap=column == 0)
    for row in table:
        grid.add_row(*(text.Text(("  " if column == 0 else "") + row[column]) for column in used))
    console.print(grid)
