// SPDX-License-Identifier: Apache-2.0
// Comparing keys of rare lengths, out of the hot path's way.
#include "l1/item.h"

namespace cachee::l1 {

#ifdef __SANITIZE_THREAD__
[[gnu::no_sanitize_thread]]
#endif
bool bytes_equal_rare(const uint8_t* a, const uint8_t* b, size_t size) noexcept {
    // As long as padding says it is (kPadding): behind that lies no key.
    if (size > kKeyBytesMax) return false;
    if (size >= 16) {
        __m128i differ = differ16(a + size - 16, b + size - 16);
        for (size_t i = 0; i + 16 < size; i += 16) {
            differ = _mm_or_si128(differ, differ16(a + i, b + i));
        }
        return _mm_testz_si128(differ, differ) != 0;
    }
    if (size >= 8) return ends_equal<uint64_t>(a, b, size);
    if (size >= 4) return ends_equal<uint32_t>(a, b, size);
    for (size_t i = 0; i < size; ++i) {
        if (a[i] != b[i]) return false;
    }
    return true;
}

}  // namespace cachee::l1
