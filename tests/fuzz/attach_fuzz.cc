// SPDX-License-Identifier: Apache-2.0
// Fuzz target of l1/attach.h and l1/rebuild.h: the input damages a store that is full of items, and
// a new owner takes it over. The input is records of 8 bytes: what is done, and where; see
// damage(). Promises: nothing outside the store is touched, no key has a value that was never put
// for it, and afterwards the store works and its books agree.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/assert.h"
#include "base/hash.h"
#include "l1/attach.h"
#include "l1/item.h"
#include "l1/partition.h"
#include "l1/store.h"
#include "tests/fuzz/fuzz.h"

namespace cachee::fuzz {

namespace {

using namespace l1;

constexpr uint64_t kSeed = 7;
constexpr uint32_t kGeneration = 5;
constexpr uint64_t kNowMs = 1000;
constexpr uint32_t kKeys = 600;

std::string key_of_number(uint32_t number) {
    std::string key = "key" + std::to_string(number);
    key.append(number % 30, 'k');
    return key;
}
// Tells for itself whose it is, and that it is whole.
std::string value_of(const std::string& key, uint32_t version) {
    std::string value = key + "=" + std::to_string(version) + ":";
    value.append((version * 37 + key.size()) % (version % 5 == 0 ? 9000 : 90),
                 static_cast<char>('a' + version % 26));
    return value;
}
bool was_put(const std::string& key, std::string_view value) {
    if (!value.starts_with(key + "=")) return false;
    const std::string number(value.substr(key.size() + 1, 10));
    return value == value_of(key, static_cast<uint32_t>(std::strtoul(number.c_str(), nullptr, 10)));
}

void put(Partition& partition, uint32_t number, uint32_t version) {
    const std::string key = key_of_number(number);
    const uint64_t deadline_ms = version % 7 == 0 ? kNowMs + version : 0;
    partition.put(base::hash_key(key, kSeed), key, value_of(key, version), deadline_ms, kGeneration,
                  kNowMs);
}

struct Template {
    std::vector<uint8_t> early;  // the same store at two times
    std::vector<uint8_t> late;
};

Template make_template() {
    auto store = Store::create({.instance = "fuzz-" + std::to_string(::getpid()),
                                .hugepages = Hugepages::kOff,
                                .bytes = 512 << 10,
                                .item_bytes_expected = 2000,
                                .hash_seed = kSeed});
    CACHEE_ASSERT(store.has_value());
    store.value()->unlink();
    Partition& partition = store.value()->partition(0);
    Template made;
    uint32_t version = 0;
    for (uint32_t round = 0; round < 6; ++round) {
        for (uint32_t i = 0; i < kKeys; ++i) {
            if ((i + round) % 3 != 0) put(partition, i, ++version);
            if (i % 11 == round) {
                const std::string key = key_of_number(i);
                partition.erase(base::hash_key(key, kSeed), key);
            }
        }
        const uint8_t* base = store.value()->base();
        (round == 3 ? made.early : made.late).assign(base, base + store.value()->bytes());
    }
    return made;
}

const Template& store_template() {
    static const Template kTemplate = make_template();
    return kTemplate;
}

uint64_t number_at(const uint8_t* data, uint32_t bytes) {
    uint64_t value = 0;
    std::memcpy(&value, data, bytes);
    return value;
}

// Where a record points to: the parts of the store that are small are hit as often as the large.
uint64_t place(const PartitionHeader& header, uint64_t bytes, uint32_t part, uint64_t number) {
    const uint64_t starts[] = {0,
                               sizeof(FileHeader),
                               header.buckets_offset,
                               header.overflow_offset,
                               header.segment_table_offset,
                               header.segments_offset,
                               bytes};
    const uint32_t which = part % 6;
    return starts[which] + number % (starts[which + 1] - starts[which]);
}

// record | what 1 | part 1 | place 3 | argument 3 |
void damage(std::vector<uint8_t>& image, const uint8_t* data, size_t size) {
    const Template& from = store_template();
    const auto& header =
        *reinterpret_cast<const PartitionHeader*>(from.late.data() + sizeof(FileHeader));
    for (; size >= 8; data += 8, size -= 8) {
        const uint64_t at = place(header, image.size(), data[1], number_at(data + 2, 3));
        const uint64_t argument = number_at(data + 5, 3);
        const uint64_t left = image.size() - at;
        switch (data[0] % 6) {
            case 0:
                image[at] ^= static_cast<uint8_t>(1 << (argument % 8));
                break;
            case 1:
                image[at] = static_cast<uint8_t>(argument);
                break;
            case 2:  // lines of an earlier time
                std::memcpy(
                    &image[at / 64 * 64], &from.early[at / 64 * 64],
                    std::min<uint64_t>((argument % 64 + 1) * 64, image.size() - at / 64 * 64));
                break;
            case 3:
                std::memset(&image[at], argument % 2 == 0 ? 0 : 0xff,
                            std::min<uint64_t>(argument / 2 % 8192, left));
                break;
            case 4: {  // from elsewhere in the same part
                const uint64_t source = place(header, image.size(), data[1], argument * 64) / 8 * 8;
                std::memmove(&image[at / 8 * 8], &image[source],
                             std::min<uint64_t>({64, image.size() - at, image.size() - source}));
                break;
            }
            default:  // the end of the file was lost
                std::memset(&image[at], 0, left);
        }
    }
}

void check_books(const Partition& partition) {
    const Segments& segments = partition.segments();
    uint64_t live = 0;
    uint32_t free = 0;
    for (uint32_t i = 0; i < segments.count(); ++i) {
        live += segments.info(i).live_items;
        free += segments.info(i).state == SegmentState::kFree ? 1 : 0;
        CACHEE_ASSERT(segments.info(i).used_bytes <= segments.segment_bytes());
    }
    CACHEE_ASSERT(live == partition.items());
    CACHEE_ASSERT(free == segments.free_count());
}

uint64_t check_values(const Partition& partition) {
    uint64_t hits = 0;
    for (uint32_t i = 0; i < kKeys; ++i) {
        const std::string key = key_of_number(i);
        const Lookup found = partition.find(base::hash_key(key, kSeed), key, kNowMs, kGeneration);
        CACHEE_ASSERT(found.status != FindStatus::kBusy);
        if (found.status != FindStatus::kHit) continue;
        ++hits;
        CACHEE_ASSERT(found.deadline_ms == 0 || found.deadline_ms > kNowMs);
        CACHEE_ASSERT(
            was_put(key, {reinterpret_cast<const char*>(found.value), found.value_bytes}));
    }
    return hits;
}

}  // namespace

void attach_target(const uint8_t* data, size_t size) {
    const Template& from = store_template();
    // Of its own size and alignment: what reads outside it is seen.
    const std::unique_ptr<uint8_t, decltype(&std::free)> block(
        static_cast<uint8_t*>(std::aligned_alloc(4096, from.late.size())), &std::free);
    std::vector<uint8_t> image = from.late;
    damage(image, data, std::min<size_t>(size, 1024));
    std::memcpy(block.get(), image.data(), image.size());
    const auto& planned = *reinterpret_cast<const FileHeader*>(from.late.data());
    const auto* planned_partition =
        reinterpret_cast<const PartitionHeader*>(from.late.data() + sizeof(FileHeader));
    auto& header = *reinterpret_cast<FileHeader*>(block.get());
    auto* headers = reinterpret_cast<PartitionHeader*>(block.get() + sizeof(FileHeader));
    if (!fault_of(header, {headers, 1}, planned, {planned_partition, 1}).empty()) return;
    Partition partition(block.get(), headers, header.item_bytes_max, header.hash_seed,
                        Begin::kAsFound);
    const RebuildReport report =
        partition.rebuild({.now_ms = kNowMs, .generation = newest_generation({headers, 1})});
    CACHEE_ASSERT(report.items == partition.items());
    check_books(partition);
    if (header.hash_seed != kSeed) return;
    const uint64_t hits = check_values(partition);
    CACHEE_ASSERT(hits <= partition.items());
    if (size == 0) CACHEE_ASSERT(hits == partition.items() && hits > kKeys / 4);
    for (uint32_t i = 0; i < 300; ++i) {
        put(partition, i % kKeys, i + 1);
        partition.maintain(kNowMs);
    }
    check_books(partition);
    check_values(partition);
    partition.clear();
    CACHEE_ASSERT(partition.items() == 0);
}

}  // namespace cachee::fuzz

CACHEE_FUZZ_MAIN(attach_target)
