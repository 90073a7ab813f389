#include "hf_range.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "hf_loops.h"

namespace {

constexpr int64_t BLOCK = 2048;

// Every key column becomes parts that compare as unsigned words: [null rank] [words of the value | first 8 bytes of the string], and for strings the
// whole bytes last.
struct Part {
    enum Kind { null_rank, value, value_low, bytes } kind;
    size_t key;
    bool descending, nulls_last;
};

struct Keys {  // one side's columns with the parts of a run of rows
    const HfColumn* columns;
    std::vector<uint64_t> words;  // [row][word part]
    int64_t begin = 0;
};

bool is_text(const HfColumn& column) { return column.type->kind == HfKind::view; }

bool is_null(const HfColumn& column, int64_t i) { return column.validity != nullptr && !hf_is_valid(column.validity, column.offset + i); }

struct Bytes {
    const uint8_t* data;
    uint64_t size;
};

Bytes bytes_at(const HfColumn& column, int64_t i) {
    const HfColumn& values = column.dictionary != nullptr ? *column.dictionary : column;
    int64_t row = column.offset + i;
    if (column.dictionary != nullptr) row = values.offset + static_cast<int64_t>(hf_code_at(column.values, column.type->code_width, row));
    const HfView& view = static_cast<const HfView*>(values.values)[row];
    return Bytes{hf_view_bytes(view, values.data), view.length};
}

uint64_t prefix_word(Bytes bytes) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data, std::min<uint64_t>(bytes.size, 8));
    return __builtin_bswap64(word);
}

constexpr uint64_t SIGN = uint64_t{1} << 63;

uint64_t float_word(double v) {
    if (v != v) return ~uint64_t{0};
    if (v == 0.0) v = 0.0;  // -0.0 ties with 0.0
    uint64_t bits;
    std::memcpy(&bits, &v, 8);
    return (bits & SIGN) != 0 ? ~bits : bits | SIGN;
}

double half_value(uint16_t bits) {
    uint32_t exponent = (bits >> 10) & 31, fraction = bits & 1023;
    double value = exponent == 31  ? (fraction != 0 ? __builtin_nan("") : __builtin_inf())
                   : exponent == 0 ? fraction * (1.0 / 16777216.0)
                                   : __builtin_ldexp(1024.0 + fraction, static_cast<int>(exponent) - 25);
    return (bits >> 15) != 0 ? -value : value;
}

template <typename T, typename Make>
void fill_typed(const HfColumn& column, int64_t begin, int64_t n, uint64_t* out, size_t stride, Make make) {
    const T* in = static_cast<const T*>(column.values) + column.offset + begin;
    for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i) * stride] = make(in[i]);
}

void fill_values(const HfColumn& column, bool low_half, int64_t begin, int64_t n, uint64_t* out, size_t stride) {
    const HfType& type = *column.type;
    auto widen_signed = [](auto v) { return static_cast<uint64_t>(static_cast<int64_t>(v)) ^ SIGN; };
    auto widen_unsigned = [](auto v) { return static_cast<uint64_t>(v); };
    if (type.kind == HfKind::boolean) {
        for (int64_t i = 0; i < n; ++i)
            out[static_cast<size_t>(i) * stride] = hf_is_valid(static_cast<const uint8_t*>(column.values), column.offset + begin + i);
        return;
    }
    if (type.kind == HfKind::view) {
        for (int64_t i = 0; i < n; ++i)
            out[static_cast<size_t>(i) * stride] = is_null(column, begin + i) ? 0 : prefix_word(bytes_at(column, begin + i));
        return;
    }
    if (type.width == 16) {
        uint64_t flip = type.logic == HfLogic::unsigned_integer ? 0 : SIGN;
        const uint8_t* in = static_cast<const uint8_t*>(column.values) + 16 * (column.offset + begin) + (low_half ? 0 : 8);
        for (int64_t i = 0; i < n; ++i) {
            uint64_t word;
            std::memcpy(&word, in + 16 * i, 8);
            out[static_cast<size_t>(i) * stride] = low_half ? word : word ^ flip;
        }
        return;
    }
    if (type.logic == HfLogic::floating) {
        if (type.width == 8) return fill_typed<double>(column, begin, n, out, stride, float_word);
        if (type.width == 4) return fill_typed<float>(column, begin, n, out, stride, [](float v) { return float_word(v); });
        return fill_typed<uint16_t>(column, begin, n, out, stride, [](uint16_t v) { return float_word(half_value(v)); });
    }
    bool is_signed = type.logic == HfLogic::signed_integer;
    switch (type.width) {
        case 1:
            return is_signed ? fill_typed<int8_t>(column, begin, n, out, stride, widen_signed)
                             : fill_typed<uint8_t>(column, begin, n, out, stride, widen_unsigned);
        case 2:
            return is_signed ? fill_typed<int16_t>(column, begin, n, out, stride, widen_signed)
                             : fill_typed<uint16_t>(column, begin, n, out, stride, widen_unsigned);
        case 4:
            return is_signed ? fill_typed<int32_t>(column, begin, n, out, stride, widen_signed)
                             : fill_typed<uint32_t>(column, begin, n, out, stride, widen_unsigned);
        default:
            return is_signed ? fill_typed<int64_t>(column, begin, n, out, stride, widen_signed)
                             : fill_typed<uint64_t>(column, begin, n, out, stride, widen_unsigned);
    }
}

struct Comparer {
    std::vector<Part> parts;      // in order; `bytes` parts have no word
    std::vector<size_t> word_of;  // part -> its word, within a row's words
    size_t words = 0;

    void add(Part part) {
        parts.push_back(part);
        word_of.push_back(words);
        if (part.kind != Part::bytes) ++words;
    }

    void load(Keys* keys, int64_t begin, int64_t n) const {
        keys->begin = begin;
        keys->words.resize(static_cast<size_t>(n) * words);
        for (size_t p = 0; p < parts.size(); ++p) {
            const Part& part = parts[p];
            if (part.kind == Part::bytes) continue;
            const HfColumn& column = keys->columns->children[part.key];
            uint64_t* out = keys->words.data() + word_of[p];
            if (part.kind == Part::null_rank) {
                for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i) * words] = is_null(column, begin + i) == part.nulls_last;
                continue;
            }
            fill_values(column, part.kind == Part::value_low, begin, n, out, words);
            if (part.descending) {
                for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i) * words] = ~out[static_cast<size_t>(i) * words];
            }
            for (int64_t i = 0; column.validity != nullptr && i < n; ++i) {
                if (is_null(column, begin + i)) out[static_cast<size_t>(i) * words] = 0;  // nulls tie with one another
            }
        }
    }

    // < 0, 0, > 0 as row i of `a` (counted from a.begin) sorts before, with or after row j of `b`, positions aside.
    int compare(const Keys& a, int64_t i, const Keys& b, int64_t j) const {
        const uint64_t* x = a.words.data() + static_cast<size_t>(i) * words;
        const uint64_t* y = b.words.data() + static_cast<size_t>(j) * words;
        for (size_t p = 0; p < parts.size(); ++p) {
            if (parts[p].kind != Part::bytes) {
                uint64_t u = x[word_of[p]], v = y[word_of[p]];
                if (u != v) return u < v ? -1 : 1;
                continue;
            }
            const HfColumn& left = a.columns->children[parts[p].key];
            const HfColumn& right = b.columns->children[parts[p].key];
            if (is_null(left, a.begin + i)) continue;  // the null ranks were equal: both are null
            Bytes l = bytes_at(left, a.begin + i), r = bytes_at(right, b.begin + j);
            uint64_t common = std::min(l.size, r.size);
            int order = common == 0 ? 0 : std::memcmp(l.data, r.data, common);
            if (order == 0) order = l.size < r.size ? -1 : l.size > r.size;
            if (order != 0) return parts[p].descending ? -order : order;
        }
        return 0;
    }
};

int32_t make_comparer(const HfColumn* keys, const HfColumn* splitters, const uint8_t* descending, const uint8_t* nulls_last, Comparer* out) {
    for (size_t k = 0; k < keys->children.size(); ++k) {
        const HfColumn& left = keys->children[k];
        const HfColumn& right = splitters->children[k];
        const HfType& type = *left.type;
        if (type.kind != right.type->kind || type.width != right.type->width || type.logic != right.type->logic) {
            return hf_fail(HF_INVALID, "sort key '%s' has another type in the splitters", type.name.c_str());
        }
        if (type.kind == HfKind::null) continue;
        if (type.kind != HfKind::boolean && type.kind != HfKind::fixed && type.kind != HfKind::view) {
            return hf_fail(HF_UNSUPPORTED, "sort key '%s' is nested", type.name.c_str());
        }
        bool down = descending[k] != 0, last = nulls_last[k] != 0;
        if (left.validity != nullptr || right.validity != nullptr) out->add(Part{Part::null_rank, k, down, last});
        out->add(Part{Part::value, k, down, last});
        if (type.width == 16) out->add(Part{Part::value_low, k, down, last});
        if (is_text(left)) out->add(Part{Part::bytes, k, down, last});
    }
    return HF_OK;
}

}  // namespace

int32_t hf_range_ids(const HfColumn* keys, const HfColumn* splitters, const uint8_t* descending, const uint8_t* nulls_last, int64_t position_start,
                     const int64_t* splitter_positions, uint32_t* ids) try {
    int64_t rows = keys->length, count = splitters->length;
    if (keys->children.size() != splitters->children.size()) return hf_fail(HF_INVALID, "the splitters have another number of columns than the keys");
    Comparer comparer;
    int32_t status = make_comparer(keys, splitters, descending, nulls_last, &comparer);
    if (status != HF_OK) return status;
    Keys table{splitters, {}}, block{keys, {}};
    comparer.load(&table, 0, count);
    for (int64_t j = 1; j < count; ++j) {
        int order = comparer.compare(table, j - 1, table, j);
        if (order > 0 || (order == 0 && splitter_positions != nullptr && splitter_positions[j - 1] > splitter_positions[j])) {
            return hf_fail(HF_INVALID, "the splitters are not in sort order: splitter %lld comes after the next", static_cast<long long>(j - 1));
        }
    }
    bool one_word = comparer.parts.size() == 1;
    for (int64_t begin = 0; begin < rows; begin += BLOCK) {
        int64_t n = std::min(BLOCK, rows - begin);
        comparer.load(&block, begin, n);
        if (one_word) {
            hf_loops().search(block.words.data(), n, table.words.data(), count, ids + begin);
            if (splitter_positions == nullptr) continue;
        }
        for (int64_t i = 0; i < n; ++i) {
            int64_t low = 0, high = count;
            if (one_word) {
                low = ids[begin + i];
            } else {
                while (low < high) {
                    int64_t middle = low + (high - low) / 2;
                    if (comparer.compare(table, middle, block, i) < 0)
                        low = middle + 1;
                    else
                        high = middle;
                }
            }
            if (splitter_positions != nullptr && low < count &&
                comparer.compare(table, low, block, i) == 0) {  // among equal splitters, those before this row
                int64_t position = position_start + begin + i;
                high = count;
                while (low < high) {
                    int64_t middle = low + (high - low) / 2;
                    bool before = splitter_positions[middle] < position && comparer.compare(table, middle, block, i) == 0;
                    if (before)
                        low = middle + 1;
                    else
                        high = middle;
                }
            }
            ids[begin + i] = static_cast<uint32_t>(low);
        }
    }
    return HF_OK;
} catch (const std::bad_alloc&) {
    return hf_fail(HF_NO_MEMORY, "no memory for range partitions of %lld rows", static_cast<long long>(keys->length));
}

int32_t hf_user_ids(HfUserPartition function, const HfColumn* columns, uint32_t partitions, uint32_t* ids) try {
    constexpr int64_t USER_BLOCK = 1 << 16;
    std::vector<const void*> values(columns->children.size());
    for (const HfColumn& column : columns->children) {
        if (column.type->kind != HfKind::fixed || column.dictionary != nullptr) {
            return hf_fail(HF_UNSUPPORTED, "column '%s': a compiled partitioner takes fixed-width numbers and temporals; cast it first",
                           column.type->name.c_str());
        }
        if (column.validity != nullptr)
            return hf_fail(HF_UNSUPPORTED, "column '%s': a compiled partitioner takes columns without nulls; fill_null it first",
                           column.type->name.c_str());
    }
    for (int64_t begin = 0; begin < columns->length; begin += USER_BLOCK) {
        int64_t n = std::min(USER_BLOCK, columns->length - begin);
        for (size_t c = 0; c < values.size(); ++c) {
            const HfColumn& column = columns->children[c];
            values[c] = static_cast<const uint8_t*>(column.values) + (column.offset + begin) * column.type->width;
        }
        std::fill(ids + begin, ids + begin + n, UINT32_MAX);  // a row the function forgets is out of range
        function(n, values.data(), partitions, ids + begin);
        if (hf_loops().largest_id(ids + begin, n) < partitions) continue;
        int64_t row = begin;
        while (ids[row] < partitions) ++row;
        return hf_fail(HF_USER, "row %lld: the function gave partition %u, of %u partitions", static_cast<long long>(row), ids[row], partitions);
    }
    return HF_OK;
} catch (const std::bad_alloc&) {
    return hf_fail(HF_NO_MEMORY, "no memory for a compiled partitioner");
}
