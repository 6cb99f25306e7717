// SPDX-License-Identifier: Apache-2.0
// Runs a load: a thread per LoadThread, in step (all connected, all populated, one common start),
// with progress and an early end on SIGINT or SIGTERM. Main thread.
#pragma once

#include "base/result.h"
#include "tools/loadgen/links.h"
#include "tools/loadgen/options.h"
#include "tools/loadgen/report.h"
#include "tools/loadgen/workload.h"

namespace cachee::loadgen {

// Gives this thread, and those it makes from now on, the real-time priority that was asked for,
// plus one: whatever is not a polling thread must not wait for one. Before the network is opened.
base::Status set_priority(const Options& options);

// Blocks until the load is over; Report::failure says why it ended early.
Report run_load(const Options& options, const Workload& workload, Links& links);

}  // namespace cachee::loadgen
