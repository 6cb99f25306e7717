// SPDX-License-Identifier: Apache-2.0
// Whether the file that an earlier process left is one that this store can take over: its header
// and geometry. What is in it is judged item by item (rebuild.h). Cold code, at start only.
#pragma once

#include <span>
#include <string>

#include "l1/layout.h"

namespace cachee::l1 {

// Of the running kernel; its monotonic clock is what deadlines are measured by.
std::string boot_id();

// Why a file with these headers cannot be taken over by a store that plans the others; empty: it
// can. `file` is at least as long as the plan says.
std::string fault_of(const FileHeader& file, std::span<const PartitionHeader> partitions,
                     const FileHeader& planned,
                     std::span<const PartitionHeader> planned_partitions);

// The newest generation that anything in the file knows of.
uint32_t newest_generation(std::span<const PartitionHeader> partitions);

}  // namespace cachee::l1
