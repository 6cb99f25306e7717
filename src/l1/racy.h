// SPDX-License-Identifier: Apache-2.0
// Reads of item bytes that a writer may be changing at the same time, and the fences that make such
// reads harmless. Any thread, any plane. Everything read here is a guess until the version of the
// bucket was found unchanged; nothing read here may be used as a length or an address before that.
//
// The protocol (a seqlock, Boehm, MSPC 2012) and its pairs:
//   writer  version odd (relaxed) ; fence_release ; slots, item headers ; version even (release)
//           fence_release ; only then may the bytes of an item that was unlinked be written over
//   reader  version (acquire) ; slots, item bytes ; fence_acquire ; version again (relaxed)
// The reader's acquire pairs with the writer's release of the even version: it sees whole items.
// Its fence_acquire pairs with both fence_release: a reader that saw one byte of a change sees the
// version of that change in its second look.
//
// The bytes themselves are plain memory. In the C++ memory model that is a race; ThreadSanitizer is
// told so by CACHEE_RACY and by copying with an instruction that it does not see.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/copy.h"

#ifdef __SANITIZE_THREAD__
#define CACHEE_RACY [[gnu::noinline, gnu::no_sanitize_thread]] inline
#else
#define CACHEE_RACY [[gnu::always_inline]] inline
#endif

namespace cachee::l1 {

#ifdef __SANITIZE_THREAD__
// ThreadSanitizer knows no fences; the machine's order (x86) is as strong as what they ask for.
inline void fence_acquire() noexcept { asm volatile("" ::: "memory"); }
inline void fence_release() noexcept { asm volatile("" ::: "memory"); }
#else
inline void fence_acquire() noexcept { std::atomic_thread_fence(std::memory_order_acquire); }
inline void fence_release() noexcept { std::atomic_thread_fence(std::memory_order_release); }
#endif

template <typename T>
CACHEE_RACY T racy_load(const void* from) noexcept {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

// Whether a bucket's version is still that one. A plain load, which the compiler may make part of
// the comparison; where it stands is up to the fence before it.
CACHEE_RACY bool is_unchanged(const std::atomic<uint32_t>& word, uint32_t version) noexcept {
    return racy_load<uint32_t>(&word) == version;
}

// Copies the value of a Lookup. Believe the copy only if Partition::still_valid() says so
// afterwards. Inline for the sizes that small values have.
#ifdef __SANITIZE_THREAD__
inline void copy_value(void* to, const uint8_t* from, size_t bytes) noexcept {
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}
#else
[[gnu::always_inline]] inline void copy_value(void* to, const uint8_t* from,
                                              size_t bytes) noexcept {
    base::copy_short(to, from, bytes);
}
#endif

}  // namespace cachee::l1
