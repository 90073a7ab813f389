"""A dry run contacts nothing and changes nothing: in an empty home no file, no process and no connection comes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.thorough import thorough

PROJECT = Path(__file__).parents[2]
WATCHED = """
import atexit, json, os, runpy, sys
seen = []
def hook(event, args):
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.connect", "os.mkdir", "os.rename", "os.remove",
                 "os.link", "os.symlink", "os.chmod", "os.truncate", "sqlite3.connect"):
        seen.append([event, str(args[1] if event == "subprocess.Popen" else args[0])])
    elif event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        seen.append([event, str(args[0])])
sys.addaudithook(hook)
sys.argv = sys.argv[1:]
try:
    if sys.argv[0] == "hpcflow":
        from hpcflow.cli.app import main
        main(sys.argv[1:])
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as ended:
    print(json.dumps({"status": ended.code, "seen": seen}), file=sys.stderr)
"""
PROGRAM = """
from hpcflow import launch

@launch.cli.entrypoint
def train(lr: float = 0.1, steps: int = 3) -> float:
    open("trained", "w").close()
    return lr

if __name__ == "__main__":
    launch.cli.main()
"""
CODE = """
from hpcflow import launch
exp = launch.Experiment("dry", executor=launch.SlurmExecutor(nodes=2), packager=launch.PatternPackager())
first = exp.add(launch.Script("job.sh"), name="first")
exp.add([launch.Script(inline="true"), launch.Step(launch.Script(inline="true"), cpus_per_task=1)], mode="parallel", dependencies=[first])
print(exp.dryrun())
raise SystemExit(0)
"""


def tree(*folders: Path) -> list[tuple[str, int]]:
    """Every path below, with the time of its last change."""
    return sorted((str(path), path.lstat().st_mtime_ns) for folder in folders for path in [folder, *folder.rglob("*")])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        thorough(("hpcflow", "launch", "submit", "job.sh", "--dryrun"), "job.sh"),
        (("hpcflow", "launch", "submit", "job.sh", "--dry-run", "--executor", "slurm(nodes=2)", "--set", "time=1:00"), "#SBATCH --nodes=2"),
        thorough(("hpcflow", "launch", "submit", "job.sh", "--dry-run", "--json"), '"dry_run"'),
        (("train.py", "lr=0.2,0.3", "--dryrun"), "would run train lr=0.2 in this process"),
        thorough(("train.py", "lr=0.2,0.3", "--dry-run", "--executor", "slurm(nodes=2)"), "#SBATCH --nodes=2"),
        thorough(("train.py", "--dryrun", "--detach"), "# task train on local"),
        (("code.py",), "after first (all_succeeded)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_it_makes_no_file_and_starts_no_process(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    home, place = tmp_path / "home", tmp_path / "place"
    home.mkdir()
    place.mkdir()
    for name, text in (("job.sh", "#!/bin/sh\ntouch ran\n"), ("train.py", PROGRAM), ("code.py", CODE), ("watched.py", WATCHED)):
        (place / name).write_text(text)
    before = tree(home, place)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HPCFLOW_", "XDG_")) and name not in ("SLURM_CONF", "TMPDIR")
    }
    environment |= {"HOME": str(home), "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "watched.py", *words], cwd=place, env=environment, capture_output=True, text=True, timeout=60, check=False)
    told = json.loads(done.stderr.splitlines()[-1])
    assert told["status"] == 0 and says in done.stdout, done
    assert tree(home, place) == before
    # The version of a Slurm client that is installed here is looked up, since it decides which options there are: that asks no controller.
    assert [seen for seen in told["seen"] if seen != ["subprocess.Popen", "['sbatch', '--version']"]] == []
