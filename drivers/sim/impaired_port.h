// SPDX-License-Identifier: Apache-2.0
// A FramePort with a bad wire in front of it: everything that goes through it, in both directions,
// is delayed, lost, repeated, reordered, damaged and limited in rate as an Impairment says. For
// tests of our TCP against other stacks over real drivers; a copy per frame, so not for measuring
// the cost of a request. The worker's thread only; frames move when the worker polls.
//
//   stack -> tx_burst -> [Impairment out] -> inner.tx_burst        stack <- rx_burst <- [Impairment
//   in]
//
// Frames on this wire are wire frames: no TSO and no checksums are offered to the stack, and a
// received frame larger than the MTU (an aggregate) is dropped and counted.
#pragma once

#include <memory>
#include <vector>

#include "drivers/sim/impairment.h"
#include "net/frame_port.h"

namespace cachee::sim {

class ImpairedPort final : public net::FramePort {
  public:
    using Clock = uint64_t (*)() noexcept;
    // `clock`: the monotonic one, or a test's.
    ImpairedPort(std::unique_ptr<net::FramePort> inner, const ImpairmentOptions& in,
                 const ImpairmentOptions& out, Clock clock);
    ~ImpairedPort() override;

    const net::PortInfo& info() const noexcept override { return info_; }
    bool accept_multicast(const net::MacAddress* groups, size_t count) override {
        return inner_->accept_multicast(groups, count);
    }
    size_t rx_burst(net::RxFrame* frames, size_t max) noexcept override;
    void rx_release(const net::RxFrame* frames, size_t count) noexcept override;
    size_t tx_alloc(net::TxFrame* frames, size_t count) noexcept override;
    size_t tx_burst(net::TxFrame* frames, size_t count) noexcept override;
    void tx_free(net::TxFrame* frames, size_t count) noexcept override;
    void wait(uint64_t max_ns) noexcept override;

    const Impairment& in() const { return in_; }
    const Impairment& out() const { return out_; }

  private:
    void fill(uint64_t now_ns) noexcept;   // what the inner port has received
    void drain(uint64_t now_ns) noexcept;  // what is due to be sent

    std::unique_ptr<net::FramePort> inner_;
    net::PortInfo info_;
    uint32_t frame_bytes_max_;
    Impairment in_;
    Impairment out_;
    Clock clock_;
};

}  // namespace cachee::sim
