// SPDX-License-Identifier: Apache-2.0
// L1: the whole store of one instance (one file, mapped once per process) and its partitions.
// Data plane. One owner thread per partition writes; any thread may read any partition.
//
// A lookup is staged so that a burst can overlap its cache misses:
//   prefetch_bucket(hash) ... look(hash) ... take(key) -> copy value -> still_valid()
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/hugepage_file.h"
#include "base/result.h"
#include "l1/eviction_policy.h"
#include "l1/rebuild.h"
#include "stats/counters.h"

namespace cachee::l1 {

using base::Hugepages;

struct StoreOptions {
    std::string instance = "main";  // names the file: <hugepage_dir>/cachee-<instance>-l1
    std::string hugepage_dir = "/dev/hugepages";  // falls back to /dev/shm (kAuto, kOff)
    Hugepages hugepages = Hugepages::kAuto;
    uint64_t bytes = 256 << 20;          // all partitions together, indexes included
    uint64_t bytes_max = 0;              // what it may grow to; 0: `bytes`, for good
    uint32_t partitions = 1;             // one per worker
    uint64_t item_bytes_max = 1 << 20;   // key + value; a small store takes less: item_bytes_max()
    uint64_t item_bytes_expected = 128;  // key + value on average: what the index is sized for
    uint64_t hash_seed = 0;  // of base::hash_key: of every hash given to a partition; a store that
                             // is taken over keeps its own: hash_seed()
    uint32_t mode = 0640;
    bool authoritative = false;   // what is here is nowhere else: a cache without L2
    uint32_t owner = UINT32_MAX;  // uid whose file is taken over besides this process's own
};

// What attach_or_create() did.
struct AttachReport {
    bool warm = false;        // false: the store is new and empty
    std::string cold_reason;  // why what was there was not kept; empty: nothing was there
    RebuildReport rebuilt;    // all partitions together
    std::vector<RebuildReport> partitions;  // each; empty when cold
    uint32_t threads = 0;
    uint64_t took_ms = 0;

    std::string text() const;  // a line for the log
};

enum class FindStatus : uint8_t { kHit, kMiss, kBusy };  // kBusy: a writer was at work too long

struct Lookup {
    FindStatus status = FindStatus::kMiss;
    const uint8_t* value = nullptr;  // in L1 memory; believe what you copied only if still_valid()
    uint32_t value_bytes = 0;
    uint64_t deadline_ms = 0;            // monotonic ms; 0: none
    const void* version_word = nullptr;  // for still_valid(); nullptr: the owner looked
    uint32_t version = 0;
};

enum class PutStatus : uint8_t { kStored, kTooLarge, kNoMemory };

class Partition;
class StoreMemory;
struct FileHeader;
struct PartitionHeader;

class Store {
  public:
    // Creates the file anew (what an earlier run left is dropped), maps and prefaults it. Errors
    // say what to change. Also an error: the file of a running process, see base::HugepageFile.
    static base::Result<std::unique_ptr<Store>> create(const StoreOptions& options);

    // Takes over the file that an earlier process left, if it fits these options and is of this
    // boot of the machine: the same file, so that who has mapped it goes on seeing it. Its items
    // are checked one by one (rebuild.h); readers are told not to believe any before the new owners
    // publish_trust(). Otherwise as create(). Cost: reads all of it, partitions in parallel.
    static base::Result<std::unique_ptr<Store>> attach_or_create(const StoreOptions& options,
                                                                 uint64_t now_ms,
                                                                 AttachReport* report);

    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;
    ~Store();  // unmaps; the file stays unless unlink() was called

    // REQUIRES: index < partitions().
    Partition& partition(uint32_t index);
    uint32_t partitions() const;
    const std::string& path() const;
    // Why ordinary pages are used although hugepages were asked for (kAuto); empty otherwise.
    const std::string& fallback_reason() const;
    void unlink();

    // --- another size, at run time: one thread that is not a worker's ---
    // Growing takes memory at once, or fails with a reason and changes nothing; it may take long
    // (pages are zeroed). Shrinking moves and evicts items first: resize_step() until it is done.
    // REQUIRES: bytes_max was given.
    base::Status resize(uint64_t bytes);
    // Gives back memory that nobody uses any more. True when the store has the size wanted. Call it
    // every second or so: what a partition has left is given back by the next call but one, so that
    // whoever still reads there, in this process or another, has long been done.
    bool resize_step();
    // Of the size asked for last, as rounded down to whole segments.
    uint64_t bytes_wanted() const;
    // Least and greatest that resize() takes; both bytes() when the size is for good.
    uint64_t bytes_min() const;
    uint64_t bytes_max() const;

    // Of the partition that the value lies in; see Partition::pin(). Any thread.
    bool pin(const Lookup& found) noexcept;
    void pin_again(const uint8_t* value) noexcept;
    void unpin(const uint8_t* value) noexcept;

    // The most key + value that put() takes: the option, or what a segment of this store holds.
    uint64_t item_bytes_max() const;
    uint64_t hash_seed() const;
    // Of this store's contents: another number is another store. Never 0.
    uint64_t id() const;
    // The newest generation that any item or reader in the file knows; 0 when there was none.
    uint32_t newest_generation() const;
    // The mapping, for registering it with a NIC or queue pair; with holes when it may grow.
    uint8_t* base() const;
    uint64_t bytes() const;
    uint64_t page_bytes() const;

  private:
    struct Geometry;

    Store();
    static Geometry plan(const StoreOptions& options, uint64_t file_bytes, uint64_t alignment);
    static base::Result<std::unique_ptr<Store>> create_on(const StoreOptions& options,
                                                          Hugepages hugepages);
    static std::unique_ptr<Store> attach(const StoreOptions& options, uint64_t now_ms,
                                         AttachReport* report);
    void shape_of(const StoreOptions& options, const Geometry& geometry, uint64_t alignment);
    void write_headers(const StoreOptions& options, const Geometry& geometry, FileHeader& header,
                       PartitionHeader* partitions) const;
    void make_partitions(Begin begin);
    void rebuild(uint64_t now_ms, AttachReport* report);
    Partition& partition_of(const uint8_t* value) noexcept;

    std::unique_ptr<base::HugepageFile> file_;
    uint64_t first_partition_offset_ = 0;
    uint64_t partition_bytes_ = 0;
    std::string fallback_reason_;
    std::unique_ptr<StoreMemory> memory_;  // none: the size is for good
    uint32_t segments_wanted_ = 0;         // of each partition
    std::vector<uint32_t> seen_in_use_;    // of each partition, by the last resize_step()
    std::vector<std::unique_ptr<Partition>> partitions_;
};

}  // namespace cachee::l1
