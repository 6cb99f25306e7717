// SPDX-License-Identifier: Apache-2.0
// How a worker wakes a control plane that has published that it sleeps: one byte into a FIFO at
// <runtime_dir>/<instance>.wake. A FIFO, not an eventfd: either process may be restarted at any
// time and finds it again by name. One system call, only while the control plane sleeps.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/result.h"

namespace cachee::shm {

class WakeFifo {
  public:
    // Creates the FIFO if it is missing and opens it; both planes may do so. O_RDWR: an open never
    // blocks or fails for want of the other end (Linux, fifo(7)).
    static base::Result<WakeFifo> open(const std::string& path) {
        if (::mkfifo(path.c_str(), 0660) != 0 && errno != EEXIST) {
            return base::Error{"cannot create " + path + ": " + std::strerror(errno)};
        }
        const int fd = ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) return base::Error{"cannot open " + path + ": " + std::strerror(errno)};
        return WakeFifo(fd);
    }

    WakeFifo(WakeFifo&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    WakeFifo& operator=(WakeFifo&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~WakeFifo() {
        if (fd_ >= 0) ::close(fd_);
    }

    int fd() const { return fd_; }

    // A full FIFO means that wake-ups are pending: nothing to do.
    void ring() const {
        const char byte = 1;
        [[maybe_unused]] const ssize_t written = ::write(fd_, &byte, 1);
    }

    void drain() const {
        char bytes[256];
        while (::read(fd_, bytes, sizeof bytes) == sizeof bytes) {
        }
    }

  private:
    explicit WakeFifo(int fd) : fd_(fd) {}
    int fd_ = -1;
};

}  // namespace cachee::shm
