// SPDX-License-Identifier: Apache-2.0
// Numbers and JSON as the CLI prints them. Not a JSON library: it writes flat and nested objects in
// order, nothing reads them here. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cachee::cli {

// 1234567 -> "1,234,567".
std::string grouped(uint64_t value);
// Four significant figures with k, M, G, T (powers of 1000): 999 -> "999", 12345 -> "12.3k".
std::string human_count(double value);
// "1.5 GiB", "512 B": powers of 1024.
std::string human_bytes(uint64_t bytes);
// Nanoseconds in the unit that keeps the figure below 1000: "850 ns", "12.3 us", "4.0 ms", "2.1 s".
std::string human_ns(uint64_t ns);
// Seconds as "3d 04:05:06" or "04:05:06".
std::string human_uptime(uint64_t seconds);
// One decimal and no sign: 12.345 -> "12.3"; a negative value means "not known" and gives "-".
std::string percent(double value);
// part/whole in percent, or -1 (not known) when there is no whole.
double ratio_percent(uint64_t part, uint64_t whole);

// The text between quotes of a JSON string. Bytes that are not printable ASCII become \u00XX, so
// that whatever shared memory holds is valid JSON.
std::string json_escape(std::string_view text);

// Builds one JSON object or array, members in the order of the calls.
//   JsonObject o; o.text("a", "b"); o.number("n", 3); o.close() == R"({"a":"b","n":3})"
class JsonObject {
  public:
    JsonObject& text(std::string_view key, std::string_view value);
    JsonObject& number(std::string_view key, uint64_t value);
    // Six significant figures; a value that is not finite becomes null.
    JsonObject& real(std::string_view key, double value);
    JsonObject& boolean(std::string_view key, bool value);
    JsonObject& null(std::string_view key);
    // `json` is inserted as it is: an object, an array, a number.
    JsonObject& raw(std::string_view key, std::string_view json);
    std::string close() const { return body_ + "}"; }

  private:
    void key(std::string_view name);
    std::string body_ = "{";
};

class JsonArray {
  public:
    JsonArray& raw(std::string_view json);
    std::string close() const { return body_ + "]"; }

  private:
    std::string body_ = "[";
};

// True when `fd` is a terminal that understands colours (TERM set and not "dumb", NO_COLOR unset).
bool colours_wanted(int fd);

}  // namespace cachee::cli
