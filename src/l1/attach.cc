// SPDX-License-Identifier: Apache-2.0
// Taking a store over: the checks of the file as a whole, and the partitions in parallel.
#include "l1/attach.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <thread>

#include "base/clock.h"
#include "l1/partition.h"
#include "l1/store.h"

namespace cachee::l1 {

namespace {

bool same_place(const PartitionHeader& a, const PartitionHeader& b) {
    return a.buckets_offset == b.buckets_offset && a.overflow_offset == b.overflow_offset &&
           a.segment_table_offset == b.segment_table_offset &&
           a.segments_offset == b.segments_offset && a.bucket_count == b.bucket_count &&
           a.overflow_count == b.overflow_count && a.segment_count == b.segment_count &&
           a.segment_bytes_log2 == b.segment_bytes_log2 && a.segments_min == b.segments_min &&
           a.segments_in_use.load(std::memory_order_relaxed) ==
               b.segments_in_use.load(std::memory_order_relaxed);
}

uint32_t cpus() {
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return static_cast<uint32_t>(std::max(CPU_COUNT(&set), 1));
}

bool is_newer(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) > 0; }

}  // namespace

std::string boot_id() {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string id;
    std::getline(file, id);
    id.resize(std::min(id.size(), sizeof(FileHeader::boot_id) - 1));
    return id;
}

std::string fault_of(const FileHeader& file, std::span<const PartitionHeader> partitions,
                     const FileHeader& planned,
                     std::span<const PartitionHeader> planned_partitions) {
    // Acquire: pairs with the release of who completed the file.
    if (file.magic.load(std::memory_order_acquire) != kMagic) {
        return "its header is torn: it was never completed, or is no L1";
    }
    if (file.layout_version != kLayoutVersion) {
        return "it has layout version " + std::to_string(file.layout_version) +
               ", this program's is " + std::to_string(kLayoutVersion);
    }
    if (file.file_bytes != planned.file_bytes ||
        file.partitions_offset != planned.partitions_offset || file.id == 0) {
        return "its header is damaged";
    }
    if (std::memcmp(file.boot_id, planned.boot_id, sizeof file.boot_id) != 0) {
        return "the machine was started anew since, and with it the clock of the deadlines";
    }
    if (file.partition_count != planned.partition_count) {
        return "it is of " + std::to_string(file.partition_count) + " workers, " +
               std::to_string(planned.partition_count) + " are configured";
    }
    if (file.authoritative != planned.authoritative) {
        return file.authoritative != 0 ? "it is of a cache without L2, and one is configured"
                                       : "it is of a cache in front of L2, and none is configured";
    }
    if (file.item_bytes_max != planned.item_bytes_max) {
        return "its items have at most " + std::to_string(file.item_bytes_max) + " bytes, " +
               std::to_string(planned.item_bytes_max) + " are configured";
    }
    if (!std::equal(partitions.begin(), partitions.end(), planned_partitions.begin(),
                    planned_partitions.end(), same_place)) {
        return "it is laid out for other sizes, or damaged";
    }
    return {};
}

uint32_t newest_generation(std::span<const PartitionHeader> partitions) {
    uint32_t newest = partitions[0].generation.load(std::memory_order_relaxed);
    for (const PartitionHeader& partition : partitions) {
        for (const auto* each : {&partition.generation, &partition.trusted_generation}) {
            const uint32_t generation = each->load(std::memory_order_relaxed);
            if (is_newer(generation, newest)) newest = generation;
        }
    }
    return newest;
}

std::string AttachReport::text() const {
    if (!warm) {
        return cold_reason.empty() ? "L1 starts empty"
                                   : "L1 starts empty, what was there is dropped: " + cold_reason;
    }
    std::string line = "L1 is kept: " + std::to_string(rebuilt.items) + " items, " +
                       std::to_string(rebuilt.bytes >> 20) + " MiB, checked in " +
                       std::to_string(took_ms) + " ms by " + std::to_string(threads) +
                       (threads == 1 ? " thread" : " threads");
    const std::pair<uint64_t, const char*> reasons[] = {
        {rebuilt.expired, " expired"},
        {rebuilt.old_generation, " untrusted before"},
        {rebuilt.bad_checksum, " with a wrong checksum"},
        {rebuilt.half_done, " half moved"},
        {rebuilt.duplicates, " twice there"},
        {rebuilt.malformed, " malformed"},
    };
    if (rebuilt.dropped() == 0) return line;
    line += "; dropped:";
    const char* separator = " ";
    for (const auto& [count, what] : reasons) {
        if (count == 0) continue;
        line += separator + std::to_string(count) + what;
        separator = ", ";
    }
    return line;
}

// The threads are this process's first and end here: no worker runs yet.
void Store::rebuild(uint64_t now_ms, AttachReport* report) {
    auto* header = reinterpret_cast<FileHeader*>(base());
    const std::span<PartitionHeader> headers(
        reinterpret_cast<PartitionHeader*>(base() + header->partitions_offset), partitions());
    // Nobody believes anything before its new owner vouches for it.
    for (PartitionHeader& each : headers) {
        each.trusted_until_ns.store(0, std::memory_order_release);
    }
    const uint32_t generation = l1::newest_generation(headers);
    header->creator_pid = static_cast<uint32_t>(::getpid());
    report->threads = std::min(cpus(), partitions());
    std::vector<RebuildReport>& reports = report->partitions;
    reports.resize(partitions());
    std::atomic<uint32_t> next{0};
    const auto work = [&] {
        for (uint32_t i = next.fetch_add(1); i < partitions(); i = next.fetch_add(1)) {
            file_->prefault(headers[i].buckets_offset, partition_bytes_);
            reports[i] = partitions_[i]->rebuild({.now_ms = now_ms,
                                                  .generation = generation,
                                                  .partition = i,
                                                  .partitions = partitions()});
        }
    };
    std::vector<std::thread> threads;
    for (uint32_t i = 1; i < report->threads; ++i) threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();
    for (const RebuildReport& each : reports) report->rebuilt.add(each);
    file_->prefault(0, bytes());  // headers and the tail
}

}  // namespace cachee::l1
