// SPDX-License-Identifier: Apache-2.0
// Encoder of replies and of commands to L2. Raw writers: hot path of the data plane, no allocation.
// Writer and append_command: cold replies and the control plane. No state; any thread.
#include "resp/encoder.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace cachee::resp {
namespace {

char* chars(uint8_t* out) noexcept { return reinterpret_cast<char*>(out); }

// Type, digits, CRLF.
template <typename Number>
uint8_t* write_number_line(uint8_t* out, char type, Number value) noexcept {
    char* at = chars(out);
    *at++ = type;
    at = std::to_chars(at, at + 20, value).ptr;
    *at++ = '\r';
    *at++ = '\n';
    return reinterpret_cast<uint8_t*>(at);
}

template <typename Number>
void append_number_line(std::string& out, char type, Number value) {
    uint8_t line[kBulkHeaderBytesMax];
    const uint8_t* end = write_number_line(line, type, value);
    out.append(reinterpret_cast<const char*>(line), static_cast<size_t>(end - line));
}

void append_line(std::string& out, char type, std::string_view text) {
    out.push_back(type);
    for (const char c : text) {
        out.push_back(c == '\r' || c == '\n' ? ' ' : c);
    }
    out.append("\r\n");
}

void append_bulk(std::string& out, std::string_view data) {
    append_number_line(out, '$', static_cast<uint64_t>(data.size()));
    out.append(data).append("\r\n");
}

uint32_t decimal_digits(uint64_t value) noexcept {
    uint32_t digits = 1;
    while (value >= 10) {
        value /= 10;
        ++digits;
    }
    return digits;
}

// The shortest digits that read back as `value` (finite, not zero), without the point: value =
// digits * 10^exponent.
struct Decimal {
    char digits[20];
    int count = 0;
    int exponent = 0;
};

Decimal shortest_decimal(double magnitude) noexcept {
    char text[40];
    const char* end =
        std::to_chars(text, text + sizeof text, magnitude, std::chars_format::scientific).ptr;
    Decimal decimal;
    const char* at = text;
    for (; *at != 'e'; ++at) {
        if (*at != '.') {
            decimal.digits[decimal.count++] = *at;
        }
    }
    ++at;
    at += *at == '+';
    int exponent = 0;
    std::from_chars(at, end, exponent);
    decimal.exponent = exponent - (decimal.count - 1);
    return decimal;
}

// As d2string() of Valkey 8 and Redis 7.2, which lays digits out with fpconv_dtoa(). Known
// difference: for about one value in a thousand their digits are not the shortest (1e23 is
// 99999999999999990000000 there); both read back as the same double. Redis 7.0 prints %.17g
// instead.
std::string print_double(double value) {
    if (std::isnan(value)) {
        return "nan";
    }
    if (std::isinf(value)) {
        return value > 0 ? "inf" : "-inf";
    }
    // Whole numbers up to LLONG_MAX / 2 in full.
    if (value != 0 && std::fabs(value) <= 0x1p62 && value == std::trunc(value)) {
        return std::to_string(static_cast<int64_t>(value));
    }
    std::string out = std::signbit(value) ? "-" : "";
    if (value == 0) {
        return out + "0";
    }
    const Decimal decimal = shortest_decimal(std::fabs(value));
    const std::string_view digits(decimal.digits, static_cast<size_t>(decimal.count));
    const int k = decimal.exponent;
    const int scientific = k + decimal.count - 1;
    const int magnitude = std::abs(scientific);
    if (k >= 0 && magnitude < decimal.count + 7) {
        return out.append(digits).append(static_cast<size_t>(k), '0');
    }
    if (k < 0 && (k > -7 || magnitude < 4)) {
        const int point = decimal.count + k;
        if (point <= 0) {
            return out.append("0.").append(static_cast<size_t>(-point), '0').append(digits);
        }
        return out.append(digits.substr(0, static_cast<size_t>(point)))
            .append(".")
            .append(digits.substr(static_cast<size_t>(point)));
    }
    out.push_back(digits[0]);
    if (digits.size() > 1) {
        out.append(".").append(digits.substr(1));
    }
    return out.append(scientific < 0 ? "e-" : "e+").append(std::to_string(magnitude));
}

}  // namespace

uint8_t* write_long_bulk_header(uint8_t* out, uint64_t bytes) noexcept {
    return write_number_line(out, '$', bytes);
}

BulkHeader other_short_bulk_header(uint32_t bytes) noexcept {
    uint8_t line[kBulkHeaderBytesMax] = {};
    const uint8_t* const end = write_number_line(line, '$', bytes);
    BulkHeader header{0, static_cast<uint32_t>(end - line)};
    std::memcpy(&header.word, line, sizeof header.word);
    return header;
}

uint8_t* write_bulk(uint8_t* out, std::string_view data) noexcept {
    out = write_bulk_header(out, data.size());
    if (!data.empty()) {
        std::memcpy(out, data.data(), data.size());
    }
    out += data.size();
    *out++ = '\r';
    *out++ = '\n';
    return out;
}

uint8_t* write_integer(uint8_t* out, int64_t value) noexcept {
    return write_number_line(out, ':', value);
}

uint8_t* write_aggregate_header(uint8_t* out, char type, uint64_t count) noexcept {
    return write_number_line(out, type, count);
}

std::string_view null_reply(Protocol protocol) noexcept {
    return protocol == Protocol::kResp3 ? "_\r\n" : "$-1\r\n";
}

Writer& Writer::simple(std::string_view text) {
    append_line(out_, '+', text);
    return *this;
}

Writer& Writer::error(std::string_view text) {
    append_line(out_, '-', text);
    return *this;
}

Writer& Writer::integer(int64_t value) {
    append_number_line(out_, ':', value);
    return *this;
}

Writer& Writer::bulk(std::string_view data) {
    append_bulk(out_, data);
    return *this;
}

Writer& Writer::null() {
    out_.append(null_reply(protocol_));
    return *this;
}

Writer& Writer::boolean(bool value) {
    if (protocol_ == Protocol::kResp3) {
        out_.append(value ? "#t\r\n" : "#f\r\n");
        return *this;
    }
    return integer(value ? 1 : 0);
}

Writer& Writer::real(double value) {
    if (protocol_ == Protocol::kResp3) {
        append_line(out_, ',', print_double(value));
        return *this;
    }
    return bulk(print_double(value));
}

Writer& Writer::array(uint64_t count) {
    append_number_line(out_, '*', count);
    return *this;
}

Writer& Writer::map(uint64_t pairs) {
    const bool resp3 = protocol_ == Protocol::kResp3;
    append_number_line(out_, resp3 ? '%' : '*', resp3 ? pairs : 2 * pairs);
    return *this;
}

Writer& Writer::set(uint64_t count) {
    append_number_line(out_, protocol_ == Protocol::kResp3 ? '~' : '*', count);
    return *this;
}

Writer& Writer::push(uint64_t count) {
    append_number_line(out_, protocol_ == Protocol::kResp3 ? '>' : '*', count);
    return *this;
}

Writer& Writer::verbatim(std::string_view format, std::string_view text) {
    if (protocol_ != Protocol::kResp3) {
        return bulk(text);
    }
    append_number_line(out_, '=', static_cast<uint64_t>(text.size() + 4));
    char type[4] = {' ', ' ', ' ', ':'};
    std::memcpy(type, format.data(), std::min<size_t>(format.size(), 3));
    out_.append(type, sizeof type).append(text).append("\r\n");
    return *this;
}

Writer& Writer::big_number(std::string_view digits) {
    if (protocol_ == Protocol::kResp3) {
        append_line(out_, '(', digits);
        return *this;
    }
    return bulk(digits);
}

void append_command(std::string& out, std::span<const std::string_view> arguments) {
    append_number_line(out, '*', static_cast<uint64_t>(arguments.size()));
    for (const std::string_view argument : arguments) {
        append_bulk(out, argument);
    }
}

size_t command_bytes(std::span<const std::string_view> arguments) noexcept {
    size_t bytes = 1 + decimal_digits(arguments.size()) + 2;
    for (const std::string_view argument : arguments) {
        bytes += 1 + decimal_digits(argument.size()) + 2 + argument.size() + 2;
    }
    return bytes;
}

uint8_t* write_command(uint8_t* out, std::span<const std::string_view> arguments) noexcept {
    out = write_aggregate_header(out, '*', arguments.size());
    for (const std::string_view argument : arguments) {
        out = write_bulk(out, argument);
    }
    return out;
}

}  // namespace cachee::resp
