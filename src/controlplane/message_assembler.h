// SPDX-License-Identifier: Apache-2.0
// Joins the parts (kMore) of long events of all workers, within bounds: the parts come from another
// process. Most events are whole and never get here. Control plane thread only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "shm/layout.h"

namespace cachee::controlplane {

class MessageAssembler {
  public:
    enum class Outcome : uint8_t { kPartial, kWhole, kTooLong };

    // bytes_max: of one message; all unfinished ones together may have four times as much.
    explicit MessageAssembler(uint64_t bytes_max) : bytes_max_(bytes_max) {}

    bool empty() const { return messages_.empty(); }
    // Adds one entry. kWhole: `message` is complete, either `payload` itself or bytes kept here
    // until the next call. kTooLong: the last part came of a message that was dropped.
    Outcome add(uint32_t worker, const shm::RingEntry& entry, std::string_view payload,
                std::string_view& message);
    void session_closed(uint32_t worker, uint64_t session_id);
    void clear();

  private:
    struct Message {
        uint32_t worker = 0;
        uint64_t session_id = 0;
        std::string bytes;
        bool too_long = false;
    };

    uint64_t bytes_max_;
    uint64_t bytes_ = 0;
    std::unordered_map<std::string, Message> messages_;  // by worker, session and request
    std::string finished_;
};

}  // namespace cachee::controlplane
