// SPDX-License-Identifier: Apache-2.0
// One queue pair of a started ethdev as a FramePort. Data plane, the owning worker's thread only.
// Private to drivers/dpdk: includes DPDK headers.
#pragma once

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <cstdint>

#include "drivers/dpdk/lent_memory.h"
#include "net/frame_port.h"
#include "stats/counters.h"

namespace cachee::dpdk {

// In the private area of an mbuf that points to lent bytes: whom to tell when it is freed.
struct LentFrame {
    rte_mbuf_ext_shared_info info;
    io::Lender* lender;
    const uint8_t* data;
};

class DpdkPort final : public net::FramePort {
  public:
    // What frames are made from; borrowed. `tx` may be the pool that the receive queue uses;
    // `lent_frames` (nullptr: nothing is attached) has a LentFrame in each mbuf's private area.
    struct Buffers {
        rte_mempool* tx = nullptr;
        rte_mempool* lent_frames = nullptr;
        const LentMemory* lent = nullptr;
    };
    DpdkPort(const net::PortInfo& info, uint16_t port_id, uint16_t queue, const Buffers& buffers,
             stats::WorkerCounters* counters)
        : info_(info), buffers_(buffers), counters_(counters), port_id_(port_id), queue_(queue) {}

    const net::PortInfo& info() const noexcept override { return info_; }
    bool accept_multicast(const net::MacAddress* groups, size_t count) override;
    size_t rx_burst(net::RxFrame* frames, size_t max) noexcept override;
    void rx_release(const net::RxFrame* frames, size_t count) noexcept override;
    size_t tx_alloc(net::TxFrame* frames, size_t count) noexcept override;
    size_t tx_burst(net::TxFrame* frames, size_t count) noexcept override;
    void tx_free(net::TxFrame* frames, size_t count) noexcept override;
    bool tx_attach(net::TxFrame& frame, const uint8_t* data, uint32_t size,
                   io::Lender& lender) noexcept override;
    void wait(uint64_t max_ns) noexcept override;

  private:
    // False when a chain of segments cannot be made one piece; it is freed and counted.
    bool linearise_cold(rte_mbuf* mbuf) noexcept;
    // Sends up to a chunk of mbufs that carry offloads; how many were taken.
    uint16_t send_offloaded(rte_mbuf** mbufs, uint16_t count) noexcept;

    net::PortInfo info_;
    Buffers buffers_;
    stats::WorkerCounters* counters_;
    uint16_t port_id_;
    uint16_t queue_;
};

}  // namespace cachee::dpdk
