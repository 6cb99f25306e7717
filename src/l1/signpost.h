// SPDX-License-Identifier: Apache-2.0
// The file that tells readers in other processes where things are, so that the instance's name is
// all they need: /dev/shm/cachee-<instance>-readers, some lines of text. Written by the data plane
// once it listens, read by libcachee. Its mode and group are those of L1's file. Cold code.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace cachee::l1 {

struct Signpost {
    std::string l1_path;
    std::string hints_path;  // empty: no hints are taken
    std::string listen;      // "address:port" of the appliance
};

std::string signpost_path(const std::string& instance);
// Put in place whole: a reader sees the old one or the new one.
base::Status write_signpost(const std::string& instance, const Signpost& signpost, mode_t mode);
// Nothing when there is none, or none that makes sense; *forbidden when it may not be read.
std::optional<Signpost> read_signpost(const std::string& instance, bool* forbidden);

}  // namespace cachee::l1
