// SPDX-License-Identifier: Apache-2.0
// What the data plane does for readers of L1 in other processes: gives their group the files, puts
// up the signpost, and passes their hints on to the eviction policy. Main thread; cold.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "base/result.h"
#include "config/schema.h"
#include "l1/hints.h"
#include "l1/store.h"

namespace cachee::bin {

// Who gets the files; -1: as they are.
struct FileOwner {
    uid_t user = static_cast<uid_t>(-1);
    gid_t group = static_cast<gid_t>(-1);
};

// l1.readers_group as a number; -1 when it is empty. An error: no such group.
base::Result<gid_t> readers_group(const config::Config& config);

class Readers {
  public:
    // Once the transports listen; before privileges are dropped.
    static base::Result<std::unique_ptr<Readers>> open(const config::Config& config,
                                                       l1::Store& store, const std::string& listen,
                                                       const FileOwner& owner);
    Readers(const Readers&) = delete;
    Readers& operator=(const Readers&) = delete;
    ~Readers();  // takes the signpost down

    // Bounded (l1/hints.h); call it some times a second.
    void take_hints();

  private:
    Readers(l1::Store& store, std::string signpost_path)
        : store_(store), signpost_path_(std::move(signpost_path)) {}

    l1::Store& store_;
    std::string signpost_path_;
    std::unique_ptr<l1::HintTaker> hints_;
};

}  // namespace cachee::bin
