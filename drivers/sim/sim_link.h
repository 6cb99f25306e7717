// SPDX-License-Identifier: Apache-2.0
// The simulated link: two FramePort ends in one process, with seeded loss, duplication, reordering,
// corruption, delay and jitter, bounded queues, and the offloads a NIC would have. For tests and
// for the `sim` driver; not for measuring anything.
//
//   end(0).tx_burst -> [offloads] -> [impairments] -> queue by arrival time -> end(1).rx_burst
//
// Time is what advance() was told (virtual), or the monotonic clock. A mutex guards both
// directions, so each end may belong to a thread of its own. All frames are allocated at
// construction.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/rng.h"
#include "config/schema.h"
#include "net/frame_port.h"

namespace cachee::sim {

struct SimLinkOptions {
    uint64_t seed = 1;
    double loss = 0;  // probabilities per frame and direction
    double duplication = 0;
    double reordering = 0;   // the frame is held back for reorder_hold_ns more
    double corruption = 0;   // one bit of an IP packet is flipped
    uint64_t delay_ns = 0;   // one way
    uint64_t jitter_ns = 0;  // uniform on top of it; order is kept
    uint64_t reorder_hold_ns = 1'000'000;
    uint64_t bytes_per_s = 0;  // of each direction; 0: no limit
    uint32_t queue_bytes = 0;  // that may wait for the link; more are dropped; with bytes_per_s
    uint32_t mark_bytes = 0;   // longer queues mark ECN-capable packets (RFC 3168); 0: never
    uint32_t mtu = 1500;
    uint32_t queue_frames = 1024;  // in flight per direction; more are dropped
    uint32_t tx_frames = 512;      // transmit buffers per end
    bool tx_checksums = false;     // offer checksum offload
    uint32_t tso_bytes_max = 0;    // offer TSO with frames of this size; 0: none
    bool tx_attach = false;     // offer to send lent bytes, which are read only at the end's next
                                // call, as a device would; needs tx_checksums
    bool rx_checksums = false;  // verify checksums for the receiver (kGood or kBad)
    bool real_clock = false;
};

// What the `sim` driver's part of cachee.yaml means; the clock is real.
SimLinkOptions link_options_of(const config::Sim& sim);

class SimLink {
  public:
    explicit SimLink(const SimLinkOptions& options);
    ~SimLink();
    SimLink(const SimLink&) = delete;
    SimLink& operator=(const SimLink&) = delete;

    // REQUIRES: which is 0 or 1. Borrowed from the link.
    net::FramePort& end(int which);

    // Virtual time; never goes back.
    void advance(uint64_t now_ns);
    // Arrival time of the earliest frame in flight, UINT64_MAX when there is none.
    uint64_t next_arrival_ns();

    void set_loss(double probability);
    // Called for every frame before the impairments; false drops it. Called under the link's lock.
    using Filter = std::function<bool(int from, const uint8_t* data, uint32_t size)>;
    void set_filter(Filter filter);

    struct Counts {
        uint64_t sent = 0;
        uint64_t delivered = 0;
        uint64_t lost = 0;
        uint64_t duplicated = 0;
        uint64_t reordered = 0;
        uint64_t corrupted = 0;
        uint64_t overflowed = 0;
        uint64_t marked = 0;     // congestion experienced
        uint64_t oversized = 0;  // larger than the MTU: the sender's fault
    };
    Counts counts();
    // Frames that a receiver took and has not released.
    uint32_t frames_held();

  private:
    class End;
    struct Buffer;
    struct InFlight {
        uint64_t arrival_ns;
        uint64_t order;
        Buffer* buffer;
    };

    uint64_t now_locked() const;
    void transmit_locked(int from, const net::TxFrame& frame);
    void wire_locked(int from, const uint8_t* data, uint32_t size);
    void enqueue_locked(int to, const uint8_t* data, uint32_t size, uint64_t extra_ns,
                        bool corrupt);
    bool admit_locked(End& end, uint32_t size, uint64_t& departure, bool& mark);
    bool mark_locked(Buffer& buffer);
    void corrupt_locked(Buffer& buffer);

    SimLinkOptions options_;
    std::mutex mutex_;
    std::condition_variable arrival_;
    base::Rng rng_;
    uint64_t now_ns_ = 0;
    uint64_t order_ = 0;
    Filter filter_;
    Counts counts_;
    uint32_t held_ = 0;
    std::vector<std::unique_ptr<Buffer>> buffers_;
    std::vector<Buffer*> free_wire_;
    std::unique_ptr<End> ends_[2];
};

}  // namespace cachee::sim
