// SPDX-License-Identifier: Apache-2.0
// One receive and one transmit queue of something that carries Ethernet frames: the inner seam,
// known only to src/net and to frame drivers (DPDK ethdev, the simulated link). One object per
// worker, used by that worker's thread only. Calls are per burst; frames are the driver's buffers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "io/transport.h"

namespace cachee::net {

using MacAddress = std::array<uint8_t, 6>;

enum class Checksum : uint8_t { kUnknown, kGood, kBad };

struct RxFrame {
    const uint8_t* data =
        nullptr;        // contiguous, from the Ethernet header; borrowed until rx_release
    uint32_t size = 0;  // may exceed the MTU: aggregates (LRO, a veth peer's TSO) are legal
    Checksum ip_checksum = Checksum::kUnknown;  // kUnknown: verify in software
    Checksum tcp_checksum = Checksum::kUnknown;
    void* handle = nullptr;  // the driver's own
};

// Offloads asked of one frame; only those that PortInfo offers may be set.
enum TxFlags : uint16_t {
    kTxIpChecksum = 1 << 0,  // IPv4 header checksum field is 0, the port fills it in
    kTxTcpChecksum =
        1 << 1,        // TCP checksum field holds the pseudo-header sum, the port finishes it
    kTxTso = 1 << 2,   // cut into segments of tso_mss bytes of payload; both of the above are
                       // set too, and the pseudo-header sum is taken with a length of 0
    kTxIpv6 = 1 << 3,  // the packet is IPv6 (for the offloads)
};

struct TxFrame {
    uint8_t* data = nullptr;  // writable, `capacity` bytes, from the Ethernet header
    uint32_t capacity = 0;
    uint32_t size = 0;  // set by the stack
    uint16_t flags = 0;
    uint8_t l2_bytes = 0;
    uint8_t l4_bytes = 0;
    uint16_t l3_bytes = 0;
    uint16_t tso_mss = 0;
    void* handle = nullptr;  // the driver's own
};

struct PortInfo {
    std::string name;
    MacAddress mac{};
    uint32_t mtu = 1500;  // largest IP packet
    bool tx_ip_checksum = false;
    bool tx_tcp_checksum = false;
    bool tso = false;
    uint32_t tso_bytes_max = 0;  // largest frame handed over with kTxTso; <= TxFrame::capacity
    bool tx_attach = false;      // tx_attach() may work; of use only with tx_tcp_checksum
};

class FramePort {
  public:
    FramePort() = default;
    FramePort(const FramePort&) = delete;
    FramePort& operator=(const FramePort&) = delete;
    virtual ~FramePort() = default;

    virtual const PortInfo& info() const noexcept = 0;

    // Frames to these group addresses are received too, instead of those of the last call. Main
    // thread, before the first burst. False: the port filters, and cannot be told. A port that does
    // not filter has nothing to do.
    virtual bool accept_multicast(const MacAddress* groups, size_t count) {
        static_cast<void>(groups);
        static_cast<void>(count);
        return true;
    }

    // Takes up to `max` received frames. Each is held by the caller until rx_release(), which may
    // come in any order and any number of polls later, but the driver has a bounded number of them.
    virtual size_t rx_burst(RxFrame* frames, size_t max) noexcept = 0;
    virtual void rx_release(const RxFrame* frames, size_t count) noexcept = 0;

    // Up to `count` empty transmit frames with capacity >= 14 + 4 + mtu (tso_bytes_max where TSO is
    // offered); returns how many there were.
    virtual size_t tx_alloc(TxFrame* frames, size_t count) noexcept = 0;
    // Queues frames in order; returns how many were taken (the driver owns those and frees them
    // when sent). The rest stay the caller's: retry at a later poll, or tx_free().
    virtual size_t tx_burst(TxFrame* frames, size_t count) noexcept = 0;
    virtual void tx_free(TxFrame* frames, size_t count) noexcept = 0;
    // Makes `size` bytes that lie elsewhere the end of an unsent frame, which then counts them in
    // its size; at most once per frame. True takes over one hold of the lender, given back when the
    // device has read them or the frame was freed. False: not possible, copy them.
    virtual bool tx_attach(TxFrame& frame, const uint8_t* data, uint32_t size,
                           io::Lender& lender) noexcept {
        (void)frame, (void)data, (void)size, (void)lender;
        return false;
    }

    // Sleeps until a frame may have arrived or max_ns have passed; a driver that cannot, sleeps
    // min(max_ns, 100 us).
    virtual void wait(uint64_t max_ns) noexcept = 0;
};

}  // namespace cachee::net
