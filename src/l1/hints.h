// SPDX-License-Identifier: Apache-2.0
// Access hints: which keys readers in other processes found in L1, so that their hits too teach the
// eviction policy. A small lossy ring in a file of its own, which the group of readers may write.
//
//   file   | block 0 | block 1 | ... | block 63 |            each 512 bytes
//   block  | stamp 8 | hash 8 | ... 63 hashes in all |       0: no hash
//
// A reader fills a block in its own memory and writes it over whatever is in the next place; a
// block counts as new when its stamp is another one. Neither side maps the file: with write() and
// read(), whoever cuts it short or fills it with lies costs hints and nothing else, while a mapping
// would fault. What the data plane takes at a time is bounded by the size of the ring.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/rng.h"

namespace cachee::l1 {

inline constexpr uint32_t kHintBlocks = 64;
inline constexpr uint32_t kHintsPerBlock = 63;

struct HintBlock {
    uint64_t stamp;
    uint64_t hashes[kHintsPerBlock];
};
static_assert(sizeof(HintBlock) == 512);

// A reader's side. One thread.
class HintSender {
  public:
    // nullptr without a file or the right to write it.
    static std::unique_ptr<HintSender> open(const std::string& path);
    HintSender(const HintSender&) = delete;
    HintSender& operator=(const HintSender&) = delete;
    ~HintSender();

    // A system call once in kHintsPerBlock.
    void add(uint64_t hash) noexcept {
        block_.hashes[count_++] = hash;
        if (count_ == kHintsPerBlock) send_cold();
    }
    uint64_t sent() const { return sent_; }

  private:
    explicit HintSender(int fd);
    [[gnu::cold, gnu::noinline]] void send_cold() noexcept;

    int fd_;
    base::Rng rng_;
    uint32_t next_block_;
    uint32_t count_ = 0;
    uint64_t sent_ = 0;
    HintBlock block_{};
};

// The data plane's side. One thread.
class HintTaker {
  public:
    // Makes the file anew; unlinks it in the end.
    static base::Result<std::unique_ptr<HintTaker>> create(const std::string& path, mode_t mode);
    HintTaker(const HintTaker&) = delete;
    HintTaker& operator=(const HintTaker&) = delete;
    ~HintTaker();

    // The hashes written since the last call, kHintBlocks * kHintsPerBlock at most; `take` is
    // called with each. They may be forged.
    template <typename Take>
    uint32_t take_all(Take take) {
        const uint32_t blocks = read_blocks();
        uint32_t taken = 0;
        for (uint32_t i = 0; i < blocks; ++i) {
            if (blocks_[i].stamp == stamps_[i]) continue;
            stamps_[i] = blocks_[i].stamp;
            for (const uint64_t hash : blocks_[i].hashes) {
                if (hash == 0) continue;
                take(hash);
                ++taken;
            }
        }
        return taken;
    }
    const std::string& path() const { return path_; }

  private:
    HintTaker(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
    uint32_t read_blocks() noexcept;

    std::string path_;
    int fd_;
    HintBlock blocks_[kHintBlocks] = {};
    uint64_t stamps_[kHintBlocks] = {};
};

}  // namespace cachee::l1
