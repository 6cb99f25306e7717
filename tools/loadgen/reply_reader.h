// SPDX-License-Identifier: Apache-2.0
// Takes a connection's bytes apart into replies, whatever the pieces in which they arrive: RESP2,
// or memcached's text protocol. Values are handed on in pieces and never gathered. Client side
// only: what it knows is what GET, MGET, SET and AUTH (memcached: get, set) can be
// answered with. One object per connection, one thread.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace cachee::loadgen {

enum class Protocol : uint8_t { kResp, kMemcached };

class ReplyReader {
  public:
    ReplyReader() = default;
    explicit ReplyReader(Protocol protocol) : protocol_(protocol) {}

    // Calls, on `sink`, for each element (an array's, or the reply itself):
    //   value_part(offset, data, size, whole)   zero or more times; then value_end(whole)
    //   nil(), status(text), error(text), integer()
    // then reply_end() after each whole reply. array(n) precedes an array's elements. Returns false
    // when the bytes are no reply that a request of ours can have; the reader is useless then.
    template <typename Sink>
    bool feed(const uint8_t* data, size_t size, Sink& sink);

  private:
    enum class State : uint8_t { kLine, kBody, kBodyEnd };
    static constexpr size_t kLineBytesMax = 64 * 1024;

    template <typename Sink>
    bool take_line(std::string_view line, Sink& sink);
    template <typename Sink>
    bool take_memcached_line(std::string_view line, Sink& sink);
    void expect_body(uint64_t bytes) {
        body_bytes_ = bytes;
        body_done_ = 0;
        state_ = bytes == 0 ? State::kBodyEnd : State::kBody;
    }
    template <typename Sink>
    void element_end(Sink& sink) {
        if (elements_left_ > 0 && --elements_left_ > 0) return;
        sink.reply_end();
    }

    Protocol protocol_ = Protocol::kResp;
    bool has_value_ = false;  // memcached: END is due
    State state_ = State::kLine;
    uint8_t line_ends_ = 0;       // bytes of the CRLF behind a body that have come
    uint64_t elements_left_ = 0;  // of the array under way
    uint64_t body_bytes_ = 0;
    uint64_t body_done_ = 0;
    std::string line_;  // the first part of a line that came in parts
};

template <typename Sink>
bool ReplyReader::feed(const uint8_t* data, size_t size, Sink& sink) {
    const uint8_t* const end = data + size;
    while (data != end) {
        const auto left = static_cast<size_t>(end - data);
        switch (state_) {
            case State::kLine: {
                const auto* newline = static_cast<const uint8_t*>(std::memchr(data, '\n', left));
                const size_t piece = newline ? static_cast<size_t>(newline - data) + 1 : left;
                std::string_view line(reinterpret_cast<const char*>(data), piece);
                data += piece;
                if (newline == nullptr || !line_.empty()) {
                    if (line_.size() + piece > kLineBytesMax) return false;
                    line_.append(line);
                    if (newline == nullptr) break;
                    line = line_;
                }
                if (line.size() < 3 || line[line.size() - 2] != '\r') return false;
                line.remove_suffix(2);
                if (!(protocol_ == Protocol::kResp ? take_line(line, sink)
                                                   : take_memcached_line(line, sink))) {
                    return false;
                }
                line_.clear();
                break;
            }
            case State::kBody: {
                const size_t piece = std::min<uint64_t>(left, body_bytes_ - body_done_);
                sink.value_part(body_done_, data, piece, body_bytes_);
                data += piece;
                body_done_ += piece;
                if (body_done_ == body_bytes_) state_ = State::kBodyEnd;
                break;
            }
            case State::kBodyEnd:
                if (*data++ != (line_ends_ == 0 ? '\r' : '\n')) return false;
                if (++line_ends_ < 2) break;
                line_ends_ = 0;
                state_ = State::kLine;
                sink.value_end(body_bytes_);
                has_value_ = true;
                if (protocol_ == Protocol::kResp) element_end(sink);
                break;
        }
    }
    return true;
}

template <typename Sink>
bool ReplyReader::take_line(std::string_view line, Sink& sink) {
    const char type = line[0];
    line.remove_prefix(1);
    switch (type) {
        case '+':
            sink.status(line);
            break;
        case '-':
            sink.error(line);
            break;
        case '_':
            sink.nil();
            break;
        case ':':
        case '$':
        case '*': {
            int64_t count = 0;
            const auto [stop, failed] =
                std::from_chars(line.data(), line.data() + line.size(), count);
            if (failed != std::errc{} || stop != line.data() + line.size()) return false;
            if (type == ':') {
                sink.integer();
            } else if (count == -1) {
                sink.nil();
            } else if (count < 0) {
                return false;
            } else if (type == '*') {
                if (elements_left_ != 0 || count > (1 << 24)) return false;
                sink.array(static_cast<uint64_t>(count));
                elements_left_ = static_cast<uint64_t>(count);
                if (count == 0) sink.reply_end();
                return true;
            } else {
                expect_body(static_cast<uint64_t>(count));
                return true;
            }
            break;
        }
        default:
            return false;
    }
    element_end(sink);
    return true;
}

// "VALUE key flags bytes" and the value for each key that is there, then "END"; "STORED"; or an
// error.
template <typename Sink>
bool ReplyReader::take_memcached_line(std::string_view line, Sink& sink) {
    if (line == "END") {
        if (!has_value_) sink.nil();
    } else if (line.starts_with("VALUE ")) {
        const std::string_view digits = line.substr(line.rfind(' ') + 1);
        uint32_t bytes = 0;
        const auto [stop, failed] =
            std::from_chars(digits.data(), digits.data() + digits.size(), bytes);
        if (failed != std::errc{} || stop != digits.data() + digits.size()) return false;
        expect_body(bytes);
        return true;
    } else if (has_value_) {
        return false;
    } else if (line == "STORED") {
        sink.status("OK");
    } else if (line == "ERROR" || line.starts_with("CLIENT_ERROR") ||
               line.starts_with("SERVER_ERROR")) {
        sink.error(line);
    } else {
        return false;
    }
    has_value_ = false;
    sink.reply_end();
    return true;
}

}  // namespace cachee::loadgen
