// SPDX-License-Identifier: Apache-2.0
// One lane to L2: a hiredis async connection in the libuv loop, from connect through its handshake
// (HELLO, AUTH, SETNAME, TRACKING) to loss. It never reconnects by itself. Control plane thread
// only.
//
// Its own event hooks instead of hiredis's libuv adapter: commands are written by flush(), at once
// and once per batch; the socket is polled for writing only while connecting or when the kernel's
// buffer is full, so a command costs one system call and no epoll_ctl.
#pragma once

#include <async.h>
#include <uv.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/l2_backend.h"

namespace cachee::controlplane {

class RedisConnectionOwner {
  public:
    virtual ~RedisConnectionOwner() = default;
    virtual void on_connection_ready(L2Lane lane) = 0;
    // After every call in flight got its nullptr. `was_ready`: the handshake had succeeded.
    virtual void on_connection_down(L2Lane lane, const std::string& reason, bool was_ready) = 0;
    virtual void on_push(const redisReply& push) = 0;
};

class RedisConnection {
  public:
    RedisConnection(uv_loop_t* loop, L2Lane lane, RedisConnectionOwner& owner)
        : loop_(loop), lane_(lane), owner_(owner) {}
    RedisConnection(const RedisConnection&) = delete;
    RedisConnection& operator=(const RedisConnection&) = delete;
    ~RedisConnection() { close("closed"); }

    // REQUIRES: idle(). `address` is numeric. The handshake commands are sent in order; each must
    // be answered without error, except those that start with '?' (their errors are ignored).
    void connect(const std::string& address, uint16_t port, std::vector<std::string> handshake);
    // Calls in flight get nullptr, the owner on_connection_down. Nothing when idle.
    void close(const std::string& reason);

    bool idle() const { return state_ == State::kIdle; }
    bool connecting() const { return state_ == State::kConnecting; }
    bool ready() const { return state_ == State::kReady; }
    bool send(std::string_view command, L2Call& call);
    void flush();
    uint64_t last_read_ns() const { return last_read_ns_; }

  private:
    enum class State : uint8_t { kIdle, kConnecting, kHandshake, kReady, kLosing };
    struct Poller {
        uv_poll_t handle{};
        redisAsyncContext* context = nullptr;
        int events = 0;
    };
    struct HandshakeStep final : L2Call {
        void on_reply(const redisReply* reply) override { connection->handshake_reply(reply); }
        RedisConnection* connection = nullptr;
    };

    static RedisConnection* self(const redisAsyncContext* context) {
        return static_cast<RedisConnection*>(context->data);
    }
    static void on_uv(uv_poll_t* handle, int status, int events);
    static void want(void* connection, int events, bool add);
    static void on_hiredis_connect(redisAsyncContext* context, int status);
    static void on_hiredis_disconnect(const redisAsyncContext* context, int status);
    static void on_hiredis_reply(redisAsyncContext* context, void* reply, void* call);
    static void on_hiredis_push(redisAsyncContext* context, void* reply);
    static void on_hiredis_cleanup(void* connection);

    bool attach_hooks();
    void start_handshake();
    void handshake_reply(const redisReply* reply);
    bool submit(std::string_view command, L2Call& call);
    void down(const std::string& reason);

    uv_loop_t* loop_;
    L2Lane lane_;
    RedisConnectionOwner& owner_;
    State state_ = State::kIdle;
    bool was_ready_ = false;
    bool dirty_ = false;     // something waits for flush()
    bool flushing_ = false;  // in it
    uint64_t last_read_ns_ = 0;
    redisAsyncContext* context_ = nullptr;
    Poller* poller_ = nullptr;
    std::vector<std::string> handshake_;
    size_t handshake_answered_ = 0;
    std::string reason_;
    HandshakeStep step_;
};

}  // namespace cachee::controlplane
