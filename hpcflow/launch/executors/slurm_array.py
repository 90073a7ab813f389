"""A fan-out as one Slurm array: the batch's directory, its script, and the short forms of element ids.

Invariant: which attempt an index runs is a link in the file system, `elements/<index>` -> the attempt's directory, with the attempt's own script and
log; no text is evaluated to find it. A link that is there is never changed.

    arrays/<key>/script.sh          #SBATCH --array=0-2%2   --output=.../elements/%a/logs/log.txt
    arrays/<key>/elements/0 -> tasks/0003-train/attempts/1
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hpcflow.launch.executors.base import Batch
from hpcflow.launch.executors.shell import render_template
from hpcflow.launch.files import make_directory, write_text

USUAL_SIZE = 1000
"""Elements of an array where Slurm does not say: its MaxArraySize is 1001 unless a site sets it."""
_WORDS = 500
"""Ids in one call of scancel."""


def render(batch: Batch, directives: tuple[str, ...], searchpath: tuple[str, ...]) -> str:
    """The script that sbatch reads."""
    return render_template("array.sh.j2", searchpath, directives=directives, batch_directory=batch.directory)


def write(batch: Batch, script: str) -> Path:
    """Make the batch's directory; returns the script's path."""
    directory = Path(batch.directory)
    elements = make_directory(directory / "elements")
    for index, rendered in batch.elements.items():
        with contextlib.suppress(FileExistsError):
            os.symlink(rendered.request.directory, elements / str(index))
    write_text(directory / "script.sh", script)
    return directory / "script.sh"


def indices_text(indices: Iterable[int], limit: int | None = None) -> str:
    """What `--array` takes.

    >>> indices_text([0, 1, 2, 5, 7, 8], 4)
    '0-2,5,7-8%4'
    """
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    text = ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
    return text if limit is None else f"{text}%{limit}"


def short_ids(ids: Sequence[str]) -> Iterator[list[str]]:
    """The ids in lists that fit an argument list, the elements of one array as one word.

    >>> list(short_ids(["12_0", "7", "12_1", "12_4"]))
    [['7', '12_[0-1,4]']]
    """
    alone = [id for id in ids if "_" not in id]
    arrays: dict[str, list[int]] = {}
    for id in ids:
        array, _, index = id.partition("_")
        if index:
            arrays.setdefault(array, []).append(int(index))
    words = alone + [f"{array}_[{indices_text(indices)}]" for array, indices in arrays.items()]
    for first in range(0, len(words), _WORDS):
        yield words[first : first + _WORDS]


def dependency_ids(ids: Sequence[str], sizes: dict[str, int]) -> tuple[str, ...]:
    """Ids for a dependency on all of them: an array of which every element is named, by its own id. sizes: array's id -> how many elements it has.

    >>> dependency_ids(["12_0", "12_1", "13", "14_0"], {"12": 2, "14": 2})
    ('12', '13', '14_0')
    """
    named: dict[str, int] = {}
    for id in ids:
        array, _, index = id.partition("_")
        if index:
            named[array] = named.get(array, 0) + 1
    whole = {array for array, count in named.items() if sizes.get(array) == count}
    return tuple(dict.fromkeys(array if (array := id.partition("_")[0]) in whole else id for id in ids))
