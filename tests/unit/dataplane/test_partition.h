// SPDX-License-Identifier: Apache-2.0
// A small L1 of one partition for the standalone tests, and a shell to type commands at it. Test
// code, one thread.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/assert.h"
#include "dataplane/standalone.h"
#include "l1/partition.h"
#include "l1/store.h"

namespace cachee::dataplane::test {

// Virtual clocks: nothing here reads a real one. The store's file is unlinked at once.
class Shell {
  public:
    explicit Shell(StandaloneOptions options = {}, uint64_t item_bytes_max = 256 << 10)
        : store_(make_store(options.hash_seed, item_bytes_max)),
          standalone_(store_->partition(0), options) {}
    Shell(const Shell&) = delete;
    Shell& operator=(const Shell&) = delete;

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
    l1::Partition& partition() { return store_->partition(0); }

    uint64_t now_ms = 5'000;
    uint64_t wall_ms = 1'700'000'000'000;
    resp::Protocol protocol = resp::Protocol::kResp2;

  private:
    static std::unique_ptr<l1::Store> make_store(uint64_t hash_seed, uint64_t item_bytes_max) {
        l1::StoreOptions options;
        options.instance = "test-standalone-" + std::to_string(getpid());
        options.hugepages = l1::Hugepages::kOff;
        options.bytes = 8 << 20;
        options.hash_seed = hash_seed;
        options.item_bytes_max = item_bytes_max;
        auto store = l1::Store::create(options);
        CACHEE_ASSERT(store.has_value());
        store.value()->unlink();
        return std::move(store).value();
    }

    std::unique_ptr<l1::Store> store_;
    Standalone standalone_;
};

}  // namespace cachee::dataplane::test
