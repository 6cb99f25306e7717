// SPDX-License-Identifier: Apache-2.0
// What cachee knows of each command: arity, flags, where its keys are, and which way it goes.
// A built-in table (Valkey 8.0, Redis 7.0); immutable, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace cachee::resp {

enum CommandFlags : uint32_t {
    kCmdWrite = 1 << 0,
    kCmdReadonly = 1 << 1,
    kCmdBlocking = 1 << 2,
    kCmdPubsub = 1 << 3,
    kCmdAdmin = 1 << 4,
    kCmdNoscript = 1 << 5,
    kCmdMovableKeys = 1 << 6,  // keys are not at fixed places: see command_keys()
    kCmdNondeterministic = 1 << 7,
    kCmdFast = 1 << 8,
};

// Where a command goes.
enum class Route : uint8_t {
    kLocal,    // answered by cachee itself: HELLO, PING, ECHO, QUIT, AUTH, CLIENT, COMMAND, INFO,
               // CONFIG, RESET (an unpinned session)
    kRead,     // GET and MGET: from L1, else fetched
    kTracked,  // on the tracking connection (shm::Lane::kTracked): declared keys, and a reply that
               // has the same shape in RESP2 and RESP3 (status, integer, bulk, null, error): SET,
               // DEL, INCR ...
    kPass,     // shared connection of the session's protocol; keys declared or none touched
    kFenced,   // may write keys that it does not declare (EVAL, FCALL, FLUSHALL, unknown commands
               // ...)
    kPinned,  // makes a session stateful in L2: MULTI, WATCH, SELECT, SUBSCRIBE, blocking commands,
              // MONITOR, WAIT, CLIENT TRACKING/REPLY/NO-EVICT..., SCRIPT DEBUG ...
    kForbidden,  // would break the appliance or its L2 for everybody: SHUTDOWN, REPLICAOF, DEBUG,
                 // FAILOVER, SYNC, PSYNC, MIGRATE to itself ...: refused with an error that says so
};

struct CommandInfo {
    std::string_view name;  // lower case; subcommands as "config|get"
    int16_t arity = 0;      // as COMMAND gives it: negative means at least
    uint32_t flags = 0;
    int16_t first_key = 0;  // 0: none
    int16_t last_key = 0;   // negative: from the end
    int16_t key_step = 0;
    Route route = Route::kFenced;
};

// Case-insensitive; nullptr for a command that the table does not have (then: route kFenced, let L2
// judge). For a container command ("CONFIG", "CLIENT") the entry of its subcommand when
// arguments[1] names one, else the container's own. "POST" and "Host:" are entries too
// (kForbidden): L2 closes the connection that brings them. Cost: one hash of the name; REQUIRES:
// arguments is not empty.
const CommandInfo* find_command(std::span<const std::string_view> arguments) noexcept;

// True when the number of arguments fits the arity.
bool arity_fits(const CommandInfo& command, size_t arguments) noexcept;

// True when the session must have its own L2 connection from this command on: route kPinned, or
// XREAD and XREADGROUP with BLOCK (whose route is kPass without it).
bool needs_pinning(const CommandInfo& command,
                   std::span<const std::string_view> arguments) noexcept;

// Appends the indexes of the arguments that are keys; handles EVAL/FCALL's numkeys, ZUNION and
// friends, XREAD STREAMS, SORT STORE, GEORADIUS STORE, MIGRATE KEYS. False when they cannot be
// told.
bool command_keys(const CommandInfo& command, std::span<const std::string_view> arguments,
                  std::vector<uint32_t>& indexes);

}  // namespace cachee::resp
