"""The memory budget, the limits it starts from, and what a DataFrame really holds."""

import threading

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcflow.runtime.memory import MemoryBudget, compact, default_limit_bytes, node_limit, resident_bytes
from hpcflow.testing.tables import table_of_every_type


def test_owners_add_up_and_the_high_water_mark_stays():
    budget = MemoryBudget(1000)
    budget.reserve("exchange", 600)
    budget.reserve("cache", 300)
    budget.release("exchange", 500)
    assert (budget.resident_bytes, budget.high_water_bytes, budget.free_bytes, budget.over_bytes) == (400, 900, 600, 0)
    assert budget.by_owner() == {"exchange": 100, "cache": 300}


def test_listeners_hear_how_much_is_too_much():
    budget, heard = MemoryBudget(1000), []
    stop = budget.on_over(heard.append)
    for size in (1000, 1, 99):
        budget.reserve("blocks", size)
    stop()
    budget.reserve("blocks", 1)
    assert heard == [1, 100]


def test_try_reserve_takes_only_what_fits():
    budget = MemoryBudget(1000)
    assert budget.try_reserve("tasks", 1000) and not budget.try_reserve("tasks", 1)
    assert budget.resident_bytes == 1000


@pytest.mark.parametrize(
    "wrong", [lambda b: b.release("x", 1), lambda b: b.reserve("x", -1), lambda b: b.release("x", -1), lambda b: MemoryBudget(0)]
)
def test_wrong_sums_are_errors_where_they_are_made(wrong):
    with pytest.raises(ValueError, match="bytes"):
        wrong(MemoryBudget(10))


def test_peak_is_that_of_its_own_time():
    budget = MemoryBudget(1000)
    budget.reserve("a", 900)
    budget.release("a", 800)
    with budget.watch_peak() as outer:
        budget.reserve("a", 50)
        with budget.watch_peak() as inner:
            pass
        budget.reserve("a", 50)
    budget.reserve("a", 500)
    assert (outer.bytes, inner.bytes, budget.high_water_bytes) == (200, 150, 900)


def test_threads_lose_no_byte():
    budget = MemoryBudget(10)

    def work():
        for _ in range(2000):
            budget.reserve("a", 3)
            budget.release("a", 2)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.resident_bytes == 8000


def node(tmp_path, cgroup="", files=None, total_kb=16 << 20):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    (tmp_path / "proc/meminfo").write_text(f"MemFree: 1 kB\nMemTotal:       {total_kb} kB\n")
    for name, text in (files or {}).items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(tmp_path)


GIB = 1 << 30
V2 = "0::/slurm/job_7/step_0\n"
V1 = "9:name=systemd:/\n4:cpu,memory:/slurm/job_7\n0::/\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "environ", "size", "source"),
    [
        ("", {}, {}, 16 * GIB, "node"),
        (V2, {"slurm/job_7/step_0/memory.max": "max\n", "slurm/job_7/memory.max": f"{4 * GIB}\n"}, {}, 4 * GIB, "cgroup /slurm/job_7"),
        (V2, {"memory.max": f"{3 * GIB}\n"}, {}, 3 * GIB, "cgroup /"),
        (V2, {"slurm/memory.high": f"{2 * GIB}\n", "memory.max": f"{3 * GIB}\n"}, {}, 2 * GIB, "cgroup /slurm"),
        (V1, {"memory/slurm/job_7/memory.limit_in_bytes": f"{2 * GIB}\n"}, {}, 2 * GIB, "cgroup /slurm/job_7"),
        (V1, {"memory/memory.limit_in_bytes": f"{(1 << 63) - 4096}\n"}, {}, 16 * GIB, "node"),
        (V2, {}, {"SLURM_MEM_PER_NODE": "4096"}, 4 * GIB, "SLURM_MEM_PER_NODE"),
        (V2, {}, {"SLURM_MEM_PER_NODE": "0"}, 16 * GIB, "node"),
        (V2, {}, {"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "6"}, 6 * GIB, "SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE"),
        (V2, {"memory.max": f"{GIB}"}, {"SLURM_MEM_PER_NODE": "4096"}, GIB, "cgroup /"),
        ("garbage\n::\n", {}, {"SLURM_MEM_PER_NODE": "4G"}, 16 * GIB, "node"),
    ],
)
def test_smallest_limit_wins_and_is_named(tmp_path, cgroup, files, environ, size, source):
    limit = node_limit(environ, node(tmp_path, cgroup, files))
    assert (limit.size_bytes, limit.source) == (size, source)


def test_workers_of_a_node_share_its_limit(tmp_path):
    root = node(tmp_path)
    assert default_limit_bytes(4, {}, root) == pytest.approx(default_limit_bytes(1, {}, root) / 4, abs=1)
    assert 0.3 * 16 * GIB < default_limit_bytes(1, {}, root) < 0.9 * 16 * GIB
    with pytest.raises(ValueError, match="at least 1"):
        default_limit_bytes(0)


LONG = pl.DataFrame({"i": range(20_000)}).with_columns(s=pl.lit("a text that is long enough to be kept out of line") + pl.col("i").cast(pl.String))
SHAPES = {
    "string": pl.col("s"),
    "binary": pl.col("s").cast(pl.Binary),
    "list": pl.concat_list("s", "s"),
    "array": pl.concat_list("s", "s").cast(pl.Array(pl.String, 2)),
    "struct": pl.struct("i", "s"),
    "nested": pl.concat_list(pl.struct("i", pl.concat_list("s"))),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_filtered_text_holds_all_its_data_until_it_is_compacted(shape):
    whole = LONG.select(x=SHAPES[shape])
    few = whole.filter(pl.int_range(pl.len()) % 1000 == 0)
    kept = compact(few)
    assert resident_bytes(few) > 1_000_000 > 100 * few.estimated_size() / 5
    assert resident_bytes(kept) < 10_000
    assert kept.equals(few) and kept.schema == few.schema


def test_live_text_is_shared_and_not_copied():
    assert compact(LONG) is LONG
    half = LONG.filter(pl.col("i") % 10 < 8)
    assert compact(half) is half


def test_text_shared_by_columns_counts_once():
    twice = LONG.select("s", t="s")
    assert resident_bytes(twice) == resident_bytes(LONG.select("s"))


def test_fixed_width_is_counted_exactly():
    assert resident_bytes(pl.DataFrame({"a": [1, 2, 3]})) == 24
    assert resident_bytes(pl.DataFrame()) == 0


def test_every_type_can_be_counted_and_compacted():
    df = table_of_every_type(20_000)
    assert resident_bytes(df) > 16 * 20_000
    few = df.filter(pl.int_range(pl.len()) % 5000 == 0)
    kept = compact(few)
    assert kept.equals(few) and kept.schema == few.schema and resident_bytes(kept) < resident_bytes(few) / 5


@given(st.lists(st.one_of(st.none(), st.text(max_size=30)), max_size=50), st.integers(1, 5))
def test_compact_changes_no_value(values, step):
    from hpcflow.runtime import resident

    text = pl.Series("x", values * 3, dtype=pl.String).gather_every(step)
    df = pl.DataFrame([text, text.cast(pl.Binary).alias("b")]).with_columns(l=pl.concat_list("x"), s=pl.struct("x", "b"))
    copied = df.select(resident._copied(pl.col(name), dtype).alias(name) for name, dtype in df.schema.items())
    assert copied.equals(df) and copied.schema == df.schema
