// SPDX-License-Identifier: Apache-2.0
// Standalone commands that treat a key whatever it holds: deletion, existence, time-to-live, the
// whole keyspace. Rules and texts as in Valkey 8.0's expire.c and db.c. Data plane, owner thread.
#include <limits>

#include "dataplane/standalone_call.h"

namespace cachee::dataplane::commands {
namespace {

struct ExpireOptions {
    bool nx = false;
    bool xx = false;
    bool gt = false;
    bool lt = false;
};

// False after the error reply.
bool parse_expire_options(Call& call, ExpireOptions& options) {
    for (size_t i = 3; i < call.args.size(); ++i) {
        const std::string_view option = c_string(call.args[i]);
        if (equals_ignoring_case(option, "nx")) {
            options.nx = true;
        } else if (equals_ignoring_case(option, "xx")) {
            options.xx = true;
        } else if (equals_ignoring_case(option, "gt")) {
            options.gt = true;
        } else if (equals_ignoring_case(option, "lt")) {
            options.lt = true;
        } else {
            call.error_with_text("Unsupported option " + std::string(option));
            return false;
        }
    }
    if (options.nx && (options.xx || options.gt || options.lt)) {
        call.reply.error("ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if (options.gt && options.lt) {
        call.reply.error("ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

// A key without a deadline counts as one that lives for ever.
bool allowed(const ExpireOptions& options, bool has_deadline, int64_t current, int64_t when) {
    if (options.nx && has_deadline) {
        return false;
    }
    if (options.xx && !has_deadline) {
        return false;
    }
    if (options.gt && (!has_deadline || when <= current)) {
        return false;
    }
    return !(options.lt && has_deadline && when >= current);
}

void expire_generic(Call& call, int64_t base_ms, bool seconds) {
    ExpireOptions options;
    if (!parse_expire_options(call, options)) {
        return;
    }
    const std::optional<int64_t> argument = call.integer_argument(2);
    if (!argument) {
        return;
    }
    int64_t when = 0;
    if (__builtin_mul_overflow(*argument, seconds ? 1000 : 1, &when) ||
        __builtin_add_overflow(when, base_ms, &when)) {
        call.error_expire_time();
        return;
    }
    const std::string_view key = call.args[1];
    const Entry entry = call.find(key);
    if (!entry.found) {
        call.reply.integer(0);
        return;
    }
    const bool has_deadline = entry.deadline_ms != 0;
    const int64_t current = has_deadline ? call.when_of(entry.deadline_ms) : 0;
    if (!allowed(options, has_deadline, current, when)) {
        call.reply.integer(0);
        return;
    }
    if (when <= call.wall_ms) {
        call.partition.erase(entry.hash, key);
    } else {
        call.change_deadline(key, entry, call.deadline_of(when));
    }
    call.reply.integer(1);
}

void ttl_generic(Call& call, bool milliseconds, bool absolute) {
    const Entry entry = call.find(call.args[1]);
    if (!entry.found) {
        call.reply.integer(-2);
    } else if (entry.deadline_ms == 0) {
        call.reply.integer(-1);
    } else {
        const int64_t ms = absolute ? call.when_of(entry.deadline_ms)
                                    : static_cast<int64_t>(entry.deadline_ms - call.now_ms);
        // Seconds are rounded, not cut: Valkey does so.
        call.reply.integer(milliseconds ? ms : ms / 1000 + (ms % 1000 >= 500 ? 1 : 0));
    }
}

}  // namespace

void del(Call& call) {
    int64_t deleted = 0;
    for (const std::string_view key : call.args.subspan(1)) {
        const Entry entry = call.find(key);
        if (entry.found) {
            call.partition.erase(entry.hash, key);
            ++deleted;
        }
    }
    call.reply.integer(deleted);
}

void exists(Call& call) {
    int64_t found = 0;
    for (const std::string_view key : call.args.subspan(1)) {
        found += call.find(key).found ? 1 : 0;
    }
    call.reply.integer(found);
}

void touch(Call& call) {
    int64_t found = 0;
    for (const std::string_view key : call.args.subspan(1)) {
        found += call.read(key).found ? 1 : 0;
    }
    call.reply.integer(found);
}

void type(Call& call) { call.reply.simple(call.find(call.args[1]).found ? "string" : "none"); }

void expire(Call& call) { expire_generic(call, call.wall_ms, true); }
void pexpire(Call& call) { expire_generic(call, call.wall_ms, false); }
void expireat(Call& call) { expire_generic(call, 0, true); }
void pexpireat(Call& call) { expire_generic(call, 0, false); }

void ttl(Call& call) { ttl_generic(call, false, false); }
void pttl(Call& call) { ttl_generic(call, true, false); }
void expiretime(Call& call) { ttl_generic(call, false, true); }
void pexpiretime(Call& call) { ttl_generic(call, true, true); }

void persist(Call& call) {
    const Entry entry = call.find(call.args[1]);
    if (!entry.found || entry.deadline_ms == 0) {
        call.reply.integer(0);
        return;
    }
    call.change_deadline(call.args[1], entry, 0);
    call.reply.integer(1);
}

void dbsize(Call& call) { call.reply.integer(static_cast<int64_t>(call.partition.items())); }

void flush(Call& call) {
    if (spread_of(call.args) != Spread::kAllPartitionsOk) {
        call.reply.error(kErrorSyntax);
        return;
    }
    call.partition.clear();
    call.ok();
}

}  // namespace cachee::dataplane::commands
