// SPDX-License-Identifier: Apache-2.0
// A transport in client role: what LoadThread needs of the network besides io::Transport. Made by
// links.cc for kernel sockets and for our own TCP over a frame port; by tests in memory. One per
// thread of the load generator.
#pragma once

#include <cstdint>

#include "io/transport.h"

namespace cachee::loadgen {

inline constexpr io::SessionIndex kNoSession = UINT32_MAX;

class ClientLink {
  public:
    virtual ~ClientLink() = default;

    virtual io::Transport& transport() = 0;
    // Opens a connection to the target: kOpened or kClosed follows. kNoSession: none can be opened
    // now.
    virtual io::SessionIndex connect() noexcept = 0;
    // Monotonic; a test's own in tests.
    virtual uint64_t now_ns() noexcept = 0;
};

}  // namespace cachee::loadgen
