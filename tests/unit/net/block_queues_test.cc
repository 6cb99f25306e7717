// SPDX-License-Identifier: Apache-2.0
// The block pool and the two queues made of its blocks.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/rng.h"
#include "net/block_pool.h"
#include "net/bytes.h"
#include "net/receive_queue.h"
#include "net/send_queue.h"

namespace cachee::net {
namespace {

TEST(BlockPool, Allocate_UntilEmpty_CountsAndRecovers) {
    BlockPool pool(16 * kBlockBytes);
    std::vector<uint32_t> taken;
    for (uint32_t block = pool.allocate(); block != kNoBlock; block = pool.allocate()) {
        taken.push_back(block);
    }
    EXPECT_EQ(taken.size(), 16u);
    EXPECT_EQ(pool.available(), 0u);
    for (uint32_t block : taken) pool.free(block);
    EXPECT_EQ(pool.in_use(), 0u);
    EXPECT_NE(pool.allocate(), kNoBlock);
}

TEST(SendQueue, RandomUse_KeepsTheStreamAndGivesMemoryBack) {
    base::Rng rng(7);
    BlockPool pool(64 * kBlockBytes);
    Hot hot;
    std::string stream;    // what is queued
    size_t sent_from = 0;  // offset of sq_next in it
    for (int i = 0; i < 30'000; ++i) {
        const uint64_t action = rng.below(4);
        if (action == 0) {
            const auto size = static_cast<uint32_t>(1 + rng.below(1024));
            uint8_t* out = send_queue::reserve(hot, pool, size);
            if (out == nullptr) continue;
            const auto used = static_cast<uint32_t>(rng.below(size + 1));
            for (uint32_t k = 0; k < used; ++k) {
                out[k] = static_cast<uint8_t>(rng.next());
                stream.push_back(static_cast<char>(out[k]));
            }
            send_queue::commit(hot, pool, used);
        } else if (action == 1) {
            std::string bytes(rng.below(5000), static_cast<char>('a' + i % 26));
            const uint32_t n =
                send_queue::append(hot, pool, reinterpret_cast<const uint8_t*>(bytes.data()),
                                   static_cast<uint32_t>(bytes.size()));
            stream.append(bytes, 0, n);
        } else if (action == 2 && stream.size() > sent_from) {
            const auto n = static_cast<uint32_t>(
                1 + rng.below(std::min<size_t>(stream.size() - sent_from, 3000)));
            send_queue::Cursor cursor{hot.sq_next, hot.sq_next_offset};
            std::string got(n, '\0');
            send_queue::copy_out(pool, cursor, reinterpret_cast<uint8_t*>(got.data()), n);
            ASSERT_TRUE(got == stream.substr(sent_from, n));
            hot.sq_next = cursor.block;
            hot.sq_next_offset = static_cast<uint16_t>(cursor.offset);
            sent_from += n;
        } else if (sent_from > 0) {
            const auto n = static_cast<uint32_t>(1 + rng.below(sent_from));
            send_queue::acknowledge(hot, pool, n);
            stream.erase(0, n);
            sent_from -= n;
            if (rng.chance(0.2) || sent_from == 0) {
                send_queue::rewind(hot, pool);
                sent_from = 0;
            }
        }
        ASSERT_EQ(hot.sq_bytes, stream.size());
    }
    send_queue::acknowledge(hot, pool, hot.sq_bytes);
    EXPECT_EQ(pool.in_use(), 0u);
}

TEST(ReceiveQueue, RandomSegments_RebuildTheStream) {
    base::Rng rng(11);
    for (int round = 0; round < 200; ++round) {
        BlockPool pool(256 * kBlockBytes);
        Cold cold;
        const uint32_t base_seq = static_cast<uint32_t>(rng.next());
        std::string stream(20'000, '\0');
        for (char& c : stream) c = static_cast<char>(rng.next());
        uint32_t contiguous = base_seq;
        for (int i = 0; i < 2000 && contiguous != base_seq + 20'000; ++i) {
            const auto from = static_cast<uint32_t>(rng.below(20'000));
            const auto size =
                static_cast<uint32_t>(1 + rng.below(std::min<uint32_t>(20'000 - from, 1500)));
            ASSERT_TRUE(receive_queue::insert(
                cold, pool, base_seq + from, reinterpret_cast<const uint8_t*>(stream.data()) + from,
                size, 250));
            contiguous = receive_queue::contiguous_end(cold, pool, base_seq);
        }
        std::string got;
        uint32_t expected_seq = pool.at(cold.rq_head).seq;
        while (cold.rq_head != kNoBlock) {
            const uint32_t index = receive_queue::pop(cold, pool);
            const Block& block = pool.at(index);
            if (seq_ge(block.seq, contiguous)) {
                pool.free(index);
                continue;
            }
            ASSERT_EQ(block.seq, expected_seq) << "no overlap, no gap";
            got.append(reinterpret_cast<const char*>(block.data) + block.start,
                       block.end - block.start);
            expected_seq += block.end - block.start;
            pool.free(index);
        }
        if (contiguous != base_seq) {
            EXPECT_TRUE(got == stream.substr(0, contiguous - base_seq));
        }
        EXPECT_EQ(pool.in_use(), 0u);
        EXPECT_EQ(cold.rq_blocks, 0u);
    }
}

TEST(ReceiveQueue, Insert_OverTheLimit_RefusesAndStaysConsistent) {
    BlockPool pool(64 * kBlockBytes);
    Cold cold;
    const uint8_t byte = 1;
    for (uint32_t i = 0; i < 4; ++i) {
        EXPECT_TRUE(receive_queue::insert(cold, pool, i * 10, &byte, 1, 4));
    }
    EXPECT_FALSE(receive_queue::insert(cold, pool, 100, &byte, 1, 4));
    receive_queue::truncate(cold, pool, 15);
    EXPECT_EQ(cold.rq_blocks, 2u);
    receive_queue::clear(cold, pool);
    EXPECT_EQ(pool.in_use(), 0u);
}

}  // namespace
}  // namespace cachee::net
