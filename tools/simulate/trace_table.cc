// SPDX-License-Identifier: Apache-2.0
#include "tools/simulate/trace_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace cachee::simulate {

namespace {

constexpr uint64_t kProgressEvery = 1 << 16;
constexpr size_t kSlotsFirst = 1 << 12;
// Positions and object numbers are 32 bits.
constexpr uint64_t kRequestsMax = UINT32_MAX - 1;

uint64_t mix(uint64_t key) {
    key *= 0x9e3779b97f4a7c15ULL;
    return key ^ (key >> 29);
}

}  // namespace

uint32_t TraceTable::Numbers::number_of(uint64_t key, std::vector<uint64_t>& keys) {
    if ((keys.size() + 1) * 2 > slots.size()) grow(keys);
    size_t at = mix(key) & (slots.size() - 1);
    while (slots[at] != 0) {
        if (keys[slots[at] - 1] == key) return slots[at] - 1;
        at = (at + 1) & (slots.size() - 1);
    }
    keys.push_back(key);
    slots[at] = static_cast<uint32_t>(keys.size());
    return slots[at] - 1;
}

void TraceTable::Numbers::grow(const std::vector<uint64_t>& keys) {
    slots.assign(std::max(kSlotsFirst, slots.size() * 2), 0);
    for (size_t i = 0; i < keys.size(); ++i) {
        size_t at = mix(keys[i]) & (slots.size() - 1);
        while (slots[at] != 0) at = (at + 1) & (slots.size() - 1);
        slots[at] = static_cast<uint32_t>(i + 1);
    }
}

void TraceTable::add(const cli::TraceRecord& record, Numbers& numbers) {
    const uint32_t object = numbers.number_of(record.key, keys_);
    const uint64_t bytes =
        std::min<uint64_t>(uint64_t{record.key_bytes} + record.value_bytes, UINT32_MAX);
    if (record.value_bytes != 0) is_unit_size_ = false;
    if (object == key_bytes_.size()) {
        key_bytes_.push_back(record.key_bytes);
        footprint_bytes_ += bytes;
    }
    largest_bytes_ = std::max(largest_bytes_, bytes);
    requests_.push_back({.time_ms = record.time_ms,
                         .object = object,
                         .bytes = static_cast<uint32_t>(bytes),
                         .ttl_s = record.ttl_s,
                         .operation = record.operation});
}

void TraceTable::finish() {
    if (!is_unit_size_) return;
    footprint_bytes_ = objects();
    largest_bytes_ = 1;
    for (Request& request : requests_) request.bytes = 1;
}

// At most: the vectors double, and the table of numbers is half full.
uint64_t TraceTable::memory_bytes() const {
    return requests_.capacity() * sizeof(Request) + keys_.capacity() * 12 +
           std::bit_ceil(keys_.size() + 1) * 2 * sizeof(uint32_t);
}

base::Result<TraceTable> TraceTable::load(const std::string& path, TraceFormat format,
                                          const TraceLimits& limits,
                                          const std::function<void(double)>& progress) {
    auto reader = cli::TraceReader::open(path, format);
    if (!reader) return reader.error();
    TraceTable table;
    Numbers numbers;
    cli::TraceRecord record;
    const uint64_t requests_max = limits.requests_max == 0 ? UINT64_MAX : limits.requests_max;
    while (table.requests_.size() < requests_max) {
        auto more = (*reader)->next(record);
        if (!more) return more.error();
        if (!*more) break;
        table.add(record, numbers);
        if (table.requests_.size() % kProgressEvery != 0) continue;
        progress((*reader)->progress());
        if (table.memory_bytes() > limits.memory_bytes_max ||
            table.requests_.size() + kProgressEvery > kRequestsMax) {
            return base::Error{fmt::format(
                "{}: after {} requests the trace takes more memory than --memory-max allows; "
                "raise it, or take the first requests only with --limit",
                path, table.requests_.size())};
        }
    }
    if (table.requests_.empty()) return base::Error{path + ": the trace has no requests"};
    table.finish();
    return table;
}

TraceTable TraceTable::of(const std::vector<cli::TraceRecord>& records) {
    TraceTable table;
    Numbers numbers;
    for (const cli::TraceRecord& record : records) table.add(record, numbers);
    table.finish();
    return table;
}

std::vector<uint32_t> TraceTable::next_positions() const {
    std::vector<uint32_t> next(requests_.size(), kNever);
    std::vector<uint32_t> seen(objects(), kNever);
    for (size_t i = requests_.size(); i > 0; --i) {
        next[i - 1] = seen[requests_[i - 1].object];
        seen[requests_[i - 1].object] = static_cast<uint32_t>(i - 1);
    }
    return next;
}

}  // namespace cachee::simulate
