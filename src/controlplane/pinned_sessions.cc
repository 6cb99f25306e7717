// SPDX-License-Identifier: Apache-2.0
// The sessions with an L2 connection of their own, and what their workers are told of them.
#include "controlplane/pinned_sessions.h"

#include "base/clock.h"
#include "controlplane/pinned_connection.h"
#include "controlplane/reply_encoder.h"

namespace cachee::controlplane {

using base::kNsPerMs;
using stats::ControlCounter;

PinnedSessions::PinnedSessions(uv_loop_t* loop, L2Backend& backend, Coherence& coherence,
                               const config::Config& config,
                               stats::ControlCounters* const& counters)
    : loop_(loop),
      backend_(backend),
      coherence_(coherence),
      options_(config.l2),
      queued_bytes_max_(config.limits.query_buffer_bytes_max),
      counters_(counters) {}

PinnedSessions::~PinnedSessions() { close_all(false); }

void PinnedSessions::command(uint32_t worker, uint64_t session_id, bool resp3, bool write,
                             std::string_view bytes) {
    auto found = sessions_.find({worker, session_id});
    if (found == sessions_.end()) {
        if (sessions_.size() >= options_.pinned_connections_max) {
            counters_->add(ControlCounter::pinned_refused);
            // The session is closed: answering some of its commands only would tear a MULTI apart.
            end_session(worker, session_id,
                        "ERR cachee: too many sessions with state in L2 "
                        "(l2.pinned_connections_max)");
            return;
        }
        auto connection = std::make_shared<PinnedConnection>(*this, worker, session_id);
        found = sessions_.emplace(Key{worker, session_id}, connection).first;
        counters_->set(ControlCounter::pinned_sessions, sessions_.size());
        connection->open(resp3);
        found = sessions_.find({worker, session_id});
        if (found == sessions_.end()) return;  // it failed at once and said so
    }
    if (write) found->second->set_writes();
    counters_->add(ControlCounter::l2_commands);
    if (!found->second->write(bytes, queued_bytes_max_)) {
        found->second->fail("too many bytes wait for L2 (limits.query_buffer_bytes_max)");
    }
}

void PinnedSessions::end(uint32_t worker, uint64_t session_id) {
    const auto found = sessions_.find({worker, session_id});
    if (found == sessions_.end()) {
        end_session(worker, session_id, "");
        return;
    }
    found->second->end_when_answered(options_.request_timeout_ms * kNsPerMs);
}

void PinnedSessions::stream(uint32_t worker, uint64_t session_id, std::string_view bytes) {
    if (!coherence_.attached()) return;
    shm::RingEntry entry;
    entry.kind = static_cast<uint16_t>(shm::CommandKind::kStream);
    entry.lane = shm::Lane::kPinned;
    entry.session_id = session_id;
    coherence_.link(worker).send(entry, bytes);
}

void PinnedSessions::end_session(uint32_t worker, uint64_t session_id, std::string_view error) {
    if (!coherence_.attached()) return;
    if (!error.empty()) stream(worker, session_id, error_reply(error));
    shm::RingEntry entry;
    entry.kind = static_cast<uint16_t>(shm::CommandKind::kCloseSession);
    entry.lane = shm::Lane::kPinned;
    entry.session_id = session_id;
    coherence_.link(worker).send(entry);
}

void PinnedSessions::remove(PinnedConnection* connection) {
    const auto keep = connection->shared_from_this();
    keep->close();
    sessions_.erase({connection->worker, connection->session_id});
    counters_->set(ControlCounter::pinned_sessions, sessions_.size());
}

void PinnedSessions::close(uint32_t worker, uint64_t session_id) {
    const auto found = sessions_.find({worker, session_id});
    if (found != sessions_.end()) remove(found->second.get());
}

void PinnedSessions::close_all(bool tell) {
    while (!sessions_.empty()) {
        const auto connection = sessions_.begin()->second;
        if (tell) {
            connection->fail("cachee-controlplane stops");
        } else {
            remove(connection.get());
        }
    }
}

void PinnedSessions::tick(uint64_t now_ns) {
    if (!coherence_.attached()) return;
    for (auto next = sessions_.begin(); next != sessions_.end();) {
        const auto connection = (next++)->second;  // which may leave the table here
        if (connection->overdue(now_ns)) {
            connection->fail("no answer within " + std::to_string(options_.connect_timeout_ms) +
                             " ms");
        } else {
            connection->resume_reading();
            connection->check_end(now_ns);
        }
    }
}

}  // namespace cachee::controlplane
