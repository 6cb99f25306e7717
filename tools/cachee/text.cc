// SPDX-License-Identifier: Apache-2.0
// Numbers and JSON as the CLI prints them; see text.h.
#include "tools/cachee/text.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdlib>

namespace cachee::cli {

std::string grouped(uint64_t value) {
    std::string digits = std::to_string(value);
    for (size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, 1, ',');
    return digits;
}

std::string human_count(double value) {
    constexpr std::array<const char*, 5> kUnits = {"", "k", "M", "G", "T"};
    size_t unit = 0;
    // 999.95 would print as 1000.0: go to the next unit just before it.
    while (value >= 999.95 && unit + 1 < kUnits.size()) {
        value /= 1000;
        ++unit;
    }
    if (unit == 0) return fmt::format("{:.0f}", value);
    return fmt::format("{:.1f}{}", value, kUnits[unit]);
}

std::string human_bytes(uint64_t bytes) {
    constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
    auto value = static_cast<double>(bytes);
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < kUnits.size()) {
        value /= 1024;
        ++unit;
    }
    if (unit == 0 || value == std::floor(value))
        return fmt::format("{:.0f} {}", value, kUnits[unit]);
    return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string human_ns(uint64_t ns) {
    constexpr std::array<const char*, 4> kUnits = {"ns", "us", "ms", "s"};
    auto value = static_cast<double>(ns);
    size_t unit = 0;
    while (value >= 999.95 && unit + 1 < kUnits.size()) {
        value /= 1000;
        ++unit;
    }
    if (unit == 0) return fmt::format("{:.0f} ns", value);
    return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string human_uptime(uint64_t seconds) {
    const uint64_t days = seconds / 86400;
    const std::string clock =
        fmt::format("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    return days == 0 ? clock : fmt::format("{}d {}", days, clock);
}

std::string percent(double value) { return value < 0 ? "-" : fmt::format("{:.1f}", value); }

double ratio_percent(uint64_t part, uint64_t whole) {
    if (whole == 0) return -1;
    return 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

std::string json_escape(std::string_view text) {
    std::string escaped;
    escaped.reserve(text.size());
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            escaped += '\\';
            escaped += c;
        } else if (c >= 0x20 && c < 0x7f) {
            escaped += c;
        } else {
            escaped +=
                fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
        }
    }
    return escaped;
}

void JsonObject::key(std::string_view name) {
    if (body_.size() > 1) body_ += ',';
    body_ += fmt::format("\"{}\":", json_escape(name));
}

JsonObject& JsonObject::text(std::string_view name, std::string_view value) {
    key(name);
    body_ += fmt::format("\"{}\"", json_escape(value));
    return *this;
}

JsonObject& JsonObject::number(std::string_view name, uint64_t value) {
    key(name);
    body_ += std::to_string(value);
    return *this;
}

JsonObject& JsonObject::real(std::string_view name, double value) {
    if (!std::isfinite(value)) return null(name);
    key(name);
    body_ += fmt::format("{:.6g}", value);
    return *this;
}

JsonObject& JsonObject::boolean(std::string_view name, bool value) {
    key(name);
    body_ += value ? "true" : "false";
    return *this;
}

JsonObject& JsonObject::null(std::string_view name) {
    key(name);
    body_ += "null";
    return *this;
}

JsonObject& JsonObject::raw(std::string_view name, std::string_view json) {
    key(name);
    body_ += json;
    return *this;
}

JsonArray& JsonArray::raw(std::string_view json) {
    if (body_.size() > 1) body_ += ',';
    body_ += json;
    return *this;
}

bool colours_wanted(int fd) {
    const char* term = std::getenv("TERM");
    return ::isatty(fd) != 0 && std::getenv("NO_COLOR") == nullptr && term != nullptr &&
           std::string_view(term) != "dumb";
}

}  // namespace cachee::cli
