// SPDX-License-Identifier: Apache-2.0
// Creating the file of L1: geometry, headers, partitions. Cold code, at start only.
#include "l1/store.h"

#include <unistd.h>

#include <algorithm>
#include <bit>

#include "base/clock.h"
#include "base/units.h"
#include "l1/layout.h"
#include "l1/partition.h"

namespace cachee::l1 {

namespace {

// Below this many segments a partition has too few classes and victims to choose from.
constexpr uint64_t kSegmentsWanted = 16;
constexpr uint64_t kPartitionBytesMin = 512 * base::kKiB;
constexpr uint64_t kPageBytes = 4096;

struct Geometry {
    uint64_t partition_bytes;
    uint32_t bucket_count;
    uint32_t overflow_count;
    uint32_t segment_count;
    uint32_t segment_bytes_log2;
    uint64_t table_offset;  // these three from the start of the partition
    uint64_t overflow_offset;
    uint64_t segments_offset;
};

// REQUIRES: file_bytes holds kPartitionBytesMin for each partition.
Geometry plan(const StoreOptions& options, uint64_t file_bytes) {
    Geometry g{};
    const uint64_t header_bytes = base::align_up(
        sizeof(FileHeader) + options.partitions * sizeof(PartitionHeader), kPageBytes);
    const uint64_t room = file_bytes - header_bytes - kTailPadBytes;
    g.partition_bytes = room / options.partitions / kPageBytes * kPageBytes;

    // Per bucket: itself, its share of the overflow, and the items that it is planned for.
    const uint64_t per_bucket = sizeof(Bucket) + sizeof(Bucket) / kBucketsPerOverflow +
                                kSlotsPlanned * (kItemHeaderBytes + options.item_bytes_expected);
    const uint64_t buckets = std::max<uint64_t>(g.partition_bytes / per_bucket, 64);
    g.bucket_count = static_cast<uint32_t>(std::min<uint64_t>(buckets, UINT32_MAX));
    g.overflow_count = g.bucket_count / kBucketsPerOverflow;
    g.overflow_offset = uint64_t{g.bucket_count} * sizeof(Bucket);
    g.table_offset = g.overflow_offset + uint64_t{g.overflow_count} * sizeof(Bucket);
    const uint64_t left = g.partition_bytes - g.table_offset;

    const uint64_t wanted = options.item_bytes_max + kItemHeaderBytes > kSegmentBytesDefault
                                ? kSegmentBytesMax
                                : kSegmentBytesDefault;
    uint64_t segment_bytes = std::min<uint64_t>(wanted, std::bit_floor(left / kSegmentsWanted));
    segment_bytes = std::max<uint64_t>(segment_bytes, kSegmentBytesMin);
    g.segment_bytes_log2 = static_cast<uint32_t>(std::countr_zero(segment_bytes));
    uint64_t segments = left / (segment_bytes + sizeof(SegmentInfo));
    while (segments > 0) {
        g.segments_offset =
            base::align_up(g.table_offset + segments * sizeof(SegmentInfo), kPageBytes);
        if (g.segments_offset + segments * segment_bytes <= g.partition_bytes) break;
        --segments;
    }
    g.segment_count = static_cast<uint32_t>(segments);
    return g;
}

base::Status check(const StoreOptions& options) {
    if (options.instance.empty() || options.instance.find('/') != std::string::npos) {
        return base::Error{"the instance's name \"" + options.instance +
                           "\" cannot be part of a file name"};
    }
    if (options.partitions == 0 || options.partitions > kPartitionsMax) {
        return base::Error{"L1 can have 1 to " + std::to_string(kPartitionsMax) +
                           " partitions, not " + std::to_string(options.partitions)};
    }
    if (options.bytes / options.partitions < kPartitionBytesMin) {
        return base::Error{"L1 of " + std::to_string(options.bytes) +
                           " bytes is too small: each of " + std::to_string(options.partitions) +
                           " partitions needs " + std::to_string(kPartitionBytesMin)};
    }
    if (options.bytes / options.partitions > kOffsetMask) {
        return base::Error{"a partition of L1 can have at most 1 TiB: use more workers"};
    }
    if (options.item_bytes_max == 0 || options.item_bytes_expected == 0) {
        return base::Error{"L1: item_bytes_max and item_bytes_expected must not be 0"};
    }
    return {};
}

}  // namespace

base::Result<std::unique_ptr<Store>> Store::create(const StoreOptions& options) {
    if (base::Status status = check(options); !status) return status.error();
    auto file = base::HugepageFile::create({.name = "cachee-" + options.instance + "-l1",
                                            .hugepage_dir = options.hugepage_dir,
                                            .hugepages = options.hugepages,
                                            .bytes = options.bytes,
                                            .mode = options.mode});
    if (!file) return base::Error{"L1: " + file.error().message};

    std::unique_ptr<Store> store(new Store);
    store->file_ = std::move(file).value();
    uint8_t* base = store->base();
    const Geometry g = plan(options, store->bytes());
    CACHEE_ASSERT(g.segment_count >= 4);

    auto* header = reinterpret_cast<FileHeader*>(base);
    header->layout_version = kLayoutVersion;
    header->partition_count = options.partitions;
    header->file_bytes = store->bytes();
    header->hash_seed = options.hash_seed;
    header->item_bytes_max = std::min<uint64_t>(
        options.item_bytes_max, (uint64_t{1} << g.segment_bytes_log2) - kItemHeaderBytes);
    header->partitions_offset = sizeof(FileHeader);
    header->created_wall_ms = base::wall_ms();
    header->creator_pid = static_cast<uint32_t>(::getpid());
    auto* partitions = reinterpret_cast<PartitionHeader*>(base + header->partitions_offset);
    const uint64_t first = base::align_up(
        sizeof(FileHeader) + options.partitions * sizeof(PartitionHeader), kPageBytes);
    store->first_partition_offset_ = first;
    store->partition_bytes_ = g.partition_bytes;
    for (uint32_t i = 0; i < options.partitions; ++i) {
        const uint64_t start = first + i * g.partition_bytes;
        partitions[i].buckets_offset = start;
        partitions[i].overflow_offset = start + g.overflow_offset;
        partitions[i].segment_table_offset = start + g.table_offset;
        partitions[i].segments_offset = start + g.segments_offset;
        partitions[i].bucket_count = g.bucket_count;
        partitions[i].overflow_count = g.overflow_count;
        partitions[i].segment_count = g.segment_count;
        partitions[i].segment_bytes_log2 = g.segment_bytes_log2;
        store->partitions_.push_back(std::make_unique<Partition>(
            base, &partitions[i], header->item_bytes_max, options.hash_seed));
    }
    // Release: pairs with the acquire of a reader that attaches while this runs.
    header->magic.store(kMagic, std::memory_order_release);
    return store;
}

Store::~Store() = default;

Partition& Store::partition(uint32_t index) {
    CACHEE_ASSERT(index < partitions_.size());
    return *partitions_[index];
}

Partition& Store::partition_of(const uint8_t* value) noexcept {
    const auto offset = static_cast<uint64_t>(value - base()) - first_partition_offset_;
    return *partitions_[offset / partition_bytes_];
}

bool Store::pin(const Lookup& found) noexcept { return partition_of(found.value).pin(found); }
void Store::pin_again(const uint8_t* value) noexcept { partition_of(value).pin_again(value); }
void Store::unpin(const uint8_t* value) noexcept { partition_of(value).unpin(value); }

uint32_t Store::partitions() const { return static_cast<uint32_t>(partitions_.size()); }
const std::string& Store::path() const { return file_->path(); }
const std::string& Store::fallback_reason() const { return file_->fallback_reason(); }
void Store::unlink() { file_->unlink(); }
uint64_t Store::hash_seed() const { return reinterpret_cast<FileHeader*>(base())->hash_seed; }
uint64_t Store::item_bytes_max() const {
    return reinterpret_cast<FileHeader*>(base())->item_bytes_max;
}
uint8_t* Store::base() const { return file_->base(); }
uint64_t Store::page_bytes() const { return file_->page_bytes(); }
uint64_t Store::bytes() const { return file_->bytes(); }

}  // namespace cachee::l1
