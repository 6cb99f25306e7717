// SPDX-License-Identifier: Apache-2.0
// What is worth a line of the log; see warnings.h. Main thread only.
#include "bin/warnings.h"

#include <utility>

namespace cachee::bin {

using stats::Counter;

Warnings::Warnings(std::vector<const stats::WorkerCounters*> workers)
    : workers_(std::move(workers)) {
    const auto watch = [this](Counter counter, const char* text) {
        watches_.push_back({counter, text, total(counter), {}, false});
    };
    watch(Counter::tcp_cookies_sent,
          "many handshakes are under way: SYNs are answered with cookies (tcp.syn_cookies)");
    watch(Counter::tcp_half_open_recycled,
          "the half-open table is full: the oldest handshakes make room (tcp.half_open_max)");
    watch(Counter::tcp_slow_readers,
          "a client that took no reply was closed (tcp.slow_reader_timeout_s)");
    watch(Counter::tcp_slow_readers_memory,
          "buffers ran short: the client that held most and took nothing was closed "
          "(listen.buffers_bytes_max, tcp.buffers_low_percent)");
    watch(Counter::tcp_challenges_suppressed,
          "many segments do not fit their connection: not all are challenged "
          "(tcp.challenge_acks_per_s)");
    watch(Counter::sessions_refused,
          "a client was refused: no session is free "
          "(listen.sessions_max)");
}

uint64_t Warnings::total(Counter counter) const {
    uint64_t sum = 0;
    for (const stats::WorkerCounters* worker : workers_) sum += worker->get(counter);
    return sum;
}

std::vector<std::string> Warnings::check(std::chrono::steady_clock::time_point now) {
    std::vector<std::string> lines;
    for (Watch& watch : watches_) {
        const uint64_t value = total(watch.counter);
        if (value == watch.seen) continue;
        const bool begins = !watch.told || now - watch.grew >= kQuiet;
        watch.seen = value;
        watch.grew = now;
        watch.told = true;
        if (!begins) continue;
        const auto& info = stats::kWorkerCounters[static_cast<size_t>(watch.counter)];
        lines.push_back(std::string(watch.text) + "; " + std::string(info.name) + " is " +
                        std::to_string(value) + ", `cachee info` counts on");
    }
    return lines;
}

}  // namespace cachee::bin
