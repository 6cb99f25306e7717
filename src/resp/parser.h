// SPDX-License-Identifier: Apache-2.0
// The request side of RESP2 and RESP3 (they are the same there): arrays of bulk strings and inline
// commands, parsed in place, resumable at any byte. Data plane hot path and control plane; any
// thread, no state of its own. Grammar: redis.io/docs/reference/protocol-spec; limits and error
// texts as in Redis 7.0 networking.c.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace cachee::resp {

struct Limits {
    uint64_t bulk_bytes_max = 512ULL << 20;
    uint32_t arguments_max = 1024 * 1024;
    uint32_t inline_bytes_max = 64 * 1024;
};

enum class ParseStatus : uint8_t { kComplete, kIncomplete, kProtocolError };

// The arguments of one command: views into the parsed buffer (or, for inline commands with quotes,
// into storage of the list itself), valid until the next parse into the same list. Reused for every
// command of a worker: it allocates only when a command has more arguments than any before it.
class ArgumentList {
  public:
    size_t size() const { return views_.size(); }
    bool empty() const { return views_.empty(); }
    std::string_view operator[](size_t i) const { return views_[i]; }
    const std::string_view* begin() const { return views_.data(); }
    const std::string_view* end() const { return views_.data() + views_.size(); }

    void clear() {
        views_.clear();
        unquoted_.clear();
    }
    void push(std::string_view view) { views_.push_back(view); }
    // Replaces all.
    void set_pair(std::string_view first, std::string_view second) {
        if (views_.size() != 2) views_.resize(2);
        views_[0] = first;
        views_[1] = second;
        unquoted_.clear();
    }
    void reserve(size_t n) { views_.reserve(n); }
    // For inline parsing: decoded bytes live here. The views are set after all were decoded.
    std::vector<char>& unquoted() { return unquoted_; }

  private:
    std::vector<std::string_view> views_;
    std::vector<char> unquoted_;
};

// How far an incomplete command was scanned, so that resuming is linear in the bytes; one per
// session. Reset by parse_command() whenever it returns anything but kIncomplete.
struct ParseState {
    uint64_t scanned_bytes = 0;   // of the command, known to be well-formed: whole arguments
    uint64_t searched_bytes = 0;  // from the command's start: its last, unfinished line ends later
    uint64_t needed_bytes =
        0;  // parse again only when this many bytes are there (a hint: lower bound)
    uint32_t arguments_left = 0;
    bool header_seen = false;
};

struct ParseResult {
    ParseStatus status = ParseStatus::kIncomplete;
    size_t consumed = 0;  // kComplete: bytes of this command
    std::string_view
        error;  // kProtocolError: static text, e.g. "Protocol error: invalid bulk length"
};

// As in Redis 7.0, the byte after a line's CR and the two bytes behind a bulk string are skipped
// unread: any values are taken for LF and CRLF. That is harmless here because L2 is never sent a
// client's own bytes. Unlike Redis, whose answer there depends on how the bytes were split over
// reads: a count line or an inline command longer than `inline_bytes_max` is always an error, and a
// NUL is a byte like any other in a count line (so the count is invalid) and the end of the text in
// an inline command.
//
// Parses one command from the start of `buffer`. kComplete with no arguments is an empty line or
// "*0": skip it. On kIncomplete call again with the same bytes and more behind them (the buffer may
// have moved).
ParseResult parse_command(std::string_view buffer, const Limits& limits, ParseState& state,
                          ArgumentList& arguments);

// The shape of nearly all requests to a cache: a name of three letters and one argument of 1 to 99
// bytes,
//   "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n"
struct ShortPair {
    const char* name;  // three bytes
    std::string_view argument;
    size_t consumed;
};
// True: parse_command() with a fresh state would find just these two arguments at the start of
// `buffer`. False says nothing about it.
[[gnu::always_inline]] inline bool parse_short_pair(std::string_view buffer, const Limits& limits,
                                                    ShortPair& out) noexcept {
    constexpr size_t kNameAt = 8;           // behind "*2\r\n$3\r\n"
    constexpr size_t kCountAt = 8 + 3 + 3;  // behind the name, its line end, and '$'
    constexpr size_t kLeast = kCountAt + 3 + 1 + 2;
    const char* const p = buffer.data();
    if (buffer.size() < kLeast || limits.arguments_max < 2) return false;
    if (std::memcmp(p, "*2\r\n$3\r\n", kNameAt) != 0) return false;
    if (std::memcmp(p + kNameAt + 3, "\r\n$", 3) != 0) return false;
    uint32_t bytes = static_cast<uint32_t>(p[kCountAt]) - '0';
    size_t at = kCountAt + 1;
    if (bytes - 1 >= 9) return false;  // '1'..'9'
    if (p[at] != '\r') {
        const uint32_t digit = static_cast<uint32_t>(p[at]) - '0';
        if (digit > 9) return false;
        bytes = bytes * 10 + digit;
        ++at;
    }
    if (p[at] != '\r' || p[at + 1] != '\n') return false;
    at += 2;
    if (bytes > limits.bulk_bytes_max || limits.bulk_bytes_max < 3) return false;
    if (buffer.size() < at + bytes + 2) return false;
    out = {p + kNameAt, {p + at, bytes}, at + bytes + 2};
    return true;
}

// The most frequent request of all: a GET, in either case, of a key of 1 to 99 bytes.
struct ShortGet {
    std::string_view key;
    size_t consumed;
};
inline constexpr uint32_t kShortGetKeyBytesMax = 99;
// True: parse_command() with a fresh state and limits that allow two arguments of that size would
// find "GET" and the key at the start of `buffer`. False says nothing about it.
[[gnu::always_inline]] inline bool parse_short_get(std::string_view buffer,
                                                   ShortGet& out) noexcept {
    constexpr size_t kNameAt = 8;             // behind "*2\r\n$3\r\n"
    constexpr size_t kCountAt = kNameAt + 6;  // behind "GET\r\n$"
    const char* const p = buffer.data();
    if (buffer.size() < kCountAt + 6) return false;
    uint64_t name;  // and the two bytes behind it
    std::memcpy(&name, p + kNameAt, sizeof name);
    constexpr uint64_t kLowerCase = 0x202020;
    constexpr uint64_t kGet = 0x240a0d746567;  // "get\r\n$" as a little-endian word
    if (std::memcmp(p, "*2\r\n$3\r\n", kNameAt) != 0) return false;
    if ((name | kLowerCase) << 16 != kGet << 16) return false;
    uint32_t count;
    std::memcpy(&count, p + kCountAt, sizeof count);
    uint32_t bytes = (count & 0xff) - '0';
    if (bytes - 1 >= 9) return false;  // '1'..'9'
    size_t at = kCountAt + 4;
    if (count >> 16 == 0x0a0d) [[likely]] {
        const uint32_t digit = (count >> 8 & 0xff) - '0';
        if (digit > 9) return false;
        bytes = bytes * 10 + digit;
    } else if ((count >> 8 & 0xffff) == 0x0a0d) {
        at = kCountAt + 3;
    } else {
        return false;
    }
    if (buffer.size() < at + bytes + 2) return false;
    out = {{p + at, bytes}, at + bytes + 2};
    return true;
}

}  // namespace cachee::resp
