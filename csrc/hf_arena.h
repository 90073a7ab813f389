// Arenas: 64-byte aligned memory that is counted, pooled and reused.
//
// An arena has an atomic reference count; whoever drops the last reference, on any thread, hands it back to its pool. The pool itself lives until its
// last arena is gone. Idle arenas are kept by size class, so that a shuffle writes into pages that are already mapped (fresh pages halve the speed of
// packing).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "hf_status.h"

struct HfPool;

struct HfArena {
    uint8_t* data = nullptr;
    uint64_t size = 0;      // bytes asked for
    uint64_t capacity = 0;  // bytes mapped, >= size
    HfPool* pool = nullptr;
    std::atomic<int64_t> references{0};
};

struct HfPool {
    std::mutex mutex;
    std::map<uint64_t, std::vector<HfArena*>> idle;  // capacity -> arenas
    uint64_t limit = UINT64_MAX;                     // idle arenas are unmapped while in use + idle exceed it
    bool huge_pages = true;
    std::atomic<uint64_t> resident_bytes{0}, idle_bytes{0};
    std::atomic<int64_t> references{1};
};

HfPool* hf_pool_new(uint64_t limit_bytes, bool huge_pages);  // one reference; null without memory
void hf_pool_release(HfPool* pool);                          // idle arenas are unmapped; arenas in use stay valid
void hf_pool_trim(HfPool* pool, uint64_t keep_bytes);        // unmap idle arenas, largest first, down to keep_bytes
inline uint64_t hf_pool_resident(const HfPool* pool) { return pool->resident_bytes.load(); }
inline uint64_t hf_pool_idle(const HfPool* pool) { return pool->idle_bytes.load(); }
int32_t hf_arena_acquire(HfPool* pool, uint64_t size, HfArena** out);  // one reference
void hf_arena_retain(HfArena* arena);
void hf_arena_release(HfArena* arena);
uint64_t hf_arena_capacity(uint64_t size);  // the size class: quarter steps between powers of two, >= 4096
