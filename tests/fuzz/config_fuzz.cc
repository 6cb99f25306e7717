// SPDX-License-Identifier: Apache-2.0
// Fuzz target of config/loader.h: the input is a configuration file; its first line is tried as an
// L2 address too. Promises: no exception leaves the loader, it fails exactly when there are
// findings, a failed load changes nothing, and every value it accepts is one that it would accept
// again.
#include <string>
#include <vector>

#include "base/assert.h"
#include "config/keys.h"
#include "config/loader.h"
#include "tests/fuzz/fuzz.h"

namespace cachee::fuzz {

void config_target(const uint8_t* data, size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    const auto backend = config::parse_backend(text.substr(0, text.find('\n')));
    CACHEE_ASSERT(backend ? !backend->host.empty() && backend->port != 0
                          : !backend.error().message.empty());

    constexpr uint16_t kMarkPort = 4242;
    config::Config config;
    config.listen.port = kMarkPort;
    std::vector<config::Finding> findings;
    const bool good = config::load_text(text, "fuzz.yaml", config, findings);
    CACHEE_ASSERT(good == findings.empty());
    if (!good) {
        CACHEE_ASSERT(config.listen.port == kMarkPort);
        for (const config::Finding& finding : findings) {
            CACHEE_ASSERT(!finding.message.empty());
            CACHEE_ASSERT(finding.text().find(finding.message) != std::string::npos);
        }
        return;
    }
    for (const config::KeyInfo& key : config::keys()) {
        const std::string printed = config::value_text(key, config);
        const bool list =
            key.type == config::KeyType::kTextList || key.type == config::KeyType::kNumberList;
        if (list || printed == "\"\"") {
            continue;
        }
        config::Config again;
        CACHEE_ASSERT(config::set_value(key, {&printed, 1}, again).empty());
        CACHEE_ASSERT(config::value_text(key, again) == printed);
    }
}

}  // namespace cachee::fuzz

CACHEE_FUZZ_MAIN(config_target)
