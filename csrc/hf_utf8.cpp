#include "hf_loops.h"
#include "hf_unpack.h"

bool hf_is_utf8(const uint8_t* p, uint64_t n) {
    if (hf_loops().all_ascii(p, static_cast<int64_t>(n))) return true;
    uint64_t i = 0;
    auto tail = [&](uint64_t k) { return (p[k] & 0xC0) == 0x80; };
    while (i < n) {
        uint8_t b = p[i];
        if (b < 0x80) {
            ++i;
        } else if (b >= 0xC2 && b <= 0xDF) {
            if (n - i < 2 || !tail(i + 1)) return false;
            i += 2;
        } else if (b >= 0xE0 && b <= 0xEF) {  // neither overlong nor a surrogate
            if (n - i < 3 || !tail(i + 1) || !tail(i + 2)) return false;
            if ((b == 0xE0 && p[i + 1] < 0xA0) || (b == 0xED && p[i + 1] > 0x9F)) return false;
            i += 3;
        } else if (b >= 0xF0 && b <= 0xF4) {
            if (n - i < 4 || !tail(i + 1) || !tail(i + 2) || !tail(i + 3)) return false;
            if ((b == 0xF0 && p[i + 1] < 0x90) || (b == 0xF4 && p[i + 1] > 0x8F)) return false;
            i += 4;
        } else {
            return false;
        }
    }
    return true;
}
