#include "hf_hash.h"

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "hf_loops.h"

namespace {

constexpr int64_t BLOCK = 1024;  // rows hashed at a time: digests and states stay in L1

struct Digester {  // a column with what is computed once for it: the digests of its dictionary
    const HfColumn* column;
    std::vector<uint64_t> dictionary;
    std::vector<Digester> children;
};

uint64_t digest_view(const HfView& view, const void* const* data) {
    if (view.length > 12) return hf_digest_bytes(hf_view_bytes(view, data), view.length);
    uint32_t n = view.length;
    uint64_t low;
    std::memcpy(&low, view.inlined, 8);
    if (n < 8)
        return hf_bytes_step(hf_bytes_start(n), low & ((uint64_t{1} << (8 * n)) - 1), 0);  // zero padded by Arrow's rule, but that is not relied on
    return hf_bytes_step(hf_bytes_start(n), low, hf_load64(view.inlined + n - 8));
}

Digester make_digester(const HfColumn& column) {
    Digester out{&column, {}, {}};
    if (column.dictionary != nullptr) {
        const HfColumn& values = *column.dictionary;
        const HfView* views = static_cast<const HfView*>(values.values) + values.offset;
        out.dictionary.resize(static_cast<size_t>(values.length));
        for (int64_t i = 0; i < values.length; ++i) out.dictionary[static_cast<size_t>(i)] = digest_view(views[i], values.data);
    }
    out.children.reserve(column.children.size());
    for (const HfColumn& child : column.children) out.children.push_back(make_digester(child));
    return out;
}

double half_to_double(uint16_t bits) {
    uint32_t sign = bits >> 15, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    double value;
    if (exponent == 31) {
        value = fraction != 0 ? __builtin_nan("") : __builtin_inf();
    } else if (exponent == 0) {
        value = fraction * (1.0 / 16777216.0);
    } else {
        value = __builtin_ldexp(1024.0 + fraction, static_cast<int>(exponent) - 25);
    }
    return sign != 0 ? -value : value;
}

uint64_t digest_float(double v) {
    if (v != v) return 0x7FF8000000000000ull;
    if (v == 0.0) return 0;
    uint64_t bits;
    std::memcpy(&bits, &v, 8);
    return bits;
}

uint64_t digest_wide(__int128 v) {
    uint64_t low = static_cast<uint64_t>(v);
    int64_t high = static_cast<int64_t>(v >> 64);
    if (high == 0 || (high == -1 && static_cast<int64_t>(low) < 0)) return low;
    return hf_mix(low ^ hf_mix(static_cast<uint64_t>(high) ^ HF_WIDE_DIGEST));
}

uint64_t digest_decimal(__int128 v, uint32_t scale) {
    if (v == 0) return 0;
    if (v >= INT64_MIN && v <= INT64_MAX) {
        int64_t small = static_cast<int64_t>(v);
        while (scale > 0 && small % 10 == 0) {
            small /= 10;
            --scale;
        }
        v = small;
    } else {
        while (scale > 0 && v % 10 == 0) {
            v /= 10;
            --scale;
        }
    }
    uint64_t digest = digest_wide(v);
    return scale == 0 ? digest : hf_mix(digest ^ hf_mix(scale ^ HF_WIDE_DIGEST));
}

void digest_fixed(const HfColumn& column, int64_t begin, int64_t n, uint64_t* out) {
    const HfType& type = *column.type;
    const HfLoops& loops = hf_loops();
    int64_t row = column.offset + begin;
    const uint8_t* in = static_cast<const uint8_t*>(column.values) + row * type.width;
    if (type.logic == HfLogic::floating) {
        if (type.width == 8) return loops.digest_f64(in, out, n);
        if (type.width == 4) return loops.digest_f32(in, out, n);
        const uint16_t* half = reinterpret_cast<const uint16_t*>(in);
        for (int64_t i = 0; i < n; ++i) out[i] = digest_float(half_to_double(half[i]));
        return;
    }
    bool is_signed = type.logic == HfLogic::signed_integer;
    switch (type.width) {
        case 1:
            return (is_signed ? loops.widen_i8 : loops.widen_u8)(in, out, n);
        case 2:
            return (is_signed ? loops.widen_i16 : loops.widen_u16)(in, out, n);
        case 4:
            return (is_signed ? loops.widen_i32 : loops.widen_u32)(in, out, n);
        case 8:
            std::memcpy(out, in, static_cast<size_t>(n) * 8);
            return;
        default:
            for (int64_t i = 0; i < n; ++i) {
                __int128 v;
                std::memcpy(&v, in + 16 * i, 16);
                out[i] = type.logic == HfLogic::decimal ? digest_decimal(v, type.scale) : digest_wide(v);
            }
    }
}

void digest_rows(const Digester& digester, int64_t begin, int64_t n, uint64_t* out) {
    const HfColumn& column = *digester.column;
    const HfType& type = *column.type;
    int64_t row = column.offset + begin;
    if (column.dictionary != nullptr) {
        for (int64_t i = 0; i < n; ++i) {
            bool valid = column.validity == nullptr || hf_is_valid(column.validity, row + i);
            out[i] = valid ? digester.dictionary[hf_code_at(column.values, type.code_width, row + i)] : HF_NULL_DIGEST;
        }
        return;
    }
    switch (type.kind) {
        case HfKind::null:
            std::fill(out, out + n, HF_NULL_DIGEST);
            return;
        case HfKind::boolean:
            for (int64_t i = 0; i < n; ++i) out[i] = hf_is_valid(static_cast<const uint8_t*>(column.values), row + i);
            break;
        case HfKind::fixed:
            digest_fixed(column, begin, n, out);
            break;
        case HfKind::view: {
            const HfView* views = static_cast<const HfView*>(column.values) + row;
            for (int64_t i = 0; i < n; ++i) {
                bool valid = column.validity == nullptr || hf_is_valid(column.validity, row + i);  // a null's view may be anything
                out[i] = valid ? digest_view(views[i], column.data) : HF_NULL_DIGEST;
            }
            return;
        }
        case HfKind::structure: {
            std::vector<uint64_t> field(static_cast<size_t>(n));
            std::fill(out, out + n, HF_STRUCT_DIGEST);
            for (const Digester& child : digester.children) {
                digest_rows(child, begin, n, field.data());
                hf_loops().mix_states(field.data(), out, n);
            }
            break;
        }
        case HfKind::list:
        case HfKind::list32:
        case HfKind::array: {
            auto start_of = [&](int64_t i) -> int64_t {
                if (type.kind == HfKind::array) return (begin + i) * static_cast<int64_t>(type.list_size);
                if (type.kind == HfKind::list) return static_cast<const int64_t*>(column.values)[row + i] - column.first_child;
                return static_cast<const int32_t*>(column.values)[row + i] - column.first_child;
            };
            int64_t first = start_of(0), position = first, elements = start_of(n) - first;
            std::vector<uint64_t> element(static_cast<size_t>(std::min(elements, BLOCK)));
            int64_t loaded = first;  // elements [loaded - count, loaded) are in `element`
            size_t used = 0, count = 0;
            for (int64_t i = 0; i < n; ++i) {
                int64_t end = start_of(i + 1);
                uint64_t state = hf_mix(HF_LIST_DIGEST ^ static_cast<uint64_t>(end - position));
                for (; position < end; ++position) {
                    if (used == count) {
                        count = static_cast<size_t>(std::min(BLOCK, first + elements - loaded));
                        digest_rows(digester.children[0], loaded, static_cast<int64_t>(count), element.data());
                        loaded += static_cast<int64_t>(count);
                        used = 0;
                    }
                    state = hf_mix(state ^ element[used++]);
                }
                out[i] = state;
            }
            break;
        }
    }
    if (column.validity != nullptr) {
        for (int64_t i = 0; i < n; ++i) {
            if (!hf_is_valid(column.validity, row + i)) out[i] = HF_NULL_DIGEST;
        }
    }
}

}  // namespace

int32_t hf_hash_rows(const HfColumn* columns, uint64_t seed, uint32_t partitions, uint64_t* hashes, uint32_t* ids) try {
    if (ids != nullptr && partitions == 0) return hf_fail(HF_INVALID, "partitions must be at least 1");
    const HfLoops& loops = hf_loops();
    const uint64_t start = hf_mix(seed + HF_GOLDEN);
    std::vector<Digester> digesters;
    for (const HfColumn& column : columns->children) digesters.push_back(make_digester(column));
    uint64_t digests[BLOCK], local[BLOCK];
    for (int64_t begin = 0; begin < columns->length; begin += BLOCK) {
        int64_t n = std::min(BLOCK, columns->length - begin);
        uint64_t* states = hashes != nullptr ? hashes + begin : local;
        if (digesters.empty()) std::fill(states, states + n, start);
        for (size_t c = 0; c < digesters.size(); ++c) {
            const HfColumn& column = *digesters[c].column;
            const uint64_t* in = digests;
            bool plain = column.type->kind == HfKind::fixed && column.type->width == 8 && column.type->logic != HfLogic::floating;
            if (plain && column.validity == nullptr && column.dictionary == nullptr) {
                in = static_cast<const uint64_t*>(column.values) + column.offset + begin;  // the values are the digests
            } else {
                digest_rows(digesters[c], begin, n, digests);
            }
            if (c == 0) {
                loops.mix_first(in, start, states, n);
            } else {
                loops.mix_states(in, states, n);
            }
        }
        if (ids != nullptr) loops.ids_of(states, partitions, ids + begin, n);
    }
    return HF_OK;
} catch (const std::bad_alloc&) {
    return hf_fail(HF_NO_MEMORY, "no memory for hashing %lld rows", static_cast<long long>(columns->length));
}

int32_t hf_partition_ids(const uint64_t* hashes, int64_t rows, uint32_t partitions, uint32_t* ids) {
    if (partitions == 0) return hf_fail(HF_INVALID, "partitions must be at least 1");
    hf_loops().ids_of(hashes, partitions, ids, rows);
    return HF_OK;
}
