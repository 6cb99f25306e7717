// SPDX-License-Identifier: Apache-2.0
#include "bin/reload.h"

#include <vector>

#include "base/units.h"
#include "config/difference.h"
#include "config/loader.h"

namespace cachee::bin {

using base::Severity;

void Reload::read() {
    config::Config config;
    std::vector<config::Finding> findings;
    if (!config::load(path_, config, findings)) {
        for (const config::Finding& finding : findings) log_(Severity::kError, finding.text());
        log_(Severity::kError, "SIGHUP: nothing was changed, the configuration has mistakes");
        return;
    }
    const std::vector<config::Difference> changes = config::differences(config_, config);
    if (changes.empty()) log_(Severity::kInfo, "SIGHUP: the configuration is the same");
    for (const config::Difference& change : changes) {
        if (change.key == "l1.bytes") {
            log_(Severity::kInfo, "SIGHUP: " + change.text());
            resize(config.l1.bytes);
        } else {
            log_(Severity::kWarning,
                 "SIGHUP: " + change.text() + " is not done while it runs: restart for it");
        }
    }
}

// config_ stays what holds: a size that was refused is a difference next time too.
void Reload::resize(uint64_t bytes) {
    if (store_.bytes_min() == store_.bytes_max()) {
        log_(Severity::kWarning,
             "L1 keeps its size: l1.bytes_max was not set when the data plane started");
        return;
    }
    if (base::Status status = store_.resize(bytes); !status) {
        log_(Severity::kError, "L1 keeps its size: " + status.error().message);
        return;
    }
    config_.l1.bytes = bytes;
    resizing_ = true;
}

void Reload::tick() {
    if (!resizing_ || !store_.resize_step()) return;
    resizing_ = false;
    resized_(config_.l1.bytes);
    log_(Severity::kInfo, "L1 has " + std::to_string(config_.l1.bytes / base::kMiB) + " MiB now");
}

}  // namespace cachee::bin
