// SPDX-License-Identifier: Apache-2.0
// One client of a replay: owns a share of the trace's keys and runs their requests in order on its
// own thread and connections. Not the report: the command adds the clients up when their threads
// ended.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "tools/cachee/redis_link.h"
#include "tools/cachee/replay.h"

namespace cachee::cli {

// Shared by the clients and the thread that shows the progress.
struct ReplayShared {
    std::atomic<uint64_t> done{0};      // requests, or keys while L2 is populated
    std::atomic<bool> stop{false};      // time is up, or another client gave up
    std::atomic<uint64_t> ended_ns{0};  // when the last client was done
};

class ReplayClient {
  public:
    // `options` and `shared` outlive the client.
    ReplayClient(const ReplayOptions& options, HostPort target, const HostPort* l2,
                 ReplayShared& shared);

    void add(const TraceRecord& record) { records_.push_back(record); }

    base::Status connect();
    // Sets in L2, directly, each key whose first request is a read. Returns their number.
    base::Result<uint64_t> populate();
    // The requests, until the end or shared.stop. An error: the connection is lost for good.
    base::Status run();

    const ReplayCounts& counts() const { return counts_; }
    std::vector<uint32_t>& target_reads() { return target_reads_; }
    std::vector<uint32_t>& target_writes() { return target_writes_; }
    std::vector<uint32_t>& l2_reads() { return l2_reads_; }

  private:
    // A command in flight on the target and what its reply must be.
    struct Pending {
        const TraceRecord* record;
        std::string key;
        KeyState before;  // a read is judged by this
        bool is_refill = false;
    };

    size_t build_batch(size_t from);
    void send_target(Pending& pending);
    base::Status read_target_batch();
    base::Status refill();
    base::Status read_l2_batch();
    void take_read_reply(Pending& pending, const Reply& reply, uint64_t sent_ms,
                         uint64_t received_ms);
    void note_judgement(const Judgement& judgement, const Pending& pending, const char* where);
    void apply_write(KeyState& state, const TraceRecord& record, uint64_t now_ms);
    void send_set(RedisLink& link, std::string_view key, const KeyState& state, uint32_t ttl_s,
                  uint64_t key_number);
    uint32_t value_bytes(const TraceRecord& record);
    uint64_t ttl_ms(uint32_t ttl_s) const;
    base::Status reconnect(RedisLink& link, const std::string& why);
    std::string key_of(const TraceRecord& record) const;

    const ReplayOptions& options_;
    ReplayShared& shared_;
    RedisLink target_;
    std::unique_ptr<RedisLink> l2_;
    bool is_lazy_;  // a read that finds nothing is followed by a SET

    std::vector<TraceRecord> records_;
    std::unordered_map<uint64_t, KeyState> states_;
    std::vector<Pending> batch_;
    std::vector<Pending> refills_;
    std::string value_;

    ReplayCounts counts_;
    std::vector<uint32_t> target_reads_, target_writes_, l2_reads_;
};

}  // namespace cachee::cli
