// The one row hash. 64 bits, well mixed, one value per logical value whatever its encoding.
//
//   digest(value)  64 bits: integers and temporals their 64-bit value; booleans 0 or 1; floats the bits of their canonical f64 (-0.0 -> 0.0, one
//   NaN); 128-bit integers
//                  their low word when the high word only extends it; decimals their value without trailing zeros; strings, binary, categories a
//                  64-bit digest of the bytes; null a constant; lists, arrays and structs a fold over their elements' digests.
//   hash(row)      state = mix(seed + GOLDEN); for each column: state = mix(digest ^ state).
//
// hpcflow/native/reference/hashing.py says the same in NumPy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hf_table.h"

constexpr uint64_t HF_GOLDEN = 0x9E3779B97F4A7C15ull;
constexpr uint64_t HF_NULL_DIGEST = 0xB5AD4ECEDA1CE2A9ull;
constexpr uint64_t HF_LIST_DIGEST = 0x8CB92BA72F3D8DD7ull;
constexpr uint64_t HF_STRUCT_DIGEST = 0xD1342543DE82EF95ull;
constexpr uint64_t HF_WIDE_DIGEST = 0xAEF17502108EF2D9ull;
constexpr uint64_t HF_BYTES_1 = 0xC2B2AE3D27D4EB4Full;
constexpr uint64_t HF_BYTES_2 = 0x165667B19E3779F9ull;

inline uint64_t hf_mix(uint64_t x) {  // Pelle Evensen's "moremur" finalizer: a bijection
    x ^= x >> 27;
    x *= 0x3C79AC492BA7B653ull;
    x ^= x >> 33;
    x *= 0x1C69B3F74AC4AE35ull;
    return x ^ (x >> 27);
}

inline uint64_t hf_fold_multiply(uint64_t a, uint64_t b) {
    unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t hf_bytes_step(uint64_t state, uint64_t a, uint64_t b) {
    return hf_fold_multiply(a ^ state ^ HF_BYTES_1, b ^ ((state << 32) | (state >> 32)) ^ HF_BYTES_2);
}

inline uint64_t hf_load64(const uint8_t* p) {
    uint64_t v;
    std::memcpy(&v, p, 8);
    return v;
}

inline uint64_t hf_load_short(const uint8_t* p, size_t n) {  // n in 0..7 bytes, zero padded, little endian; reads inside [p, p + n)
    if (n >= 4) {
        uint32_t low, high;
        std::memcpy(&low, p, 4);
        std::memcpy(&high, p + n - 4, 4);
        return low | static_cast<uint64_t>(high) << (8 * (n - 4));  // the overlap says the same twice
    }
    if (n == 0) return 0;
    return p[0] | static_cast<uint64_t>(p[n / 2]) << (8 * (n / 2)) | static_cast<uint64_t>(p[n - 1]) << (8 * (n - 1));
}

inline uint64_t hf_bytes_start(size_t n) { return n * HF_GOLDEN + HF_BYTES_2; }

// Steps of 16 bytes; the last step takes the last 16, overlapping the one before. 8 to 16 bytes: the first 8 and the last 8; fewer: zero padded, and
// 0.
inline uint64_t hf_digest_bytes(const uint8_t* p, size_t n) {
    uint64_t state = hf_bytes_start(n);
    if (n < 8) return hf_bytes_step(state, hf_load_short(p, n), 0);
    if (n <= 16) return hf_bytes_step(state, hf_load64(p), hf_load64(p + n - 8));
    const uint8_t* last = p + n - 16;
    if (n <= 48) {  // two or three steps, without a branch that random lengths would mispredict
        uint64_t first = hf_bytes_step(state, hf_load64(p), hf_load64(p + 8));
        const uint8_t* middle = n > 32 ? p + 16 : p;
        uint64_t second = hf_bytes_step(first, hf_load64(middle), hf_load64(middle + 8));
        return hf_bytes_step(n > 32 ? second : first, hf_load64(last), hf_load64(last + 8));
    }
    for (; p < last; p += 16) state = hf_bytes_step(state, hf_load64(p), hf_load64(p + 8));
    return hf_bytes_step(state, hf_load64(last), hf_load64(last + 8));
}

// Fused or separate: hashes and ids may each be null, not both. Both have table.length entries. Ids need partitions >= 1.
// `columns` is the root struct of the key columns.
int32_t hf_hash_rows(const HfColumn* columns, uint64_t seed, uint32_t partitions, uint64_t* hashes, uint32_t* ids);
int32_t hf_partition_ids(const uint64_t* hashes, int64_t rows, uint32_t partitions, uint32_t* ids);  // the high bits, by multiply and shift
