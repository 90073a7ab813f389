"""Where experiments are kept: the setting `home` (`$HPCFLOW_LAUNCH_HOME`), else `$XDG_DATA_HOME/hpcflow`, else `~/.local/share/hpcflow`.

Invariant: whoever only looks, or shows what would be done, asks for `home_path()`, which makes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from hpcflow.launch.files import make_directory
from hpcflow.launch.settings import settings


def home_path() -> Path:
    """The directory, absolute, there or not."""
    return Path(settings().home).absolute()


def home() -> Path:
    """The directory, absolute; made private when it is missing."""
    return make_directory(home_path())


def slug(text: str) -> str:
    """A title or task name as a short file name: letters, digits and dashes.

    >>> slug("Größe: 1/2")
    'grosse-1-2'
    """
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40] or "x"
