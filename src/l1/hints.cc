// SPDX-License-Identifier: Apache-2.0
#include "l1/hints.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cachee::l1 {

std::unique_ptr<HintSender> HintSender::open(const std::string& path) {
    if (path.empty()) return nullptr;
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return nullptr;
    struct stat status {};
    if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        ::close(fd);
        return nullptr;
    }
    return std::unique_ptr<HintSender>(new HintSender(fd));
}

HintSender::HintSender(int fd)
    : fd_(fd),
      rng_(base::random_seed()),
      next_block_(static_cast<uint32_t>(rng_.below(kHintBlocks))) {}

HintSender::~HintSender() {
    if (count_ > 0) {
        std::memset(&block_.hashes[count_], 0, (kHintsPerBlock - count_) * sizeof(uint64_t));
        send_cold();
    }
    ::close(fd_);
}

void HintSender::send_cold() noexcept {
    block_.stamp = rng_.next() | 1;
    const HintBlock block = block_;
    const off_t at = static_cast<off_t>(next_block_) * static_cast<off_t>(sizeof block);
    next_block_ = (next_block_ + 1) % kHintBlocks;
    // A hint lost is a hint lost.
    if (::pwrite(fd_, &block, sizeof block, at) == static_cast<ssize_t>(sizeof block)) {
        sent_ += count_;
    }
    count_ = 0;
}

base::Result<std::unique_ptr<HintTaker>> HintTaker::create(const std::string& path, mode_t mode) {
    ::unlink(path.c_str());
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || ::ftruncate(fd, kHintBlocks * sizeof(HintBlock)) != 0 ||
        ::fchmod(fd, mode) != 0) {
        const std::string reason = std::strerror(errno);
        if (fd >= 0) ::close(fd);
        return base::Error{"cannot create " + path + ": " + reason};
    }
    return std::unique_ptr<HintTaker>(new HintTaker(path, fd));
}

HintTaker::~HintTaker() {
    ::close(fd_);
    ::unlink(path_.c_str());
}

// How many whole blocks there are now: whoever may write the file may have cut it short.
uint32_t HintTaker::read_blocks() noexcept {
    const ssize_t bytes = ::pread(fd_, blocks_, sizeof blocks_, 0);
    return bytes <= 0 ? 0 : static_cast<uint32_t>(static_cast<size_t>(bytes) / sizeof(HintBlock));
}

}  // namespace cachee::l1
