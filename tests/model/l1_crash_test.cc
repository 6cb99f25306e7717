// SPDX-License-Identifier: Apache-2.0
// Killed between any two of its stores: random operations on a small store, the memory as it was
// after each single store of an operation (store_trace.h), and a new process that takes that over.
// Keys that the operation does not concern are all there with their value and deadline; its own has
// the old or the new one; nothing erased, expired or of another generation comes back; the books
// agree; and the store goes on working. Killed once more while it takes over, too.
// CACHEE_TEST_SEED replays a run; CACHEE_MODEL_OPERATIONS=<number> traces so many operations, and
// every one of their stores.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>

#include "base/hash.h"
#include "base/rng.h"
#include "l1/item.h"
#include "l1/partition.h"
#include "l1/store.h"
#include "tests/model/store_trace.h"

namespace cachee::l1 {
namespace {

constexpr uint64_t kHashSeed = 99;
constexpr uint32_t kKeys = 500;
constexpr uint64_t kFileBytes = 2 << 20;

struct Value {
    std::string bytes;
    uint64_t deadline_ms = 0;
    bool operator==(const Value&) const = default;
};
using Contents = std::map<std::string, Value>;

uint64_t hash_of(std::string_view key) { return base::hash_key(key, kHashSeed); }

std::optional<Value> look(Partition& partition, const std::string& key, uint64_t now_ms,
                          uint32_t generation) {
    const Lookup lookup = partition.find(hash_of(key), key, now_ms, generation);
    EXPECT_NE(lookup.status, FindStatus::kBusy) << key;
    if (lookup.status != FindStatus::kHit) return std::nullopt;
    return Value{{reinterpret_cast<const char*>(lookup.value), lookup.value_bytes},
                 lookup.deadline_ms};
}

std::string key_of_id(uint64_t id) {
    std::string key = "key" + std::to_string(id);
    key.append(id % 40, 'k');
    return key;
}

class CrashModel {
  public:
    CrashModel(uint64_t seed, uint64_t item_bytes_expected)
        : rng_(seed),
          options_(options_of("a", item_bytes_expected)),
          image_options_(options_of("b", item_bytes_expected)) {
        auto store = Store::create(options_);
        CACHEE_ASSERT(store.has_value());
        store_ = std::move(store).value();
        auto image = Store::create(image_options_);
        CACHEE_ASSERT(image.has_value());
        bytes_ = store_->bytes();
        CACHEE_ASSERT(bytes_ == kFileBytes);
        // A view of our own of the file that is taken over again and again.
        const int fd = ::open(image.value()->path().c_str(), O_RDWR | O_CLOEXEC);
        image_path_ = image.value()->path();
        void* mapped = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CACHEE_ASSERT(mapped != MAP_FAILED);
        ::close(fd);
        image_ = static_cast<uint8_t*>(mapped);
        work_.resize(bytes_);
    }
    ~CrashModel() {
        store_->unlink();
        ::munmap(image_, bytes_);
        ::unlink(image_path_.c_str());
    }

    void run(uint64_t traced, size_t points_max) {
        for (uint64_t i = 0; i < traced && !::testing::Test::HasFailure(); ++i) {
            for (uint64_t filler = rng_.below(400); filler > 0; --filler)
                random_operation(partition());
            if (rng_.below(8) == 0) restart();
            trace_one(points_max);
        }
        std::printf("%zu stores traced, %zu crashes, %zu of them twice, %zu items kept at most\n",
                    stores_, crashes_, crashes_twice_, items_most_);
        EXPECT_GT(crashes_, traced);
        EXPECT_GT(items_most_, 100U) << "an empty store proves nothing";
    }

  private:
    static StoreOptions options_of(const std::string& name, uint64_t item_bytes_expected) {
        return {.instance = "crash-" + name + "-" + std::to_string(::getpid()),
                .hugepages = Hugepages::kOff,
                .bytes = kFileBytes,
                .item_bytes_expected = item_bytes_expected,
                .hash_seed = kHashSeed};
    }
    Partition& partition() { return store_->partition(0); }
    std::string where() const { return "operation " + operation_; }

    std::string random_value() {
        const uint64_t most = rng_.chance(0.9) ? 100 : large_ ? 16'000 : 2500;
        std::string value = std::to_string(++serial_) + ":";
        value.append(rng_.below(most), static_cast<char>('a' + serial_ % 26));
        return value;
    }
    uint64_t random_deadline() {
        if (rng_.chance(0.5)) return 0;
        return now_ms_ + 1 + rng_.below(rng_.chance(0.3) ? 50 : 1'000'000);
    }
    // One change of the store, whatever it does; its name for messages.
    std::string random_operation(Partition& on) {
        const std::string key = key_of_id(rng_.below(kKeys));
        const uint64_t dice = rng_.below(1000);
        if (dice < 20) now_ms_ += rng_.below(dice == 0 ? 200'000 : 30);
        if (dice >= 998) {
            ++generation_;
            put(on, key, random_value(), random_deadline());
            return "generation, put " + key;
        }
        if (dice == 997) {
            on.clear();
            return "clear";
        }
        if (dice < 150) {
            on.maintain(now_ms_);
            return "maintain";
        }
        if (dice < 260) {
            on.erase(hash_of(key), key);
            return "erase " + key;
        }
        if (dice < 380) {
            if (look(on, key, now_ms_, generation_)) {
                on.set_deadline(hash_of(key), key, random_deadline());
            }
            return "set_deadline " + key;
        }
        if (dice < 450) {
            on.touch(hash_of(key));
            return "touch " + key;
        }
        put(on, key, random_value(), random_deadline());
        return "put " + key;
    }
    void put(Partition& on, const std::string& key, const std::string& value, uint64_t deadline) {
        EXPECT_EQ(on.put(hash_of(key), key, value, deadline, generation_, now_ms_),
                  PutStatus::kStored);
    }

    Contents contents(Partition& of) {
        Contents all;
        for (uint64_t id = 0; id < kKeys; ++id) {
            const std::string key = key_of_id(id);
            if (auto value = look(of, key, now_ms_, generation_)) all[key] = std::move(*value);
        }
        return all;
    }

    // The process ends in order and the next takes its store over.
    void restart() {
        const Contents before = contents(partition());
        store_.reset();
        AttachReport report;
        auto store = Store::attach_or_create(options_, now_ms_, &report);
        ASSERT_TRUE(store && report.warm) << report.text();
        store_ = std::move(store).value();
        EXPECT_EQ(contents(partition()), before);
        EXPECT_EQ(partition().items(), before.size());
    }

    void trace_one(size_t points_max) {
        test::StoreTrace& trace = trace_;
        // What is drawn for the operation is drawn again for the look at what was there before.
        const uint64_t now_before = now_ms_;
        Contents before = contents(partition());
        large_ = false;  // each store is paid for with two signals
        trace.run(store_->base(), [&] { operation_ = random_operation(partition()); });
        large_ = true;
        if (now_ms_ != now_before) {
            std::erase_if(before, [&](const auto& each) {
                return each.second.deadline_ms != 0 && each.second.deadline_ms <= now_ms_;
            });
        }
        if (operation_.starts_with("generation")) before.clear();
        const Contents after = contents(partition());
        stores_ += trace.size();
        std::memcpy(work_.data(), trace.before().data(), bytes_);
        const double chosen =
            static_cast<double>(points_max) / static_cast<double>(trace.size() + 1);
        for (size_t i = 0; i <= trace.size() && !::testing::Test::HasFailure(); ++i) {
            if (i > 0) test::StoreTrace::apply(trace[i - 1], work_.data());
            if (!rng_.chance(chosen)) continue;
            std::memcpy(image_, work_.data(), bytes_);
            crash(before, after, i, trace.size());
        }
    }

    void crash(const Contents& before, const Contents& after, size_t store, size_t stores) {
        SCOPED_TRACE(where() + ", killed after store " + std::to_string(store) + " of " +
                     std::to_string(stores));
        ++crashes_;
        if (rng_.below(20) == 0) crash_again();
        AttachReport report;
        auto attached = Store::attach_or_create(image_options_, now_ms_, &report);
        ASSERT_TRUE(attached && report.warm) << report.text();
        Partition& partition = attached.value()->partition(0);
        EXPECT_EQ(report.rebuilt.duplicates, 0U) << report.text();
        EXPECT_EQ(report.rebuilt.bad_checksum, 0U) << report.text();
        ASSERT_EQ(report.rebuilt.malformed, 0U) << report.text();
        size_t hits = 0;
        for (uint64_t id = 0; id < kKeys; ++id) {
            const std::string key = key_of_id(id);
            const auto old_one = before.find(key);
            const auto new_one = after.find(key);
            const auto found = look(partition, key, now_ms_, generation_);
            hits += found.has_value() ? 1 : 0;
            if (!found) {
                ASSERT_TRUE(old_one == before.end() || new_one == after.end()) << "lost " << key;
            } else {
                ASSERT_TRUE((old_one != before.end() && *found == old_one->second) ||
                            (new_one != after.end() && *found == new_one->second))
                    << key << " is " << found->bytes.substr(0, 40);
            }
        }
        items_most_ = std::max(items_most_, hits);
        check_books(partition, hits);
        if (rng_.below(10) == 0) go_on(partition);
    }

    // Killed in the middle of taking over what the first left.
    void crash_again() {
        auto* header = reinterpret_cast<FileHeader*>(image_);
        auto* headers = reinterpret_cast<PartitionHeader*>(image_ + header->partitions_offset);
        Partition partition(image_, headers, header->item_bytes_max, kHashSeed, Begin::kAsFound);
        const uint32_t generation =
            std::max(headers->generation.load(), headers->trusted_generation.load());
        test::StoreTrace& trace = second_trace_;
        trace.run(image_,
                  [&] { partition.rebuild({.now_ms = now_ms_, .generation = generation}); });
        std::memcpy(image_, trace.before().data(), bytes_);
        const size_t point = rng_.below(trace.size() + 1);
        for (size_t i = 0; i < point; ++i) test::StoreTrace::apply(trace[i], image_);
        ++crashes_twice_;
    }

    // Counted anew, segment by segment, from what the index leads to.
    void check_books(Partition& partition, size_t hits) {
        const Segments& segments = partition.segments();
        // Items of an older generation may be there when the newest was not put yet.
        EXPECT_GE(partition.items(), hits);
        uint64_t live_items = 0;
        uint32_t free_segments = 0;
        for (uint32_t i = 0; i < segments.count(); ++i) {
            const SegmentInfo& info = segments.info(i);
            free_segments += info.state == SegmentState::kFree ? 1 : 0;
            live_items += info.live_items;
            uint32_t found_items = 0;
            uint32_t found_bytes = 0;
            for (uint32_t cursor = segments.next_item(i, 0); cursor < info.used_bytes;) {
                const uint8_t* item =
                    segments.item(uint64_t{i} * segments.segment_bytes() + cursor);
                const ItemHeader header = read_header(item);
                const std::string key(key_of(item, header));
                const Lookup lookup = partition.find(hash_of(key), key, now_ms_, header.generation);
                if (lookup.status == FindStatus::kHit &&
                    lookup.value == item + kItemHeaderBytes + header.key_bytes) {
                    ++found_items;
                    found_bytes += header.bytes();
                    EXPECT_EQ(header.crc, crc_of(item, header.bytes()));
                }
                cursor = segments.next_item(i, cursor + header.bytes());
            }
            EXPECT_EQ(found_items, info.live_items) << "segment " << i;
            EXPECT_EQ(found_bytes, info.live_bytes) << "segment " << i;
        }
        EXPECT_EQ(live_items, partition.items());
        EXPECT_EQ(free_segments, segments.free_count());
    }

    // The store that was taken over is as good as any.
    void go_on(Partition& partition) {
        const uint64_t now_ms = now_ms_;
        const uint32_t generation = generation_;
        for (int i = 0; i < 200; ++i) {
            const std::string key = key_of_id(rng_.below(kKeys));
            const std::string value = random_value();
            put(partition, key, value, 0);
            const auto found = look(partition, key, now_ms_, generation_);
            ASSERT_TRUE(found && found->bytes == value);
            random_operation(partition);
        }
        for (uint64_t id = 0; id < kKeys; ++id) {
            partition.erase(hash_of(key_of_id(id)), key_of_id(id));
        }
        EXPECT_EQ(partition.items(), 0U);
        check_books(partition, 0);
        now_ms_ = now_ms;
        generation_ = generation;
    }

    base::Rng rng_;
    const StoreOptions options_;
    const StoreOptions image_options_;
    std::unique_ptr<Store> store_;
    uint64_t bytes_ = 0;
    uint8_t* image_ = nullptr;
    std::string image_path_;
    std::vector<uint8_t> work_;
    test::StoreTrace trace_{kFileBytes};
    test::StoreTrace second_trace_{kFileBytes};
    std::string operation_;
    uint64_t now_ms_ = 1000;
    uint32_t generation_ = 1;
    uint64_t serial_ = 0;
    bool large_ = true;  // values
    size_t stores_ = 0;
    size_t crashes_ = 0;
    size_t crashes_twice_ = 0;
    size_t items_most_ = 0;
};

uint64_t seed() {
    const char* given = std::getenv("CACHEE_TEST_SEED");
    const uint64_t seed =
        given != nullptr ? std::strtoull(given, nullptr, 10) : base::random_seed();
    std::printf("CACHEE_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
    return seed;
}

void run(uint64_t item_bytes_expected) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    uint64_t operations = 15;
#else
    uint64_t operations = 50;
#endif
    size_t points_max = 12;
    if (const char* given = std::getenv("CACHEE_MODEL_OPERATIONS")) {
        operations = std::strtoull(given, nullptr, 10);
        points_max = SIZE_MAX / 2;
    }
    CrashModel model(seed(), item_bytes_expected);
    model.run(operations, points_max);
}

TEST(L1Crash, KilledAfterAnyStore_SegmentsShort_NothingIsLostOrWrong) { run(64); }

TEST(L1Crash, KilledAfterAnyStore_IndexShort_NothingIsLostOrWrong) { run(14'000); }

}  // namespace
}  // namespace cachee::l1
