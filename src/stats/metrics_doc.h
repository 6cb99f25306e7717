// SPDX-License-Identifier: Apache-2.0
// docs/METRICS.md as a text made from the lists of counters.h, so that no counter lacks its line.
// Cold code of the documentation generator (metrics_doc.cc) and of the test that compares the file
// with it.
#pragma once

#include <span>
#include <string>

#include "stats/counters.h"

namespace cachee::stats {

inline std::string metrics_table(std::span<const CounterInfo> counters) {
    std::string text = "| name | unit | meaning |\n| --- | --- | --- |\n";
    for (const CounterInfo& counter : counters) {
        text.append("| `").append(counter.name).append("` | ").append(counter.unit);
        text.append(" | ").append(counter.meaning).append(" |\n");
    }
    return text;
}

inline std::string metrics_markdown() {
    return "<!-- SPDX-License-Identifier: Apache-2.0 -->\n"
           "# Metrics\n\n"
           "Written by `build/src/stats/metrics_doc` from `src/stats/counters.h`; a test compares "
           "the two.\n\n"
           "Values only grow, from zero at the start of the process that writes them, unless the "
           "meaning "
           "says\n\"(gauge)\". Each is one 64-bit word with one writer; a reader may see two of "
           "them at "
           "slightly different\ntimes.\n\n"
           "## Workers\n\nOne block per worker of the data plane. `drop_*`: a frame or segment is "
           "counted "
           "under exactly one of them.\n\n" +
           metrics_table(kWorkerCounters) +
           "\n## Control plane\n\nOne block, written by the control plane.\n\n" +
           metrics_table(kControlCounters);
}

}  // namespace cachee::stats
