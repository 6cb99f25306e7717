// SPDX-License-Identifier: Apache-2.0
// l1::Partition as a map, for tests of what is above it: stores without limits unless told to fail.
// It holds its items outside of the class, so that the header stays L1's own. Test code, one thread.
#include <map>
#include <string>

#include "test_partition.h"

namespace cachee {
namespace {

struct Item {
    std::string value;
    uint64_t deadline_ms;
    uint32_t generation;
};
using Items = std::map<std::string, Item, std::less<>>;

std::map<const void*, Items>& all_items() {
    static std::map<const void*, Items> items;
    return items;
}
uint32_t puts_to_fail = 0;

}  // namespace

namespace l1 {

void Partition::prefetch_bucket(uint64_t) const noexcept {}
void Partition::prefetch_item(uint64_t) const noexcept {}

Lookup Partition::find(uint64_t, std::string_view key, uint64_t now_ms,
                       uint32_t generation) const noexcept {
    Lookup lookup;
    const Items& items = all_items()[this];
    const auto found = items.find(key);
    if (found != items.end() && found->second.generation == generation &&
        (found->second.deadline_ms == 0 || found->second.deadline_ms > now_ms)) {
        lookup.status = FindStatus::kHit;
        lookup.value = reinterpret_cast<const uint8_t*>(found->second.value.data());
        lookup.value_bytes = static_cast<uint32_t>(found->second.value.size());
        lookup.deadline_ms = found->second.deadline_ms;
    }
    return lookup;
}

bool Partition::still_valid(const Lookup&) noexcept { return true; }

PutStatus Partition::put(uint64_t, std::string_view key, std::string_view value,
                         uint64_t deadline_ms, uint32_t generation, uint64_t) noexcept {
    if (puts_to_fail > 0) {
        --puts_to_fail;
        return PutStatus::kNoMemory;
    }
    all_items()[this][std::string(key)] = Item{std::string(value), deadline_ms, generation};
    return PutStatus::kStored;
}

bool Partition::erase(uint64_t, std::string_view key) noexcept {
    return all_items()[this].erase(std::string(key)) > 0;
}

bool Partition::set_deadline(uint64_t, std::string_view key, uint64_t deadline_ms) noexcept {
    Items& items = all_items()[this];
    const auto found = items.find(key);
    if (found == items.end()) {
        return false;
    }
    found->second.deadline_ms = deadline_ms;
    return true;
}

void Partition::clear() noexcept { all_items()[this].clear(); }
void Partition::maintain(uint64_t) noexcept {}
void Partition::touch(uint64_t) noexcept {}
void Partition::set_counters(stats::WorkerCounters*) noexcept {}
uint64_t Partition::items() const noexcept { return all_items()[this].size(); }

}  // namespace l1

namespace dataplane::test {

void fail_puts(uint32_t n) { puts_to_fail = n; }

Shell::Shell(const StandaloneOptions& options) : standalone_(partition_, options) {}

Shell::~Shell() {
    all_items().erase(&partition_);
    puts_to_fail = 0;
}

}  // namespace dataplane::test
}  // namespace cachee
