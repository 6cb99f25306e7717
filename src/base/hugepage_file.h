// SPDX-License-Identifier: Apache-2.0
// A file of shared memory on hugetlbfs, or on /dev/shm where hugepages are not to be had: created,
// reserved, mapped and prefaulted in one step, so that no later access can fail (no SIGBUS) or
// fault; or the one that an earlier process left, with what is in it. It knows nothing of what that
// is. Cold code; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"

namespace cachee::base {

// kAuto: hugepages, or else /dev/shm with fallback_reason() set; kRequire: hugepages or an error;
// kOff: /dev/shm.
enum class Hugepages : uint8_t { kAuto, kRequire, kOff };

struct HugepageFileOptions {
    std::string name;                             // of the file, without a folder
    std::string hugepage_dir = "/dev/hugepages";  // a hugetlbfs mount
    std::string fallback_dir = "/dev/shm";
    Hugepages hugepages = Hugepages::kAuto;
    uint64_t bytes = 0;  // rounded up to whole hugepages
    // The file starts as one hole, and memory comes and goes with commit() and release().
    bool sparse = false;
    uint32_t mode = 0640;
    uint32_t owner = UINT32_MAX;  // uid whose files are taken over besides this process's own
};

class HugepageFile {
  public:
    // A zeroed file. What an earlier process left under the name is dropped in both folders, unless
    // a living process still holds it: then an error. The errors say what to do.
    static Result<std::unique_ptr<HugepageFile>> create(const HugepageFileOptions& options);

    // The file that an earlier process left under the name, as it is: reserved and mapped, but not
    // prefaulted. nullptr when there is none that can be used; then `why_not` says why, and is
    // empty when there is no file at all. Nothing is dropped or changed: create() does that.
    static std::unique_ptr<HugepageFile> attach(const HugepageFileOptions& options,
                                                std::string* why_not);
    // Faults the pages of this range in, for writing; any thread, several at once.
    void prefault(uint64_t offset, uint64_t bytes) const;

    HugepageFile(const HugepageFile&) = delete;
    HugepageFile& operator=(const HugepageFile&) = delete;
    ~HugepageFile();  // unmaps and lets go of the name; the file stays unless unlink() was called

    uint8_t* base() const { return base_; }
    uint64_t bytes() const { return bytes_; }
    uint64_t page_bytes() const { return page_bytes_; }
    const std::string& path() const { return path_; }
    bool on_hugepages() const { return on_hugepages_; }
    const std::string& fallback_reason() const { return fallback_reason_; }
    void unlink();

    // --- sparse files only; offsets and lengths in whole pages ---
    // Zeroed memory for this range, never missing until release(). An error says what to change,
    // and leaves the range as it was. REQUIRES: a hole.
    Status commit(uint64_t offset, uint64_t bytes);
    // Gives the memory back. Nobody may touch the range until the next commit(): on hugetlbfs an
    // access takes a page, or ends the process when there is none.
    void release(uint64_t offset, uint64_t bytes);

  private:
    HugepageFile() = default;
    static Result<std::unique_ptr<HugepageFile>> create_in(const HugepageFileOptions& options,
                                                           bool hugepages);
    static Result<std::unique_ptr<HugepageFile>> attach_in(const HugepageFileOptions& options,
                                                           bool hugepages);

    std::string path_;
    std::string fallback_reason_;
    uint8_t* base_ = nullptr;
    uint64_t bytes_ = 0;
    uint64_t page_bytes_ = 4096;
    int fd_ = -1;  // holds the lock that says "in use"
    bool on_hugepages_ = false;
};

}  // namespace cachee::base
