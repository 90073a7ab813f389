"""A Partial or Config as the document that `runner.py` reads in the job: every value says its own type, so the job needs no annotation, no library.

Invariant: the document names functions by import path. A function of the driver script travels as its file and its name; lambdas, local and notebook
functions are refused with the reason, unless the task was added with by_value=True.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpcflow.errors import ConfigError
from hpcflow.launch.config.buildable import Buildable, Config, name_of, parameters_of, state_of, target_of
from hpcflow.launch.config.building import check, parts_of
from hpcflow.launch.config.document import Encoder
from hpcflow.launch.config.secret import Secret
from hpcflow.launch.config.stands import members
from hpcflow.launch.config.target import NamelessError
from hpcflow.launch.extras import require
from hpcflow.launch.packagers.base import place_in


class _Explicit(Encoder):
    """Tags every value that is no plain data, whatever the annotations say."""

    def value(self, value: Any, annotation: Any, path: str) -> Any:
        found = super().value(value, Any, path)
        wanted = isinstance(value, Secret) and Secret in members(annotation)  # the reference itself, which is no text
        return {"_secret_reference_": found["_secret_"]} if wanted else found

    def node(self, config: Any, path: str) -> dict[str, Any]:
        """With what has to be passed by position under "*": parameters without a name in a call, and those before a filled *args."""
        node = super().node(config, path)
        parameters = parameters_of(config)[0].values() if "_target_" in node else ()
        variadic = next((p.name for p in parameters if p.kind is p.kind.VAR_POSITIONAL), "")
        rest = node.pop(variadic, {"_tuple_": []})
        more = rest["_tuple_"] if isinstance(rest, dict) else rest
        positional, left_out = [], ""
        for p in parameters:
            if p.kind is p.kind.POSITIONAL_ONLY or (more and p.kind is p.kind.POSITIONAL_OR_KEYWORD):
                if left_out and p.name in node:
                    raise ConfigError(f"{path or name_of(config)}: the default of {left_out} cannot travel; set it, since {p.name} comes after it")
                left_out = left_out or (p.name if p.name not in node else "")
                positional += [node.pop(p.name)] if p.name in node else []
        return {**node, "*": [*positional, *more]} if positional or more else node


def call_document(task: Any, packed: Path | None = None) -> dict[str, Any]:
    """For `call.json`. packed: the folder whose code goes along. Raises ConfigError for what cannot be named, and for a wrong configuration."""
    check(task)
    try:
        call = _Explicit.of(task).value(task, Any, "")
    except NamelessError as error:
        raise ConfigError(f"{error}, or say by_value=True, which sends it as a pickle in a private file") from None
    document: dict[str, Any] = {"call": _called(task, call), "main": None, "path": own_path(packed)}
    if "__main__:" in str(call):
        main = sys.modules["__main__"]
        path = getattr(main, "__file__", None)
        if path is None or not os.path.isfile(path):
            raise ConfigError(
                "the task's function is defined in a notebook or at a prompt, which a job cannot import; put it into a module, or say by_value=True"
            )
        document["main"] = os.path.abspath(path)
        if packed is not None and (inside := place_in(packed, path)) is not None:
            document["main_in_code"] = inside
    return document


def own_path(packed: Path | None = None) -> list[list[str]]:
    """Where this program imports its own modules from: (folder, the same within the packed folder or "", "first" or "last": before or after
    Python's own modules), without the folders of Python's installation. packed: default the working directory."""
    here, python = (
        os.path.realpath(packed or os.getcwd()),
        tuple({os.path.realpath(prefix) + os.sep for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}),
    )
    found: dict[str, list[str]] = {}
    place = "first"
    for entry in sys.path:
        folder = os.path.abspath(entry)
        if folder == os.path.dirname(os.__file__):
            place = "last"
        if os.path.isdir(folder) and not f"{os.path.realpath(folder)}{os.sep}".startswith(python):
            inside = place_in(Path(here), folder) or ""
            found.setdefault(folder, [folder, inside, place])
    return list(found.values())


def _called(task: Buildable, call: dict[str, Any]) -> dict[str, Any]:
    """A Config is called when the job runs it; a Partial as well, once its arguments are there."""
    return {**call, "_partial_": True} if isinstance(task, Config) else call


def _secrets_in(value: Any, path: str) -> Iterator[tuple[str, Secret]]:
    """Where in a tree of Configs and containers Secrets stand."""
    if isinstance(value, Secret):
        yield path, value
        return
    parts = state_of(value).arguments.items() if isinstance(value, Buildable) else parts_of(value)
    for step, part in parts:
        yield from _secrets_in(part, f"{path}.{step}" if path else str(step))


def variables_in(task: Buildable) -> list[str]:
    """The variables that Secrets among a task's arguments name, sorted."""
    return sorted({secret.source[0] for _, secret in _secrets_in(task, "") if secret.kind == "variable"})


def pickled_document(task: Any, packed: Path | None = None) -> tuple[dict[str, Any], bytes]:
    """The document and the pickle of a task that travels by value."""
    cloudpickle = require("cloudpickle", "by_value=True")
    target = target_of(task) if isinstance(task, Buildable) else task
    if isinstance(task, Buildable):
        import functools

        from hpcflow.launch.config.building import build

        for place, _ in _secrets_in(task, ""):
            raise ConfigError(f"{place} is a Secret, and by_value=True would write its value into a file: give an importable function")
        assert target is not None
        made = build(task)
        function: Any = made if callable(made) else functools.partial(target)
    else:
        function = task
    blob: bytes = cloudpickle.dumps(function, protocol=5)
    pickled = {"file": "function.pkl", "sha256": hashlib.sha256(blob).hexdigest()}
    return {"pickle": pickled, "main": None, "path": own_path(packed)}, blob
