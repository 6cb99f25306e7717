// SPDX-License-Identifier: Apache-2.0
// The calls of a handle that L1 did not answer: asking the appliance.
#include <cstring>

#include "client/client.h"

namespace cachee::client {

namespace {

// Requests of one round: small enough to fit the socket's buffers, so that sending them never waits
// for replies to be read.
constexpr size_t kRoundKeys = 128;
constexpr size_t kRoundBytes = 32 << 10;

}  // namespace

cachee_status Client::take_value(const Reply& reply, void* buffer, size_t capacity, bool own_memory,
                                 cachee_value* value) {
    *value = {.data = nullptr,
              .size = reply.text.size(),
              .ttl_ms = CACHEE_EXPIRY_UNKNOWN,
              .source = CACHEE_FROM_APPLIANCE,
              .reserved = 0};
    switch (reply.kind) {
        case ReplyKind::kNil:
            return CACHEE_ABSENT;
        case ReplyKind::kBulk:
            break;
        case ReplyKind::kError:
            value->size = 0;
            return appliance_.status_of(reply);
        default:
            value->size = 0;
            return CACHEE_PROTOCOL;
    }
    if (own_memory) {
        arena_.reserve(reply.text.size());
        buffer = arena_.room();
        arena_.commit(reply.text.size());
    } else if (reply.text.size() > capacity) {
        return CACHEE_TOO_SMALL;
    }
    if (!reply.text.empty()) std::memcpy(buffer, reply.text.data(), reply.text.size());
    value->data = buffer;
    return CACHEE_OK;
}

cachee_status Client::fall_back(std::string_view key, void* buffer, size_t capacity,
                                bool own_memory, cachee_value* value) {
    *value = {};
    if (!may_fall_back()) return CACHEE_MISS;
    ++requests_;
    Reply reply;
    cachee_status status = appliance_.ask("GET", {&key, 1});
    if (status == CACHEE_OK) status = appliance_.next(&reply);
    if (status != CACHEE_OK) {
        ++request_failures_;
        return status;
    }
    return take_value(reply, buffer, capacity, own_memory, value);
}

cachee_status Client::ask_number(std::string_view command, std::string_view key, int64_t* number) {
    if (!may_fall_back()) return CACHEE_MISS;
    ++requests_;
    Reply reply;
    cachee_status status = appliance_.ask(command, {&key, 1});
    if (status == CACHEE_OK) status = appliance_.next(&reply);
    if (status != CACHEE_OK) {
        ++request_failures_;
        return status;
    }
    if (reply.kind == ReplyKind::kError) return appliance_.status_of(reply);
    if (reply.kind != ReplyKind::kInteger) return CACHEE_PROTOCOL;
    *number = reply.integer;
    return CACHEE_OK;
}

// GETs rather than an MGET: each of them may be installed in L1 for the next reader.
void Client::multi_fall_back(std::span<cachee_item* const> missing) {
    std::string_view keys[kRoundKeys];
    while (!missing.empty()) {
        size_t count = 0;
        size_t bytes = 0;
        while (count < missing.size() && count < kRoundKeys && bytes < kRoundBytes) {
            const cachee_item& item = *missing[count];
            keys[count++] = {static_cast<const char*>(item.key), item.key_size};
            bytes += item.key_size + 32;
        }
        requests_ += count;
        cachee_status status = appliance_.ask("GET", {keys, count});
        for (size_t i = 0; i < count; ++i) {
            cachee_item& item = *missing[i];
            Reply reply;
            if (status == CACHEE_OK) status = appliance_.next(&reply);
            if (status != CACHEE_OK) {
                ++request_failures_;
                item.status = status;
                continue;
            }
            item.status =
                take_value(reply, item.buffer, item.capacity, item.buffer == nullptr, &item.value);
        }
        missing = missing.subspan(count);
    }
}

}  // namespace cachee::client
