// SPDX-License-Identifier: Apache-2.0
// SACK blocks of the receive queue; see sack_blocks.h. Worker thread only.
#include "net/sack_blocks.h"

#include <algorithm>

#include "net/bytes.h"
#include "net/tcp_state.h"

namespace cachee::net::sack_blocks {
namespace {

// The next run of blocks without a gap, from `index` on, which moves past it.
SackBlock next_run(const BlockPool& pool, uint32_t& index) noexcept {
    SackBlock run{pool.at(index).seq, pool.at(index).seq};
    while (index != kNoBlock && pool.at(index).seq == run.end) {
        const Block& block = pool.at(index);
        run.end = block.seq + (block.end - block.start);
        index = block.next;
    }
    return run;
}

}  // namespace

void note_arrival(SackReport& report, uint32_t seq) noexcept {
    const uint32_t kept = std::min<uint32_t>(report.recent_count, SackReport::kRecentMax - 1);
    std::copy_backward(report.recent, report.recent + kept, report.recent + kept + 1);
    report.recent[0] = seq;
    report.recent_count = static_cast<uint8_t>(kept + 1);
}

uint32_t collect(Cold& cold, const BlockPool& pool, uint32_t rcv_nxt, uint32_t max,
                 SackBlock* out) noexcept {
    SackReport& report = cold.sack;
    uint32_t count = 0;
    if (report.has_duplicate && max > 0) {
        out[count++] = report.duplicate;
        report.has_duplicate = false;
    }
    // Each run once, at the place of the latest arrival in it.
    SackBlock runs[SackReport::kRecentMax];
    bool found[SackReport::kRecentMax] = {};
    uint32_t index = cold.rq_head;
    while (index != kNoBlock) {
        const SackBlock run = next_run(pool, index);
        if (seq_le(run.end, rcv_nxt)) continue;  // acknowledged, and not read yet
        for (uint32_t i = 0; i < report.recent_count; ++i) {
            if (!seq_ge(report.recent[i], run.start) || !seq_lt(report.recent[i], run.end)) {
                continue;
            }
            runs[i] = run;
            found[i] = true;
            break;
        }
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < report.recent_count; ++i) {
        if (!found[i]) continue;
        report.recent[kept++] = runs[i].start;
        if (count < max) out[count++] = runs[i];
    }
    report.recent_count = static_cast<uint8_t>(kept);
    return count;
}

uint32_t write_option(uint8_t* out, const SackBlock* blocks, uint32_t count) noexcept {
    const uint32_t length = 2 + 8 * count;
    store_be32(out, 0x01010500 | length);
    for (uint32_t i = 0; i < count; ++i) {
        store_be32(out + 4 + 8 * i, blocks[i].start);
        store_be32(out + 8 + 8 * i, blocks[i].end);
    }
    return 2 + length;
}

}  // namespace cachee::net::sack_blocks
