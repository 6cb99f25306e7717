// SPDX-License-Identifier: Apache-2.0
#include "l1/revoke.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "l1/layout.h"

namespace cachee::l1 {

namespace {

void revoke_in(uint8_t* file, uint64_t bytes) {
    const auto* header = reinterpret_cast<const FileHeader*>(file);
    if (header->magic.load(std::memory_order_acquire) != kMagic) return;  // as in Reader::check()
    if (header->layout_version != kLayoutVersion || header->partition_count > kPartitionsMax)
        return;
    const uint64_t offset = header->partitions_offset;
    if (offset % alignof(PartitionHeader) != 0 || offset > bytes) return;
    if (header->partition_count > (bytes - offset) / sizeof(PartitionHeader)) return;
    auto* partitions = reinterpret_cast<PartitionHeader*>(file + offset);
    for (uint32_t i = 0; i < header->partition_count; ++i) {
        // Release: as in Partition::publish_trust().
        partitions[i].trusted_until_ns.store(0, std::memory_order_release);
    }
}

}  // namespace

void revoke_trust(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return;
    struct stat status {};
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0 && ::fstat(fd, &status) == 0 &&
        S_ISREG(status.st_mode) && status.st_size >= static_cast<off_t>(sizeof(FileHeader))) {
        const auto bytes = static_cast<uint64_t>(status.st_size);
        void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (mapped != MAP_FAILED) {
            revoke_in(static_cast<uint8_t*>(mapped), bytes);
            ::munmap(mapped, bytes);
        }
    }
    ::close(fd);  // and the lock with it
}

}  // namespace cachee::l1
