// Opening a frame: header and metadata are checked before anything is believed.
#include <cstring>
#include <new>

#include "hf_unpack.h"

namespace {

using Text = unsigned long long;

int32_t check_header(const HfFrameHeader& h, uint64_t size) {
    if (h.magic != HF_FRAME_MAGIC) return hf_fail(HF_DAMAGED, "not a frame: it starts with %08x", h.magic);
    if (h.version != HF_FRAME_VERSION) return hf_fail(HF_DAMAGED, "frame version %u, this build reads version %u", h.version, HF_FRAME_VERSION);
    if (h.header_bytes != sizeof(HfFrameHeader)) return hf_fail(HF_DAMAGED, "frame header of %u bytes", h.header_bytes);
    if (h.total_bytes > size)
        return hf_fail(HF_DAMAGED, "frame of %llu bytes is cut off at %llu", static_cast<Text>(h.total_bytes), static_cast<Text>(size));
    if (h.total_bytes % HF_FRAME_ALIGN != 0 || h.body_offset % HF_FRAME_ALIGN != 0 || h.body_offset > h.total_bytes) {
        return hf_fail(HF_DAMAGED, "frame sections are not where they can be");
    }
    uint64_t metadata = sizeof h + 8 * (uint64_t{h.partitions} + 1) + sizeof(HfNodeRecord) * uint64_t{h.nodes};  // < 2^40: no overflow
    if (hf_align(metadata) != h.body_offset) return hf_fail(HF_DAMAGED, "frame metadata has another length than its header says");
    if (h.rows > (uint64_t{1} << 48)) return hf_fail(HF_DAMAGED, "frame of %llu rows", static_cast<Text>(h.rows));
    return HF_OK;
}

int32_t check_buffer(const HfFrameHeader& h, uint64_t offset, uint64_t bytes, uint32_t node) {
    if (bytes == 0) return offset == 0 ? int32_t{HF_OK} : hf_fail(HF_DAMAGED, "column node %u has an empty buffer with a place", node);
    if (offset % HF_FRAME_ALIGN != 0 || offset < h.body_offset || offset > h.total_bytes || bytes > h.total_bytes - offset) {
        return hf_fail(HF_DAMAGED, "column node %u has a buffer outside the frame", node);
    }
    return HF_OK;
}

int32_t check_node(const HfFrameHeader& h, const HfNodeRecord& n, uint32_t index) {
    if (n.kind > static_cast<uint8_t>(HfKind::structure) || n.has_validity > 1 || n.reserved != 0)
        return hf_fail(HF_DAMAGED, "column node %u is of no known kind", index);
    HfKind kind = static_cast<HfKind>(n.kind);
    bool width_known = n.width == 1 || n.width == 2 || n.width == 4 || n.width == 8 || n.width == 16;
    if (kind == HfKind::fixed ? !width_known : n.width != 0) return hf_fail(HF_DAMAGED, "column node %u has values of %u bytes", index, n.width);
    if (n.rows > (uint64_t{1} << 48) || (kind != HfKind::array && n.list_size != 0) || (kind == HfKind::null && n.has_validity != 0)) {
        return hf_fail(HF_DAMAGED, "column node %u has an impossible shape", index);
    }
    int32_t status = check_buffer(h, n.validity_offset, n.has_validity != 0 ? hf_bitmap_bytes(n.rows) : 0, index);
    if (status == HF_OK) status = check_buffer(h, n.values_offset, hf_values_bytes(n), index);
    if (status == HF_OK && kind != HfKind::view && n.data_bytes != 0) status = hf_fail(HF_DAMAGED, "column node %u has data it cannot have", index);
    if (status == HF_OK) status = check_buffer(h, n.data_offset, n.data_bytes, index);
    return status;
}

}  // namespace

int32_t hf_frame_open(const uint8_t* bytes, uint64_t size, bool check_body, HfFrame* out) try {
    if (size < sizeof(HfFrameHeader))
        return hf_fail(HF_DAMAGED, "a frame has at least %zu bytes, these are %llu", sizeof(HfFrameHeader), static_cast<Text>(size));
    HfFrameHeader& h = out->header;
    std::memcpy(&h, bytes, sizeof h);
    int32_t status = check_header(h, size);
    if (status != HF_OK) return status;
    std::vector<uint8_t> metadata(bytes, bytes + h.body_offset);
    std::memset(metadata.data() + offsetof(HfFrameHeader, metadata_checksum), 0, 8);
    if (hf_checksum(metadata.data(), metadata.size()) != h.metadata_checksum)
        return hf_fail(HF_DAMAGED, "the checksum of the frame's metadata does not match");
    for (uint8_t byte : h.reserved) {
        if (byte != 0) return hf_fail(HF_DAMAGED, "reserved header bytes are in use");
    }
    if ((h.flags & ~HF_FRAME_BODY_CHECKSUM) != 0) return hf_fail(HF_DAMAGED, "unknown frame flags %x", h.flags);
    if (check_body && (h.flags & HF_FRAME_BODY_CHECKSUM) != 0 &&
        hf_checksum(bytes + h.body_offset, h.total_bytes - h.body_offset) != h.body_checksum) {
        return hf_fail(HF_DAMAGED, "the checksum of the frame's buffers does not match");
    }
    out->bytes = bytes;
    out->row_offsets.resize(uint64_t{h.partitions} + 1);
    std::memcpy(out->row_offsets.data(), bytes + sizeof h, out->row_offsets.size() * 8);
    for (size_t p = 0; p < h.partitions; ++p) {
        if (out->row_offsets[p] > out->row_offsets[p + 1]) return hf_fail(HF_DAMAGED, "partition %zu of the frame has fewer than no rows", p);
    }
    if (out->row_offsets.front() != 0 || out->row_offsets.back() != h.rows)
        return hf_fail(HF_DAMAGED, "the partitions' rows do not add up to the frame's");
    out->nodes.resize(h.nodes);
    if (h.nodes != 0) std::memcpy(out->nodes.data(), bytes + sizeof h + out->row_offsets.size() * 8, h.nodes * sizeof(HfNodeRecord));
    for (uint32_t i = 0; i < h.nodes; ++i) {
        status = check_node(h, out->nodes[i], i);
        if (status != HF_OK) return status;
    }
    return HF_OK;
} catch (const std::bad_alloc&) {
    return hf_fail(HF_NO_MEMORY, "no memory for a frame's metadata");
}
