// SPDX-License-Identifier: Apache-2.0
#include "base/hugepage_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/units.h"

namespace cachee::base {

namespace {

Error system_error(const std::string& what, const std::string& path) {
    return Error{what + " " + path + ": " + std::strerror(errno)};
}

// Drops what an earlier run left at `path`: its pages are free again before new ones are asked for.
Status drop_leftover(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT || errno == ENOTDIR) return {};
        return system_error("cannot open the file of an earlier run,", path);
    }
    const bool in_use = ::flock(fd, LOCK_EX | LOCK_NB) != 0;
    ::close(fd);
    if (in_use) {
        return Error{path + " is in use by a running process: stop it, or choose another instance"};
    }
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return system_error("cannot remove", path);
    return {};
}

// Zero when `dir` is not a hugetlbfs mount.
uint64_t hugetlbfs_page_bytes(const std::string& dir) {
    struct statfs status {};
    if (::statfs(dir.c_str(), &status) != 0) return 0;
    if (status.f_type != HUGETLBFS_MAGIC) return 0;
    return static_cast<uint64_t>(status.f_bsize);
}

std::string short_of_pages(const std::string& dir, uint64_t bytes, uint64_t page_bytes) {
    struct statfs status {};
    // A mount without a size limit says 0 or -1 here: then only the need is known.
    std::string text = "not enough free hugepages in " + dir + ": " +
                       std::to_string(bytes / page_bytes) + " of " +
                       std::to_string(page_bytes / kKiB) + " KiB are needed";
    if (::statfs(dir.c_str(), &status) == 0 && status.f_blocks > 0 &&
        static_cast<int64_t>(status.f_blocks) > 0) {
        text += ", " + std::to_string(status.f_bfree) + " are free";
    }
    return text + " (raise vm.nr_hugepages, or make L1 smaller)";
}

// 0, or the errno of the step that failed.
int map_and_prefault(int fd, uint64_t bytes, bool hugepages, bool sparse, uint8_t*& base) {
    // fallocate, not ftruncate: every page is there now, so that none can be missing later.
    const auto length = static_cast<off_t>(bytes);
    if ((sparse ? ::ftruncate(fd, length) : ::fallocate(fd, 0, 0, length)) != 0) return errno;
    // Without MAP_NORESERVE hugetlbfs would set pages aside for the holes too.
    const int flags = MAP_SHARED | (sparse ? MAP_NORESERVE : MAP_POPULATE);
    void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (mapped == MAP_FAILED) return errno;
    base = static_cast<uint8_t*>(mapped);
    if (!hugepages) ::madvise(mapped, bytes, MADV_HUGEPAGE);  // a wish: no harm when refused
    ::madvise(mapped, bytes, MADV_DONTDUMP);
    return 0;
}

}  // namespace

Result<std::unique_ptr<HugepageFile>> HugepageFile::create_in(const HugepageFileOptions& options,
                                                              bool hugepages) {
    const std::string& dir = hugepages ? options.hugepage_dir : options.fallback_dir;
    std::unique_ptr<HugepageFile> file(new HugepageFile);
    file->path_ = dir + "/" + options.name;
    file->on_hugepages_ = hugepages;
    if (hugepages) {
        file->page_bytes_ = hugetlbfs_page_bytes(dir);
        if (file->page_bytes_ == 0) {
            return Error{dir + " is not a hugetlbfs mount (mount -t hugetlbfs none " + dir + ")"};
        }
    }
    const uint64_t rounding =
        file->page_bytes_ > kHugepageBytes ? file->page_bytes_ : kHugepageBytes;
    file->bytes_ = align_up(options.bytes, rounding);

    file->fd_ = ::open(file->path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file->fd_ < 0) return system_error("cannot create", file->path_);
    // From here on the destructor cleans up; only the name has to be removed by hand.
    if (::flock(file->fd_, LOCK_EX | LOCK_NB) != 0) {
        auto failure = system_error("cannot lock", file->path_);
        file->unlink();
        return failure;
    }
    const int error =
        map_and_prefault(file->fd_, file->bytes_, hugepages, options.sparse, file->base_);
    if (error != 0) {
        file->unlink();
        if (hugepages && (error == ENOSPC || error == ENOMEM)) {
            return Error{short_of_pages(dir, file->bytes_, file->page_bytes_)};
        }
        errno = error;
        return system_error("cannot reserve " + std::to_string(file->bytes_ / kMiB) + " MiB for",
                            file->path_);
    }
    if (::fchmod(file->fd_, options.mode) != 0) {
        auto failure = system_error("cannot set the mode of", file->path_);
        file->unlink();
        return failure;
    }
    return file;
}

// An error with an empty text: there is no such file.
Result<std::unique_ptr<HugepageFile>> HugepageFile::attach_in(const HugepageFileOptions& options,
                                                              bool hugepages) {
    const std::string& dir = hugepages ? options.hugepage_dir : options.fallback_dir;
    std::unique_ptr<HugepageFile> file(new HugepageFile);
    file->path_ = dir + "/" + options.name;
    file->on_hugepages_ = hugepages;
    // The folder may be everybody's: no link is followed, and nobody else's file is believed.
    file->fd_ = ::open(file->path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file->fd_ < 0) {
        if (errno == ENOENT || errno == ENOTDIR) return Error{""};
        return system_error("cannot open", file->path_);
    }
    if (::flock(file->fd_, LOCK_EX | LOCK_NB) != 0) {
        return Error{file->path_ + " is in use by a running process"};
    }
    struct stat status {};
    if (::fstat(file->fd_, &status) != 0) return system_error("cannot stat", file->path_);
    if (!S_ISREG(status.st_mode)) return Error{file->path_ + " is not a regular file"};
    if (status.st_uid != ::geteuid() && status.st_uid != options.owner) {
        return Error{file->path_ + " belongs to another user"};
    }
    if ((status.st_mode & 022) != 0) return Error{file->path_ + " may be written by others"};
    if (hugepages) {
        file->page_bytes_ = hugetlbfs_page_bytes(dir);
        if (file->page_bytes_ == 0) return Error{dir + " is not a hugetlbfs mount"};
    }
    file->bytes_ = align_up(options.bytes, std::max<uint64_t>(file->page_bytes_, kHugepageBytes));
    if (static_cast<uint64_t>(status.st_size) != file->bytes_) {
        return Error{file->path_ + " has " + std::to_string(status.st_size / kMiB) + " MiB where " +
                     std::to_string(file->bytes_ / kMiB) + " are configured"};
    }
    // A file with holes would fail at the first touch, when there is no memory.
    if (static_cast<uint64_t>(status.st_blocks) * 512 < file->bytes_ &&
        ::fallocate(file->fd_, 0, 0, static_cast<off_t>(file->bytes_)) != 0) {
        return system_error("cannot reserve the holes of", file->path_);
    }
    void* mapped = ::mmap(nullptr, file->bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd_, 0);
    if (mapped == MAP_FAILED) return system_error("cannot map", file->path_);
    file->base_ = static_cast<uint8_t*>(mapped);
    if (!hugepages) ::madvise(mapped, file->bytes_, MADV_HUGEPAGE);
    ::madvise(mapped, file->bytes_, MADV_DONTDUMP);
    if (::fchmod(file->fd_, options.mode) != 0) {
        return system_error("cannot set the mode of", file->path_);
    }
    return file;
}

std::unique_ptr<HugepageFile> HugepageFile::attach(const HugepageFileOptions& options,
                                                   std::string* why_not) {
    why_not->clear();
    for (const bool hugepages : {true, false}) {
        if (options.hugepages == (hugepages ? Hugepages::kOff : Hugepages::kRequire)) continue;
        auto file = attach_in(options, hugepages);
        if (!file) {
            if (!file.error().message.empty()) *why_not = file.error().message;
            continue;
        }
        if (!hugepages && options.hugepages == Hugepages::kAuto) {
            file.value()->fallback_reason_ = "the file of the run before lies there";
        }
        why_not->clear();
        return std::move(file).value();
    }
    return nullptr;
}

void HugepageFile::prefault(uint64_t offset, uint64_t bytes) const {
    const uint64_t begin = offset / page_bytes_ * page_bytes_;
    const uint64_t end = std::min(align_up(offset + bytes, page_bytes_), bytes_);
#ifdef MADV_POPULATE_WRITE
    if (::madvise(base_ + begin, end - begin, MADV_POPULATE_WRITE) == 0) return;
#endif
    // An older kernel: by hand, without changing anything.
    for (uint64_t at = begin; at < end; at += page_bytes_) {
        auto* word = reinterpret_cast<uint64_t*>(base_ + at);
        __atomic_fetch_add(word, 0, __ATOMIC_RELAXED);
    }
}

Result<std::unique_ptr<HugepageFile>> HugepageFile::create(const HugepageFileOptions& options) {
    CACHEE_ASSERT(options.bytes > 0);
    CACHEE_ASSERT(!options.name.empty());
    for (const std::string& dir : {options.hugepage_dir, options.fallback_dir}) {
        if (dir == options.hugepage_dir && options.hugepages == Hugepages::kOff) continue;
        Status dropped = drop_leftover(dir + "/" + options.name);
        if (!dropped) return dropped.error();
    }
    if (options.hugepages == Hugepages::kOff) return create_in(options, false);
    auto file = create_in(options, true);
    if (file || options.hugepages == Hugepages::kRequire) return file;
    std::string reason = file.error().message;
    file = create_in(options, false);
    if (file) {
        file.value()->fallback_reason_ = std::move(reason);
        return file;
    }
    return Error{reason + "; and ordinary pages: " + file.error().message};
}

Status HugepageFile::commit(uint64_t offset, uint64_t bytes) {
    CACHEE_ASSERT(offset % page_bytes_ == 0 && bytes % page_bytes_ == 0);
    CACHEE_ASSERT(offset + bytes <= bytes_);
    if (bytes == 0) return {};
    const auto start = static_cast<off_t>(offset);
    int error = ::fallocate(fd_, 0, start, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
    if (error == 0 && ::madvise(base_ + offset, bytes, MADV_POPULATE_WRITE) != 0) error = errno;
    if (error == 0) return {};
    release(offset, bytes);
    const std::string dir = path_.substr(0, path_.rfind('/'));
    if (on_hugepages_ && (error == ENOSPC || error == ENOMEM)) {
        return Error{short_of_pages(dir, bytes, page_bytes_)};
    }
    errno = error;
    return system_error("cannot reserve " + std::to_string(bytes / kMiB) + " MiB more for", path_);
}

void HugepageFile::release(uint64_t offset, uint64_t bytes) {
    if (bytes == 0) return;
    ::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                static_cast<off_t>(bytes));
}

HugepageFile::~HugepageFile() {
    if (base_ != nullptr) ::munmap(base_, bytes_);
    if (fd_ >= 0) ::close(fd_);
}

void HugepageFile::unlink() {
    // Only our own: after a restart the name may be another process's.
    struct stat ours {};
    struct stat named {};
    if (fd_ < 0 || ::fstat(fd_, &ours) != 0) return;
    if (::stat(path_.c_str(), &named) != 0) return;
    if (ours.st_ino == named.st_ino && ours.st_dev == named.st_dev) ::unlink(path_.c_str());
}

}  // namespace cachee::base
