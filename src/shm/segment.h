// SPDX-License-Identifier: Apache-2.0
// The control segment as a file in /dev/shm: created by the data plane, attached by the control
// plane (read-write) and by the CLI (read-only). Cold code; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "shm/layout.h"

namespace cachee::shm {

struct SegmentOptions {
    uint32_t worker_count = 1;           // 1..kWorkersMax
    uint32_t ring_entries = 8192;        // power of two
    uint64_t ring_data_bytes = 8 << 20;  // power of two
    uint32_t mode = 0660;                // of the file
    uint32_t group = UINT32_MAX;         // gid that may attach; UINT32_MAX: leave
};

// "/dev/shm/cachee-<instance>-control"
std::string control_segment_path(const std::string& instance);

class Segment {
  public:
    // A fresh, zeroed segment with offsets set and dataplane_state kStarting; replaces a file of
    // that name in one rename, so that an attacher sees the old one or the complete new one.
    static base::Result<std::unique_ptr<Segment>> create(const std::string& instance,
                                                         const SegmentOptions& options);
    // Checks magic, version, size and every offset before it returns: a damaged file is an error
    // text.
    static base::Result<std::unique_ptr<Segment>> attach(const std::string& instance,
                                                         bool read_only);

    Segment(const Segment&) = delete;
    Segment& operator=(const Segment&) = delete;
    ~Segment();  // unmaps; the file stays

    ControlHeader* header() const { return reinterpret_cast<ControlHeader*>(base_); }
    WorkerBlock* worker(uint32_t index) const {
        CACHEE_ASSERT(index < header()->worker_count);
        return reinterpret_cast<WorkerBlock*>(base_ + sizeof(ControlHeader)) + index;
    }
    uint8_t* base() const { return base_; }

    // True while the file at the path is the one mapped here; false after a data plane restart.
    bool is_current() const;

    // Removes the file. For the data plane at a clean stop.
    void unlink();

  private:
    Segment(std::string path, uint8_t* base, uint64_t bytes, uint64_t inode)
        : path_(std::move(path)), base_(base), bytes_(bytes), inode_(inode) {}

    std::string path_;
    uint8_t* base_;
    uint64_t bytes_;
    uint64_t inode_;
};

}  // namespace cachee::shm
