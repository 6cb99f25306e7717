// SPDX-License-Identifier: Apache-2.0
// The threads of a load and the main thread that leads them. See runner.h.
#include "tools/loadgen/runner.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/clock.h"
#include "tools/cachee/text.h"
#include "tools/loadgen/load_thread.h"

namespace cachee::loadgen {

namespace {

constexpr auto kLook = std::chrono::milliseconds(10);
constexpr uint64_t kStartDelayNs = 5 * base::kNsPerMs;  // from the order to the common start
// A sleeping thread is late by about this much: the last stretch to a due request is polled.
constexpr uint64_t kSpinNs = 150 * base::kNsPerUs;

volatile sig_atomic_t interrupted = 0;
void on_signal(int) { interrupted = 1; }

// The first signal ends the load in good order, the second one the process.
void catch_signals() {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
}

enum class Order : uint32_t { kNone, kPopulate, kRun };

struct Control {
    std::atomic<Order> order{Order::kNone};
    std::atomic<uint64_t> start_ns{0};  // of kRun; written before the order
    std::atomic<bool> stop{false};
};

class Worker {
  public:
    Worker(const Options& options, const LoadPlan& plan, const Workload& workload, Links& links,
           Control& control, ThreadStats& stats)
        : links_(links),
          link_(links.link(plan.thread)),
          control_(control),
          load_(plan, workload, link_, stats),
          priority_(static_cast<int>(options.priority)),
          core_(options.cores.empty() ? -1 : static_cast<int>(options.cores[plan.thread])),
          thread_([this] { run(); }) {}
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    ~Worker() { thread_.join(); }

    // The last order that was carried out (kNone: connected), or nothing yet.
    bool has_done(Order order) const { return done_.load() > static_cast<int>(order); }
    bool over() const { return over_.load(); }
    // REQUIRES: over().
    const LoadThread& load() const { return load_; }
    bool pinned() const { return pinned_; }

  private:
    void run() {
        if (core_ >= 0) {
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET(static_cast<size_t>(core_), &set);
            pinned_ = pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0;
        }
        // One below the threads that only wake up now and then (set_priority()).
        if (priority_ > 0) {
            const sched_param parameters{.sched_priority = priority_};
            pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters);
        }
        ::prctl(PR_SET_TIMERSLACK, 1);
        links_.thread_started();
        while (!load_.over()) {
            if (control_.stop.load(std::memory_order_relaxed)) load_.stop();
            if (load_.stage() == Stage::kReady) obey();
            if (!load_.step() && !links_.poll_mode()) rest();
        }
        links_.thread_ended();
        over_.store(true);
    }
    void obey() {
        done_.store(static_cast<int>(taken_) + 1);
        const Order order = control_.order.load();
        if (order == taken_) return;
        taken_ = order;
        if (order == Order::kPopulate) {
            load_.populate();
        } else {
            load_.run(control_.start_ns.load());
        }
    }
    void rest() {
        const uint64_t idle_ns = load_.idle_ns();
        if (idle_ns > kSpinNs) link_.transport().wait(idle_ns - kSpinNs);
    }

    Links& links_;
    ClientLink& link_;
    Control& control_;
    LoadThread load_;
    const int priority_;
    const int core_;
    Order taken_ = Order::kNone;
    std::atomic<int> done_{0};
    std::atomic<bool> over_{false};
    bool pinned_ = true;
    std::thread thread_;  // last: it uses the rest
};

LoadPlan plan_of(const Options& options, uint32_t thread) {
    const auto share = [&](uint64_t whole) {
        return whole / options.threads + (thread < whole % options.threads ? 1 : 0);
    };
    const auto ns = [](double seconds) { return static_cast<uint64_t>(seconds * 1e9); };
    LoadPlan plan;
    plan.thread = thread;
    plan.threads = options.threads;
    plan.connections = static_cast<uint32_t>(share(options.connections));
    plan.pipeline = options.pipeline;
    plan.rate = options.rate / options.threads;
    plan.poisson = options.arrivals == "poisson";
    plan.requests = options.requests == 0 ? 0 : std::max<uint64_t>(share(options.requests), 1);
    plan.warmup_ns = ns(options.warmup_seconds);
    plan.measure_ns = ns(options.seconds);
    plan.timeout_ns = ns(options.timeout_seconds);
    plan.verify = options.verify;
    return plan;
}

class Lead {
  public:
    Lead(const Options& options, const Workload& workload, Links& links) : options_(options) {
        for (uint32_t i = 0; i < options.threads; ++i) {
            stats_.push_back(std::make_unique<ThreadStats>());
            workers_.push_back(std::make_unique<Worker>(options, plan_of(options, i), workload,
                                                        links, control_, *stats_[i]));
        }
    }

    Report run() {
        bool going = wait_for(Order::kNone, "connecting");
        if (going && !options_.no_populate) {
            control_.order.store(Order::kPopulate);
            going = wait_for(Order::kPopulate, "populating");
        }
        if (going) {
            const uint64_t start_ns = base::monotonic_ns() + kStartDelayNs;
            control_.start_ns.store(start_ns);
            control_.order.store(Order::kRun);
            watch(start_ns);
        }
        control_.stop.store(true);
        while (!all_over()) std::this_thread::sleep_for(kLook);
        const uint64_t from_ns =
            control_.start_ns.load() == 0
                ? 0
                : control_.start_ns.load() + static_cast<uint64_t>(options_.warmup_seconds * 1e9);
        Report report = make_report(stats_, from_ns);
        for (const auto& worker : workers_) {
            if (report.failure.empty()) report.failure = worker->load().failure();
        }
        if (report.failure.empty() && interrupted != 0 && !going) report.failure = "interrupted";
        for (size_t i = 0; i < workers_.size(); ++i) {
            if (workers_[i]->pinned()) continue;
            fmt::print(stderr, "note: thread {} cannot be pinned to core {}\n", i,
                       options_.cores[i]);
        }
        return report;
    }

  private:
    bool all_over() const {
        for (const auto& worker : workers_) {
            if (!worker->over()) return false;
        }
        return true;
    }
    bool any_over() const {
        for (const auto& worker : workers_) {
            if (worker->over()) return true;
        }
        return false;
    }
    bool shows() const { return !options_.quiet && cli::colours_wanted(STDERR_FILENO); }

    // False when the load is not to go on.
    bool wait_for(Order order, const char* what) {
        uint64_t shown_ns = base::monotonic_ns();
        bool printed = false;
        while (true) {
            bool all = true;
            for (const auto& worker : workers_) all = all && worker->has_done(order);
            if (all || interrupted != 0 || any_over()) {
                if (printed) fmt::print(stderr, "\r\x1b[K");
                return all && interrupted == 0 && !any_over();
            }
            if (shows() && base::monotonic_ns() - shown_ns > base::kNsPerS / 5) {
                shown_ns = base::monotonic_ns();
                uint64_t populated = 0;
                for (const auto& thread : stats_) populated += thread->get(Tally::kPopulated);
                fmt::print(stderr, "\r{} ({} keys set)\x1b[K", what, cli::grouped(populated));
                printed = true;
            }
            std::this_thread::sleep_for(kLook);
        }
    }

    void watch(uint64_t start_ns) {
        Progress progress;
        uint64_t shown_ns = start_ns;
        while (!all_over() && interrupted == 0) {
            std::this_thread::sleep_for(kLook);
            // One thread that cannot go on makes the figures of the others mean little.
            if (any_failed()) return;
            const uint64_t now_ns = base::monotonic_ns();
            if (!shows() || now_ns < shown_ns + base::kNsPerS) continue;
            fmt::print(stderr, "{}\n",
                       progress.line(stats_, static_cast<double>(now_ns - start_ns) / 1e9,
                                     static_cast<double>(now_ns - shown_ns) / 1e9));
            shown_ns = now_ns;
        }
    }
    bool any_failed() const {
        for (const auto& worker : workers_) {
            if (worker->over() && worker->load().stage() == Stage::kFailed) return true;
        }
        return false;
    }

    const Options& options_;
    Control control_;
    StatsList stats_;
    std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace

base::Status set_priority(const Options& options) {
    if (options.priority == 0) return {};
    const sched_param parameters{.sched_priority = static_cast<int>(options.priority) + 1};
    if (::sched_setscheduler(0, SCHED_FIFO, &parameters) == 0) return {};
    return base::Error{std::string("--priority: ") + std::strerror(errno)};
}

Report run_load(const Options& options, const Workload& workload, Links& links) {
    catch_signals();
    Lead lead(options, workload, links);
    return lead.run();
}

}  // namespace cachee::loadgen
