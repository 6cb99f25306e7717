// SPDX-License-Identifier: Apache-2.0
// The table of standalone commands, their dispatch, and what they share. What each command does is
// in standalone_strings.cc and standalone_keys.cc. Data plane; spread_of() any thread, the rest
// owner thread.
#include "dataplane/standalone.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>

#include "dataplane/standalone_call.h"

namespace cachee::dataplane {
namespace {

using Handler = void (*)(Call&);

struct Command {
    std::string_view name;
    int arity;  // as COMMAND gives it: negative means at least
    Spread spread;
    Handler handler;
};

// Sorted by name.
constexpr auto kCommands = std::to_array<Command>({
    {"append", 3, Spread::kOneKey, commands::append},
    {"dbsize", 1, Spread::kAllPartitionsSum, commands::dbsize},
    {"decr", 2, Spread::kOneKey, commands::decr},
    {"decrby", 3, Spread::kOneKey, commands::decrby},
    {"del", -2, Spread::kSumPerKey, commands::del},
    {"exists", -2, Spread::kSumPerKey, commands::exists},
    {"expire", -3, Spread::kOneKey, commands::expire},
    {"expireat", -3, Spread::kOneKey, commands::expireat},
    {"expiretime", 2, Spread::kOneKey, commands::expiretime},
    {"flushall", -1, Spread::kAllPartitionsOk, commands::flush},
    {"flushdb", -1, Spread::kAllPartitionsOk, commands::flush},
    {"get", 2, Spread::kReadAnywhere, commands::get},
    {"getdel", 2, Spread::kOneKey, commands::getdel},
    {"getex", -2, Spread::kOneKey, commands::getex},
    {"getrange", 4, Spread::kOneKey, commands::getrange},
    {"getset", 3, Spread::kOneKey, commands::getset},
    {"incr", 2, Spread::kOneKey, commands::incr},
    {"incrby", 3, Spread::kOneKey, commands::incrby},
    {"incrbyfloat", 3, Spread::kOneKey, commands::incrbyfloat},
    {"mget", -2, Spread::kReadAnywhere, commands::mget},
    {"mset", -3, Spread::kOkPerPair, commands::mset},
    {"persist", 2, Spread::kOneKey, commands::persist},
    {"pexpire", -3, Spread::kOneKey, commands::pexpire},
    {"pexpireat", -3, Spread::kOneKey, commands::pexpireat},
    {"pexpiretime", 2, Spread::kOneKey, commands::pexpiretime},
    {"psetex", 4, Spread::kOneKey, commands::psetex},
    {"pttl", 2, Spread::kOneKey, commands::pttl},
    {"set", -3, Spread::kOneKey, commands::set},
    {"setex", 4, Spread::kOneKey, commands::setex},
    {"setnx", 3, Spread::kOneKey, commands::setnx},
    {"setrange", 4, Spread::kOneKey, commands::setrange},
    {"strlen", 2, Spread::kOneKey, commands::strlen},
    {"substr", 4, Spread::kOneKey, commands::getrange},
    {"touch", -2, Spread::kSumPerKey, commands::touch},
    {"ttl", 2, Spread::kOneKey, commands::ttl},
    {"type", 2, Spread::kOneKey, commands::type},
    {"unlink", -2, Spread::kSumPerKey, commands::del},
});
constexpr size_t kNameBytesMax = 16;

static_assert(std::is_sorted(kCommands.begin(), kCommands.end(),
                             [](const Command& a, const Command& b) { return a.name < b.name; }));
static_assert(std::all_of(kCommands.begin(), kCommands.end(),
                          [](const Command& c) { return c.name.size() <= kNameBytesMax; }));

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

const Command* find_command(std::string_view name) noexcept {
    if (name.size() > kNameBytesMax) {
        return nullptr;
    }
    char buffer[kNameBytesMax];
    std::transform(name.begin(), name.end(), buffer, lower);
    const std::string_view wanted(buffer, name.size());
    const auto* found = std::lower_bound(
        kCommands.begin(), kCommands.end(), wanted,
        [](const Command& command, std::string_view text) { return command.name < text; });
    return found != kCommands.end() && found->name == wanted ? found : nullptr;
}

bool arity_fits(const Command& command, size_t arguments) noexcept {
    const auto count = static_cast<int64_t>(arguments);
    return command.arity > 0 ? count == command.arity : count >= -command.arity;
}

[[gnu::cold]] void unknown_command(Call& call) {
    constexpr size_t kShown = 128;  // bytes of the name, and of all arguments together
    std::string shown;
    for (size_t i = 1; i < call.args.size() && shown.size() < kShown; ++i) {
        const size_t room = kShown - shown.size();
        shown.append("'").append(c_string(call.args[i]).substr(0, room)).append("' ");
    }
    std::string text = "ERR unknown command '";
    text.append(c_string(call.args[0]).substr(0, kShown))
        .append("', with args beginning with: ")
        .append(shown);
    call.reply.error(text);
}

}  // namespace

Spread spread_of(std::span<const std::string_view> args) noexcept {
    const Command* command = find_command(args[0]);
    if (command == nullptr) {
        return Spread::kUnknown;
    }
    if (!arity_fits(*command, args.size())) {
        return Spread::kNoKey;
    }
    if (command->spread == Spread::kOkPerPair && args.size() % 2 == 0) {
        return Spread::kNoKey;
    }
    if (command->spread == Spread::kAllPartitionsOk && args.size() > 1 &&
        (args.size() > 2 || (!equals_ignoring_case(c_string(args[1]), "async") &&
                             !equals_ignoring_case(c_string(args[1]), "sync")))) {
        return Spread::kNoKey;
    }
    return command->spread;
}

void Standalone::execute(std::span<const std::string_view> args, resp::Protocol protocol,
                         uint64_t now_ms, uint64_t wall_ms, std::string& out) {
    const auto offset = static_cast<int64_t>(wall_ms - now_ms);
    if (!wall_offset_known_ || std::abs(offset - wall_offset_ms_) > 1) {
        wall_offset_ms_ = offset;
        wall_offset_known_ = true;
    }
    const Command* command = find_command(args[0]);
    Call call{partition_, options_,
              args,       command == nullptr ? args[0] : command->name,
              now_ms,     static_cast<int64_t>(now_ms) + wall_offset_ms_,
              out,        scratch_,
              reads_,     resp::Writer(out, protocol)};
    if (command == nullptr) {
        unknown_command(call);
    } else if (!arity_fits(*command, args.size())) {
        call.error_arity();
    } else {
        command->handler(call);
    }
}

int64_t Standalone::count_key(std::string_view name, std::string_view key,
                              uint64_t now_ms) noexcept {
    const uint64_t hash = base::hash_key(key, options_.hash_seed);
    if (partition_.find(hash, key, now_ms, options_.generation).status != l1::FindStatus::kHit) {
        return 0;
    }
    if (equals_ignoring_case(name, "del") || equals_ignoring_case(name, "unlink")) {
        partition_.erase(hash, key);
    } else if (equals_ignoring_case(name, "touch") && ++reads_ % kTouchSample == 0) {
        partition_.touch(hash);
    }
    return 1;
}

// --- what commands share ---

std::optional<int64_t> parse_int64(std::string_view text) noexcept {
    if (text == "0") {
        return 0;
    }
    const size_t digits_at = !text.empty() && text[0] == '-' ? 1 : 0;
    if (text.size() <= digits_at || text[digits_at] < '1' || text[digits_at] > '9') {
        return std::nullopt;
    }
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

bool equals_ignoring_case(std::string_view text, std::string_view lower_text) noexcept {
    return text.size() == lower_text.size() &&
           std::equal(text.begin(), text.end(), lower_text.begin(),
                      [](char a, char b) { return lower(a) == b; });
}

std::string_view c_string(std::string_view text) noexcept {
    return text.substr(0, std::min(text.find('\0'), text.size()));
}

Entry Call::find(std::string_view key) const noexcept {
    Entry entry;
    entry.hash = base::hash_key(key, options.hash_seed);
    // kBusy cannot be: the only writer of the partition is this thread.
    const l1::Lookup lookup = partition.find(entry.hash, key, now_ms, options.generation);
    if (lookup.status == l1::FindStatus::kHit) {
        entry.found = true;
        entry.value = {reinterpret_cast<const char*>(lookup.value), lookup.value_bytes};
        entry.deadline_ms = lookup.deadline_ms;
    }
    return entry;
}

Entry Call::read(std::string_view key) const noexcept {
    const Entry entry = find(key);
    if (entry.found && ++reads % kTouchSample == 0) {
        partition.touch(entry.hash);
    }
    return entry;
}

bool Call::value_fits(std::string_view key, uint64_t value_bytes) {
    if (value_bytes > options.bulk_bytes_max) {
        reply.error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        return false;
    }
    if (key.size() > l1::kKeyBytesMax) {
        reply.error("ERR key exceeds the longest that this cache takes (" +
                    std::to_string(l1::kKeyBytesMax) + " bytes)");
        return false;
    }
    if (key.size() + value_bytes > partition.item_bytes_max()) {
        error_too_large();
        return false;
    }
    return true;
}

bool Call::put(uint64_t hash, std::string_view key, std::string_view value, uint64_t deadline_ms) {
    if (!value_fits(key, value.size())) {
        return false;
    }
    switch (partition.put(hash, key, value, capped(deadline_ms), options.generation, now_ms)) {
        case l1::PutStatus::kStored:
            return true;
        case l1::PutStatus::kTooLarge:
            error_too_large();
            return false;
        case l1::PutStatus::kNoMemory:
            break;
    }
    reply.error("OOM command not allowed when used memory > 'maxmemory'.");
    return false;
}

void Call::change_deadline(std::string_view key, const Entry& entry, uint64_t deadline_ms) {
    // In place: it cannot fail for a key that find() saw.
    partition.set_deadline(entry.hash, key, capped(deadline_ms));
}

void Call::error_too_large() {
    reply.error("ERR string exceeds the largest item that this cache takes (" +
                std::to_string(partition.item_bytes_max()) + " bytes)");
}

void Call::error_with_text(std::string_view text) {
    const auto is_line_end = [](char c) { return c == '\r' || c == '\n'; };
    while (!text.empty() && is_line_end(text.back())) {
        text.remove_suffix(1);
    }
    reply.error("ERR " + std::string(text));
}

void Call::error_arity() {
    reply.error("ERR wrong number of arguments for '" + std::string(name) + "' command");
}

void Call::error_expire_time() {
    reply.error("ERR invalid expire time in '" + std::string(name) + "' command");
}

std::optional<int64_t> Call::integer_argument(size_t index) {
    const std::optional<int64_t> value = parse_int64(args[index]);
    if (!value) {
        reply.error(kErrorNotAnInteger);
    }
    return value;
}

}  // namespace cachee::dataplane
