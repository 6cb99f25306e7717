// SPDX-License-Identifier: Apache-2.0
#include "net/connection_table.h"

#include <gtest/gtest.h>

#include <unordered_map>

#include "base/rng.h"

namespace cachee::net {
namespace {

TEST(ConnectionTable, RandomOperations_AgreeWithAMap) {
    base::Rng rng(3);
    ConnectionTable table(256, 99);
    std::unordered_map<ConnectionKey, uint32_t> model;
    for (int i = 0; i < 200'000; ++i) {
        const ConnectionKey key = connection_key(0x0a000000 + static_cast<uint32_t>(rng.below(20)),
                                                 static_cast<uint16_t>(rng.below(20)), 6379);
        if (rng.chance(0.5) && model.size() < 256) {
            const auto id = static_cast<uint32_t>(rng.below(1000));
            table.set(key, id);
            model[key] = id;
        } else {
            table.erase(key);
            model.erase(key);
        }
        ASSERT_EQ(table.size(), model.size());
        const auto found = model.find(key);
        ASSERT_EQ(table.find(key), found == model.end() ? ConnectionTable::kNone : found->second);
    }
    for (const auto& [key, id] : model) EXPECT_EQ(table.find(key), id);
}

TEST(ConnectionTable, Hash_OtherSeed_OtherPlaces) {
    ConnectionTable a(1024, 1);
    ConnectionTable b(1024, 2);
    int same = 0;
    for (uint16_t port = 1; port <= 1000; ++port) {
        const ConnectionKey key = connection_key(0x0a000001, port, 6379);
        if ((a.hash(key) & 2047) == (b.hash(key) & 2047)) ++same;
    }
    EXPECT_LT(same, 20);
}

}  // namespace
}  // namespace cachee::net
