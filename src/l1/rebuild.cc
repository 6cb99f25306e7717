// SPDX-License-Identifier: Apache-2.0
#include "l1/rebuild.h"

#include <algorithm>
#include <vector>

#include "base/hash.h"
#include "l1/index_repair.h"

namespace cachee::l1 {

void RebuildReport::add(const RebuildReport& other) noexcept {
    items += other.items;
    bytes += other.bytes;
    expired += other.expired;
    old_generation += other.old_generation;
    bad_checksum += other.bad_checksum;
    half_done += other.half_done;
    duplicates += other.duplicates;
    malformed += other.malformed;
    odd_chains += other.odd_chains;
}

Rebuild::Rebuild(Index& index, Segments& segments, PartitionHeader& header, uint64_t hash_seed,
                 uint64_t item_bytes_max, const RebuildOptions& options)
    : index_(index),
      segments_(segments),
      header_(header),
      hash_seed_(hash_seed),
      item_bytes_max_(item_bytes_max),
      options_(options) {}

RebuildReport Rebuild::run() {
    restore_deadline();
    const uint64_t bytes = uint64_t{segments_.count()} * segments_.segment_bytes();
    IndexRepair repair(index_, bytes, report_);
    repair_ = &repair;
    repair.untangle();
    contents_.resize(segments_.count());
    for (uint32_t segment = 0; segment < segments_.count(); ++segment) walk(segment);
    repair.settle();
    // These were counted by name when they were judged, and settle() met their slots unmarked.
    const uint64_t judged = report_.expired + report_.old_generation + report_.bad_checksum;
    report_.malformed -= std::min(report_.malformed, judged);
    segments_.restore(contents_);
    for (const SegmentContents& contents : contents_) {
        report_.items += contents.live_items;
        report_.bytes += contents.live_bytes;
    }
    repair_ = nullptr;
    return report_;
}

// The item at `offset` lies in its segment and its checksum is right.
bool Rebuild::is_whole(uint64_t offset) const noexcept {
    const uint64_t left = segments_.segment_bytes() - offset % segments_.segment_bytes();
    if (left < kItemHeaderBytes) return false;
    const uint8_t* item = segments_.item(offset);
    const ItemHeader header = read_header(item);
    return header.key_bytes <= kKeyBytesMax && header.bytes() <= left &&
           header.crc == crc_of(item, header.bytes());
}

// Partition::set_deadline() was under way: the deadline is the old one again, unless it was done.
void Rebuild::restore_deadline() noexcept {
    const uint64_t number = header_.deadline_item.load(std::memory_order_relaxed);
    if (number == 0) return;
    const uint64_t offset = number - 1;
    const uint64_t bytes = uint64_t{segments_.count()} * segments_.segment_bytes();
    if (offset < bytes && offset % kItemAlignment == 0 &&
        segments_.segment_bytes() - offset % segments_.segment_bytes() >= kItemHeaderBytes &&
        !is_whole(offset)) {
        uint8_t* word = segments_.item(offset) + kDeadlineOffset;
        const auto found = racy_load<uint64_t>(word);
        std::memcpy(word, &header_.deadline_before, sizeof found);
        if (!is_whole(offset)) std::memcpy(word, &found, sizeof found);
    }
    header_.deadline_item.store(0, std::memory_order_release);
}

// The next items on the log, their buckets prefetched. Fewer than a batch: the log ends there.
uint32_t Rebuild::gather(uint32_t segment, uint32_t used, uint32_t* cursor, Found* batch) noexcept {
    const uint64_t start = uint64_t{segment} * segments_.segment_bytes();
    uint32_t count = 0;
    while (count < kBatch) {
        auto at = static_cast<uint32_t>(base::align_up(*cursor, kItemAlignment));
        if (at + kItemHeaderBytes > used) break;
        if (racy_load<uint16_t>(segments_.item(start + at)) == kPadding) {
            // Never where a line begins: there is nothing to pad.
            if (at % base::kCacheLine == 0) break;
            at = static_cast<uint32_t>(base::align_up(at, base::kCacheLine));
            if (at + kItemHeaderBytes > used) break;
        }
        Found& found = batch[count];
        found.offset = start + at;
        const uint8_t* item = segments_.item(found.offset);
        found.header = read_header(item);
        if (found.header.key_bytes > kKeyBytesMax || found.header.bytes() > used - at) break;
        found.hash = base::hash_key(key_of(item, found.header), hash_seed_);
        __builtin_prefetch(&index_.bucket_of(found.hash), 1);
        *cursor = at + found.header.bytes();
        ++count;
    }
    return count;
}

void Rebuild::judge(const Found& found) noexcept {
    const IndexRepair::Found linked = repair_->find(found.hash, found.offset);
    if (linked.slot == nullptr) return;  // overwritten or erased
    const ItemHeader& header = found.header;
    const uint8_t* item = segments_.item(found.offset);
    if (header.crc != crc_of(item, header.bytes())) {
        ++report_.bad_checksum;
        return;
    }
    if (header.bytes() - kItemHeaderBytes > item_bytes_max_ ||
        base::owner_of(found.hash, options_.partitions) != options_.partition) {
        return;  // not by this program: settle() counts it
    }
    if (options_.now_ms >= header.deadline40) {
        ++report_.expired;
        return;
    }
    if (header.generation != options_.generation) {
        ++report_.old_generation;
        return;
    }
    if (!linked.rivals) {
        IndexRepair::mark(linked.slot);
    } else if (!mark_unless_twins(found, linked.slot)) {
        return;
    }
    const auto end = static_cast<uint32_t>(found.offset % segments_.segment_bytes());
    contents_of(found.offset).add(end + header.bytes(), header.bytes(), header.deadline40);
}

bool Rebuild::mark_unless_twins(const Found& found, std::atomic<uint64_t>* slot) noexcept {
    const std::string_view key = key_of(segments_.item(found.offset), found.header);
    return repair_->mark_unless_twins(found.hash, slot, [&](uint64_t other, bool counted) {
        const uint8_t* twin = segments_.item(other);
        if (!key_matches(twin, key)) return false;
        if (counted) contents_of(other).remove(read_header(twin).bytes());
        return true;
    });
}

void Rebuild::walk(uint32_t segment) noexcept {
    const uint32_t used = std::min(segments_.info(segment).used_bytes, segments_.segment_bytes());
    uint32_t cursor = 0;
    Found batch[kBatch];
    uint32_t count = kBatch;
    while (count == kBatch) {
        count = gather(segment, used, &cursor, batch);
        for (uint32_t i = 0; i < count; ++i) judge(batch[i]);
    }
}

}  // namespace cachee::l1
