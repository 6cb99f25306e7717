// SPDX-License-Identifier: Apache-2.0
// `cachee replay`: sends the requests of a trace to a target as fast as the clients get answers
// (the trace's clock is not reproduced), optionally the same reads to L2 directly, turn by turn,
// and checks every value. These are the parts; replay_command.cc puts them together.
//
// Values are a function of (key, version, seed, size): a read can be judged without keeping values.
// Each key belongs to one client, which alone reads and writes it and so knows which version must
// come back.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tools/cachee/trace.h"

namespace cachee::cli {

struct ReplayOptions {
    std::string file;
    std::string target;  // host:port
    std::string
        through_l2;  // host:port of L2 itself; empty: no comparison, keys appear as they are missed
    std::string format = "auto";  // auto, csv, oracle
    std::string instance;         // whose counters give the L1 hit ratio; empty: INFO of the target
    std::string key_prefix;       // before every key
    uint64_t limit = 1'000'000;   // requests; 0: the whole trace
    uint32_t clients = 4;         // threads, a connection each (two with through_l2)
    uint32_t pipeline = 1;        // commands in flight per connection
    uint32_t value_bytes_max = 65536;     // larger values are cut to this
    uint32_t value_bytes_unknown = 1024;  // where the trace says 0
    double ttl_scale = 1;  // replay is faster than the trace's clock: shortens its TTLs
    uint64_t seed = 1;
    double seconds = 300;  // the replay proper ends after this
    bool verify = false;
    bool cache_aside = false;  // do not populate L2 first: set what a read does not find
    bool json = false;
};
int run_replay(const ReplayOptions& options);

// --- keys and values
// ------------------------------------------------------------------------------

inline constexpr uint32_t kKeyBytesMax = 1024;
// Values of at least this size name their key, version and seed, so that an old one can be told
// from a damaged one.
inline constexpr uint32_t kValueHeaderBytes = 16;

// The number as text, padded with '.' to key_bytes (never cut: two keys could become one).
std::string key_text(const std::string& prefix, uint64_t key, uint32_t key_bytes);

void derive_value(uint64_t key, uint32_t version, uint64_t seed, uint32_t size, std::string& out);

// The version of a value that derive_value() made for this key and seed; 0: it is none.
uint32_t version_of_value(std::string_view value, uint64_t key, uint64_t seed);

// --- what a key must be
// ---------------------------------------------------------------------------

enum class KeyKnowledge : uint8_t {
    kUnknown,  // left over from an earlier run, or a write whose reply was lost
    kPresent,
    kAbsent,
};

struct KeyState {
    KeyKnowledge knowledge = KeyKnowledge::kUnknown;
    uint32_t version = 0;  // of the last write; versions start at 1
    uint32_t value_bytes = 0;
    // It may be gone from `expires_low_ms` on and must be gone after `expires_high_ms` (monotonic);
    // the server's own deadline is between them. UINT64_MAX: never. An adopted value has low 0.
    uint64_t expires_low_ms = UINT64_MAX;
    uint64_t expires_high_ms = UINT64_MAX;
};

enum class Verdict : uint8_t {
    kGood,
    kGone,     // not there, which is right: deleted, expired or unknown
    kMissing,  // not there, but it should be
    kStale,    // an earlier version, a deleted key, or past its deadline
    kCorrupt,  // no value of this key
    kForeign,  // state unknown and not of this trace and seed: somebody else's key
    kAdopted,  // state unknown and a value of this trace and seed: `version` is it
};

struct Judgement {
    Verdict verdict = Verdict::kGood;
    uint32_t version = 0;  // of the value found, where it has one
};

// `value` is what a read sent at sent_ms brought back by received_ms; data() == nullptr: nothing.
Judgement judge(const KeyState& state, uint64_t key, uint64_t seed, std::string_view value,
                uint64_t sent_ms, uint64_t received_ms);

// --- figures
// --------------------------------------------------------------------------------------

// Nanoseconds; the order is not kept.
struct LatencySummary {
    uint64_t count = 0;
    uint64_t p50 = 0, p90 = 0, p99 = 0, p999 = 0, max = 0;
};
// Exact (nearest rank), sorts `samples`.
LatencySummary summarise(std::vector<uint32_t>& samples);

struct ReplayCounts {
    uint64_t reads = 0, found = 0, writes = 0, deletes = 0, refills = 0;
    uint64_t values_cut = 0;
    uint64_t good = 0, gone = 0, missing = 0, stale = 0, corrupt = 0, foreign = 0, adopted = 0;
    uint64_t l2_reads = 0, l2_found = 0;
    uint64_t errors = 0, reconnects = 0;
    uint64_t bytes_read = 0;
    uint64_t keys = 0;
    std::string first_error;  // an error reply, or a lost connection
    std::string first_wrong;  // the first value that was not what it must be

    uint64_t wrong() const { return missing + stale + corrupt; }
    void add(const ReplayCounts& other);
};

struct ReplayReport {
    ReplayCounts counts;
    LatencySummary target_reads, target_writes, l2_reads;
    uint64_t populated = 0;
    uint64_t requests = 0;        // sent
    uint64_t requests_asked = 0;  // in the trace, up to the limit
    double seconds = 0;
    double l1_hit_percent = -1;  // negative: not known
    std::string l1_hit_source;
};
std::string replay_text(const ReplayReport& report, const ReplayOptions& options);
std::string replay_json(const ReplayReport& report, const ReplayOptions& options);

}  // namespace cachee::cli
