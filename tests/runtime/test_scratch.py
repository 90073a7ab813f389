"""Scratch space: what is written is read back or refused, and nothing outlives the job."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from hpcflow.errors import SpillError
from hpcflow.runtime import file_systems
from hpcflow.runtime import scratch as scratch_module
from hpcflow.runtime.file_systems import default_scratch, file_system_type, free_bytes, preference
from hpcflow.runtime.scratch import ScratchSpace


@pytest.fixture
def space(tmp_path):
    space = ScratchSpace([tmp_path / "a", tmp_path / "b"])
    yield space
    space.close()


def test_blocks_come_back_in_any_order(space):
    payloads = [os.urandom(size) for size in (0, 1, 4096, 100_000)]
    places = [space.write(payload) for payload in payloads]
    for place, payload in reversed(list(zip(places, payloads, strict=True))):
        assert space.read(place) == payload


def test_equal_directories_are_used_in_turn(space):
    assert len({space.write(b"x").directory for _ in range(4)}) == 2


def test_nothing_can_be_found_in_the_directories(space, tmp_path):
    place = space.write(b"secret")
    assert not list(tmp_path.rglob("*spill*")) and os.listdir(tmp_path / "a") == os.listdir(tmp_path / "b") == []
    assert os.fstat(place.segment.descriptor).st_mode & 0o777 == 0o600
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_file_system_without_unnamed_files_is_served(tmp_path, monkeypatch):
    real = os.open

    def without_tmpfile(path, flags, mode=0o777, **rest):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real(path, flags, mode, **rest)

    monkeypatch.setattr(os, "open", without_tmpfile)
    space = ScratchSpace([tmp_path])
    place = space.write(b"x" * 100)
    assert space.read(place) == b"x" * 100 and os.listdir(tmp_path) == []
    assert os.fstat(place.segment.descriptor).st_mode & 0o777 == 0o600
    space.close()


def test_freed_blocks_give_their_space_back(tmp_path):
    if preference(str(tmp_path)) == 1 or not _can_punch(tmp_path):
        pytest.skip("this file system keeps the space of holes")
    space = ScratchSpace([tmp_path])
    places = [space.write(os.urandom(1 << 20)) for _ in range(4)]
    descriptor = places[0].segment.descriptor
    os.fsync(descriptor)
    before = os.fstat(descriptor).st_blocks
    for place in places[:3]:
        space.free(place)
    assert os.fstat(descriptor).st_blocks <= before / 3
    assert space.read(places[3])
    space.free(places[3])
    assert space.segments == 0
    space.close()


def _can_punch(directory):
    with open(directory / "probe", "wb") as file:
        file.write(bytes(8192))
        file.flush()
        return file_systems.punch_hole(file.fileno(), 0, 4096)


def test_descriptors_stay_few(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch_module, "_SEGMENT_BYTES", (1 << 20, 1 << 20))
    space = ScratchSpace([tmp_path])
    places = [space.write(bytes(100_000)) for _ in range(100)]
    assert 10 <= space.segments <= 12
    for place in places:
        space.free(place)
    assert space.segments == 0
    space.close()


@pytest.mark.parametrize("where", ["magic", "length", "middle", "last", "cut"])
def test_every_damage_is_an_error_that_names_the_file(tmp_path, where):
    space = ScratchSpace([tmp_path])
    space.write(b"other")
    place = space.write(os.urandom(5000))
    if where == "cut":
        os.ftruncate(place.segment.descriptor, place.offset + 100)
    else:
        offset = place.offset + {"magic": 0, "length": 8, "middle": 2000, "last": place.size_bytes - 1}[where]
        byte = os.pread(place.segment.descriptor, 1, offset)
        os.pwrite(place.segment.descriptor, bytes([byte[0] ^ 0x10]), offset)
    with pytest.raises(SpillError, match="damaged") as caught:
        space.read(place)
    assert f"{tmp_path} (spill segment" in str(caught.value)
    space.close()


def test_full_directory_is_left_for_the_next(tmp_path, monkeypatch):
    write_all = scratch_module._write_all
    space = ScratchSpace([tmp_path / "a", tmp_path / "b"])
    full = str(tmp_path / "a")

    def write(descriptor, data, offset):
        if any(segment.descriptor == descriptor and segment.directory == full for segment in space._segments):
            raise OSError(28, "No space left on device")
        write_all(descriptor, data, offset)

    monkeypatch.setattr(scratch_module, "_write_all", write)
    assert {space.write(b"x").directory for _ in range(4)} == {str(tmp_path / "b")}
    full = str(tmp_path)
    monkeypatch.setattr(scratch_module, "_write_all", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(SpillError) as caught:
        space.write(b"x")
    for word in ("No space left", str(tmp_path / "a"), str(tmp_path / "b"), "HPCFLOW_SCRATCH", "bytes free"):
        assert word in str(caught.value)
    space.close()


def test_directory_short_of_space_comes_last(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch_module, "free_bytes", lambda path: 100 if path.endswith("a") else 1 << 30)
    space = ScratchSpace([tmp_path / "a", tmp_path / "b"])
    assert {space.write(b"x").directory for _ in range(4)} == {str(tmp_path / "b")}
    space.close()


def test_node_local_directories_come_before_network_and_memory(tmp_path, monkeypatch):
    kinds = {"net": "nfs4", "mem": "tmpfs", "disk": "xfs"}
    monkeypatch.setattr(file_systems, "file_system_type", lambda path: kinds[os.path.basename(path)])
    space = ScratchSpace([tmp_path / name for name in kinds])
    assert [os.path.basename(path) for path in space._candidates(1)] == ["disk", "net", "mem"]
    space.close()


def test_unusable_directory_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpillError, match="HPCFLOW_SCRATCH"):
        ScratchSpace([tmp_path / "file" / "x"])
    with pytest.raises(SpillError, match="HPCFLOW_SCRATCH"):
        ScratchSpace([])


def test_default_is_the_batch_systems_directory_then_one_on_a_disk(tmp_path):
    assert default_scratch({"SLURM_TMPDIR": str(tmp_path), "TMPDIR": "/tmp"}) == (str(tmp_path),)
    assert default_scratch({"TMPDIR": str(tmp_path / "missing")})[0] in ("/tmp", "/var/tmp", os.getcwd())


def test_file_systems_are_known_or_empty(tmp_path):
    assert file_system_type("/proc") == "proc"
    assert preference("/dev/shm") == 2 or not os.path.isdir("/dev/shm")
    assert free_bytes(str(tmp_path / "missing")) == 0


def test_close_while_blocks_are_written_never_touches_a_foreign_file(tmp_path):
    for _ in range(20):
        space = ScratchSpace([tmp_path])
        bystander = os.open(tmp_path, os.O_TMPFILE | os.O_RDWR) if hasattr(os, "O_TMPFILE") else None

        def work(space=space):
            try:
                while True:
                    space.free(space.write(bytes(5000)))
            except SpillError as error:
                assert "closed" in str(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        threading.Event().wait(0.005)
        space.close()
        others = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        assert space.segments == 0
        for descriptor in [*others, *([bystander] if bystander is not None else [])]:
            assert os.fstat(descriptor).st_size == 0
            os.close(descriptor)


def test_killed_process_leaves_nothing_on_disk(tmp_path):
    program = textwrap.dedent("""
        import os, sys
        from hpcflow.runtime.block_store import BlockStore
        from hpcflow.runtime.memory import MemoryBudget
        store = BlockStore(MemoryBudget(1000), [sys.argv[1]])
        for n in range(20):
            store.put(("f", n), os.urandom(1 << 20))
        while store.statistics().resident_blocks:  # the store's own thread may be writing one
            store.spill_all()
        print(store.statistics().stored_bytes, flush=True)
        sys.stdin.read()
    """)
    repository = Path(__file__).parents[2]
    environ = {**os.environ, "PYTHONPATH": str(repository)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=tmp_path
    ) as process:
        assert int(process.stdout.readline()) >= 20 << 20
        process.kill()
    assert os.listdir(tmp_path) == []
