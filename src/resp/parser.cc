// SPDX-License-Identifier: Apache-2.0
// Parser of requests. A complete command that is all in the buffer takes one pass (collect). One
// that arrives in pieces is scanned without keeping views, because the list is shared by all
// sessions and the buffer may move; when its last byte is there, one collect pass from its start
// makes the views. So each byte of a count line is looked at twice at most, and the bytes of bulk
// strings never. Not here: what commands mean (command_table.h). Hot path of the data plane; any
// thread.
#include "resp/parser.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace cachee::resp {
namespace {

constexpr std::string_view kBadMultibulk = "Protocol error: invalid multibulk length";
constexpr std::string_view kBadBulk = "Protocol error: invalid bulk length";
constexpr std::string_view kLongMultibulk = "Protocol error: too big mbulk count string";
constexpr std::string_view kLongBulk = "Protocol error: too big bulk count string";
constexpr std::string_view kLongInline = "Protocol error: too big inline request";
constexpr std::string_view kUnbalanced = "Protocol error: unbalanced quotes in request";

// One text per byte value, so that the error is static whatever the byte was.
constexpr std::string_view kExpectedDollar = "Protocol error: expected '$', got '";
using ExpectedText = std::array<char, kExpectedDollar.size() + 2>;
constexpr std::array<ExpectedText, 256> make_expected_texts() {
    std::array<ExpectedText, 256> texts{};
    for (size_t byte = 0; byte < texts.size(); ++byte) {
        for (size_t i = 0; i < kExpectedDollar.size(); ++i) {
            texts[byte][i] = kExpectedDollar[i];
        }
        // Redis turns line ends in an error text into spaces.
        texts[byte][kExpectedDollar.size()] =
            byte == '\r' || byte == '\n' ? ' ' : static_cast<char>(byte);
        texts[byte][kExpectedDollar.size() + 1] = '\'';
    }
    return texts;
}
constexpr std::array<ExpectedText, 256> kExpectedTexts = make_expected_texts();

std::string_view expected_dollar_error(char got) noexcept {
    const ExpectedText& text = kExpectedTexts[static_cast<uint8_t>(got)];
    // Redis prints with C strings: a NUL ends the text.
    return {text.data(), got == '\0' ? kExpectedDollar.size() : text.size()};
}

[[gnu::cold, gnu::noinline]] ParseResult fail_cold(ParseState& state, std::string_view error) {
    state = ParseState{};
    return {ParseStatus::kProtocolError, 0, error};
}

ParseResult complete(ParseState& state, size_t consumed) noexcept {
    if (state.needed_bytes != 0) {
        state = ParseState{};
    }
    return {ParseStatus::kComplete, consumed, {}};
}

// Redis's string2ll: no sign but '-', no leading zeros, no spaces, no "-0". At most 18 digits here:
// more is out of every limit.
bool parse_number(const char* begin, const char* end, int64_t& value) noexcept {
    const bool negative = begin != end && *begin == '-';
    begin += negative;
    const auto digits = end - begin;
    if (digits < 1 || digits > 18 || (*begin == '0' && (digits > 1 || negative))) {
        return false;
    }
    int64_t number = 0;
    for (; begin != end; ++begin) {
        const auto digit = static_cast<uint8_t>(*begin - '0');
        if (digit > 9) {
            return false;
        }
        number = number * 10 + digit;
    }
    value = negative ? -number : number;
    return true;
}

enum class Line : uint8_t { kFound, kIncomplete, kTooLong };

// A count line at `begin`: finds its CR; found only with the byte behind it.
Line find_line(const char* begin, const char* end, const char* search_from, uint64_t bytes_max,
               const char*& cr) noexcept {
    const auto available = static_cast<uint64_t>(end - begin);
    const char* limit = available > bytes_max ? begin + bytes_max + 1 : end;
    if (search_from < begin) {
        search_from = begin;
    }
    cr = search_from < limit ? static_cast<const char*>(std::memchr(
                                   search_from, '\r', static_cast<size_t>(limit - search_from)))
                             : nullptr;
    if (cr == nullptr) {
        return available > bytes_max ? Line::kTooLong : Line::kIncomplete;
    }
    return end - cr >= 2 ? Line::kFound : Line::kIncomplete;
}

// --- arrays of bulk strings, in pieces ---

ParseResult wait_for_line(std::string_view buffer, ParseState& state, const char* cr) noexcept {
    state.searched_bytes =
        cr == nullptr ? buffer.size() : static_cast<uint64_t>(cr - buffer.data());
    state.needed_bytes = buffer.size() + 1;
    return {};
}

// Goes on from state.scanned_bytes; makes no views.
ParseResult scan_array(std::string_view buffer, const Limits& limits, ParseState& state) {
    const char* const begin = buffer.data();
    const char* const end = begin + buffer.size();
    const char* cr = nullptr;
    int64_t number = 0;
    if (!state.header_seen) {
        const Line line =
            find_line(begin, end, begin + state.searched_bytes, limits.inline_bytes_max, cr);
        if (line != Line::kFound) {
            return line == Line::kTooLong ? fail_cold(state, kLongMultibulk)
                                          : wait_for_line(buffer, state, cr);
        }
        if (!parse_number(begin + 1, cr, number) || number > limits.arguments_max) {
            return fail_cold(state, kBadMultibulk);
        }
        state.scanned_bytes = static_cast<uint64_t>(cr + 2 - begin);
        state.arguments_left = number > 0 ? static_cast<uint32_t>(number) : 0;
        state.header_seen = true;
    }
    while (state.arguments_left > 0) {
        const char* const start = begin + state.scanned_bytes;
        const Line line =
            find_line(start, end, begin + state.searched_bytes, limits.inline_bytes_max, cr);
        if (line != Line::kFound) {
            return line == Line::kTooLong ? fail_cold(state, kLongBulk)
                                          : wait_for_line(buffer, state, cr);
        }
        if (*start != '$') {
            return fail_cold(state, expected_dollar_error(*start));
        }
        if (!parse_number(start + 1, cr, number) || number < 0 ||
            static_cast<uint64_t>(number) > limits.bulk_bytes_max) {
            return fail_cold(state, kBadBulk);
        }
        const uint64_t after =
            static_cast<uint64_t>(cr + 2 - begin) + static_cast<uint64_t>(number) + 2;
        if (after > buffer.size()) {
            state.searched_bytes = static_cast<uint64_t>(cr - begin);
            state.needed_bytes = after;
            return {};
        }
        state.scanned_bytes = after;
        --state.arguments_left;
    }
    return {ParseStatus::kComplete, state.scanned_bytes, {}};
}

// --- arrays of bulk strings, in one pass ---

// The usual count line: up to eight digits. False: not that, or not all there; `at` is unchanged.
[[gnu::always_inline]] inline bool short_count(const char*& at, const char* end, char type,
                                               uint32_t& value) noexcept {
    const char* p = at;
    // Six bytes are the least of a complete command's last line with its data ("$0", CRLF twice).
    if (end - p < 6 || *p != type) {
        return false;
    }
    const char* const last = end - p < 11 ? at + 4 : at + 9;  // CR here or before
    uint32_t number = static_cast<uint8_t>(p[1] - '0');
    if (number > 9) {
        return false;
    }
    p += 2;
    while (*p != '\r') {
        const uint32_t digit = static_cast<uint8_t>(*p - '0');
        if (digit > 9 || number == 0 || p == last) {
            return false;
        }
        number = number * 10 + digit;
        ++p;
    }
    at = p + 2;
    value = number;
    return true;
}

// True when the whole command was there and well-formed; false says nothing: scan_array() judges.
bool collect_array(std::string_view buffer, const Limits& limits, ArgumentList& arguments,
                   size_t& consumed) {
    const char* at = buffer.data();
    const char* const end = at + buffer.size();
    uint32_t count = 0;
    if (!short_count(at, end, '*', count) || count > limits.arguments_max) {
        return false;
    }
    for (; count > 0; --count) {
        uint32_t bytes = 0;
        if (!short_count(at, end, '$', bytes) || bytes > limits.bulk_bytes_max ||
            end - at < static_cast<ptrdiff_t>(bytes) + 2) {
            return false;
        }
        arguments.push({at, bytes});
        at += bytes + 2;
    }
    consumed = static_cast<size_t>(at - buffer.data());
    return true;
}

// REQUIRES: scan_array() found a complete command at the start of `buffer`.
void collect_scanned(std::string_view buffer, ArgumentList& arguments) {
    const char* at = buffer.data();
    const char* const end = at + buffer.size();
    const auto count_line = [&at, end] {
        const char* cr =
            static_cast<const char*>(std::memchr(at, '\r', static_cast<size_t>(end - at)));
        int64_t value = 0;
        parse_number(at + 1, cr, value);
        at = cr + 2;
        return value;
    };
    int64_t count = count_line();
    if (count > 0) {
        arguments.reserve(static_cast<size_t>(count));
    }
    for (; count > 0; --count) {
        const auto bytes = static_cast<size_t>(count_line());
        arguments.push({at, bytes});
        at += bytes + 2;
    }
}

// --- inline commands ---

bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }

int hex_digit(char c) noexcept {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

char unescape(char c) noexcept {
    switch (c) {
        case 'n':
            return '\n';
        case 'r':
            return '\r';
        case 't':
            return '\t';
        case 'b':
            return '\b';
        case 'a':
            return '\a';
        default:
            return c;
    }
}

// The inside of a quoted part, as sdssplitargs() reads it; `at` is behind the opening quote. False:
// unbalanced. On success `at` is behind the closing quote, which ends the argument.
bool decode_quoted(const char*& at, const char* end, char quote, std::vector<char>& out) {
    while (at != end) {
        const char c = *at;
        if (c == quote) {
            ++at;
            return at == end || is_space(*at);
        }
        if (c == '\\' && quote == '"' && end - at >= 4 && at[1] == 'x' && hex_digit(at[2]) >= 0 &&
            hex_digit(at[3]) >= 0) {
            out.push_back(static_cast<char>(hex_digit(at[2]) * 16 + hex_digit(at[3])));
            at += 4;
        } else if (c == '\\' && end - at >= 2 && (quote == '"' || at[1] == '\'')) {
            out.push_back(quote == '"' ? unescape(at[1]) : '\'');
            at += 2;
        } else {
            out.push_back(c);
            ++at;
        }
    }
    return false;
}

bool ends_argument(char c) noexcept { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// One argument that starts at `at`; a view into the line unless it has quotes.
bool split_argument(const char*& at, const char* end, ArgumentList& arguments) {
    const char* const start = at;
    while (at != end && !ends_argument(*at) && *at != '"' && *at != '\'') {
        ++at;
    }
    if (at == end || ends_argument(*at)) {
        arguments.push({start, static_cast<size_t>(at - start)});
        return true;
    }
    std::vector<char>& out = arguments.unquoted();
    const size_t from = out.size();
    out.insert(out.end(), start, at);
    const char quote = *at++;
    if (!decode_quoted(at, end, quote, out)) {
        return false;
    }
    arguments.push({out.data() + from, out.size() - from});
    return true;
}

ParseResult parse_inline(std::string_view buffer, const Limits& limits, ParseState& state,
                         ArgumentList& arguments) {
    const uint64_t window =
        std::min<uint64_t>(buffer.size(), uint64_t{limits.inline_bytes_max} + 1);
    const uint64_t from = std::min(state.searched_bytes, window);
    const char* newline =
        static_cast<const char*>(std::memchr(buffer.data() + from, '\n', window - from));
    if (newline == nullptr) {
        if (buffer.size() > limits.inline_bytes_max) {
            return fail_cold(state, kLongInline);
        }
        state.searched_bytes = buffer.size();
        state.needed_bytes = buffer.size() + 1;
        return {};
    }
    const auto line_bytes = static_cast<size_t>(newline - buffer.data());
    std::string_view line = buffer.substr(0, line_bytes);
    if (line.ends_with('\r')) {
        line.remove_suffix(1);
    }
    line = line.substr(0, line.find('\0'));
    // Decoding never grows, so that the views stay valid while it goes on.
    arguments.unquoted().reserve(line.size());
    const char* at = line.data();
    const char* const end = at + line.size();
    for (;;) {
        while (at != end && is_space(*at)) {
            ++at;
        }
        if (at == end) {
            return complete(state, line_bytes + 1);
        }
        if (arguments.size() >= limits.arguments_max) {
            return fail_cold(state, kLongInline);
        }
        if (!split_argument(at, end, arguments)) {
            return fail_cold(state, kUnbalanced);
        }
    }
}

[[gnu::noinline]] ParseResult parse_slow(std::string_view buffer, const Limits& limits,
                                         ParseState& state, ArgumentList& arguments) {
    arguments.clear();
    if (buffer.size() < state.needed_bytes || buffer.empty()) {
        return {};
    }
    if (buffer.front() != '*') {
        ParseResult result = parse_inline(buffer, limits, state, arguments);
        if (result.status != ParseStatus::kComplete) {
            arguments.clear();
        }
        return result;
    }
    const ParseResult result = scan_array(buffer, limits, state);
    if (result.status == ParseStatus::kComplete) {
        state = ParseState{};
        collect_scanned(buffer, arguments);
    }
    return result;
}

}  // namespace

ParseResult parse_command(std::string_view buffer, const Limits& limits, ParseState& state,
                          ArgumentList& arguments) {
    if (state.needed_bytes == 0) [[likely]] {
        ShortPair pair;
        if (parse_short_pair(buffer, limits, pair)) [[likely]] {
            arguments.set_pair({pair.name, 3}, pair.argument);
            return {ParseStatus::kComplete, pair.consumed, {}};
        }
        arguments.clear();
        size_t consumed = 0;
        if (collect_array(buffer, limits, arguments, consumed)) [[likely]] {
            return {ParseStatus::kComplete, consumed, {}};
        }
    }
    return parse_slow(buffer, limits, state, arguments);
}

}  // namespace cachee::resp
