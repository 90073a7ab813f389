"""The shell script of a job: claim the attempt, run the commands, write the exit file. Rendered from `templates/job.sh.j2`.

Invariant: every `{{ value }}` of a template is quoted for the shell by the environment's `finalize`; a template has no other way to put a value into
a script. Text that is meant to be script (directives, the user's setup lines) has the type `Verbatim`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hpcflow.errors import ConfigError
from hpcflow.launch.executors.handing_over import variables_of
from hpcflow.launch.extras import require
from hpcflow.launch.launchers.wording import mpirun_flavour
from hpcflow.launch.request import JobRequest

TEMPLATES = Path(__file__).parent.parent / "templates"
OURS = "hpcflow"
"""The folder under which a site's template finds ours of the same name."""


class Verbatim(str):
    """Text that is script already."""

    __slots__ = ()


def render_script(
    request: JobRequest,
    argvs: Mapping[str, tuple[str, ...]],
    template: str = "job.sh.j2",
    directives: tuple[str, ...] = (),
    searchpath: tuple[str, ...] = (),
    slurm: bool = False,
) -> str:
    """The job's script.

    argvs: command name -> the final argument list, launcher included
    searchpath: folders of a site, whose templates come before ours
    slurm: this is a job of Slurm's, and may ask Slurm to run it again
    """
    commands = [
        {
            "name": command.name,
            "index": index,
            "argv": argvs[command.name],
            "environment": dict(command.environment),
            "secrets": list(command.secrets),
        }
        for index, command in enumerate(request.commands)
    ]
    secrets = [{"into": name, "name": name, "source": source, "exported": True} for name, source in request.secrets.items()]
    for index, command in enumerate(request.commands):  # of one command alone: in a variable of the shell until that command begins
        own = command.secrets.items()
        secrets += [{"into": f"hf_secret_{index}_{name}", "name": name, "source": source, "exported": False} for name, source in own]
    return render_template(
        template,
        searchpath,
        request=request,
        task_directory=str(Path(request.directory).parent.parent),
        commands=commands,
        secrets=secrets,
        handed_over=variables_of(request) if slurm else (),
        setup=tuple(Verbatim(line) for line in request.setup),
        directives=directives,
        slurm=slurm,
        hidden=f" {' '.join(_secret_names(request))} ",
        launchers=" ".join(sorted({command.launcher for command in request.commands})),
        mpi=" ".join(sorted({mpirun_flavour(command.argv[0]) or "unknown" for command in request.commands if command.launcher != "none"})),
        pythons=_pythons(request),
    )


def _secret_names(request: JobRequest) -> list[str]:
    """Variables whose values no metadata may show."""
    own = (name for command in request.commands for name in command.secrets)
    return sorted({*request.secrets, *own, *variables_of(request)})


def _pythons(request: JobRequest) -> tuple[str, ...]:
    """The first Python that a command names, whose packages are worth knowing; our runner lists them itself."""
    plain = (c.argv for c in request.commands if not (len(c.argv) > 1 and c.argv[1].endswith("/runner.py")))
    return tuple(argv[0] for argv in plain if re.match(r"python[\d.]*\Z", Path(argv[0]).name))[:1]


def render_template(template: str, searchpath: tuple[str, ...], *, directives: tuple[str, ...] = (), **values: Any) -> str:
    """A template with its values quoted; directives are lines that are script already."""
    jinja2 = require("jinja2", "rendering job scripts")
    try:
        text: str = _environment(searchpath).get_template(template).render(directives=tuple(Verbatim(line) for line in directives), **values)
    except jinja2.TemplateError as error:
        place = f" (line {error.lineno} of {error.filename or error.name})" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        folders = ", ".join(searchpath) or "hpcflow's own"
        raise ConfigError(f"the template {template}, of the folders {folders}, cannot be rendered: {error.message}{place}") from None
    return text


@cache
def _environment(searchpath: tuple[str, ...]) -> Any:
    if missing := [folder for folder in searchpath if not Path(folder).is_dir()]:
        raise ConfigError(f"templates: {missing[0]!r} is no folder here; it is to hold job.sh.j2")
    jinja2 = require("jinja2", "rendering job scripts")
    ours = jinja2.FileSystemLoader(str(TEMPLATES))

    class Environment(jinja2.Environment):  # type: ignore[name-defined,misc]
        def join_path(self, template: str, parent: str) -> str:
            """A site's job.sh.j2 that extends job.sh.j2 means ours."""
            return f"{OURS}/{template}" if template == parent else template

        @staticmethod
        def concat(parts: Iterable[str]) -> str:
            """What a block or macro has put together, its values quoted already: `{{ super() }}` is script."""
            return Verbatim("".join(parts))

    return Environment(
        loader=jinja2.ChoiceLoader([jinja2.FileSystemLoader(list(searchpath)), ours, jinja2.PrefixLoader({OURS: ours})]),
        undefined=jinja2.StrictUndefined,
        finalize=_quoted,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _quoted(value: object) -> str:
    """`value` as one word of shell; a tuple as several words; Verbatim as it is."""
    if isinstance(value, Verbatim):
        return value
    if isinstance(value, tuple | list):
        return " ".join(_quoted(item) for item in value)
    if isinstance(value, bool) or value is None:
        raise ConfigError(f"a template puts {value!r} into a script: say {{% if %}} instead")
    text = str(value)
    if "\0" in text:
        raise ConfigError(f"{text!r} holds a zero byte, which no script can")
    return shlex.quote(text)
