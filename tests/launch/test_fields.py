"""Every field of every executor and packager refuses a wrong type and a wrong value when it is set, by its name; the table has all of them."""

import dataclasses
import json

import pytest

from hpcflow.errors import ConfigError
from hpcflow.launch import GitArchivePackager, HybridPackager, LocalExecutor, PatternPackager, SlurmExecutor, SlurmFields
from hpcflow.launch.checked import checked
from hpcflow.launch.executors.registry import from_json, to_json
from hpcflow.launch.executors.slurm_fields import options_of

NUMBER = (["two", 1.5, True, [1]], [0, -1], [1, 4096])
TEXT = ([3, ["a"], True], ["", "a\nb", "a\x1bb"], ["a", "ünï 'c' \"d\""])
MEMORY = ([1.5, True, ["4G"]], ["4 GB", "lots", "", "-4G", -1, "4g"], ["4G", 512, "0", "100M"])
GPUS = ([1.5, True, ["a100:2"]], ["two", "a100:", "", "a100:2;id", -1], [2, 0, "2", "a100:2", "a100:1,h100:1"])
COMMON = {
    "launcher": ([3, None], ["sran", ""], ["none", "mpi"]),
    "env": (["A=1", {"A": 1}, {1: "a"}], [{"no name": "1"}, {"1A": "1"}, {"A": "\0"}, {"": "x"}], [{"A": "two\nlines"}, {}]),
    "setup": (["module load gcc", [1], 3], [["two\nlines"], ["bell\x07"], [""], ["a\rb"]], [["module load gcc", "export A='b c'"], ("a\tb",)]),
    "python": ([3, ["python"]], ["", "py\nthon"], ["/opt/my python/bin/python"]),
    "workdir": ([3], ["", "a\nb"], ["/scratch/me"]),
}
FIELDS = {
    "account": TEXT, "partition": TEXT, "qos": TEXT, "gres": TEXT, "constraint": TEXT, "exclude": TEXT, "nodelist": TEXT, "reservation": TEXT,
    "licenses": TEXT, "begin": TEXT, "deadline": TEXT, "comment": TEXT, "mail_user": TEXT,
    "time": ([60, 1.5, True], ["one hour", "", "1h", "1:2:3:4", "-5", "60\n"], ["60", "1:30:00", "2-0:00", "UNLIMITED"]),
    "nodes": ([1.5, True, [2]], [0, -1, "two", "", "0", "2-", "n1"], [1, "2-4", "2,4", "1-8:2"]),
    "ntasks": NUMBER, "ntasks_per_node": NUMBER, "cpus_per_task": NUMBER, "cpus_per_gpu": NUMBER, "segment": NUMBER, "threads_per_core": NUMBER,
    "mem": MEMORY, "mem_per_cpu": MEMORY, "mem_per_gpu": MEMORY, "gpus": GPUS, "gpus_per_node": GPUS, "gpus_per_task": GPUS,
    "exclusive": ([1, None, ["user"]], ["usr", ""], [True, "user"]),
    "overcommit": ([1, "yes"], [], [True]),
    "nice": (["1", 1.5], [2**31, -(2**31)], [-100, 0, 100]),
    "switches": ([2], ["two", "", "2@"], ["2", "2@12:00:00"]),
    "mail_type": (["END", [1]], [["ENDE"], ["end"]], [["END", "FAIL"], ()]),
    "signal": ([10], ["now", "", "USR1@soon"], ["B:USR1@120", "10@60"]),
    "hint": ([3], ["fast", ""], ["nomultithread"]),
}  # fmt: skip
SLURM = {
    "dependency": (["12", {"afterok": "12"}, {"afterok": [12]}], [{"afterOK": ["12"]}, {"afterok": ["job"]}], [{"afterok": ["12", "13_4"]}]),
    "dependency_any": ([1, "yes"], [], [True]),
    "array_limit": NUMBER,
    "components": ([{"nodes": 2}, [{"nodes": 2}], SlurmFields()], [], [[SlurmFields(nodes=2)]]),
    "extra_directives": (["--spread-job", [1]], [["spread-job"], ["--job-name=x"], ["--a\nb"]], [["--spread-job"]]),
    "srun_args": (["--verbose", [1]], [["a\nb"]], [["--verbose"]]),
    "cpu_bind": ([3], ["a b", ""], ["cores"]),
    "gpu_bind": ([3], ["a;b"], ["closest"]),
    "distribution": ([3], ["a b"], ["block:cyclic"]),
    "exports": (["HOME", [1]], [["no name"], ["A=1"], [""], ["A\n"]], [["HOME", "MY_1"]]),
    "hand_over": (["TOKEN", [1]], [["no name"], ["A=1"], [""], ["A\n"]], [["TOKEN"]]),
    "requeue": ([1, "yes"], [], [True]),
    "stop_before_s": NUMBER,
    "templates": (["/etc/templates", [1]], [[""], ["a\nb"]], [["/etc/templates"]]),
}
LOCAL = {
    "cores": NUMBER, "memory_mb": NUMBER, "ntasks": NUMBER, "cpus_per_task": NUMBER,
    "gpus": (["0", [0], 2], [["0,1"], ["0", "0"], [""]], [["0", "GPU-3f9c"]]),
}  # fmt: skip
LIMIT = {"limit_mb": ([1.5, "200", None, True], [0, -1], [1, 5000])}
PATTERNS = (["**/*.py", [1]], [["/etc/*"], ["../x"], ["a\nb"], [""]], [["**/*.py", "data/x.csv"]])
PACKAGERS = {
    PatternPackager: {"include": PATTERNS, "exclude": PATTERNS, "gitignore": ([1, "no"], [], [False]), **LIMIT},
    GitArchivePackager: {
        "uncommitted": ([True, 3], ["refused", ""], ["include"]), "untracked": ([None], ["includ"], ["refuse"]),
        "subpath": ([3, None], ["/etc", "../x"], ["src"]), **LIMIT,
    },
    HybridPackager: {
        "parts": ([{"": "*.py"}, [PatternPackager()], {1: PatternPackager()}, {"": (PatternPackager(), 3)}], [{}, {"/x": PatternPackager()},
                   {"../x": PatternPackager()}], [{"": PatternPackager(), "b": (GitArchivePackager(), "/x")}]), **LIMIT,
    },
}  # fmt: skip
TABLE = {LocalExecutor: {**LOCAL, **COMMON}, SlurmFields: FIELDS, SlurmExecutor: {**FIELDS, **SLURM, **COMMON}, **PACKAGERS}
ROWS = [(kind, name) for kind, rows in TABLE.items() for name in rows]


def made(kind, name, value):
    needed = {"parts": {"": PatternPackager()}} if kind is HybridPackager else {}
    return kind(**{**needed, name: value})


@pytest.mark.parametrize("kind", TABLE)
def test_the_table_has_every_field(kind):
    assert set(TABLE[kind]) == {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize(("kind", "name"), ROWS, ids=[f"{kind.__name__}.{name}" for kind, name in ROWS])
def test_a_field_refuses_what_it_cannot_be_and_takes_what_it_can(kind, name):
    wrong_types, wrong_values, good = TABLE[kind][name]
    for value in [*wrong_types, *wrong_values]:
        with pytest.raises(ConfigError) as refused:
            made(kind, name, value)
        words = str(refused.value)
        assert (name in words or "extra directive" in words or "extra option" in words) and "\n" not in words, (value, words)
        if value in wrong_types and type(value) in (str, int, float):
            assert f"{kind.__name__}.{name}: expected" in words and repr(value) in words, words
    for value in good:
        kept = getattr(made(kind, name, value), name)
        assert kept == (tuple(value) if isinstance(value, list) else value) or isinstance(value, dict)


@pytest.mark.parametrize(("kind", "wrong", "near"), [
    (LocalExecutor, "core", "cores"), (SlurmExecutor, "node", "nodes"), (SlurmExecutor, "cpu_per_task", "cpus_per_task"),
    (SlurmFields, "memory", "mem"),
    (PatternPackager, "includes", "include"), (GitArchivePackager, "sub_path", "subpath"), (HybridPackager, "part", "parts"),
])  # fmt: skip
def test_an_unknown_field_is_refused_with_near_names(kind, wrong, near):
    with pytest.raises(ConfigError, match=rf"{kind.__name__} has no field '{wrong}'; did you mean .*'{near}'"):
        kind(**{wrong: 1})


def test_a_text_where_a_list_is_meant_says_how_to_write_the_list():
    with pytest.raises(
        ConfigError, match=r"SlurmExecutor.setup: expected Sequence\[str\], got str 'module load gcc'; give a list: \['module load gcc'\]"
    ):
        SlurmExecutor(setup="module load gcc")
    with pytest.raises(ConfigError, match=r"LocalExecutor.launcher: .* 'mpirrun'; did you mean 'mpirun'"):
        LocalExecutor(launcher="mpirrun")


def test_changed_copies_and_what_comes_from_files_are_checked_too():
    with pytest.raises(ConfigError, match=r"SlurmExecutor.ntasks=0: give a whole number from 1"):
        dataclasses.replace(SlurmExecutor(), ntasks=0)
    with pytest.raises(ConfigError, match=r"SlurmExecutor.ntasks: expected"):
        from_json({"type": "slurm", "ntasks": "2"})
    executor = SlurmExecutor(setup=["a", "b"], env={"A": "1"}, components=[SlurmFields(nodes=2)], mail_type=["END"], dependency={"afterok": ["3"]})
    assert from_json(json.loads(json.dumps(to_json(executor)))) == executor


def test_only_options_that_were_given_are_options():
    assert options_of(vars(SlurmFields(nodes=2, exclusive=True, nice=0)), None) == [("nodes", "2"), ("exclusive", None), ("nice", "0")]


def test_an_executor_of_somebody_else_is_checked_by_the_same_decorator():
    @checked
    @dataclasses.dataclass(frozen=True)
    class Cloud:
        zones: tuple[str, ...] = ()
        price: float = 0.0

    assert Cloud(["a"], price=3) == Cloud(("a",), 3.0) and isinstance(Cloud(price=3).price, float)
    with pytest.raises(ConfigError, match=r"Cloud.price: expected float, got str '3'"):
        Cloud(price="3")
    with pytest.raises(TypeError, match=r"multiple values|positional"):
        Cloud(("a",), 1.0, zones=())


def test_the_text_of_an_executor_is_what_was_given():
    given = SlurmExecutor(nodes=2, env={"A": "b"}, exports=["A"], components=[SlurmFields(nodes=1)])
    assert repr(given) == "SlurmExecutor(nodes=2, components=(SlurmFields(nodes=1),), exports=('A',), env={'A': 'b'})"
    assert eval(repr(given)) == given and repr(LocalExecutor(env={})) == "LocalExecutor()"
