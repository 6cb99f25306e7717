// SPDX-License-Identifier: Apache-2.0
// The table of configuration keys: the one list that the loader, its checks and the test of
// conf/cachee.yaml work from, so that they cannot diverge. Add a field to schema.h, a row in
// keys.cc and its lines in conf/cachee.yaml. Cold code; immutable, any thread. No YAML here.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "config/schema.h"

namespace cachee::config {

enum class KeyType : uint8_t {
    kBoolean,
    kNumber,    // whole
    kBytes,     // whole, may be written with KiB, MiB, GiB
    kFraction,  // double
    kText,
    kChoice,  // one of KeyInfo::choices; the field is an enum of uint8_t in that order
    kTextList,
    kNumberList,  // of uint32_t
};

// Checks beyond type and range.
enum class KeyRule : uint8_t {
    kNone,
    kPowerOfTwo,
    kName,  // [a-z0-9-]{1,32}
    kAbsolutePath,
    kIpv4,
    kIpv4OrEmpty,
    kIpv6OrEmpty,
    kIpv6Prefix,
    kQuota,
    kSecret,   // never printed in a finding
    kBackend,  // parse_backend(), or empty; never printed: it may hold a password
};

struct KeyInfo {
    std::string_view name;  // "listen.port"
    KeyType type;
    uint8_t field_bytes;    // of a number: 2, 4 or 8
    std::string_view unit;  // "bytes", "ms", ...; empty: none
    uint64_t min;           // numbers and list elements, inclusive; fractions: see max_fraction
    uint64_t max;
    double max_fraction;       // kFraction: 0..max_fraction
    std::string_view choices;  // kChoice: "socket dpdk sim"
    KeyRule rule;
    std::string_view meaning;
    void* (*field)(Config& config);
};

// An element of l1.quotas. The file has {prefix: "sess:", bytes: 64MiB}; as text "64MiB sess:".
struct Quota {
    std::string prefix;
    uint64_t bytes = 0;  // of all workers together
};
// Empty: done; else why not.
std::string parse_quota(std::string_view text, Quota& quota);

// In the order of schema.h.
std::span<const KeyInfo> keys();
const KeyInfo* find_key(std::string_view name);
// True for "listen" when there is a key "listen.<anything>".
bool is_section(std::string_view name);

// "1..65535", "true or false", "one of: socket, dpdk, sim" ...
std::string allowed_text(const KeyInfo& key);
// The value that `config` has for the key, as it would be written in the file: "6379", "256MiB",
// "\"\"".
std::string value_text(const KeyInfo& key, const Config& config);

// Sets the key from the text of a YAML scalar, or of each element of a list. Empty: done; else why
// not
// ("is not a whole number"), without the value. `config` is unchanged then.
std::string set_value(const KeyInfo& key, std::span<const std::string> texts, Config& config);

// The known key or section closest to `name`; empty when nothing is close.
std::string nearest_key(std::string_view name);

}  // namespace cachee::config
