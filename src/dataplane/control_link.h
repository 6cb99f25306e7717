// SPDX-License-Identifier: Apache-2.0
// A worker's end of the two rings to the control plane: sends events (in pieces when they are
// large), takes commands, notices a new control plane, and wakes one that sleeps. Owner worker
// only. No system call but the wake-up byte, at most one per poll and only while the control plane
// sleeps.
#pragma once

#include <cstdint>
#include <string_view>

#include "dataplane/buffer_pool.h"
#include "shm/ring.h"
#include "shm/segment.h"
#include "shm/wake.h"
#include "stats/counters.h"

namespace cachee::dataplane {

class ControlLink {
  public:
    // All are borrowed for the life of the link. `wake` may be null (tests: a control plane that
    // polls).
    ControlLink(shm::Segment& segment, uint32_t worker, const shm::WakeFifo* wake, BufferPool& pool)
        : header_(segment.header()),
          block_(segment.worker(worker)),
          wake_(wake),
          pool_(pool),
          events_(&block_->events, segment.base()),
          commands_(&block_->commands, segment.base()) {}

    // Publishes the event; its payload is copied. False when the ring is full or a large event is
    // still on its way: nothing happened, try again at a later poll.
    bool send(const shm::RingEntry& entry, std::string_view payload) noexcept {
        if (!large_.empty()) return false;
        if (payload.size() > events_.payload_bytes_max()) return begin_large_cold(entry, payload);
        if (!events_.push(entry, payload)) return false;
        sent_ = true;
        return true;
    }

    // Once per poll: continues a large event, wakes the control plane when something was sent.
    void flush() noexcept {
        if (!large_.empty()) continue_large_cold();
        if (sent_) wake_if_asleep();
    }

    bool next(shm::RingEntry& entry, std::string_view& payload) noexcept {
        return commands_.next(entry, payload);
    }
    void release() noexcept { commands_.release(); }
    // A look at one word; next() finds what it announces.
    bool anything_to_take() const noexcept { return !commands_.empty(); }

    // True once for each new control plane: both rings were emptied. The caller settles what it had
    // asked the old one and then calls acknowledge(); nothing may be sent in between.
    bool new_controlplane() noexcept {
        const uint64_t epoch = header_->controlplane_epoch.load(std::memory_order_acquire);
        if (epoch == epoch_) [[likely]] {
            return false;
        }
        epoch_ = epoch;
        reset_cold();
        return true;
    }
    void acknowledge() noexcept {
        // release: the emptied rings are visible before it; pairs with the control plane's acquire.
        block_->epoch_ack.store(epoch_, std::memory_order_release);
    }

    // Judged by its heartbeat: a paused control plane counts as dead after `patience_ns`.
    bool controlplane_alive(uint64_t now_ns, uint64_t patience_ns) const noexcept {
        const uint64_t beat = header_->controlplane_heartbeat_ns.load(std::memory_order_relaxed);
        return epoch_ != 0 && (beat >= now_ns || now_ns - beat < patience_ns);
    }

    shm::WorkerBlock& block() noexcept { return *block_; }
    const shm::ControlHeader& header() const noexcept { return *header_; }

  private:
    bool begin_large_cold(const shm::RingEntry& entry, std::string_view payload) noexcept;
    void continue_large_cold() noexcept;
    void reset_cold() noexcept;
    void wake_if_asleep() noexcept {
        sent_ = false;
        // seq_cst fence: our head is visible before we look at the flag; the control plane sets the
        // flag, fences, and looks at head again before it sleeps. One of us sees the other.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (header_->controlplane_sleeping.load(std::memory_order_relaxed) != 0 &&
            wake_ != nullptr) {
            wake_->ring();
        }
    }

    shm::ControlHeader* header_;
    shm::WorkerBlock* block_;
    const shm::WakeFifo* wake_;
    BufferPool& pool_;
    shm::RingProducer events_;
    shm::RingConsumer commands_;
    uint64_t epoch_ = 0;
    bool sent_ = false;
    // A large event on its way: what is left of it.
    Buffer large_;
    uint64_t large_sent_ = 0;
    shm::RingEntry large_entry_;
};

}  // namespace cachee::dataplane
