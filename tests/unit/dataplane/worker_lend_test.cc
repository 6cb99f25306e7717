// SPDX-License-Identifier: Apache-2.0
// Values that a worker lends to its transport: what is counted when too much of L1 is pinned by
// peers that take their time, and that such values are copied instead.
#include "worker_harness.h"

namespace cachee::dataplane {
namespace {

TEST(WorkerLend, ManyValuesHeld_TheRestIsCopiedAndCounted) {
    Harness harness({.standalone = true, .lend_bytes_min = 4096});
    const io::SessionIndex session = harness.connect();
    l1::Partition& partition = harness.store().partition(0);
    uint64_t lent = 0;
    for (int i = 0; i < 4000 && harness.counter(stats::Counter::values_lend_refused) == 0; ++i) {
        const std::string key = "key:" + std::to_string(i);
        const std::string value(20'000, static_cast<char>('a' + i % 26));
        partition.put(base::hash_key(key, Harness::kSeed), key, value, 0, 1, harness.now_ms());
        std::string request;
        const std::string_view words[] = {"GET", key};
        resp::append_command(request, words);
        ASSERT_EQ(harness.exchange(session, request), "$20000\r\n" + value + "\r\n") << i;
        ++lent;
    }
    EXPECT_EQ(harness.counter(stats::Counter::values_lend_refused), 1u) << lent << " were lent";
    partition.maintain(harness.now_ms());
    EXPECT_EQ(harness.counter(stats::Counter::l1_pinned_segments),
              partition.segments().pinned_count());
    EXPECT_GT(harness.counter(stats::Counter::l1_pinned_segments), 0u);
    harness.transport().give_back_lent();
    partition.maintain(harness.now_ms());
    EXPECT_EQ(harness.counter(stats::Counter::l1_pinned_segments), 0u);
}

}  // namespace
}  // namespace cachee::dataplane
