// The loops of hashing that gain from wider vectors. Included once per instruction set, inside a namespace of its own.

inline uint64_t mix_one(uint64_t x) {
    x ^= x >> 27;
    x *= 0x3C79AC492BA7B653ull;
    x ^= x >> 33;
    x *= 0x1C69B3F74AC4AE35ull;
    return x ^ (x >> 27);
}

void mix_states(const uint64_t* __restrict digests, uint64_t* __restrict states, int64_t n) {
    for (int64_t i = 0; i < n; ++i) states[i] = mix_one(digests[i] ^ states[i]);
}

void mix_first(const uint64_t* __restrict digests, uint64_t state, uint64_t* __restrict states, int64_t n) {
    for (int64_t i = 0; i < n; ++i) states[i] = mix_one(digests[i] ^ state);
}

void ids_of(const uint64_t* __restrict hashes, uint64_t partitions, uint32_t* __restrict ids, int64_t n) {
    for (int64_t i = 0; i < n; ++i) ids[i] = static_cast<uint32_t>(((hashes[i] >> 32) * partitions) >> 32);
}

void widen_i8(const void* in, uint64_t* __restrict out, int64_t n) {
    const int8_t* v = static_cast<const int8_t*>(in);
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<uint64_t>(static_cast<int64_t>(v[i]));
}
void widen_i16(const void* in, uint64_t* __restrict out, int64_t n) {
    const int16_t* v = static_cast<const int16_t*>(in);
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<uint64_t>(static_cast<int64_t>(v[i]));
}
void widen_i32(const void* in, uint64_t* __restrict out, int64_t n) {
    const int32_t* v = static_cast<const int32_t*>(in);
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<uint64_t>(static_cast<int64_t>(v[i]));
}
void widen_u8(const void* in, uint64_t* __restrict out, int64_t n) {
    const uint8_t* v = static_cast<const uint8_t*>(in);
    for (int64_t i = 0; i < n; ++i) out[i] = v[i];
}
void widen_u16(const void* in, uint64_t* __restrict out, int64_t n) {
    const uint16_t* v = static_cast<const uint16_t*>(in);
    for (int64_t i = 0; i < n; ++i) out[i] = v[i];
}
void widen_u32(const void* in, uint64_t* __restrict out, int64_t n) {
    const uint32_t* v = static_cast<const uint32_t*>(in);
    for (int64_t i = 0; i < n; ++i) out[i] = v[i];
}

inline uint64_t canonical(double v) {
    v = v == 0.0 ? 0.0 : v;
    uint64_t bits;
    __builtin_memcpy(&bits, &v, 8);
    return v != v ? 0x7FF8000000000000ull : bits;
}
void digest_f64(const void* in, uint64_t* __restrict out, int64_t n) {
    const double* v = static_cast<const double*>(in);
    for (int64_t i = 0; i < n; ++i) out[i] = canonical(v[i]);
}
void digest_f32(const void* in, uint64_t* __restrict out, int64_t n) {
    const float* v = static_cast<const float*>(in);
    for (int64_t i = 0; i < n; ++i) out[i] = canonical(static_cast<double>(v[i]));
}

// All keys take the same steps through the table, so that one step of many keys is one vector instruction.
void search(const uint64_t* __restrict keys, int64_t n, const uint64_t* __restrict table, int64_t length, uint32_t* __restrict below) {
    for (int64_t i = 0; i < n; ++i) below[i] = 0;
    if (length == 0) return;
    for (int64_t rest = length; rest > 1;) {
        uint32_t half = static_cast<uint32_t>(rest / 2);
        for (int64_t i = 0; i < n; ++i) below[i] += table[below[i] + half - 1] < keys[i] ? half : 0;
        rest -= half;
    }
    for (int64_t i = 0; i < n; ++i) below[i] += table[below[i]] < keys[i];
}

uint32_t largest_id(const uint32_t* ids, int64_t n) {
    uint32_t largest = 0;
    for (int64_t i = 0; i < n; ++i) largest = ids[i] > largest ? ids[i] : largest;
    return largest;
}

// Eight lanes of multiply-accumulate over 64-byte stripes.
void checksum_stripes(const uint8_t* p, int64_t stripes, uint64_t* __restrict lanes) {
    uint64_t acc[8];
    for (int k = 0; k < 8; ++k) acc[k] = lanes[k];
    for (int64_t s = 0; s < stripes; ++s, p += 64) {
        uint64_t word[8];
        __builtin_memcpy(word, p, 64);
        for (int k = 0; k < 8; ++k) {
            uint64_t keyed = word[k] ^ (acc[k] + CHECKSUM_KEYS[k]);
            acc[k] = ((acc[k] << 23) | (acc[k] >> 41)) + (keyed & 0xFFFFFFFFull) * (keyed >> 32) + word[k];
        }
    }
    for (int k = 0; k < 8; ++k) lanes[k] = acc[k];
}

bool all_ascii(const uint8_t* p, int64_t n) {
    uint64_t high = 0;
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
        uint64_t word[8];
        __builtin_memcpy(word, p + i, 64);
        for (int k = 0; k < 8; ++k) high |= word[k];
    }
    uint8_t rest = 0;
    for (; i < n; ++i) rest |= p[i];
    return ((high & 0x8080808080808080ull) | (rest & 0x80)) == 0;
}

constexpr HfLoops loops = {mix_states, mix_first,  ids_of,     widen_i8, widen_i16,  widen_i32,        widen_u8, widen_u16,
                           widen_u32,  digest_f64, digest_f32, search,   largest_id, checksum_stripes, all_ascii};
