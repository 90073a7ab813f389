"""`main`: from the words of a command line to a run, an export or a help text.

Invariant: exit status 0 when everything succeeded, 1 when a task failed, 2 when the command line or a configuration is wrong (one line on standard
error), 130 after Ctrl-C. With --dryrun, --show, --help and the exports nothing is started and nobody contacted, and only the named file is written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hpcflow.errors import ConfigError, HpcflowError
from hpcflow.launch import settings as launch_settings
from hpcflow.launch.cli import entrypoints, start
from hpcflow.launch.cli.arguments import Request, parse_words
from hpcflow.launch.cli.entrypoints import Entrypoint
from hpcflow.launch.cli.reach import known_targets
from hpcflow.launch.config.allow import allow
from hpcflow.launch.config.buildable import missing_arguments, name_of
from hpcflow.launch.config.building import check
from hpcflow.launch.config.files import Format, dumps, save
from hpcflow.launch.config.origin import Origin, within
from hpcflow.launch.config.overrides import override_from_environment, sweep, update
from hpcflow.launch.config.visualize import visualize
from hpcflow.launch.extras import print_anything

FAILURE, USAGE, INTERRUPTED = 1, 2, 130


def main(function: Callable[..., Any] | None = None, words: Sequence[str] | None = None, *, program: str | None = None) -> NoReturn:
    """Run the command line and end the process with its exit status.

    Args:
        function: the one function to run; default: the entrypoints of the program, of which the first word names one where there are several.
        words: the command line without the program's name; default sys.argv[1:].
        program: what messages call it; default the program's file.
    """
    program = program or os.path.basename(sys.argv[0]) or "program"
    print_anything()
    try:
        status = run_words(function, list(sys.argv[1:] if words is None else words), program)
    except ConfigError as error:
        _end(USAGE, program, str(error))
    except HpcflowError as error:
        _end(FAILURE, program, str(error))
    except KeyboardInterrupt:
        _end(INTERRUPTED, program, "interrupted")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output has gone
        sys.exit(FAILURE)
    sys.exit(status)


def _end(status: int, program: str, message: str) -> NoReturn:
    first, *rest = message.splitlines() or [""]
    print(f"{program}: error: {' '.join([first, *(line.strip() for line in rest)])}", file=sys.stderr)
    sys.exit(status)


def run_words(function: Callable[..., Any] | None, words: list[str], program: str) -> int:
    """`main` without its end: returns the status, raises ConfigError."""
    if function is not None:
        one, alone = entrypoints.entrypoint_of(function), True
    else:
        commands = entrypoints.all_entrypoints()
        if len(commands) > 1 and words[:1] in (["--help"], ["-h"], []):
            from hpcflow.launch.cli.help import print_commands

            print_commands(program, commands)
            return 0 if words else USAGE
        one, words = entrypoints.chosen(words)
        alone = len(commands) == 1
    request = parse_words(words)
    _apply_settings(request)
    with within(Origin("code", "default of the command")):
        task = entrypoints.made_by_factory(one, request.factory) if request.factory else one.task()
    allow(*known_targets(task))
    for file in request.load:
        update(task, file)
    if one.environment:
        override_from_environment(task, one.environment)
    if request.help:
        from hpcflow.launch.cli.help import print_help

        print_help(program, one, task, alone)
        return 0
    tasks = list(sweep(task, request.overrides))
    for _, each in tasks:
        _require_complete(each)
    return _do(one, request, tasks)


def _require_complete(task: Any) -> None:
    """Raise ConfigError for parameters that have no value, and whatever else does not fit."""
    if missing := missing_arguments(task):
        raise ConfigError(f"{name_of(task)} needs {missing}; see --help")
    check(task)


def _apply_settings(request: Request) -> None:
    values: dict[str, str] = {}
    for text in request.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set takes SETTING=VALUE, and {text!r} has no =")
        values[name] = value
    launch_settings.set_flags(values)


def _do(one: Entrypoint, request: Request, tasks: list[start.Labelled]) -> int:
    title = request.name or one.name
    format, file = request.export
    if format:
        return _export(tasks, format, file)
    if request.show:
        print("\n\n".join("\n".join([*words, visualize(task, origins=True)]) for words, task in tasks))
        return 0
    executor = _executor(one, request)
    if request.dryrun:
        place = "in this process" if executor is None else f"by {executor!r}"
        for words, task in tasks:
            print(f"would run {' '.join([title, *words])} {place}:\n{visualize(task)}\n")
        if executor is not None:
            print(start.plan(tasks, executor, title))
        return 0
    if executor is None:
        for _, task in tasks:
            start.run_here(task)
        return 0
    if not request.yes and not _confirmed(title, len(tasks), executor):
        print("nothing was submitted", file=sys.stderr)
        return FAILURE
    return start.submit(tasks, executor, title, request.detach)


def _executor(one: Entrypoint, request: Request) -> Any:
    if request.executor:
        return start.executor_of(request.executor)
    if one.executor is not None:
        return one.executor
    named = start.executor_of_settings()
    return start.executor_of("local") if named is None and request.detach else named


def _export(tasks: list[start.Labelled], format: str, file: str) -> int:
    if len(tasks) > 1:
        raise ConfigError(f"--to-{format} writes one configuration, and the sweep makes {len(tasks)}; leave the sweep out")
    kind: Format = format  # type: ignore[assignment]
    task = tasks[0][1]
    if file == "-":
        sys.stdout.write(dumps(task, kind))
        return 0
    suffixes = (".yaml", ".yml") if format == "yaml" else (f".{format}",)
    if Path(file).suffix not in suffixes:
        raise ConfigError(f"--to-{format} writes a file that ends in {suffixes[0]}, and not {file!r}")
    try:
        save(task, file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
    return 0


def _confirmed(title: str, count: int, executor: Any) -> bool:
    """Asks on a terminal; elsewhere the command line is taken at its word. Local runs are not asked about."""
    if getattr(executor, "name", "") == "local" or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print(f"submit {title} ({count} task{'s' if count > 1 else ''}) by {executor!r}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
