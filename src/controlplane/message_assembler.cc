// SPDX-License-Identifier: Apache-2.0
#include "controlplane/message_assembler.h"

namespace cachee::controlplane {

namespace {

template <typename T>
void append_raw(std::string& out, const T& value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string key_of(uint32_t worker, const shm::RingEntry& entry) {
    std::string key;
    append_raw(key, worker);
    append_raw(key, entry.session_id);
    append_raw(key, entry.request_id);
    return key;
}

}  // namespace

MessageAssembler::Outcome MessageAssembler::add(uint32_t worker, const shm::RingEntry& entry,
                                                std::string_view payload,
                                                std::string_view& message) {
    const std::string key = key_of(worker, entry);
    auto found = messages_.find(key);
    if ((entry.flags & shm::kMore) != 0) {
        if (found == messages_.end()) {
            found = messages_.emplace(key, Message{worker, entry.session_id, {}, false}).first;
        }
        Message& part = found->second;
        part.too_long |= part.bytes.size() + payload.size() > bytes_max_ ||
                         bytes_ + payload.size() > 4 * bytes_max_;
        if (part.too_long) {
            bytes_ -= part.bytes.size();
            part.bytes = {};
        } else {
            part.bytes.append(payload);
            bytes_ += payload.size();
        }
        return Outcome::kPartial;
    }
    if (found == messages_.end()) {
        message = payload;
        return Outcome::kWhole;
    }
    bytes_ -= found->second.bytes.size();
    const bool too_long = found->second.too_long;
    finished_ = std::move(found->second.bytes);
    messages_.erase(found);
    if (too_long) return Outcome::kTooLong;
    finished_.append(payload);
    message = finished_;
    return Outcome::kWhole;
}

void MessageAssembler::session_closed(uint32_t worker, uint64_t session_id) {
    std::erase_if(messages_, [&](const auto& item) {
        const Message& part = item.second;
        const bool gone = part.worker == worker && part.session_id == session_id;
        if (gone) bytes_ -= part.bytes.size();
        return gone;
    });
}

void MessageAssembler::clear() {
    messages_.clear();
    finished_ = {};
    bytes_ = 0;
}

}  // namespace cachee::controlplane
