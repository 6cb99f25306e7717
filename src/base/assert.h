// SPDX-License-Identifier: Apache-2.0
// Assertions for programmer errors only; bytes from outside the process are never asserted on.
// Both planes, any thread. CACHEE_ASSERT is always on: start, cold code, once per burst.
// CACHEE_DASSERT is per item: debug, simulation and fuzzing builds (-Ddebug_assertions=true).
#pragma once

#include <cstdio>
#include <cstdlib>

namespace cachee::base {

[[noreturn, gnu::cold, gnu::noinline]] inline void assertion_failed(const char* expression,
                                                                    const char* file, int line) {
    std::fprintf(stderr, "cachee: assertion failed: %s at %s:%d\n", expression, file, line);
    std::abort();
}

}  // namespace cachee::base

#define CACHEE_ASSERT(expression) \
    (__builtin_expect(!!(expression), 1) \
         ? static_cast<void>(0) \
         : ::cachee::base::assertion_failed(#expression, __FILE__, __LINE__))

#ifdef CACHEE_DEBUG_ASSERTIONS
#define CACHEE_DASSERT(expression) CACHEE_ASSERT(expression)
#else
#define CACHEE_DASSERT(expression) static_cast<void>(sizeof(!(expression)))
#endif
