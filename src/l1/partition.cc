// SPDX-License-Identifier: Apache-2.0
// The owner's side of a partition: changes, and the upkeep between them.
#include "l1/partition.h"

#include <algorithm>

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/hash.h"

namespace cachee::l1 {

namespace {

// It has no state.
FifoMergePolicy default_policy;

// Items per call: a few microseconds.
constexpr uint32_t kMaintainBudget = 64;
// While memory is low each put pays for more reclaim than it takes memory: a merge visits an item
// twice and frees at least half of what it visits, so four visits per item put keep pace. Items are
// seldom smaller than 64 bytes.
constexpr uint32_t kPutBudget = 8;
constexpr uint32_t kPutBytesPerVisit = 16;
constexpr uint32_t kPutBudgetMax = 4096;

}  // namespace

Partition::Partition(uint8_t* file, PartitionHeader* header, uint64_t item_bytes_max,
                     uint64_t hash_seed, Begin begin)
    : index_(reinterpret_cast<Bucket*>(file + header->buckets_offset), header->bucket_count,
             reinterpret_cast<Bucket*>(file + header->overflow_offset), header->overflow_count,
             file + header->segments_offset),
      segments_(reinterpret_cast<SegmentInfo*>(file + header->segment_table_offset),
                file + header->segments_offset, header->segment_count, header->segments_min,
                header->segments_in_use.load(std::memory_order_relaxed), header->segment_bytes_log2,
                begin),
      reclaimer_(&index_, &segments_, hash_seed),
      header_(header),
      item_bytes_max_(item_bytes_max),
      hash_seed_(hash_seed) {
    CACHEE_ASSERT(item_bytes_max + kItemHeaderBytes <= segments_.item_bytes_max());
    segments_wanted_.store(segments_.target(), std::memory_order_relaxed);
    if (begin == Begin::kEmpty) index_.reset_overflow_list();
    set_policy(nullptr);
}

RebuildReport Partition::rebuild(const RebuildOptions& options) {
    const RebuildReport report =
        Rebuild(index_, segments_, *header_, hash_seed_, item_bytes_max_, options).run();
    header_->generation.store(options.generation, std::memory_order_relaxed);
    generation_known_ = true;
    reclaimer_.set_generation(options.generation);
    return report;
}

void Partition::set_counters(stats::WorkerCounters* counters) noexcept {
    counters_ = counters;
    reclaimer_.set_counters(counters);
    publish_gauges();
}

void Partition::publish_trust(uint64_t until_ns, uint32_t generation) noexcept {
    header_->trusted_generation.store(generation, std::memory_order_relaxed);
    // Release: who sees this lease sees at least this generation.
    header_->trusted_until_ns.store(until_ns, std::memory_order_release);
}

void Partition::set_policy(EvictionPolicy* policy) noexcept {
    policy_ = policy != nullptr ? policy : &default_policy;
    reclaimer_.set_policy(policy_);
    segments_.set_policy_logs(policy_->logs());
    policy_->attach(segments_.view());
}

void Partition::choose_policy(Eviction kind) {
    auto policy = make_policy(kind, uint64_t{header_->bucket_count} * kSlotsPlanned);
    set_policy(policy.get());
    own_policy_ = std::move(policy);
}

base::Status Partition::set_quotas(std::span<const Quota> quotas) {
    const uint64_t segment_bytes = segments_.segment_bytes();
    for (const Quota& quota : quotas) {
        if (quota.bytes / segment_bytes >= kQuotaSegmentsMin) continue;
        return base::Error{"l1.quotas: \"" + quota.prefix + "\" has " +
                           std::to_string(quota.bytes) + " bytes a worker, but needs at least " +
                           std::to_string(kQuotaSegmentsMin) + " segments of " +
                           std::to_string(segment_bytes) +
                           "; raise it, or lower l1.item_bytes_max"};
    }
    // An L1 that was taken over may have logs of other prefixes.
    uint32_t prefixes = 0;
    for (const Quota& quota : quotas) {
        prefixes = base::crc32c(quota.prefix.c_str(), quota.prefix.size() + 1, prefixes);
    }
    if (header_->quotas_crc != prefixes) segments_.give_up_quota_logs();
    header_->quotas_crc = prefixes;
    quotas_.set(quotas);
    for (uint32_t i = 0; i < quotas.size(); ++i) {
        // One less: a merge may write to a new segment before it frees an old one.
        const uint64_t segments = quotas[i].bytes / segment_bytes - 1;
        segments_.set_limit(kPolicyLogsMax + i, static_cast<uint32_t>(std::min<uint64_t>(
                                                    segments, segments_.count_max())));
    }
    return {};
}

uint64_t Partition::quota_bytes() const noexcept {
    uint64_t segments = 0;
    for (uint32_t log = kPolicyLogsMax; log < kLogsMax; ++log) {
        segments += segments_.view().logs[log].segments;
    }
    return segments * segments_.segment_bytes();
}

void Partition::publish_gauges() noexcept {
    if (counters_ == nullptr) return;
    const uint64_t segment_bytes = segments_.segment_bytes();
    counters_->set(stats::Counter::l1_quota_bytes, quota_bytes());
    counters_->set(stats::Counter::l1_items, segments_.items());
    counters_->set(stats::Counter::l1_bytes_used,
                   (segments_.count() - segments_.free_count()) * segment_bytes);
    counters_->set(stats::Counter::l1_bytes_total, segments_.count() * segment_bytes);
    counters_->set(stats::Counter::l1_read_retries, read_retries_.load(std::memory_order_relaxed));
    counters_->set(stats::Counter::l1_hints, hints_.load(std::memory_order_relaxed));
    counters_->set(stats::Counter::l1_pinned_segments, segments_.pinned_count());
}

void Partition::note_generation(uint32_t generation) noexcept {
    const uint32_t newest = header_->generation.load(std::memory_order_relaxed);
    if (generation_known_ && static_cast<int32_t>(generation - newest) <= 0) return;
    generation_known_ = true;
    header_->generation.store(generation, std::memory_order_relaxed);
    reclaimer_.set_generation(generation);
}

void Partition::remove_item(uint64_t offset) noexcept {
    segments_.remove_live(offset, read_header(segments_.item(offset)).bytes());
}

PutStatus Partition::put(uint64_t hash, std::string_view key, std::string_view value,
                         uint64_t deadline_ms, uint32_t generation, uint64_t now_ms) noexcept {
    // Another hash would lose the item at the first merge.
    CACHEE_ASSERT(hash == base::hash_key(key, hash_seed_));
    if (key.size() > kKeyBytesMax || value.size() > item_bytes_max_ ||
        key.size() + value.size() > item_bytes_max_) {
        erase(hash, key);
        count(stats::Counter::l1_put_failures);
        return PutStatus::kTooLarge;
    }
    note_generation(generation);
    const auto bytes = static_cast<uint32_t>(kItemHeaderBytes + key.size() + value.size());
    const uint64_t deadline40 = to_deadline40(deadline_ms);
    const uint32_t ttl_class = segments_.class_of(deadline40, now_ms);
    if (reclaimer_.memory_is_low()) {
        reclaimer_.step(now_ms, std::min(kPutBudget + bytes / kPutBytesPerVisit, kPutBudgetMax));
    }
    Index::Position at = index_.find_key(hash, key);
    const uint32_t log = log_for(hash, key, at);
    uint64_t offset = 0;
    if (!segments_.allocate(segments_.place_of(log, ttl_class), bytes, false, &offset)) {
        if (!reclaimer_.make_room(log, now_ms) ||
            !segments_.allocate(segments_.place_of(log, ttl_class), bytes, false, &offset)) {
            erase(hash, key);
            count(stats::Counter::l1_put_failures);
            if (log >= kPolicyLogsMax) count(stats::Counter::l1_quota_refused);
            return PutStatus::kNoMemory;
        }
        at = index_.find_key(hash, key);  // it may have been moved, or dropped
    }
    write_item(segments_.item(offset), key, value, deadline40, generation);
    segments_.add_live(offset, bytes, deadline40);

    const bool known = at.bucket != nullptr;
    if (!known) at = index_.place_for(hash);
    const uint64_t old_slot = Index::load(at);
    index_.replace(hash, at, make_slot(hash, known ? frequency_of(old_slot) : 0, offset));
    if (old_slot != 0) {
        remove_item(offset_of(old_slot));
        if (!known) count(stats::Counter::l1_evicted);  // the chain was at its limit
    }
    count(stats::Counter::l1_puts);
    return PutStatus::kStored;
}

// Another value of a key stays where the key has got to.
uint32_t Partition::log_for(uint64_t hash, std::string_view key, Index::Position known) noexcept {
    const uint32_t quota = quotas_.log_of(key);
    if (quota != QuotaTable::kNoQuota) return quota;
    if (known.bucket == nullptr) return policy_->log_of_new(hash);
    return segments_.log_of(offset_of(Index::load(known)));
}

bool Partition::erase(uint64_t hash, std::string_view key) noexcept {
    const Index::Position at = index_.find_key(hash, key);
    if (at.bucket == nullptr) return false;
    const uint64_t offset = offset_of(Index::load(at));
    index_.unlink(hash, at);
    remove_item(offset);
    return true;
}

bool Partition::set_deadline(uint64_t hash, std::string_view key, uint64_t deadline_ms) noexcept {
    const Index::Position at = index_.find_key(hash, key);
    if (at.bucket == nullptr) return false;
    const uint64_t offset = offset_of(Index::load(at));
    uint8_t* item = segments_.item(offset);
    const ItemHeader header = read_header(item);
    const uint64_t deadline40 = to_deadline40(deadline_ms);
    segments_.note_deadline(offset, deadline40);
    Index::Change change(index_.first_of(hash));
    // For who finds this half done: Rebuild::restore_deadline(). The fences keep the stores in this
    // order.
    header_->deadline_before = make_deadline_word(header.deadline40, header.value_bytes);
    fence_release();
    header_->deadline_item.store(offset + 1, std::memory_order_relaxed);
    fence_release();
    write_deadline(item, deadline40, header.value_bytes);
    seal_crc(item, header.bytes());
    header_->deadline_item.store(0, std::memory_order_release);
    return true;
}

void Partition::clear() noexcept {
    index_.clear();
    segments_.clear();
    reclaimer_.reset();
    publish_gauges();
}

void Partition::follow_resize() noexcept {
    // Acquire: pairs with want_segments(): the memory is there.
    const uint32_t wanted = segments_wanted_.load(std::memory_order_acquire);
    if (wanted != segments_.target()) {
        segments_.resize(wanted);
        reclaimer_.resized();
    }
    segments_.finish_resize();
    // Release: nothing beyond is linked any more.
    header_->segments_in_use.store(segments_.count(), std::memory_order_release);
}

void Partition::maintain(uint64_t now_ms) noexcept {
    if (segments_wanted_.load(std::memory_order_relaxed) != segments_.target() ||
        segments_.count() != segments_.target()) [[unlikely]]
        follow_resize();
    if (reclaimer_.work_is_due(now_ms)) reclaimer_.step(now_ms, kMaintainBudget);
    publish_gauges();
}

void Partition::touch(uint64_t hash) noexcept {
    Bucket& bucket = index_.first_of(hash);
    const uint32_t mask = Index::matches(bucket, tag_of(hash));
    if (mask == 0) return;
    std::atomic<uint64_t>& slot = bucket.slots[__builtin_ctz(mask) - 1];
    uint64_t seen = slot.load(std::memory_order_relaxed);
    if (tag_of_slot(seen) != tag_of(hash) || frequency_of(seen) == kFrequencyMax) return;
    // Compare and exchange: a touch must never bring back a slot that the owner just changed.
    slot.compare_exchange_strong(seen, seen + kFrequencyOne, std::memory_order_relaxed);
}

}  // namespace cachee::l1
