#include "hf_arena.h"

#include <sys/mman.h>

#include <new>

// Under AddressSanitizer idle arenas, and what lies between an arena's size and its capacity, are out of bounds.
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define HF_POISON(data, bytes) ASAN_POISON_MEMORY_REGION(data, bytes)
#define HF_UNPOISON(data, bytes) ASAN_UNPOISON_MEMORY_REGION(data, bytes)
#else
#define HF_POISON(data, bytes) ((void)0)
#define HF_UNPOISON(data, bytes) ((void)0)
#endif

namespace {

constexpr uint64_t SMALLEST = 4096;
constexpr uint64_t HUGE = 2u << 20;

uint8_t* map_bytes(uint64_t capacity, bool huge_pages) {
    bool huge = huge_pages && capacity >= 2 * HUGE;
    uint64_t reserve = huge ? capacity + HUGE : capacity;  // room to cut out a stretch that starts on a huge page
    void* mapped = mmap(nullptr, reserve, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return nullptr;
    uint8_t* base = static_cast<uint8_t*>(mapped);
    if (!huge) return base;
    uint8_t* start = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(base) + HUGE - 1) / HUGE * HUGE);
    if (start > base) munmap(base, static_cast<size_t>(start - base));
    uint8_t* end = start + capacity;
    if (base + reserve > end) munmap(end, static_cast<size_t>(base + reserve - end));
#ifdef MADV_HUGEPAGE
    madvise(start, capacity, MADV_HUGEPAGE);  // refused on some systems: then the arena has ordinary pages
#endif
    return start;
}

void destroy(HfArena* arena) {
    HF_UNPOISON(arena->data, arena->capacity);
    munmap(arena->data, arena->capacity);
    delete arena;
}

void pool_unref(HfPool* pool) {
    if (pool->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete pool;
}

}  // namespace

uint64_t hf_arena_capacity(uint64_t size) {
    if (size <= SMALLEST) return SMALLEST;
    uint64_t power = SMALLEST;
    while (power <= size / 2) power *= 2;
    uint64_t step = power / 4 < SMALLEST ? SMALLEST : power / 4;  // whole pages
    return (size + step - 1) / step * step;
}

HfPool* hf_pool_new(uint64_t limit_bytes, bool huge_pages) {
    HfPool* pool = new (std::nothrow) HfPool;
    if (pool == nullptr) return nullptr;
    pool->limit = limit_bytes;
    pool->huge_pages = huge_pages;
    return pool;
}

void hf_pool_trim(HfPool* pool, uint64_t keep_bytes) {
    std::vector<HfArena*> doomed;
    {
        std::lock_guard<std::mutex> lock(pool->mutex);
        while (pool->idle_bytes.load() > keep_bytes && !pool->idle.empty()) {
            auto largest = std::prev(pool->idle.end());
            HfArena* arena = largest->second.back();
            largest->second.pop_back();
            if (largest->second.empty()) pool->idle.erase(largest);
            pool->idle_bytes -= arena->capacity;
            doomed.push_back(arena);
        }
    }
    for (HfArena* arena : doomed) destroy(arena);
}

void hf_pool_release(HfPool* pool) {
    {
        std::lock_guard<std::mutex> lock(pool->mutex);
        pool->limit = 0;  // arenas still in use are unmapped when they come back
    }
    hf_pool_trim(pool, 0);
    pool_unref(pool);
}

int32_t hf_arena_acquire(HfPool* pool, uint64_t size, HfArena** out) {
    if (size > (uint64_t{1} << 48)) return hf_fail(HF_NO_MEMORY, "an arena of %llu bytes cannot be", static_cast<unsigned long long>(size));
    uint64_t capacity = hf_arena_capacity(size);
    HfArena* arena = nullptr;
    uint64_t room = UINT64_MAX;
    {
        std::lock_guard<std::mutex> lock(pool->mutex);
        auto found = pool->idle.find(capacity);
        if (found != pool->idle.end()) {
            arena = found->second.back();
            found->second.pop_back();
            if (found->second.empty()) pool->idle.erase(found);
            pool->idle_bytes -= capacity;
        } else if (pool->limit != UINT64_MAX) {
            uint64_t in_use = pool->resident_bytes.load() + capacity;
            room = pool->limit > in_use ? pool->limit - in_use : 0;
        }
    }
    if (arena == nullptr) {
        if (room < pool->idle_bytes.load()) hf_pool_trim(pool, room);
        arena = new (std::nothrow) HfArena;
        uint8_t* data = arena == nullptr ? nullptr : map_bytes(capacity, pool->huge_pages);
        if (data == nullptr) {
            delete arena;
            return hf_fail(HF_NO_MEMORY, "no memory for an arena of %llu bytes", static_cast<unsigned long long>(capacity));
        }
        arena->data = data;
        arena->capacity = capacity;
        arena->pool = pool;
    }
    arena->size = size;
    HF_UNPOISON(arena->data, size);
    HF_POISON(arena->data + size, capacity - size);
    arena->references.store(1);
    pool->references.fetch_add(1);
    pool->resident_bytes += capacity;
    *out = arena;
    return HF_OK;
}

void hf_arena_retain(HfArena* arena) { arena->references.fetch_add(1, std::memory_order_relaxed); }

void hf_arena_release(HfArena* arena) {
    if (arena->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    HfPool* pool = arena->pool;
    bool keep;
    HF_POISON(arena->data, arena->capacity);
    {
        std::lock_guard<std::mutex> lock(pool->mutex);
        pool->resident_bytes -= arena->capacity;
        uint64_t held = pool->resident_bytes.load() + pool->idle_bytes.load();
        keep = pool->limit >= arena->capacity && held <= pool->limit - arena->capacity;
        if (keep) {
            pool->idle[arena->capacity].push_back(arena);
            pool->idle_bytes += arena->capacity;
        }
    }
    if (!keep) destroy(arena);
    pool_unref(pool);
}
