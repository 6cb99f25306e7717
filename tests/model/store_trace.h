// SPDX-License-Identifier: Apache-2.0
// Every store that a piece of code makes to a block of memory, one by one and in order, without
// changing that code: the block is write-protected, each write faults, is single-stepped with its
// pages open, and what it changed is noted. So a test can have the memory as it was between any two
// stores, which is all that a process killed there leaves to the next. x86-64; one thread, one
// trace at a time. Tests only.
#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/assert.h"

namespace cachee::test {

class StoreTrace {
  public:
    struct Change {
        uint64_t offset;
        uint32_t bytes;
        std::array<uint8_t, 64> after;
    };

    explicit StoreTrace(uint64_t bytes) : bytes_(bytes), shadow_(bytes) {
        changes_.resize(kChangesMax);
    }
    ~StoreTrace() { CACHEE_ASSERT(active_ != this); }
    StoreTrace(const StoreTrace&) = delete;
    StoreTrace& operator=(const StoreTrace&) = delete;

    // Runs `code` and notes its stores to the block, which is page-aligned. It must not make system
    // calls that write there.
    template <typename Code>
    void run(uint8_t* block, Code code) {
        CACHEE_ASSERT(active_ == nullptr);
        block_ = block;
        std::memcpy(shadow_.data(), block_, bytes_);
        before_ = shadow_;
        count_ = 0;
        struct sigaction old_segv {};
        struct sigaction old_trap {};
        struct sigaction action {};
        action.sa_flags = SA_SIGINFO | SA_NODEFER;
        action.sa_sigaction = on_fault;
        ::sigaction(SIGSEGV, &action, &old_segv);
        action.sa_sigaction = on_step;
        ::sigaction(SIGTRAP, &action, &old_trap);
        active_ = this;
        CACHEE_ASSERT(::mprotect(block_, bytes_, PROT_READ) == 0);
        code();
        CACHEE_ASSERT(::mprotect(block_, bytes_, PROT_READ | PROT_WRITE) == 0);
        active_ = nullptr;
        ::sigaction(SIGSEGV, &old_segv, nullptr);
        ::sigaction(SIGTRAP, &old_trap, nullptr);
        CACHEE_ASSERT(std::memcmp(shadow_.data(), block_, bytes_) == 0);  // none was missed
    }

    const std::vector<uint8_t>& before() const { return before_; }
    size_t size() const { return count_; }
    const Change& operator[](size_t index) const { return changes_[index]; }
    static void apply(const Change& change, uint8_t* to) {
        std::memcpy(to + change.offset, change.after.data(), change.bytes);
    }

  private:
    static constexpr size_t kChangesMax = 200'000;
    static constexpr uint64_t kPage = 4096;
    static constexpr greg_t kTrapFlag = 0x100;

    static void on_fault(int, siginfo_t* info, void* context) {
        StoreTrace& self = *active_;
        const auto address = reinterpret_cast<uint64_t>(info->si_addr);
        const auto start = reinterpret_cast<uint64_t>(self.block_);
        if (address < start || address >= start + self.bytes_ ||
            self.open_count_ == self.open_.size()) {
            ::signal(SIGSEGV, SIG_DFL);  // a real one: it comes again at once
            return;
        }
        const uint64_t page = (address - start) / kPage * kPage;
        self.open_[self.open_count_++] = page;
        ::mprotect(self.block_ + page, kPage, PROT_READ | PROT_WRITE);
        static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] |= kTrapFlag;
    }

    static void on_step(int, siginfo_t*, void* context) {
        StoreTrace& self = *active_;
        for (size_t i = 0; i < self.open_count_; ++i) {
            self.note(self.open_[i]);
            ::mprotect(self.block_ + self.open_[i], kPage, PROT_READ);
        }
        self.open_count_ = 0;
        static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~kTrapFlag;
    }

    void note(uint64_t page) {
        uint64_t first = page;
        const uint64_t end = page + kPage;
        while (first < end && block_[first] == shadow_[first]) ++first;
        if (first == end) return;
        uint64_t last = end - 1;
        while (block_[last] == shadow_[last]) --last;
        CACHEE_ASSERT(count_ < kChangesMax);
        Change& change = changes_[count_++];
        change.offset = first;
        change.bytes = static_cast<uint32_t>(last + 1 - first);
        CACHEE_ASSERT(change.bytes <= change.after.size());
        std::memcpy(change.after.data(), block_ + first, change.bytes);
        std::memcpy(shadow_.data() + first, block_ + first, change.bytes);
    }

    static inline StoreTrace* active_ = nullptr;

    uint8_t* block_ = nullptr;
    const uint64_t bytes_;
    std::vector<uint8_t> shadow_;  // the block as after the last change noted
    std::vector<uint8_t> before_;
    std::vector<Change> changes_;
    size_t count_ = 0;
    std::array<uint64_t, 4> open_{};
    size_t open_count_ = 0;
};

}  // namespace cachee::test
