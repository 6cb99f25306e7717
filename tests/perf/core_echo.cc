// SPDX-License-Identifier: Apache-2.0
// What the machine takes by itself: the schedule of benchmark p7 without any work. Two threads poll
// on a core each, as the data plane and the load generator do; a request is a number in one cache
// line, the reply the same number in another one. What is left of the latency is the way of two
// cache lines, and the time in which a core was not there when something was due.
//
//   core_echo_bench SERVER_CPU CLIENT_CPU RATE SECONDS PRIORITY
//       RATE requests per second at random times; 0: the next one after each reply
//       PRIORITY 0: ordinary; else real-time (SCHED_FIFO)
//
// Prints one JSON object: percentiles of the time from due to reply, and for each core the share of
// time in gaps of its loop longer than 10 us, and the longest one.
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"

namespace cachee::perf {
namespace {

constexpr uint64_t kGapNs = 10'000;  // as the load generator counts them

struct alignas(64) Line {
    std::atomic<uint64_t> number{0};
};

struct Options {
    int server_cpu = 0;
    int client_cpu = 1;
    double rate = 0;
    double seconds = 0.4;
    int priority = 0;
};

// Reads the clock, and notes for how long this thread was not there to do so.
class Clock {
  public:
    uint64_t now_ns() {
        const uint64_t now = base::monotonic_ns();
        if (last_ns_ == 0) begin_ns_ = last_ns_ = now;
        const uint64_t gap = now - last_ns_;
        if (gap > kGapNs) away_ns_ += gap;
        longest_ns_ = std::max(longest_ns_, gap);
        last_ns_ = now;
        return now;
    }
    double away_percent() const {
        return 100.0 * static_cast<double>(away_ns_) / static_cast<double>(last_ns_ - begin_ns_);
    }
    double longest_us() const { return static_cast<double>(longest_ns_) / 1000; }

  private:
    uint64_t begin_ns_ = 0;
    uint64_t last_ns_ = 0;
    uint64_t away_ns_ = 0;
    uint64_t longest_ns_ = 0;
};

void take_core(int cpu, int priority) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_param parameter{};
    parameter.sched_priority = priority;
    if (::pthread_setaffinity_np(::pthread_self(), sizeof set, &set) != 0 ||
        (priority != 0 && ::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &parameter) != 0)) {
        std::fprintf(stderr, "core_echo_bench: no such core, or no right to that priority\n");
        std::exit(1);
    }
}

class Echo {
  public:
    explicit Echo(const Options& options) : options_(options) {}

    void run() {
        std::thread server([this] { serve(); });
        while (!serving_.load(std::memory_order_acquire)) std::this_thread::yield();
        ask();
        stop_.store(true, std::memory_order_relaxed);
        server.join();
    }

    void print() {
        std::sort(latencies_ns_.begin(), latencies_ns_.end());
        std::printf(
            "{\"requests\": %zu, \"p50_ns\": %llu, \"p99_ns\": %llu, \"p99_9_ns\": %llu, "
            "\"client_away_percent\": %.3f, \"client_longest_us\": %.1f, "
            "\"server_away_percent\": %.3f, \"server_longest_us\": %.1f}\n",
            latencies_ns_.size(), percentile(0.5), percentile(0.99), percentile(0.999),
            client_.away_percent(), client_.longest_us(), server_.away_percent(),
            server_.longest_us());
    }

  private:
    void serve() {
        take_core(options_.server_cpu, options_.priority);
        serving_.store(true, std::memory_order_release);
        while (!stop_.load(std::memory_order_relaxed)) {
            server_.now_ns();
            const uint64_t asked = request_.number.load(std::memory_order_acquire);
            // Release: pairs with the client's acquire, as its release with the acquire above.
            if (asked != reply_.number.load(std::memory_order_relaxed))
                reply_.number.store(asked, std::memory_order_release);
        }
    }

    void ask() {
        take_core(options_.client_cpu, options_.priority);
        latencies_ns_.resize(8'000'000);  // memory that is there: growing would be a gap of our own
        latencies_ns_.clear();
        base::Rng rng(1);
        const uint64_t begin = client_.now_ns();
        const uint64_t end = begin + static_cast<uint64_t>(options_.seconds * 1e9);
        uint64_t due = begin;
        std::deque<uint64_t> waiting;  // when each was due
        uint64_t asked = 0;
        uint64_t answered = 0;
        for (uint64_t now = begin; now < end; now = client_.now_ns()) {
            const uint64_t seen = reply_.number.load(std::memory_order_acquire);
            for (; answered < seen; ++answered) {
                latencies_ns_.push_back(now - waiting.front());
                waiting.pop_front();
            }
            const uint64_t before = asked;
            const auto ask_at = [&](uint64_t ns) {
                waiting.push_back(ns);
                ++asked;
            };
            if (options_.rate != 0) {
                for (; due <= now; due += gap_ns(rng)) ask_at(due);
            } else if (waiting.empty()) {
                ask_at(now);
            }
            if (asked != before) request_.number.store(asked, std::memory_order_release);
        }
    }

    uint64_t gap_ns(base::Rng& rng) const {
        const double uniform = (static_cast<double>(rng.below(1u << 30)) + 0.5) / (1u << 30);
        return static_cast<uint64_t>(-std::log(uniform) * 1e9 / options_.rate);
    }
    unsigned long long percentile(double share) const {
        if (latencies_ns_.empty()) return 0;
        const auto at = static_cast<size_t>(share * static_cast<double>(latencies_ns_.size()));
        return latencies_ns_[std::min(at, latencies_ns_.size() - 1)];
    }

    const Options options_;
    Line request_;
    Line reply_;
    std::atomic<bool> serving_{false};
    std::atomic<bool> stop_{false};
    Clock client_;
    Clock server_;
    std::vector<uint64_t> latencies_ns_;
};

}  // namespace
}  // namespace cachee::perf

int main(int argc, char** argv) {
    if (argc != 6) {
        std::fprintf(stderr, "usage: %s SERVER_CPU CLIENT_CPU RATE SECONDS PRIORITY\n", argv[0]);
        return 2;
    }
    cachee::perf::Echo echo({.server_cpu = std::atoi(argv[1]),
                             .client_cpu = std::atoi(argv[2]),
                             .rate = std::atof(argv[3]),
                             .seconds = std::atof(argv[4]),
                             .priority = std::atoi(argv[5])});
    echo.run();
    echo.print();
    return 0;
}
