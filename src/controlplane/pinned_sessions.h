// SPDX-License-Identifier: Apache-2.0
// Sessions with state in L2: each has an L2 connection of its own, over which commands go in and
// raw reply bytes come out, in chunks, behind a fence once the session has written (rule 4). Bytes
// are not interpreted, but for the replies to our own HELLO. Control plane thread only.
#pragma once

#include <uv.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "config/schema.h"
#include "controlplane/coherence.h"
#include "controlplane/l2_backend.h"

namespace cachee::controlplane {

class PinnedConnection;

class PinnedSessions {
  public:
    PinnedSessions(uv_loop_t* loop, L2Backend& backend, Coherence& coherence,
                   const config::Config& config, stats::ControlCounters* const& counters);
    ~PinnedSessions();

    // Sends the command on the session's connection, which the first one opens.
    void command(uint32_t worker, uint64_t session_id, bool resp3, bool write,
                 std::string_view command);
    // The session sends no more: once L2 has answered what it sent, or has been silent for
    // l2.request_timeout_ms, its worker gets kCloseSession.
    void end(uint32_t worker, uint64_t session_id);
    // The session is gone.
    void close(uint32_t worker, uint64_t session_id);
    // tell: the sessions get an error and are closed (a stop); else the data plane is gone.
    void close_all(bool tell);
    // Deadlines, and reading again after back-pressure.
    void tick(uint64_t now_ns);
    size_t size() const { return sessions_.size(); }

  private:
    friend class PinnedConnection;
    using Key = std::pair<uint32_t, uint64_t>;

    void end_session(uint32_t worker, uint64_t session_id, std::string_view error);
    void stream(uint32_t worker, uint64_t session_id, std::string_view bytes);
    void remove(PinnedConnection* connection);

    uv_loop_t* loop_;
    L2Backend& backend_;
    Coherence& coherence_;
    config::L2 options_;
    uint64_t queued_bytes_max_;
    stats::ControlCounters* const& counters_;
    std::map<Key, std::shared_ptr<PinnedConnection>> sessions_;
};

}  // namespace cachee::controlplane
