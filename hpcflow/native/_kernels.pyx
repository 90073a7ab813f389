# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
# distutils: language=c++
"""Cython over csrc/: converts arguments, releases the GIL, turns a status into an exception.

Nothing is decided here; the faces beside it validate and word the errors.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

from hpcflow.errors import FrameError, HpcflowError, SchemaError


cdef extern from "hf_status.h" nogil:
    const char* hf_last_error()
    enum: HF_OK, HF_NO_MEMORY, HF_INVALID, HF_UNSUPPORTED, HF_DAMAGED, HF_USER

cdef extern from "hf_cpu.h" nogil:
    cdef enum class HfSimd(int):
        scalar
        avx2
        avx512
    HfSimd hf_simd()
    cbool hf_cpu_has(HfSimd level)
    const char* hf_simd_name(HfSimd level)

cdef extern from "hf_arrow.h" nogil:
    struct ArrowSchema:
        void (*release)(ArrowSchema*) noexcept nogil
    struct ArrowArray:
        int64_t length
        void (*release)(ArrowArray*) noexcept nogil
    struct ArrowArrayStream:
        int (*get_schema)(ArrowArrayStream*, ArrowSchema*) noexcept nogil
        int (*get_next)(ArrowArrayStream*, ArrowArray*) noexcept nogil
        const char* (*get_last_error)(ArrowArrayStream*) noexcept nogil

cdef extern from "hf_table.h" nogil:
    cdef cppclass HfColumn:
        HfColumn() except +
        int64_t length
    cdef cppclass HfSchema:
        HfSchema() except +
        uint64_t fingerprint
        uint32_t nodes
        cbool has_categorical
        ArrowArray empty
    void hf_schema_retain(HfSchema*)
    void hf_schema_release(HfSchema*)
    int32_t hf_schema_from_arrow(const ArrowSchema*, HfSchema*)
    int32_t hf_columns_from_arrow(const HfSchema*, const ArrowArray*, HfColumn*)

cdef extern from "hf_arena.h" nogil:
    cdef cppclass HfPool:
        pass
    cdef cppclass HfArena:
        uint8_t* data
        uint64_t size
        uint64_t capacity
    HfPool* hf_pool_new(uint64_t, cbool)
    void hf_pool_release(HfPool*)
    void hf_pool_trim(HfPool*, uint64_t)
    uint64_t hf_pool_resident(const HfPool*)
    uint64_t hf_pool_idle(const HfPool*)
    int32_t hf_arena_acquire(HfPool*, uint64_t, HfArena**)
    void hf_arena_retain(HfArena*)
    void hf_arena_release(HfArena*)

cdef extern from "hf_hash.h" nogil:
    int32_t hf_hash_rows(const HfColumn*, uint64_t, uint32_t, uint64_t*, uint32_t*)
    int32_t hf_partition_ids(const uint64_t*, int64_t, uint32_t, uint32_t*)
    uint64_t hf_digest_bytes(const uint8_t*, size_t)

cdef extern from "hf_range.h" nogil:
    ctypedef void (*HfUserPartition)(int64_t, const void* const*, int64_t, uint32_t*) noexcept nogil
    int32_t hf_range_ids(const HfColumn*, const HfColumn*, const uint8_t*, const uint8_t*, int64_t, const int64_t*, uint32_t*)
    int32_t hf_user_ids(HfUserPartition, const HfColumn*, uint32_t, uint32_t*)

cdef extern from "hf_pack.h" nogil:
    cdef cppclass HfPackPlan:
        pass
    struct HfFrameStamp:
        uint64_t step
        uint32_t source_task
        uint32_t attempt
        uint32_t sequence
        cbool body_checksum
    int32_t hf_pack_plan(const HfSchema*, const HfColumn*, const uint32_t*, const uint32_t*, uint32_t, HfPackPlan**)
    uint64_t hf_pack_rows(const HfPackPlan*, uint32_t)
    uint64_t hf_pack_bytes(const HfPackPlan*, uint32_t)
    int32_t hf_pack_write(HfPackPlan*, const HfFrameStamp*, uint8_t* const*)
    void hf_pack_free(HfPackPlan*)
    int32_t hf_histogram(const uint32_t*, int64_t, uint32_t, uint64_t*)

cdef extern from "hf_frame.h" nogil:
    struct HfFrameHeader:
        uint16_t version
        uint64_t step
        uint32_t source_task
        uint32_t attempt
        uint32_t sequence
        uint32_t columns
        uint64_t rows
        uint32_t first_partition
        uint32_t partitions
        uint32_t flags
        uint64_t total_bytes
        uint64_t fingerprint
        uint64_t body_checksum
    uint64_t hf_checksum(const uint8_t*, uint64_t)
    void hf_frame_seal(uint8_t*, cbool)

cdef extern from "hf_unpack.h" nogil:
    struct HfOwner:
        void* object
        void (*release)(void*) noexcept nogil
    cdef cppclass HfFrame:
        HfFrame() except +
        HfFrameHeader header
        vector[uint64_t] row_offsets
    int32_t hf_frame_open(const uint8_t*, uint64_t, cbool, HfFrame*)
    int32_t hf_frame_export(const HfFrame*, HfSchema*, uint64_t, uint64_t, HfOwner, ArrowArray*)
    int32_t hf_schema_export(HfSchema*, ArrowSchema*)

cdef extern from *:
    """
    // Columns over a Python buffer are given back by any thread, also by one of Polars' pool while the thread that it works for holds the GIL and
    // waits for it (pickling a DataFrame does so). So the buffer is released here and now only by a thread that has the GIL; else it is put aside,
    // and the main thread, or the next frame that is opened, releases it.
    #include <mutex>
    #include <vector>

    static std::mutex hf_put_aside_lock;
    static std::vector<Py_buffer*> hf_put_aside;

    static int hf_release_buffers(void*) {  // with the GIL
        std::vector<Py_buffer*> buffers;
        {
            std::lock_guard<std::mutex> guard(hf_put_aside_lock);
            buffers.swap(hf_put_aside);
        }
        for (Py_buffer* buffer : buffers) {
            PyBuffer_Release(buffer);
            PyMem_Free(buffer);
        }
        return 0;
    }

    static void hf_release_buffer(void* view) {  // with or without
        if (!Py_IsInitialized()) return;  // at the interpreter's end the process gives the memory back
        {
            std::lock_guard<std::mutex> guard(hf_put_aside_lock);
            hf_put_aside.push_back(static_cast<Py_buffer*>(view));
        }
        if (PyGILState_Check())
            hf_release_buffers(nullptr);
        else
            Py_AddPendingCall(hf_release_buffers, nullptr);  // when that queue is full, an earlier call is in it or the next frame does it
    }
    """
    int hf_release_buffers(void*)
    void hf_release_buffer(void*) noexcept nogil


cdef int check(int32_t status, str what) except -1:
    if status == HF_OK:
        return 0
    text = f"{what}: {hf_last_error().decode('utf-8', 'replace')}"
    if status == HF_NO_MEMORY:
        raise MemoryError(text)
    if status == HF_DAMAGED:
        raise FrameError(text)
    if status == HF_UNSUPPORTED:
        raise SchemaError(text)
    if status == HF_INVALID:
        raise ValueError(text)
    raise HpcflowError(text)


# ---- arenas

cdef class ArenaPool:
    """Thread-safe pool of reusable, 64-byte aligned memory.

    `limit_bytes` bounds what the pool holds on to: idle arenas are unmapped while arenas in use plus idle ones exceed it. `acquire` never fails
    or waits because of it; admission is the memory budget's business. `huge_pages` asks the system for 2 MiB pages in arenas of 4 MiB and more.
    """
    cdef HfPool* pool

    def __cinit__(self, limit_bytes=None, huge_pages=True):
        self.pool = hf_pool_new(0xFFFFFFFFFFFFFFFF if limit_bytes is None else <uint64_t>limit_bytes, bool(huge_pages))
        if self.pool == NULL:
            raise MemoryError("no memory for an arena pool")

    def __dealloc__(self):
        if self.pool != NULL:
            hf_pool_release(self.pool)

    def acquire(self, uint64_t size_bytes):
        """An arena of `size_bytes`, its content undefined. It returns to the pool when no Python or Arrow reference to it is left."""
        cdef HfArena* arena = NULL
        cdef int32_t status
        with nogil:
            status = hf_arena_acquire(self.pool, size_bytes, &arena)
        check(status, "acquire an arena")
        return wrap_arena(arena)

    def trim(self, uint64_t keep_bytes=0):
        """Unmaps idle arenas, largest first, until at most `keep_bytes` are idle."""
        with nogil:
            hf_pool_trim(self.pool, keep_bytes)

    @property
    def resident_bytes(self):
        """Bytes of the arenas in use (their capacity)."""
        return hf_pool_resident(self.pool)

    @property
    def idle_bytes(self):
        """Bytes of the arenas kept for reuse."""
        return hf_pool_idle(self.pool)


cdef class Arena:
    """Writable memory of a pool; supports the buffer protocol. Made by `ArenaPool.acquire` and by packing."""
    cdef HfArena* arena
    cdef object __weakref__

    def __init__(self):
        if self.arena == NULL:
            raise TypeError("an Arena comes from ArenaPool.acquire()")

    def __dealloc__(self):
        if self.arena != NULL:
            hf_arena_release(self.arena)

    def __len__(self):
        return <Py_ssize_t>self.arena.size

    @property
    def size_bytes(self):
        """Bytes asked for."""
        return self.arena.size

    @property
    def capacity_bytes(self):
        """Bytes mapped, at least `size_bytes`."""
        return self.arena.capacity

    @property
    def address(self):
        """Address of the first byte, a multiple of 64."""
        return <uintptr_t>self.arena.data

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.arena.data, <Py_ssize_t>self.arena.size, 0, flags)

    def __repr__(self):
        return f"Arena({self.arena.size} bytes)"


cdef Arena wrap_arena(HfArena* arena):
    cdef Arena out = Arena.__new__(Arena)
    out.arena = arena
    return out


# ---- tables and schemas

cdef class Schema:
    """A table's wire layout, from the Arrow stream of an empty table of that schema. Shared by all frames unpacked with it."""
    cdef HfSchema* schema

    def __cinit__(self, stream_capsule):
        self.schema = new HfSchema()
        cdef ArrowArrayStream* stream = <ArrowArrayStream*>PyCapsule_GetPointer(stream_capsule, b"arrow_array_stream")
        cdef ArrowSchema arrow
        memset(&arrow, 0, sizeof(arrow))
        if stream.get_schema(stream, &arrow) != 0:
            raise SchemaError("the table's Arrow schema cannot be read")
        cdef int32_t status = hf_schema_from_arrow(&arrow, self.schema)
        arrow.release(&arrow)
        check(status, "read a schema")
        if stream.get_next(stream, &self.schema.empty) != 0:
            self.schema.empty.release = NULL
            raise SchemaError("the table's Arrow columns cannot be read")

    def __dealloc__(self):
        if self.schema != NULL:
            hf_schema_release(self.schema)

    @property
    def fingerprint(self):
        return self.schema.fingerprint

    @property
    def has_categorical(self):
        return self.schema.has_categorical


cdef class Table:
    """One chunk of columns, kept alive while kernels view it."""
    cdef ArrowArray array
    cdef HfColumn* columns
    cdef readonly Schema schema
    cdef readonly int64_t rows

    def __cinit__(self, Schema schema, stream_capsule):
        self.schema = schema
        self.columns = new HfColumn()
        memset(&self.array, 0, sizeof(self.array))
        cdef ArrowArrayStream* stream = <ArrowArrayStream*>PyCapsule_GetPointer(stream_capsule, b"arrow_array_stream")
        cdef int32_t status = HF_OK
        cdef int error
        cdef ArrowArray more
        memset(&more, 0, sizeof(more))
        with nogil:
            error = stream.get_next(stream, &self.array)
        if error != 0:
            self.array.release = NULL
            raise SchemaError("the table's columns cannot be read: " + stream.get_last_error(stream).decode("utf-8", "replace"))
        if self.array.release == NULL:   # a table without rows may come as no chunk at all
            self.columns.length = 0
            if schema.schema.nodes != 0:
                if schema.schema.empty.release == NULL:
                    raise SchemaError("an empty table came without columns")
                check(hf_columns_from_arrow(schema.schema, &schema.schema.empty, self.columns), "view an empty table")
            self.rows = 0
            return
        with nogil:
            error = stream.get_next(stream, &more)
        if error == 0 and more.release != NULL:
            more.release(&more)
            raise ValueError("the table has several chunks: rechunk it first")
        with nogil:
            status = hf_columns_from_arrow(schema.schema, &self.array, self.columns)
        check(status, "view a table")
        self.rows = self.array.length

    def __dealloc__(self):
        del self.columns
        if self.array.release != NULL:
            self.array.release(&self.array)


# ---- hashing and partition ids

def hash_rows(Table table not None, uint64_t seed, uint64_t[::1] out not None):
    cdef int32_t status
    cdef uint64_t* to = &out[0] if table.rows else NULL
    if table.rows:
        with nogil:
            status = hf_hash_rows(table.columns, seed, 0, to, NULL)
        check(status, "hash rows")


def hash_partition_ids(Table table not None, uint32_t partitions, uint64_t seed, uint32_t[::1] out not None):
    cdef int32_t status
    cdef uint32_t* to = &out[0] if table.rows else NULL
    if table.rows:
        with nogil:
            status = hf_hash_rows(table.columns, seed, partitions, NULL, to)
        check(status, "hash rows to partitions")


def partition_ids_from_hashes(const uint64_t[::1] hashes not None, uint32_t partitions, uint32_t[::1] out not None):
    cdef int64_t rows = hashes.shape[0]
    if rows:
        with nogil:
            hf_partition_ids(&hashes[0], rows, partitions, &out[0])


def partition_histogram(const uint32_t[::1] ids not None, uint32_t partitions, uint64_t[::1] out not None):
    cdef int32_t status = HF_OK
    cdef int64_t rows = ids.shape[0]
    cdef const uint32_t* from_ = &ids[0] if rows else NULL
    if partitions:
        with nogil:
            status = hf_histogram(from_, rows, partitions, &out[0])
        check(status, "count partitions")


def range_partition_ids(Table keys not None, Table splitters not None, const uint8_t[::1] descending not None, const uint8_t[::1] nulls_last not None,
                        int64_t position_start, const int64_t[::1] splitter_positions, uint32_t[::1] out not None):
    """`splitter_positions` None: equal keys all go to the lowest partition they may."""
    cdef int32_t status
    cdef uint8_t nothing = 0
    cdef const uint8_t* down = &descending[0] if descending.shape[0] else &nothing
    cdef const uint8_t* last = &nulls_last[0] if nulls_last.shape[0] else &nothing
    cdef const int64_t* positions = NULL
    cdef uint32_t* to = &out[0] if keys.rows else NULL
    if splitter_positions is not None and splitters.rows:
        positions = &splitter_positions[0]
    with nogil:
        status = hf_range_ids(keys.columns, splitters.columns, down, last, position_start, positions, to)
    check(status, "find range partitions")


def user_partition_ids(uintptr_t address, Table table not None, uint32_t partitions, uint32_t[::1] out not None):
    cdef int32_t status
    if table.rows:
        with nogil:
            status = hf_user_ids(<HfUserPartition>address, table.columns, partitions, &out[0])
        check(status, "call a compiled partitioner")


# ---- frames

def pack(Table table not None, const uint32_t[::1] ids, const uint32_t[::1] bounds not None, ArenaPool pool not None, uint64_t step,
         uint32_t source_task, uint32_t attempt, uint32_t sequence, bint checksum, bint keep_empty):
    """One arena per destination, None where it gets no rows (unless `keep_empty`). `ids` None: all rows are of partition bounds[0]."""
    cdef uint32_t destinations = <uint32_t>(bounds.shape[0] - 1)
    cdef HfPackPlan* plan = NULL
    cdef const uint32_t* id_values = NULL
    cdef uint32_t no_ids = 0
    cdef HfFrameStamp stamp
    cdef vector[uint8_t*] frames
    cdef vector[HfArena*] arenas
    cdef HfArena* arena = NULL
    cdef int32_t status
    cdef uint32_t d
    cdef uint64_t size
    if ids is not None:
        if ids.shape[0] != table.rows:
            raise ValueError(f"{ids.shape[0]} partition ids for {table.rows} rows")
        id_values = &ids[0] if table.rows else &no_ids
    frames.resize(destinations)
    arenas.resize(destinations)
    stamp.step, stamp.source_task, stamp.attempt, stamp.sequence, stamp.body_checksum = step, source_task, attempt, sequence, checksum
    with nogil:
        status = hf_pack_plan(table.schema.schema, table.columns, id_values, &bounds[0], destinations, &plan)
        if status == HF_OK:
            for d in range(destinations):
                if hf_pack_rows(plan, d) == 0 and not keep_empty:
                    continue
                size = hf_pack_bytes(plan, d)
                status = hf_arena_acquire(pool.pool, size, &arena)
                if status != HF_OK:
                    break
                arenas[d] = arena
                frames[d] = arena.data
        if status == HF_OK:
            status = hf_pack_write(plan, &stamp, frames.data())
        hf_pack_free(plan)
        if status != HF_OK:
            for d in range(destinations):
                if arenas[d] != NULL:
                    hf_arena_release(arenas[d])
    check(status, "pack rows into frames")
    return [wrap_arena(arenas[d]) if arenas[d] != NULL else None for d in range(destinations)]


cdef void release_arena(void* arena) noexcept nogil:
    hf_arena_release(<HfArena*>arena)


cdef class PackPlan:
    """Packing in two steps, for frames in the caller's memory: how large each is, then the frames. The table must not change meanwhile."""
    cdef HfPackPlan* plan
    cdef Table table
    cdef const uint32_t[::1] ids
    cdef const uint32_t[::1] bounds
    cdef bint keep_empty
    cdef bint written

    def __cinit__(self, Table table not None, const uint32_t[::1] ids, const uint32_t[::1] bounds not None, bint keep_empty):
        cdef int32_t status
        cdef uint32_t no_ids = 0
        cdef const uint32_t* id_values = NULL
        self.table, self.ids, self.bounds, self.keep_empty = table, ids, bounds, keep_empty
        if ids is not None:
            if ids.shape[0] != table.rows:
                raise ValueError(f"{ids.shape[0]} partition ids for {table.rows} rows")
            id_values = &ids[0] if table.rows else &no_ids
        with nogil:
            status = hf_pack_plan(table.schema.schema, table.columns, id_values, &self.bounds[0], <uint32_t>(self.bounds.shape[0] - 1), &self.plan)
        check(status, "plan the packing of rows")

    def __dealloc__(self):
        if self.plan != NULL:
            hf_pack_free(self.plan)

    def sizes(self, uint64_t[::1] out not None):
        """Bytes of each destination's frame, 0 where it gets no rows and no frame."""
        cdef uint32_t d
        for d in range(<uint32_t>(self.bounds.shape[0] - 1)):
            out[d] = hf_pack_bytes(self.plan, d) if self.keep_empty or hf_pack_rows(self.plan, d) else 0

    def write(self, targets not None, uint64_t step, uint32_t source_task, uint32_t attempt, uint32_t sequence, bint checksum):
        """Fills `targets`: for each destination a writable, 64-byte aligned buffer of its size, or None where it gets no frame. Once."""
        cdef HfFrameStamp stamp
        cdef vector[uint8_t*] frames
        cdef vector[Py_buffer] views
        cdef Py_buffer* view
        cdef uint32_t destinations = <uint32_t>(self.bounds.shape[0] - 1)
        cdef uint32_t d
        cdef uint32_t taken = 0
        cdef int32_t status
        if self.written or len(targets) != destinations:
            raise ValueError(f"{len(targets)} buffers for {destinations} frames, to be written once")
        stamp.step, stamp.source_task, stamp.attempt, stamp.sequence, stamp.body_checksum = step, source_task, attempt, sequence, checksum
        frames.resize(destinations)
        views.resize(destinations)
        try:
            for d in range(destinations):
                if targets[d] is None:
                    if self.keep_empty or hf_pack_rows(self.plan, d):
                        raise ValueError(f"no buffer for frame {d}")
                    continue
                view = &views[taken]
                PyObject_GetBuffer(targets[d], view, PyBUF_WRITABLE)
                taken += 1
                if <uint64_t>view.len != hf_pack_bytes(self.plan, d) or (<uintptr_t>view.buf) % 64:
                    raise ValueError(f"the buffer of frame {d} has {view.len} bytes or is not 64-byte aligned")
                frames[d] = <uint8_t*>view.buf
            self.written = True
            with nogil:
                status = hf_pack_write(self.plan, &stamp, frames.data())
        finally:
            for d in range(taken):
                PyBuffer_Release(&views[d])
        check(status, "pack rows into frames")


cdef class Frame:
    """An opened frame over any readable buffer, or over `length` bytes of it from `offset` on.

    It has the header, partition offsets, and columns without copying. Opening checks the metadata, and the body's checksum when it has one. Over an
    `Arena` its columns hold the arena, and giving them back takes no GIL.
    """
    cdef HfFrame frame
    cdef Py_buffer view
    cdef bint viewed
    cdef bint misaligned
    cdef Arena arena
    cdef object source

    def __cinit__(self, buffer, bint check_body=True, uint64_t offset=0, length=None):
        cdef int32_t status
        cdef const uint8_t* bytes_
        cdef uint64_t size
        hf_release_buffers(NULL)
        PyObject_GetBuffer(buffer, &self.view, PyBUF_SIMPLE)
        self.viewed = True
        self.source = buffer
        self.arena = buffer if isinstance(buffer, Arena) else None
        if offset > <uint64_t>self.view.len or (length is not None and length > self.view.len - offset):
            raise FrameError(f"a frame of {length} bytes at {offset} does not lie in a buffer of {self.view.len} bytes")
        bytes_ = <const uint8_t*>self.view.buf + offset
        size = <uint64_t>self.view.len - offset if length is None else length
        self.misaligned = (<uintptr_t>bytes_) % 16 != 0
        with nogil:
            status = hf_frame_open(bytes_, size, check_body, &self.frame)
        check(status, "read a frame")

    def __dealloc__(self):
        if self.viewed:
            PyBuffer_Release(&self.view)

    @property
    def aligned(self):
        """Whether the buffer may be read in place (16-byte aligned)."""
        return not self.misaligned

    def header(self):
        cdef HfFrameHeader* h = &self.frame.header
        return (h.version, h.step, h.source_task, h.attempt, h.sequence, h.rows, h.columns, h.first_partition, h.partitions, h.flags,
                h.total_bytes, h.body_checksum, h.fingerprint)

    def row_offsets(self, uint64_t[::1] out not None):
        cdef size_t i
        for i in range(self.frame.row_offsets.size()):
            out[i] = self.frame.row_offsets[i]

    def export(self, Schema schema not None, uint64_t begin, uint64_t rows):
        """Arrow capsules (schema, array) of these rows; they keep the frame's memory alive, not this object."""
        cdef ArrowArray* array = <ArrowArray*>PyMem_Malloc(sizeof(ArrowArray))
        cdef ArrowSchema* arrow = <ArrowSchema*>PyMem_Malloc(sizeof(ArrowSchema))
        cdef Py_buffer* kept = NULL
        cdef HfOwner owner
        cdef int32_t status
        if array == NULL or arrow == NULL:
            PyMem_Free(array)
            PyMem_Free(arrow)
            raise MemoryError("no memory for a frame's columns")
        memset(array, 0, sizeof(ArrowArray))
        memset(arrow, 0, sizeof(ArrowSchema))
        schema_capsule = PyCapsule_New(arrow, b"arrow_schema", destroy_schema)
        array_capsule = PyCapsule_New(array, b"arrow_array", destroy_array)
        if self.arena is not None:
            owner.object = self.arena.arena
            owner.release = release_arena
            hf_arena_retain(self.arena.arena)
        else:
            kept = <Py_buffer*>PyMem_Malloc(sizeof(Py_buffer))
            if kept == NULL:
                raise MemoryError("no memory for a frame's columns")
            PyObject_GetBuffer(self.source, kept, PyBUF_SIMPLE)
            owner.object = kept
            owner.release = hf_release_buffer
        with nogil:
            status = hf_schema_export(schema.schema, arrow)
            if status == HF_OK:
                status = hf_frame_export(&self.frame, schema.schema, begin, rows, owner, array)
        if status != HF_OK:
            owner.release(owner.object)
        check(status, "unpack a frame")
        return schema_capsule, array_capsule


cdef void destroy_schema(object capsule) noexcept:
    cdef ArrowSchema* schema = <ArrowSchema*>PyCapsule_GetPointer(capsule, b"arrow_schema")
    if schema.release != NULL:
        schema.release(schema)
    PyMem_Free(schema)


cdef void destroy_array(object capsule) noexcept:
    cdef ArrowArray* array = <ArrowArray*>PyCapsule_GetPointer(capsule, b"arrow_array")
    if array.release != NULL:
        array.release(array)
    PyMem_Free(array)


def seal(buffer, bint body):
    """Computes a frame's checksums anew. For tests that write damaged frames whose checksums match."""
    cdef uint8_t[::1] frame = buffer
    with nogil:
        hf_frame_seal(&frame[0], body)


def checksum(const uint8_t[::1] data not None):
    """The frame checksum of these bytes."""
    cdef uint64_t size = <uint64_t>data.shape[0]
    return hf_checksum(&data[0] if size else NULL, size)


def digest_bytes(const uint8_t[::1] data not None):
    """The digest that the row hash takes of a string."""
    cdef uint64_t size = <uint64_t>data.shape[0]
    cdef uint8_t nothing = 0
    return hf_digest_bytes(&data[0] if size else &nothing, size)


# ---- processor

def cpu_features():
    return {hf_simd_name(level).decode(): bool(hf_cpu_has(level)) for level in (HfSimd.scalar, HfSimd.avx2, HfSimd.avx512)}


def simd_level():
    return hf_simd_name(hf_simd()).decode()
