"""`hpcflow launch {submit, list, show, status, logs, cancel, rerun, resume, settings}`: experiments from the command line.

Every command takes an id, any prefix of it that is unique, or a title; `--json` gives data in place of text. List contacts nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from hpcflow.launch.experiment.experiment import Experiment

app = App(name="launch", help="Submit, follow and repeat tracked jobs.", result_action="return_value")
Json = Annotated[bool, Parameter(name="--json")]
DryRun = Annotated[bool, Parameter(name=["--dry-run", "--dryrun"], negative=())]


@app.command(name="settings")
def settings_(*, json: Json = False) -> int:
    """Show every setting and what set it."""
    from hpcflow.launch.settings import SETTINGS, settings

    found = settings()
    if json:
        return _print_json({name: {"value": getattr(found, name), "source": found.where(name)} for name in SETTINGS})
    print(found.show())
    return 0


@app.command
def submit(
    script: str,
    *arguments: str,
    executor: str | None = None,
    set: Annotated[tuple[str, ...], Parameter(name=["--set"], negative=())] = (),
    title: str | None = None,
    name: str | None = None,
    tag: Annotated[tuple[str, ...], Parameter(name=["--tag"], negative=())] = (),
    notes: str = "",
    retries: int = 0,
    detach: bool = False,
    check: bool = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Submit a script as an experiment of one task.

    Parameters
    ----------
    script
        The program: a shell or Python script, or a compiled program.
    arguments
        Its arguments; those that begin with a dash stand after `--`.
    executor
        local, slurm, or one that is installed, with fields or without, e.g. slurm(nodes=2); default: the setting `executor`, else local.
    set
        A field of the executor, e.g. --set nodes=2 --set time=01:00:00 --set setup='["module load gcc"]' --set env='{LANG: C}'.
    title
        Of the experiment; default: the script's name.
    name
        Of its task; default: the script's name.
    tag
        A word to find it by (`list --tag`); several times for several.
    notes
        What `show` says about it.
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
    from hpcflow.launch.cli.start import executor_of, executor_of_settings
    from hpcflow.launch.config.script import Script
    from hpcflow.launch.experiment.experiment import Experiment
    from hpcflow.launch.experiment.views import printable

    if not Path(script).is_file():
        raise ConfigError(f"no such script: {script}")
    where = executor_of(executor, set) if executor else executor_of_settings(set) or executor_of("local", set)
    experiment = Experiment(title or Path(script).stem, executor=where, tags=tag, notes=notes)
    experiment.add(Script(script, args=arguments), name=name, retries=retries)
    if dry_run or check:
        text = experiment.dryrun() if dry_run else _check(experiment)
        if json:
            return _print_json({"dry_run" if dry_run else "check": text})
        print(printable(text))
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
    from hpcflow.launch.experiment import catalog
    from hpcflow.launch.experiment.views import age

    if reindex:
        index = catalog.Index()
        index.rebuild()
        index.close()
    rows = catalog.rows(tag, limit)
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
    from hpcflow.launch.experiment.views import printable

    found = _open(experiment)
    view = found._written().view()
    if json:
        return _print_json({**view.spec.to_json(), "directory": str(found.directory), "status": _status(found)})
    code = view.spec.facts.get("code")
    lines = [f"{view.spec.title}  {view.spec.id}  {view.spec.created}", str(found.directory), view.spec.notes]
    if code is not None:
        lines += [f"code {code['digest']}, {code['files']} files", *(f"  {note}" for note in code["notes"])]
    print(printable("\n".join(line for line in lines if line)))
    _print_status(found)
    return 0


@app.command
def status(experiment: str, *, follow: bool = False, json: Json = False) -> int:
    """How the tasks are; exit status 0 only when every required one has succeeded, 1 when one has not or nobody drives any more, 3 while they run.

    Parameters
    ----------
    experiment
        Id, prefix or title.
    follow
        Wait until all are decided.
    json
        As data.
    """
    from hpcflow.errors import LaunchError

    found = _open(experiment)
    problem: LaunchError | None = None
    try:
        if follow:
            found.wait()
        found.status(refresh=True)
        problem = found.problem()
    except LaunchError as error:
        problem = error
    view = found._written().view()
    if json:
        _print_json(_status(found))
    else:
        _print_status(found)
    if problem is not None:
        raise problem
    return found.exit_status() if all(state.final for state in view.states().values()) else 3


@app.command
def logs(
    experiment: str,
    task: str | None = None,
    *,
    command: str | None = None,
    rank: int | None = None,
    attempt: int | None = None,
    follow: bool = False,
    json: Json = False,
) -> int:
    """The log of a task (default: of the only one), as plain text.

    Parameters
    ----------
    experiment
        Id, prefix or title.
    task
        Its name.
    command
        Only the log of this command of a group (name, or number from 0).
    rank
        Only the log of this MPI rank.
    attempt
        Of this attempt (default: the newest).
    follow
        Go on until the task is decided.
    json
        The log files, and with their texts.
    """
    import sys

    from hpcflow.errors import ConfigError
    from hpcflow.launch.experiment import log_tail
    from hpcflow.launch.experiment.views import printable

    found = _open(experiment)
    names = list(found.status())
    if task is None and len(names) > 1:
        raise ConfigError(f"this experiment has {len(names)} tasks: say which, of {', '.join(names[:8])}")
    name = task or names[0]
    if json:
        files = found.log_files(name, command=command, rank=rank, attempt=attempt)
        return _print_json([{"file": str(path), "text": path.read_text("utf-8", errors="replace")} for path in files])
    lines = log_tail.follow(found, name, command=command, rank=rank, attempt=attempt) if follow else ()
    for line in lines:
        print(printable(line), flush=True)
    if not follow:
        sys.stdout.write(printable(found.logs(name, command=command, rank=rank, attempt=attempt)))
    return 0


@app.command
def cancel(experiment: str, *tasks: str, command: str | None = None, json: Json = False) -> int:
    """Cancel an experiment, or tasks of it and what depends on them, or one command of a task.

    Parameters
    ----------
    experiment
        Id, prefix or title.
    tasks
        Their names; default: all.
    command
        Only this command of the one task that is named (its name, or its number from 0); the others go on.
    json
        Print what the tasks are now.
    """
    from hpcflow.errors import ConfigError

    found = _open(experiment)
    if command is None:
        found.cancel(list(tasks) or None)
    else:
        names = tasks or tuple(found.status())
        if len(names) != 1:
            raise ConfigError(f"--command is one of one task: say which, of {', '.join(list(found.status())[:8])}")
        found.cancel_command(names[0], command)
    return _print_json(_status(found)) if json else 0


@app.command
def rerun(experiment: str, *, failed_only: bool = False, detach: bool = False, json: Json = False) -> int:
    """Submit the same tasks again as a new experiment; with --failed-only those that did not succeed."""
    again = _open(experiment).rerun(failed_only)
    _start(again, detach, json)
    return 0 if detach else again.exit_status()


@app.command
def resume(experiment: str, *, json: Json = False) -> int:
    """Drive an experiment whose driver has ended, to its end."""
    from hpcflow.launch.experiment.views import tell_change

    found = _open(experiment)
    code = found.resume(None if json else tell_change)
    if json:
        _print_json(_status(found))
    return code


# -- parts -------------------------------------------------------------------------------------------------------------------------------------------


def _open(text: str) -> Experiment:
    from hpcflow.launch.experiment.catalog import find
    from hpcflow.launch.experiment.experiment import Experiment

    return Experiment.open(find(text))


def _start(experiment: Experiment, detach: bool, json: bool) -> None:
    from hpcflow.launch.experiment.views import tell_change

    experiment.run(detach=detach, listener=None if json else tell_change, quiet=json)
    if json:
        _print_json({"id": experiment.id, "directory": str(experiment.directory)})


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


def _status(experiment: Experiment) -> list[dict[str, Any]]:
    """A row a task, and in it one for each command of a group."""
    from hpcflow.launch.experiment.commands import rows
    from hpcflow.launch.experiment.question import last_said
    from hpcflow.launch.experiment.views import status_rows

    records = experiment._written()
    view = records.view()
    found = status_rows(view)
    for row in found:
        handle = view.handles.get(row["task"])
        said = last_said(row["executor"], handle) if row["state"] == "pending" and handle is not None else None
        if said is not None and said.state.value == "pending":  # a driver notes states, and not why and how long they last
            row |= {"reason": said.reason, "start_estimate": said.start_estimate}
        if len(view.spec.task(row["task"]).payload["commands"]) > 1:
            row["commands"] = [command.to_json() for command in rows(records.directory, view, row["task"])]
    return found


def _print_status(experiment: Experiment) -> None:
    lines: list[tuple[Any, ...]] = []
    for r in _status(experiment):
        where = f"{r['executor']} {r['id'] or ''}".strip()
        estimate = f"starts about {r['start_estimate']}" if r["start_estimate"] else ""
        lines.append((r["task"], r["state"], r["attempt"], where, _known(r["code"]), "; ".join(filter(None, (r["reason"], estimate)))))
        lines += [(f"  {c['index']} {c['name']}", c["state"], "", "", _known(c["code"]), "") for c in r.get("commands", ())]
    _print_table(("task", "state", "attempt", "where", "code", "reason"), lines)


def _known(code: int | None) -> str:
    return "" if code is None else str(code)


def _print_table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from hpcflow.launch.experiment.views import printable

    table = Table(*(Column(head, overflow="fold") for head in heads), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(printable(str(cell)).replace("\n", " ")) for cell in row))
    Console().print(table)


def _print_json(value: Any) -> int:
    import json

    print(json.dumps(value, indent=1, ensure_ascii=False))
    return 0
