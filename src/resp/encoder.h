// SPDX-License-Identifier: Apache-2.0
// The reply side of RESP2 and RESP3, and canonical commands. Two forms: raw writers into a buffer
// that the caller sized with the matching *_bytes() bound (data plane hot path), and Writer, which
// appends to a std::string (cold replies, control plane).
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace cachee::resp {

enum class Protocol : uint8_t { kResp2 = 2, kResp3 = 3 };

// --- raw writers: return the end of what they wrote ---

// '$' + digits + CRLF; at most 24 bytes.
inline constexpr uint32_t kBulkHeaderBytesMax = 24;
uint8_t* write_long_bulk_header(uint8_t* out, uint64_t bytes) noexcept;
// "$10\r\n" to "$99\r\n", filled up to a word.
inline constexpr auto kTwoDigitHeaders = [] {
    std::array<std::array<char, 8>, 90> headers{};
    for (int i = 0; i < 90; ++i) {
        headers[i] = {'$', static_cast<char>('1' + i / 10), static_cast<char>('0' + i % 10), '\r',
                      '\n'};
    }
    return headers;
}();
inline uint8_t* write_bulk_header(uint8_t* out, uint64_t bytes) noexcept {
    if (bytes - 10 >= 90) return write_long_bulk_header(out, bytes);
    std::memcpy(out, kTwoDigitHeaders[bytes - 10].data(), kTwoDigitHeaders[0].size());
    return out + 5;
}
// The same as a word to be stored in one go, of which `bytes` count. REQUIRES: for at most
// kShortBulkBytesMax bytes of data.
struct BulkHeader {
    uint64_t word;
    uint32_t bytes;
};
inline constexpr uint32_t kShortBulkBytesMax = 9999;
BulkHeader other_short_bulk_header(uint32_t bytes) noexcept;
inline BulkHeader short_bulk_header(uint32_t bytes) noexcept {
    if (bytes - 10 >= 90) return other_short_bulk_header(bytes);
    BulkHeader header{0, 5};
    std::memcpy(&header.word, kTwoDigitHeaders[bytes - 10].data(), sizeof header.word);
    return header;
}
// Header, data, CRLF: kBulkHeaderBytesMax + data.size() + 2 bytes at most.
uint8_t* write_bulk(uint8_t* out, std::string_view data) noexcept;
// ':' + digits + CRLF; at most 24 bytes.
uint8_t* write_integer(uint8_t* out, int64_t value) noexcept;
// "*" / "%" / "~" / ">" header; at most 24 bytes.
uint8_t* write_aggregate_header(uint8_t* out, char type, uint64_t count) noexcept;
// "$-1\r\n" or "_\r\n".
std::string_view null_reply(Protocol protocol) noexcept;

// --- growing writer ---

class Writer {
  public:
    explicit Writer(std::string& out, Protocol protocol = Protocol::kResp2)
        : out_(out), protocol_(protocol) {}

    Writer& simple(std::string_view text);  // +text
    Writer& error(std::string_view text);   // -text; CR and LF in it become spaces
    Writer& integer(int64_t value);
    Writer& bulk(std::string_view data);
    Writer& null();
    Writer& boolean(bool value);  // RESP2: :1 or :0
    Writer& real(double value);   // RESP2: bulk string, as Redis prints doubles
    Writer& array(uint64_t count);
    Writer& map(uint64_t pairs);   // RESP2: array of 2 * pairs
    Writer& set(uint64_t count);   // RESP2: array
    Writer& push(uint64_t count);  // RESP2: array
    Writer& verbatim(std::string_view format,
                     std::string_view text);      // RESP2: bulk; format: 3 letters
    Writer& big_number(std::string_view digits);  // RESP2: bulk

  private:
    std::string& out_;
    Protocol protocol_;
};

// A command as an array of bulk strings: what goes to L2 is always this, never a client's own
// bytes.
void append_command(std::string& out, std::span<const std::string_view> arguments);
size_t command_bytes(std::span<const std::string_view> arguments) noexcept;
// Writes exactly command_bytes() bytes.
uint8_t* write_command(uint8_t* out, std::span<const std::string_view> arguments) noexcept;

}  // namespace cachee::resp
