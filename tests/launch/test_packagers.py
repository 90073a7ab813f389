"""What code goes along."""

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from hpcflow.errors import ConfigError
from hpcflow.launch.config.script import Script
from hpcflow.launch.experiment.experiment import Experiment
from hpcflow.launch.packagers.base import _digest, matches, pack
from hpcflow.launch.packagers.git_archive import GitArchivePackager
from hpcflow.launch.packagers.hybrid import HybridPackager
from hpcflow.launch.packagers.pattern import PatternPackager


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    root = tmp_path / "project"
    (root / "lib" / "deep").mkdir(parents=True)
    for name in ("main.py", "lib/a.py", "lib/deep/b.py", "data.bin", ".env", "lib/id_rsa", "run.sh"):
        (root / name).write_text(f"# {name}\n")
    (root / "run.sh").chmod(0o755)
    monkeypatch.chdir(root)
    return root


def git(*words):
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    return subprocess.run(["git", *identity, *words], check=True, capture_output=True, text=True).stdout


def packed(package):
    return sorted(str(path.relative_to(package.path)) for path in package.path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [("a/b.py", "*.py", True), ("a/b.py", "a/*.py", True), ("a/c/b.py", "a/*.py", False), ("a/c/b.py", "a/**/*.py", True), ("b.py", "**/*.py", True)],
)
def test_a_star_stops_at_slashes_and_two_do_not(path, pattern, fits):
    assert matches(PurePosixPath(path), [pattern]) is fits


def test_patterns_choose_and_secrets_stay_unless_named():
    assert packed(pack(PatternPackager())) == ["lib/a.py", "lib/deep/b.py", "main.py"]
    everything = pack(PatternPackager(include=("**/*",), exclude=("data.*",)))
    assert packed(everything) == ["lib/a.py", "lib/deep/b.py", "main.py", "run.sh"]
    assert any(".env" in note and "lib/id_rsa" in note for note in everything.notes)
    assert packed(pack(PatternPackager(include=("main.py", ".env")))) == [".env", "main.py"]


def test_what_is_named_like_a_key_or_is_one_stays_and_code_that_sounds_like_one_goes(project):
    keys = ("id_ed25519", "id_ecdsa.old", "credentials.json", "tls.p12")
    code = ("id_map.py", "id_table.csv", "credentials.py", "about-keys.md")
    for name in (*keys, *code):
        (project / name).write_text("text\n")
    (project / "deploy").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n")  # a name of its own
    (project / "about-keys.md").write_text("It begins with\n-----BEGIN OPENSSH PRIVATE KEY-----\n")
    package = pack(PatternPackager(include=("*",), exclude=("lib/**", "data.bin")))
    assert packed(package) == sorted([*code, "main.py", "run.sh"])
    assert any("and 1 more" in note for note in package.notes)
    git("init")
    git("add", "main.py")
    git("commit", "-m", "first")
    package = pack(GitArchivePackager(untracked="include"))
    assert not {*keys, "deploy", ".env"} & {*packed(package)} and {*code} <= {*packed(package)}
    assert any(note.startswith("left out as secrets: .env, credentials.json, deploy, id_ecdsa.old") for note in package.notes)


def test_what_is_no_file_is_left_out_and_told(project):
    os.mkfifo(project / "pipe")
    (project / "lib" / "inner").mkdir()
    git("init", "lib/inner")
    (project / "lib" / "inner" / "c.py").write_text("\n")
    found = pack(PatternPackager(include=("**/*",)))
    assert "pipe" not in packed(found) and "left out: pipe is no file" in found.notes
    git("init")
    git("add", "main.py")
    git("commit", "-m", "first")
    found = pack(GitArchivePackager(untracked="include"))
    assert "repositories within this one are not packed: lib/inner/" in found.notes and "lib/a.py" in packed(found)
    with pytest.raises(ConfigError, match=r"gone.py cannot be packed: No such file or directory; exclude it"):
        _digest(project / "gone.py")


def test_the_same_content_is_one_package_and_other_content_another(project):
    first = pack(PatternPackager())
    assert pack(PatternPackager()).digest == first.digest
    before = first.path.stat().st_ino
    assert pack(PatternPackager()).path.stat().st_ino == before
    (project / "main.py").write_text("changed\n")
    assert pack(PatternPackager()).digest != first.digest
    (project / "main.py").write_text("# main.py\n")
    (project / "main.py").chmod(0o755)
    assert pack(PatternPackager()).digest != first.digest


def test_too_much_and_nothing_are_refused_by_name():
    Path("lib/large.py").write_bytes(b"#" * (3 << 19))
    with pytest.raises(ConfigError, match=r"1 MB of code are more than 1 MB: .*lib/large.py .*PatternPackager\(limit_mb=...\)"):
        pack(PatternPackager(limit_mb=1))
    assert pack(PatternPackager(limit_mb=2)).size_bytes > 3 << 19
    with pytest.raises(ConfigError, match=r"HybridPackager\(limit_mb=...\)"):
        pack(HybridPackager({"": PatternPackager()}, limit_mb=1))
    with pytest.raises(ConfigError, match="finds no file"):
        pack(PatternPackager(include=("*.rs",)))


def test_git_packs_what_is_tracked_and_decides_about_the_rest(project):
    git("init", "-q")
    (project / ".gitignore").write_text("*.bin\n")
    (project / ".gitattributes").write_text("run.sh export-ignore\n")
    git("add", "main.py", "lib/a.py", "run.sh", ".gitignore", ".gitattributes")
    git("commit", "-qm", "first")
    package = pack(GitArchivePackager())
    assert packed(package) == [".gitattributes", ".gitignore", "lib/a.py", "main.py"]
    assert any(note.startswith("commit ") for note in package.notes)
    assert any("1 files are not tracked: lib/deep/b.py" in note for note in package.notes)
    assert any("export-ignore: run.sh" in note for note in package.notes)
    assert "lib/deep/b.py" in packed(pack(GitArchivePackager(untracked="include")))
    with pytest.raises(ConfigError, match="are not tracked"):
        pack(GitArchivePackager(untracked="refuse"))
    (project / "main.py").write_text("changed\n")
    with pytest.raises(ConfigError, match=r"differ from the commit: main.py; commit them"):
        pack(GitArchivePackager(uncommitted="refuse"))
    assert (pack(GitArchivePackager()).path / "main.py").read_text() == "changed\n"


def test_outside_of_a_repository_git_says_what_to_use():
    with pytest.raises(ConfigError, match="use PatternPackager"):
        pack(GitArchivePackager())


def test_links_that_lead_outside_are_told_and_left_out(project, tmp_path):
    (tmp_path / "outside.py").write_text("secret\n")
    os.symlink(tmp_path / "outside.py", project / "link.py")
    os.symlink("main.py", project / "inside.py")
    package = pack(PatternPackager())
    assert "link.py" not in packed(package) and "inside.py" in packed(package)
    assert any("left out: link.py is a link" in note for note in package.notes)


def test_parts_come_together_and_must_not_meet(project):
    both = HybridPackager({"": PatternPackager(include=("main.py",)), "shared": (PatternPackager(), str(project / "lib"))})
    assert packed(pack(both)) == ["main.py", "shared/a.py", "shared/deep/b.py"]
    with pytest.raises(ConfigError, match="would come from"):
        pack(HybridPackager({"": PatternPackager(include=("lib/a.py",)), "lib": (PatternPackager(include=("a.py",)), str(_other(project)))}))


def _other(project):
    (project.parent / "other").mkdir()
    (project.parent / "other" / "a.py").write_text("x\n")
    return project.parent / "other"


def test_a_task_runs_the_packaged_code_and_not_what_came_after(project):
    (project / "mod.py").write_text("WHERE = 'packaged'\n")
    (project / "job.py").write_text("import mod\nprint(mod.WHERE, mod.__file__)\n")
    exp = Experiment("code", packager=PatternPackager())
    exp.add(Script("job.py"), name="job")
    (project / "job.py").write_text("import mod\nprint(mod.WHERE, mod.__file__)\n")
    exp.run()
    assert exp.exit_status() == 0, exp.logs("job")
    assert exp.logs("job").split()[0] == "packaged" and str(exp.package.path) in exp.logs("job")


SUB_DRIVER = """
from hpcflow.launch import Experiment, GitArchivePackager, HybridPackager, Partial, PatternPackager, Script
import beside
def own() -> str:
    return __file__
if __name__ == "__main__":
    for packager in (HybridPackager({"": GitArchivePackager()}), PatternPackager(include=["**/*"])):
        exp = Experiment("sub", packager=packager)
        exp.add(Script("run.sh"), name="script")
        for function in (own, beside.f):
            exp.add(Partial(function), name=function.__name__)
        exp.run(quiet=True)
        print(exp.logs("script").strip(), exp.result("own"), exp.result("f"), sep="|")
    exp = Experiment("left", packager=PatternPackager(include=["beside.py"]))
    exp.add(Partial(own), name="own")
    exp.run()
"""


def test_from_a_folder_of_a_repository_scripts_and_functions_are_those_in_the_package(project):
    """The driver script's own functions too."""
    files = {"run.sh": "echo $0", "beside.py": "def f() -> str:\n    return __file__\n", "drive.py": SUB_DRIVER}
    for name, text in files.items():
        (project / "lib" / name).write_text(text)
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    done = subprocess.run([sys.executable, "drive.py"], cwd=project / "lib", capture_output=True, text=True, check=False, timeout=60)
    lines = [line.split("|") for line in done.stdout.splitlines()]
    assert len(lines) == 2, done.stderr
    for inside, (script, own, beside) in zip(("files/lib", "files"), lines, strict=True):
        assert [Path(path).name for path in (script, own, beside)] == ["run.sh", "drive.py", "beside.py"]
        assert {str(Path(path).parent).endswith(inside) for path in (script, own, beside)} == {True}
        assert Path(own).is_relative_to(project.parent / "home" / "code")
    assert done.stderr.splitlines()[-1].endswith("task 'own' runs drive.py, which the packager did not pack: add it to its patterns, or to git")


def test_damaged_code_is_noticed_on_arrival(project):
    package = pack(PatternPackager())
    (package.path / "main.py").write_text("other\n")
    exp = Experiment("damaged", packager=PatternPackager())
    exp.add(Script("main.py"), name="job")
    exp.run()
    assert exp.exit_status() == 1
    assert f"is damaged: remove {package.path.parent} and submit again" in exp.logs("job")


def test_a_script_that_was_not_packed_is_refused_and_what_was_left_out_is_told(project, capfd):
    for name in ("given.sh", "left.sh"):
        (project / name).write_text("echo from $0\n")
    (project / ".env").write_text("A=1\n")
    exp = Experiment("left", packager=PatternPackager(include=["given.sh", "*.env"]))
    exp.add(Script("given.sh"), name="a")
    exp.add([Script(inline="true"), Script("./left.sh")], name="b")
    with pytest.raises(ConfigError, match=r"task 'b' runs left.sh, which the packager did not pack: add it to its patterns"):
        exp.run()
    assert not exp.directory.exists()
    exp._tasks.pop()
    exp.run()
    assert "hpcflow: packaged code: left out as secrets: .env; name them in full" in capfd.readouterr().err
    assert f"/code/{exp.package.digest}/files/given.sh" in exp.logs("a")
    from hpcflow.cli.launch import show

    assert show(exp.id) == 0
    assert f"code {exp.package.digest}, 1 files\n  left out as secrets: .env" in capfd.readouterr().out
