// SPDX-License-Identifier: Apache-2.0
// cachee-dataplane: composition root of the data plane. Reads the configuration, opens everything
// that needs privileges, drops them, starts one thread per worker, and waits for a signal. No
// request passes here.
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "bin/arguments.h"
#include "bin/privileges.h"
#include "bin/readers.h"
#include "bin/reload.h"
#include "bin/transports.h"
#include "bin/warnings.h"
#include "config/keys.h"
#include "config/loader.h"
#include "dataplane/l1_lender.h"
#include "dataplane/worker_loop.h"
#include "l1/partition.h"
#include "l1/store.h"
#include "shm/segment.h"

namespace cachee::bin {
namespace {

using base::Severity;

constexpr const char* kProgram = "cachee-dataplane";

void log(Severity severity, const std::string& text) { base::log_line(kProgram, severity, text); }

uint64_t measure_tsc_hz() {
    const uint64_t ns = base::monotonic_ns();
    const uint64_t cycles = base::cycles();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return (base::cycles() - cycles) * base::kNsPerS / (base::monotonic_ns() - ns);
}

void copy_text(char* to, size_t capacity, const std::string& from) {
    const size_t size = std::min(from.size(), capacity - 1);
    std::memcpy(to, from.data(), size);
    to[size] = '\0';
}

class DataPlane {
  public:
    DataPlane(const config::Config& config, bool cold)
        : config_(config),
          kept_(config.l1.warm_restart && config.l1.bytes_max == 0),
          cold_(cold || !kept_),
          workers_(config.workers.cores.empty()
                       ? config.workers.count
                       : static_cast<uint32_t>(config.workers.cores.size())) {}

    ~DataPlane() {
        stop_.store(true);
        for (std::thread& thread : threads_) thread.join();
        workers_built_.clear();
        // An XDP program is detached with it; without the right it would stay on the interface.
        if (dropped_ && transports_ && transports_->capabilities() != 0) {
            (void)set_capabilities(transports_->capabilities(), transports_->capabilities());
        }
        readers_.reset();
        transports_.reset();
        // What was kept stays, and what a run that went well has collected.
        if (store_ && (!kept_ || !(attached_.warm || ran_))) store_->unlink();
        if (segment_) {
            segment_->header()->dataplane_state.store(
                static_cast<uint32_t>(shm::PlaneState::kStopped));
            segment_->unlink();
        }
    }

    base::Status start() {
        if (!config_.instance.user.empty() && ::geteuid() == 0) {
            auto account = find_account(config_.instance.user);
            if (!account) return account.error();
            account_ = *account;
        }
        auto group = readers_group(config_);
        if (!group) return group.error();
        owner_ = {account_ ? account_->pw_uid : static_cast<uid_t>(-1), *group};
        if (account_ && owner_.group == static_cast<gid_t>(-1)) owner_.group = account_->pw_gid;
        if (base::Status status = lock_instance(); !status) return status;
        if (base::Status status = open_segment(); !status) return status;
        if (base::Status status = open_store(); !status) return status;
        auto wake = shm::WakeFifo::open(config_.instance.runtime_dir + "/" + config_.instance.name +
                                        ".wake");
        if (!wake) return wake.error();
        wake_ = std::make_unique<shm::WakeFifo>(std::move(wake).value());

        leave_worker_cores();
        std::vector<stats::WorkerCounters*> counters;
        for (uint32_t i = 0; i < workers_; ++i) counters.push_back(&segment_->worker(i)->counters);
        // A device maps memory that is there and stays there.
        LentMapping lent;
        if (config_.l1.bytes_max == 0) {
            lent = {store_->base(), store_->bytes(), store_->page_bytes()};
        }
        auto transports = make_transports(config_, workers_, counters, lent);
        if (!transports) return transports.error();
        transports_ = std::move(transports).value();
        copy_text(segment_->header()->listen, sizeof segment_->header()->listen,
                  transports_->listen());

        build_workers();
        auto readers = Readers::open(config_, *store_, transports_->listen(), owner_);
        if (!readers) return readers.error();
        readers_ = std::move(readers).value();
        if (account_) {
            if (base::Status status = hand_over_files(); !status) return status;
            if (base::Status status = drop_privileges(*account_, transports_->capabilities());
                !status) {
                return status;
            }
            dropped_ = true;
        }
        for (uint32_t i = 0; i < workers_; ++i) {
            threads_.emplace_back([this, i] { run(i); });
        }
        segment_->header()->dataplane_state.store(static_cast<uint32_t>(shm::PlaneState::kRunning));
        ran_ = true;
        log(Severity::kInfo,
            "ready: " + transports_->listen() + ", " + std::to_string(workers_) +
                (workers_ == 1 ? " worker, L1 " : " workers, L1 ") +
                std::to_string(config_.l1.bytes >> 20) + " MiB in " + store_->path() +
                (config_.l2.backend.empty() ? ", standalone" : ", in front of L2"));
        return {};
    }

    l1::Store& store() { return *store_; }
    void note_l1_bytes(uint64_t bytes) {
        segment_->header()->l1_bytes.store(bytes, std::memory_order_relaxed);
    }
    std::vector<const stats::WorkerCounters*> counters() const {
        std::vector<const stats::WorkerCounters*> all;
        for (uint32_t i = 0; i < workers_; ++i) all.push_back(&segment_->worker(i)->counters);
        return all;
    }

    void take_hints() { readers_->take_hints(); }

  private:
    // This thread, and those that a driver makes from here on, stay off the cores that workers are
    // pinned to, where there are others: what wakes up now and then must not interrupt a poll.
    void leave_worker_cores() {
        cpu_set_t set;
        if (::sched_getaffinity(0, sizeof set, &set) != 0) return;
        for (const uint32_t core : config_.workers.cores) CPU_CLR(core, &set);
        if (CPU_COUNT(&set) > 0) ::sched_setaffinity(0, sizeof set, &set);
    }

    base::Status lock_instance() {
        ::mkdir(config_.instance.runtime_dir.c_str(), 0770);
        const std::string path =
            config_.instance.runtime_dir + "/" + config_.instance.name + "-dataplane.lock";
        const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0660);
        if (fd < 0) return base::Error{"cannot open " + path + ": " + std::strerror(errno)};
        if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
            ::close(fd);
            return base::Error{"another data plane of instance \"" + config_.instance.name +
                               "\" runs already (it holds " + path + ")"};
        }
        return {};  // held until the process ends
    }

    // To the account that this process becomes, so that it can remove them in the end.
    base::Status hand_over_files() {
        const std::string runtime = config_.instance.runtime_dir + "/" + config_.instance.name;
        for (const std::string& path : {shm::control_segment_path(config_.instance.name),
                                        runtime + ".wake", runtime + "-dataplane.lock"}) {
            if (::chown(path.c_str(), account_->pw_uid, account_->pw_gid) != 0) {
                return base::Error{"cannot hand " + path + " over to user \"" +
                                   config_.instance.user + "\": " + std::strerror(errno)};
            }
        }
        return {};
    }

    // Where L1's file goes: hugetlbfs belongs to root, and who has dropped root can remove a file
    // only from a folder of its own.
    base::Result<std::string> hugepage_dir() {
        if (!account_ || config_.l1.hugepages == config::HugepageMode::kOff) {
            return config_.l1.hugepage_dir;
        }
        const std::string path = config_.l1.hugepage_dir + "/cachee-" + config_.instance.user;
        if ((::mkdir(path.c_str(), 0750) != 0 && errno != EEXIST) ||
            ::chown(path.c_str(), account_->pw_uid, owner_.group) != 0) {
            if (config_.l1.hugepages == config::HugepageMode::kAuto) return config_.l1.hugepage_dir;
            return base::Error{"cannot make " + path + ": " + std::strerror(errno)};
        }
        return path;
    }

    base::Status open_segment() {
        auto segment = shm::Segment::create(config_.instance.name,
                                            {.worker_count = workers_,
                                             .ring_entries = config_.shm.ring_entries,
                                             .ring_data_bytes = config_.shm.ring_data_bytes});
        if (!segment) return segment.error();
        segment_ = std::move(segment).value();
        shm::ControlHeader* header = segment_->header();
        header->l1_bytes = config_.l1.bytes;
        header->item_bytes_max = config_.l1.item_bytes_max;
        header->tsc_hz = measure_tsc_hz();
        header->standalone = config_.l2.backend.empty() ? 1 : 0;
        header->dataplane_started_ns = base::monotonic_ns();
        header->dataplane_started_wall_ms = base::wall_ms();
        constexpr const char* kDrivers[] = {"socket", "dpdk", "sim"};
        copy_text(header->driver, sizeof header->driver,
                  kDrivers[static_cast<size_t>(config_.driver)]);
        return {};
    }

    base::Status open_store() {
        l1::StoreOptions options;
        options.instance = config_.instance.name;
        auto directory = hugepage_dir();
        if (!directory) return directory.error();
        options.hugepage_dir = *directory;
        options.hugepages = static_cast<l1::Hugepages>(config_.l1.hugepages);
        options.bytes = config_.l1.bytes;
        options.bytes_max = config_.l1.bytes_max;
        options.partitions = workers_;
        options.item_bytes_max = config_.l1.item_bytes_max;
        options.hash_seed = base::random_seed();
        options.authoritative = config_.l2.backend.empty();
        if (account_) options.owner = account_->pw_uid;
        auto store = cold_ ? l1::Store::create(options)
                           : l1::Store::attach_or_create(
                                 options, base::monotonic_ns() / base::kNsPerMs, &attached_);
        if (!store) return store.error();
        store_ = std::move(store).value();
        if (cold_) {
            log(Severity::kInfo,
                config_.l1.bytes_max != 0
                    ? "L1 starts empty: one whose size can change (l1.bytes_max) is "
                      "not kept over a restart"
                    : "L1 starts empty, as it was asked to");
        } else {
            log(attached_.cold_reason.empty() ? Severity::kInfo : Severity::kWarning,
                attached_.text());
        }
        std::vector<l1::Quota> quotas;
        for (const std::string& text : config_.l1.quotas) {
            config::Quota quota;
            CACHEE_ASSERT(config::parse_quota(text, quota).empty());
            quotas.push_back({quota.prefix, quota.bytes / workers_});
        }
        for (uint32_t i = 0; i < workers_; ++i) {
            l1::Partition& partition = store_->partition(i);
            partition.choose_policy(static_cast<l1::Eviction>(config_.l1.eviction));
            if (base::Status status = partition.set_quotas(quotas); !status) return status;
        }
        lender_ = std::make_unique<dataplane::L1Lender>(*store_);
        if (!store_->fallback_reason().empty()) {
            log(Severity::kWarning, "L1 is on ordinary pages: " + store_->fallback_reason());
        }
        shm::ControlHeader* header = segment_->header();
        copy_text(header->l1_path, sizeof header->l1_path, store_->path());
        header->hash_seed = store_->hash_seed();
        header->l1_id = store_->id();
        header->generation.store(std::max(store_->newest_generation(), 1U));
        for (size_t i = 0; i < attached_.partitions.size(); ++i) {
            stats::WorkerCounters& counters = segment_->worker(static_cast<uint32_t>(i))->counters;
            counters.set(stats::Counter::l1_kept, attached_.partitions[i].items);
            counters.set(stats::Counter::l1_not_kept, attached_.partitions[i].dropped());
        }
        return {};
    }

    void build_workers() {
        if (workers_ > 1) remote_ = std::make_unique<dataplane::RemoteMesh>(workers_);
        for (uint32_t i = 0; i < workers_; ++i) {
            dataplane::WorkerOptions options;
            options.index = i;
            options.worker_count = workers_;
            options.burst_max = config_.workers.burst_max;
            options.standalone = config_.l2.backend.empty();
            options.hash_seed = segment_->header()->hash_seed;
            options.ttl_max_ms = config_.l1.ttl_max_ms;
            // The control plane answers within the timeout itself; this catches one that does not.
            options.request_timeout_ns =
                (uint64_t{config_.l2.request_timeout_ms} + 500) * base::kNsPerMs;
            options.parked_requests_max = config_.limits.parked_requests_max;
            options.buffers_bytes_max = config_.limits.query_buffer_bytes_max;
            options.item_bytes_max = config_.l1.item_bytes_max;
            options.lend_bytes_min = config_.listen.lend_bytes_min;
            options.lender = lender_.get();
            options.limits = {.bulk_bytes_max = config_.limits.bulk_bytes_max,
                              .arguments_max = config_.limits.arguments_max,
                              .inline_bytes_max = config_.limits.inline_bytes_max};
            options.config = &config_;
            workers_built_.push_back(
                std::make_unique<dataplane::Worker>(options, transports_->transport(i), *store_,
                                                    *segment_, wake_.get(), remote_.get()));
        }
    }

    void run(uint32_t worker) {
        pthread_setname_np(pthread_self(), ("worker" + std::to_string(worker)).c_str());
        if (!config_.workers.cores.empty()) {
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET(config_.workers.cores[worker], &set);
            if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0) {
                segment_->worker(worker)->core = config_.workers.cores[worker];
            } else {
                log(Severity::kWarning, "worker " + std::to_string(worker) +
                                            " cannot be pinned to core " +
                                            std::to_string(config_.workers.cores[worker]));
            }
        }
        transports_->thread_started(worker);
        const dataplane::IdleOptions idle{.spins = config_.workers.idle_spins,
                                          .sleep_us = config_.workers.idle_sleep_us};
        dataplane::run_worker(*workers_built_[worker], transports_->transport(worker), idle, stop_);
        transports_->thread_ended(worker);
    }

    const config::Config& config_;
    const bool kept_;  // L1 is, for the next data plane
    const bool cold_;
    const uint32_t workers_;
    std::optional<passwd> account_;  // to become after start
    FileOwner owner_;                // of what readers in other processes open
    bool dropped_ = false;
    bool ran_ = false;
    l1::AttachReport attached_;
    std::unique_ptr<shm::Segment> segment_;
    std::unique_ptr<l1::Store> store_;
    std::unique_ptr<shm::WakeFifo> wake_;
    std::unique_ptr<dataplane::L1Lender> lender_;  // outlives the transports
    std::unique_ptr<Transports> transports_;
    std::unique_ptr<Readers> readers_;
    std::unique_ptr<dataplane::RemoteMesh> remote_;
    std::vector<std::unique_ptr<dataplane::Worker>> workers_built_;
    std::vector<std::thread> threads_;
    std::atomic<bool> stop_{false};
};

int run(const std::string& config_path, bool cold) {
    // Signals are taken by sigwait below; the threads inherit the mask.
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    ::signal(SIGPIPE, SIG_IGN);

    config::Config config;
    std::vector<config::Finding> findings;
    if (!config::load(config_path, config, findings)) {
        for (const config::Finding& finding : findings)
            std::fprintf(stderr, "%s\n", finding.text().c_str());
        return 1;
    }
    DataPlane plane(config, cold);
    if (base::Status status = plane.start(); !status) {
        log(Severity::kError, status.error().message);
        return 1;
    }
    Warnings warnings(plane.counters());
    Reload reload(
        config_path, config, plane.store(), [&](uint64_t bytes) { plane.note_l1_bytes(bytes); },
        log);
    constexpr timespec kTick{0, 100'000'000};
    constexpr uint32_t kTicksPerCheck = 10;
    int signal = 0;
    for (uint32_t tick = 1; signal != SIGTERM && signal != SIGINT; ++tick) {
        signal = sigtimedwait(&signals, nullptr, &kTick);
        plane.take_hints();
        if (signal == SIGHUP) reload.read();
        if (tick % kTicksPerCheck != 0) continue;
        reload.tick();
        for (const std::string& line : warnings.check(std::chrono::steady_clock::now())) {
            log(Severity::kWarning, line);
        }
    }
    log(Severity::kInfo, std::string("stopping on ") + (signal == SIGTERM ? "SIGTERM" : "SIGINT"));
    return 0;
}

}  // namespace
}  // namespace cachee::bin

int main(int argc, char** argv) {
    const cachee::bin::Arguments arguments = cachee::bin::parse_arguments(
        argc, argv, "cachee-dataplane", "answers clients from L1; the control plane asks L2");
    if (arguments.exit_code >= 0) return arguments.exit_code;
    return cachee::bin::run(arguments.config_path, arguments.cold);
}
