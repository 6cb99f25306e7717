// SPDX-License-Identifier: Apache-2.0
// What a fuzz target looks like. With -Dfuzzers=true (clang) each becomes a libFuzzer program; in
// every build replay_test.cc runs all of them over their corpus and over seeded mutations of it.
// Test code, one thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cachee::fuzz {

// A target aborts when a promise is broken and returns otherwise; it keeps no state.
void parser_target(const uint8_t* data, size_t size);
void config_target(const uint8_t* data, size_t size);
void frame_target(const uint8_t* data, size_t size);
void session_target(const uint8_t* data, size_t size);
void attach_target(const uint8_t* data, size_t size);

}  // namespace cachee::fuzz

#ifdef CACHEE_LIBFUZZER
#define CACHEE_FUZZ_MAIN(target)                                              \
    extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { \
        cachee::fuzz::target(data, size);                                     \
        return 0;                                                             \
    }
#else
#define CACHEE_FUZZ_MAIN(target)
#endif
