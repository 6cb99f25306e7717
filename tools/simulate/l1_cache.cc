// SPDX-License-Identifier: Apache-2.0
#include "tools/simulate/l1_cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "base/hash.h"
#include "base/units.h"
#include "l1/store.h"
#include "tools/cachee/replay.h"

namespace cachee::simulate {

namespace {

constexpr uint32_t kGeneration = 1;
constexpr uint64_t kStartMs = 1000;  // the trace's first request; 0 would be no time
constexpr uint64_t kSegmentBytesMin = 128;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kBucketsMin = 64;
constexpr uint64_t kSegmentsForLarge = 16;  // at least, whatever the largest item
constexpr uint64_t kOverheadBytes = l1::kItemHeaderBytes + 1;  // header and alignment

// What one partition consists of; offsets from its start.
struct Geometry {
    uint64_t overflow_offset;
    uint64_t table_offset;
    uint64_t segments_offset;
    uint64_t bytes;
    uint32_t bucket_count;
    uint32_t overflow_count;
    uint32_t segment_count;
    uint32_t segment_bytes_log2;
};

// The log holds `log_bytes` when all segments but the reserved one are full; the index is what the
// appliance would have for as many items, and never too small.
Geometry plan(uint64_t log_bytes, uint64_t item_bytes_mean, uint64_t item_bytes_max,
              uint32_t segments_wanted) {
    Geometry g{};
    uint64_t segment_bytes =
        std::bit_floor(std::max(log_bytes / segments_wanted, kSegmentBytesMin));
    if (segment_bytes < item_bytes_max) {
        segment_bytes =
            std::min(std::bit_ceil(item_bytes_max),
                     std::bit_floor(std::max(log_bytes / kSegmentsForLarge, segment_bytes)));
    }
    segment_bytes = std::min<uint64_t>(segment_bytes, l1::kSegmentBytesMax);
    g.segment_bytes_log2 = static_cast<uint32_t>(std::countr_zero(segment_bytes));
    g.segment_count = static_cast<uint32_t>((log_bytes + segment_bytes - 1) / segment_bytes +
                                            l1::kSegmentsReserved);
    g.segment_count = std::max(g.segment_count, 4U);
    const uint64_t items = g.segment_count * segment_bytes / item_bytes_mean;
    const uint64_t buckets = std::max(items / l1::kSlotsPlanned * 5 / 4, kBucketsMin);
    g.bucket_count = static_cast<uint32_t>(std::min<uint64_t>(buckets, UINT32_MAX));
    g.overflow_count = g.bucket_count / l1::kBucketsPerOverflow;
    g.overflow_offset = uint64_t{g.bucket_count} * sizeof(l1::Bucket);
    g.table_offset = g.overflow_offset + uint64_t{g.overflow_count} * sizeof(l1::Bucket);
    g.segments_offset =
        base::align_up(g.table_offset + g.segment_count * sizeof(l1::SegmentInfo), kPage);
    g.bytes = base::align_up(g.segments_offset + g.segment_count * segment_bytes, kPage);
    return g;
}

}  // namespace

L1Keys::L1Keys(const TraceTable& trace) {
    starts_.reserve(trace.objects() + 1);
    hashes_.reserve(trace.objects());
    starts_.push_back(0);
    for (uint32_t object = 0; object < trace.objects(); ++object) {
        text_ += cli::key_text("", trace.key(object), trace.key_bytes(object));
        starts_.push_back(text_.size());
    }
    for (uint32_t object = 0; object < trace.objects(); ++object) {
        hashes_.push_back(base::hash_key(text(object), kHashSeed));
    }
}

// Either a Store, or partitions in anonymous memory.
struct L1Cache::Memory {
    ~Memory() {
        partitions.clear();
        if (base != nullptr) ::munmap(base, bytes);
    }
    std::unique_ptr<l1::Store> store;
    uint8_t* base = nullptr;
    uint64_t bytes = 0;
    std::vector<l1::PartitionHeader> headers;
    std::vector<std::unique_ptr<l1::Partition>> partitions;
};

L1Cache::L1Cache(const TraceTable& trace, const L1Keys& keys, const L1Shape& shape)
    : trace_(trace),
      keys_(keys),
      shape_(shape),
      memory_(std::make_unique<Memory>()),
      counters_(std::make_unique<stats::WorkerCounters>()) {
    const uint64_t largest = trace.is_unit_size() ? shape.unit_item_bytes : trace.largest_bytes();
    value_.resize(std::min<uint64_t>(largest, l1::kValueBytesMax) + 1);
}

L1Cache::~L1Cache() = default;

base::Status L1Cache::make_partitions() {
    const uint64_t mean =
        trace_.is_unit_size()
            ? shape_.unit_item_bytes
            : std::max<uint64_t>(trace_.footprint_bytes() / trace_.objects(), 1) + kOverheadBytes;
    const uint64_t largest = trace_.is_unit_size() ? shape_.unit_item_bytes
                                                   : trace_.largest_bytes() + l1::kItemHeaderBytes;
    const uint64_t payload_mean = trace_.is_unit_size() ? 1 : mean - kOverheadBytes;
    const uint64_t log_bytes =
        static_cast<uint64_t>(static_cast<double>(shape_.capacity) / shape_.partitions *
                              static_cast<double>(mean) / static_cast<double>(payload_mean));
    const Geometry g =
        plan(std::max<uint64_t>(log_bytes, kSegmentBytesMin), mean, largest, shape_.segments);
    memory_->bytes = g.bytes * shape_.partitions + l1::kTailPadBytes;
    void* base = ::mmap(nullptr, memory_->bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return base::Error{"no memory for a cache of " + std::to_string(memory_->bytes) + " bytes"};
    }
    memory_->base = static_cast<uint8_t*>(base);
    memory_->headers = std::vector<l1::PartitionHeader>(shape_.partitions);
    for (uint32_t i = 0; i < shape_.partitions; ++i) {
        l1::PartitionHeader& header = memory_->headers[i];
        const uint64_t start = i * g.bytes;
        header.buckets_offset = start;
        header.overflow_offset = start + g.overflow_offset;
        header.segment_table_offset = start + g.table_offset;
        header.segments_offset = start + g.segments_offset;
        header.bucket_count = g.bucket_count;
        header.overflow_count = g.overflow_count;
        header.segment_count = g.segment_count;
        header.segment_bytes_log2 = g.segment_bytes_log2;
        header.segments_min = g.segment_count;
        header.segments_in_use = g.segment_count;
        memory_->partitions.push_back(std::make_unique<l1::Partition>(
            memory_->base, &header, (uint64_t{1} << g.segment_bytes_log2) - l1::kItemHeaderBytes,
            L1Keys::kHashSeed));
        partitions_.push_back(memory_->partitions.back().get());
    }
    return {};
}

base::Result<std::unique_ptr<L1Cache>> L1Cache::create(const TraceTable& trace, const L1Keys& keys,
                                                       const L1Shape& shape) {
    std::unique_ptr<L1Cache> cache(new L1Cache(trace, keys, shape));
    if (shape.l1_bytes != 0) {
        l1::StoreOptions options;
        options.instance = "simulate-" + std::to_string(::getpid()) + "-" +
                           std::to_string(reinterpret_cast<uintptr_t>(cache.get()));
        options.hugepages = l1::Hugepages::kOff;
        options.bytes = shape.l1_bytes;
        options.partitions = shape.partitions;
        options.hash_seed = L1Keys::kHashSeed;
        auto store = l1::Store::create(options);
        if (!store) return store.error();
        cache->memory_->store = std::move(store).value();
        cache->memory_->store->unlink();
        for (uint32_t i = 0; i < shape.partitions; ++i) {
            cache->partitions_.push_back(&cache->memory_->store->partition(i));
        }
    } else if (base::Status status = cache->make_partitions(); !status) {
        return status.error();
    }
    const auto kind = l1::eviction_of(shape.policy);
    if (!kind) return base::Error{"unknown policy " + shape.policy};
    for (l1::Partition* partition : cache->partitions_) {
        partition->choose_policy(*kind);
        partition->set_counters(cache->counters_.get());
    }
    const l1::Segments& segments = cache->partitions_[0]->segments();
    cache->stats_.segments = segments.count() * shape.partitions;
    cache->stats_.segment_bytes = segments.segment_bytes();
    return cache;
}

l1::Partition& L1Cache::partition_of(uint64_t hash) noexcept {
    return *partitions_[base::owner_of(hash, shape_.partitions)];
}

bool L1Cache::get(const Request& request) noexcept {
    const uint64_t hash = keys_.hash(request.object);
    l1::Partition& partition = partition_of(hash);
    const uint64_t now_ms = kStartMs + request.time_ms;
    if (partition.upkeep_is_due(now_ms)) partition.maintain(now_ms);
    const l1::Candidate candidate = partition.look<l1::By::kOwner>(hash);
    const l1::Lookup found = partition.take<l1::By::kOwner>(
        candidate, hash, keys_.text(request.object), now_ms, kGeneration);
    if (found.status == l1::FindStatus::kHit) {
        if (touches_.wanted(candidate.frequency)) {
            ++stats_.touches;
            partition.touch(hash);
        }
        return true;
    }
    put(request);
    return false;
}

void L1Cache::put(const Request& request) noexcept {
    const uint64_t hash = keys_.hash(request.object);
    const std::string_view key = keys_.text(request.object);
    const uint64_t wanted =
        trace_.is_unit_size() ? shape_.unit_item_bytes - l1::kItemHeaderBytes : request.bytes;
    const uint64_t value_bytes = wanted > key.size() ? wanted - key.size() : 0;
    const uint64_t now_ms = kStartMs + request.time_ms;
    const uint64_t deadline_ms =
        shape_.use_ttl && request.ttl_s != 0 ? now_ms + uint64_t{request.ttl_s} * 1000 : 0;
    const l1::PutStatus status =
        value_bytes >= value_.size()
            ? l1::PutStatus::kTooLarge
            : partition_of(hash).put(hash, key, {value_.data(), value_bytes}, deadline_ms,
                                     kGeneration, now_ms);
    if (status == l1::PutStatus::kTooLarge) ++stats_.too_large;
    stats_.put_bytes += l1::kItemHeaderBytes + key.size() + value_bytes;
}

void L1Cache::erase(const Request& request) noexcept {
    const uint64_t hash = keys_.hash(request.object);
    partition_of(hash).erase(hash, keys_.text(request.object));
}

uint64_t L1Cache::items() const {
    uint64_t items = 0;
    for (const l1::Partition* partition : partitions_) items += partition->items();
    return items;
}

L1Stats L1Cache::stats() const {
    L1Stats stats = stats_;
    for (const l1::Partition* partition : partitions_) {
        stats.moved_bytes += partition->reclaimer().moved_bytes();
    }
    stats.evicted = counters_->get(stats::Counter::l1_evicted);
    stats.expired = counters_->get(stats::Counter::l1_expired);
    return stats;
}

}  // namespace cachee::simulate
