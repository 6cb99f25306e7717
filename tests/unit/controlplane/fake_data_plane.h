// SPDX-License-Identifier: Apache-2.0
// A data plane in the test's own thread: it owns the segment, sends events, and applies commands to
// a map per worker that stands for L1. Each worker is driven by hand, so that a test can let one
// lag. Tests only.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"
#include "resp/encoder.h"
#include "shm/ring.h"
#include "shm/segment.h"
#include "shm/wake.h"

namespace cachee::test {

struct L1Item {
    std::string value;
    uint64_t deadline_ms = 0;
    uint32_t generation = 0;
};

// What a worker saw, in order, as text: "fill k=v", "invalidate k", "reply 7 +OK", "stream 3 ...",
// "close 3", "lease 0 g2".
struct FakeWorker {
    std::map<std::string, L1Item> l1;
    std::map<uint64_t, std::string> replies;  // by request
    std::map<uint64_t, std::string> streams;  // by session
    std::map<uint64_t, bool> closed;
    std::vector<std::string> log;
    std::string partial;
    uint64_t lease_until_ns = 0;
    uint32_t generation = 0;
    uint64_t epoch = 0;
    bool stalled = false;  // consumes nothing
    shm::RingProducer events;
    shm::RingConsumer commands;
};

class FakeDataPlane {
  public:
    FakeDataPlane(std::string instance, const std::string& runtime_dir, uint32_t workers,
                  shm::SegmentOptions options = {.ring_entries = 1024, .ring_data_bytes = 1 << 20})
        : instance_(std::move(instance)) {
        options.worker_count = workers;
        auto created = shm::Segment::create(instance_, options);
        EXPECT_TRUE(created) << created.error().message;
        segment_ = std::move(created.value());
        auto* header = segment_->header();
        header->hash_seed = 0x1234567;
        header->item_bytes_max = 1 << 20;
        header->generation.store(1);
        header->l1_id = 77;
        for (uint32_t i = 0; i < workers; ++i) {
            workers_.push_back(std::make_unique<FakeWorker>());
            attach_rings(i);
        }
        header->dataplane_state.store(static_cast<uint32_t>(shm::PlaneState::kRunning));
        auto wake = shm::WakeFifo::open(runtime_dir + "/" + instance_ + ".wake");
        EXPECT_TRUE(wake);
        wake_ = std::make_unique<shm::WakeFifo>(std::move(wake.value()));
    }

    // As a data plane that found the L1 that `old` left. Before the first poll.
    void take_over(FakeDataPlane& old) {
        header().l1_id = old.header().l1_id;
        uint32_t newest = 1;
        for (uint32_t i = 0; i < workers_.size(); ++i) {
            worker(i).l1 = old.worker(i).l1;
            newest = std::max(newest, old.worker(i).generation);
        }
        header().generation.store(newest);
    }
    uint32_t workers() const { return static_cast<uint32_t>(workers_.size()); }
    void beat(uint64_t now_ns) {
        for (uint32_t i = 0; i < workers_.size(); ++i) {
            segment_->worker(i)->heartbeat_ns.store(now_ns);
        }
    }

    FakeWorker& worker(uint32_t index) { return *workers_[index]; }
    shm::ControlHeader& header() { return *segment_->header(); }
    uint32_t owner(std::string_view key) {
        return base::owner_of(base::hash_key(key, header().hash_seed),
                              static_cast<uint32_t>(workers_.size()));
    }
    // A key of that worker, with the prefix.
    std::string key_of(uint32_t worker, const std::string& prefix) {
        for (int i = 0;; ++i) {
            const std::string key = prefix + std::to_string(i);
            if (owner(key) == worker) return key;
        }
    }

    // One poll of every worker that is not stalled.
    void poll() {
        for (uint32_t i = 0; i < workers_.size(); ++i) poll_worker(i);
    }

    // Polls until the condition holds; false after the time.
    bool until(const std::function<bool()>& condition, int timeout_ms = 3000) {
        const uint64_t end =
            base::monotonic_ns() + static_cast<uint64_t>(timeout_ms) * base::kNsPerMs;
        while (true) {
            poll();
            if (condition()) return true;
            if (base::monotonic_ns() > end) return false;
            std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
    }
    void run_for(int ms) {
        until([] { return false; }, ms);
    }

    bool lease_live(uint32_t index) { return worker(index).lease_until_ns > base::monotonic_ns(); }
    bool all_leased() {
        return until([&] {
            for (uint32_t i = 0; i < workers_.size(); ++i) {
                if (!lease_live(i)) return false;
            }
            return true;
        });
    }
    // As a worker would answer: live lease, generation and deadline.
    const std::string* hit(const std::string& key) {
        FakeWorker& owned = worker(owner(key));
        const auto found = owned.l1.find(key);
        if (found == owned.l1.end() || !lease_live(owner(key))) return nullptr;
        const L1Item& item = found->second;
        if (item.generation != owned.generation) return nullptr;
        if (item.deadline_ms != 0 && item.deadline_ms <= base::monotonic_ns() / base::kNsPerMs) {
            return nullptr;
        }
        return &item.value;
    }

    uint64_t fetch(uint32_t index, std::string_view key, uint8_t flags = 0) {
        shm::RingEntry entry;
        entry.kind = static_cast<uint16_t>(shm::EventKind::kFetch);
        entry.lane = shm::Lane::kTracked;
        entry.flags = flags;
        return push(index, entry, key);
    }
    uint64_t command(uint32_t index, shm::Lane lane, uint8_t flags,
                     const std::vector<std::string_view>& arguments, uint64_t session = 1) {
        std::string bytes;
        resp::append_command(bytes, arguments);
        shm::RingEntry entry;
        entry.kind = static_cast<uint16_t>(shm::EventKind::kCommand);
        entry.lane = lane;
        entry.flags = flags;
        entry.session_id = session;
        return push(index, entry, bytes);
    }
    void close_session(uint32_t index, uint64_t session) {
        about_session(index, session, shm::EventKind::kSessionClosed);
    }
    void end_session(uint32_t index, uint64_t session) {
        about_session(index, session, shm::EventKind::kSessionEnding);
    }
    void about_session(uint32_t index, uint64_t session, shm::EventKind kind) {
        shm::RingEntry entry;
        entry.kind = static_cast<uint16_t>(kind);
        entry.session_id = session;
        push(index, entry, {});
    }
    uint64_t push(uint32_t index, shm::RingEntry entry, std::string_view payload) {
        entry.request_id = ++last_request_;
        FakeWorker& from = worker(index);
        const size_t chunk = from.events.payload_bytes_max();
        while (payload.size() > chunk) {
            shm::RingEntry part = entry;
            part.flags |= shm::kMore;
            push_entry(from, part, payload.substr(0, chunk));
            payload.remove_prefix(chunk);
        }
        push_entry(from, entry, payload);
        return last_request_;
    }

    bool answered(uint32_t index, uint64_t request) {
        return worker(index).replies.contains(request);
    }
    std::string reply(uint32_t index, uint64_t request, int timeout_ms = 3000) {
        if (!until([&] { return answered(index, request); }, timeout_ms)) return "(no reply)";
        return worker(index).replies[request];
    }
    std::string run(uint32_t index, shm::Lane lane, uint8_t flags,
                    const std::vector<std::string_view>& arguments) {
        return reply(index, command(index, lane, flags, arguments));
    }
    uint64_t counter(stats::ControlCounter id) { return header().control_counters.get(id); }

  private:
    void attach_rings(uint32_t index) {
        auto* block = segment_->worker(index);
        worker(index).events = shm::RingProducer(&block->events, segment_->base());
        worker(index).commands = shm::RingConsumer(&block->commands, segment_->base());
    }

    void push_entry(FakeWorker& from, const shm::RingEntry& entry, std::string_view payload) {
        while (!from.events.push(entry, payload)) {
            wake_->ring();
            std::this_thread::sleep_for(std::chrono::microseconds(20));
        }
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (header().controlplane_sleeping.load() != 0) wake_->ring();
    }

    void poll_worker(uint32_t index) {
        FakeWorker& self = worker(index);
        if (self.stalled) return;
        auto* block = segment_->worker(index);
        const uint64_t epoch = header().controlplane_epoch.load(std::memory_order_acquire);
        if (epoch != self.epoch) {
            shm::reset_ring(&block->events);
            shm::reset_ring(&block->commands);
            attach_rings(index);
            self.epoch = epoch;
            self.lease_until_ns = 0;
            self.partial.clear();
            block->epoch_ack.store(epoch, std::memory_order_release);
            return;
        }
        shm::RingEntry entry;
        std::string_view payload;
        while (self.commands.next(entry, payload)) apply(self, entry, payload);
        self.commands.release();
        EXPECT_EQ(self.commands.malformed(), 0u);
    }

    static void apply(FakeWorker& self, const shm::RingEntry& entry, std::string_view payload) {
        self.partial.append(payload);
        if ((entry.flags & shm::kMore) != 0) return;
        const std::string whole = std::move(self.partial);
        self.partial.clear();
        switch (static_cast<shm::CommandKind>(entry.kind)) {
            case shm::CommandKind::kReply:
                EXPECT_FALSE(self.replies.contains(entry.request_id)) << "answered twice";
                self.replies[entry.request_id] = whole;
                self.log.push_back("reply " + std::to_string(entry.request_id));
                break;
            case shm::CommandKind::kStream:
                self.streams[entry.session_id] += whole;
                self.log.push_back("stream");
                break;
            case shm::CommandKind::kFill: {
                const std::string key = whole.substr(0, entry.key_bytes);
                self.l1[key] = {whole.substr(entry.key_bytes), entry.arg0, entry.arg1};
                self.log.push_back("fill " + key + "=" + self.l1[key].value.substr(0, 64));
                break;
            }
            case shm::CommandKind::kInvalidate:
                self.l1.erase(whole);
                self.log.push_back("invalidate " + whole);
                break;
            case shm::CommandKind::kLease:
                if (entry.arg1 != self.generation) {
                    self.log.push_back("generation " + std::to_string(entry.arg1));
                }
                self.lease_until_ns = entry.arg0;
                self.generation = entry.arg1;
                break;
            case shm::CommandKind::kCloseSession:
                self.closed[entry.session_id] = true;
                break;
            default:
                ADD_FAILURE() << "unknown command " << entry.kind;
        }
    }

    std::string instance_;
    std::unique_ptr<shm::Segment> segment_;
    std::unique_ptr<shm::WakeFifo> wake_;
    std::vector<std::unique_ptr<FakeWorker>> workers_;
    uint64_t last_request_ = 100;
};

}  // namespace cachee::test
