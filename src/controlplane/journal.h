// SPDX-License-Identifier: Apache-2.0
// What changed while no data plane could be told: the keys that the next one has to drop from the
// L1 that it takes over. Complete or worthless: what cannot be noted key by key loses it, and the
// L1 gets a new generation instead. Knows nothing of rings and leases. Control plane thread only.
//
//   closed --open(L1)--> open --take()--> closed
//                          '--lose()----> open and lost
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace cachee::controlplane {

class Journal {
  public:
    // 0: nothing is ever noted.
    explicit Journal(uint64_t bytes_max) : bytes_max_(bytes_max) {}

    // The data plane that has L1 `l1_id` is gone, and L1 knew of everything until now.
    void open(uint64_t l1_id);
    bool is_open() const { return open_; }
    void note(std::string_view key);
    // Something happened that has no list of keys.
    void lose(std::string_view cause);
    bool lost() const { return lost_; }
    const std::string& cause() const { return cause_; }

    // This L1 is right once it was told of take().
    bool covers(uint64_t l1_id) const { return open_ && !lost_ && l1_id != 0 && l1_id == l1_id_; }
    // Ends the journal.
    std::vector<std::string> take();

  private:
    const uint64_t bytes_max_;
    bool open_ = false;
    bool lost_ = false;
    std::string cause_;
    uint64_t l1_id_ = 0;
    uint64_t bytes_ = 0;
    std::unordered_set<std::string> keys_;
};

}  // namespace cachee::controlplane
