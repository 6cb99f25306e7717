// SPDX-License-Identifier: Apache-2.0
// The table of configuration keys (rows: key_rows.inc) and what can be done with a key by its type:
// parse, print, describe. Cold code; any thread. No YAML and no checks across keys (loader.cc,
// validate.cc).
#include "config/keys.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>
#include <vector>

#include "config/address.h"
#include "config/loader.h"

namespace cachee::config {
namespace {

#define FIELD(path) [](Config& config) -> void* { return &config.path; }
#define BYTES_OF(path) static_cast<uint8_t>(sizeof(std::declval<Config&>().path))
#define NUMBER_RULE(path, unit, min, max, rule, meaning)               \
    {#path, KeyType::kNumber, BYTES_OF(path), unit,       min, max, 0, \
     "",    KeyRule::rule,    meaning,        FIELD(path)},
#define NUMBER(path, unit, min, max, meaning) NUMBER_RULE(path, unit, min, max, kNone, meaning)
#define BYTES(path, min, max, rule, meaning)                          \
    {#path, KeyType::kBytes, BYTES_OF(path), "bytes",    min, max, 0, \
     "",    KeyRule::rule,   meaning,        FIELD(path)},
#define FRACTION(path, max, meaning) \
    {#path, KeyType::kFraction, 8, "", 0, 0, max, "", KeyRule::kNone, meaning, FIELD(path)},
#define BOOLEAN(path, meaning) \
    {#path, KeyType::kBoolean, 1, "", 0, 0, 0, "", KeyRule::kNone, meaning, FIELD(path)},
#define CHOICE(path, choices, meaning) \
    {#path, KeyType::kChoice, 1, "", 0, 0, 0, choices, KeyRule::kNone, meaning, FIELD(path)},
#define TEXT(path, rule, meaning) \
    {#path, KeyType::kText, 0, "", 0, 0, 0, "", KeyRule::rule, meaning, FIELD(path)},
#define LIST(path, type, unit, min, max, meaning) \
    {#path, KeyType::type, 4, unit, min, max, 0, "", KeyRule::kNone, meaning, FIELD(path)},
#define TEXTS(path, rule, meaning) \
    {#path, KeyType::kTextList, 4, "", 0, 0, 0, "", KeyRule::rule, meaning, FIELD(path)},

constexpr KeyInfo kKeys[] = {
#include "config/key_rows.inc"
};

uint64_t read_number(const KeyInfo& key, const void* field) {
    switch (key.field_bytes) {
        case 2:
            return *static_cast<const uint16_t*>(field);
        case 4:
            return *static_cast<const uint32_t*>(field);
        default:
            return *static_cast<const uint64_t*>(field);
    }
}

void write_number(const KeyInfo& key, void* field, uint64_t value) {
    switch (key.field_bytes) {
        case 2:
            *static_cast<uint16_t*>(field) = static_cast<uint16_t>(value);
            break;
        case 4:
            *static_cast<uint32_t*>(field) = static_cast<uint32_t>(value);
            break;
        default:
            *static_cast<uint64_t*>(field) = value;
            break;
    }
}

// The type's greatest value where that is below the row's.
uint64_t max_of(const KeyInfo& key) {
    const uint64_t type_max = key.field_bytes == 2   ? std::numeric_limits<uint16_t>::max()
                              : key.field_bytes == 4 ? std::numeric_limits<uint32_t>::max()
                                                     : std::numeric_limits<uint64_t>::max();
    return std::min(key.max, type_max);
}

std::vector<std::string_view> words(std::string_view text) {
    std::vector<std::string_view> result;
    while (!text.empty()) {
        const size_t space = std::min(text.find(' '), text.size());
        result.push_back(text.substr(0, space));
        text.remove_prefix(std::min(space + 1, text.size()));
    }
    return result;
}

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& c : result) {
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    return result;
}

enum class NumberError : uint8_t { kNone, kNotANumber, kTooLarge };

NumberError parse_whole(std::string_view text, uint64_t& value) {
    const char* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, value);
    if (text.empty() || at != end || error == std::errc::invalid_argument) {
        return NumberError::kNotANumber;
    }
    return error == std::errc{} ? NumberError::kNone : NumberError::kTooLarge;
}

NumberError parse_bytes(std::string_view text, uint64_t& value) {
    uint64_t factor = 1;
    for (const auto& [suffix, bytes] :
         {std::pair<std::string_view, uint64_t>{"KiB", kKiB}, {"MiB", kMiB}, {"GiB", kGiB}}) {
        if (text.ends_with(suffix)) {
            factor = bytes;
            text.remove_suffix(suffix.size());
            if (text.ends_with(' ')) {
                text.remove_suffix(1);
            }
            break;
        }
    }
    const NumberError error = parse_whole(text, value);
    if (error != NumberError::kNone) {
        return error;
    }
    if (value > std::numeric_limits<uint64_t>::max() / factor) {
        return NumberError::kTooLarge;
    }
    value *= factor;
    return NumberError::kNone;
}

std::string bytes_text(uint64_t bytes) {
    for (const auto& [suffix, unit] :
         {std::pair<const char*, uint64_t>{"GiB", kGiB}, {"MiB", kMiB}, {"KiB", kKiB}}) {
        if (bytes != 0 && bytes % unit == 0) {
            return std::to_string(bytes / unit) + suffix;
        }
    }
    return std::to_string(bytes);
}

std::string parse_number(const KeyInfo& key, const std::string& text, uint64_t& value) {
    const bool bytes = key.type == KeyType::kBytes;
    const NumberError error = bytes ? parse_bytes(text, value) : parse_whole(text, value);
    if (error == NumberError::kNotANumber) {
        return bytes ? "is not a size (a whole number, or one with KiB, MiB or GiB)"
                     : "is not a whole number";
    }
    if (error == NumberError::kTooLarge || value < key.min || value > max_of(key)) {
        return "is out of range";
    }
    if (key.rule == KeyRule::kPowerOfTwo && !std::has_single_bit(value)) {
        return "is not a power of two";
    }
    return "";
}

std::string check_text(const KeyInfo& key, const std::string& text) {
    if (text.find('\0') != std::string::npos) {
        return "contains a NUL byte";
    }
    switch (key.rule) {
        case KeyRule::kName: {
            const bool good =
                !text.empty() && text.size() <= 32 &&
                std::all_of(text.begin(), text.end(), [](char c) {
                    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
                });
            return good ? "" : "is not a valid name";
        }
        case KeyRule::kAbsolutePath:
            return text.starts_with('/') ? "" : "is not an absolute path";
        case KeyRule::kIpv4:
        case KeyRule::kIpv4OrEmpty: {
            uint32_t address = 0;
            const bool empty = text.empty() && key.rule == KeyRule::kIpv4OrEmpty;
            return empty || parse_ipv4(text, address) ? "" : "is not an IPv4 address";
        }
        case KeyRule::kIpv6OrEmpty: {
            std::array<uint8_t, 16> address;
            return text.empty() || parse_ipv6(text, address) ? "" : "is not an IPv6 address";
        }
        case KeyRule::kIpv6Prefix: {
            Ipv6Prefix prefix;
            return parse_ipv6_prefix(text, prefix)
                       ? ""
                       : "is not a host's IPv6 address with its prefix length";
        }
        case KeyRule::kQuota: {
            Quota quota;
            return parse_quota(text, quota);
        }
        case KeyRule::kBackend: {
            if (text.empty()) {
                return "";
            }
            const auto backend = parse_backend(text);
            return backend ? "" : backend.error().message;
        }
        default:
            return "";
    }
}

std::string set_boolean(const std::string& text, void* field) {
    const std::string word = lower(text);
    for (const auto& [name, value] : {std::pair<std::string_view, bool>{"true", true},
                                      {"yes", true},
                                      {"on", true},
                                      {"false", false},
                                      {"no", false},
                                      {"off", false}}) {
        if (word == name) {
            *static_cast<bool*>(field) = value;
            return "";
        }
    }
    return "is neither true nor false";
}

std::string set_fraction(const KeyInfo& key, const std::string& text, void* field) {
    double value = 0;
    const char* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, value);
    if (text.empty() || at != end || error != std::errc{} || !std::isfinite(value)) {
        return "is not a number";
    }
    if (value < 0 || value > key.max_fraction) {
        return "is out of range";
    }
    *static_cast<double*>(field) = value;
    return "";
}

std::string set_choice(const KeyInfo& key, const std::string& text, void* field) {
    const std::vector<std::string_view> names = words(key.choices);
    const auto found = std::find(names.begin(), names.end(), text);
    if (found == names.end()) {
        return "is not known";
    }
    *static_cast<uint8_t*>(field) = static_cast<uint8_t>(found - names.begin());
    return "";
}

std::string set_number_list(const KeyInfo& key, std::span<const std::string> texts, void* field) {
    std::vector<uint32_t> values;
    for (const std::string& text : texts) {
        uint64_t value = 0;
        const std::string error = parse_number(key, text, value);
        if (!error.empty()) {
            return "has an element that " + error;
        }
        values.push_back(static_cast<uint32_t>(value));
    }
    *static_cast<std::vector<uint32_t>*>(field) = std::move(values);
    return "";
}

// Shortest form that reads back, for probabilities: 0, 0.01.
std::string fraction_text(double value) {
    char text[40];
    return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            result.push_back('\\');
        }
        result.push_back(c);
    }
    return result + '"';
}

size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a.size(); ++i) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.size(); ++j) {
            const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row[b.size()];
}

std::string_view last_part(std::string_view name) {
    const size_t dot = name.rfind('.');
    return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

}  // namespace

std::string parse_quota(std::string_view text, Quota& quota) {
    constexpr size_t kPrefixBytesMax = 64;
    const size_t space = text.find(' ');
    if (space == std::string_view::npos || space + 1 == text.size()) {
        return "has no prefix or no bytes";
    }
    quota.prefix = text.substr(space + 1);
    if (quota.prefix.size() > kPrefixBytesMax) return "has a prefix of more than 64 bytes";
    const NumberError error = parse_bytes(text.substr(0, space), quota.bytes);
    if (error != NumberError::kNone || quota.bytes == 0) {
        return "has bytes that are no size (a whole number, or one with KiB, MiB or GiB)";
    }
    return "";
}

std::span<const KeyInfo> keys() { return kKeys; }

const KeyInfo* find_key(std::string_view name) {
    for (const KeyInfo& key : kKeys) {
        if (key.name == name) {
            return &key;
        }
    }
    return nullptr;
}

bool is_section(std::string_view name) {
    return std::any_of(std::begin(kKeys), std::end(kKeys), [name](const KeyInfo& key) {
        return key.name.size() > name.size() && key.name.starts_with(name) &&
               key.name[name.size()] == '.';
    });
}

std::string allowed_text(const KeyInfo& key) {
    switch (key.type) {
        case KeyType::kBoolean:
            return "true or false";
        case KeyType::kNumber:
        case KeyType::kNumberList:
        case KeyType::kBytes: {
            const bool bytes = key.type == KeyType::kBytes;
            const auto text = [bytes](uint64_t v) {
                return bytes ? bytes_text(v) : std::to_string(v);
            };
            return (key.type == KeyType::kNumberList ? "a list of " : "") + text(key.min) + ".." +
                   text(max_of(key)) + (key.rule == KeyRule::kPowerOfTwo ? ", a power of two" : "");
        }
        case KeyType::kFraction:
            return "0.." + fraction_text(key.max_fraction);
        case KeyType::kChoice: {
            std::string text = "one of: ";
            for (const std::string_view name : words(key.choices)) {
                text.append(text.ends_with(": ") ? "" : ", ").append(name);
            }
            return text;
        }
        case KeyType::kTextList:
            if (key.rule == KeyRule::kQuota) return "a list of {prefix: \"sess:\", bytes: 64MiB}";
            return key.rule == KeyRule::kIpv6Prefix
                       ? "a list of IPv6 addresses such as \"fd00::1/64\""
                       : "a list of texts";
        case KeyType::kText:
            break;
    }
    switch (key.rule) {
        case KeyRule::kName:
            return "1 to 32 of a-z, 0-9 and '-'";
        case KeyRule::kAbsolutePath:
            return "a path that begins with '/'";
        case KeyRule::kIpv4:
            return "an IPv4 address such as 127.0.0.1";
        case KeyRule::kIpv4OrEmpty:
            return "an IPv4 address such as 10.0.0.1, or empty";
        case KeyRule::kIpv6OrEmpty:
            return "an IPv6 address such as fe80::1, or empty";
        case KeyRule::kBackend:
            return "redis://[user:password@]host:port, or empty";
        default:
            return "any text";
    }
}

std::string value_text(const KeyInfo& key, const Config& config) {
    // field() only forms the address.
    const void* field = key.field(const_cast<Config&>(config));
    switch (key.type) {
        case KeyType::kBoolean:
            return *static_cast<const bool*>(field) ? "true" : "false";
        case KeyType::kNumber:
            return std::to_string(read_number(key, field));
        case KeyType::kBytes:
            return bytes_text(read_number(key, field));
        case KeyType::kFraction:
            return fraction_text(*static_cast<const double*>(field));
        case KeyType::kChoice:
            return std::string(words(key.choices)[*static_cast<const uint8_t*>(field)]);
        case KeyType::kText: {
            const auto& text = *static_cast<const std::string*>(field);
            return text.empty() ? "\"\"" : text;
        }
        case KeyType::kTextList: {
            std::string text = "[";
            for (const std::string& element :
                 *static_cast<const std::vector<std::string>*>(field)) {
                text.append(text.size() > 1 ? ", " : "").append(quoted(element));
            }
            return text + "]";
        }
        case KeyType::kNumberList:
            break;
    }
    std::string text = "[";
    for (const uint32_t element : *static_cast<const std::vector<uint32_t>*>(field)) {
        text.append(text.size() > 1 ? ", " : "").append(std::to_string(element));
    }
    return text + "]";
}

std::string set_value(const KeyInfo& key, std::span<const std::string> texts, Config& config) {
    void* field = key.field(config);
    if (key.type == KeyType::kNumberList) {
        return set_number_list(key, texts, field);
    }
    if (key.type == KeyType::kTextList) {
        for (const std::string& text : texts) {
            if (std::string error = check_text(key, text); !error.empty()) {
                return "has an element that " + error;
            }
        }
        static_cast<std::vector<std::string>*>(field)->assign(texts.begin(), texts.end());
        return "";
    }
    if (texts.size() != 1) {
        return "is a list; one value is expected";
    }
    const std::string& text = texts.front();
    switch (key.type) {
        case KeyType::kBoolean:
            return set_boolean(text, field);
        case KeyType::kFraction:
            return set_fraction(key, text, field);
        case KeyType::kChoice:
            return set_choice(key, text, field);
        case KeyType::kText: {
            std::string error = check_text(key, text);
            if (error.empty()) {
                *static_cast<std::string*>(field) = text;
            }
            return error;
        }
        default: {
            uint64_t value = 0;
            std::string error = parse_number(key, text, value);
            if (error.empty()) {
                write_number(key, field, value);
            }
            return error;
        }
    }
}

std::string nearest_key(std::string_view name) {
    if (name.size() > 128) {
        return "";  // no typing mistake; the distance is quadratic
    }
    std::string best;
    size_t best_distance = std::max<size_t>(2, name.size() / 4) + 1;
    const auto offer = [&](std::string_view candidate, size_t distance) {
        if (distance < best_distance) {
            best = candidate;
            best_distance = distance;
        }
    };
    for (const KeyInfo& key : kKeys) {
        offer(key.name, edit_distance(name, key.name));
        const std::string_view section = key.name.substr(0, key.name.find('.'));
        if (section != key.name && name.find('.') == std::string_view::npos) {
            offer(section, edit_distance(name, section));
        }
    }
    // The right name in the wrong section.
    for (const KeyInfo& key : kKeys) {
        if (best.empty() && last_part(key.name) == last_part(name)) {
            best = key.name;
        }
    }
    return best;
}

}  // namespace cachee::config
