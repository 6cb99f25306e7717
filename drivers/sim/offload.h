// SPDX-License-Identifier: Apache-2.0
// What a NIC does with TxFlags and RxFrame's checksum states, in software, written apart from the
// stack's own checksum code so that the two check each other. For the simulated link.
#pragma once

#include <cstdint>
#include <functional>

#include "net/frame_port.h"

namespace cachee::sim {

// Calls sink for each frame that goes on the wire: one, or as many as TSO cuts it into. Throws
// nothing but std::bad_alloc.
void for_each_wire_frame(const net::TxFrame& frame,
                         const std::function<void(const uint8_t*, uint32_t)>& sink);

// Sets ip_checksum and tcp_checksum of an IPv4 TCP frame; leaves others kUnknown.
void judge_checksums(net::RxFrame& frame) noexcept;

}  // namespace cachee::sim
