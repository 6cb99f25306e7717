// SPDX-License-Identifier: Apache-2.0
#include "client/tsc_clock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>

namespace cachee::client {

namespace {

constexpr uint64_t kWindowNs = 5 * base::kNsPerMs;
// The rate is not used before it was measured over so long: then a microsecond of error is 1/5000.
constexpr uint64_t kCalibrationNs = 5 * base::kNsPerMs;
// Added to the rate: more than that error and what NTP may slew a clock by (500 ppm) together.
constexpr uint64_t kRateMargin = 1024;
constexpr uint64_t kQuickCycles = 5000;  // an undisturbed reading of both takes less

// The kernel watches the counter and stops using it when it cannot be trusted on all cores.
bool kernel_trusts_counter() {
    const int fd = ::open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
                          O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    char text[16] = {};
    const ssize_t size = ::read(fd, text, sizeof text - 1);
    ::close(fd);
    return size >= 4 && std::memcmp(text, "tsc\n", 4) == 0;
}

}  // namespace

TscClock::TscClock() : usable_(kernel_trusts_counter()) { tie_cold(); }

uint64_t TscClock::tie_cold() noexcept {
    if (!usable_) return base::monotonic_ns();
    uint64_t cycles = 0;
    uint64_t ns = 0;
    for (int attempt = 0; attempt < 4; ++attempt) {
        cycles = base::cycles();  // before the clock: what is computed from it is never behind
        ns = base::monotonic_ns();
        if (base::cycles() - cycles < kQuickCycles) break;
    }
    const bool first = first_cycles_ == 0 || cycles <= first_cycles_ || ns <= first_ns_;
    if (first) {  // or the machine was moved to another one
        first_cycles_ = cycles;
        first_ns_ = ns;
        window_cycles_ = 0;
        return ns;
    }
    anchor_cycles_ = cycles;
    anchor_ns_ = ns;
    const uint64_t passed_ns = ns - first_ns_;
    if (passed_ns < kCalibrationNs) return ns;
    const uint64_t passed = cycles - first_cycles_;
    scale_ =
        static_cast<uint64_t>((static_cast<unsigned __int128>(passed_ns) << kScaleBits) / passed);
    scale_ += scale_ / kRateMargin + 1;
    window_cycles_ = (kWindowNs << kScaleBits) / scale_;
    return ns;
}

}  // namespace cachee::client
