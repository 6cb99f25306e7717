// SPDX-License-Identifier: Apache-2.0
#include "controlplane/redis_backend.h"

#include <arpa/inet.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "resp/encoder.h"

namespace cachee::controlplane {

using base::kNsPerMs;
using stats::ControlCounter;

namespace {

constexpr L2Lane kLanes[] = {L2Lane::kTracked, L2Lane::kShared2, L2Lane::kShared3};

const char* lane_name(L2Lane lane) {
    switch (lane) {
        case L2Lane::kTracked:
            return "tracked";
        case L2Lane::kShared2:
            return "shared-resp2";
        case L2Lane::kShared3:
            return "shared-resp3";
    }
    return "?";
}

std::string command(std::initializer_list<std::string_view> arguments) {
    std::string out;
    resp::append_command(out, {arguments.begin(), arguments.size()});
    return out;
}

}  // namespace

RedisBackend::RedisBackend(uv_loop_t* loop, L2Address address, const config::L2& options,
                           std::string client_name, stats::ControlCounters* const& counters)
    : loop_(loop),
      address_(std::move(address)),
      options_(options),
      client_name_(std::move(client_name)),
      name_(address_.host + ":" + std::to_string(address_.port)),
      counters_(counters),
      rng_(base::random_seed()) {
    for (L2Lane lane : kLanes) {
        at(lane).connection = std::make_unique<RedisConnection>(
            loop, lane, static_cast<RedisConnectionOwner&>(*this));
    }
}

void RedisBackend::start(L2Listener& listener) {
    listener_ = &listener;
    running_ = true;
    tick(base::monotonic_ns());
}

void RedisBackend::stop() {
    running_ = false;
    for (Lane& lane : lanes_) lane.connection->close("cachee-controlplane stops");
}

bool RedisBackend::send(L2Lane lane, std::string_view bytes, L2Call& call) {
    return at(lane).connection->send(bytes, call);
}

void RedisBackend::flush() {
    for (Lane& lane : lanes_) lane.connection->flush();
}

void RedisBackend::drop(L2Lane lane, const std::string& reason) {
    at(lane).connection->close(reason);
}

const sockaddr* RedisBackend::address() const {
    return numeric_.empty() ? nullptr : reinterpret_cast<const sockaddr*>(&resolved_);
}

std::string RedisBackend::hello(bool resp3, uint32_t& replies) const {
    const std::string_view protocol = resp3 ? "3" : "2";
    replies = 1;
    if (address_.password.empty()) return command({"HELLO", protocol});
    const std::string_view user =
        address_.user.empty() ? "default" : std::string_view(address_.user);
    return command({"HELLO", protocol, "AUTH", user, address_.password});
}

std::vector<std::string> RedisBackend::handshake(L2Lane lane) const {
    uint32_t replies = 0;
    std::vector<std::string> steps{hello(lane != L2Lane::kShared2, replies)};
    // '?': an L2 user may lack the right to name its connections; nothing depends on it.
    steps.push_back("?" + command({"CLIENT", "SETNAME", client_name_ + "-" + lane_name(lane)}));
    if (lane == L2Lane::kTracked) {
        // Losing this connection costs all of L1: not to be chosen by maxmemory-clients
        // (Redis 7.0).
        steps.push_back("?" + command({"CLIENT", "NO-EVICT", "ON"}));
        steps.push_back(command({"CLIENT", "TRACKING", "ON", "BCAST", "NOLOOP"}));
    }
    return steps;
}

void RedisBackend::tick(uint64_t now_ns) {
    if (!running_) return;
    if (numeric_.empty()) {
        if (!resolving_ && now_ns >= resolve_again_ns_) resolve();
        return;
    }
    for (L2Lane id : kLanes) {
        if (numeric_.empty()) return;  // the lane before failed: the name is asked for again
        Lane& lane = at(id);
        if (lane.connection->idle()) {
            if (now_ns < lane.next_attempt_ns) continue;
            lane.attempt_started_ns = now_ns;
            lane.hurry = false;
            lane.connection->connect(numeric_, address_.port, handshake(id));
        } else if (lane.hurry && lane.connection->connecting()) {
            lane.hurry = false;
            lane.connection->close("L2 is back: a new attempt");
            lane.next_attempt_ns = resolve_again_ns_ = now_ns;
        } else if (!lane.connection->ready() &&
                   now_ns - lane.attempt_started_ns > options_.connect_timeout_ms * kNsPerMs) {
            lane.connection->close("no connection within " +
                                   std::to_string(options_.connect_timeout_ms) + " ms");
        }
    }
}

void RedisBackend::on_connection_ready(L2Lane id) {
    Lane& lane = at(id);
    lane.back_off_ms = 0;
    lane.last_reason.clear();
    counters_->add(ControlCounter::l2_connects);
    spdlog::info("L2 {}: {} connection is up", name_, lane_name(id));
    listener_->on_lane_up(id);
    hurry_others();
}

// L2 is back: no lane waits for its own back-off, nor for an attempt that was made while L2 was
// away and may be a SYN that nobody answered.
void RedisBackend::hurry_others() {
    const uint64_t now_ns = base::monotonic_ns();
    resolve_again_ns_ = now_ns;
    for (Lane& lane : lanes_) {
        if (lane.connection->ready()) continue;
        if (lane.connection->idle()) {
            lane.next_attempt_ns = now_ns;
        } else if (now_ns - lane.attempt_started_ns > options_.reconnect_min_ms * kNsPerMs) {
            lane.hurry = true;
        }
    }
}

void RedisBackend::on_connection_down(L2Lane id, const std::string& reason, bool was_ready) {
    Lane& lane = at(id);
    counters_->add(ControlCounter::l2_failures);
    lane.back_off_ms = lane.back_off_ms == 0
                           ? options_.reconnect_min_ms
                           : std::min(lane.back_off_ms * 2, options_.reconnect_max_ms);
    // Jitter of a quarter: many appliances must not return to one L2 in step.
    const double jitter = 0.75 + 0.5 * rng_.uniform();
    const auto wait_ms = static_cast<uint64_t>(lane.back_off_ms * jitter);
    lane.next_attempt_ns = base::monotonic_ns() + wait_ms * kNsPerMs;
    if (running_ && (was_ready || reason != lane.last_reason)) {
        spdlog::warn("L2 {}: {} connection {}: {}; next attempt in {} ms, then every {} ms at most",
                     name_, lane_name(id), was_ready ? "was lost" : "failed", reason, wait_ms,
                     options_.reconnect_max_ms);
    }
    lane.last_reason = reason;
    // The name may point elsewhere by now (failover by DNS).
    in6_addr ignored{};
    const bool literal = inet_pton(AF_INET, address_.host.c_str(), &ignored) == 1 ||
                         inet_pton(AF_INET6, address_.host.c_str(), &ignored) == 1;
    if (!literal && !was_ready) {
        numeric_.clear();
        resolve_again_ns_ = lane.next_attempt_ns;
    }
    if (was_ready && listener_ != nullptr) listener_->on_lane_lost(id);
}

void RedisBackend::on_push(const redisReply& push) {
    if (push.elements < 2 || push.element[0]->str == nullptr) return;
    if (std::string_view(push.element[0]->str, push.element[0]->len) != "invalidate") return;
    const redisReply& keys = *push.element[1];
    if (keys.type == REDIS_REPLY_NIL) {
        counters_->add(ControlCounter::flushes_received);
        listener_->on_all_invalidated();
        return;
    }
    counters_->add(ControlCounter::invalidations_received, keys.elements);
    for (size_t i = 0; i < keys.elements; ++i) {
        const redisReply* key = keys.element[i];
        if (key != nullptr && key->str != nullptr)
            listener_->on_key_invalidated({key->str, key->len});
    }
}

void RedisBackend::resolve() {
    auto* request = new uv_getaddrinfo_t;
    request->data = this;
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    const int error = uv_getaddrinfo(loop_, request, on_resolved, address_.host.c_str(),
                                     std::to_string(address_.port).c_str(), &hints);
    if (error != 0) {
        delete request;
        resolve_again_ns_ = base::monotonic_ns() + options_.reconnect_max_ms * kNsPerMs;
        return;
    }
    resolving_ = true;
}

void RedisBackend::on_resolved(uv_getaddrinfo_t* request, int status, addrinfo* result) {
    auto* backend = static_cast<RedisBackend*>(request->data);
    delete request;
    if (status == UV_ECANCELED) return;
    backend->resolving_ = false;
    if (status != 0 || result == nullptr) {
        const std::string error = uv_strerror(status);
        if (backend->resolve_error_ != error) {
            spdlog::warn("L2 {}: its name cannot be resolved: {}", backend->name_, error);
        }
        backend->resolve_error_ = error;
        backend->resolve_again_ns_ =
            base::monotonic_ns() + backend->options_.reconnect_max_ms * kNsPerMs;
    } else {
        backend->resolve_error_.clear();
        backend->take_address(result->ai_addr);
    }
    if (result != nullptr) uv_freeaddrinfo(result);
    backend->tick(base::monotonic_ns());
}

void RedisBackend::take_address(const sockaddr* found) {
    const size_t bytes = found->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    std::memcpy(&resolved_, found, bytes);
    char text[INET6_ADDRSTRLEN] = "";
    if (found->sa_family == AF_INET6) {
        uv_ip6_name(reinterpret_cast<const sockaddr_in6*>(found), text, sizeof text);
    } else {
        uv_ip4_name(reinterpret_cast<const sockaddr_in*>(found), text, sizeof text);
    }
    numeric_ = text;
}

}  // namespace cachee::controlplane
