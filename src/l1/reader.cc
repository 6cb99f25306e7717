// SPDX-License-Identifier: Apache-2.0
#include "l1/reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/units.h"
#include "l1/index.h"
#include "l1/item.h"
#include "l1/racy.h"

namespace cachee::l1 {

namespace {

constexpr uint32_t kAttemptsMax = 32;

std::unique_ptr<Reader> refuse(AttachError* error, AttachFault fault, std::string message) {
    *error = {fault, std::move(message)};
    return nullptr;
}

// `count` things of `size` bytes from `offset` lie within `bytes`.
bool fits(uint64_t offset, uint64_t count, uint64_t size, uint64_t bytes) {
    return offset <= bytes && count <= (bytes - offset) / size;
}

}  // namespace

// --- the lookup ---------------------------------------------------------------------------------

// The address is within the segments or nowhere: what lies there is read later, and checked then.
void Reader::prefetch_item(const Place& place) noexcept {
    const uint32_t mask = Index::matches(*place.bucket, tag_of(place.hash)) & ~1U;
    if (mask != 0) [[likely]] {
        const uint64_t offset = offset_of(Index::slot_word(*place.bucket, mask));
        if (offset < place.view->items_bytes) __builtin_prefetch(place.view->items + offset);
        return;
    }
    const uint32_t next = place.bucket->overflow.load(std::memory_order_relaxed);
    if (next != 0 && next <= place.view->overflow_count) {
        __builtin_prefetch(&place.view->overflow[next - 1]);
    }
}

// Beyond it there is no item, and perhaps no memory.
[[gnu::always_inline]] inline uint64_t Reader::items_in_use(const View& view) noexcept {
    const uint32_t in_use = view.header->segments_in_use.load(std::memory_order_relaxed);
    return uint64_t{std::min(in_use, view.segment_count)} << view.segment_bytes_log2;
}

[[gnu::always_inline]] inline Reader::Match Reader::match_in(const View& view, uint64_t items_bytes,
                                                             const Bucket& bucket, uint64_t hash,
                                                             std::string_view key,
                                                             uint32_t generation,
                                                             uint64_t now_ms) noexcept {
    // Bit 0 is no slot; in a damaged bucket it may be set.
    uint32_t mask = Index::matches(bucket, tag_of(hash)) & ~1U;
    for (; mask != 0; mask &= mask - 1) {
        const uint64_t offset = offset_of(Index::slot_word(bucket, mask));
        if (offset >= items_bytes) [[unlikely]]
            return {.status = ReadStatus::kDamaged};
        // A key's worth beyond the segments is still mapped (kTailPadBytes).
        const uint8_t* item = view.items + offset;
        if (!key_matches(item, key)) continue;
        const auto word = racy_load<uint64_t>(item + kDeadlineOffset);
        const auto item_generation = racy_load<uint32_t>(item + kGenerationOffset);
        if (kItemHeaderBytes + key.size() + value_bytes_of(word) > items_bytes - offset)
            [[unlikely]]
            return {.status = ReadStatus::kDamaged};
        const bool live = is_before_deadline(now_ms, word) && item_generation == generation;
        return {.status = live ? ReadStatus::kHit : ReadStatus::kMiss,
                .item = item,
                .deadline_word = word,
                .generation = item_generation,
                .crc = racy_load<uint32_t>(item + kCrcOffset)};
    }
    return {};
}

[[gnu::always_inline]] inline Reader::Match Reader::search(const Place& place, std::string_view key,
                                                           uint32_t generation,
                                                           uint64_t now_ms) noexcept {
    const View& view = *place.view;
    const uint64_t items_bytes = items_in_use(view);
    const Bucket* bucket = place.bucket;
    for (uint32_t length = 0; length < kChainBucketsMax; ++length) {
        const Match match =
            match_in(view, items_bytes, *bucket, place.hash, key, generation, now_ms);
        if (match.item != nullptr || match.status != ReadStatus::kMiss) [[likely]]
            return match;
        const uint32_t next = bucket->overflow.load(std::memory_order_relaxed);
        if (next == 0) break;
        if (next > view.overflow_count) return {.status = ReadStatus::kDamaged};
        bucket = &view.overflow[next - 1];
    }
    return {};
}

namespace {

// Of the item whose parts are all private copies but `value`, which may be.
uint32_t crc_of_parts(uint32_t generation, uint64_t deadline_word, std::string_view key,
                      const void* value, uint32_t value_bytes) noexcept {
    const auto key_bytes = static_cast<uint16_t>(key.size());
    uint8_t fixed[sizeof generation + sizeof deadline_word];
    std::memcpy(fixed, &generation, sizeof generation);
    std::memcpy(fixed + sizeof generation, &deadline_word, sizeof deadline_word);
    uint32_t crc = base::crc32c(&key_bytes, sizeof key_bytes);
    crc = base::crc32c(fixed, sizeof fixed, crc);
    crc = base::crc32c(key.data(), key.size(), crc);
    return base::crc32c(value, value_bytes, crc);
}

uint64_t deadline_ms_of(uint64_t deadline_word) noexcept {
    const uint64_t deadline40 = deadline40_of(deadline_word);
    return deadline40 == kNoDeadline ? 0 : deadline40;
}

// Nothing that was read since the version was `version` may be believed unless this is true.
[[gnu::always_inline]] inline bool settled(const Bucket& first, uint32_t version) noexcept {
    fence_acquire();  // the reads before this look; pairs with fence_release in Index::Change
    return first.version.load(std::memory_order_relaxed) == version;
}

// CRC over bytes that a writer may be changing: a guess until settled().
CACHEE_RACY uint32_t crc_in_place(const uint8_t* item, uint32_t bytes) noexcept {
    return crc_of(item, bytes);
}

}  // namespace

template <bool kVerify>
ReadResult Reader::read(const Place& place, std::string_view key, uint64_t now_ns, void* to,
                        uint64_t capacity) const noexcept {
    const Bucket& first = *place.bucket;
    const PartitionHeader& header = *place.view->header;
    // Acquire: pairs with the release in Partition::publish_trust(): at least this lease's
    // generation, and nothing of the item is read before.
    const uint64_t trusted_until_ns = header.trusted_until_ns.load(std::memory_order_acquire);
    const uint32_t generation = header.trusted_generation.load(std::memory_order_relaxed);
    if (now_ns >= trusted_until_ns) [[unlikely]]
        return {.status = ReadStatus::kUntrusted};
    const uint64_t now_ms = now_ns / base::kNsPerMs;
    for (uint32_t attempt = 0; attempt < kAttemptsMax; ++attempt) {
        // Acquire: pairs with the release of the even version in Index::Change.
        const uint32_t version = first.version.load(std::memory_order_acquire);
        if ((version & 1) != 0) {
            __builtin_ia32_pause();
            continue;
        }
        const Match match = search(place, key, generation, now_ms);
        const uint32_t value_bytes = value_bytes_of(match.deadline_word);
        ReadResult result{.status = match.status};
        if (match.status == ReadStatus::kHit) [[likely]] {
            result.value_bytes = value_bytes;
            result.deadline_ms = deadline_ms_of(match.deadline_word);
            if (value_bytes <= capacity) [[likely]] {
                copy_value(to, match.item + kItemHeaderBytes + key.size(), value_bytes);
            } else {
                result.status = ReadStatus::kTooSmall;
            }
        }
        if (!settled(first, version)) continue;
        if (kVerify && result.status == ReadStatus::kHit &&
            crc_of_parts(match.generation, match.deadline_word, key, to, value_bytes) != match.crc)
            [[unlikely]]
            return {.status = ReadStatus::kDamaged};
        return result;
    }
    return {.status = ReadStatus::kBusy};
}

template ReadResult Reader::read<false>(const Place&, std::string_view, uint64_t, void*,
                                        uint64_t) const noexcept;
template ReadResult Reader::read<true>(const Place&, std::string_view, uint64_t, void*,
                                       uint64_t) const noexcept;

ReadResult Reader::peek(const Place& place, std::string_view key, uint64_t now_ns) const noexcept {
    const Bucket& first = *place.bucket;
    // As in read().
    const uint64_t until_ns = place.view->header->trusted_until_ns.load(std::memory_order_acquire);
    const uint32_t generation =
        place.view->header->trusted_generation.load(std::memory_order_relaxed);
    if (now_ns >= until_ns) return {.status = ReadStatus::kUntrusted};
    for (uint32_t attempt = 0; attempt < kAttemptsMax; ++attempt) {
        // As in read().
        const uint32_t version = first.version.load(std::memory_order_acquire);
        if ((version & 1) != 0) {
            __builtin_ia32_pause();
            continue;
        }
        const Match match = search(place, key, generation, now_ns / base::kNsPerMs);
        const uint32_t value_bytes = value_bytes_of(match.deadline_word);
        bool whole = true;
        if (match.status == ReadStatus::kHit) {
            const auto bytes = static_cast<uint32_t>(kItemHeaderBytes + key.size()) + value_bytes;
            whole = crc_in_place(match.item, bytes) == match.crc;
        }
        if (!settled(first, version)) continue;
        if (!whole) return {.status = ReadStatus::kDamaged};
        if (match.status != ReadStatus::kHit) return {.status = match.status};
        return {.status = ReadStatus::kHit,
                .value_bytes = value_bytes,
                .deadline_ms = deadline_ms_of(match.deadline_word)};
    }
    return {.status = ReadStatus::kBusy};
}

// --- attaching ----------------------------------------------------------------------------------

std::unique_ptr<Reader> Reader::attach(const std::string& path, AttachError* error) {
    *error = {};
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        const bool absent = errno == ENOENT || errno == ENOTDIR;
        const bool forbidden = errno == EACCES || errno == EPERM;
        return refuse(error,
                      absent      ? AttachFault::kAbsent
                      : forbidden ? AttachFault::kForbidden
                                  : AttachFault::kSystem,
                      "cannot open " + path + ": " + std::strerror(errno));
    }
    struct stat status {};
    const bool known = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    const auto bytes = static_cast<uint64_t>(known ? status.st_size : 0);
    if (!known || bytes < sizeof(FileHeader)) {
        ::close(fd);
        return refuse(error, AttachFault::kDamaged,
                      path + " is no whole L1 file (or its data plane is just starting)");
    }
    // No reserve: there may be holes where the store can grow, and they stay holes.
    void* mapped = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
    const int map_errno = errno;
    ::close(fd);
    if (mapped == MAP_FAILED) {
        return refuse(error, AttachFault::kSystem,
                      "cannot map " + path + ": " + std::strerror(map_errno));
    }
    ::madvise(mapped, bytes, MADV_DONTDUMP);
    std::unique_ptr<Reader> reader(new Reader);
    reader->path_ = path;
    reader->base_ = static_cast<const uint8_t*>(mapped);
    reader->bytes_ = bytes;
    reader->device_ = status.st_dev;
    reader->inode_ = status.st_ino;
    if (!reader->check(error)) return nullptr;
    // Where bytes are missing that should be there, reading would take memory, or fault.
    if (static_cast<uint64_t>(status.st_blocks) * 512 < reader->bytes_in_use()) {
        return refuse(error, AttachFault::kDamaged, path + " has holes where L1 should be");
    }
    reader->populate();
    return reader;
}

bool Reader::check(AttachError* error) {
    const auto* header = reinterpret_cast<const FileHeader*>(base_);
    // Acquire: pairs with the release in Store::create(): the rest of the headers is there.
    if (header->magic.load(std::memory_order_acquire) != kMagic) {
        *error = {AttachFault::kDamaged,
                  path_ + " is no L1 file (or its data plane is just starting)"};
        return false;
    }
    const auto version = racy_load<uint32_t>(&header->layout_version);
    if (version != kLayoutVersion) {
        *error = {AttachFault::kIncompatible,
                  path_ + " has layout version " + std::to_string(version) +
                      ", this library reads " + std::to_string(kLayoutVersion) +
                      ": use the library of the data plane's release"};
        return false;
    }
    const auto file_bytes = racy_load<uint64_t>(&header->file_bytes);
    const auto offset = racy_load<uint64_t>(&header->partitions_offset);
    hash_seed_ = racy_load<uint64_t>(&header->hash_seed);
    created_wall_ms_ = racy_load<uint64_t>(&header->created_wall_ms);
    partition_count_ = racy_load<uint32_t>(&header->partition_count);
    bool sound = file_bytes == bytes_ && partition_count_ >= 1 &&
                 partition_count_ <= kPartitionsMax && offset % alignof(PartitionHeader) == 0 &&
                 fits(offset, partition_count_, sizeof(PartitionHeader), bytes_);
    for (uint32_t i = 0; sound && i < partition_count_; ++i) {
        const auto* shared = reinterpret_cast<const PartitionHeader*>(base_ + offset) + i;
        sound = check_partition(*shared, &views_[i]);
    }
    if (!sound) *error = {AttachFault::kDamaged, path_ + ": its headers make no sense"};
    return sound;
}

bool Reader::check_partition(const PartitionHeader& header, View* view) {
    // Each field is read once: what was checked is what is used.
    const auto buckets = racy_load<uint64_t>(&header.buckets_offset);
    const auto overflow = racy_load<uint64_t>(&header.overflow_offset);
    const auto items = racy_load<uint64_t>(&header.segments_offset);
    view->segment_count = racy_load<uint32_t>(&header.segment_count);
    view->segment_bytes_log2 = racy_load<uint32_t>(&header.segment_bytes_log2);
    view->bucket_count = racy_load<uint32_t>(&header.bucket_count);
    view->overflow_count = racy_load<uint32_t>(&header.overflow_count);
    if (buckets % alignof(Bucket) != 0 || overflow % alignof(Bucket) != 0) return false;
    if (view->bucket_count == 0 || view->segment_count == 0 || view->segment_bytes_log2 > 40)
        return false;
    if (!fits(buckets, view->bucket_count, sizeof(Bucket), bytes_)) return false;
    if (!fits(overflow, view->overflow_count, sizeof(Bucket), bytes_)) return false;
    if (bytes_ < kTailPadBytes) return false;
    const uint64_t segment_bytes = uint64_t{1} << view->segment_bytes_log2;
    if (!fits(items, view->segment_count, segment_bytes, bytes_ - kTailPadBytes)) return false;
    view->items_bytes = view->segment_count * segment_bytes;
    view->buckets = reinterpret_cast<const Bucket*>(base_ + buckets);
    view->overflow = reinterpret_cast<const Bucket*>(base_ + overflow);
    view->items = base_ + items;
    view->header = &header;
    return true;
}

// At least so much of the file is not holes.
uint64_t Reader::bytes_in_use() const noexcept {
    uint64_t bytes = sizeof(FileHeader);
    for (uint32_t i = 0; i < partition_count_; ++i) {
        const View& view = views_[i];
        bytes += (uint64_t{view.bucket_count} + view.overflow_count) * sizeof(Bucket);
        bytes += items_in_use(view);
    }
    return bytes;
}

// A page fault in the middle of a lookup costs more than ten lookups.
void Reader::populate() const noexcept {
    constexpr uintptr_t kPage = 4096;
    const auto touch = [](const void* from, uint64_t bytes) {
        const auto start = reinterpret_cast<uintptr_t>(from) & ~(kPage - 1);
        const uintptr_t end = reinterpret_cast<uintptr_t>(from) + bytes;
        if (::madvise(reinterpret_cast<void*>(start), end - start, MADV_POPULATE_READ) == 0) return;
        // A kernel before 5.14.
        for (uintptr_t at = start; at < end; at += kPage) {
            (void)*reinterpret_cast<const volatile uint8_t*>(at);
        }
    };
    for (uint32_t i = 0; i < partition_count_; ++i) {
        const View& view = views_[i];
        touch(view.buckets, uint64_t{view.bucket_count} * sizeof(Bucket));
        touch(view.overflow, uint64_t{view.overflow_count} * sizeof(Bucket));
        touch(view.items, items_in_use(view));
    }
}

bool Reader::is_current() const noexcept {
    struct stat status {};
    if (::stat(path_.c_str(), &status) != 0) return false;
    if (status.st_dev != device_ || status.st_ino != inode_) return false;
    if (static_cast<uint64_t>(status.st_size) != bytes_) return false;
    const auto* header = reinterpret_cast<const FileHeader*>(base_);
    return racy_load<uint64_t>(&header->magic) == kMagic &&
           racy_load<uint32_t>(&header->layout_version) == kLayoutVersion &&
           racy_load<uint64_t>(&header->created_wall_ms) == created_wall_ms_ &&
           racy_load<uint64_t>(&header->hash_seed) == hash_seed_ &&
           racy_load<uint32_t>(&header->partition_count) == partition_count_;
}

Reader::~Reader() {
    if (base_ != nullptr) ::munmap(const_cast<uint8_t*>(base_), bytes_);
}

}  // namespace cachee::l1
