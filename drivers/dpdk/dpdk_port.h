// SPDX-License-Identifier: Apache-2.0
// One queue pair of a started ethdev as a FramePort. Data plane, the owning worker's thread only.
// Private to drivers/dpdk: includes DPDK headers.
#pragma once

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <cstdint>

#include "net/frame_port.h"
#include "stats/counters.h"

namespace cachee::dpdk {

class DpdkPort final : public net::FramePort {
  public:
    // `tx_pool` is borrowed; may be the pool that the receive queue uses.
    DpdkPort(const net::PortInfo& info, uint16_t port_id, uint16_t queue, rte_mempool* tx_pool,
             stats::WorkerCounters* counters)
        : info_(info), tx_pool_(tx_pool), counters_(counters), port_id_(port_id), queue_(queue) {}

    const net::PortInfo& info() const noexcept override { return info_; }
    bool accept_multicast(const net::MacAddress* groups, size_t count) override;
    size_t rx_burst(net::RxFrame* frames, size_t max) noexcept override;
    void rx_release(const net::RxFrame* frames, size_t count) noexcept override;
    size_t tx_alloc(net::TxFrame* frames, size_t count) noexcept override;
    size_t tx_burst(net::TxFrame* frames, size_t count) noexcept override;
    void tx_free(net::TxFrame* frames, size_t count) noexcept override;
    void wait(uint64_t max_ns) noexcept override;

  private:
    // False when a chain of segments cannot be made one piece; it is freed and counted.
    bool linearise_cold(rte_mbuf* mbuf) noexcept;
    // Sends up to a chunk of mbufs that carry offloads; how many were taken.
    uint16_t send_offloaded(rte_mbuf** mbufs, uint16_t count) noexcept;

    net::PortInfo info_;
    rte_mempool* tx_pool_;
    stats::WorkerCounters* counters_;
    uint16_t port_id_;
    uint16_t queue_;
};

}  // namespace cachee::dpdk
