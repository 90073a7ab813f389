#include "hf_frame.h"

#include <cstring>

#include "hf_hash.h"
#include "hf_loops.h"

uint64_t hf_checksum(const uint8_t* bytes, uint64_t size) {
    uint64_t lanes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint64_t stripes = size / 64;
    hf_loops().checksum_stripes(bytes, static_cast<int64_t>(stripes), lanes);
    if (size % 64 != 0) {
        uint8_t tail[64] = {};
        std::memcpy(tail, bytes + stripes * 64, size % 64);
        hf_loops().checksum_stripes(tail, 1, lanes);
    }
    uint64_t state = hf_mix(size ^ HF_GOLDEN);
    for (uint64_t lane : lanes) state = hf_mix(state ^ lane);
    return state;
}

void hf_frame_seal(uint8_t* frame, bool body) {
    HfFrameHeader header;
    std::memcpy(&header, frame, sizeof header);
    header.flags = body ? header.flags | HF_FRAME_BODY_CHECKSUM : header.flags & ~HF_FRAME_BODY_CHECKSUM;
    header.body_checksum = body ? hf_checksum(frame + header.body_offset, header.total_bytes - header.body_offset) : 0;
    header.metadata_checksum = 0;
    std::memcpy(frame, &header, sizeof header);
    header.metadata_checksum = hf_checksum(frame, header.body_offset);
    std::memcpy(frame, &header, sizeof header);
}
