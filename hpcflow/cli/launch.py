"""`hpcflow launch {submit, list, show, status, logs, cancel, rerun, resume, settings}`: experiments from the command line.

Every command takes an id, any prefix of it that is unique, or a title; `--json` gives data in place of text. List contacts nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from hpcflow.launch.experiment.decide import TaskState
    from hpcflow.launch.experiment.experiment import Experiment

app = App(name="launch", help="Submit, follow and repeat tracked jobs.", result_action="return_value")
Json = Annotated[bool, Parameter(name="--json")]


@app.command
def settings(*, json: Json = False) -> int:
    """Show every setting and what set it."""
    from hpcflow.launch.settings import SETTINGS
    from hpcflow.launch.settings import settings as read_settings

    found = read_settings()
    if json:
        return _print_json({name: {"value": getattr(found, name), "source": found.where(name)} for name in SETTINGS})
    print(found.show())
    return 0


@app.command
def submit(
    script: str,
    *arguments: str,
    executor: str = "local",
    set: Annotated[tuple[str, ...], Parameter(name=["--set"], negative=())] = (),
    title: str | None = None,
    name: str | None = None,
    retries: int = 0,
    detach: bool = False,
    check: bool = False,
    dry_run: bool = False,
    json: Json = False,
) -> int:
    """Submit a script as an experiment of one task.

    Parameters
    ----------
    script
        The program: a shell or Python script.
    arguments
        Its arguments; those that begin with a dash stand after `--`.
    executor
        local, slurm, or one that is installed.
    set
        A field of the executor, e.g. --set nodes=2 --set time=01:00:00.
    title, name
        Of the experiment and of its task; default: the script's name.
    retries
        Further attempts after a failure.
    detach
        Return at once.
    check
        Ask Slurm whether it would take the job (sbatch --test-only), and submit nothing.
    dry_run
        Print what would be submitted, and contact nobody.
    json
        Print the ids as JSON.
    """
    from pathlib import Path

    from hpcflow.errors import ConfigError
    from hpcflow.launch.config.script import Script
    from hpcflow.launch.experiment.experiment import Experiment

    if not Path(script).is_file():
        raise ConfigError(f"no such script: {script}")
    where = _executor(executor, set)
    experiment = Experiment(title or Path(script).stem, executor=where)
    experiment.add(Script(script, args=arguments), name=name, retries=retries)
    if dry_run:
        print(experiment.dryrun())
        return 0
    if check:
        print(_check(experiment))
        return 0
    _start(experiment, detach, json)
    return 0 if detach else experiment.exit_status()


@app.command(name="list")
def list_(*, reindex: bool = False, tag: str | None = None, limit: int = 50, json: Json = False) -> int:
    """All experiments, newest first.

    Parameters
    ----------
    reindex
        Build the index anew from the files.
    tag
        Those with this tag only.
    limit
        At most so many.
    json
        As data.
    """
    from itertools import islice

    from hpcflow.launch.experiment.catalog import Index
    from hpcflow.launch.experiment.views import age

    index = Index()
    if reindex:
        index.rebuild()
    rows = list(islice((row for row in index.rows() if tag is None or tag in row.get("tags", ())), limit))
    index.close()
    if json:
        return _print_json(rows)
    _print_table(
        ("id", "title", "state", "tasks", "ok", "age"),
        [(r["id"], r["title"], r["state"], r.get("tasks", ""), r.get("succeeded", ""), age(r["created"]) if "created" in r else "") for r in rows],
    )
    return 0


@app.command
def show(experiment: str, *, json: Json = False) -> int:
    """What was asked for and what became of it: tasks, attempts, files."""
    from hpcflow.launch.experiment.views import printable, status_rows

    found = _open(experiment)
    view = found._written().view()
    if json:
        return _print_json({**view.spec.to_json(), "directory": str(found.directory), "status": status_rows(view)})
    print(printable(f"{view.spec.title}  {view.spec.id}  {view.spec.created}\n{found.directory}\n{view.spec.notes}".rstrip()))
    _print_status(found)
    return 0


@app.command
def status(experiment: str, *, follow: bool = False, json: Json = False) -> int:
    """How the tasks are; exit status 0 only when every required one has succeeded, 1 when one has not, 3 while they run.

    Parameters
    ----------
    experiment
        Id, prefix or title.
    follow
        Wait until all are decided.
    json
        As data.
    """
    from hpcflow.launch.experiment.views import status_rows

    found = _open(experiment)
    if follow:
        found.wait()
    found.status(refresh=True)
    view = found._written().view()
    if json:
        _print_json(status_rows(view))
    else:
        _print_status(found)
    return found.exit_status() if all(state.final for state in view.states().values()) else 3


@app.command
def logs(experiment: str, task: str | None = None, *, follow: bool = False) -> int:
    """The log of a task (default: of the only one), as plain text."""
    import sys
    import time

    from hpcflow.errors import ConfigError
    from hpcflow.launch.experiment.views import printable

    found = _open(experiment)
    names = list(found.status())
    if task is None and len(names) > 1:
        raise ConfigError(f"this experiment has {len(names)} tasks: say which, of {', '.join(names[:8])}")
    name = task or names[0]
    if name not in names:
        from hpcflow.errors import near_names

        raise ConfigError(f"no task {name!r}{near_names(name, names)}")
    shown = 0
    while True:
        over = found.status()[name].final
        text = found.logs(name)
        sys.stdout.write(printable(text[shown:]))
        sys.stdout.flush()
        shown = len(text)
        if over or not follow:
            return 0
        time.sleep(0.5)


@app.command
def cancel(experiment: str, *tasks: str) -> int:
    """Cancel an experiment, or tasks of it and what depends on them."""
    _open(experiment).cancel(list(tasks) or None)
    return 0


@app.command
def rerun(experiment: str, *, failed_only: bool = False, detach: bool = False, json: Json = False) -> int:
    """Submit the same tasks again as a new experiment; with --failed-only those that did not succeed."""
    again = _open(experiment).rerun(failed_only)
    _start(again, detach, json)
    return 0 if detach else again.exit_status()


@app.command
def resume(experiment: str) -> int:
    """Drive an experiment whose driver has ended, to its end."""
    return _open(experiment).resume(_tell)


# -- parts -------------------------------------------------------------------------------------------------------------------------------------------


def _open(text: str) -> Experiment:
    from hpcflow.launch.experiment.catalog import find
    from hpcflow.launch.experiment.experiment import Experiment

    return Experiment.open(find(text))


def _start(experiment: Experiment, detach: bool, json: bool) -> None:
    import sys

    experiment.run(detach=detach, listener=None if json else _tell)
    if json:
        _print_json({"id": experiment.id, "directory": str(experiment.directory)})
        return
    words = ("status", "logs", "cancel") if detach else ("show", "logs", "rerun")
    for word in words:
        print(f"hpcflow launch {word} {experiment.id}", file=sys.stderr)


def _tell(task: str, state: TaskState, detail: str) -> None:
    import sys

    from hpcflow.launch.experiment.views import printable

    print(printable(f"hpcflow: {task}: {state.value}{f' ({detail})' if detail else ''}"), file=sys.stderr, flush=True)


def _executor(kind: str, settings: tuple[str, ...]) -> Any:
    """An executor from `name=value` texts, each read by the type of its field."""
    import dataclasses

    from hpcflow.errors import ConfigError, near_names
    from hpcflow.launch.executors.registry import kinds
    from hpcflow.launch.extras import require

    known = kinds()
    if kind not in known:
        raise ConfigError(f"no executor {kind!r}{near_names(kind, known)}; there are {', '.join(known)}")
    import typing

    hints = typing.get_type_hints(known[kind])
    names = [field.name for field in dataclasses.fields(known[kind])]  # type: ignore[arg-type]  # every executor is a dataclass
    values: dict[str, Any] = {}
    pydantic = require("pydantic", "--set")
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or name not in names:
            raise ConfigError(f"--set {text}: give FIELD=VALUE{near_names(name, names) or f'; fields are {chr(44).join(names)}'}")
        adapter = pydantic.TypeAdapter(hints[name])
        try:
            values[name] = adapter.validate_strings(value.split(",") if typing.get_origin(hints[name]) is tuple else value)
        except pydantic.ValidationError as error:
            raise ConfigError(f"--set {text}: {error.errors()[0]['msg']}") from error
    return known[kind](**values)


def _check(experiment: Experiment) -> str:
    import tempfile
    from pathlib import Path

    from hpcflow.errors import ConfigError
    from hpcflow.launch.executors.slurm import SlurmExecutor
    from hpcflow.launch.payloads import job_request

    spec = experiment.spec()
    (task,) = spec.tasks
    from hpcflow.launch.executors.registry import from_json

    executor = from_json(task.executor)
    if not isinstance(executor, SlurmExecutor):
        raise ConfigError("--check asks Slurm: say --executor slurm")
    with tempfile.TemporaryDirectory() as folder:
        attempt = Path(folder) / "tasks" / "t" / "attempts" / "1"
        attempt.mkdir(parents=True)
        return executor.check(executor.render(job_request(task, executor, 1, f"{spec.id}-check-1", attempt, None)))


def _print_status(experiment: Experiment) -> None:
    from hpcflow.launch.experiment.views import status_rows

    rows = status_rows(experiment._written().view())
    _print_table(
        ("task", "state", "attempt", "where", "code", "reason"),
        [
            (r["task"], r["state"], r["attempt"], f"{r['executor']} {r['id'] or ''}".strip(), "" if r["code"] is None else r["code"], r["reason"])
            for r in rows
        ],
    )


def _print_table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hpcflow.launch.experiment.views import printable

    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(printable(str(cell)).replace("\n", " ")) for cell in row))
    Console().print(table)


def _print_json(value: Any) -> int:
    import json

    print(json.dumps(value, indent=1, ensure_ascii=False))
    return 0
