// SPDX-License-Identifier: Apache-2.0
// The appliance over a kernel socket: what libcachee falls back to. RESP2, one connection, made
// when it is first needed and again after it broke, with pauses that double. Every wait ends with
// the call's timeout. One thread. It believes no length that the peer states before the bytes are
// there.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "cachee/cachee.h"

namespace cachee::client {

struct ApplianceOptions {
    std::string address;  // "a.b.c.d:port" or "[v6]:port"; empty: none
    std::string user;
    std::string password;  // empty: no AUTH
    uint32_t timeout_ms = 1000;
    uint32_t reconnect_max_ms = 1000;
};

enum class ReplyKind : uint8_t { kBulk, kNil, kInteger, kSimple, kError };

struct Reply {
    ReplyKind kind = ReplyKind::kNil;
    std::string_view text;  // borrowed until the next call
    int64_t integer = 0;
};

class Appliance {
  public:
    explicit Appliance(ApplianceOptions options) : options_(std::move(options)) {}
    Appliance(const Appliance&) = delete;
    Appliance& operator=(const Appliance&) = delete;
    ~Appliance() { disconnect(); }

    bool is_configured() const { return !options_.address.empty(); }
    void set_address(const std::string& address);

    // Several commands of one key each, their replies in order with next(). A connection that turns
    // out to be gone is made anew once. CACHEE_OK: sent.
    cachee_status ask(std::string_view command, std::span<const std::string_view> keys);
    // REQUIRES: as often as ask() had keys, and the last one was CACHEE_OK. Error replies are
    // CACHEE_OK here: see status_of(). On failure the connection is closed.
    cachee_status next(Reply* reply);
    void disconnect() noexcept;
    // Of a reply that is an error; its text becomes failure().
    cachee_status status_of(const Reply& reply);
    // Why the last call failed; empty when it did not.
    const std::string& failure() const { return failure_; }

  private:
    cachee_status fail(cachee_status status, std::string text);
    cachee_status connect();
    cachee_status connect_socket();
    cachee_status authenticate();
    cachee_status send_all(std::string_view bytes);
    cachee_status wait_for(short events);
    cachee_status receive_more();
    cachee_status read_line(std::string_view* line);
    cachee_status read_reply(Reply* reply);

    ApplianceOptions options_;
    std::string failure_;
    std::string request_;
    std::string input_;
    size_t input_at_ = 0;
    int fd_ = -1;
    uint64_t deadline_ns_ = 0;
    uint64_t not_before_ns_ = 0;
    uint64_t pause_ms_ = 0;
};

}  // namespace cachee::client
