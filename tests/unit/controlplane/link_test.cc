// SPDX-License-Identifier: Apache-2.0
// WorkerLink's backlog, KeyGuard, stored_value, LatencyHistogram: without L2.
#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

#include "base/rng.h"
#include "controlplane/key_guard.h"
#include "controlplane/latency_histogram.h"
#include "controlplane/message_assembler.h"
#include "controlplane/set_command.h"
#include "controlplane/worker_link.h"
#include "shm/segment.h"

namespace cachee::controlplane {
namespace {

using shm::CommandKind;

class WorkerLinkTest : public ::testing::Test {
  protected:
    WorkerLinkTest() : name_("link-" + std::to_string(::getpid())) {
        auto created = shm::Segment::create(name_, {.ring_entries = 8, .ring_data_bytes = 4096});
        EXPECT_TRUE(created);
        segment_ = std::move(created.value());
        link_ = std::make_unique<WorkerLink>(0, segment_->worker(0), segment_->base(), &counters_);
        link_->resync();
        worker_ = shm::RingConsumer(&segment_->worker(0)->commands, segment_->base());
    }
    ~WorkerLinkTest() override { segment_->unlink(); }

    static shm::RingEntry entry(CommandKind kind, uint32_t key_bytes = 0, uint32_t generation = 0) {
        shm::RingEntry made;
        made.kind = static_cast<uint16_t>(kind);
        made.key_bytes = key_bytes;
        made.arg1 = generation;
        return made;
    }
    struct Seen {
        CommandKind kind;
        std::string payload;
        uint32_t generation;
    };
    // Everything, as the worker sees it, while the link pumps; messages in parts are joined.
    std::vector<Seen> all() {
        std::vector<Seen> seen;
        std::string partial;
        bool more = true;
        while (more) {
            shm::RingEntry next;
            std::string_view payload;
            while (worker_.next(next, payload)) {
                partial.append(payload);
                if ((next.flags & shm::kMore) != 0) continue;
                seen.push_back(
                    {static_cast<CommandKind>(next.kind), std::move(partial), next.arg1});
                partial.clear();
            }
            worker_.release();
            more = link_->pump();
        }
        return seen;
    }

    std::string name_;
    stats::ControlCounters counters_{};
    std::unique_ptr<shm::Segment> segment_;
    std::unique_ptr<WorkerLink> link_;
    shm::RingConsumer worker_;
};

TEST_F(WorkerLinkTest, Send_RingFull_KeepsOrderAndSequence) {
    uint64_t last = 0;
    for (int i = 0; i < 100; ++i) {
        const uint64_t sequence = link_->send(entry(CommandKind::kReply), std::to_string(i));
        EXPECT_EQ(sequence, last + 1);
        last = sequence;
    }
    EXPECT_TRUE(link_->has_backlog());
    const auto seen = all();
    ASSERT_EQ(seen.size(), 100u);
    for (size_t i = 0; i < 100; ++i) EXPECT_EQ(seen[i].payload, std::to_string(i));
    EXPECT_EQ(link_->consumed(), last);
    EXPECT_FALSE(link_->has_backlog());
    EXPECT_EQ(link_->backlog_bytes(), 0u);
    EXPECT_EQ(counters_.get(stats::ControlCounter::ring_full), 1u);
}

TEST_F(WorkerLinkTest, Send_LongMessages_ArriveWhole) {
    const uint64_t seed = base::random_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    base::Rng rng(seed);
    std::vector<std::string> sent;
    uint64_t last = 0;
    for (int i = 0; i < 50; ++i) {
        const std::string key(rng.below(1500), static_cast<char>('a' + i % 26));
        const std::string value(rng.below(5000), static_cast<char>('A' + i % 26));
        last =
            link_->send(entry(CommandKind::kFill, static_cast<uint32_t>(key.size())), key, value);
        sent.push_back(key + value);
    }
    const auto seen = all();
    ASSERT_EQ(seen.size(), sent.size());
    for (size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(seen[i].payload, sent[i]);
    EXPECT_EQ(link_->consumed(), last);
}

TEST_F(WorkerLinkTest, DropWaitingFills_BecomeInvalidationsOfTheirKeys) {
    for (int i = 0; i < 20; ++i) link_->send(entry(CommandKind::kFill, 3), "key", "value");
    const std::string large(2000, 'x');
    const uint64_t last = link_->send(entry(CommandKind::kFill, 3), "big", large);
    link_->drop_waiting_fills();
    const auto seen = all();
    ASSERT_EQ(seen.size(), 21u);
    EXPECT_EQ(seen[0].kind, CommandKind::kFill) << "it was in the ring already";
    EXPECT_EQ(seen[19].kind, CommandKind::kInvalidate);
    EXPECT_EQ(seen[19].payload, "key");
    EXPECT_EQ(seen[20].kind, CommandKind::kFill) << "one in several parts is left whole";
    EXPECT_EQ(seen[20].payload, "big" + large);
    EXPECT_EQ(link_->consumed(), last);
    EXPECT_EQ(link_->backlog_bytes(), 0u);
}

TEST_F(WorkerLinkTest, ReplaceInvalidations_LeaveNoOlderGenerationBehind) {
    for (int i = 0; i < 30; ++i) {
        link_->send(entry(CommandKind::kInvalidate, 3), "key");
        link_->send(entry(CommandKind::kLease, 0, 4));
        link_->send(entry(CommandKind::kReply), "answer");
    }
    EXPECT_EQ(link_->replace_waiting_invalidations(5, 1000), 0u) << "too few";
    EXPECT_GT(link_->replace_waiting_invalidations(5, 10), 10u);
    const auto seen = all();
    ASSERT_EQ(seen.size(), 90u);
    bool newer = false;
    size_t replies = 0;
    for (const Seen& each : seen) {
        replies += each.kind == CommandKind::kReply;
        if (each.kind != CommandKind::kLease) continue;
        newer |= each.generation == 5;
        if (newer) {
            EXPECT_EQ(each.generation, 5u);
        }
    }
    EXPECT_EQ(replies, 30u) << "replies are never given up";
    EXPECT_TRUE(newer);
}

TEST(KeyGuard, Undisturbed_AnyWriteOrInvalidationMeanwhile_IsFalse) {
    KeyGuard guard;
    auto* record = guard.acquire("k", 1);
    auto ticket = guard.ticket(record);
    EXPECT_TRUE(guard.undisturbed(ticket, 0));
    guard.invalidated("other");
    EXPECT_TRUE(guard.undisturbed(ticket, 0));
    guard.invalidated("k");
    EXPECT_FALSE(guard.undisturbed(ticket, 0));

    ticket = guard.ticket(record);
    guard.write_started(record);
    EXPECT_FALSE(guard.undisturbed(ticket, 0));
    auto own = guard.ticket(record);
    EXPECT_TRUE(guard.undisturbed(own, 1)) << "the SET's own write does not count";
    guard.write_started(record);
    EXPECT_FALSE(guard.undisturbed(own, 1));
    guard.write_finished(record);
    EXPECT_FALSE(guard.undisturbed(own, 1)) << "another write came and went";
    guard.write_finished(record);
    EXPECT_FALSE(guard.undisturbed(ticket, 0));

    ticket = guard.ticket(record);
    guard.all_invalidated();
    EXPECT_FALSE(guard.undisturbed(ticket, 0));
    guard.release(record);
    EXPECT_EQ(guard.size(), 0u);
}

TEST(MessageAssembler, Add_InterleavedParts_AreJoinedPerRequest) {
    MessageAssembler assembler(10);
    std::string_view message;
    const auto add = [&](uint64_t request, bool more, std::string_view payload) {
        shm::RingEntry entry;
        entry.session_id = request % 2;
        entry.request_id = request;
        entry.flags = more ? shm::kMore : 0;
        return assembler.add(0, entry, payload, message);
    };
    using Outcome = MessageAssembler::Outcome;
    EXPECT_EQ(add(1, true, "abc"), Outcome::kPartial);
    EXPECT_EQ(add(2, true, "123"), Outcome::kPartial);
    EXPECT_EQ(add(3, false, "whole"), Outcome::kWhole);
    EXPECT_EQ(message, "whole");
    EXPECT_EQ(add(1, false, "def"), Outcome::kWhole);
    EXPECT_EQ(message, "abcdef");
    EXPECT_EQ(add(2, true, "45678901"), Outcome::kPartial);
    EXPECT_EQ(add(2, false, "x"), Outcome::kTooLong);
    EXPECT_TRUE(assembler.empty());
    EXPECT_EQ(add(5, true, "abc"), Outcome::kPartial);
    assembler.session_closed(0, 1);
    EXPECT_TRUE(assembler.empty());
}

TEST(StoredValue, Forms_OnlyThoseThatStoreWhatTheyCarry) {
    using Arguments = std::vector<std::string_view>;
    const auto ttl = [](const Arguments& arguments) {
        const auto stored = stored_value(arguments);
        return stored ? static_cast<int64_t>(stored->ttl_ms) : -1;
    };
    EXPECT_EQ(ttl({"SET", "k", "v"}), 0);
    EXPECT_EQ(ttl({"set", "k", "v", "eX", "3"}), 3000);
    EXPECT_EQ(ttl({"SET", "k", "v", "PX", "3"}), 3);
    EXPECT_EQ(ttl({"SETEX", "k", "3", "v"}), 3000);
    EXPECT_EQ(ttl({"PSETEX", "k", "3", "v"}), 3);
    EXPECT_EQ(ttl({"SET", "k", "v", "NX"}), -1);
    EXPECT_EQ(ttl({"SET", "k", "v", "KEEPTTL"}), -1);
    EXPECT_EQ(ttl({"SET", "k", "v", "EXAT", "3"}), -1);
    EXPECT_EQ(ttl({"SET", "k", "v", "EX", "3", "NX"}), -1);
    EXPECT_EQ(ttl({"SET", "k", "v", "EX", "-3"}), -1);
    EXPECT_EQ(ttl({"SET", "k", "v", "EX", "99999999999999999999"}), -1);
    EXPECT_EQ(ttl({"SET", "k", "v", "EX", "3x"}), -1);
    EXPECT_EQ(ttl({"SET", "k"}), -1);
    EXPECT_EQ(ttl({"GETSET", "k", "v"}), -1);
    EXPECT_EQ(stored_value(Arguments{"SETEX", "k", "3", "v"})->value, "v");
}

TEST(LatencyHistogram, Quantile_RandomValues_IsWithinOneBucket) {
    LatencyHistogram histogram;
    EXPECT_EQ(histogram.quantile(0.5), 0u);
    for (uint64_t i = 1; i <= 100'000; ++i) histogram.record(i * 100);
    EXPECT_NEAR(static_cast<double>(histogram.quantile(0.5)), 5e6, 5e6 * 0.07);
    EXPECT_NEAR(static_cast<double>(histogram.quantile(0.99)), 9.9e6, 9.9e6 * 0.07);
    histogram.record(UINT64_MAX);
    EXPECT_GE(histogram.quantile(1.0), UINT64_MAX - 1);
    histogram.reset();
    EXPECT_EQ(histogram.count(), 0u);
}

}  // namespace
}  // namespace cachee::controlplane
