#include "hf_loops.h"

#include "hf_cpu.h"

constexpr uint64_t CHECKSUM_KEYS[8] = {0x243F6A8885A308D3ull, 0x13198A2E03707344ull, 0xA4093822299F31D0ull, 0x082EFA98EC4E6C89ull,
                                       0x452821E638D01377ull, 0xBE5466CF34E90C6Cull, 0xC0AC29B7C97C50DDull, 0x3F84D5B5B5470917ull};  // digits of pi

namespace hf_scalar {
#include "hf_loops.inl"
}

#if HF_X86
HF_TARGET_BEGIN_AVX2
namespace hf_avx2 {
#include "hf_loops.inl"
}
HF_TARGET_END
HF_TARGET_BEGIN_AVX512
namespace hf_avx512 {
#include "hf_loops.inl"
}
HF_TARGET_END
#endif

const HfLoops& hf_loops() {
#if HF_X86
    static const HfLoops& chosen = hf_simd() == HfSimd::avx512 ? hf_avx512::loops : hf_simd() == HfSimd::avx2 ? hf_avx2::loops : hf_scalar::loops;
#else
    static const HfLoops& chosen = hf_scalar::loops;
#endif
    return chosen;
}
