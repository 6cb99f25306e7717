// SPDX-License-Identifier: Apache-2.0
// What SIGHUP does to a data plane: the configuration is read anew, what differs is said, and what
// can change while it runs is changed (l1.bytes). Main thread only.
#pragma once

#include <functional>
#include <string>

#include "base/log.h"
#include "config/schema.h"
#include "l1/store.h"

namespace cachee::bin {

class Reload {
  public:
    using Log = std::function<void(base::Severity, const std::string&)>;

    // `store` is borrowed; `config`: what it runs with; `resized` is told the size once it is true.
    Reload(std::string path, const config::Config& config, l1::Store& store,
           std::function<void(uint64_t bytes)> resized, Log log)
        : path_(std::move(path)),
          config_(config),
          store_(store),
          resized_(std::move(resized)),
          log_(std::move(log)) {}

    // A configuration with a mistake changes nothing.
    void read();
    // About once a second: a change of size that is under way goes on.
    void tick();

  private:
    void resize(uint64_t bytes);

    std::string path_;
    config::Config config_;
    l1::Store& store_;
    std::function<void(uint64_t)> resized_;
    Log log_;
    bool resizing_ = false;
};

}  // namespace cachee::bin
