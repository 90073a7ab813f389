#include "hf_pack.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "hf_loops.h"

namespace {

constexpr int64_t BLOCK = 8192;  // rows whose ids stay in cache while every column is scattered
constexpr uint64_t WINDOW_MASK = (uint64_t{1} << HF_WINDOW_BITS) - 1;

struct Domain {  // a set of rows with their partitions: the table's, or the child rows of one list or array column
    int64_t rows = 0;
    const uint32_t* ids = nullptr;  // null: one partition
    std::vector<uint32_t> owned_ids;
    std::vector<int64_t> counts;  // per partition
    std::vector<int64_t> starts;  // per partition: its first row in its frame
};

struct ViewCursor {  // where the next row of a partition goes
    uint8_t* view;
    uint8_t* data;
    uint8_t* data_base;
};

struct Node {
    const HfColumn* column;
    Domain* domain;
    Domain* child = nullptr;            // of lists and arrays
    std::vector<int64_t> data_bytes;    // views: per partition
    std::vector<HfNodeRecord> records;  // per destination
    std::vector<uint8_t*> cursors;      // fixed and lists: per partition
    std::vector<uint64_t> bits;         // booleans: per partition, an address in bits
    std::vector<uint64_t> validity;     // the same
    std::vector<int64_t> child_next;    // lists: per partition, the next child row in its frame
    std::vector<ViewCursor> views;
};

inline uint32_t id_of(const uint32_t* ids, int64_t i) { return ids == nullptr ? 0 : ids[i]; }

// Sets the bit at address `next` (in bits) of zeroed memory and moves on.
inline void put_bit(uint64_t& next, bool value) {
    uint8_t* byte = reinterpret_cast<uint8_t*>(next >> 3);
    *byte = static_cast<uint8_t>(*byte | (static_cast<unsigned>(value) << (next & 7)));
    ++next;
}

// Exactly n > 12 bytes, without a call for the common sizes.
inline void copy_bytes(uint8_t* to, const uint8_t* from, size_t n) {
    if (n <= 16) {
        uint64_t a, b;
        std::memcpy(&a, from, 8);
        std::memcpy(&b, from + n - 8, 8);
        std::memcpy(to, &a, 8);
        std::memcpy(to + n - 8, &b, 8);
    } else if (n <= 32) {
        unsigned char a[16], b[16];
        std::memcpy(a, from, 16);
        std::memcpy(b, from + n - 16, 16);
        std::memcpy(to, a, 16);
        std::memcpy(to + n - 16, b, 16);
    } else if (n <= 64) {
        unsigned char a[32], b[32];
        std::memcpy(a, from, 32);
        std::memcpy(b, from + n - 32, 32);
        std::memcpy(to, a, 32);
        std::memcpy(to + n - 32, b, 32);
    } else {
        std::memcpy(to, from, n);
    }
}

inline void put_view(ViewCursor& cursor, const HfView& view, const void* const* data) {
    HfView out;
    if (view.length <= 12) {
        std::memcpy(&out, &view, sizeof out);
    } else {
        const uint8_t* from = static_cast<const uint8_t*>(data[view.outside.buffer]) + view.outside.offset;
        uint64_t at = static_cast<uint64_t>(cursor.data - cursor.data_base);
        out.length = view.length;
        out.outside.prefix = view.outside.prefix;
        out.outside.buffer = static_cast<uint32_t>(at >> HF_WINDOW_BITS);
        out.outside.offset = static_cast<uint32_t>(at & WINDOW_MASK);
        copy_bytes(cursor.data, from, view.length);
        cursor.data += view.length;
    }
    std::memcpy(cursor.view, &out, sizeof out);
    cursor.view += sizeof out;
}

struct Bytes16 {
    uint64_t low, high;
};

// Every partition is a stream of stores of its own. With 16 to 100 of them the processor's own prefetching loses track, and stores wait for their
// lines: asking for the line after next makes scattering 3 to 4 times as fast there (measured on Zen 5), and costs nothing elsewhere. Prefetching
// never faults.
inline void prefetch_ahead(const uint8_t* cursor) { __builtin_prefetch(cursor + 128, 1); }

template <typename T>
void scatter_fixed(const T* in, const uint32_t* ids, int64_t n, uint8_t** cursors) {
    for (int64_t i = 0; i < n; ++i) {
        uint8_t*& next = cursors[ids[i]];
        uint8_t* cursor = next;
        T value;
        std::memcpy(&value, in + i, sizeof(T));
        next = cursor + sizeof(T);
        prefetch_ahead(cursor);
        std::memcpy(cursor, &value, sizeof(T));
    }
}

}  // namespace

struct HfPackPlan {
    const HfSchema* schema;
    uint32_t partitions, first_partition, destinations;
    std::vector<uint32_t> bounds;                                // relative to first_partition, which is partition 0 from here on
    std::vector<uint32_t> destination_of;                        // per partition
    std::vector<uint64_t> frame_rows, frame_bytes, body_offset;  // per destination
    std::vector<std::unique_ptr<Domain>> domains;
    std::vector<Node> nodes;  // pre-order

    void finish_domain(Domain* domain) const;
    void add(const HfColumn& column, Domain* domain);
    void lay_out();
    void point(Node& node, uint8_t* const* frames) const;
    void write_rows(Node& node, int64_t begin, int64_t end) const;
    void write_headers(const HfFrameStamp& stamp, uint8_t* const* frames) const;
    void clear_gaps(uint8_t* const* frames) const;
    uint64_t rows_in(const Domain* domain, uint32_t d) const {
        uint64_t rows = 0;
        for (uint32_t p = bounds[d]; p < bounds[d + 1]; ++p) rows += static_cast<uint64_t>(domain->counts[p]);
        return rows;
    }
};

void HfPackPlan::finish_domain(Domain* domain) const {
    domain->starts.assign(partitions, 0);
    for (uint32_t d = 0; d < destinations; ++d) {
        int64_t start = 0;
        for (uint32_t p = bounds[d]; p < bounds[d + 1]; ++p) {
            domain->starts[p] = start;
            start += domain->counts[p];
        }
    }
}

namespace {

template <typename Offset>
void expand_list(const Offset* offsets, const Domain& parent, Domain* child) {
    int64_t first = parent.rows > 0 ? offsets[0] : 0;
    if (parent.ids == nullptr) {
        child->counts[0] = parent.rows > 0 ? offsets[parent.rows] - first : 0;
        return;
    }
    child->owned_ids.resize(static_cast<size_t>(child->rows));
    child->ids = child->owned_ids.data();
    for (int64_t i = 0; i < parent.rows; ++i) {
        uint32_t id = parent.ids[i];
        int64_t from = offsets[i] - first, to = offsets[i + 1] - first;
        child->counts[id] += to - from;
        std::fill(child->owned_ids.begin() + from, child->owned_ids.begin() + to, id);
    }
}

void count_view_bytes(const HfColumn& column, const Domain& domain, std::vector<int64_t>* bytes) {
    const uint8_t* validity = column.validity;
    if (column.dictionary != nullptr) {
        const HfColumn& values = *column.dictionary;
        const HfView* views = static_cast<const HfView*>(values.values) + values.offset;
        for (int64_t i = 0; i < domain.rows; ++i) {
            int64_t row = column.offset + i;
            if (validity != nullptr && !hf_is_valid(validity, row)) continue;
            uint32_t length = views[hf_code_at(column.values, column.type->code_width, row)].length;
            (*bytes)[id_of(domain.ids, i)] += length > 12 ? length : 0;
        }
        return;
    }
    const HfView* views = static_cast<const HfView*>(column.values) + column.offset;
    for (int64_t i = 0; i < domain.rows; ++i) {
        bool valid = validity == nullptr || hf_is_valid(validity, column.offset + i);
        uint32_t length = views[i].length;
        (*bytes)[id_of(domain.ids, i)] += length > 12 && valid ? length : 0;
    }
}

}  // namespace

void HfPackPlan::add(const HfColumn& column, Domain* domain) {
    size_t index = nodes.size();
    nodes.emplace_back();
    Node node;
    node.column = &column;
    node.domain = domain;
    const HfType& type = *column.type;
    if (type.kind == HfKind::view) {
        node.data_bytes.assign(partitions, 0);
        count_view_bytes(column, *domain, &node.data_bytes);
    } else if (type.kind == HfKind::list || type.kind == HfKind::list32 || type.kind == HfKind::array) {
        domains.push_back(std::make_unique<Domain>());
        Domain* child = node.child = domains.back().get();
        child->rows = column.children[0].length;
        child->counts.assign(partitions, 0);
        if (type.kind == HfKind::list) {
            expand_list(static_cast<const int64_t*>(column.values) + column.offset, *domain, child);
        } else if (type.kind == HfKind::list32) {
            expand_list(static_cast<const int32_t*>(column.values) + column.offset, *domain, child);
        } else {
            int64_t size = static_cast<int64_t>(type.list_size);
            for (uint32_t p = 0; p < partitions; ++p) child->counts[p] = domain->counts[p] * size;
            if (domain->ids != nullptr) {
                child->owned_ids.resize(static_cast<size_t>(child->rows));
                child->ids = child->owned_ids.data();
                for (int64_t i = 0; i < domain->rows; ++i) std::fill_n(child->owned_ids.begin() + i * size, size, domain->ids[i]);
            }
        }
        finish_domain(child);
    }
    nodes[index] = std::move(node);
    for (const HfColumn& child : column.children) add(child, type.kind == HfKind::structure ? domain : nodes[index].child);
}

void HfPackPlan::lay_out() {
    for (Node& node : nodes) node.records.resize(destinations);
    for (uint32_t d = 0; d < destinations; ++d) {
        uint64_t metadata = sizeof(HfFrameHeader) + 8 * (uint64_t{bounds[d + 1]} - bounds[d] + 1) + sizeof(HfNodeRecord) * nodes.size();
        uint64_t at = body_offset[d] = hf_align(metadata);
        for (Node& node : nodes) {
            HfNodeRecord& record = node.records[d];
            record = HfNodeRecord{};
            record.kind = static_cast<uint8_t>(node.column->type->kind);
            record.width = node.column->type->width;
            record.list_size = node.column->type->list_size;
            record.rows = rows_in(node.domain, d);
            auto place = [&at](uint64_t bytes) -> uint64_t {
                if (bytes == 0) return 0;
                uint64_t offset = at;
                at = hf_align(at + bytes);
                return offset;
            };
            record.has_validity = node.column->validity != nullptr;
            if (record.has_validity) record.validity_offset = place(hf_bitmap_bytes(record.rows));
            record.values_offset = place(hf_values_bytes(record));
            for (uint32_t p = bounds[d]; p < bounds[d + 1] && !node.data_bytes.empty(); ++p)
                record.data_bytes += static_cast<uint64_t>(node.data_bytes[p]);
            record.data_offset = place(record.data_bytes);
        }
        frame_bytes[d] = at;
    }
}

// Sets the cursors of every partition to its first row's place in its frame.
void HfPackPlan::point(Node& node, uint8_t* const* frames) const {
    HfKind kind = node.column->type->kind;
    bool bits = kind == HfKind::boolean, views = kind == HfKind::view, lists = kind == HfKind::list || kind == HfKind::list32;
    if (node.column->validity != nullptr) node.validity.assign(partitions, 0);
    if (bits) node.bits.assign(partitions, 0);
    if (views) node.views.assign(partitions, ViewCursor{});
    if (kind == HfKind::fixed || lists) node.cursors.assign(partitions, nullptr);
    if (lists) node.child_next = node.child->starts;
    uint64_t width = kind == HfKind::list ? 8 : kind == HfKind::list32 ? 4 : node.column->type->width;
    for (uint32_t d = 0; d < destinations; ++d) {
        if (frames[d] == nullptr) continue;
        const HfNodeRecord& record = node.records[d];
        uint8_t* values = frames[d] + record.values_offset;
        uint8_t* data = frames[d] + record.data_offset;
        uint8_t* data_base = data;
        for (uint32_t p = bounds[d]; p < bounds[d + 1]; ++p) {
            uint64_t start = static_cast<uint64_t>(node.domain->starts[p]);
            if (record.has_validity) node.validity[p] = reinterpret_cast<uintptr_t>(frames[d] + record.validity_offset) * 8 + start;
            if (bits) node.bits[p] = reinterpret_cast<uintptr_t>(values) * 8 + start;
            if (!node.cursors.empty()) node.cursors[p] = values + start * width;
            if (views) {
                node.views[p] = ViewCursor{values + start * sizeof(HfView), data, data_base};
                data += node.data_bytes[p];
            }
        }
    }
}

namespace {

void write_validity(Node& node, int64_t begin, int64_t end) {
    const HfColumn& column = *node.column;
    const uint32_t* ids = node.domain->ids;
    for (int64_t i = begin; i < end; ++i) put_bit(node.validity[id_of(ids, i)], hf_is_valid(column.validity, column.offset + i));
}

void write_bits(Node& node, int64_t begin, int64_t end) {
    const HfColumn& column = *node.column;
    const uint32_t* ids = node.domain->ids;
    const uint8_t* in = static_cast<const uint8_t*>(column.values);
    for (int64_t i = begin; i < end; ++i) put_bit(node.bits[id_of(ids, i)], hf_is_valid(in, column.offset + i));
}

void write_fixed(Node& node, int64_t begin, int64_t end) {
    const HfColumn& column = *node.column;
    uint32_t width = column.type->width;
    const uint8_t* in = static_cast<const uint8_t*>(column.values) + static_cast<uint64_t>(column.offset + begin) * width;
    int64_t n = end - begin;
    if (node.domain->ids == nullptr) {
        size_t bytes = static_cast<size_t>(n) * width;
        if (bytes != 0) std::memcpy(node.cursors[0], in, bytes);
        node.cursors[0] += bytes;
        return;
    }
    const uint32_t* ids = node.domain->ids + begin;
    uint8_t** cursors = node.cursors.data();
    switch (width) {
        case 1:
            return scatter_fixed(in, ids, n, cursors);
        case 2:
            return scatter_fixed(reinterpret_cast<const uint16_t*>(in), ids, n, cursors);
        case 4:
            return scatter_fixed(reinterpret_cast<const uint32_t*>(in), ids, n, cursors);
        case 8:
            return scatter_fixed(reinterpret_cast<const uint64_t*>(in), ids, n, cursors);
        default:
            return scatter_fixed(reinterpret_cast<const Bytes16*>(in), ids, n, cursors);
    }
}

void write_views(Node& node, int64_t begin, int64_t end) {
    const HfColumn& column = *node.column;
    const uint32_t* ids = node.domain->ids;
    const uint8_t* validity = column.validity;
    ViewCursor* cursors = node.views.data();
    const HfView none{};
    const HfColumn& values = column.dictionary != nullptr ? *column.dictionary : column;
    const HfView* views = static_cast<const HfView*>(values.values) + (column.dictionary != nullptr ? values.offset : 0);
    for (int64_t i = begin; i < end; ++i) {
        int64_t row = column.offset + i;
        ViewCursor& cursor = cursors[id_of(ids, i)];
        if (validity != nullptr && !hf_is_valid(validity, row)) {
            put_view(cursor, none, nullptr);
            continue;
        }
        uint64_t at = column.dictionary != nullptr ? hf_code_at(column.values, column.type->code_width, row) : static_cast<uint64_t>(row);
        prefetch_ahead(cursor.view);
        prefetch_ahead(cursor.data);
        put_view(cursor, views[at], values.data);
    }
}

template <typename Offset>
void write_offsets(Node& node, int64_t begin, int64_t end) {
    const HfColumn& column = *node.column;
    const uint32_t* ids = node.domain->ids;
    const Offset* offsets = static_cast<const Offset*>(column.values) + column.offset;
    for (int64_t i = begin; i < end; ++i) {
        uint32_t p = id_of(ids, i);
        Offset next = static_cast<Offset>(node.child_next[p]);
        std::memcpy(node.cursors[p], &next, sizeof next);
        node.cursors[p] += sizeof next;
        node.child_next[p] += offsets[i + 1] - offsets[i];
    }
}

}  // namespace

void HfPackPlan::write_rows(Node& node, int64_t begin, int64_t end) const {
    if (node.column->validity != nullptr) write_validity(node, begin, end);
    switch (node.column->type->kind) {
        case HfKind::boolean:
            return write_bits(node, begin, end);
        case HfKind::fixed:
            return write_fixed(node, begin, end);
        case HfKind::view:
            return write_views(node, begin, end);
        case HfKind::list:
            return write_offsets<int64_t>(node, begin, end);
        case HfKind::list32:
            return write_offsets<int32_t>(node, begin, end);
        default:
            return;  // nulls, arrays and structs have no values of their own
    }
}

// Zeroes bitmaps (bits are or-ed in), the padding between buffers, and writes the end of every offsets buffer.
void HfPackPlan::clear_gaps(uint8_t* const* frames) const {
    for (uint32_t d = 0; d < destinations; ++d) {
        if (frames[d] == nullptr) continue;
        uint8_t* frame = frames[d];
        std::memset(frame, 0, body_offset[d]);
        auto clear = [frame](uint64_t offset, uint64_t written, uint64_t bytes) {
            if (bytes != 0) std::memset(frame + offset + written, 0, hf_align(bytes) - written);
        };
        for (const Node& node : nodes) {
            const HfNodeRecord& record = node.records[d];
            if (record.has_validity) clear(record.validity_offset, 0, hf_bitmap_bytes(record.rows));
            uint64_t bytes = hf_values_bytes(record);
            HfKind kind = node.column->type->kind;
            clear(record.values_offset, kind == HfKind::boolean ? 0 : bytes, bytes);
            clear(record.data_offset, record.data_bytes, record.data_bytes);
            if (kind == HfKind::list || kind == HfKind::list32) {
                int64_t end = static_cast<int64_t>(rows_in(node.child, d));
                uint64_t width = kind == HfKind::list ? 8 : 4;
                std::memcpy(frame + record.values_offset + record.rows * width, &end, width);
            }
        }
    }
}

void HfPackPlan::write_headers(const HfFrameStamp& stamp, uint8_t* const* frames) const {
    for (uint32_t d = 0; d < destinations; ++d) {
        if (frames[d] == nullptr) continue;
        HfFrameHeader header{};
        header.magic = HF_FRAME_MAGIC;
        header.version = HF_FRAME_VERSION;
        header.header_bytes = sizeof(HfFrameHeader);
        header.step = stamp.step;
        header.source_task = stamp.source_task;
        header.attempt = stamp.attempt;
        header.sequence = stamp.sequence;
        header.columns = static_cast<uint32_t>(schema->root.children.size());
        header.rows = frame_rows[d];
        header.first_partition = first_partition + bounds[d];
        header.partitions = bounds[d + 1] - bounds[d];
        header.nodes = static_cast<uint32_t>(nodes.size());
        header.total_bytes = frame_bytes[d];
        header.body_offset = body_offset[d];
        header.fingerprint = schema->fingerprint;
        std::memcpy(frames[d], &header, sizeof header);
        uint8_t* at = frames[d] + sizeof header;
        uint64_t row = 0;
        for (uint32_t p = bounds[d]; p < bounds[d + 1]; ++p, at += 8) {
            std::memcpy(at, &row, 8);
            row += static_cast<uint64_t>(domains[0]->counts[p]);
        }
        std::memcpy(at, &row, 8);
        at += 8;
        for (const Node& node : nodes) {
            std::memcpy(at, &node.records[d], sizeof(HfNodeRecord));
            at += sizeof(HfNodeRecord);
        }
        hf_frame_seal(frames[d], stamp.body_checksum);
    }
}

int32_t hf_histogram(const uint32_t* ids, int64_t rows, uint32_t partitions, uint64_t* counts) {
    std::fill(counts, counts + partitions, uint64_t{0});
    if (rows == 0) return HF_OK;
    uint32_t largest = hf_loops().largest_id(ids, rows);
    if (largest >= partitions) return hf_fail(HF_INVALID, "partition id %u with %u partitions", largest, partitions);
    int64_t i = 0;
    if (partitions <= 1024 && rows >= 4096) {  // four tables, so that equal neighbours do not wait for one another
        std::vector<uint32_t> tables(4 * static_cast<size_t>(partitions));
        uint32_t* t = tables.data();
        while (i + 4 <= rows) {
            int64_t end = std::min(rows, i + (int64_t{1} << 30));
            for (; i + 4 <= end; i += 4) {
                ++t[ids[i]];
                ++t[partitions + ids[i + 1]];
                ++t[2 * partitions + ids[i + 2]];
                ++t[3 * partitions + ids[i + 3]];
            }
            for (uint32_t p = 0; p < partitions; ++p) {
                for (uint32_t k = 0; k < 4; ++k) counts[p] += t[k * partitions + p];
            }
            std::fill(tables.begin(), tables.end(), 0u);
        }
    }
    for (; i < rows; ++i) ++counts[ids[i]];
    return HF_OK;
}

int32_t hf_pack_plan(const HfSchema* schema, const HfColumn* columns, const uint32_t* ids, const uint32_t* bounds, uint32_t destinations,
                     HfPackPlan** out) try {
    auto plan = std::make_unique<HfPackPlan>();
    plan->schema = schema;
    plan->destinations = destinations;
    plan->first_partition = bounds[0];
    plan->partitions = bounds[destinations] - bounds[0];
    plan->bounds.resize(destinations + size_t{1});
    for (uint32_t d = 0; d <= destinations; ++d) {
        if (d > 0 && bounds[d] < bounds[d - 1]) return hf_fail(HF_INVALID, "partition bounds must ascend: %u after %u", bounds[d], bounds[d - 1]);
        plan->bounds[d] = bounds[d] - bounds[0];
    }
    plan->domains.push_back(std::make_unique<Domain>());
    Domain* table = plan->domains[0].get();
    table->rows = columns->length;
    table->counts.assign(plan->partitions, 0);
    if (ids == nullptr) {
        if (plan->partitions != 1) return hf_fail(HF_INVALID, "rows without partition ids need exactly one partition, not %u", plan->partitions);
        table->counts[0] = table->rows;
    } else {
        std::vector<uint64_t> counts(bounds[destinations]);
        int32_t status = hf_histogram(ids, table->rows, bounds[destinations], counts.data());
        if (status != HF_OK) return status;
        for (uint32_t p = 0; p < bounds[0]; ++p) {
            if (counts[p] != 0) return hf_fail(HF_INVALID, "partition id %u lies before the first bound %u", p, bounds[0]);
        }
        for (uint32_t p = 0; p < plan->partitions; ++p) table->counts[p] = static_cast<int64_t>(counts[p + bounds[0]]);
        table->ids = ids;
        if (bounds[0] != 0) {
            table->owned_ids.resize(static_cast<size_t>(table->rows));
            for (int64_t i = 0; i < table->rows; ++i) table->owned_ids[static_cast<size_t>(i)] = ids[i] - bounds[0];
            table->ids = table->owned_ids.data();
        }
        if (plan->partitions == 1) table->ids = nullptr;
    }
    plan->finish_domain(table);
    plan->frame_rows.resize(destinations);
    plan->frame_bytes.resize(destinations);
    plan->body_offset.resize(destinations);
    for (uint32_t d = 0; d < destinations; ++d) plan->frame_rows[d] = plan->rows_in(table, d);
    plan->nodes.reserve(schema->nodes);
    for (const HfColumn& column : columns->children) plan->add(column, table);
    plan->lay_out();
    for (const Node& node : plan->nodes) {
        if (node.column->type->kind != HfKind::list32) continue;
        for (uint32_t d = 0; d < destinations; ++d) {
            if (plan->rows_in(node.child, d) > INT32_MAX)
                return hf_fail(HF_INVALID, "more than 2^31 map entries in one frame: pack fewer rows at once");
        }
    }
    *out = plan.release();
    return HF_OK;
} catch (const std::bad_alloc&) {
    return hf_fail(HF_NO_MEMORY, "no memory for packing %lld rows", static_cast<long long>(columns->length));
}

uint64_t hf_pack_rows(const HfPackPlan* plan, uint32_t destination) { return plan->frame_rows[destination]; }
uint64_t hf_pack_bytes(const HfPackPlan* plan, uint32_t destination) { return plan->frame_bytes[destination]; }

int32_t hf_pack_write(HfPackPlan* plan, const HfFrameStamp* stamp, uint8_t* const* frames) try {
    for (uint32_t d = 0; d < plan->destinations; ++d) {
        if (frames[d] == nullptr && plan->frame_rows[d] != 0) return hf_fail(HF_INVALID, "destination %u has rows but no memory", d);
    }
    plan->clear_gaps(frames);
    for (Node& node : plan->nodes) plan->point(node, frames);
    for (const auto& domain : plan->domains) {
        std::vector<Node*> members;
        for (Node& node : plan->nodes) {
            if (node.domain == domain.get()) members.push_back(&node);
        }
        for (int64_t begin = 0; begin < domain->rows; begin += BLOCK) {
            int64_t end = std::min(domain->rows, begin + BLOCK);
            for (Node* node : members) plan->write_rows(*node, begin, end);
        }
    }
    plan->write_headers(*stamp, frames);
    return HF_OK;
} catch (const std::bad_alloc&) {
    return hf_fail(HF_NO_MEMORY, "no memory for packing frames");
}

void hf_pack_free(HfPackPlan* plan) { delete plan; }
