// SPDX-License-Identifier: Apache-2.0
// Calls between the workers of a standalone cache: a mutation of another worker's key travels to
// its owner as one single-key command and comes back as its reply. In-process SPSC rings of
// pointers, one per ordered pair of workers; the calls live in tables that are allocated at start
// and belong to the calling worker. (With an L2 the control plane speaks to each owner and none of
// this is used.)
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/assert.h"
#include "resp/encoder.h"

namespace cachee::dataplane {

struct RemoteCall {
    uint32_t origin = 0;  // worker that asks
    bool answered = false;
    resp::Protocol protocol = resp::Protocol::kResp2;
    uint64_t request_id = 0;  // of the origin's parked table
    std::string command;      // canonical RESP array; capacity is kept between uses
    std::string reply;        // written by the owner
};

// SPSC ring of borrowed pointers.
class RemoteRing {
  public:
    explicit RemoteRing(uint32_t capacity) : slots_(capacity), mask_(capacity - 1) {
        CACHEE_ASSERT((capacity & mask_) == 0);
    }
    bool push(RemoteCall* call) noexcept {
        const uint32_t head = head_.load(std::memory_order_relaxed);
        // acquire: pairs with pop's release; the slot is free.
        if (head - tail_.load(std::memory_order_acquire) > mask_) return false;
        slots_[head & mask_] = call;
        // release: the call's content is visible before head; pairs with pop.
        head_.store(head + 1, std::memory_order_release);
        return true;
    }
    RemoteCall* pop() noexcept {
        const uint32_t tail = tail_.load(std::memory_order_relaxed);
        if (head_.load(std::memory_order_acquire) == tail) return nullptr;  // pairs with push
        RemoteCall* call = slots_[tail & mask_];
        tail_.store(tail + 1, std::memory_order_release);
        return call;
    }

  private:
    std::vector<RemoteCall*> slots_;
    uint32_t mask_;
    alignas(64) std::atomic<uint32_t> head_{0};
    alignas(64) std::atomic<uint32_t> tail_{0};
};

// All rings and calls of one process. Built before the workers start.
class RemoteMesh {
  public:
    static constexpr uint32_t kCallsPerPair = 1024;

    explicit RemoteMesh(uint32_t workers) : workers_(workers) {
        for (uint32_t i = 0; i < workers * workers; ++i) {
            // A call is in one ring at a time, so that twice the calls of a pair always fit.
            rings_.push_back(std::make_unique<RemoteRing>(2 * kCallsPerPair));
        }
        calls_.resize(workers);
        free_.resize(workers);
        for (uint32_t w = 0; w < workers; ++w) {
            calls_[w] = std::vector<RemoteCall>(kCallsPerPair);
            for (RemoteCall& call : calls_[w]) {
                call.origin = w;
                free_[w].push_back(&call);
            }
        }
    }

    RemoteRing& ring(uint32_t from, uint32_t to) noexcept { return *rings_[from * workers_ + to]; }
    uint32_t workers() const noexcept { return workers_; }

    // The calling worker's own calls; its thread only. nullptr when all are under way.
    RemoteCall* take(uint32_t worker) noexcept {
        if (free_[worker].empty()) return nullptr;
        RemoteCall* call = free_[worker].back();
        free_[worker].pop_back();
        return call;
    }
    void give(RemoteCall* call) noexcept { free_[call->origin].push_back(call); }
    size_t available(uint32_t worker) const noexcept { return free_[worker].size(); }

  private:
    uint32_t workers_;
    std::vector<std::unique_ptr<RemoteRing>> rings_;
    std::vector<std::vector<RemoteCall>> calls_;
    std::vector<std::vector<RemoteCall*>> free_;
};

}  // namespace cachee::dataplane
