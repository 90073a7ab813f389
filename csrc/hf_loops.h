// The table of vectorizable loops, one per instruction set; hf_loops() is the one for this CPU.
#pragma once

#include <cstdint>

struct HfLoops {
    void (*mix_states)(const uint64_t* digests, uint64_t* states, int64_t n);                 // states[i] = mix(digests[i] ^ states[i])
    void (*mix_first)(const uint64_t* digests, uint64_t state, uint64_t* states, int64_t n);  // the same from one state
    void (*ids_of)(const uint64_t* hashes, uint64_t partitions, uint32_t* ids, int64_t n);
    void (*widen_i8)(const void* in, uint64_t* out, int64_t n);
    void (*widen_i16)(const void* in, uint64_t* out, int64_t n);
    void (*widen_i32)(const void* in, uint64_t* out, int64_t n);
    void (*widen_u8)(const void* in, uint64_t* out, int64_t n);
    void (*widen_u16)(const void* in, uint64_t* out, int64_t n);
    void (*widen_u32)(const void* in, uint64_t* out, int64_t n);
    void (*digest_f64)(const void* in, uint64_t* out, int64_t n);
    void (*digest_f32)(const void* in, uint64_t* out, int64_t n);
    void (*search)(const uint64_t* keys, int64_t n, const uint64_t* table, int64_t length,
                   uint32_t* below);  // below[i]: entries of the ascending table < keys[i]
    uint32_t (*largest_id)(const uint32_t* ids, int64_t n);
    void (*checksum_stripes)(const uint8_t* p, int64_t stripes, uint64_t* lanes);
    bool (*all_ascii)(const uint8_t* p, int64_t n);
};

const HfLoops& hf_loops();
