// SPDX-License-Identifier: Apache-2.0
// What COMMAND of Valkey 8.0 says, as constants: the generated rows and their types. Private to
// command_table.cc and command_reply.cc. No routes here (command_routes.h). Immutable, any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "resp/command_table.h"

namespace cachee::resp {

// Flags that only the COMMAND reply needs, behind those of CommandFlags.
inline constexpr uint32_t kCmdDenyOom = 1 << 16;
inline constexpr uint32_t kCmdLoading = 1 << 17;
inline constexpr uint32_t kCmdStale = 1 << 18;
inline constexpr uint32_t kCmdSkipMonitor = 1 << 19;
inline constexpr uint32_t kCmdSkipSlowlog = 1 << 20;
inline constexpr uint32_t kCmdAsking = 1 << 21;
inline constexpr uint32_t kCmdNoAuth = 1 << 22;
inline constexpr uint32_t kCmdNoMandatoryKeys = 1 << 23;
inline constexpr uint32_t kCmdNoAsyncLoading = 1 << 24;
inline constexpr uint32_t kCmdNoMulti = 1 << 25;
inline constexpr uint32_t kCmdAllowBusy = 1 << 26;

struct FlagName {
    uint32_t flag;
    std::string_view name;
};
inline constexpr FlagName kFlagNames[] = {
    {kCmdWrite, "write"},
    {kCmdReadonly, "readonly"},
    {kCmdDenyOom, "denyoom"},
    {kCmdAdmin, "admin"},
    {kCmdPubsub, "pubsub"},
    {kCmdNoscript, "noscript"},
    {kCmdBlocking, "blocking"},
    {kCmdLoading, "loading"},
    {kCmdStale, "stale"},
    {kCmdSkipMonitor, "skip_monitor"},
    {kCmdSkipSlowlog, "skip_slowlog"},
    {kCmdAsking, "asking"},
    {kCmdFast, "fast"},
    {kCmdNoAuth, "no_auth"},
    {kCmdNoMandatoryKeys, "no_mandatory_keys"},
    {kCmdMovableKeys, "movablekeys"},
    {kCmdNoAsyncLoading, "no_async_loading"},
    {kCmdNoMulti, "no_multi"},
    {kCmdAllowBusy, "allow_busy"},
};

// Where some keys of a command are: redis.io/docs/reference/key-specs.
struct KeySpec {
    enum class Begin : uint8_t { kUnknown, kIndex, kKeyword };
    enum class Find : uint8_t { kUnknown, kRange, kKeynum };

    std::string_view flags;  // "RO access"
    std::string_view notes;
    Begin begin = Begin::kUnknown;
    int16_t index = 0;         // kIndex: of the argument; kKeyword: where the search starts
    std::string_view keyword;  // kKeyword, upper case
    Find find = Find::kUnknown;
    int16_t values[3] =
        {};  // kRange: lastkey, keystep, limit; kKeynum: keynumidx, firstkey, keystep
};

struct CommandData {
    std::string_view name;
    int16_t arity;
    int16_t first_key;
    int16_t last_key;
    int16_t key_step;
    uint32_t flags;
    std::string_view acl_categories;  // "@read @string"
    std::string_view tips;            // "request_policy:multi_shard response_policy:agg_sum"
    uint16_t first_spec;              // in kKeySpecs
    uint16_t specs;
};

#include "resp/command_data.inc"

inline constexpr size_t kCommandCount = sizeof(kCommands) / sizeof(kCommands[0]);

// The row of an entry of the table; nullptr for any other CommandInfo.
const CommandData* command_data(const CommandInfo& command) noexcept;
// Every entry, in the order of kCommands.
const CommandInfo& command_at(size_t index) noexcept;
// The entry of this very name ("get", "config|get"), any case; nullptr: none.
const CommandInfo* find_command_named(std::string_view name) noexcept;

}  // namespace cachee::resp
