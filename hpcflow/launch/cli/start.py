"""Where a configured task goes: into this process, or to an executor. The one place of the command line that starts anything.

Invariant: a plan is made without contacting anybody; the execution side is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hpcflow.errors import ConfigError, LaunchError, near_names
from hpcflow.launch.config import factories
from hpcflow.launch.config.buildable import Buildable, Config, annotation_of, make, set_argument
from hpcflow.launch.config.building import build
from hpcflow.launch.config.convert import is_sequence_type
from hpcflow.launch.config.grammar import Bare, Call, Items, Quoted, Value, parse_value, split
from hpcflow.launch.config.stands import members
from hpcflow.launch.config.target import Signature, signature_of
from hpcflow.launch.config.text import call_factory, from_text
from hpcflow.launch.settings import settings

Labelled = tuple[tuple[str, ...], Any]
"""(the words of a sweep that made it, a Partial)."""


def executor_of(text: str, fields: Sequence[str] = ()) -> Any:
    """The executor that `local`, `slurm(nodes=4)` or a factory's name with arguments says, with further fields given as NAME=VALUE.

    Values are written as in overrides; a list may do without its brackets. Raises ConfigError for any other.
    """
    from hpcflow.launch.executors.base import Executor
    from hpcflow.launch.executors.registry import is_installed, kind_of, kinds

    node = parse_value(text)
    name = node.name if isinstance(node, Call) else node.raw.strip()
    arguments = dict(node.arguments) if isinstance(node, Call) else {}
    found = factories.find(name, Executor)
    if found is None and is_installed(name):
        kind = kind_of(name)
        found = factories.Factory(name, kind, kind, signature_of(kind))
    if found is None:
        known = sorted({*kinds(), *factories.factories_for(Executor)})
        raise ConfigError(f"there is no executor {name!r}{near_names(name, known)}; there are {', '.join(known)}")
    for word in fields:
        field, value = _field(word, found.signature)
        arguments[field] = value
    if isinstance(found.function, type):  # an executor's own class, whose fields may hold what is made of mappings
        draft = make(Config, found.function)
        for field, value in arguments.items():
            set_argument(draft, field, from_text(value, annotation_of(draft, field), f"{name}.{field}"))
        return build(draft)
    made = call_factory(found, tuple(arguments.items()), name)
    return build(made) if isinstance(made, Buildable) else made


def executor_of_settings(fields: Sequence[str] = ()) -> Any:
    """The executor of the setting `executor`, with further fields; None where that is not set. Raises ConfigError that names what set it."""
    found = settings()
    if not found.executor:
        return None
    try:
        made = executor_of(found.executor)
    except ConfigError as error:
        raise ConfigError(f"setting 'executor' ({found.where('executor')}): {error}") from None
    return executor_of(found.executor, fields) if fields else made


def _field(word: str, signature: Signature) -> tuple[str, Value]:
    """The name and the value of `--set NAME=VALUE`."""
    name, equals, text = word.partition("=")
    if not equals or name not in signature.parameters:
        known = list(signature.parameters)
        raise ConfigError(f"--set {word}: give FIELD=VALUE{near_names(name, known) or f'; fields are {chr(44).join(known)}'}")
    try:
        pieces = split(text, ",", word)
        takes_lists = any(is_sequence_type(member) for member in members(signature.parameters[name].annotation))
        if takes_lists and (len(pieces) > 1 or isinstance(parse_value(text), Bare | Quoted)):
            return name, Items(text, tuple(parse_value(piece.strip()) for piece in pieces if piece.strip()))
        return name, parse_value(text) if len(pieces) == 1 else Bare(text)
    except ConfigError as error:
        raise ConfigError(f"--set {word}: {error}") from None


def run_here(task: Any) -> Any:
    """Build the task and call it in this process. A ConfigError out of the run itself becomes a LaunchError: the command line was right."""
    call = build(task)
    try:
        return call()
    except ConfigError as error:
        raise LaunchError(str(error)) from error


def plan(tasks: Sequence[Labelled], executor: Any, title: str) -> str:
    """What would be submitted, as text."""
    return str(_experiment(tasks, executor, title).dryrun())


def submit(tasks: Sequence[Labelled], executor: Any, title: str, detach: bool) -> int:
    """Run or submit the tasks as one experiment. Returns the exit status: 0 only if every task succeeded, or was submitted with `detach`."""
    from hpcflow.launch.experiment.views import tell_change

    experiment = _experiment(tasks, executor, title)
    experiment.run(detach=detach, listener=tell_change)
    return 0 if detach else int(experiment.exit_status())


def _experiment(tasks: Sequence[Labelled], executor: Any, title: str) -> Any:
    from hpcflow.launch.experiment.experiment import Experiment

    experiment = Experiment(title, executor)
    for words, task in tasks:
        experiment.add(task, name=" ".join([title, *words]) if words else title)
    return experiment
