// SPDX-License-Identifier: Apache-2.0
// YAML to config::Config, with errors a person can act on. Cold code. The only user of yaml-cpp.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "config/schema.h"

namespace cachee::config {

// One finding, e.g.
//   conf/cachee.yaml:12: listen.prot: unknown key; did you mean listen.port?
//   conf/cachee.yaml:13: listen.port: "seven" is not a whole number; allowed: 1..65535
struct Finding {
    std::string file;
    int line = 0;  // from 1; 0: not in the file (environment, cross-checks)
    std::string key;
    std::string message;
    std::string text() const;  // the whole line as above
};

// Reads and validates; on failure every finding is in `findings`, in file order. Applies
// CACHEE_L2_BACKEND when it is set in the environment. An empty path gives the defaults.
bool load(const std::string& path, Config& config, std::vector<Finding>& findings);
bool load_text(const std::string& text, const std::string& file_name, Config& config,
               std::vector<Finding>& findings);

// "redis://[user:password@]host:port": parsed. Errors name what is wrong.
struct BackendAddress {
    std::string host;
    uint16_t port = 6379;
    std::string user;
    std::string password;
};
base::Result<BackendAddress> parse_backend(const std::string& url);

}  // namespace cachee::config
