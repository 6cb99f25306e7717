// SPDX-License-Identifier: Apache-2.0
// See lent_memory.h. Cold code, main thread.
#include "drivers/dpdk/lent_memory.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_memory.h>

#include <string>

namespace cachee::dpdk {

namespace {

constexpr uint64_t kHugepageBytesMin = 2u << 20;
// For a mapping that an IOMMU of 39 bits could not translate: above EAL's own memory, which begins
// at 4 GiB.
constexpr uint64_t kLowAddress = uint64_t{1} << 38;
constexpr uint64_t kLowAddressEnd = uint64_t{1} << 39;

base::Error refused(const std::string& why) {
    return base::Error{"large values are copied into frames: " + why};
}

}  // namespace

base::Status LentMemory::find_pages() {
    if (rte_eal_iova_mode() != RTE_IOVA_PA) return {};
    if (page_bytes_ < kHugepageBytesMin) {
        return refused("the device wants physical addresses, and L1 is on ordinary pages");
    }
    for (uint64_t at = 0; at < bytes_; at += page_bytes_) {
        const rte_iova_t address = rte_mem_virt2iova(memory_ + at);
        if (address == RTE_BAD_IOVA) {
            return refused("the physical addresses of L1 cannot be read (start as root)");
        }
        pages_.push_back(address);
    }
    return {};
}

base::Status LentMemory::add(uint8_t* memory, uint64_t bytes, uint64_t page_bytes,
                             rte_device* device) {
    memory_ = memory;
    bytes_ = bytes;
    page_bytes_ = page_bytes;
    base::Status status = find_pages();
    if (status && rte_extmem_register(memory, bytes, pages_.empty() ? nullptr : pages_.data(),
                                      static_cast<unsigned>(bytes / page_bytes), page_bytes) != 0) {
        status =
            refused("EAL does not take the memory of L1: " + std::string(rte_strerror(rte_errno)));
    }
    if (!status) {
        bytes_ = 0;
        return status;
    }
    const auto pointer = reinterpret_cast<uintptr_t>(memory);
    if (pages_.empty() && pointer + bytes > kLowAddressEnd) shift_ = kLowAddress - pointer;
    // In one piece where the addresses follow each other, else page by page.
    const uint64_t step = pages_.empty() ? bytes : page_bytes;
    for (uint64_t at = 0; at < bytes; at += step) {
        if (rte_dev_dma_map(device, memory + at, address_of(memory + at, 1), step) == 0) {
            mapped_for_ = device;
            mapped_bytes_ += step;
            continue;
        }
        // A bus that maps nothing (every software device's) has no need to.
        if (mapped_bytes_ == 0 && (rte_errno == ENOTSUP || rte_errno == ENOSYS)) {
            shift_ = 0;
            break;
        }
        const std::string reason = rte_strerror(rte_errno);
        remove();
        return refused("the device cannot be given the memory of L1: " + reason);
    }
    return {};
}

void LentMemory::remove() {
    if (bytes_ == 0) return;
    const uint64_t step = pages_.empty() ? bytes_ : page_bytes_;
    for (uint64_t at = 0; at < mapped_bytes_; at += step) {
        rte_dev_dma_unmap(mapped_for_, memory_ + at, address_of(memory_ + at, 1), step);
    }
    rte_extmem_unregister(memory_, bytes_);
    mapped_for_ = nullptr;
    mapped_bytes_ = 0;
    bytes_ = 0;
    shift_ = 0;
    pages_.clear();
}

}  // namespace cachee::dpdk
