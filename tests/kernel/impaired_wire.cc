// SPDX-License-Identifier: Apache-2.0
// A bad wire between two kernels: makes a tap device in each of two network namespaces and carries
// frames between them through drivers/sim/impairment.h, both ways, until SIGTERM. So a server on
// the kernel's TCP can be measured over the same wire that `impairment:` puts before cachee's port.
// Test program; one thread; needs root. Prints "ready" when both devices exist, and at the end one
// line of JSON with what happened to the frames.
//
//   impaired_wire NETNS/DEVICE NETNS/DEVICE [seed=N] [loss=P] [duplication=P] [reordering=P]
//                 [corruption=P] [delay_us=N] [jitter_us=N] [rate_mbit=N] [frames_max=N]
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/clock.h"
#include "config/keys.h"
#include "drivers/sim/impairment.h"

namespace {

using cachee::base::monotonic_ns;
using cachee::sim::Impairment;

constexpr uint32_t kFrameBytesMax = 1518;
constexpr uint64_t kSleepNsMax = 100 * cachee::base::kNsPerMs;

volatile sig_atomic_t stopping = 0;

[[noreturn]] void fail(const std::string& what) {
    std::fprintf(stderr, "impaired_wire: %s: %s\n", what.c_str(), std::strerror(errno));
    std::exit(1);
}

// A tap device in a namespace; this thread returns to its own.
int open_tap(const std::string& end) {
    const size_t slash = end.find('/');
    if (slash == std::string::npos) fail("\"" + end + "\" is not NETNS/DEVICE");
    const std::string netns = "/run/netns/" + end.substr(0, slash);
    const std::string device = end.substr(slash + 1);
    const int own = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    const int there = ::open(netns.c_str(), O_RDONLY | O_CLOEXEC);
    if (own < 0 || there < 0 || ::setns(there, CLONE_NEWNET) != 0) fail("cannot enter " + netns);
    const int fd = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    ifreq request{};
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    device.copy(request.ifr_name, IFNAMSIZ - 1);
    if (fd < 0 || ::ioctl(fd, TUNSETIFF, &request) != 0) fail("cannot make tap device " + device);
    if (::setns(own, CLONE_NEWNET) != 0) fail("cannot return to the namespace of the start");
    ::close(there);
    ::close(own);
    return fd;
}

// One direction: what `from` says goes to `to`, later.
struct Direction {
    Direction(int from_fd, int to_fd, const cachee::sim::ImpairmentOptions& options)
        : from(from_fd), to(to_fd), wire(options) {}

    void read_all(uint64_t now_ns) {
        for (;;) {
            Impairment::Frame frame;
            if (!wire.acquire(frame)) return;  // the device's queue holds the rest
            const ssize_t n = ::read(from, frame.data, kFrameBytesMax);
            if (n <= 0) {
                wire.release(frame);
                return;
            }
            frame.size = static_cast<uint32_t>(n);
            wire.submit(frame, now_ns);
        }
    }
    void write_due(uint64_t now_ns) {
        Impairment::Frame frame;
        while (wire.take(frame, now_ns)) {
            // A device that is down, or full, loses the frame: so would a wire.
            if (::write(to, frame.data, frame.size) < 0) ++write_failures;
            wire.release(frame);
        }
    }

    int from;
    int to;
    Impairment wire;
    uint64_t write_failures = 0;
};

// "loss=0.01" by the rules of the configuration key impairment.loss.
void set_option(cachee::config::Config& config, const std::string& argument) {
    const size_t equals = std::min(argument.find('='), argument.size());
    const auto* key = cachee::config::find_key("impairment." + argument.substr(0, equals));
    const std::string value = argument.substr(std::min(equals + 1, argument.size()));
    const std::string wrong =
        key == nullptr ? "is unknown" : cachee::config::set_value(*key, {&value, 1}, config);
    if (wrong.empty()) return;
    std::fprintf(stderr, "impaired_wire: %s %s\n", argument.c_str(), wrong.c_str());
    std::exit(2);
}

void print_counts(const char* name, const Direction& direction, const char* after) {
    const Impairment::Counts& counts = direction.wire.counts();
    std::printf("\"%s\":{\"submitted\":%lu,\"lost\":%lu,\"overflowed\":%lu,\"unwritten\":%lu}%s",
                name, counts.submitted, counts.lost, counts.overflowed, direction.write_failures,
                after);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: impaired_wire NETNS/DEVICE NETNS/DEVICE [loss=P] ...\n");
        return 2;
    }
    cachee::config::Config config;
    for (int i = 3; i < argc; ++i) set_option(config, argv[i]);
    struct sigaction action {};
    action.sa_handler = [](int) { stopping = 1; };
    ::sigaction(SIGTERM, &action, nullptr);
    ::sigaction(SIGINT, &action, nullptr);
    ::prctl(PR_SET_TIMERSLACK, 1000UL);  // ns: a frame is to leave when it is due
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);

    const int a = open_tap(argv[1]);
    const int b = open_tap(argv[2]);
    Direction there(a, b, cachee::sim::impairment_options_of(config.impairment, 0));
    Direction back(b, a, cachee::sim::impairment_options_of(config.impairment, 1));
    std::puts("ready");
    std::fflush(stdout);
    while (stopping == 0) {
        const uint64_t now = monotonic_ns();
        for (Direction* direction : {&there, &back}) {
            direction->read_all(now);
            direction->write_due(now);
        }
        const uint64_t due = std::min(there.wire.next_due_ns(), back.wire.next_due_ns());
        const uint64_t after = monotonic_ns();
        const uint64_t sleep_ns = due <= after ? 0 : std::min(due - after, kSleepNsMax);
        pollfd fds[2] = {{a, POLLIN, 0}, {b, POLLIN, 0}};
        const timespec pause{static_cast<time_t>(sleep_ns / cachee::base::kNsPerS),
                             static_cast<long>(sleep_ns % cachee::base::kNsPerS)};
        ::ppoll(fds, 2, &pause, nullptr);
    }
    std::printf("{");
    print_counts("there", there, ",");
    print_counts("back", back, "}\n");
    return 0;
}
