"""The fields that every executor has: what goes into a job's environment and in front of its commands. Checked when an executor is made.

Invariant: a setup line is one line, a variable's name is a name, and nothing here holds a control character: what a site's shell reads is what was
written.
"""

from __future__ import annotations

import os
import re

from hpcflow.errors import ConfigError
from hpcflow.launch.checked import one_line
from hpcflow.launch.request import check_variables

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def check_common(executor: object) -> None:
    """Raises ConfigError for env, exports, setup, python and workdir that no job can have. The types are checked already."""
    kind = type(executor).__name__
    try:
        check_variables(getattr(executor, "env", {}))
    except ConfigError as error:
        raise ConfigError(f"{kind}.env: {error}") from None
    for field in ("exports", "hand_over"):
        for name in getattr(executor, field, ()):
            if not _NAME.match(name):
                raise ConfigError(f"{kind}.{field}: {name!r} is no name of a variable: it names those whose values travel; values are given in env")
    for line in getattr(executor, "setup", ()):
        one_line(executor, "setup", line)
    for field in ("python", "workdir"):
        if (text := getattr(executor, field, None)) is not None:
            one_line(executor, field, text)
    folders = getattr(executor, "templates", ())
    for folder in folders:
        one_line(executor, "templates", folder)
    if folders:  # whoever renders may be in another directory
        object.__setattr__(executor, "templates", tuple(os.path.abspath(os.path.expanduser(folder)) for folder in folders))
