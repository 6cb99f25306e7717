// SPDX-License-Identifier: Apache-2.0
// One data-plane worker: takes commands from its Transport, answers what L1 has, parks what must be
// asked of L2, and applies what the control plane sends. One thread, one Transport, one L1
// partition that it alone writes.
//
//   poll_once:  transport ─ events ─> parse in place ─> stage GETs (bucket prefetch)
//               ─> answer staged (item prefetch, copy to reply) or park ─> commands of the control
//               plane ─> release ─> flush
//
// After start a request that L1 answers costs no system call, no lock and no allocation. All memory
// is sized from the options; what exceeds it makes the session wait (back-pressure), or closes it
// with a counter, never the worker. Files: worker.cc (the poll and the GET path), session_io.cc
// (input, output, life of a session), execute.cc (all other commands), execute_local.cc and
// execute_standalone.cc (those that never leave cachee), requests.cc (parked requests and the
// control plane's commands).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "config/schema.h"
#include "dataplane/buffer_pool.h"
#include "dataplane/control_link.h"
#include "dataplane/parked.h"
#include "dataplane/remote.h"
#include "dataplane/session.h"
#include "io/transport.h"
#include "l1/partition.h"
#include "l1/store.h"
#include "resp/command_table.h"
#include "resp/parser.h"
#include "shm/segment.h"

namespace cachee::dataplane {

class Standalone;
class WorkerClients;
struct LocalEffects;

struct WorkerOptions {
    uint32_t index = 0;
    uint32_t worker_count = 1;
    uint32_t burst_max = 32;
    bool standalone = false;  // no L2 is configured
    uint64_t hash_seed = 0;
    uint64_t ttl_max_ms = 0;
    uint64_t request_timeout_ns = 0;                    // parked longer: an error
    uint64_t controlplane_patience_ns = 2'000'000'000;  // silent longer: requests fail at once
    uint32_t parked_requests_max = 65536;
    uint64_t buffers_bytes_max = 1ULL << 30;  // input, parked and waiting output of all sessions
    uint64_t arena_bytes = 16ULL << 20;       // of the buffer pool
    uint64_t item_bytes_max = 1 << 20;
    uint64_t lend_bytes_min = 0;   // of a value that is sent from L1 itself; 0: none is
    io::Lender* lender = nullptr;  // of L1; outlives the transport
    resp::Limits limits;
    const config::Config* config = nullptr;  // borrowed; what CONFIG GET, AUTH and INFO go by
};

class Worker {
  public:
    // Everything is borrowed and outlives the worker. `remote` may be null with one worker.
    Worker(const WorkerOptions& options, io::Transport& transport, l1::Store& store,
           shm::Segment& segment, const shm::WakeFifo* wake, RemoteMesh* remote);
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    ~Worker();

    // One turn. True when it found work. now_ns never goes back.
    bool poll_once(uint64_t now_ns) noexcept;

    // Closes all sessions in order and flushes; call poll_once() until sessions() is 0 or patience
    // ends.
    void close_all_sessions_cold() noexcept;
    uint32_t sessions() const noexcept { return open_sessions_; }
    stats::WorkerCounters& counters() noexcept { return counters_; }
    uint64_t heap_allocations() const noexcept { return pool_.heap_allocations(); }

  private:
    friend class WorkerClients;  // CLIENT LIST

    struct alignas(64) Staged {
        uint64_t hash;
        std::string_view key;  // in the receive buffer or the session's input
        l1::Partition* partition;
        io::SessionIndex session;
        l1::Candidate candidate;  // second stage
    };
    // kUnsure: L1 may have it but cannot be asked (no lease, an earlier command on the key in
    // flight, a writer at work too long).
    enum class L1Answer : uint8_t { kAnswered, kMiss, kUnsure };
    static constexpr size_t kStagedMax = 32;
    static constexpr uint32_t kControlCredit = 256;  // commands per poll
    static constexpr uint64_t kUpkeepPolls = 8;      // busy ones; of L1
    static constexpr uint64_t kHousekeepingPolls = 64;
    static_assert(kHousekeepingPolls % kUpkeepPolls == 0);

    // --- worker.cc: the GET path ---
    void take_event(const io::Event& event) noexcept;
    void take_data(io::SessionIndex index, std::string_view bytes) noexcept;
    size_t take_short_get(io::SessionIndex index, const Session& session,
                          std::string_view bytes) noexcept;
    // First of three stages: the bucket's cache line is on its way while the rest of the burst is
    // parsed.
    [[gnu::always_inline]] void stage(io::SessionIndex index, std::string_view key) noexcept {
        if (staged_count_ == kStagedMax) answer_staged();
        Staged& staged = staged_[staged_count_++];
        staged.session = index;
        staged.hash = base::hash_key(key, options_.hash_seed);
        staged.key = key;
        staged.partition = &partition_of(staged.hash);
        staged.partition->prefetch_bucket(staged.hash);
    }
    void answer_staged() noexcept {
        if (staged_count_ != 0) answer_all_staged();
    }
    void answer_burst() noexcept;
    void answer_all_staged() noexcept;
    template <l1::By kBy>
    bool answer_quickly(const Staged& get) noexcept;
    bool answer_quickly_foreign(const Staged& get) noexcept;
    L1Answer look_once(io::SessionIndex index, Session& session, const Staged& get) noexcept;
    L1Answer answer_from_l1(io::SessionIndex index, Session& session, const Staged& get) noexcept;
    template <l1::By kBy>
    bool reply_with_value(io::SessionIndex index, const l1::Lookup& found) noexcept;
    bool reply_with_large_value(io::SessionIndex index, Session& session,
                                const l1::Lookup& found) noexcept;
    bool lend_value(io::SessionIndex index, Session& session, const l1::Lookup& found) noexcept;
    void miss(io::SessionIndex index, Session& session, const Staged& get) noexcept;
    // Events wait for the ring, or the parked table has no room for another burst of misses.
    [[gnu::always_inline]] bool congested() const noexcept {
        return !queued_.empty() || parked_.used() > parked_stage_max_;
    }
    bool l1_trusted() const noexcept { return options_.standalone || now_ns_ < lease_until_ns_; }
    l1::Partition& partition_of(uint64_t hash) noexcept {
        return *partitions_[base::owner_of(hash, options_.worker_count)];
    }
    // Off the fast path: the key of any worker.
    l1::Lookup find(uint64_t hash, std::string_view key) noexcept {
        const l1::Partition& partition = partition_of(hash);
        return &partition == &own_partition_
                   ? partition.find<l1::By::kOwner>(hash, key, now_ms_, generation_)
                   : partition.find<l1::By::kAnyone>(hash, key, now_ms_, generation_);
    }
    void housekeeping(bool busy) noexcept;
    void publish_cold() noexcept;

    // --- session_io.cc: input, output, life of a session ---
    void open_session(io::SessionIndex index) noexcept;
    void session_gone(io::SessionIndex index, io::CloseReason reason) noexcept;
    void take_other_data(io::SessionIndex index, std::string_view bytes) noexcept;
    size_t run_commands(io::SessionIndex index, Session& session, std::string_view bytes) noexcept;
    void run_input(io::SessionIndex index, Session& session) noexcept;
    void stall(io::SessionIndex index, Session& session) noexcept;
    void resume(io::SessionIndex index, Session& session) noexcept;
    void retry_stalled() noexcept;
    void protocol_error(io::SessionIndex index, Session& session, std::string_view text) noexcept;
    void kill_session(io::SessionIndex index, Session& session) noexcept;
    void writable(io::SessionIndex index) noexcept;
    void write_out(io::SessionIndex index, Session& session, std::string_view bytes) noexcept;
    void reply(io::SessionIndex index, Session& session, std::string_view bytes) noexcept;
    void reply_error(io::SessionIndex index, Session& session, std::string_view text) noexcept;
    void close_when_done(io::SessionIndex index, Session& session) noexcept;
    void end_of_input(io::SessionIndex index) noexcept;
    void end_pinned(io::SessionIndex index, Session& session, std::string_view last_words) noexcept;

    // --- execute.cc: commands other than the fast path's GET; false: cannot start now (stall) ---
    bool start_command(io::SessionIndex index, Session& session) noexcept;
    bool start_command_slow(io::SessionIndex index, Session& session) noexcept;
    bool start_routed(io::SessionIndex index, Session& session,
                      const resp::CommandInfo* command) noexcept;
    bool start_get(io::SessionIndex index, Session& session) noexcept;
    bool start_mget(io::SessionIndex index, Session& session,
                    const resp::CommandInfo& command) noexcept;
    bool start_local(io::SessionIndex index, Session& session,
                     const resp::CommandInfo& command) noexcept;
    void apply_effects(Session& session, const LocalEffects& effects) noexcept;
    bool forward(io::SessionIndex index, Session& session, const resp::CommandInfo* command,
                 shm::Lane lane) noexcept;
    bool forward_pinned(io::SessionIndex index, Session& session) noexcept;
    bool start_standalone(io::SessionIndex index, Session& session) noexcept;
    bool standalone_spread(io::SessionIndex index, Session& session, uint32_t step,
                           Combine combine) noexcept;
    bool standalone_everywhere(io::SessionIndex index, Session& session, Combine combine) noexcept;
    bool standalone_read(io::SessionIndex index, Session& session) noexcept;
    void append_value(uint64_t hash, std::string_view key, resp::Protocol protocol) noexcept;
    bool standalone_call(io::SessionIndex index, Session& session, uint32_t owner,
                         std::span<const std::string_view> arguments) noexcept;
    void run_or_call(uint32_t parked, uint32_t owner,
                     std::span<const std::string_view> arguments) noexcept;
    uint64_t keys_mask(const resp::CommandInfo* command) noexcept;

    // --- requests.cc: parked requests, the control plane's commands, other workers ---
    uint32_t park(io::SessionIndex index, Session& session) noexcept;
    void start_waiting(uint32_t parked, LaneGroup group) noexcept;
    void send_or_queue(uint32_t parked) noexcept;
    bool send_parked(uint32_t parked) noexcept;
    void send_queued() noexcept;
    void finish(uint32_t parked) noexcept;
    void fail(uint32_t parked, std::string_view error) noexcept;
    void drain_replies(io::SessionIndex index, Session& session) noexcept;
    void drop_requests(Session& session) noexcept;
    void expire_parked() noexcept;
    bool poll_control() noexcept;
    void apply(const shm::RingEntry& entry, std::string_view payload) noexcept;
    void take_reply(const shm::RingEntry& entry, std::string_view payload) noexcept;
    void take_stream(const shm::RingEntry& entry, std::string_view payload) noexcept;
    void take_fill(const shm::RingEntry& entry, std::string_view payload) noexcept;
    void follow_controlplane_cold() noexcept;
    bool poll_remote() noexcept;
    void answer_remote(RemoteCall& call) noexcept;
    void take_remote_answer(RemoteCall& call) noexcept;
    void add_remote_reply(uint32_t parked, std::string_view reply) noexcept;
    Session* session_of(uint64_t id, io::SessionIndex& index) noexcept;

    const WorkerOptions options_;
    io::Transport& transport_;
    l1::Store& store_;
    const uint64_t lend_bytes_min_;  // UINT64_MAX: nothing is lent
    shm::Segment& segment_;
    stats::WorkerCounters& counters_;
    RemoteMesh* remote_;
    BufferPool pool_;
    ControlLink control_;
    ParkedTable parked_;
    std::vector<l1::Partition*> partitions_;
    l1::Partition& own_partition_;
    const uint32_t parked_stage_max_;  // fewer are parked: a burst of misses still fits
    const bool short_gets_allowed_;    // by the limits on arguments
    std::unique_ptr<Standalone> standalone_;

    uint64_t now_ns_ = 0;
    uint64_t now_ms_ = 0;
    uint64_t lease_until_ns_ = 0;
    uint32_t generation_ = 0;
    uint32_t open_sessions_ = 0;
    uint64_t touches_ = 0;
    // Since they were last published; [1]: of busy polls.
    uint64_t polls_[2] = {0, 0};
    uint64_t cycles_[2] = {0, 0};
    uint64_t cycles_last_ = 0;
    uint64_t next_client_id_ = 0;

    std::array<Staged, kStagedMax> staged_;
    size_t staged_count_ = 0;
    std::vector<io::Event> events_;
    shm::RingEntry control_entry_;  // the command being applied
    std::vector<Session> sessions_;
    resp::ArgumentList arguments_;
    std::vector<uint32_t> key_indexes_;
    std::vector<uint8_t> value_copy_;      // a large value read from another worker's partition
    std::vector<io::SessionIndex> retry_;  // sessions stalled on a worker-wide resource
    std::vector<io::SessionIndex> retry_now_;
    std::vector<uint64_t> queued_;  // request ids whose event found the ring full, in order
    size_t queued_next_ = 0;
    std::string scratch_;  // error texts
    std::string mget_reply_;
    std::string local_reply_;
    std::string listen_;  // "address:port" of this appliance
    std::string standalone_reply_;
};

// The shortest way of the most frequent request: staged in one go. Returns its bytes; 0: not that,
// or it cannot be staged now. REQUIRES: the session's parser is at the start of a command.
[[gnu::always_inline]] inline size_t Worker::take_short_get(io::SessionIndex index,
                                                            const Session& session,
                                                            std::string_view bytes) noexcept {
    resp::ShortGet get;
    if (!session.plain || !short_gets_allowed_ || !resp::parse_short_get(bytes, get)) return 0;
    if (session.lane_group > LaneGroup::kTracked || congested()) return 0;
    stage(index, get.key);
    counters_.add(stats::Counter::requests);
    return get.consumed;
}

}  // namespace cachee::dataplane
