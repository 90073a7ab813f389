"""Random calls on a block store against a dict: same content, exact sums, whatever is spilled in between."""

import shutil
import tempfile

import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hpcflow.runtime.block_store import BlockStore
from hpcflow.runtime.memory import MemoryBudget
from tests.until import until

KEYS = st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.integers(0, 2)) | st.tuples(st.sampled_from("ab"))


class AgainstDict(RuleBasedStateMachine):
    @initialize(limit=st.sampled_from([1, 3000, 1 << 20]), compression=st.sampled_from(["none", "lz4"]))
    def start(self, limit, compression):
        self.directory = tempfile.mkdtemp()
        self.store = BlockStore(MemoryBudget(limit), [self.directory], compression)
        self.model, self.pins = {}, {}

    @rule(key=KEYS, fill=st.binary(min_size=1, max_size=4), times=st.integers(0, 600))
    def put(self, key, fill, times):
        if key in self.model:
            with pytest.raises(KeyError):
                self.store.put(key, b"")
        else:
            self.store.put(key, fill * times)
            self.model[key] = fill * times

    @rule(key=KEYS, rows=st.integers(0, 200), to_scratch=st.booleans())
    def put_table(self, key, rows, to_scratch):
        df = pl.DataFrame({"x": range(rows), "s": [f"row {n}" for n in range(rows)]}, schema={"x": pl.Int64, "s": pl.String})
        if key not in self.model:
            self.store.put_table(key, df, to_scratch=to_scratch)
            self.model[key] = df

    @rule(key=KEYS)
    def get(self, key):
        want = self.model.get(key)
        if want is None:
            with pytest.raises(KeyError):
                self.store.get(key)
        elif isinstance(want, pl.DataFrame):
            assert self.store.get_table(key).equals(want)
        else:
            assert bytes(memoryview(self.store.get(key))) == want

    @rule(key=KEYS)
    def pin(self, key):
        if key in self.model:
            self.store.pin(key)
            self.pins[key] = self.pins.get(key, 0) + 1

    @precondition(lambda self: self.pins)
    @rule(data=st.data())
    def unpin(self, data):
        key = data.draw(st.sampled_from(sorted(self.pins)))
        self.store.unpin(key)
        self.pins[key] -= 1
        if not self.pins[key]:
            del self.pins[key]

    @rule(prefix=KEYS | KEYS.map(lambda key: key[:2]) | KEYS.map(lambda key: key[:1]))
    def remove_prefix(self, prefix):
        gone = [key for key in self.model if key[: len(prefix)] == prefix]
        assert self.store.keys(prefix) == gone
        assert self.store.remove_prefix(prefix) == len(gone)
        for key in gone:
            del self.model[key]
            self.pins.pop(key, None)

    @rule()
    def spill_all(self):
        self.store.spill_all()

    @invariant()
    def same_keys_and_exact_sums(self):
        if not hasattr(self, "store"):
            return
        self.store.make_room()
        assert set(self.store.keys()) == set(self.model) and len(self.store) == len(self.model)
        # A removed block that the spill thread is writing is in memory, and counted there, until it has been written.
        until(lambda: self.store.statistics().resident_bytes == self.store.budget.resident_bytes, limit_s=5, look_s=1e-3)
        assert not self.store.overshoot_bytes or self.store.statistics().resident_blocks <= len(self.pins)

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            assert self.store.budget.resident_bytes == 0 and self.store.scratch.segments == 0
            shutil.rmtree(self.directory)


TestAgainstDict = AgainstDict.TestCase
TestAgainstDict.settings = settings(stateful_step_count=30)
