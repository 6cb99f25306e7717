// SPDX-License-Identifier: Apache-2.0
// Prints docs/METRICS.md to standard output: build/src/stats/metrics_doc > docs/METRICS.md. A build
// tool; neither process uses it.
#include "stats/metrics_doc.h"

#include <cstdio>

int main() {
    const std::string text = cachee::stats::metrics_markdown();
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() ? 0 : 1;
}
