// SPDX-License-Identifier: Apache-2.0
// A blocking RESP connection on hiredis; see redis_link.h.
#include "tools/cachee/redis_link.h"

#include <fmt/format.h>
#include <hiredis.h>

#include <charconv>

namespace cachee::cli {

namespace {

constexpr timeval kConnectTimeout{2, 0};
constexpr timeval kReplyTimeout{10, 0};

}  // namespace

base::Result<HostPort> parse_host_port(std::string_view text) {
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) {
        return base::Error{fmt::format("\"{}\" is not HOST:PORT", text)};
    }
    HostPort address;
    std::string_view host = text.substr(0, colon);
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
    }
    address.host = std::string(host);
    const std::string_view port = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
    if (host.empty() || error != std::errc() || end != port.data() + port.size() ||
        address.port == 0) {
        return base::Error{fmt::format("\"{}\" is not HOST:PORT with a port of 1..65535", text)};
    }
    return address;
}

RedisLink::~RedisLink() { close(); }

void RedisLink::close() {
    if (reply_ != nullptr) freeReplyObject(reply_);
    if (context_ != nullptr) redisFree(context_);
    reply_ = nullptr;
    context_ = nullptr;
}

base::Status RedisLink::connect() {
    close();
    context_ = redisConnectWithTimeout(address_.host.c_str(), address_.port, kConnectTimeout);
    if (context_ == nullptr) return base::Error{"out of memory"};
    if (context_->err != 0) {
        base::Error error{fmt::format("cannot connect to {}:{}: {}", address_.host, address_.port,
                                      context_->errstr)};
        close();
        return error;
    }
    if (redisSetTimeout(context_, kReplyTimeout) != REDIS_OK) {
        close();
        return base::Error{"cannot set the time-out of a socket"};
    }
    return {};
}

void RedisLink::send(const std::vector<std::string_view>& arguments) {
    CACHEE_ASSERT(context_ != nullptr);
    std::vector<const char*> pointers;
    std::vector<size_t> sizes;
    for (const std::string_view argument : arguments) {
        pointers.push_back(argument.data());
        sizes.push_back(argument.size());
    }
    // Fails only without memory; the missing reply then shows as a time-out.
    redisAppendCommandArgv(context_, static_cast<int>(pointers.size()), pointers.data(),
                           sizes.data());
}

base::Result<Reply> RedisLink::read() {
    CACHEE_ASSERT(context_ != nullptr);
    if (reply_ != nullptr) freeReplyObject(reply_);
    reply_ = nullptr;
    void* raw = nullptr;
    if (redisGetReply(context_, &raw) != REDIS_OK || raw == nullptr) {
        return base::Error{fmt::format("{}:{}: {}", address_.host, address_.port,
                                       context_->err != 0 ? context_->errstr : "no reply")};
    }
    reply_ = static_cast<redisReply*>(raw);
    Reply reply;
    if (reply_->str != nullptr) reply.text = std::string_view(reply_->str, reply_->len);
    switch (reply_->type) {
        case REDIS_REPLY_STRING:
        case REDIS_REPLY_VERB:
            reply.kind = Reply::Kind::kValue;
            break;
        case REDIS_REPLY_NIL:
            reply.kind = Reply::Kind::kNil;
            break;
        case REDIS_REPLY_STATUS:
            reply.kind = Reply::Kind::kStatus;
            break;
        case REDIS_REPLY_INTEGER:
            reply.kind = Reply::Kind::kInteger;
            break;
        case REDIS_REPLY_ERROR:
            reply.kind = Reply::Kind::kError;
            break;
        default:
            reply.kind = Reply::Kind::kOther;
            break;
    }
    return reply;
}

}  // namespace cachee::cli
