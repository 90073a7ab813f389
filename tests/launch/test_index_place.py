"""The index is on a local disk: beside the experiments, or elsewhere when they lie on a network file system."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from hpcflow.launch import Experiment, Script
from hpcflow.launch.experiment import catalog, index_place
from hpcflow.launch.experiment.index_place import NETWORK_TYPES, index_file, on_network, statfs_type

EXT4 = 0xEF53
OWN = f"hpcflow-{os.getuid()}"


@pytest.fixture
def statfs(monkeypatch):
    """`statfs(path, type)`: what lies below that path is on a file system of that type; everything else on ext4."""
    kinds: dict[str, int] = {}
    monkeypatch.setattr(index_place, "statfs_type", lambda path: next((kind for above, kind in kinds.items() if path.is_relative_to(above)), EXT4))
    return lambda path, kind: kinds.__setitem__(str(path), kind)


def of(name: str) -> int:
    return next(kind for kind, each in NETWORK_TYPES.items() if each == name)


@pytest.mark.parametrize("kind", ["nfs", "lustre", "gpfs", "cifs", "beegfs", "9p"])
def test_experiments_on_a_network_have_their_index_on_a_local_disk(tmp_path, statfs, kind):
    home, other, local = (tmp_path / name for name in ("home", "other", "local"))
    for folder in (home, other, local):
        folder.mkdir()
    assert index_file(home, folders=[local]) == home / "index.sqlite"
    statfs(home, of(kind))
    statfs(other, of(kind))
    found = index_file(home, folders=[other, tmp_path / "missing", local])
    assert found is not None and found.parent == local / OWN and stat.S_IMODE(found.parent.stat().st_mode) == 0o700
    again = index_file(other, folders=[local])
    assert again is not None and again != found  # each home has its own
    assert index_file(home, folders=[other]) is None


def test_a_folder_that_somebody_else_has_put_there_is_not_used(tmp_path, statfs):
    home, local = tmp_path / "home", tmp_path / "local"
    for folder in (home, local, tmp_path / "elsewhere"):
        folder.mkdir()
    statfs(home, of("lustre"))
    (local / OWN).symlink_to(tmp_path / "elsewhere")
    assert index_file(home, folders=[local]) is None
    (local / OWN).unlink()
    (local / OWN).mkdir(mode=0o755)
    assert index_file(home, folders=[local]) is None
    (local / OWN).chmod(0o700)
    assert index_file(home, folders=[local]) is not None


def test_listing_uses_the_local_index_and_puts_nothing_on_the_network(tmp_path, statfs, monkeypatch):
    home, local = tmp_path / "home", tmp_path / "local"
    local.mkdir()
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(local))
    monkeypatch.chdir(tmp_path)
    statfs(home, of("nfs"))
    exp = Experiment("t")
    exp.add(Script(inline="true"))
    exp.run()
    assert [row["title"] for row in Experiment.catalog()] == ["t"]
    (index,) = (local / OWN).iterdir()
    assert index.suffix == ".sqlite" and stat.S_IMODE(index.stat().st_mode) == 0o600 and not list(home.rglob("*.sqlite"))
    monkeypatch.setattr(catalog, "experiment_row", lambda records: pytest.fail("the row is in the index"))
    assert [row["state"] for row in Experiment.catalog()] == ["succeeded"]


def test_the_type_is_that_of_the_system_and_of_the_nearest_folder_that_is_there(tmp_path):
    if shutil.which("stat") is None or not Path("/proc/self").exists():
        pytest.skip("GNU stat tells the type here")
    for path in (tmp_path, Path("/proc")):
        wanted = subprocess.run(["stat", "--file-system", "--format=%t", str(path)], capture_output=True, text=True, check=True).stdout.strip()
        assert statfs_type(path) == int(wanted, 16)
    assert statfs_type(tmp_path / "missing") is None
    assert on_network(tmp_path / "missing" / "deeper") is on_network(tmp_path)
