// SPDX-License-Identifier: Apache-2.0
#include "controlplane/attachment.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/clock.h"

namespace cachee::controlplane {

base::Result<InstanceLock> InstanceLock::take(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0660);
    if (fd < 0) return base::Error{"cannot open " + path + ": " + std::strerror(errno)};
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
        const int error = errno;
        ::close(fd);
        if (error == EWOULDBLOCK) {
            return base::Error{"another cachee-controlplane of this instance runs (it holds " +
                               path + "); stop it first, or give this one another instance.name"};
        }
        return base::Error{"cannot lock " + path + ": " + std::strerror(error)};
    }
    return InstanceLock(fd);
}

InstanceLock::~InstanceLock() {
    if (fd_ >= 0) ::close(fd_);
}

base::Result<std::unique_ptr<Attachment>> Attachment::attach(const std::string& instance) {
    auto segment = shm::Segment::attach(instance, false);
    if (!segment) return segment.error();
    return std::unique_ptr<Attachment>(new Attachment(std::move(segment.value())));
}

Attachment::Attachment(std::unique_ptr<shm::Segment> segment) : segment_(std::move(segment)) {
    shm::ControlHeader& shared = header();
    shared.controlplane_pid.store(static_cast<uint32_t>(::getpid()), std::memory_order_relaxed);
    shared.controlplane_heartbeat_ns.store(base::monotonic_ns(), std::memory_order_relaxed);
    shared.controlplane_sleeping.store(0, std::memory_order_relaxed);
    shared.controlplane_state.store(static_cast<uint32_t>(shm::PlaneState::kStarting),
                                    std::memory_order_relaxed);
    // acq_rel: what an earlier control plane wrote is behind us; the workers acquire the new epoch.
    epoch_ = shared.controlplane_epoch.fetch_add(1, std::memory_order_acq_rel) + 1;
    links_.reserve(shared.worker_count);
    for (uint32_t i = 0; i < shared.worker_count; ++i) {
        links_.emplace_back(i, segment_->worker(i), segment_->base(), &shared.control_counters);
    }
}

bool Attachment::acknowledged() {
    if (acknowledged_) return true;
    for (const WorkerLink& link : links_) {
        // acquire: pairs with the worker's release of epoch_ack; its reset of the rings is visible.
        if (link.worker()->epoch_ack.load(std::memory_order_acquire) != epoch_) return false;
    }
    for (WorkerLink& link : links_) link.resync();
    acknowledged_ = true;
    return true;
}

std::string Attachment::waiting_for() const {
    for (const WorkerLink& link : links_) {
        if (link.worker()->epoch_ack.load(std::memory_order_relaxed) != epoch_) {
            return "worker " + std::to_string(link.index());
        }
    }
    return "nobody";
}

}  // namespace cachee::controlplane
