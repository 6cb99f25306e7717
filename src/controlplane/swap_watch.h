// SPDX-License-Identifier: Apache-2.0
// SWAPDB exchanges every value and announces nothing to tracking clients (docs/decisions/0001):
// this asks L2 once a second how often it was called, and tells when that changed. Others' SWAPDBs
// are therefore noticed within about a second; those through cachee at once, elsewhere. Control
// plane thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "controlplane/l2_backend.h"

namespace cachee::controlplane {

class SwapWatch final : private L2Call {
  public:
    SwapWatch(L2Backend& backend, std::function<void()> on_swap)
        : backend_(backend), on_swap_(std::move(on_swap)) {}

    // Asks when it is due. An L2 user without the right to INFO: nothing is noticed, nothing
    // breaks.
    void tick(uint64_t now_ns);

  private:
    void on_reply(const redisReply* reply) override;

    L2Backend& backend_;
    std::function<void()> on_swap_;
    bool in_flight_ = false;
    uint64_t next_ns_ = 0;
    std::optional<uint64_t> calls_;
};

}  // namespace cachee::controlplane
