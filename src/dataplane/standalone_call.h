// SPDX-License-Identifier: Apache-2.0
// One standalone command in execution: its arguments, its partition, its reply, and what all
// commands share (lookups, puts and their failures, numbers, times). Private to standalone*.cc: the
// worker uses standalone.h. Data plane, owner thread of the partition.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "dataplane/standalone.h"
#include "l1/partition.h"
#include "resp/encoder.h"

namespace cachee::dataplane {

inline constexpr uint32_t kTouchSample = 8;

inline constexpr std::string_view kErrorSyntax = "ERR syntax error";
inline constexpr std::string_view kErrorNotAnInteger =
    "ERR value is not an integer or out of range";

// As string2ll of Valkey: canonical decimal only (no sign but '-', no leading zeros, no "-0").
std::optional<int64_t> parse_int64(std::string_view text) noexcept;
// Without case; `lower` is lower case.
bool equals_ignoring_case(std::string_view text, std::string_view lower) noexcept;
// Up to the first NUL: how Valkey reads options and prints arguments.
std::string_view c_string(std::string_view text) noexcept;

struct Entry {
    bool found = false;
    uint64_t hash = 0;
    std::string_view value;    // in L1 memory: valid until the next write to the partition
    uint64_t deadline_ms = 0;  // monotonic; 0: none
};

class Call {
  public:
    l1::Partition& partition;
    const StandaloneOptions& options;
    std::span<const std::string_view> args;
    std::string_view name;  // canonical, as error texts print it
    uint64_t now_ms;        // monotonic
    int64_t wall_ms;        // Unix time
    std::string& out;
    std::string& scratch;
    uint32_t& reads;
    resp::Writer reply;

    // --- lookups ---

    Entry find(std::string_view key) const noexcept;
    // As find(), and one hit in kTouchSample counts for the eviction policy: counting writes to L1.
    Entry read(std::string_view key) const noexcept;

    // --- writes: on failure they have replied with the error and return false ---

    // False when a value of that size can never be stored under the key; before it is built.
    bool value_fits(std::string_view key, uint64_t value_bytes);
    // `value` must not be in L1 memory. deadline_ms 0: none. Without memory the key is gone
    // afterwards; a value that is too large leaves it as it was.
    bool put(uint64_t hash, std::string_view key, std::string_view value, uint64_t deadline_ms);

    // In place. REQUIRES: entry.found. 0: none.
    void change_deadline(std::string_view key, const Entry& entry, uint64_t deadline_ms);

    // --- times ---

    // As the cap in the configuration allows. 0: none.
    uint64_t capped(uint64_t deadline_ms) const noexcept {
        if (options.ttl_max_ms == 0) {
            return deadline_ms;
        }
        const uint64_t latest = now_ms + options.ttl_max_ms;
        return deadline_ms == 0 || deadline_ms > latest ? latest : deadline_ms;
    }
    // Milliseconds of Unix time to a deadline. REQUIRES: when_ms > wall_ms.
    uint64_t deadline_of(int64_t when_ms) const noexcept {
        return now_ms + (static_cast<uint64_t>(when_ms) - static_cast<uint64_t>(wall_ms));
    }
    // REQUIRES: deadline_ms != 0.
    int64_t when_of(uint64_t deadline_ms) const noexcept {
        return wall_ms + static_cast<int64_t>(deadline_ms - now_ms);
    }

    // --- replies ---

    void ok() { reply.simple("OK"); }
    void bulk_or_null(const Entry& entry) {
        if (entry.found) {
            reply.bulk(entry.value);
        } else {
            reply.null();
        }
    }
    // "ERR " + text, with line ends trimmed or blanked as Valkey does for texts from a client.
    void error_with_text(std::string_view text);
    void error_arity();
    void error_expire_time();
    void error_too_large();
    // The argument as an integer, or nothing after the error reply.
    std::optional<int64_t> integer_argument(size_t index);
};

// The commands. Each appends exactly one reply; the arity was checked.
namespace commands {
void get(Call& call);
void mget(Call& call);
void set(Call& call);
void setnx(Call& call);
void setex(Call& call);
void psetex(Call& call);
void getset(Call& call);
void getdel(Call& call);
void getex(Call& call);
void mset(Call& call);
void append(Call& call);
void strlen(Call& call);
void getrange(Call& call);
void setrange(Call& call);
void incr(Call& call);
void decr(Call& call);
void incrby(Call& call);
void decrby(Call& call);
void incrbyfloat(Call& call);

void del(Call& call);
void exists(Call& call);
void touch(Call& call);
void type(Call& call);
void expire(Call& call);
void pexpire(Call& call);
void expireat(Call& call);
void pexpireat(Call& call);
void ttl(Call& call);
void pttl(Call& call);
void expiretime(Call& call);
void pexpiretime(Call& call);
void persist(Call& call);
void dbsize(Call& call);
void flush(Call& call);
}  // namespace commands

}  // namespace cachee::dataplane
