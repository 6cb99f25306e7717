// SPDX-License-Identifier: Apache-2.0
// The command table: rows of command_data.inc and routes of command_routes.h, joined and hashed at
// compile time. Lookups: hot path, no allocation. Not here: replies made from the table
// (command_reply.cc).
//
//   kSlots: open addressing over the folded name, at most half full, a probe stops at an empty slot
//   [ 0 | 17 | 0 | 203 | ... ]   17 means kInfos[16]; 0 is empty
#include "resp/command_table.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>

#include "resp/command_data.h"
#include "resp/command_routes.h"

namespace cachee::resp {
namespace {

// Names that are no commands of Valkey and yet must not reach it.
constexpr std::string_view kExtraNames[] = {"post", "host:"};
constexpr size_t kInfoCount = kCommandCount + std::size(kExtraNames);
constexpr size_t kSlotCount = 1024;
static_assert(2 * kInfoCount <= kSlotCount);

constexpr char fold(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

bool equal_folded(std::string_view name, std::string_view lower) noexcept {
    if (name.size() != lower.size()) {
        return false;
    }
    for (size_t i = 0; i < name.size(); ++i) {
        if (fold(name[i]) != lower[i]) {
            return false;
        }
    }
    return true;
}

// FNV-1a with bit 5 set in every byte: folds case for letters, and mixes up a few other bytes,
// which the comparison tells apart.
constexpr uint32_t kHashStart = 2166136261U;
constexpr uint32_t hash_more(uint32_t hash, std::string_view text) noexcept {
    for (const char c : text) {
        hash = (hash ^ static_cast<uint8_t>(c | 0x20)) * 16777619U;
    }
    return hash;
}
constexpr size_t slot_of(uint32_t hash) noexcept { return (hash ^ (hash >> 15)) % kSlotCount; }

// --- the table, at compile time ---

constexpr size_t routed_names() {
    size_t names = 0;
    for (const RouteGroup& group : kRouteGroups) {
        names += 1 + static_cast<size_t>(std::count(group.names.begin(), group.names.end(), ' '));
    }
    return names;
}

struct RoutedName {
    std::string_view name;
    Route route = Route::kFenced;
};

constexpr std::array<RoutedName, routed_names()> split_routes() {
    std::array<RoutedName, routed_names()> names{};
    size_t count = 0;
    for (const RouteGroup& group : kRouteGroups) {
        const char* at = group.names.data();
        const char* const end = at + group.names.size();
        for (;;) {
            const char* const space = std::find(at, end, ' ');
            names[count++] = {{at, static_cast<size_t>(space - at)}, group.route};
            if (space == end) {
                break;
            }
            at = space + 1;
        }
    }
    return names;
}
constexpr auto kRoutedNames = split_routes();

constexpr size_t routes_of(std::string_view name, Route& route) {
    size_t found = 0;
    for (const RoutedName& routed : kRoutedNames) {
        if (routed.name.size() == name.size() && routed.name == name) {
            route = routed.route;
            ++found;
        }
    }
    return found;
}

struct Table {
    std::array<CommandInfo, kInfoCount> infos{};
    std::array<uint16_t, kSlotCount> slots{};
    std::array<bool, kInfoCount> containers{};
    size_t own_routes = 0;     // entries with a route of their own
    size_t without_route = 0;  // neither own nor the container's
    size_t twice_routed = 0;
};

constexpr Table make_table() {
    Table table;
    for (size_t i = 0; i < kInfoCount; ++i) {
        CommandInfo& info = table.infos[i];
        if (i < kCommandCount) {
            const CommandData& data = kCommands[i];
            info = {data.name,     data.arity,    data.flags,    data.first_key,
                    data.last_key, data.key_step, Route::kFenced};
        } else {
            info.name = kExtraNames[i - kCommandCount];
            info.arity = -1;
        }
        size_t found = routes_of(info.name, info.route);
        table.own_routes += found > 0;
        table.twice_routed += found > 1;
        const size_t bar = info.name.find('|');
        if (bar != std::string_view::npos) {
            // Rows are in order: the container is in front of its subcommands.
            for (size_t j = i; j-- > 0;) {
                if (table.infos[j].name == info.name.substr(0, bar)) {
                    table.containers[j] = true;
                    break;
                }
            }
        }
        if (found == 0 && bar != std::string_view::npos) {
            found = routes_of(info.name.substr(0, bar), info.route);
        }
        table.without_route += found == 0;
        size_t slot = slot_of(hash_more(kHashStart, info.name));
        while (table.slots[slot] != 0) {
            slot = (slot + 1) % kSlotCount;
        }
        table.slots[slot] = static_cast<uint16_t>(i + 1);
    }
    return table;
}

constexpr Table kTable = make_table();
static_assert(kTable.without_route == 0, "a command has no route in command_routes.h");
static_assert(kTable.twice_routed == 0, "a command has two routes in command_routes.h");
static_assert(kTable.own_routes == routed_names(), "command_routes.h names an unknown command");

template <typename Equal>
const CommandInfo* probe(uint32_t hash, Equal equal) noexcept {
    for (size_t slot = slot_of(hash); kTable.slots[slot] != 0; slot = (slot + 1) % kSlotCount) {
        const CommandInfo& info = kTable.infos[kTable.slots[slot] - 1U];
        if (equal(info.name)) {
            return &info;
        }
    }
    return nullptr;
}

// --- keys ---

bool parse_count(std::string_view text, int64_t& value) noexcept {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size();
}

// Index of the first argument that is `keyword`, looked for as the key specification says; 0: none.
size_t find_keyword(const KeySpec& spec, std::span<const std::string_view> arguments) noexcept {
    const auto count = static_cast<int64_t>(arguments.size());
    const int64_t step = spec.index < 0 ? -1 : 1;
    int64_t at = spec.index < 0 ? count + spec.index : spec.index;
    for (; at >= 1 && at < count; at += step) {
        if (arguments[static_cast<size_t>(at)].size() == spec.keyword.size() &&
            std::equal(spec.keyword.begin(), spec.keyword.end(),
                       arguments[static_cast<size_t>(at)].begin(),
                       [](char a, char b) { return fold(a) == fold(b); })) {
            return static_cast<size_t>(at);
        }
    }
    return 0;
}

enum class Found : uint8_t { kKeys, kNone, kInvalid };

// Appends first, first + step, ... up to last; kInvalid when that does not fit the arguments.
Found append_range(int64_t first, int64_t last, int64_t step, size_t count,
                   std::vector<uint32_t>& indexes) {
    if (first < 1 || step < 1 || last < first || last >= static_cast<int64_t>(count)) {
        return Found::kInvalid;
    }
    for (int64_t at = first; at <= last; at += step) {
        indexes.push_back(static_cast<uint32_t>(at));
    }
    return Found::kKeys;
}

Found apply_spec(const KeySpec& spec, std::span<const std::string_view> arguments,
                 std::vector<uint32_t>& indexes) {
    const auto count = static_cast<int64_t>(arguments.size());
    int64_t first = spec.index;
    if (spec.begin == KeySpec::Begin::kKeyword) {
        const size_t keyword = find_keyword(spec, arguments);
        if (keyword == 0) {
            return Found::kNone;
        }
        first = static_cast<int64_t>(keyword) + 1;
    }
    if (spec.find == KeySpec::Find::kRange) {
        int64_t last = first + spec.values[0];
        if (spec.values[0] < 0) {
            // limit 2: the keys are the first half of what is left, as in XREAD STREAMS.
            last = spec.values[2] > 1 ? first + (count - first) / spec.values[2] - 1
                                      : count + spec.values[0];
        }
        return append_range(first, last, spec.values[1], arguments.size(), indexes);
    }
    int64_t keys = 0;
    const int64_t number_at = first + spec.values[0];
    if (number_at >= count || !parse_count(arguments[static_cast<size_t>(number_at)], keys) ||
        keys < 0 || keys > count) {
        return Found::kInvalid;
    }
    if (keys == 0) {
        return Found::kNone;  // EVAL without keys
    }
    first += spec.values[1];
    return append_range(first, first + (keys - 1) * spec.values[2], spec.values[2],
                        arguments.size(), indexes);
}

// SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] ... [STORE destination]: the last
// STORE counts, and the operands of the other options are skipped.
bool append_sort_store(std::span<const std::string_view> arguments,
                       std::vector<uint32_t>& indexes) {
    uint32_t store = 0;
    for (size_t i = 2; i < arguments.size(); ++i) {
        if (equal_folded(arguments[i], "limit")) {
            i += 2;
        } else if (equal_folded(arguments[i], "get") || equal_folded(arguments[i], "by")) {
            i += 1;
        } else if (equal_folded(arguments[i], "store") && i + 1 < arguments.size()) {
            store = static_cast<uint32_t>(++i);
        }
    }
    if (store != 0) {
        indexes.push_back(store);
    }
    return true;
}

// MIGRATE host port key|"" db timeout [...] [AUTH x | AUTH2 u p] [KEYS key ...]
bool append_migrate(std::span<const std::string_view> arguments, std::vector<uint32_t>& indexes) {
    for (size_t i = 6; i < arguments.size(); ++i) {
        if (equal_folded(arguments[i], "auth")) {
            i += 1;
        } else if (equal_folded(arguments[i], "auth2")) {
            i += 2;
        } else if (equal_folded(arguments[i], "keys")) {
            return arguments[3].empty() &&
                   append_range(static_cast<int64_t>(i) + 1,
                                static_cast<int64_t>(arguments.size()) - 1, 1, arguments.size(),
                                indexes) == Found::kKeys;
        }
    }
    indexes.push_back(3);
    return true;
}

}  // namespace

const CommandInfo* find_command(std::span<const std::string_view> arguments) noexcept {
    if (arguments.empty()) {
        return nullptr;
    }
    const std::string_view name = arguments[0];
    if (name.size() > 32) {
        return nullptr;
    }
    const uint32_t hash = hash_more(kHashStart, name);
    const CommandInfo* command =
        probe(hash, [name](std::string_view lower) { return equal_folded(name, lower); });
    if (command == nullptr || arguments.size() < 2 ||
        !(kTable.containers[static_cast<size_t>(command - kTable.infos.data())])) {
        return command;
    }
    const std::string_view sub = arguments[1];
    if (sub.size() > 32) {
        return command;
    }
    const CommandInfo* subcommand =
        probe(hash_more(hash_more(hash, "|"), sub), [name, sub](std::string_view lower) {
            return lower.size() == name.size() + 1 + sub.size() && lower[name.size()] == '|' &&
                   equal_folded(name, lower.substr(0, name.size())) &&
                   equal_folded(sub, lower.substr(name.size() + 1));
        });
    return subcommand != nullptr ? subcommand : command;
}

const CommandInfo* find_command_named(std::string_view name) noexcept {
    return probe(hash_more(kHashStart, name),
                 [name](std::string_view lower) { return equal_folded(name, lower); });
}

const CommandInfo& command_at(size_t index) noexcept { return kTable.infos[index]; }

const CommandData* command_data(const CommandInfo& command) noexcept {
    const CommandInfo* const first = kTable.infos.data();
    const std::less<const CommandInfo*> before;
    if (before(&command, first) || !before(&command, first + kCommandCount)) {
        return nullptr;
    }
    return &kCommands[&command - first];
}

bool arity_fits(const CommandInfo& command, size_t arguments) noexcept {
    const int64_t count = static_cast<int64_t>(arguments);
    return command.arity >= 0 ? count == command.arity : count >= -command.arity;
}

bool needs_pinning(const CommandInfo& command,
                   std::span<const std::string_view> arguments) noexcept {
    if (command.route == Route::kPinned) {
        return true;
    }
    if ((command.flags & kCmdBlocking) == 0) {
        return false;
    }
    // XREAD, XREADGROUP. Whatever follows STREAMS is a key or an id, even when it reads BLOCK; and
    // the group and consumer of "GROUP group consumer" may be called so too.
    for (size_t i = 1; i < arguments.size(); ++i) {
        if (equal_folded(arguments[i], "group")) {
            i += 2;
        } else if (equal_folded(arguments[i], "block")) {
            return true;
        } else if (equal_folded(arguments[i], "streams")) {
            return false;
        }
    }
    return false;
}

bool command_keys(const CommandInfo& command, std::span<const std::string_view> arguments,
                  std::vector<uint32_t>& indexes) {
    if (!arity_fits(command, arguments.size())) {
        return false;
    }
    const CommandData* data = command_data(command);
    const size_t before = indexes.size();
    const auto give_up = [&indexes, before] {
        indexes.resize(before);
        return false;
    };
    if (data == nullptr || (command.flags & kCmdMovableKeys) == 0) {
        if (command.first_key == 0) {
            return true;
        }
        const int64_t last = command.last_key < 0
                                 ? static_cast<int64_t>(arguments.size()) + command.last_key
                                 : command.last_key;
        return append_range(command.first_key, last, command.key_step, arguments.size(), indexes) ==
                       Found::kKeys
                   ? true
                   : give_up();
    }
    if (command.name == "migrate") {
        return append_migrate(arguments, indexes) ? true : give_up();
    }
    for (uint16_t i = 0; i < data->specs; ++i) {
        const KeySpec& spec = kKeySpecs[data->first_spec + i];
        if (spec.begin != KeySpec::Begin::kUnknown &&
            apply_spec(spec, arguments, indexes) == Found::kInvalid) {
            return give_up();
        }
    }
    return command.name == "sort" ? append_sort_store(arguments, indexes) : true;
}

}  // namespace cachee::resp
