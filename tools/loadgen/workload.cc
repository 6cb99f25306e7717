// SPDX-License-Identifier: Apache-2.0
// Drawing requests and writing them down. See workload.h.
#include "tools/loadgen/workload.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <vector>

#include "resp/encoder.h"

namespace cachee::loadgen {

namespace {

constexpr size_t kKeyDigits = 12;
constexpr uint64_t kKeysMax = 999'999'999'999;  // kKeyDigits
constexpr uint32_t kMgetKeysMax = 1024;
constexpr size_t kNumberBytesMax = 24;  // "$" or "*", digits, CRLF
constexpr size_t kFixedBytes = 128;     // names and options of a command, generously

uint64_t mix(uint64_t a, uint64_t b) { return base::Rng(a ^ (b * 0xd1342543de82ef95ULL)).next(); }

// Eight bytes of a value: printable, '0' to 'o', so that a person can look at it with redis-cli.
uint64_t value_word(uint64_t key_seed, uint64_t index) {
    return (mix(key_seed, index + 1) & 0x3f3f3f3f3f3f3f3fULL) + 0x3030303030303030ULL;
}

uint8_t* put(uint8_t* out, std::string_view text) {
    std::memcpy(out, text.data(), text.size());
    return out + text.size();
}

uint8_t* write_digits(uint64_t key, uint8_t* out) {
    for (size_t i = kKeyDigits; i-- > 0; key /= 10) {
        out[i] = static_cast<uint8_t>('0' + key % 10);
    }
    return out + kKeyDigits;
}

bool parse_ttl(std::string_view text, uint32_t& low, uint32_t& high) {
    const auto read = [](std::string_view part, uint32_t& into) {
        const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), into);
        return error == std::errc{} && end == part.data() + part.size() && into >= 1;
    };
    const size_t colon = text.find(':');
    if (!read(text.substr(0, colon), low)) return false;
    if (colon == std::string_view::npos) {
        high = low;
        return true;
    }
    return read(text.substr(colon + 1), high) && low <= high;
}

}  // namespace

base::Result<Workload> Workload::make(const WorkloadOptions& options) {
    if (options.keys == 0 || options.keys > kKeysMax) {
        return base::Error{"--keys: 1..999999999999"};
    }
    auto keys = KeyDistribution::parse(options.distribution, options.keys);
    if (!keys) return base::Error{"--distribution " + keys.error().message};
    auto sizes = SizeDistribution::parse(options.value_bytes);
    if (!sizes) return base::Error{"--value-bytes " + sizes.error().message};
    if (options.reads_percent < 0 || options.reads_percent > 100) {
        return base::Error{"--reads is a percentage, 0..100"};
    }
    if (options.mget_keys > kMgetKeysMax) return base::Error{"--mget: at most 1024 keys"};
    if (options.key_prefix.size() > 256) return base::Error{"--key-prefix: at most 256 bytes"};
    if (!options.user.empty() && options.password.empty()) {
        return base::Error{"--user needs --password"};
    }
    Workload made(options, std::move(keys).value(), std::move(sizes).value());
    if (!options.ttl_ms.empty() && !parse_ttl(options.ttl_ms, made.ttl_min_ms_, made.ttl_max_ms_)) {
        return base::Error{"--ttl-ms \"" + options.ttl_ms + "\": MS or MIN:MAX, from 1 on"};
    }
    std::vector<std::string_view> auth{"AUTH"};
    if (!options.user.empty()) auth.push_back(options.user);
    auth.push_back(options.password);
    resp::append_command(made.auth_, auth);
    made.key_header_ =
        "$" + std::to_string(options.key_prefix.size() + kKeyDigits) + "\r\n" + options.key_prefix;
    made.get_header_ = "*2\r\n$3\r\nGET\r\n" + made.key_header_;
    made.reads_ = options.reads_percent / 100;
    if (options.protocol == Protocol::kMemcached) {
        if (auto status = made.complete_memcached(); !status) return status.error();
    }
    return made;
}

base::Status Workload::complete_memcached() {
    const std::string& prefix = options_.key_prefix;
    if (!options_.ttl_ms.empty() || !options_.password.empty()) {
        return base::Error{"--protocol memcached: without --ttl-ms and --password"};
    }
    // memcached's keys have at most 250 bytes and no blanks.
    if (prefix.size() + kKeyDigits > 250 ||
        std::ranges::any_of(prefix, [](unsigned char c) { return c <= ' ' || c == 127; })) {
        return base::Error{"--key-prefix: memcached takes at most 238 bytes and no blanks"};
    }
    key_header_ = " " + prefix;
    get_header_ = "get " + prefix;
    return {};
}

uint32_t Workload::draw_ttl(base::Rng& rng) const {
    return ttl_min_ms_ + static_cast<uint32_t>(rng.below(ttl_max_ms_ - ttl_min_ms_ + 1));
}

Request Workload::next(base::Rng& rng, uint64_t& cursor) const {
    Request request;
    const bool read = reads_ >= 1 || (reads_ > 0 && rng.chance(reads_));
    if (!read) {
        request.command = Command::kSet;
        if (ttl_max_ms_ != 0) request.ttl_ms = draw_ttl(rng);
        request.key = keys_.draw(rng, cursor);
    } else if (options_.mget_keys == 0) {
        request.key = keys_.draw(rng, cursor);
    } else {
        request.command = Command::kMget;
        request.key = cursor;
        cursor = (cursor + options_.mget_keys) % options_.keys;
        request.mget_seed = rng.next();
    }
    return request;
}

Request Workload::set_of(uint64_t key, base::Rng& rng) const {
    Request request;
    request.command = Command::kSet;
    request.key = key;
    if (ttl_max_ms_ != 0) request.ttl_ms = draw_ttl(rng);
    return request;
}

size_t Workload::bytes_max(const Request& request) const {
    const size_t key = key_header_.size() + kKeyDigits + 2;
    switch (request.command) {
        case Command::kGet:
            return kFixedBytes + key;
        case Command::kMget:
            return kFixedBytes + key * options_.mget_keys;
        case Command::kSet:
            return kFixedBytes + key + kNumberBytesMax + value_bytes(request.key);
        case Command::kAuth:
            return auth_.size();
    }
    return 0;
}

uint8_t* Workload::write_key(uint64_t key, uint8_t* out) const {
    return put(write_digits(key, out), "\r\n");
}

uint8_t* Workload::write_memcached(const Request& request, uint8_t* out) const {
    if (request.command == Command::kGet) return write_key(request.key, put(out, get_header_));
    if (request.command == Command::kMget) {
        out = put(out, "get");
        KeyWalk keys = walk(request);
        for (uint32_t i = 0; i < options_.mget_keys; ++i) {
            out = write_digits(keys.next(), put(out, key_header_));
        }
        return put(out, "\r\n");
    }
    const uint32_t size = value_bytes(request.key);
    out = put(write_digits(request.key, put(put(out, "set"), key_header_)), " 0 0 ");
    out = put(put(out, std::to_string(size)), "\r\n");
    write_value(request.key, out, size);
    return put(out + size, "\r\n");
}

uint8_t* Workload::write(const Request& request, uint8_t* out) const {
    if (options_.protocol == Protocol::kMemcached) return write_memcached(request, out);
    switch (request.command) {
        case Command::kGet:
            return write_key(request.key, put(out, get_header_));
        case Command::kMget: {
            out = resp::write_aggregate_header(out, '*', uint64_t{options_.mget_keys} + 1);
            out = put(out, "$4\r\nMGET\r\n");
            KeyWalk keys = walk(request);
            for (uint32_t i = 0; i < options_.mget_keys; ++i) {
                out = write_key(keys.next(), put(out, key_header_));
            }
            return out;
        }
        case Command::kSet: {
            const uint32_t size = value_bytes(request.key);
            out = put(out, request.ttl_ms == 0 ? "*3\r\n$3\r\nSET\r\n" : "*5\r\n$3\r\nSET\r\n");
            out = write_key(request.key, put(out, key_header_));
            out = resp::write_bulk_header(out, size);
            write_value(request.key, out, size);
            out = put(out + size, "\r\n");
            if (request.ttl_ms != 0) {
                out = put(out, "$2\r\nPX\r\n");
                out = resp::write_bulk(out, std::to_string(request.ttl_ms));
            }
            return out;
        }
        case Command::kAuth:
            return put(out, auth_);
    }
    return out;
}

uint32_t Workload::value_bytes(uint64_t key) const {
    if (sizes_.is_fixed()) return sizes_.bytes_max();
    base::Rng rng(mix(options_.seed, ~key));
    return sizes_.draw(rng);
}

void Workload::write_value(uint64_t key, uint8_t* out, size_t size) const {
    const uint64_t key_seed = mix(options_.seed, key);
    for (size_t done = 0; done < size; done += 8) {
        const uint64_t word = value_word(key_seed, done / 8);
        std::memcpy(out + done, &word, std::min<size_t>(8, size - done));
    }
}

bool Workload::matches(uint64_t key, uint64_t offset, const uint8_t* data, size_t size) const {
    const uint64_t key_seed = mix(options_.seed, key);
    size_t done = 0;
    while (done < size) {
        const uint64_t at = offset + done;
        const uint64_t word = value_word(key_seed, at / 8);
        const size_t skip = at % 8;
        const size_t piece = std::min<size_t>(8 - skip, size - done);
        std::array<uint8_t, 8> expected;
        std::memcpy(expected.data(), &word, 8);
        if (std::memcmp(data + done, expected.data() + skip, piece) != 0) return false;
        done += piece;
    }
    return true;
}

}  // namespace cachee::loadgen
