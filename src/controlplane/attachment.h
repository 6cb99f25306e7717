// SPDX-License-Identifier: Apache-2.0
// The control plane's hold on one data plane: its segment, the epoch handshake, and the links to
// its workers. One attachment per data plane process; the supervisor part that looks for one,
// notices that it was restarted, and keeps a second control plane out. Control plane thread only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "controlplane/worker_link.h"
#include "shm/segment.h"

namespace cachee::controlplane {

// flock on <runtime_dir>/<instance>-controlplane.lock: released by the kernel when the process
// dies.
class InstanceLock {
  public:
    static base::Result<InstanceLock> take(const std::string& path);
    InstanceLock(InstanceLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    InstanceLock& operator=(InstanceLock&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~InstanceLock();

  private:
    explicit InstanceLock(int fd) : fd_(fd) {}
    int fd_ = -1;
};

class Attachment {
  public:
    // Maps the segment and announces a new epoch; the rings are not touched until acknowledged().
    static base::Result<std::unique_ptr<Attachment>> attach(const std::string& instance);

    // True when every worker follows our epoch; from the first time on the links may be used.
    bool acknowledged();
    bool current() const { return segment_->is_current(); }
    // "worker 2", the first that has not acknowledged.
    std::string waiting_for() const;

    shm::ControlHeader& header() const { return *segment_->header(); }
    std::vector<WorkerLink>& links() { return links_; }
    uint64_t epoch() const { return epoch_; }

  private:
    explicit Attachment(std::unique_ptr<shm::Segment> segment);

    std::unique_ptr<shm::Segment> segment_;
    std::vector<WorkerLink> links_;
    uint64_t epoch_ = 0;
    bool acknowledged_ = false;
};

}  // namespace cachee::controlplane
