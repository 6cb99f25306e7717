// SPDX-License-Identifier: Apache-2.0
#include "controlplane/set_command.h"

#include <strings.h>

#include <charconv>

namespace cachee::controlplane {

namespace {

constexpr uint64_t kTtlMsMax = uint64_t{1} << 52;

bool is(std::string_view argument, std::string_view word) {
    return argument.size() == word.size() &&
           ::strncasecmp(argument.data(), word.data(), word.size()) == 0;
}

std::optional<uint64_t> ttl(std::string_view digits, uint64_t unit_ms) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
    if (value == 0 || value > kTtlMsMax / unit_ms) return std::nullopt;
    return value * unit_ms;
}

std::optional<StoredValue> with_ttl(std::string_view key, std::string_view value,
                                    std::string_view digits, uint64_t unit_ms) {
    const auto ttl_ms = ttl(digits, unit_ms);
    if (!ttl_ms) return std::nullopt;
    return StoredValue{key, value, *ttl_ms};
}

}  // namespace

std::optional<StoredValue> stored_value(std::span<const std::string_view> arguments) {
    if (arguments.size() < 3) return std::nullopt;
    if (is(arguments[0], "set")) {
        if (arguments.size() == 3) return StoredValue{arguments[1], arguments[2], 0};
        if (arguments.size() != 5) return std::nullopt;
        if (is(arguments[3], "ex")) return with_ttl(arguments[1], arguments[2], arguments[4], 1000);
        if (is(arguments[3], "px")) return with_ttl(arguments[1], arguments[2], arguments[4], 1);
        return std::nullopt;
    }
    if (arguments.size() != 4) return std::nullopt;
    if (is(arguments[0], "setex")) return with_ttl(arguments[1], arguments[3], arguments[2], 1000);
    if (is(arguments[0], "psetex")) return with_ttl(arguments[1], arguments[3], arguments[2], 1);
    return std::nullopt;
}

}  // namespace cachee::controlplane
