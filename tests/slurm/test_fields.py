"""Every field of a Slurm job against what Slurm itself says of it: random jobs, held, many with one `scontrol show job`.

`scontrol` does not show three fields; for these it is sbatch's own list of what it has read. `segment` is of a newer Slurm: golden alone.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hpcflow.launch.executors.base import JobHandle, JobState
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.executors.slurm_fields import MAIL_TYPES, SlurmFields
from hpcflow.launch.request import Command
from hpcflow.testing.executor_contract import Jobs, log

pytestmark = pytest.mark.slurm
Facts = dict[str, str]


@pytest.fixture
def here(equipped_slurm, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", equipped_slurm.environment["SLURM_CONF"])
    monkeypatch.setenv("PATH", equipped_slurm.environment["PATH"])
    return equipped_slurm


# -- what `scontrol show job` says of a value --------------------------------------------------------------------------------------------------------


def _is(name: str, text: Callable[[Any], str] = str) -> Callable[[Facts, Any], bool]:
    return lambda facts, value: facts.get(name) == text(value)


def _memory(value: Any) -> str:
    number, unit = re.match(r"(\d+)([GM]?)", str(value)).groups()  # type: ignore[union-attr]
    megabytes = int(number) * (1024 if unit == "G" else 1)
    return f"{megabytes // 1024}G" if megabytes % 1024 == 0 else f"{megabytes}M"


def _limit(value: str) -> str:
    """As Slurm writes a time limit: in whole minutes, rounded up."""
    days, _, rest = value.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    seconds = parts[0] * 60 if len(parts) == 1 and not days else parts[0] * 60 + parts[1] if len(parts) == 2 and not days else 0
    if not seconds:
        seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    minutes = int(days or 0) * 1440 + -(-seconds // 60)
    return f"{f'{minutes // 1440}-' if minutes >= 1440 else ''}{minutes % 1440 // 60:02d}:{minutes % 60:02d}:00"


COMPARED: dict[str, Callable[[Facts, Any], bool]] = {
    "account": _is("Account"),
    "partition": _is("Partition"),
    "time": _is("TimeLimit", _limit),
    # the lower bound is what the tasks need at least, once Slurm has counted cores
    "nodes": lambda facts, value: facts["NumNodes"] in ({str(value), f"{value}-{value}"} if isinstance(value, int) else {"1-2", "2-2"}),
    "ntasks": _is("NumTasks"),
    "ntasks_per_node": lambda facts, value: facts["NtasksPerN:B:S:C"].startswith(f"{value}:"),
    "cpus_per_task": _is("CPUs/Task"),
    "mem": _is("MinMemoryNode", _memory),
    "mem_per_cpu": _is("MinMemoryCPU", _memory),
    "mem_per_gpu": _is("MemPerTres", lambda value: f"gres:gpu:{value}"),
    "gpus": _is("TresPerJob", lambda value: f"gres:gpu:{value}"),
    "gpus_per_node": lambda facts, value: f"gres:gpu:{value}" in facts["TresPerNode"].split(","),
    "gpus_per_task": _is("TresPerTask", lambda value: f"gres:gpu:{value}"),
    "cpus_per_gpu": _is("CpusPerTres", lambda value: f"gres:gpu:{value}"),
    "gres": lambda facts, value: f"gres:{value}" in facts["TresPerNode"].split(","),
    "constraint": _is("Features"),
    "exclude": _is("ExcNodeList"),
    "nodelist": _is("ReqNodeList"),
    "exclusive": _is("OverSubscribe", lambda value: "NO" if value is True else value.upper()),
    "reservation": _is("Reservation"),
    "licenses": _is("Licenses"),
    "nice": _is("Nice"),
    "begin": _is("StartTime"),
    "deadline": _is("Deadline"),
    "switches": lambda facts, value: facts["Switches"] == re.sub(r"@(\d):", r"@00:0\1:", value),
    "comment": lambda facts, value: facts.get("Comment", "") == value.rstrip(),
    "mail_user": _is("MailUser"),
    "mail_type": lambda facts, value: set(facts["MailType"].split(",")) == set(value),
    "hint": _is("ReqB:S:C:T", lambda value: "0:0:1:1" if value == "memory_bound" else "0:0:*:1"),
    "threads_per_core": _is("ReqB:S:C:T", lambda value: f"0:0:*:{value}"),
}
SAID_BY_SBATCH = {"qos", "signal", "overcommit"}
GOLDEN = {"segment"}

# -- random jobs that this cluster can take ----------------------------------------------------------------------------------------------------------

_text = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=30)
_word = st.text(st.characters(categories=("Ll", "Nd"), include_characters="-.'\"\\$(;`&#"), min_size=1, max_size=12)
_date = st.builds("{}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}".format, st.just(2030), st.integers(1, 12), st.integers(1, 28), *[st.integers(0, 23)] * 3)
_alone: dict[str, st.SearchStrategy[Any]] = {
    "account": _word,
    "partition": st.sampled_from(["main", "other", "main,other"]),
    "time": st.one_of(
        st.integers(1, 5000).map(str),
        st.builds("{}:{:02d}".format, st.integers(1, 99), st.integers(0, 59)),
        st.builds("{}:{:02d}:{:02d}".format, st.integers(1, 99), st.integers(0, 59), st.integers(0, 59)),
        st.builds("{}-{}:{:02d}:{:02d}".format, st.integers(1, 30), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59)),
    ),
    "constraint": st.sampled_from(["alike", "own", "alike&own", "alike|own", "[alike|own]"]),
    "exclusive": st.sampled_from([True, "user", "mcs"]),
    "reservation": st.just("later"),
    "licenses": st.sampled_from(["matlab", "matlab:2", "abaqus:3,matlab:2"]),
    "nice": st.integers(-1000, 1000),
    "begin": _date,
    "deadline": _date.map(lambda text: "2031" + text[4:]),
    "switches": st.builds("{}@{}:{:02d}".format, st.integers(1, 3), st.integers(1, 4), st.integers(0, 59)),
    "comment": _text,
    "mail_user": _word,
    "mail_type": st.sets(st.sampled_from([kind for kind in MAIL_TYPES if kind not in ("NONE", "ALL")]), min_size=1, max_size=4).map(sorted),
    "gres": st.sampled_from(["nvme:1", "nvme:3"]),
}


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of one job: any of those that stand alone, and some that go together."""
    job = {name: draw(values) for name, values in _alone.items() if draw(st.booleans())}
    if "mail_user" in job:  # shown only beside a type
        job.setdefault("mail_type", ["END"])
    nodes = draw(st.sampled_from([None, 1, 2, "1-2"]))
    if nodes is not None:
        job["nodes"] = nodes
    if draw(st.booleans()):
        job["ntasks"] = draw(st.integers(2, 4))
    elif isinstance(nodes, int):
        job["ntasks_per_node"] = draw(st.integers(1, 2))
    elif nodes is not None:
        job["ntasks"] = 2
    if nodes in (None, 1) and draw(st.booleans()):
        job |= draw(st.sampled_from([{"exclude": "n1"}, {"nodelist": "n2"}, {"exclude": "n2"}]))
    gpus = draw(st.sampled_from(["", "gpus", "gpus_per_node", "gpus_per_task"]))
    if gpus == "gpus_per_task":
        job["ntasks"] = 2
        job.pop("ntasks_per_node", None)
    if gpus == "gpus":  # at least one a node
        job[gpus] = draw(st.sampled_from([2, "a100:2"]))
    elif gpus:
        job[gpus] = draw(st.sampled_from([1] if gpus == "gpus_per_task" else [1, 2, "a100:1"]))
    core = draw(st.sampled_from(["", "cpus_per_task", *(["cpus_per_gpu"] if gpus else [])]))
    if core:
        job[core] = draw(st.integers(1, 2))
    memory = draw(st.sampled_from(["", "mem", "mem_per_cpu", *(["mem_per_gpu"] if gpus else [])]))
    if memory:
        whole = st.sampled_from(["1G", "2048M", 1500, "100M"])
        job[memory] = draw(whole if memory == "mem" else st.integers(50, 300).map(lambda n: n if memory == "mem_per_gpu" else f"{n}M"))
    thread = draw(st.sampled_from([{}, {"threads_per_core": 1}, *({"hint": hint} for hint in ("compute_bound", "memory_bound", "nomultithread"))]))
    return job | thread


def _submit(root: Any, number: int, name: str, job: dict[str, Any]) -> JobHandle:
    found = Jobs(SlurmExecutor(**job, extra_directives=("--hold",)), root / str(number))
    return found.submit(found.request(name, "touch", str(root / "ran")))


def _facts(text: str) -> Facts:
    """One job's fields; name and comment are the rest of their lines."""
    whole = {key: value.rstrip() for key, value in re.findall(r"(JobName|Comment)=(.*)$", text, re.MULTILINE)}
    return dict(re.findall(r"(\S+?)=(\S*)", re.sub(r"(JobName|Comment)=.*$", "", text, flags=re.MULTILINE))) | whole


_seen: Counter[str] = Counter()


@settings(max_examples=12, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
@given(wanted=st.lists(st.tuples(_text, jobs()), min_size=10, max_size=10))
def test_each_field_of_random_jobs_is_what_scontrol_shows_and_nothing_runs(here, tmp_path_factory, wanted):
    root = tmp_path_factory.mktemp("fields")
    with ThreadPoolExecutor(4) as pool:
        handles = list(pool.map(lambda item: _submit(root, item[0], *item[1]), enumerate(wanted)))
    shown = subprocess.run(["scontrol", "show", "job"], env=here.environment, capture_output=True, text=True, check=True).stdout
    subprocess.run(["scancel", *(handle.id for handle in handles)], env=here.environment, check=True)
    all_facts = {found["JobId"]: found for found in map(_facts, re.split(r"\n\n+", shown)) if "JobId" in found}
    for handle, (title, job) in zip(handles, wanted, strict=True):
        facts = all_facts[handle.id]
        assert facts["JobName"] == f"{''.join(c if c.isprintable() else '?' for c in title)[:60]}.{handle.key}"
        assert (facts["Command"], facts["StdOut"]) == (f"{handle.directory}/script.sh", f"{handle.directory}/logs/log.txt")
        for name, value in job.items():
            assert COMPARED[name](facts, value), (name, value, job, facts)
            _seen[name] += 1
    assert not (root / "ran").exists()


def test_every_field_is_compared_somewhere():
    names = {field.name for field in fields(SlurmFields)}
    assert COMPARED.keys() | SAID_BY_SBATCH | GOLDEN == names
    assert not _seen or set(_seen) == set(COMPARED), set(COMPARED) - set(_seen)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(qos=_word, signal=st.tuples(st.sampled_from(["", "B:", "R:"]), st.sampled_from(["USR1", "USR2", "TERM", "HUP"]), st.integers(1, 60_000)))
def test_what_scontrol_does_not_show_is_what_sbatch_has_read(here, tmp_path_factory, qos, signal):
    kind, name, seconds = signal
    found = Jobs(SlurmExecutor(qos=qos, signal=f"{kind}{name}@{seconds}", overcommit=True, time="10"), tmp_path_factory.mktemp("said"))
    rendered = found.executor.render(found.request("said", "true"))
    found.executor.check(rendered)
    words = ["sbatch", "-vv", "--test-only", f"{rendered.request.directory}/script.sh"]
    said = subprocess.run(words, env=here.environment, capture_output=True, text=True, check=True).stderr
    told = dict(re.findall(r"^sbatch: (\S+) +: (.*)$", said, re.MULTILINE))
    assert (told["qos"], told["signal"], told["overcommit"]) == (qos, f"{kind}{name}@{seconds}", "set")


def test_jobs_that_ask_for_gpus_run_and_have_them(here, tmp_path):
    shape = {"mem": "200M", "time": "10"}
    asked = {
        "per job": (SlurmExecutor(gpus=2, **shape), "2"),
        "per node": (SlurmExecutor(gpus_per_node="a100:1", **shape), "1"),
        "cores of each": (SlurmExecutor(gpus=1, cpus_per_gpu=2, **shape), "1"),
    }
    script = 'echo "$CUDA_VISIBLE_DEVICES" | tr , "\\n" | grep -c .; echo "$SLURM_CPUS_ON_NODE"'
    submitted = []
    for number, (name, (executor, count)) in enumerate(asked.items()):
        for launcher in ("none", "srun"):
            found = Jobs(executor, tmp_path / f"{number}{launcher}")
            handle = found.submit(found.request(name, commands=(Command(("/bin/sh", "-c", script), launcher=launcher),)))
            submitted.append((name, count, found, handle))
    for name, count, found, handle in submitted:
        (status,) = found.wait([handle])
        told = (log(handle) + log(handle, "main-rank-0.txt")).split()
        assert status.state is JobState.SUCCEEDED and told[0] == count, (name, status, told)
        assert name != "cores of each" or told[1] == "2", told
