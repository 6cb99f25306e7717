// SPDX-License-Identifier: Apache-2.0
// Memory outside EAL's that frames may be sent from: L1. Registered with EAL and mapped for the
// device once, at start; afterwards finding a device address is arithmetic. Private to
// drivers/dpdk.
//
// With IOVA as VA a device address is the pointer itself, or differs from it by a constant: an
// IOMMU may translate fewer bits than a pointer has (39 are common), and L1 lies high. With IOVA as
// PA each page has its own, and only hugepages stay where they are: ordinary pages are refused
// then.
#pragma once

#include <rte_common.h>
#include <rte_dev.h>

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace cachee::dpdk {

class LentMemory {
  public:
    LentMemory() = default;
    LentMemory(const LentMemory&) = delete;
    LentMemory& operator=(const LentMemory&) = delete;
    ~LentMemory() { remove(); }

    // Main thread, after EAL and the device are up. REQUIRES: whole pages; called once.
    base::Status add(uint8_t* memory, uint64_t bytes, uint64_t page_bytes, rte_device* device);
    // Before the device is closed; no frame refers to the memory any more.
    void remove();

    // Any thread. The device's address of these bytes; RTE_BAD_IOVA when they lie elsewhere or are
    // not contiguous for the device.
    rte_iova_t address_of(const uint8_t* data, uint32_t size) const noexcept {
        const auto offset = static_cast<uint64_t>(data - memory_);
        if (offset >= bytes_ || size > bytes_ - offset) return RTE_BAD_IOVA;
        if (pages_.empty()) return reinterpret_cast<uintptr_t>(data) + shift_;
        const uint64_t page = offset / page_bytes_;
        if ((offset + size - 1) / page_bytes_ != page) return RTE_BAD_IOVA;
        return pages_[page] + offset % page_bytes_;
    }

  private:
    base::Status find_pages();

    uint8_t* memory_ = nullptr;
    uint64_t bytes_ = 0;  // 0: nothing may be lent
    uint64_t page_bytes_ = 0;
    rte_device* mapped_for_ = nullptr;
    uint64_t mapped_bytes_ = 0;
    uint64_t shift_ = 0;             // from a pointer to the device's address, modulo 2^64
    std::vector<rte_iova_t> pages_;  // empty: pointer plus shift_
};

}  // namespace cachee::dpdk
