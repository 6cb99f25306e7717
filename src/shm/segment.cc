// SPDX-License-Identifier: Apache-2.0
#include "shm/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "base/units.h"

namespace cachee::shm {

namespace {

base::Error system_error(const std::string& what, const std::string& path) {
    return base::Error{what + " " + path + ": " + std::strerror(errno)};
}

struct FileDescriptor {
    int fd;
    ~FileDescriptor() {
        if (fd >= 0) ::close(fd);
    }
};

uint64_t rings_offset(uint32_t workers) {
    return sizeof(ControlHeader) + workers * sizeof(WorkerBlock);
}

void lay_out_ring(RingHeader& ring, const SegmentOptions& options, uint64_t& offset) {
    ring.entries_offset = offset;
    ring.entry_capacity = options.ring_entries;
    offset += options.ring_entries * sizeof(RingEntry);
    ring.data_offset = offset;
    ring.data_capacity = options.ring_data_bytes;
    offset += options.ring_data_bytes;
}

bool ring_is_sound(const RingHeader& ring, uint64_t segment_bytes) {
    if (!std::has_single_bit(ring.entry_capacity)) return false;
    if (!std::has_single_bit(ring.data_capacity)) return false;
    const uint64_t entries_bytes = uint64_t{ring.entry_capacity} * sizeof(RingEntry);
    if (ring.entries_offset % alignof(RingEntry) != 0) return false;
    if (ring.entries_offset > segment_bytes ||
        entries_bytes > segment_bytes - ring.entries_offset) {
        return false;
    }
    return ring.data_offset <= segment_bytes &&
           ring.data_capacity <= segment_bytes - ring.data_offset;
}

// Empty when the header can be believed, else what is wrong with it.
std::string header_fault(const ControlHeader& header, uint64_t file_bytes) {
    if (header.magic != kMagic) return "it is not a cachee control segment";
    if (header.layout_version != kLayoutVersion) {
        return "it has layout version " + std::to_string(header.layout_version) +
               ", this program speaks " + std::to_string(kLayoutVersion) +
               ": run both planes and the CLI from one release";
    }
    if (header.segment_bytes != file_bytes) return "its size is not what its header says";
    if (header.worker_count == 0 || header.worker_count > kWorkersMax) return "bad worker count";
    if (rings_offset(header.worker_count) > file_bytes) return "it is too short for its workers";
    return {};
}

}  // namespace

std::string control_segment_path(const std::string& instance) {
    return "/dev/shm/cachee-" + instance + "-control";
}

base::Result<std::unique_ptr<Segment>> Segment::create(const std::string& instance,
                                                       const SegmentOptions& options) {
    CACHEE_ASSERT(options.worker_count >= 1 && options.worker_count <= kWorkersMax);
    CACHEE_ASSERT(std::has_single_bit(options.ring_entries));
    CACHEE_ASSERT(std::has_single_bit(options.ring_data_bytes));
    const uint64_t per_ring = options.ring_entries * sizeof(RingEntry) + options.ring_data_bytes;
    const uint64_t bytes = base::align_up(
        rings_offset(options.worker_count) + 2 * options.worker_count * per_ring, 4096);

    const std::string path = control_segment_path(instance);
    const std::string temporary = path + ".new";
    ::unlink(temporary.c_str());
    FileDescriptor file{::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    if (file.fd < 0) return system_error("cannot create", temporary);
    // posix_fallocate, not ftruncate: a full /dev/shm is an error here instead of SIGBUS later.
    if (const int error = ::posix_fallocate(file.fd, 0, static_cast<off_t>(bytes)); error != 0) {
        errno = error;
        auto failure = system_error("cannot reserve memory for", temporary);
        ::unlink(temporary.c_str());
        return failure;
    }
    void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
    if (mapped == MAP_FAILED) {
        auto failure = system_error("cannot map", temporary);
        ::unlink(temporary.c_str());
        return failure;
    }
    struct stat status {};
    ::fstat(file.fd, &status);
    std::unique_ptr<Segment> segment(
        new Segment(path, static_cast<uint8_t*>(mapped), bytes, status.st_ino));

    ControlHeader* header = segment->header();
    header->magic = kMagic;
    header->layout_version = kLayoutVersion;
    header->worker_count = options.worker_count;
    header->segment_bytes = bytes;
    header->dataplane_pid = static_cast<uint32_t>(::getpid());
    header->dataplane_state.store(static_cast<uint32_t>(PlaneState::kStarting));
    uint64_t offset = rings_offset(options.worker_count);
    for (uint32_t i = 0; i < options.worker_count; ++i) {
        WorkerBlock* worker = segment->worker(i);
        worker->core = UINT32_MAX;
        lay_out_ring(worker->events, options, offset);
        lay_out_ring(worker->commands, options, offset);
    }

    if (options.group != UINT32_MAX) {
        // Without the right to give the file away only the same user can attach: the caller's
        // umask.
        if (::fchown(file.fd, static_cast<uid_t>(-1), options.group) != 0 && errno != EPERM) {
            return system_error("cannot set the group of", temporary);
        }
    }
    if (::fchmod(file.fd, options.mode) != 0)
        return system_error("cannot set the mode of", temporary);
    if (::rename(temporary.c_str(), path.c_str()) != 0)
        return system_error("cannot rename", temporary);
    return segment;
}

base::Result<std::unique_ptr<Segment>> Segment::attach(const std::string& instance,
                                                       bool read_only) {
    const std::string path = control_segment_path(instance);
    FileDescriptor file{::open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC)};
    if (file.fd < 0) {
        if (errno == ENOENT) {
            return base::Error{"no data plane of instance \"" + instance +
                               "\" runs here (no file " + path + ")"};
        }
        return system_error("cannot open", path);
    }
    struct stat status {};
    if (::fstat(file.fd, &status) != 0) return system_error("cannot stat", path);
    const auto bytes = static_cast<uint64_t>(status.st_size);
    if (bytes < sizeof(ControlHeader)) return base::Error{path + " is too short"};
    const int protection = read_only ? PROT_READ : PROT_READ | PROT_WRITE;
    void* mapped = ::mmap(nullptr, bytes, protection, MAP_SHARED, file.fd, 0);
    if (mapped == MAP_FAILED) return system_error("cannot map", path);
    std::unique_ptr<Segment> segment(
        new Segment(path, static_cast<uint8_t*>(mapped), bytes, status.st_ino));

    if (std::string fault = header_fault(*segment->header(), bytes); !fault.empty()) {
        return base::Error{path + ": " + fault};
    }
    for (uint32_t i = 0; i < segment->header()->worker_count; ++i) {
        WorkerBlock* worker = segment->worker(i);
        if (!ring_is_sound(worker->events, bytes) || !ring_is_sound(worker->commands, bytes)) {
            return base::Error{path + ": the rings of worker " + std::to_string(i) +
                               " are damaged"};
        }
    }
    return segment;
}

Segment::~Segment() { ::munmap(base_, bytes_); }

bool Segment::is_current() const {
    struct stat status {};
    return ::stat(path_.c_str(), &status) == 0 && status.st_ino == inode_;
}

void Segment::unlink() { ::unlink(path_.c_str()); }

}  // namespace cachee::shm
