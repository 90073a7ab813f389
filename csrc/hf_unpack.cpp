#include "hf_unpack.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <new>

#include "hf_loops.h"

namespace {

using Text = unsigned long long;

struct Shared {  // one per exported frame: counts the arrays that still refer to it
    HfOwner owner;
    HfSchema* schema;
    std::atomic<int64_t> references{0};
};

void drop(Shared* shared) {
    if (shared->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    shared->owner.release(shared->owner.object);
    hf_schema_release(shared->schema);
    delete shared;
}

struct Exported {  // private data of one ArrowArray
    Shared* shared;
    std::vector<const void*> buffers;
    std::vector<int64_t> sizes;  // of a view column's data windows
    std::vector<std::unique_ptr<ArrowArray>> children;
    std::vector<ArrowArray*> pointers;
    std::unique_ptr<ArrowArray> dictionary;
    std::vector<std::vector<uint64_t>> copies;  // of bitmaps and offsets of slices

    const void* keep_bits(const uint8_t* in, uint64_t begin, uint64_t rows) {
        copies.emplace_back((rows + 63) / 64);
        uint8_t* bits = reinterpret_cast<uint8_t*>(copies.back().data());
        for (uint64_t i = 0; i < rows; ++i)
            bits[i >> 3] = static_cast<uint8_t>(bits[i >> 3] | hf_is_valid(in, static_cast<int64_t>(begin + i)) << (i & 7));
        return bits;
    }
    template <typename Offset>
    const void* keep_offsets(const uint8_t* in, uint64_t begin, uint64_t rows) {
        copies.emplace_back(((rows + 1) * sizeof(Offset) + 7) / 8);
        Offset* to = reinterpret_cast<Offset*>(copies.back().data());
        const Offset* from = reinterpret_cast<const Offset*>(in) + begin;
        for (uint64_t i = 0; i <= rows; ++i) to[i] = from[i] - from[0];
        return to;
    }
};

void release_array(ArrowArray* array) {
    Exported* exported = static_cast<Exported*>(array->private_data);
    for (auto& child : exported->children) {
        if (child->release != nullptr) child->release(child.get());
    }
    if (exported->dictionary != nullptr && exported->dictionary->release != nullptr) exported->dictionary->release(exported->dictionary.get());
    Shared* shared = exported->shared;
    delete exported;
    array->release = nullptr;
    drop(shared);
}

void init_array(ArrowArray* out, std::unique_ptr<Exported> exported, int64_t length, int64_t null_count, int64_t offset) {
    for (auto& child : exported->children) exported->pointers.push_back(child.get());
    out->length = length;
    out->null_count = null_count;
    out->offset = offset;
    out->n_buffers = static_cast<int64_t>(exported->buffers.size());
    out->buffers = exported->buffers.data();
    out->n_children = static_cast<int64_t>(exported->pointers.size());
    out->children = exported->pointers.data();
    out->dictionary = exported->dictionary.get();
    exported->shared->references.fetch_add(1, std::memory_order_relaxed);
    out->release = release_array;
    out->private_data = exported.release();
}

struct Reader {
    const HfFrame* frame;
    Shared* shared;
    uint32_t next = 0;  // node record, in pre-order

    const uint8_t* at(uint64_t offset) const { return frame->bytes + offset; }
    int32_t check_views(const HfType& type, const HfNodeRecord& node, uint64_t begin, uint64_t rows) const;
    int32_t check_codes(const HfType& type, const HfNodeRecord& node, const ArrowArray* model, uint64_t begin, uint64_t rows) const;
    template <typename Offset>
    int32_t check_offsets(const HfType& type, const HfNodeRecord& node, uint64_t begin, uint64_t rows, uint64_t* first, uint64_t* last) const;
    int32_t read(const HfType& type, const ArrowArray* model, uint64_t whole_rows, uint64_t begin, uint64_t rows, ArrowArray* out);
};

constexpr uint64_t low_bytes(uint64_t n) { return n == 0 ? 0 : n >= 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * n)) - 1; }

int32_t Reader::check_views(const HfType& type, const HfNodeRecord& node, uint64_t begin, uint64_t rows) const {
    const HfView* views = reinterpret_cast<const HfView*>(at(node.values_offset)) + begin;
    const uint8_t* data = at(node.data_offset);
    const bool text = type.logic == HfLogic::text;
    uint64_t lowest = node.data_bytes, highest = 0, inline_bytes = 0, bad = 0;
    for (uint64_t i = 0; i < rows; ++i) {
        HfView view;
        std::memcpy(&view, views + i, sizeof view);
        if (view.length <= 12) {
            uint64_t low, high = 0;
            std::memcpy(&low, view.inlined, 8);
            std::memcpy(&high, view.inlined + 8, 4);
            inline_bytes |= low | high;
            bad |= (low & ~low_bytes(view.length)) | (high & ~low_bytes(view.length > 8 ? view.length - 8 : 0));  // Arrow compares padding
            continue;
        }
        uint64_t start = (uint64_t{view.outside.buffer} << HF_WINDOW_BITS) + view.outside.offset;
        if (view.outside.offset >> HF_WINDOW_BITS != 0 || start >= node.data_bytes || view.length > node.data_bytes - start) {
            return hf_fail(HF_DAMAGED, "column '%s', row %llu: a value lies outside its data", type.name.c_str(), static_cast<Text>(begin + i));
        }
        uint32_t prefix;
        std::memcpy(&prefix, data + start, 4);
        bad |= prefix ^ view.outside.prefix;
        lowest = std::min(lowest, start);
        highest = std::max(highest, start + view.length);
    }
    if (bad != 0) return hf_fail(HF_DAMAGED, "column '%s': a value and its prefix or padding differ", type.name.c_str());
    if (!text) return HF_OK;
    bool ascii = (inline_bytes & 0x8080808080808080ull) == 0 &&
                 (highest <= lowest || hf_loops().all_ascii(data + lowest, static_cast<int64_t>(highest - lowest)));
    for (uint64_t i = 0; i < rows && !ascii; ++i) {
        const HfView& view = views[i];
        const uint8_t* bytes = view.length <= 12 ? view.inlined : data + (uint64_t{view.outside.buffer} << HF_WINDOW_BITS) + view.outside.offset;
        if (!hf_is_utf8(bytes, view.length))
            return hf_fail(HF_DAMAGED, "column '%s', row %llu: not UTF-8", type.name.c_str(), static_cast<Text>(begin + i));
    }
    return HF_OK;
}

int32_t Reader::check_codes(const HfType& type, const HfNodeRecord& node, const ArrowArray* model, uint64_t begin, uint64_t rows) const {
    if (model->dictionary == nullptr) return hf_fail(HF_INVALID, "column '%s': the schema has no Enum categories", type.name.c_str());
    uint64_t categories = static_cast<uint64_t>(model->dictionary->length);
    const uint8_t* values = at(node.values_offset);
    const uint8_t* bits = node.has_validity != 0 ? at(node.validity_offset) : nullptr;
    for (uint64_t i = begin; i < begin + rows; ++i) {
        if (hf_code_at(values, type.width, static_cast<int64_t>(i)) < categories) continue;
        if (bits == nullptr || hf_is_valid(bits, static_cast<int64_t>(i))) {
            return hf_fail(HF_DAMAGED, "column '%s', row %llu: an Enum code without a category", type.name.c_str(), static_cast<Text>(i));
        }
    }
    return HF_OK;
}

template <typename Offset>
int32_t Reader::check_offsets(const HfType& type, const HfNodeRecord& node, uint64_t begin, uint64_t rows, uint64_t* first, uint64_t* last) const {
    const Offset* offsets = reinterpret_cast<const Offset*>(at(node.values_offset)) + begin;
    bool descends = offsets[0] < 0;
    for (uint64_t i = 0; i < rows; ++i) descends |= offsets[i + 1] < offsets[i];
    if (descends || (begin == 0 && offsets[0] != 0)) return hf_fail(HF_DAMAGED, "column '%s': list offsets do not ascend from 0", type.name.c_str());
    *first = static_cast<uint64_t>(offsets[0]);
    *last = static_cast<uint64_t>(offsets[rows]);
    return HF_OK;
}

int32_t Reader::read(const HfType& type, const ArrowArray* model, uint64_t whole_rows, uint64_t begin, uint64_t rows, ArrowArray* out) {
    if (next >= frame->nodes.size()) return hf_fail(HF_DAMAGED, "the frame has fewer columns than the schema");
    const HfNodeRecord& node = frame->nodes[next++];
    if (static_cast<HfKind>(node.kind) != type.kind || node.width != type.width || node.list_size != type.list_size) {
        return hf_fail(HF_DAMAGED, "column '%s' has another type in the frame than in the schema", type.name.c_str());
    }
    if (node.rows != whole_rows) return hf_fail(HF_DAMAGED, "column '%s' has another number of rows than the frame", type.name.c_str());
    auto exported = std::make_unique<Exported>();
    exported->shared = shared;
    if (type.kind != HfKind::null) exported->buffers.push_back(node.has_validity != 0 ? at(node.validity_offset) : nullptr);
    uint64_t child_begin = begin, child_rows = rows, child_whole = whole_rows;
    int32_t status = HF_OK;
    switch (type.kind) {
        case HfKind::null:
        case HfKind::structure:
            break;
        case HfKind::boolean:
            exported->buffers.push_back(at(node.values_offset));
            break;
        case HfKind::fixed:
            exported->buffers.push_back(at(node.values_offset));
            if (type.is_enum) status = check_codes(type, node, model, begin, rows);
            break;
        case HfKind::view:
            exported->buffers.push_back(at(node.values_offset));
            for (uint64_t start = 0; start < node.data_bytes; start += uint64_t{1} << HF_WINDOW_BITS) {
                exported->buffers.push_back(at(node.data_offset) + start);
                exported->sizes.push_back(static_cast<int64_t>(node.data_bytes - start));
            }
            exported->buffers.push_back(exported->sizes.data());
            status = check_views(type, node, begin, rows);
            break;
        case HfKind::list:
        case HfKind::list32: {
            uint64_t last = 0;
            exported->buffers.push_back(at(node.values_offset));
            status = type.kind == HfKind::list ? check_offsets<int64_t>(type, node, begin, rows, &child_begin, &last)
                                               : check_offsets<int32_t>(type, node, begin, rows, &child_begin, &last);
            if (status != HF_OK) return status;
            if (next >= frame->nodes.size()) return hf_fail(HF_DAMAGED, "the frame has fewer columns than the schema");
            child_whole = frame->nodes[next].rows;  // a list's child has as many rows as it says; the offsets must stay inside
            if (last > child_whole) return hf_fail(HF_DAMAGED, "column '%s': list offsets reach beyond the list's values", type.name.c_str());
            if (begin == 0) child_begin = 0;  // else the offsets are copied below, less the first
            child_rows = last - child_begin;
            break;
        }
        case HfKind::array:
            if (type.list_size != 0 && whole_rows > (uint64_t{1} << 48) / type.list_size)
                return hf_fail(HF_DAMAGED, "column '%s' has too many rows", type.name.c_str());
            child_begin = begin * type.list_size;
            child_rows = rows * type.list_size;
            child_whole = whole_rows * type.list_size;
            break;
    }
    if (status != HF_OK) return status;
    for (size_t i = 0; i < type.children.size(); ++i) {
        auto child = std::make_unique<ArrowArray>();
        status = read(type.children[i], model == nullptr ? nullptr : model->children[i], child_whole, child_begin, child_rows, child.get());
        if (status != HF_OK) break;
        exported->children.push_back(std::move(child));
    }
    if (status != HF_OK) {
        for (auto& child : exported->children) child->release(child.get());
        return status;
    }
    if (type.is_enum) {
        exported->dictionary = std::make_unique<ArrowArray>();
        auto lent = std::make_unique<Exported>();
        lent->shared = shared;
        const ArrowArray* values = model->dictionary;
        lent->buffers.assign(values->buffers, values->buffers + values->n_buffers);
        init_array(exported->dictionary.get(), std::move(lent), values->length, values->null_count, values->offset);
    }
    // A slice is an offset into the leaves' buffers. Structs, arrays and lists get copies of what is theirs instead, so that their children can be
    // cut to just their rows.
    bool nested = !type.children.empty() || type.kind == HfKind::structure;
    if (nested && begin != 0) {
        if (node.has_validity != 0) exported->buffers[0] = exported->keep_bits(at(node.validity_offset), begin, rows);
        if (type.kind == HfKind::list) exported->buffers[1] = exported->keep_offsets<int64_t>(at(node.values_offset), begin, rows);
        if (type.kind == HfKind::list32) exported->buffers[1] = exported->keep_offsets<int32_t>(at(node.values_offset), begin, rows);
    }
    int64_t offset = nested || type.kind == HfKind::null ? 0 : static_cast<int64_t>(begin);
    int64_t nulls = type.kind == HfKind::null ? static_cast<int64_t>(rows) : node.has_validity != 0 ? -1 : 0;
    init_array(out, std::move(exported), static_cast<int64_t>(rows), nulls, offset);
    return HF_OK;
}

struct ExportedSchema {
    HfSchema* owner;
    const HfType* type;
    std::vector<std::unique_ptr<ArrowSchema>> children;
    std::vector<ArrowSchema*> pointers;
    std::unique_ptr<ArrowSchema> dictionary;
};

void release_schema(ArrowSchema* schema) {
    ExportedSchema* exported = static_cast<ExportedSchema*>(schema->private_data);
    for (auto& child : exported->children) {
        if (child->release != nullptr) child->release(child.get());
    }
    if (exported->dictionary != nullptr && exported->dictionary->release != nullptr) exported->dictionary->release(exported->dictionary.get());
    HfSchema* owner = exported->owner;
    delete exported;
    schema->release = nullptr;
    hf_schema_release(owner);
}

void export_type(HfSchema* owner, const HfType& type, ArrowSchema* out) {
    auto exported = std::make_unique<ExportedSchema>();
    exported->owner = owner;
    for (const HfType& child : type.children) {
        exported->children.push_back(std::make_unique<ArrowSchema>());
        export_type(owner, child, exported->children.back().get());
        exported->pointers.push_back(exported->children.back().get());
    }
    if (type.is_enum) {
        exported->dictionary = std::make_unique<ArrowSchema>();
        export_type(owner, *type.dictionary, exported->dictionary.get());
    }
    hf_schema_retain(owner);
    out->format = type.format.c_str();
    out->name = type.name.c_str();
    out->metadata = type.metadata.empty() ? nullptr : type.metadata.data();
    out->flags = type.flags;
    out->n_children = static_cast<int64_t>(exported->pointers.size());
    out->children = exported->pointers.data();
    out->dictionary = exported->dictionary.get();
    out->release = release_schema;
    out->private_data = exported.release();
}

}  // namespace

int32_t hf_schema_export(HfSchema* schema, ArrowSchema* out) try {
    export_type(schema, schema->root, out);
    return HF_OK;
} catch (const std::bad_alloc&) {
    return hf_fail(HF_NO_MEMORY, "no memory for a schema");
}

int32_t hf_frame_export(const HfFrame* frame, HfSchema* schema, uint64_t begin, uint64_t rows, HfOwner owner, ArrowArray* out) try {
    const HfFrameHeader& h = frame->header;
    if (h.fingerprint != schema->fingerprint) return hf_fail(HF_DAMAGED, "the frame was packed from a table of another schema");
    if (h.nodes != schema->nodes || h.columns != schema->root.children.size())
        return hf_fail(HF_DAMAGED, "the frame has another number of columns than the schema");
    if (begin > h.rows || rows > h.rows - begin)
        return hf_fail(HF_INVALID, "rows %llu to %llu of a frame of %llu", static_cast<Text>(begin), static_cast<Text>(begin + rows),
                       static_cast<Text>(h.rows));
    auto shared = std::make_unique<Shared>();
    shared->owner = HfOwner{nullptr, [](void*) {}};  // until all is well, the owner stays the caller's
    shared->schema = schema;
    hf_schema_retain(schema);
    shared->references.store(1);
    Reader reader{frame, shared.get()};
    auto root = std::make_unique<Exported>();
    root->shared = shared.get();
    root->buffers.push_back(nullptr);
    int32_t status = HF_OK;
    for (size_t i = 0; i < schema->root.children.size() && status == HF_OK; ++i) {
        auto child = std::make_unique<ArrowArray>();
        const ArrowArray* model = schema->empty.release == nullptr ? nullptr : schema->empty.children[i];
        status = reader.read(schema->root.children[i], model, h.rows, begin, rows, child.get());
        if (status == HF_OK) root->children.push_back(std::move(child));
    }
    if (status != HF_OK) {
        for (auto& child : root->children) child->release(child.get());
        drop(shared.release());
        return status;
    }
    shared->owner = owner;
    init_array(out, std::move(root), static_cast<int64_t>(rows), 0, 0);
    drop(shared.release());
    return HF_OK;
} catch (const std::bad_alloc&) {
    return hf_fail(HF_NO_MEMORY, "no memory for a frame's columns");
}
