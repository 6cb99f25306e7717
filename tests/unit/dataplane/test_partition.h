// SPDX-License-Identifier: Apache-2.0
// A partition for the standalone tests, and a shell to type commands at it. Test code, one thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/standalone.h"

namespace cachee::dataplane::test {

// While n > 0 is set, that many puts fail with kNoMemory.
void fail_puts(uint32_t n);

// Virtual clocks: nothing here reads a real one.
class Shell {
  public:
    explicit Shell(const StandaloneOptions& options = StandaloneOptions{});
    Shell(const Shell&) = delete;
    Shell& operator=(const Shell&) = delete;
    ~Shell();

    std::string run(std::vector<std::string> args) {
        const std::vector<std::string_view> views(args.begin(), args.end());
        std::string out;
        standalone_.execute(views, protocol, now_ms, wall_ms, out);
        return out;
    }
    std::string run(std::initializer_list<const char*> args) {
        return run(std::vector<std::string>(args.begin(), args.end()));
    }
    void advance_ms(uint64_t ms) {
        now_ms += ms;
        wall_ms += ms;
    }
    Standalone& standalone() { return standalone_; }
    l1::Partition& partition() { return partition_; }

    uint64_t now_ms = 5'000;
    uint64_t wall_ms = 1'700'000'000'000;
    resp::Protocol protocol = resp::Protocol::kResp2;

  private:
    l1::Partition partition_;
    Standalone standalone_;
};

}  // namespace cachee::dataplane::test
