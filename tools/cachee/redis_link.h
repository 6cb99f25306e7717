// SPDX-License-Identifier: Apache-2.0
// One blocking connection to something that speaks RESP, pipelined, bounded in time. For the tools
// only: the planes have their own. Used by one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct redisContext;
struct redisReply;

namespace cachee::cli {

// Split at the last ':'; "[::1]:6379" too. An error names what is wrong.
struct HostPort {
    std::string host;
    uint16_t port = 0;
};
base::Result<HostPort> parse_host_port(std::string_view text);

// What a reply was, copied or borrowed from the last read().
struct Reply {
    enum class Kind : uint8_t { kValue, kNil, kStatus, kInteger, kError, kOther };
    Kind kind = Kind::kNil;
    std::string_view text;  // of a value, status or error; borrowed until the next read()
};

class RedisLink {
  public:
    explicit RedisLink(HostPort address) : address_(std::move(address)) {}
    RedisLink(const RedisLink&) = delete;
    RedisLink& operator=(const RedisLink&) = delete;
    ~RedisLink();

    // Also after a failure: a new connection.
    base::Status connect();

    // Queues a command; it leaves with the first read(). REQUIRES: connected.
    void send(const std::vector<std::string_view>& arguments);

    // The reply to the oldest command that has none. A failure breaks the connection: nothing that
    // was in flight will be answered.
    base::Result<Reply> read();

  private:
    void close();

    HostPort address_;
    redisContext* context_ = nullptr;
    redisReply* reply_ = nullptr;
};

}  // namespace cachee::cli
