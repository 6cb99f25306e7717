// SPDX-License-Identifier: Apache-2.0
// `cachee stat`: a line per interval, in vmstat's manner. Follows the data plane across restarts.
#include <fmt/format.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "tools/cachee/commands.h"
#include "tools/cachee/stat_line.h"
#include "tools/cachee/text.h"

namespace cachee::cli {

namespace {

constexpr uint64_t kLinesPerHeader = 20;
volatile sig_atomic_t interrupted = 0;

void on_interrupt(int) { interrupted = 1; }

// No SA_RESTART: the sleep has to end at once.
void stop_on_interrupt() {
    struct sigaction action {};
    action.sa_handler = on_interrupt;
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
}

// Until `deadline_ns` of the monotonic clock; false when interrupted.
bool sleep_until(uint64_t deadline_ns) {
    const timespec deadline{static_cast<time_t>(deadline_ns / base::kNsPerS),
                            static_cast<long>(deadline_ns % base::kNsPerS)};
    while (interrupted == 0) {
        if (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, nullptr) == 0) return true;
    }
    return false;
}

// Holds the mapping and changes to the new file when the data plane was restarted.
class Watch {
  public:
    explicit Watch(std::string instance) : instance_(std::move(instance)) {}

    base::Status attach() {
        auto attached = shm::Segment::attach(instance_, true);
        if (!attached) return attached.error();
        segment_ = std::move(attached).value();
        previous_ = take_snapshot(*segment_, base::monotonic_ns());
        return {};
    }

    const Snapshot& previous() const { return previous_; }

    // The line since the last call, or nothing when the segment was replaced or is gone meanwhile.
    std::optional<StatLine> next() {
        if (!segment_->is_current()) {
            const bool returned = static_cast<bool>(attach());
            note(returned
                     ? "the data plane was restarted: following the new one"
                     : "the segment is gone (the data plane was stopped): waiting for a new one");
            return std::nullopt;
        }
        Snapshot current = take_snapshot(*segment_, base::monotonic_ns());
        const StatLine line = compute_stat(previous_, current);
        const std::string fault = dataplane_fault(current, instance_);
        if (!fault.empty()) note(fault);
        if (fault.empty()) last_note_.clear();
        previous_ = std::move(current);
        return line;
    }

  private:
    // Each text once in a row, on stderr: stdout stays a table.
    void note(const std::string& text) {
        if (text == last_note_) return;
        last_note_ = text;
        fmt::print(stderr, "cachee stat: {}\n", text);
    }

    std::string instance_;
    std::unique_ptr<shm::Segment> segment_;
    Snapshot previous_;
    std::string last_note_;
};

}  // namespace

void print_error(const std::string& message) { fmt::print(stderr, "error: {}\n", message); }

int run_stat(const StatOptions& options) {
    Watch watch(options.instance);
    if (auto status = watch.attach(); !status) {
        print_error(
            status.error().message +
            "; start one (cachee-dataplane --config FILE, or ./tools/quickstart), or name another "
            "with --instance NAME");
        return 1;
    }
    if (const auto fault = dataplane_fault(watch.previous(), options.instance); !fault.empty()) {
        print_error(fault);
        return 1;
    }
    stop_on_interrupt();
    const bool colours = !options.json && colours_wanted(STDOUT_FILENO);
    const auto interval_ns = static_cast<uint64_t>(options.interval_s * 1e9);
    uint64_t deadline_ns = base::monotonic_ns();
    uint64_t lines = 0;
    while (options.count == 0 || lines < options.count) {
        if (!options.json && lines % kLinesPerHeader == 0) fmt::print("{}\n", stat_header());
        std::fflush(stdout);
        // From one deadline to the next, so that lines do not drift; after a suspension start anew.
        deadline_ns += interval_ns;
        const uint64_t now_ns = base::monotonic_ns();
        if (deadline_ns < now_ns) deadline_ns = now_ns + interval_ns;
        if (!sleep_until(deadline_ns)) break;
        if (const auto line = watch.next()) {
            fmt::print("{}\n", options.json ? stat_json(*line, base::wall_ms())
                                            : stat_text(*line, colours));
        }
        ++lines;
    }
    std::fflush(stdout);
    return 0;
}

}  // namespace cachee::cli
