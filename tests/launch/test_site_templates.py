"""A site's templates: ours block by block, with what is wrong in them said in one line."""

import pytest

from hpcflow.errors import ConfigError
from hpcflow.launch import Experiment, Script, SlurmExecutor
from hpcflow.launch.executors import slurm

SITE = """{% extends "job.sh.j2" %}
{% block setup %}
. /etc/profile.d/site.sh
export TASK={{ request.task }}
{{ super() }}
{% endblock %}
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(slurm, "known_version", lambda: (23, 11))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site").mkdir()
    return tmp_path


def script(**fields):
    exp = Experiment("t", executor=SlurmExecutor(setup=["module load x"], **fields))
    exp.add(Script(inline="true"), name="it's")
    return exp.dryrun()


def test_a_block_of_ours_is_replaced_and_the_rest_stays(place):
    (place / "site" / "job.sh.j2").write_text(SITE)
    plain, changed = script(), script(templates=["site"])
    added = [line for line in changed.splitlines() if line not in plain.splitlines() and "-0-1" not in line and "/experiments/" not in line]
    assert [line for line in added if line] == [". /etc/profile.d/site.sh", "export TASK='it'\"'\"'s'"]
    assert changed.index("site.sh") < changed.index("module load x") < changed.index("# -- commands")


def test_a_folder_is_kept_by_its_full_path_since_the_driver_is_elsewhere(place, monkeypatch):
    (place / "site" / "job.sh.j2").write_text(SITE)
    executor = SlurmExecutor(templates=["site"])
    assert executor.templates == (str(place / "site"),)
    (place / "config" / "hpcflow").mkdir(parents=True)
    (place / "config" / "hpcflow" / "launch.toml").write_text(f'templates = ["{place / "site"}"]\n')
    monkeypatch.chdir("/")
    assert "site.sh" in script()


def test_values_are_quoted_in_blocks_and_macros_alike(place):
    (place / "site" / "job.sh.j2").write_text(
        '{% extends "job.sh.j2" %}{% macro say(word) %}echo {{ word }}{% endmacro %}'
        '{% block setup %}{{ super() }}{{ say("a; $(id)") }}\n{% endblock %}'
    )
    assert "module load x\necho 'a; $(id)'\n" in script(templates=["site"])


def test_an_array_has_a_template_too(place):
    (place / "site" / "array.sh.j2").write_text('{% extends "array.sh.j2" %}{% block directives %}{{ super() }}# of the site\n{% endblock %}')
    text = slurm.slurm_array.render(slurm.Batch("k", "/x/y", {}), ("#SBATCH --array=0-1",), (str(place / "site"),))
    assert text.splitlines()[:3] == ["#!/bin/sh", "#SBATCH --array=0-1", "# of the site"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ nope }}", "'nope' is undefined"),
        ("a\n{% if %}", r"Expected an expression.* \(line 2 of .*site/job.sh.j2\)"),
        ('{% extends "other.j2" %}', "other.j2"),
        ("{{ none }}", "a template puts None into a script"),
    ],
)
def test_what_is_wrong_in_a_template_is_one_line(place, text, says):
    (place / "site" / "job.sh.j2").write_text(text)
    with pytest.raises(ConfigError, match=says) as refused:
        script(templates=["site"])
    assert "\n" not in str(refused.value)
