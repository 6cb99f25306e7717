// SPDX-License-Identifier: Apache-2.0
// What the control plane sees of L2: three ordered lanes, invalidations, and where to open pinned
// connections. Implemented by redis_backend.h; not the place where coherence is decided.
// Control plane thread only.
#pragma once

#include <hiredis.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace cachee::controlplane {

// Each lane is one connection: what is sent on it is executed and answered in that order.
enum class L2Lane : uint8_t {
    kTracked,  // RESP3, receives the invalidations of everything that others write
    kShared2,  // RESP2
    kShared3,  // RESP3
};
inline constexpr size_t kL2Lanes = 3;

// Who waits for replies. Called once per command sent, in order. The reply is borrowed for the
// call; nullptr: the connection was lost and the command may or may not have been executed.
class L2Call {
  public:
    virtual void on_reply(const redisReply* reply) = 0;

  protected:
    ~L2Call() = default;
};

class L2Listener {
  public:
    virtual ~L2Listener() = default;
    virtual void on_key_invalidated(std::string_view key) = 0;
    virtual void on_all_invalidated() = 0;
    // kTracked: invalidations of everything executed from now on will be announced.
    virtual void on_lane_up(L2Lane lane) = 0;
    // After every call in flight on it got its nullptr.
    virtual void on_lane_lost(L2Lane lane) = 0;
};

class L2Backend {
  public:
    virtual ~L2Backend() = default;

    virtual void start(L2Listener& listener) = 0;
    // Closes every lane; calls in flight get nullptr.
    virtual void stop() = 0;
    virtual bool ready(L2Lane lane) const = 0;
    // `command` is a canonical RESP array; copied. `call` outlives its reply. False when the lane
    // is not ready: nothing was sent and nothing will be called.
    virtual bool send(L2Lane lane, std::string_view command, L2Call& call) = 0;
    // Writes what was sent to the sockets now.
    virtual void flush() = 0;
    // Time passes: connect deadlines, back-off. Every few ms.
    virtual void tick(uint64_t now_ns) = 0;
    // Gives a lane up that is believed dead: as if the peer had closed it.
    virtual void drop(L2Lane lane, const std::string& reason) = 0;

    // When bytes last came on the lane, monotonic: a sign of life even in the middle of a long
    // reply.
    virtual uint64_t last_read_ns(L2Lane lane) const = 0;

    // For pinned connections: nullptr while the name was not resolved.
    virtual const sockaddr* address() const = 0;
    // The commands that open a connection of a session, RESP; `replies` is how many will answer.
    virtual std::string hello(bool resp3, uint32_t& replies) const = 0;
    // "host:port", for errors and logs.
    virtual const std::string& name() const = 0;
};

}  // namespace cachee::controlplane
