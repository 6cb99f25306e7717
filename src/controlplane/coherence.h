// SPDX-License-Identifier: Apache-2.0
// What L1 may be told and when a reply may leave: invalidations and fills to the owners, held
// replies (rule 3), fences (rule 4), the lease (rule 5) and the generation (rule 6) of
// docs/decisions/0001-one-tracked-connection.md. It knows no command. Control plane thread only.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/schema.h"
#include "controlplane/attachment.h"
#include "controlplane/journal.h"
#include "controlplane/key_guard.h"
#include "controlplane/l2_backend.h"
#include "stats/counters.h"

namespace cachee::controlplane {

// (worker, sequence) pairs that must have been applied before something is released.
using Barrier = std::vector<std::pair<uint32_t, uint64_t>>;

class Coherence {
  public:
    // applied: false when a worker did not follow within the request timeout, or the data plane is
    // gone.
    using Released = std::function<void(bool applied)>;

    Coherence(L2Backend& backend, KeyGuard& guard, const config::L2& options,
              stats::ControlCounters* const& counters);
    ~Coherence();

    // --- the data plane ---
    // A data plane that has acknowledged our epoch. No lease yet, and a new generation, unless its
    // L1 is the one that we vouched for last and the journal tells all that it missed: then that is
    // sent first.
    void attach(Attachment* attachment);
    // Everything held or fenced is released with applied == false. From here on what changes goes
    // to the journal, and what the workers have not applied. `blind`: they may go on with what they
    // have, so that no journal can help.
    void detach(bool blind);
    bool attached() const { return attachment_ != nullptr; }
    uint32_t workers() const { return static_cast<uint32_t>(attachment_->links().size()); }
    WorkerLink& link(uint32_t worker) { return attachment_->links()[worker]; }
    uint64_t hash(std::string_view key) const;
    uint32_t owner(uint64_t hash) const;

    // --- what L2 said ---
    void on_tracking_up();
    void on_tracking_lost();
    void on_key_invalidated(std::string_view key);
    void on_all_invalidated();

    // --- what L1 is told; the workers that must apply it are added to `barrier` ---
    // Without a data plane it goes to the journal.
    void invalidate(std::string_view key, Barrier* barrier);
    // deadline_ms: monotonic; 0: none. False: L1 cannot take it or must not (no tracking).
    bool fill(std::string_view key, uint64_t hash, std::string_view value, uint64_t deadline_ms,
              Barrier* barrier);
    uint64_t item_bytes_max() const { return item_bytes_max_; }
    bool fills_allowed() const { return attached() && tracking_; }
    // Everything in L1 is untrusted from here on; the lease goes on if `keep_lease`.
    void bump_generation(std::string_view cause, bool keep_lease);
    // Every invalidation sent so far, in every worker's ring.
    void add_all(Barrier& barrier) const;

    // --- releases ---
    // Calls back once `barrier` was applied; at once if it already is. What concerns `receiver`
    // itself is left out: its ring is in order. Without a call back, for the common case that there
    // is nothing to wait for.
    bool applied(const Barrier& barrier, uint32_t receiver) const;
    void release_after(uint32_t receiver, Barrier barrier, Released released);
    // Calls back when every push caused by what L2 has executed until now is in the rings.
    void fence(std::function<void()> passed);

    // Sends the fences collected since the last call. Once per batch, before L2Backend::flush().
    void flush();
    // Releases what has been applied, moves backlogs. True when something moved.
    bool poll();
    // Replies are held: the workers' positions have to be watched.
    bool watching() const { return held_count_ > 0; }
    bool backlogged() const;
    // The first worker that is so far behind that only a new epoch helps; nullptr mostly.
    const WorkerLink* hopeless() const;
    // The first that is behind and shows no sign of life: its process is gone or stopped.
    const WorkerLink* silent(uint64_t now_ns) const;
    // Heartbeats, deadlines of held replies.
    void tick(uint64_t now_ns);
    // No lease any more, for good: nobody will listen to invalidations.
    void stop_leases();

  private:
    struct Held {
        Barrier barrier;
        uint64_t deadline_ns = 0;
        Released released;
    };
    struct Ping final : L2Call {
        void on_reply(const redisReply* reply) override { owner->on_pong(this, reply); }
        Coherence* owner = nullptr;
        uint64_t sent_ns = 0;
        std::vector<std::function<void()>> fences;
    };

    // Asks another lane whether it is L2 that is silent or only the tracked connection.
    struct Probe final : L2Call {
        void on_reply(const redisReply* reply) override;
        bool in_flight = false;
        uint64_t answered_ns = 0;
    };

    bool backlogged_links() const;
    bool replay_journal();
    void resume();
    void check_silence(uint64_t now_ns);
    void send_ping(std::vector<std::function<void()>> fences);
    void on_pong(Ping* ping, const redisReply* reply);
    void send_lease(uint64_t until_ns);
    void lost_fences(std::vector<std::function<void()>>& fences);
    // The index of the first pair not applied yet, or the size.
    size_t first_open(const Barrier& barrier) const;
    void hold(std::unique_ptr<Held> held, size_t open);
    void bound_backlog(WorkerLink& link);

    L2Backend& backend_;
    KeyGuard& guard_;
    config::L2 options_;
    stats::ControlCounters* const& counters_;
    Attachment* attachment_ = nullptr;
    bool tracking_ = false;
    bool revoked_ = true;  // the workers were told lease 0 and nothing since
    uint32_t generation_ = 0;
    uint64_t lease_until_ns_ = 0;
    bool stopped_ = false;
    uint64_t next_ping_ns_ = 0;
    uint64_t last_pong_ns_ = 0;
    uint64_t next_bound_ns_ = 0;
    Probe probe_;
    uint64_t hash_seed_ = 0;
    uint64_t item_bytes_max_ = 0;
    uint64_t l1_id_ = 0;
    Journal journal_;
    std::vector<std::string> replay_;  // of the journal: not sent yet; no lease before it is
    std::vector<std::function<void()>> fences_waiting_;
    std::vector<std::unique_ptr<Ping>> pings_;             // in flight, in order
    std::vector<std::deque<std::unique_ptr<Held>>> held_;  // by the worker they wait for
    size_t held_count_ = 0;
};

}  // namespace cachee::controlplane
