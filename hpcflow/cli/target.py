"""Programs by name: `job.py:MyJob` and `module:MyJob`, for `hpcflow run --mode distributed`.

Invariant: parsing looks at text only; loading imports the file under its own name (never as `__main__`), so that what it defines can be pickled
between ranks and its `if __name__ == "__main__"` part does not run.

    >>> parse("jobs/job.py:MyJob"), parse("package.module:job")
    (Target(source='jobs/job.py', name='MyJob', is_file=True), Target(source='package.module', name='job', is_file=False))
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hpcflow.errors import LaunchError, near_names

if TYPE_CHECKING:
    from hpcflow.programs import Program


@dataclass(frozen=True)
class Target:
    """source: path of a file, or a module's dotted name; name: of the program in it, None for the script itself."""

    source: str
    name: str | None
    is_file: bool


def parse(text: str) -> Target:
    """`job.py`, `job.py:Name` or `module:Name`. A plain word without a colon is taken for a file."""
    source, colon, name = text.rpartition(":")
    if not colon:
        return Target(text, None, True)
    if not source or not all(part.isidentifier() for part in name.split(".")):
        raise LaunchError(f"{text}: give a program as job.py, job.py:Name or module:Name")
    return Target(source, name, source.endswith(".py") or os.sep in source)


def run_target(text: str, arguments: Sequence[str]) -> None:
    """Run the program on this rank, as `run_program` runs a script."""
    from hpcflow.cli.program import run_guarded
    from hpcflow.launch.launchers.environment import detect
    from hpcflow.runtime.endings import told_by_rank_0

    target = parse(text)
    folder = os.path.dirname(os.path.abspath(target.source)) if target.is_file else os.getcwd()
    sys.argv = [target.source, *arguments]
    sys.path[0] = folder

    def run() -> None:
        with told_by_rank_0(detect(os.environ).rank):
            program = load(target)
        program.run()

    run_guarded(run, target.source)


def load(target: Target) -> Program:
    """The program that the target names: a Program, a subclass of it (made without arguments), or a function of ctx.

    Raises:
        LaunchError: no such file, module or name, or it is no program.
    """
    from hpcflow.programs import Program, program

    found: Any = _module(target)
    for part in (target.name or "").split("."):
        if not hasattr(found, part):
            programs = [name for name, value in vars(found).items() if _is_program(value)]
            there = f"Programs there: {', '.join(programs)}" if programs else "No program is there: define a hf.Program or a @hf.program"
            raise LaunchError(f"{target.source} has no {part!r}{near_names(part, programs) or '.'} {there}")
        found = getattr(found, part)
    if isinstance(found, Program):
        return found
    if isinstance(found, type) and issubclass(found, Program):
        return found()
    if callable(found) and not isinstance(found, type):
        return program(found)
    raise LaunchError(f"{target.source}:{target.name} is a {type(found).__name__}: give a hf.Program, or a function that takes ctx")


def _module(target: Target) -> ModuleType:
    if not target.is_file:
        try:
            return importlib.import_module(target.source)
        except ModuleNotFoundError as error:
            if error.name is None or not target.source.startswith(error.name):
                raise
            raise LaunchError(f"no module {target.source} (from {os.getcwd()}); for a file say {target.source}.py:{target.name}") from None
    name = os.path.splitext(os.path.basename(target.source))[0]
    spec = importlib.util.spec_from_file_location(name, target.source)
    if spec is None or spec.loader is None or not os.path.isfile(target.source):
        raise LaunchError(f"no such program: {target.source} (in {os.getcwd()})")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _is_program(value: Any) -> bool:
    from hpcflow.programs import Program

    return isinstance(value, Program) or (isinstance(value, type) and issubclass(value, Program) and value is not Program)
