// SPDX-License-Identifier: Apache-2.0
// One or more workers over MemoryTransports, a real L1 on ordinary pages and a real control
// segment, with the test in the control plane's place and in charge of the clock. Single-threaded.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/hash.h"
#include "config/schema.h"
#include "dataplane/l1_lender.h"
#include "dataplane/standalone.h"
#include "dataplane/worker.h"
#include "memory_transport.h"
#include "shm/ring.h"
#include "shm/segment.h"

namespace cachee::dataplane {

struct HarnessOptions {
    uint32_t workers = 1;
    bool standalone = false;
    uint32_t ring_entries = 256;
    uint64_t ring_data_bytes = 1 << 20;
    uint32_t parked_requests_max = 1024;
    uint64_t buffers_bytes_max = 64 << 20;
    uint32_t sessions = 64;
    std::string password{};
    uint64_t lend_bytes_min = 0;  // 0: the transport does not take lent values
};

// An event as the control plane would take it.
struct Event {
    shm::RingEntry entry;
    std::string payload;
    shm::EventKind kind() const { return static_cast<shm::EventKind>(entry.kind); }
};

class Harness {
  public:
    explicit Harness(const HarnessOptions& options = {}) : options_(options) {
        static std::atomic<int> count{0};
        name_ = "wt" + std::to_string(::getpid()) + "-" + std::to_string(count++);
        auto segment = shm::Segment::create(name_, {.worker_count = options.workers,
                                                    .ring_entries = options.ring_entries,
                                                    .ring_data_bytes = options.ring_data_bytes});
        CACHEE_ASSERT(segment.has_value());
        segment_ = std::move(segment).value();
        segment_->header()->hash_seed = kSeed;
        l1::StoreOptions store_options;
        store_options.instance = name_;
        store_options.hugepages = l1::Hugepages::kOff;
        store_options.bytes = 32 << 20;
        store_options.partitions = options.workers;
        store_options.hash_seed = kSeed;
        auto store = l1::Store::create(store_options);
        CACHEE_ASSERT(store.has_value());
        store_ = std::move(store).value();
        lender_ = std::make_unique<L1Lender>(*store_);
        config_.listen.password = options.password;
        if (options.workers > 1) mesh_ = std::make_unique<RemoteMesh>(options.workers);
        for (uint32_t i = 0; i < options.workers; ++i) {
            transports_.push_back(std::make_unique<MemoryTransport>(options.sessions));
            WorkerOptions worker;
            worker.index = i;
            worker.worker_count = options.workers;
            worker.standalone = options.standalone;
            worker.hash_seed = kSeed;
            worker.request_timeout_ns = 5 * base::kNsPerS;
            worker.parked_requests_max = options.parked_requests_max;
            worker.buffers_bytes_max = options.buffers_bytes_max;
            worker.arena_bytes = 4 << 20;
            worker.config = &config_;
            worker.lend_bytes_min = options.lend_bytes_min;
            worker.lender = lender_.get();
            if (options.lend_bytes_min != 0) transports_[i]->lend();
            workers_.push_back(std::make_unique<Worker>(worker, *transports_[i], *store_, *segment_,
                                                        nullptr, mesh_.get()));
        }
        if (!options.standalone) attach_controlplane();
    }
    ~Harness() {
        workers_.clear();
        store_->unlink();
        segment_->unlink();
    }

    static constexpr uint64_t kSeed = 42;

    Worker& worker(uint32_t i = 0) { return *workers_[i]; }
    MemoryTransport& transport(uint32_t i = 0) { return *transports_[i]; }
    shm::Segment& segment() { return *segment_; }
    l1::Store& store() { return *store_; }
    uint64_t counter(stats::Counter counter, uint32_t i = 0) {
        return segment_->worker(i)->counters.get(counter);
    }

    void poll(int times = 1) {
        for (int t = 0; t < times; ++t) {
            beat();
            for (auto& worker : workers_) worker->poll_once(now_ns_);
        }
    }
    void advance_ms(uint64_t ms) { now_ns_ += ms * base::kNsPerMs; }
    uint64_t now_ns() const { return now_ns_; }
    uint64_t now_ms() const { return now_ns_ / base::kNsPerMs; }

    // --- in the control plane's place ---

    void attach_controlplane() {
        shm::ControlHeader* header = segment_->header();
        header->controlplane_epoch.fetch_add(1);
        controlplane_lives_ = true;
        poll();
        events_.clear();
        commands_.clear();
        for (uint32_t i = 0; i < options_.workers; ++i) {
            ASSERT_EQ(segment_->worker(i)->epoch_ack.load(), header->controlplane_epoch.load());
            events_.emplace_back(&segment_->worker(i)->events, segment_->base());
            commands_.emplace_back(&segment_->worker(i)->commands, segment_->base());
        }
    }
    void kill_controlplane() { controlplane_lives_ = false; }

    void grant_lease(uint64_t ms = 250, uint32_t generation = 1) {
        for (uint32_t i = 0; i < options_.workers; ++i) {
            shm::RingEntry entry;
            entry.kind = static_cast<uint16_t>(shm::CommandKind::kLease);
            entry.arg0 = now_ns_ + ms * base::kNsPerMs;
            entry.arg1 = generation;
            ASSERT_TRUE(commands_[i].push(entry));
        }
        poll();
    }
    void fill(std::string_view key, std::string_view value, uint64_t deadline_ms = 0,
              uint32_t generation = 1) {
        shm::RingEntry entry;
        entry.kind = static_cast<uint16_t>(shm::CommandKind::kFill);
        entry.key_bytes = static_cast<uint32_t>(key.size());
        entry.arg0 = deadline_ms;
        entry.arg1 = generation;
        ASSERT_TRUE(commands_[owner(key)].push(entry, key, value));
        poll();
    }
    void invalidate(std::string_view key) {
        shm::RingEntry entry;
        entry.kind = static_cast<uint16_t>(shm::CommandKind::kInvalidate);
        ASSERT_TRUE(commands_[owner(key)].push(entry, key));
        poll();
    }
    void answer(const Event& event, std::string_view reply, bool more = false,
                uint32_t worker = 0) {
        shm::RingEntry entry;
        entry.kind = static_cast<uint16_t>(shm::CommandKind::kReply);
        entry.request_id = event.entry.request_id;
        entry.session_id = event.entry.session_id;
        if (more) entry.flags |= shm::kMore;
        ASSERT_TRUE(commands_[worker].push(entry, reply));
        poll();
    }
    void command(shm::CommandKind kind, uint64_t session_id, std::string_view payload = {}) {
        shm::RingEntry entry;
        entry.kind = static_cast<uint16_t>(kind);
        entry.session_id = session_id;
        ASSERT_TRUE(commands_[0].push(entry, payload));
        poll();
    }
    std::vector<Event> take_events(uint32_t worker = 0) {
        std::vector<Event> taken;
        Event event;
        std::string_view payload;
        while (events_[worker].next(event.entry, payload)) {
            event.payload = payload;
            taken.push_back(event);
        }
        events_[worker].release();
        return taken;
    }
    uint32_t owner(std::string_view key) const {
        return base::owner_of(base::hash_key(key, kSeed), options_.workers);
    }

    // --- in a client's place ---

    io::SessionIndex connect(uint32_t worker = 0) {
        const io::SessionIndex session = transports_[worker]->open();
        poll();
        return session;
    }
    std::string exchange(io::SessionIndex session, std::string_view bytes, uint32_t worker = 0) {
        transports_[worker]->send(session, bytes);
        poll(3);
        return transports_[worker]->received(session);
    }

  private:
    void beat() {
        if (controlplane_lives_) segment_->header()->controlplane_heartbeat_ns.store(now_ns_);
    }

    HarnessOptions options_;
    std::string name_;
    config::Config config_;
    std::unique_ptr<shm::Segment> segment_;
    std::unique_ptr<l1::Store> store_;
    std::unique_ptr<L1Lender> lender_;
    std::unique_ptr<RemoteMesh> mesh_;
    std::vector<std::unique_ptr<MemoryTransport>> transports_;
    std::vector<std::unique_ptr<Worker>> workers_;
    std::vector<shm::RingConsumer> events_;
    std::vector<shm::RingProducer> commands_;
    uint64_t now_ns_ = 1'000'000 * base::kNsPerMs;
    bool controlplane_lives_ = false;
};

// "GET", "k" -> "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
inline std::string command(std::initializer_list<std::string_view> words) {
    std::string out;
    resp::append_command(out, {words.begin(), words.size()});
    return out;
}

}  // namespace cachee::dataplane
