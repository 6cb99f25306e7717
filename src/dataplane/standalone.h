// SPDX-License-Identifier: Apache-2.0
// The cache server that cachee is when no L2 is configured: what each command does to one L1
// partition, with Valkey 8.0's replies and error texts. Strings only: a command that it does not
// have is an unknown command. It knows no session, no ring and no other partition: the worker finds
// the owner with spread_of(), calls the owner's Standalone and joins the parts. Data plane, owner
// thread of the partition.
//
// Not Valkey, and it shows: the cache evicts, so a key may be gone before its time; a write that
// found no memory (-OOM) leaves the key absent; with ttl_max_ms every key has a time-to-live and
// TTL tells it; nothing lives longer than L1's clock reaches (34 years after boot); MSET is one put
// per pair (not atomic against other workers, and the pairs before one that L1 could not take
// stay); FLUSHALL ASYNC is SYNC; keys are at most 65,534 bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "l1/partition.h"
#include "resp/encoder.h"

namespace cachee::dataplane {

// How a command relates to partitions. With a single partition all but the first word is moot:
// execute() takes every command whole.
enum class Spread : uint8_t {
    kOneKey,     // execute() at the owner of args[1]
    kSumPerKey,  // DEL, UNLINK, EXISTS, TOUCH: execute() {name, key} for each key of args[1..] at
                 // its owner (or count_key()), reply the sum of the integers
    kOkPerPair,  // MSET: execute() {name, key, value} per pair at the key's owner, then the first
                 // error reply if there was one, else +OK
    kReadAnywhere,  // GET, MGET: no write; the worker may read any partition itself
                    // (Partition::find), or execute() {"GET", key} for each key at its owner behind
                    // an array header
    kAllPartitionsSum,  // DBSIZE: execute() at every partition, reply the sum
    kAllPartitionsOk,   // FLUSHALL, FLUSHDB: execute() at every partition, then +OK
    kNoKey,    // wrong number of arguments or a bad option of a command that is spread: execute()
               // at any partition, which answers with the error and touches nothing
    kUnknown,  // no such command: as kNoKey
};

// REQUIRES: !args.empty(). Any thread; no allocation. A command with the wrong number of arguments
// is kNoKey, so that args[1] exists whenever the answer names a key.
Spread spread_of(std::span<const std::string_view> args) noexcept;

struct StandaloneOptions {
    uint64_t hash_seed = 0;               // of the instance (ControlHeader::hash_seed)
    uint32_t generation = 1;              // constant: without L2 nothing becomes untrusted
    uint64_t ttl_max_ms = 0;              // config l1.ttl_max_ms; 0: none
    uint64_t bulk_bytes_max = 512 << 20;  // config limits.bulk_bytes_max
};

class Standalone {
  public:
    // Borrows `partition` for its whole life.
    Standalone(l1::Partition& partition, const StandaloneOptions& options)
        : partition_(partition), options_(options) {}

    // Executes one command on this partition and appends exactly one reply. Keys that another
    // partition owns must not be in `args` (see Spread). Owner thread only. Allocates when `out` or
    // the scratch string (read-modify-write commands) grows beyond what it has held before.
    // REQUIRES: !args.empty(). `args` must not point into `out`.
    // now_ms: monotonic, judges expiry; wall_ms: Unix time, for EXPIREAT and friends only.
    void execute(std::span<const std::string_view> args, resp::Protocol protocol, uint64_t now_ms,
                 uint64_t wall_ms, std::string& out);

    // One key's part of a kSumPerKey command, without a reply to parse: 0 or 1. Owner thread only.
    // REQUIRES: spread_of({name, key}) == Spread::kSumPerKey.
    int64_t count_key(std::string_view name, std::string_view key, uint64_t now_ms) noexcept;

  private:
    l1::Partition& partition_;
    const StandaloneOptions options_;
    // wall_ms - now_ms of the first command, moved only when the clocks part by more than a
    // millisecond: the two are truncated apart from each other, and PEXPIRETIME has to give back
    // what PEXPIREAT was given.
    int64_t wall_offset_ms_ = 0;
    bool wall_offset_known_ = false;
    uint32_t reads_ = 0;   // hits, to tell the eviction policy of a sample of them
    std::string scratch_;  // the new value of a read-modify-write command
};

}  // namespace cachee::dataplane
