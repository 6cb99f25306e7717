// SPDX-License-Identifier: Apache-2.0
// The per-burst calls of DpdkPort. Data plane, the owning worker's thread.
#include "drivers/dpdk/dpdk_port.h"

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <time.h>

#include <algorithm>
#include <vector>

#include "base/assert.h"

namespace cachee::dpdk {
namespace {

using net::Checksum;
using net::RxFrame;
using net::TxFrame;

constexpr size_t kChunk = 64;
constexpr uint64_t kSleepNsMax = 100'000;

// A checksum that the device calls NONE is unfinished but known to be right (virtio, a veth peer).
Checksum ip_checksum(uint64_t flags) {
    switch (flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) {
        case RTE_MBUF_F_RX_IP_CKSUM_GOOD:
        case RTE_MBUF_F_RX_IP_CKSUM_NONE:
            return Checksum::kGood;
        case RTE_MBUF_F_RX_IP_CKSUM_BAD:
            return Checksum::kBad;
        default:
            return Checksum::kUnknown;
    }
}

Checksum tcp_checksum(uint64_t flags) {
    switch (flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) {
        case RTE_MBUF_F_RX_L4_CKSUM_GOOD:
        case RTE_MBUF_F_RX_L4_CKSUM_NONE:
            return Checksum::kGood;
        case RTE_MBUF_F_RX_L4_CKSUM_BAD:
            return Checksum::kBad;
        default:
            return Checksum::kUnknown;
    }
}

// The header's checksum of a TSO frame for a device that cuts segments and sums them, but takes the
// frame's own header as it is (virtio, vmxnet3).
void sum_ip_header(const TxFrame& frame) {
    auto* header = reinterpret_cast<rte_ipv4_hdr*>(frame.data + frame.l2_bytes);
    header->hdr_checksum = 0;
    header->hdr_checksum = rte_ipv4_cksum(header);
}

// Offload flags and header lengths of one frame; false when it asks for none. `device_sums_ip`: the
// device makes the checksum of IPv4 headers.
bool describe(const TxFrame& frame, rte_mbuf* mbuf, bool device_sums_ip) {
    mbuf->ol_flags = 0;
    if (frame.flags == 0) return false;
    const bool tso = (frame.flags & net::kTxTso) != 0;
    const bool v6 = (frame.flags & net::kTxIpv6) != 0;
    uint64_t flags = v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
    if (!v6 && (tso || (frame.flags & net::kTxIpChecksum) != 0)) {
        if (device_sums_ip) {
            flags |= RTE_MBUF_F_TX_IP_CKSUM;
        } else {
            sum_ip_header(frame);
        }
    }
    if (tso || (frame.flags & net::kTxTcpChecksum) != 0) flags |= RTE_MBUF_F_TX_TCP_CKSUM;
    if (tso) {
        flags |= RTE_MBUF_F_TX_TCP_SEG;
        mbuf->tso_segsz = frame.tso_mss;
    }
    mbuf->l2_len = frame.l2_bytes & 0x7f;
    mbuf->l3_len = frame.l3_bytes & 0x1ff;
    mbuf->l4_len = frame.l4_bytes;
    mbuf->ol_flags = flags;
    return true;
}

}  // namespace

// The list where the device has one; else all groups; else everything, which is dropped later.
bool DpdkPort::accept_multicast(const net::MacAddress* groups, size_t count) {
    std::vector<rte_ether_addr> addresses(count);
    for (size_t i = 0; i < count; ++i) {
        std::copy(groups[i].begin(), groups[i].end(), addresses[i].addr_bytes);
    }
    if (rte_eth_dev_set_mc_addr_list(port_id_, addresses.data(), static_cast<uint32_t>(count)) ==
        0) {
        return true;
    }
    return rte_eth_allmulticast_enable(port_id_) == 0 || rte_eth_promiscuous_enable(port_id_) == 0;
}

size_t DpdkPort::rx_burst(RxFrame* frames, size_t max) noexcept {
    rte_mbuf* mbufs[kChunk];
    const auto want = static_cast<uint16_t>(std::min(max, kChunk));
    const uint16_t received = rte_eth_rx_burst(port_id_, queue_, mbufs, want);
    size_t count = 0;
    for (uint16_t i = 0; i < received; ++i) {
        rte_mbuf* mbuf = mbufs[i];
        if (mbuf->nb_segs > 1 && !linearise_cold(mbuf)) continue;
        frames[count++] = RxFrame{rte_pktmbuf_mtod(mbuf, const uint8_t*), mbuf->pkt_len,
                                  ip_checksum(mbuf->ol_flags), tcp_checksum(mbuf->ol_flags), mbuf};
    }
    return count;
}

[[gnu::cold, gnu::noinline]] bool DpdkPort::linearise_cold(rte_mbuf* mbuf) noexcept {
    if (rte_pktmbuf_linearize(mbuf) == 0) return true;
    rte_pktmbuf_free(mbuf);
    if (counters_ != nullptr) counters_->add(stats::Counter::drop_no_buffer);
    return false;
}

void DpdkPort::rx_release(const RxFrame* frames, size_t count) noexcept {
    while (count > 0) {
        rte_mbuf* mbufs[kChunk];
        const size_t n = std::min(count, kChunk);
        for (size_t i = 0; i < n; ++i) mbufs[i] = static_cast<rte_mbuf*>(frames[i].handle);
        rte_pktmbuf_free_bulk(mbufs, static_cast<unsigned>(n));
        frames += n;
        count -= n;
    }
}

size_t DpdkPort::tx_alloc(TxFrame* frames, size_t count) noexcept {
    size_t done = 0;
    while (done < count) {
        rte_mbuf* mbufs[kChunk];
        size_t n = std::min(count - done, kChunk);
        if (rte_pktmbuf_alloc_bulk(buffers_.tx, mbufs, static_cast<unsigned>(n)) != 0) {
            for (n = 0; n < kChunk && done + n < count; ++n) {  // the pool's last ones, singly
                mbufs[n] = rte_pktmbuf_alloc(buffers_.tx);
                if (mbufs[n] == nullptr) break;
            }
            if (n == 0) return done;
        }
        for (size_t i = 0; i < n; ++i) {
            frames[done + i] = TxFrame{};
            frames[done + i].data = rte_pktmbuf_mtod(mbufs[i], uint8_t*);
            frames[done + i].capacity = rte_pktmbuf_tailroom(mbufs[i]);
            frames[done + i].handle = mbufs[i];
        }
        done += n;
    }
    return done;
}

size_t DpdkPort::tx_burst(TxFrame* frames, size_t count) noexcept {
    size_t done = 0;
    while (done < count) {
        rte_mbuf* mbufs[kChunk];
        const auto n = static_cast<uint16_t>(std::min(count - done, kChunk));
        bool offloads = false;
        for (uint16_t i = 0; i < n; ++i) {
            const TxFrame& frame = frames[done + i];
            auto* mbuf = static_cast<rte_mbuf*>(frame.handle);
            const uint32_t attached = mbuf->next != nullptr ? mbuf->next->data_len : 0;
            CACHEE_DASSERT(frame.size - attached <= frame.capacity);
            mbuf->data_len = static_cast<uint16_t>(frame.size - attached);
            mbuf->pkt_len = frame.size;
            offloads |= describe(frame, mbuf, info_.tx_ip_checksum);
            mbufs[i] = mbuf;
        }
        const uint16_t sent =
            offloads ? send_offloaded(mbufs, n) : rte_eth_tx_burst(port_id_, queue_, mbufs, n);
        done += sent;
        if (sent < n) break;
    }
    return done;
}

uint16_t DpdkPort::send_offloaded(rte_mbuf** mbufs, uint16_t count) noexcept {
    const uint16_t prepared = rte_eth_tx_prepare(port_id_, queue_, mbufs, count);
    const uint16_t sent = rte_eth_tx_burst(port_id_, queue_, mbufs, prepared);
    if (sent < prepared || prepared == count) return sent;
    // The device will never take the frame at `prepared`; kept, it would block all behind it.
    rte_pktmbuf_free(mbufs[prepared]);
    if (counters_ != nullptr) counters_->add(stats::Counter::drop_no_buffer);
    return static_cast<uint16_t>(prepared + 1);
}

void DpdkPort::tx_free(TxFrame* frames, size_t count) noexcept {
    for (size_t i = 0; i < count; ++i) rte_pktmbuf_free(static_cast<rte_mbuf*>(frames[i].handle));
}

bool DpdkPort::tx_attach(TxFrame& frame, const uint8_t* data, uint32_t size,
                         io::Lender& lender) noexcept {
    auto* head = static_cast<rte_mbuf*>(frame.handle);
    if (buffers_.lent_frames == nullptr || head->next != nullptr || size > UINT16_MAX) return false;
    const rte_iova_t address = buffers_.lent->address_of(data, size);
    if (address == RTE_BAD_IOVA) return false;
    rte_mbuf* tail = rte_pktmbuf_alloc(buffers_.lent_frames);
    if (tail == nullptr) return false;
    auto* lent = static_cast<LentFrame*>(rte_mbuf_to_priv(tail));
    lent->lender = &lender;
    lent->data = data;
    lent->info.fcb_opaque = lent;
    lent->info.free_cb = [](void*, void* opaque) {
        auto* freed = static_cast<LentFrame*>(opaque);
        freed->lender->give_back(freed->data);
    };
    rte_mbuf_ext_refcnt_set(&lent->info, 1);
    // The device only reads it.
    rte_pktmbuf_attach_extbuf(tail, const_cast<uint8_t*>(data), address,
                              static_cast<uint16_t>(size), &lent->info);
    tail->data_off = 0;
    tail->data_len = static_cast<uint16_t>(size);
    head->next = tail;
    head->nb_segs = 2;
    return true;
}

void DpdkPort::wait(uint64_t max_ns) noexcept {
    const timespec pause{0, static_cast<long>(std::min(max_ns, kSleepNsMax))};
    ::nanosleep(&pause, nullptr);
}

}  // namespace cachee::dpdk
