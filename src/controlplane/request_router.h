// SPDX-License-Identifier: Apache-2.0
// From a worker's event to the reply: which lane, what is guarded, what L1 is told, when the reply
// may leave. Pinned sessions are handed to PinnedSessions. Control plane thread only.
//
//   event --> Request --(lane not ready)--> waiting --> L2 --> guard --> fill/invalidate --> reply
#pragma once

#include <array>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"
#include "controlplane/coherence.h"
#include "controlplane/key_guard.h"
#include "controlplane/l2_backend.h"
#include "controlplane/latency_histogram.h"
#include "controlplane/message_assembler.h"
#include "controlplane/pinned_sessions.h"
#include "resp/parser.h"
#include "shm/layout.h"

namespace cachee::controlplane {

class RequestRouter {
  public:
    RequestRouter(L2Backend& backend, Coherence& coherence, KeyGuard& guard, PinnedSessions& pinned,
                  const config::Config& config, stats::ControlCounters* const& counters);
    ~RequestRouter();

    // Takes up to `budget` events of each worker. True when there was one.
    bool drain(uint32_t budget);
    void on_lane_up(L2Lane lane);
    // Answers what waits in vain. Every few ms.
    void tick(uint64_t now_ns);
    // The data plane is gone: nobody waits for replies any more; writes in flight stay guarded.
    void forget_data_plane();
    // Answers everything that has not been answered.
    void fail_all(std::string_view error);

    LatencyHistogram& latency() { return latency_; }
    size_t in_flight() const { return in_flight_; }

  private:
    enum class Kind : uint8_t { kFetch, kMget, kCommand };

    struct Waiter {
        uint32_t worker = 0;
        uint64_t session_id = 0;
        uint64_t request_id = 0;
        bool resp3 = false;
    };

    struct Request final : L2Call {
        void on_reply(const redisReply* reply) override { router->on_reply(this, reply); }

        RequestRouter* router = nullptr;
        Kind kind = Kind::kCommand;
        L2Lane lane = L2Lane::kTracked;
        bool write = false;
        bool fenced = false;
        bool flushes = false;  // FLUSHALL, FLUSHDB, SWAPDB
        bool sent = false;
        bool retried = false;
        bool answered =
            false;  // by a timeout or because nobody waits; the reply still settles the guard
        std::string command;  // to send, or to send again
        std::vector<Waiter> waiters;
        std::vector<KeyGuard::Record*> records;  // of every key
        std::vector<KeyGuard::Ticket> tickets;   // from the moment it was sent
        std::string value;                       // of a SET to install
        uint64_t ttl_ms = 0;
        bool install = false;  // a SET whose value may be installed
        uint64_t sent_ns = 0;
        uint64_t deadline_ns = 0;
        uint32_t replies_left = 0;
        std::vector<int64_t> pttl_ms;  // of each key, for fetches and MGET
        std::list<Request*>::iterator position;
    };

    void on_event(uint32_t worker, const shm::RingEntry& entry, std::string_view payload);
    void on_message(uint32_t worker, const shm::RingEntry& entry, std::string_view payload);
    void on_fetch(const Waiter& waiter, const shm::RingEntry& entry, std::string_view key);
    void on_command(const Waiter& waiter, const shm::RingEntry& entry, std::string_view command);
    void plan(Request& request, const shm::RingEntry& entry);
    bool joinable(const Request& fetch) const;

    void submit(Request* request);
    void send(Request* request);
    void start_writes(Request& request);
    void on_reply(Request* request, const redisReply* reply);
    void on_lost(Request* request);
    void supersede(Request& request, size_t index, const redisReply& value, Barrier& barrier);
    void settle_fetch(Request& request, const redisReply& reply);
    void settle_mget(Request& request, const redisReply& reply);
    void settle_command(Request& request, const redisReply& reply);
    void settle_writes(Request& request, bool stored, Barrier& barrier);
    bool install_fetched(Request& request, size_t index, const redisReply& value, Barrier& barrier);
    void reply_all(Request& request, const redisReply& reply, const Barrier& barrier);
    void answer(const Waiter& waiter, std::string bytes, Barrier barrier);
    void answer_error(const Waiter& waiter, std::string_view text);
    void fail(Request& request, std::string_view text);
    void finish(Request* request);
    void malformed(uint32_t worker, std::string_view what);

    L2Backend& backend_;
    Coherence& coherence_;
    KeyGuard& guard_;
    PinnedSessions& pinned_;
    config::L2 options_;
    resp::Limits limits_;
    stats::ControlCounters* const& counters_;
    std::list<Request*> requests_;  // by deadline: the timeout is the same for all
    std::array<std::deque<Request*>, kL2Lanes> waiting_;
    MessageAssembler assembler_;
    resp::ArgumentList arguments_;
    std::vector<uint32_t> key_indexes_;
    size_t in_flight_ = 0;
    uint64_t data_plane_ =
        0;  // number of the attachment; replies held for an older one are dropped
    uint64_t malformed_logged_ns_ = 0;
    LatencyHistogram latency_;
};

}  // namespace cachee::controlplane
