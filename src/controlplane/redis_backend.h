// SPDX-License-Identifier: Apache-2.0
// L2Backend for one standalone Redis (>= 6.0) or Valkey: three RedisConnections, name resolution,
// reconnection with exponential back-off and jitter. Control plane thread only.
#pragma once

#include <netinet/in.h>

#include <array>
#include <memory>
#include <string>

#include "base/rng.h"
#include "config/schema.h"
#include "controlplane/l2_backend.h"
#include "controlplane/redis_connection.h"
#include "stats/counters.h"

namespace cachee::controlplane {

struct L2Address {
    std::string host;
    uint16_t port = 6379;
    std::string user;      // empty: the default user
    std::string password;  // empty: no AUTH
};

class RedisBackend final : public L2Backend, private RedisConnectionOwner {
  public:
    // `counters` points to where the current counters are: they move when a data plane is attached.
    RedisBackend(uv_loop_t* loop, L2Address address, const config::L2& options,
                 std::string client_name, stats::ControlCounters* const& counters);
    ~RedisBackend() override { stop(); }

    void start(L2Listener& listener) override;
    void stop() override;
    bool ready(L2Lane lane) const override { return at(lane).connection->ready(); }
    bool send(L2Lane lane, std::string_view command, L2Call& call) override;
    void flush() override;
    void tick(uint64_t now_ns) override;
    void drop(L2Lane lane, const std::string& reason) override;
    uint64_t last_read_ns(L2Lane lane) const override {
        return at(lane).connection->last_read_ns();
    }
    const sockaddr* address() const override;
    std::string hello(bool resp3, uint32_t& replies) const override;
    const std::string& name() const override { return name_; }

  private:
    struct Lane {
        std::unique_ptr<RedisConnection> connection;
        uint64_t next_attempt_ns = 0;
        uint64_t attempt_started_ns = 0;
        uint32_t back_off_ms = 0;
        bool hurry = false;       // another lane got through: give an unanswered attempt up
        std::string last_reason;  // so that a lasting outage is logged once, not per attempt
    };

    void on_connection_ready(L2Lane lane) override;
    void on_connection_down(L2Lane lane, const std::string& reason, bool was_ready) override;
    void on_push(const redisReply& push) override;

    void hurry_others();
    void resolve();
    static void on_resolved(uv_getaddrinfo_t* request, int status, addrinfo* result);
    void take_address(const sockaddr* found);
    std::vector<std::string> handshake(L2Lane lane) const;
    Lane& at(L2Lane lane) { return lanes_[static_cast<size_t>(lane)]; }
    const Lane& at(L2Lane lane) const { return lanes_[static_cast<size_t>(lane)]; }

    uv_loop_t* loop_;
    L2Address address_;
    config::L2 options_;
    std::string client_name_;
    std::string name_;
    stats::ControlCounters* const& counters_;
    L2Listener* listener_ = nullptr;
    base::Rng rng_;
    std::array<Lane, kL2Lanes> lanes_;
    bool running_ = false;
    bool resolving_ = false;
    std::string resolve_error_;
    uint64_t resolve_again_ns_ = 0;
    sockaddr_storage resolved_{};
    std::string numeric_;  // empty: not resolved
};

}  // namespace cachee::controlplane
