#include "hf_table.h"

#include <cstdlib>
#include <cstring>

#include "hf_hash.h"

namespace {

std::string metadata_bytes(const char* metadata) {  // int32 pairs, then (int32 length, bytes) twice a pair
    if (metadata == nullptr) return {};
    int32_t pairs = 0;
    std::memcpy(&pairs, metadata, 4);
    const char* end = metadata + 4;
    for (int32_t i = 0; i < 2 * pairs; ++i) {
        int32_t length = 0;
        std::memcpy(&length, end, 4);
        end += 4 + length;
    }
    return std::string(metadata, end);
}

bool set_fixed(HfType* type, HfLogic logic, uint32_t width) {
    type->kind = HfKind::fixed;
    type->logic = logic;
    type->width = width;
    return true;
}

bool parse_format(const std::string& format, HfType* type) {
    if (format.size() == 1) {
        switch (format[0]) {
            case 'n':
                type->kind = HfKind::null;
                return true;
            case 'b':
                type->kind = HfKind::boolean;
                return true;
            case 'c':
                return set_fixed(type, HfLogic::signed_integer, 1);
            case 's':
                return set_fixed(type, HfLogic::signed_integer, 2);
            case 'i':
                return set_fixed(type, HfLogic::signed_integer, 4);
            case 'l':
                return set_fixed(type, HfLogic::signed_integer, 8);
            case 'C':
                return set_fixed(type, HfLogic::unsigned_integer, 1);
            case 'S':
                return set_fixed(type, HfLogic::unsigned_integer, 2);
            case 'I':
                return set_fixed(type, HfLogic::unsigned_integer, 4);
            case 'L':
                return set_fixed(type, HfLogic::unsigned_integer, 8);
            case 'e':
                return set_fixed(type, HfLogic::floating, 2);
            case 'f':
                return set_fixed(type, HfLogic::floating, 4);
            case 'g':
                return set_fixed(type, HfLogic::floating, 8);
            default:
                return false;
        }
    }
    if (format == "_pli128") return set_fixed(type, HfLogic::signed_integer, 16);
    if (format == "_plu128") return set_fixed(type, HfLogic::unsigned_integer, 16);
    if (format == "vu" || format == "vz") {
        type->kind = HfKind::view;
        type->logic = format == "vu" ? HfLogic::text : HfLogic::binary;
        return true;
    }
    if (format == "tdD" || format == "tts" || format == "ttm") return set_fixed(type, HfLogic::signed_integer, 4);
    if (format == "tdm" || format == "ttu" || format == "ttn" || format.compare(0, 2, "ts") == 0 || format.compare(0, 2, "tD") == 0) {
        return set_fixed(type, HfLogic::signed_integer, 8);
    }
    if (format.compare(0, 2, "d:") == 0) {
        size_t comma = format.find(',');
        if (comma == std::string::npos || format.find(',', comma + 1) != std::string::npos) return false;  // no 256-bit decimals
        int scale = std::atoi(format.c_str() + comma + 1);
        if (scale < 0) return false;
        type->scale = static_cast<uint32_t>(scale);
        return set_fixed(type, HfLogic::decimal, 16);
    }
    if (format == "+s") {
        type->kind = HfKind::structure;
        return true;
    }
    if (format == "+L") {
        type->kind = HfKind::list;
        return true;
    }
    if (format == "+m") {
        type->kind = HfKind::list32;
        return true;
    }
    if (format.compare(0, 3, "+w:") == 0) {
        type->kind = HfKind::array;
        type->list_size = std::strtoull(format.c_str() + 3, nullptr, 10);
        return true;
    }
    return false;
}

int32_t parse_type(const ArrowSchema* schema, HfType* type, HfSchema* owner) {
    type->format = schema->format;
    type->name = schema->name == nullptr ? "" : schema->name;
    type->metadata = metadata_bytes(schema->metadata);
    type->flags = schema->flags;
    if (!parse_format(type->format, type)) {
        return hf_fail(HF_UNSUPPORTED, "column '%s' has Arrow type '%s', which cannot travel in a frame", type->name.c_str(), type->format.c_str());
    }
    ++owner->nodes;
    if (schema->dictionary != nullptr) {
        type->code_width = type->width;
        auto dictionary = std::make_unique<HfType>();
        HfSchema ignored;
        int32_t status = parse_type(schema->dictionary, dictionary.get(), &ignored);
        if (status != HF_OK) return status;
        if (dictionary->kind != HfKind::view || type->kind != HfKind::fixed || type->width > 8) {
            return hf_fail(HF_UNSUPPORTED, "column '%s' is a dictionary of '%s'; only categories of strings travel in a frame", type->name.c_str(),
                           schema->dictionary->format);
        }
        type->is_enum = (schema->flags & HF_ARROW_FLAG_ORDERED) != 0;
        if (type->is_enum) {
            owner->has_enum = true;
            type->dictionary = std::move(dictionary);
        } else {  // a categorical travels by value: on the wire it is a string column
            owner->has_categorical = true;
            type->kind = HfKind::view;
            type->logic = HfLogic::text;
            type->width = 0;
            type->format = "vu";
            type->metadata.clear();
            type->flags = HF_ARROW_FLAG_NULLABLE;
        }
        return HF_OK;
    }
    type->children.resize(static_cast<size_t>(schema->n_children));
    for (int64_t i = 0; i < schema->n_children; ++i) {
        int32_t status = parse_type(schema->children[i], &type->children[static_cast<size_t>(i)], owner);
        if (status != HF_OK) return status;
    }
    size_t wanted = type->kind == HfKind::list || type->kind == HfKind::list32 || type->kind == HfKind::array ? 1 : 0;
    if (type->kind != HfKind::structure && type->children.size() != wanted) {
        return hf_fail(HF_UNSUPPORTED, "column '%s' of type '%s' has %zu children", type->name.c_str(), type->format.c_str(), type->children.size());
    }
    return HF_OK;
}

void describe(const HfType& type, std::string* out) {  // the text that is hashed into the fingerprint
    *out += type.name;
    out->push_back('\x01');
    *out += type.format;
    out->push_back(type.is_enum ? '\x03' : '\x02');
    if (type.is_enum) *out += type.metadata;
    for (const HfType& child : type.children) describe(child, out);
    out->push_back('\x04');
}

int64_t count_nulls(const uint8_t* bits, int64_t offset, int64_t length) {
    int64_t valid = 0, i = offset, end = offset + length;
    for (; i < end && (i & 7) != 0; ++i) valid += hf_is_valid(bits, i);
    for (; i + 64 <= end; i += 64) {
        uint64_t word;
        std::memcpy(&word, bits + (i >> 3), 8);
        valid += __builtin_popcountll(word);
    }
    for (; i < end; ++i) valid += hf_is_valid(bits, i);
    return length - valid;
}

int32_t view_column(const HfType& type, const ArrowArray* array, int64_t start, int64_t length, HfColumn* out) {
    out->type = &type;
    out->length = length;
    out->offset = array->offset + start;
    const void* const* buffers = array->buffers;
    if (type.kind != HfKind::null && array->n_buffers > 0 && buffers[0] != nullptr && array->null_count != 0 && length > 0) {
        const uint8_t* bits = static_cast<const uint8_t*>(buffers[0]);
        out->null_count = count_nulls(bits, out->offset, length);
        if (out->null_count > 0) out->validity = bits;
    }
    if (type.kind == HfKind::null) out->null_count = length;
    int64_t begin = out->offset;
    switch (type.kind) {
        case HfKind::null:
            return HF_OK;
        case HfKind::boolean:
        case HfKind::fixed:
        case HfKind::view:
            out->values = buffers[1];
            if (type.code_width != 0) {
                if (array->dictionary == nullptr)
                    return hf_fail(HF_INVALID, "column '%s': a dictionary column came without its values", type.name.c_str());
                out->dictionary = std::make_unique<HfColumn>();
                static const HfType text = [] {
                    HfType t;
                    t.kind = HfKind::view;
                    t.logic = HfLogic::text;
                    return t;
                }();
                return view_column(text, array->dictionary, 0, array->dictionary->length, out->dictionary.get());
            }
            if (type.kind == HfKind::view) out->data = buffers + 2;
            return HF_OK;
        case HfKind::list:
        case HfKind::list32: {
            out->values = buffers[1];
            int64_t first = 0, last = 0;
            if (length > 0 && type.kind == HfKind::list) {
                first = static_cast<const int64_t*>(buffers[1])[begin];
                last = static_cast<const int64_t*>(buffers[1])[begin + length];
            } else if (length > 0) {
                first = static_cast<const int32_t*>(buffers[1])[begin];
                last = static_cast<const int32_t*>(buffers[1])[begin + length];
            }
            out->first_child = first;
            out->children.resize(1);
            return view_column(type.children[0], array->children[0], first, last - first, &out->children[0]);
        }
        case HfKind::array: {
            int64_t size = static_cast<int64_t>(type.list_size);
            out->children.resize(1);
            return view_column(type.children[0], array->children[0], begin * size, length * size, &out->children[0]);
        }
        case HfKind::structure:
            out->children.resize(type.children.size());
            for (size_t i = 0; i < type.children.size(); ++i) {
                int32_t status = view_column(type.children[i], array->children[i], begin, length, &out->children[i]);
                if (status != HF_OK) return status;
            }
            return HF_OK;
    }
    return hf_fail(HF_INVALID, "unknown column kind");
}

}  // namespace

HfSchema::~HfSchema() {
    if (empty.release != nullptr) empty.release(&empty);
}

void hf_schema_retain(HfSchema* schema) { schema->references.fetch_add(1, std::memory_order_relaxed); }

void hf_schema_release(HfSchema* schema) {
    if (schema->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete schema;
}

int32_t hf_schema_from_arrow(const ArrowSchema* schema, HfSchema* out) {
    if (std::strcmp(schema->format, "+s") != 0) return hf_fail(HF_INVALID, "a table's Arrow schema is a struct, not '%s'", schema->format);
    int32_t status = parse_type(schema, &out->root, out);
    if (status != HF_OK) return status;
    --out->nodes;  // the root is no column
    std::string text;
    describe(out->root, &text);
    out->fingerprint = hf_digest_bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    return HF_OK;
}

int32_t hf_columns_from_arrow(const HfSchema* schema, const ArrowArray* array, HfColumn* out) {
    if (static_cast<size_t>(array->n_children) != schema->root.children.size())
        return hf_fail(HF_INVALID, "the table has another number of columns than its schema");
    return view_column(schema->root, array, 0, array->length, out);
}
