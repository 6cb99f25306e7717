// SPDX-License-Identifier: Apache-2.0
// The file of L1, made or opened: geometry, headers, partitions; its size at run time. Cold code,
// never a worker's thread.
#include "l1/store.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/clock.h"
#include "base/rng.h"
#include "base/units.h"
#include "l1/attach.h"
#include "l1/layout.h"
#include "l1/partition.h"
#include "l1/revoke.h"
#include "l1/store_memory.h"

namespace cachee::l1 {

namespace {

// Below this many segments a partition has too few classes and victims to choose from.
constexpr uint32_t kSegmentsWanted = 16;
// A store that can change its size can shrink to this part of what it began with.
constexpr uint32_t kShrinkFactorMax = 4;
constexpr uint64_t kPartitionBytesMin = 512 * base::kKiB;
constexpr uint64_t kPageBytes = 4096;
// Index, segments and the pad behind them each begin a page when the size can change.
constexpr uint64_t kResizablePages = 16;

uint64_t header_bytes_of(uint32_t partitions, uint64_t alignment) {
    return base::align_up(sizeof(FileHeader) + partitions * sizeof(PartitionHeader), alignment);
}

}  // namespace

// Of a partition at the store's greatest size.
struct Store::Geometry {
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
Store::Geometry Store::plan(const StoreOptions& options, uint64_t file_bytes, uint64_t alignment) {
    Geometry g{};
    const uint64_t header_bytes = header_bytes_of(options.partitions, alignment);
    const uint64_t room = file_bytes - header_bytes - base::align_up(kTailPadBytes, alignment);
    g.partition_bytes = room / options.partitions / alignment * alignment;

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
            base::align_up(g.table_offset + segments * sizeof(SegmentInfo), alignment);
        if (g.segments_offset + segments * segment_bytes <= g.partition_bytes) break;
        --segments;
    }
    g.segment_count = static_cast<uint32_t>(segments);
    return g;
}

namespace {

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
    if (options.bytes_max != 0 && options.bytes_max < options.bytes) {
        return base::Error{"L1 cannot have " + std::to_string(options.bytes) +
                           " bytes now and grow to " + std::to_string(options.bytes_max)};
    }
    if (options.bytes_max != 0 &&
        options.bytes / options.partitions < kResizablePages * base::kHugepageBytes) {
        return base::Error{"L1 of " + std::to_string(options.bytes) +
                           " bytes is too small to change its size: each of " +
                           std::to_string(options.partitions) + " partitions needs " +
                           std::to_string(kResizablePages * base::kHugepageBytes)};
    }
    if (std::max(options.bytes, options.bytes_max) / options.partitions > kOffsetMask) {
        return base::Error{"a partition of L1 can have at most 1 TiB: use more workers"};
    }
    if (options.item_bytes_max == 0 || options.item_bytes_expected == 0) {
        return base::Error{"L1: item_bytes_max and item_bytes_expected must not be 0"};
    }
    return {};
}

base::HugepageFileOptions file_options(const StoreOptions& options) {
    return {.name = "cachee-" + options.instance + "-l1",
            .hugepage_dir = options.hugepage_dir,
            .hugepages = options.hugepages,
            .bytes = std::max(options.bytes, options.bytes_max),
            .sparse = options.bytes_max != 0,
            .mode = options.mode,
            .owner = options.owner};
}

PartitionHeader* partition_headers(uint8_t* base) {
    return reinterpret_cast<PartitionHeader*>(base + sizeof(FileHeader));
}

}  // namespace

Store::Store() = default;

base::Result<std::unique_ptr<Store>> Store::create(const StoreOptions& options) {
    if (base::Status status = check(options); !status) return status.error();
    // Readers may still believe what a dead process left under the name.
    for (const std::string& dir : {options.hugepage_dir, std::string("/dev/shm")}) {
        revoke_trust(dir + "/cachee-" + options.instance + "-l1");
    }
    auto store = create_on(options, options.hugepages);
    // A file that is one hole can be made without any page: what is missing shows only afterwards.
    if (store || options.bytes_max == 0 || options.hugepages != Hugepages::kAuto) return store;
    const std::string reason = store.error().message;
    store = create_on(options, Hugepages::kOff);
    if (store) store.value()->fallback_reason_ = reason;
    return store;
}

base::Result<std::unique_ptr<Store>> Store::create_on(const StoreOptions& options,
                                                      Hugepages hugepages) {
    const bool resizable = options.bytes_max != 0;
    base::HugepageFileOptions wanted = file_options(options);
    wanted.hugepages = hugepages;
    auto file = base::HugepageFile::create(wanted);
    if (!file) return base::Error{"L1: " + file.error().message};

    std::unique_ptr<Store> store(new Store);
    store->file_ = std::move(file).value();
    store->fallback_reason_ = store->file_->fallback_reason();
    const uint64_t alignment =
        resizable ? std::max(base::kHugepageBytes, store->page_bytes()) : kPageBytes;
    const Geometry g = plan(options, store->bytes(), alignment);
    store->shape_of(options, g, alignment);
    if (resizable) {
        const StoreShape shape{.alignment = alignment,
                               .first_partition = store->first_partition_offset_,
                               .partition_bytes = g.partition_bytes,
                               .segments_offset = g.segments_offset,
                               .segment_bytes = uint64_t{1} << g.segment_bytes_log2,
                               .segment_count = g.segment_count,
                               .partitions = options.partitions};
        store->memory_ = std::make_unique<StoreMemory>(store->file_.get(), shape);
        store->segments_wanted_ = store->memory_->segments_for(options.bytes);
        if (store->segments_wanted_ < kSegmentsWanted) {
            store->unlink();
            return base::Error{"L1: " + std::to_string(options.bytes) +
                               " bytes hold the index for a store of " +
                               std::to_string(options.bytes_max) +
                               " and next to nothing else: begin larger, or with a smaller "
                               "greatest size"};
        }
        base::Status status = store->memory_->commit_first(store->segments_wanted_);
        if (!status) {
            store->unlink();
            return base::Error{"L1: " + status.error().message};
        }
    }
    auto* header = reinterpret_cast<FileHeader*>(store->base());
    store->write_headers(options, g, *header, partition_headers(store->base()));
    header->created_wall_ms = base::wall_ms();
    header->creator_pid = static_cast<uint32_t>(::getpid());
    header->id = base::random_seed() | 1;
    store->make_partitions(Begin::kEmpty);
    // Release: pairs with the acquire of a reader that attaches while this runs.
    header->magic.store(kMagic, std::memory_order_release);
    return store;
}

std::unique_ptr<Store> Store::attach(const StoreOptions& options, uint64_t now_ms,
                                     AttachReport* report) {
    if (options.bytes_max != 0) {
        report->cold_reason = "an L1 that can change its size is not taken over";
        return nullptr;
    }
    const uint64_t started_ns = base::monotonic_ns();
    auto file = base::HugepageFile::attach(file_options(options), &report->cold_reason);
    if (file == nullptr) return nullptr;
    std::unique_ptr<Store> store(new Store);
    store->file_ = std::move(file);
    store->fallback_reason_ = store->file_->fallback_reason();
    const Geometry g = plan(options, store->bytes(), kPageBytes);
    store->shape_of(options, g, kPageBytes);
    const auto planned = std::make_unique<FileHeader>();
    const auto planned_partitions = std::make_unique<PartitionHeader[]>(options.partitions);
    store->write_headers(options, g, *planned, planned_partitions.get());
    report->cold_reason = fault_of(*reinterpret_cast<FileHeader*>(store->base()),
                                   {partition_headers(store->base()), options.partitions}, *planned,
                                   {planned_partitions.get(), options.partitions});
    if (!report->cold_reason.empty()) return nullptr;
    store->make_partitions(Begin::kAsFound);
    store->rebuild(now_ms, report);
    report->took_ms = (base::monotonic_ns() - started_ns) / base::kNsPerMs;
    report->warm = true;
    return store;
}

base::Result<std::unique_ptr<Store>> Store::attach_or_create(const StoreOptions& options,
                                                             uint64_t now_ms,
                                                             AttachReport* report) {
    *report = {};
    if (base::Status status = check(options); !status) return status.error();
    if (auto store = attach(options, now_ms, report)) return store;
    return create(options);
}

void Store::shape_of(const StoreOptions& options, const Geometry& g, uint64_t alignment) {
    CACHEE_ASSERT(g.segment_count >= 4);
    first_partition_offset_ = header_bytes_of(options.partitions, alignment);
    partition_bytes_ = g.partition_bytes;
    segments_wanted_ = g.segment_count;
}

// But for the magic, and what is this store's and no other's.
void Store::write_headers(const StoreOptions& options, const Geometry& g, FileHeader& header,
                          PartitionHeader* partitions) const {
    header.layout_version = kLayoutVersion;
    header.partition_count = options.partitions;
    header.file_bytes = bytes();
    header.hash_seed = options.hash_seed;
    header.item_bytes_max = std::min<uint64_t>(
        options.item_bytes_max, (uint64_t{1} << g.segment_bytes_log2) - kItemHeaderBytes);
    header.partitions_offset = sizeof(FileHeader);
    header.authoritative = options.authoritative ? 1 : 0;
    const std::string boot = boot_id();
    std::memcpy(header.boot_id, boot.data(), boot.size());
    const uint32_t segments_min =
        memory_ == nullptr
            ? segments_wanted_
            : std::max<uint32_t>(kSegmentsWanted, segments_wanted_ / kShrinkFactorMax);
    for (uint32_t i = 0; i < options.partitions; ++i) {
        const uint64_t start = first_partition_offset_ + i * g.partition_bytes;
        partitions[i].buckets_offset = start;
        partitions[i].overflow_offset = start + g.overflow_offset;
        partitions[i].segment_table_offset = start + g.table_offset;
        partitions[i].segments_offset = start + g.segments_offset;
        partitions[i].bucket_count = g.bucket_count;
        partitions[i].overflow_count = g.overflow_count;
        partitions[i].segment_count = g.segment_count;
        partitions[i].segment_bytes_log2 = g.segment_bytes_log2;
        partitions[i].segments_min = segments_min;
        partitions[i].segments_in_use.store(segments_wanted_, std::memory_order_relaxed);
    }
}

// REQUIRES: the headers are written, or checked.
void Store::make_partitions(Begin begin) {
    const uint32_t count = reinterpret_cast<FileHeader*>(base())->partition_count;
    for (uint32_t i = 0; i < count; ++i) {
        partitions_.push_back(std::make_unique<Partition>(base(), &partition_headers(base())[i],
                                                          item_bytes_max(), hash_seed(), begin));
        seen_in_use_.push_back(segments_wanted_);
    }
}

// --- another size -------------------------------------------------------------------------------

base::Status Store::resize(uint64_t bytes) {
    if (memory_ == nullptr) return base::Error{"L1 was not made to change its size"};
    const uint32_t segments = memory_->segments_for(bytes);
    if (bytes < bytes_min() || bytes > bytes_max()) {
        return base::Error{"L1 can have " + std::to_string(bytes_min()) + " to " +
                           std::to_string(bytes_max()) + " bytes, not " + std::to_string(bytes)};
    }
    if (base::Status status = memory_->grow(segments); !status) return status;
    segments_wanted_ = segments;
    for (auto& partition : partitions_) partition->want_segments(segments);
    return {};
}

bool Store::resize_step() {
    bool done = true;
    for (uint32_t i = 0; i < partitions(); ++i) {
        const uint32_t in_use = partitions_[i]->segments_in_use();
        const bool settled = in_use == segments_wanted_ && seen_in_use_[i] == segments_wanted_;
        if (settled && memory_ != nullptr) memory_->shrink(i, segments_wanted_);
        done &= settled;
        seen_in_use_[i] = in_use;
    }
    return done;
}

uint64_t Store::bytes_wanted() const {
    return memory_ != nullptr ? memory_->bytes_of(segments_wanted_) : bytes();
}
uint64_t Store::bytes_min() const {
    return memory_ != nullptr ? memory_->bytes_of(partitions_[0]->segments().count_min()) : bytes();
}
uint64_t Store::bytes_max() const { return bytes(); }

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
const std::string& Store::fallback_reason() const { return fallback_reason_; }
void Store::unlink() { file_->unlink(); }
uint64_t Store::hash_seed() const { return reinterpret_cast<FileHeader*>(base())->hash_seed; }
uint64_t Store::id() const { return reinterpret_cast<FileHeader*>(base())->id; }
uint32_t Store::newest_generation() const {
    return l1::newest_generation({partition_headers(base()), partitions()});
}
uint64_t Store::item_bytes_max() const {
    return reinterpret_cast<FileHeader*>(base())->item_bytes_max;
}
uint8_t* Store::base() const { return file_->base(); }
uint64_t Store::page_bytes() const { return file_->page_bytes(); }
uint64_t Store::bytes() const { return file_->bytes(); }

}  // namespace cachee::l1
