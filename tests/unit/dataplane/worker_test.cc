// SPDX-License-Identifier: Apache-2.0
// The worker with an L2: hits, misses, order, leases, back-pressure, restarts of the control plane.
#include "dataplane/worker.h"

#include <gtest/gtest.h>

#include <string>

#include "worker_harness.h"

namespace cachee::dataplane {
namespace {

using shm::EventKind;
using stats::Counter;

TEST(Worker, Get_FilledKey_IsAnsweredWithoutAnEvent) {
    Harness harness;
    harness.grant_lease();
    harness.fill("k", "value");
    const auto session = harness.connect();
    EXPECT_EQ(harness.exchange(session, command({"GET", "k"})), "$5\r\nvalue\r\n");
    EXPECT_EQ(harness.exchange(session, "get k\r\n"), "$5\r\nvalue\r\n");
    EXPECT_TRUE(harness.take_events().empty());
    EXPECT_EQ(harness.counter(Counter::l1_hits), 2u);
}

TEST(Worker, Get_Missing_IsFetchedAndAnswered) {
    Harness harness;
    harness.grant_lease();
    const auto session = harness.connect();
    EXPECT_EQ(harness.exchange(session, command({"GET", "absent"})), "");
    const auto events = harness.take_events();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].kind(), EventKind::kFetch);
    EXPECT_EQ(events[0].payload, "absent");
    harness.answer(events[0], "$-1\r\n");
    EXPECT_EQ(harness.transport().received(session), "$-1\r\n");
    EXPECT_EQ(harness.counter(Counter::l1_misses), 1u);
}

TEST(Worker, Get_NoLeaseOrLapsed_IsNotAnsweredFromL1) {
    Harness harness;
    harness.grant_lease(250);
    harness.fill("k", "v");
    const auto session = harness.connect();
    EXPECT_EQ(harness.exchange(session, command({"GET", "k"})), "$1\r\nv\r\n");
    harness.advance_ms(249);
    EXPECT_EQ(harness.exchange(session, command({"GET", "k"})), "$1\r\nv\r\n");
    harness.advance_ms(1);
    EXPECT_EQ(harness.exchange(session, command({"GET", "k"})), "");
    EXPECT_EQ(harness.take_events().size(), 1u);
    EXPECT_EQ(harness.counter(Counter::l1_lease_refusals), 1u);
}

TEST(Worker, Lease_OtherGeneration_MakesEverythingUntrusted) {
    Harness harness;
    harness.grant_lease(250, 1);
    harness.fill("k", "v", 0, 1);
    harness.grant_lease(250, 2);
    const auto session = harness.connect();
    EXPECT_EQ(harness.exchange(session, command({"GET", "k"})), "");
    harness.fill("late", "v", 0, 1);  // asked for under the old generation
    EXPECT_EQ(harness.exchange(harness.connect(), command({"GET", "late"})), "");
    EXPECT_EQ(harness.take_events().size(), 2u);
}

TEST(Worker, Get_PastItsDeadline_IsNotAnsweredFromL1) {
    Harness harness;
    harness.grant_lease(10'000);
    harness.fill("k", "v", harness.now_ms() + 100);
    const auto session = harness.connect();
    harness.advance_ms(99);
    EXPECT_EQ(harness.exchange(session, command({"GET", "k"})), "$1\r\nv\r\n");
    harness.advance_ms(1);
    EXPECT_EQ(harness.exchange(session, command({"GET", "k"})), "");
}

TEST(Worker, Invalidate_FilledKey_IsGone) {
    Harness harness;
    harness.grant_lease();
    harness.fill("k", "v");
    harness.invalidate("k");
    EXPECT_EQ(harness.exchange(harness.connect(), command({"GET", "k"})), "");
    EXPECT_EQ(harness.counter(Counter::invalidations), 1u);
}

TEST(Worker, Pipeline_MissThenHits_RepliesKeepTheirOrder) {
    Harness harness;
    harness.grant_lease();
    harness.fill("b", "B");
    harness.fill("c", std::string(5000, 'C'));
    const auto session = harness.connect();
    EXPECT_EQ(harness.exchange(session, command({"GET", "a"}) + command({"GET", "b"}) +
                                            command({"PING"}) + command({"GET", "c"})),
              "");
    const auto events = harness.take_events();
    ASSERT_EQ(events.size(), 1u) << "the hits were evaluated at once";
    harness.answer(events[0], "$1\r\nA\r\n");
    EXPECT_EQ(harness.transport().received(session),
              "$1\r\nA\r\n$1\r\nB\r\n+PONG\r\n$5000\r\n" + std::string(5000, 'C') + "\r\n");
    EXPECT_EQ(harness.exchange(session, command({"GET", "b"})), "$1\r\nB\r\n");
}

TEST(Worker, Pipeline_TwoMisses_AnsweredInReverse_RepliesKeepTheirOrder) {
    Harness harness;
    harness.grant_lease();
    const auto session = harness.connect();
    harness.exchange(session, command({"GET", "a"}) + command({"GET", "b"}));
    const auto events = harness.take_events();
    ASSERT_EQ(events.size(), 2u);
    harness.answer(events[1], "$1\r\nB\r\n");
    EXPECT_EQ(harness.transport().received(session), "");
    harness.answer(events[0], "$1\r\nA\r\n");
    EXPECT_EQ(harness.transport().received(session), "$1\r\nA\r\n$1\r\nB\r\n");
}

// A value that arrives between two reads of one pipeline must not make the second one older.
TEST(Worker, Pipeline_SameKeyTwice_SecondIsFetchedOrdered) {
    Harness harness;
    harness.grant_lease();
    const auto session = harness.connect();
    harness.exchange(session, command({"GET", "k"}));
    harness.fill("k", "installed by another session's fetch");
    harness.exchange(session, command({"GET", "k"}));
    const auto events = harness.take_events();
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0].entry.flags & shm::kOrdered, 0);
    EXPECT_NE(events[1].entry.flags & shm::kOrdered, 0);
}

TEST(Worker, Set_ThenGetOfThatKey_GoesBehindItOnTheSameLane) {
    Harness harness;
    harness.grant_lease();
    harness.fill("k", "old");
    harness.fill("other", "o");
    const auto session = harness.connect();
    harness.exchange(
        session, command({"SET", "k", "new"}) + command({"GET", "k"}) + command({"GET", "other"}));
    const auto events = harness.take_events();
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0].kind(), EventKind::kCommand);
    EXPECT_EQ(events[0].entry.lane, shm::Lane::kTracked);
    EXPECT_NE(events[0].entry.flags & shm::kWrite, 0);
    EXPECT_EQ(events[0].payload, command({"SET", "k", "new"}));
    EXPECT_EQ(events[1].kind(), EventKind::kFetch);
    harness.answer(events[0], "+OK\r\n");
    harness.answer(events[1], "$3\r\nnew\r\n");
    EXPECT_EQ(harness.transport().received(session), "+OK\r\n$3\r\nnew\r\n$1\r\no\r\n");
}

TEST(Worker, CommandOfAnotherLane_WaitsUntilTheFirstIsAnswered) {
    Harness harness;
    harness.grant_lease();
    const auto session = harness.connect();
    harness.exchange(
        session, command({"HGETALL", "h"}) + command({"GET", "h"}) + command({"SET", "h", "v"}));
    auto events = harness.take_events();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].entry.lane, shm::Lane::kPass);
    harness.answer(events[0], "*0\r\n");
    EXPECT_EQ(harness.transport().received(session), "*0\r\n");
    events = harness.take_events();
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0].kind(), EventKind::kFetch);
    EXPECT_EQ(events[1].entry.lane, shm::Lane::kTracked);
}

TEST(Worker, Eval_UnknownKeys_NothingIsReadFromL1BehindIt) {
    Harness harness;
    harness.grant_lease();
    harness.fill("k", "old");
    const auto session = harness.connect();
    harness.exchange(session, command({"EVAL", "return 1", "0"}) + command({"GET", "k"}));
    auto events = harness.take_events();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].entry.lane, shm::Lane::kFenced);
    harness.invalidate("k");
    harness.answer(events[0], ":1\r\n");
    EXPECT_EQ(harness.transport().received(session), ":1\r\n");
    events = harness.take_events();
    ASSERT_EQ(events.size(), 1u) << "the GET was started after EVAL's reply, and missed";
    EXPECT_EQ(events[0].kind(), EventKind::kFetch);
}

TEST(Worker, UnknownCommand_IsFencedAndItsErrorRelayed) {
    Harness harness;
    const auto session = harness.connect();
    harness.exchange(session, command({"JSON.SET", "k", "$", "1"}));
    const auto events = harness.take_events();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].entry.lane, shm::Lane::kFenced);
    harness.answer(events[0], "-ERR unknown command 'JSON.SET'\r\n");
    EXPECT_EQ(harness.transport().received(session), "-ERR unknown command 'JSON.SET'\r\n");
}

TEST(Worker, Command_SplitAtEveryByte_IsTheSameCommand) {
    Harness harness;
    harness.grant_lease();
    harness.fill("key:1", "value");
    const std::string bytes = command({"GET", "key:1"}) + command({"ECHO", "x"});
    for (size_t split = 1; split < bytes.size(); ++split) {
        const auto session = harness.connect();
        std::string got = harness.exchange(session, bytes.substr(0, split));
        got += harness.exchange(session, bytes.substr(split));
        EXPECT_EQ(got, "$5\r\nvalue\r\n$1\r\nx\r\n") << "split at " << split;
        harness.transport().reset(session);
        harness.poll(2);
    }
}

TEST(Worker, LargeCommand_InManyPieces_ReachesTheControlPlaneWhole) {
    Harness harness({.ring_data_bytes = 64 * 1024});
    const auto session = harness.connect();
    const std::string value(300'000, 'v');
    const std::string bytes = command({"SET", "k", value});
    for (size_t at = 0; at < bytes.size(); at += 1400) {
        harness.transport().send(session, std::string_view(bytes).substr(at, 1400));
    }
    harness.poll(20);
    std::string payload;
    bool whole = false;
    uint64_t request_id = 0;
    for (int i = 0; i < 100 && !whole; ++i) {
        for (const Event& event : harness.take_events()) {
            payload += event.payload;
            whole = (event.entry.flags & shm::kMore) == 0;
            request_id = event.entry.request_id;
        }
        harness.poll();
    }
    ASSERT_TRUE(whole);
    EXPECT_EQ(payload, bytes);
    Event event;
    event.entry.request_id = request_id;
    harness.answer(event, "+O", true);
    EXPECT_EQ(harness.transport().received(session), "") << "not before it is whole";
    harness.answer(event, "K\r\n");
    EXPECT_EQ(harness.transport().received(session), "+OK\r\n");
}

TEST(Worker, ProtocolError_BehindARequestInFlight_RepliesBothThenCloses) {
    Harness harness;
    harness.grant_lease();
    const auto session = harness.connect();
    harness.exchange(session, command({"GET", "k"}) + "*1\r\n!bad\r\n" + command({"PING"}));
    const auto events = harness.take_events();
    ASSERT_EQ(events.size(), 1u);
    harness.answer(events[0], "$1\r\nv\r\n");
    EXPECT_EQ(harness.transport().received(session),
              "$1\r\nv\r\n-ERR Protocol error: expected '$', got '!'\r\n");
    harness.poll(2);
    EXPECT_FALSE(harness.transport().is_open(session));
    EXPECT_EQ(harness.worker().sessions(), 0u);
    EXPECT_EQ(harness.counter(Counter::protocol_errors), 1u);
}

TEST(Worker, HalfClose_WithARequestInFlight_RepliesBeforeItCloses) {
    Harness harness;
    const auto session = harness.connect();
    harness.exchange(session, command({"GET", "k"}));
    harness.transport().half_close(session);
    harness.poll(2);
    EXPECT_TRUE(harness.transport().is_open(session));
    harness.answer(harness.take_events().at(0), "$1\r\nv\r\n");
    EXPECT_EQ(harness.transport().received(session), "$1\r\nv\r\n");
    harness.poll(2);
    EXPECT_FALSE(harness.transport().is_open(session));
}

TEST(Worker, Quit_RepliesOkAndCloses_IgnoresWhatFollows) {
    Harness harness;
    const auto session = harness.connect();
    EXPECT_EQ(harness.exchange(session, command({"QUIT"}) + command({"PING"})), "+OK\r\n");
    EXPECT_FALSE(harness.transport().is_open(session));
}

TEST(Worker, Reset_WithRequestsInFlight_LateReplyReachesNobody) {
    Harness harness;
    const auto first = harness.connect();
    harness.exchange(first, command({"GET", "secret"}));
    const auto events = harness.take_events();
    harness.transport().reset(first);
    harness.poll(2);
    const auto second = harness.connect();
    EXPECT_EQ(first, second) << "the index is used again";
    harness.exchange(second, command({"GET", "mine"}));
    harness.answer(events.at(0), "$6\r\nsecret\r\n");
    EXPECT_EQ(harness.transport().received(second), "");
    bool notice = false;
    for (const Event& event : harness.take_events()) {
        notice |= event.kind() == EventKind::kSessionClosed;
    }
    EXPECT_TRUE(notice);
}

TEST(Worker, RingFull_RequestsWaitAndNoneIsLost) {
    Harness harness({.ring_entries = 8});
    const auto session = harness.connect();
    std::string bytes;
    for (int i = 0; i < 100; ++i) bytes += command({"GET", "k" + std::to_string(i)});
    harness.transport().send(session, bytes);
    harness.poll();
    std::string expected;
    int answered = 0;
    for (int round = 0; round < 200 && answered < 100; ++round) {
        for (const Event& event : harness.take_events()) {
            EXPECT_EQ(event.payload, "k" + std::to_string(answered));
            harness.answer(event, ":" + std::to_string(answered) + "\r\n");
            expected += ":" + std::to_string(answered++) + "\r\n";
        }
        harness.poll();
    }
    EXPECT_EQ(answered, 100);
    EXPECT_EQ(harness.transport().received(session), expected);
    EXPECT_GT(harness.counter(Counter::ring_full), 0u);
}

TEST(Worker, ParkedTableFull_RequestsWaitAndNoneIsLost) {
    Harness harness({.parked_requests_max = 128});
    std::string bytes;
    for (int i = 0; i < 1000; ++i) bytes += command({"GET", "k" + std::to_string(i)});
    const auto session = harness.connect();
    harness.transport().send(session, bytes);
    harness.poll();
    int answered = 0;
    for (int round = 0; round < 2000 && answered < 1000; ++round) {
        for (const Event& event : harness.take_events()) {
            harness.answer(event, ":1\r\n");
            ++answered;
        }
        harness.poll();
    }
    EXPECT_EQ(answered, 1000);
    EXPECT_EQ(harness.transport().received(session).size(), 4000u);
}

TEST(Worker, PeerThatDoesNotRead_IsPausedAndLosesNothing) {
    Harness harness;
    harness.grant_lease(1'000'000);
    const std::string value(10'000, 'x');
    harness.fill("k", value);
    const auto session = harness.connect();
    harness.transport().limit(session, 25'000);
    for (int i = 0; i < 5000; ++i) harness.transport().send(session, command({"GET", "k"}));
    harness.poll(300);
    EXPECT_TRUE(harness.transport().is_paused(session));
    std::string got = harness.transport().received(session);
    EXPECT_LE(got.size(), 25'000u);
    harness.transport().make_room(session);
    harness.poll(300);
    got += harness.transport().received(session);
    EXPECT_EQ(got.size(), 5000 * (8 + 10'000 + 2));
    EXPECT_FALSE(harness.transport().is_paused(session));
}

TEST(Worker, NewControlPlane_ReadsAreSentAgain_WritesFailWithAnError) {
    Harness harness;
    harness.grant_lease();
    harness.fill("hot", "v");
    const auto reader = harness.connect();
    const auto writer = harness.connect();
    const auto pinned = harness.connect();
    harness.exchange(reader, command({"GET", "k"}));
    harness.exchange(writer, command({"SET", "k", "v"}));
    harness.exchange(pinned, command({"MULTI"}));
    EXPECT_EQ(harness.take_events().size(), 3u);
    harness.attach_controlplane();
    harness.poll(2);
    const auto events = harness.take_events();
    ASSERT_EQ(events.size(), 2u) << "the fetch again, and the pinned session's end";
    EXPECT_EQ(events[0].kind(), EventKind::kFetch);
    EXPECT_NE(harness.transport().received(writer).find("outcome of this command is unknown"),
              std::string::npos);
    EXPECT_FALSE(harness.transport().is_open(pinned));
    harness.answer(events[0], "$1\r\nv\r\n");
    EXPECT_EQ(harness.transport().received(reader), "$1\r\nv\r\n");
    EXPECT_EQ(harness.exchange(reader, command({"GET", "hot"})), "")
        << "no lease of the new one yet";
}

TEST(Worker, DeadControlPlane_HitsWhileTheLeaseLives_ErrorsAfterwards) {
    Harness harness;
    harness.grant_lease(250);
    harness.fill("k", "v");
    const auto session = harness.connect();
    harness.kill_controlplane();
    harness.advance_ms(200);
    EXPECT_EQ(harness.exchange(session, command({"GET", "k"})), "$1\r\nv\r\n");
    harness.advance_ms(3000);
    const std::string got = harness.exchange(session, command({"GET", "k"}));
    EXPECT_EQ(got.find("-ERR cachee: the control plane is not running"), 0u) << got;
    EXPECT_EQ(harness.exchange(session, command({"PING"})), "+PONG\r\n");
}

TEST(Worker, RequestTimeout_IsAnErrorAndTheLateReplyIsDropped) {
    Harness harness;
    const auto session = harness.connect();
    harness.exchange(session, command({"GET", "k"}));
    const auto events = harness.take_events();
    harness.advance_ms(5001);
    harness.poll();
    EXPECT_EQ(harness.transport().received(session), "-ERR cachee: L2 did not answer in time\r\n");
    harness.answer(events.at(0), "$1\r\nv\r\n");
    EXPECT_EQ(harness.transport().received(session), "");
    EXPECT_EQ(harness.counter(Counter::requests_timed_out), 1u);
}

TEST(Worker, Multi_PinsTheSession_StreamsComeBackRaw) {
    Harness harness;
    harness.grant_lease();
    harness.fill("k", "v");
    const auto session = harness.connect();
    harness.exchange(session, command({"MULTI"}) + command({"GET", "k"}) + command({"EXEC"}));
    const auto events = harness.take_events();
    ASSERT_EQ(events.size(), 3u);
    for (const Event& event : events) EXPECT_EQ(event.entry.lane, shm::Lane::kPinned);
    harness.command(shm::CommandKind::kStream, events[0].entry.session_id,
                    "+OK\r\n+QUEUED\r\n*1\r\n");
    harness.command(shm::CommandKind::kStream, events[0].entry.session_id, "$1\r\nv\r\n");
    EXPECT_EQ(harness.transport().received(session), "+OK\r\n+QUEUED\r\n*1\r\n$1\r\nv\r\n");
    harness.command(shm::CommandKind::kCloseSession, events[0].entry.session_id);
    harness.poll(2);
    EXPECT_FALSE(harness.transport().is_open(session));
    harness.take_events();
    harness.command(shm::CommandKind::kStream, events[0].entry.session_id, "late");
    const auto notices = harness.take_events();
    ASSERT_EQ(notices.size(), 1u) << "the control plane hears that the session is gone";
    EXPECT_EQ(notices[0].kind(), EventKind::kSessionClosed);
}

// A paused session whose input is the start of a large command: nothing but resume() brings the
// rest.
TEST(Worker, LargeCommandBehindAStalledOne_IsResumed) {
    Harness harness;
    const auto session = harness.connect();
    const std::string value(300'000, 'v');
    const std::string bytes =
        command({"SET", "v", "1"}) + command({"STRLEN", "v"}) + command({"SET", "v", value});
    const size_t first = 200'000;  // STRLEN waits for SET, and the transport is paused behind it
    for (size_t at = 0; at < first; at += 10'000) {
        harness.transport().send(session, std::string_view(bytes).substr(at, 10'000));
    }
    harness.poll(2);
    EXPECT_TRUE(harness.transport().is_paused(session));
    harness.transport().send(session, std::string_view(bytes).substr(first));
    harness.answer(harness.take_events().at(0), "+OK\r\n");
    EXPECT_FALSE(harness.transport().is_paused(session));
    harness.answer(harness.take_events().at(0), ":1\r\n");
    harness.poll(3);
    std::string payload;
    for (const Event& event : harness.take_events()) payload += event.payload;
    EXPECT_EQ(payload, command({"SET", "v", value}));
}

TEST(Worker, Pinned_ProtocolErrorOrEof_RepliesOfL2ComeFirst) {
    for (const bool malformed : {true, false}) {
        Harness harness;
        const auto session = harness.connect();
        harness.transport().send(session, command({"MULTI"}) + (malformed ? "*1\r\nbad\r\n" : ""));
        if (!malformed) harness.transport().half_close(session);
        harness.poll(2);
        const auto events = harness.take_events();
        ASSERT_EQ(events.size(), 2u);
        EXPECT_EQ(events[1].kind(), EventKind::kSessionEnding);
        harness.command(shm::CommandKind::kStream, events[0].entry.session_id, "+OK\r\n");
        EXPECT_EQ(harness.transport().received(session), "+OK\r\n");
        EXPECT_TRUE(harness.transport().is_open(session));
        harness.command(shm::CommandKind::kCloseSession, events[0].entry.session_id);
        EXPECT_EQ(harness.transport().received(session),
                  malformed ? "-ERR Protocol error: expected '$', got 'b'\r\n" : "");
        harness.poll(2);
        EXPECT_FALSE(harness.transport().is_open(session));
    }
}

TEST(Worker, HttpRequest_IsClosedAndNothingOfItExecuted) {
    Harness harness;
    const auto session = harness.connect();
    EXPECT_EQ(harness.exchange(session, "POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a b\r\n"), "");
    EXPECT_FALSE(harness.transport().is_open(session));
    for (const Event& event : harness.take_events()) {
        EXPECT_NE(event.kind(), EventKind::kCommand);
    }
}

TEST(Worker, Multi_WhileAMissIsInFlight_Waits) {
    Harness harness;
    const auto session = harness.connect();
    harness.exchange(session, command({"GET", "k"}) + command({"MULTI"}));
    auto events = harness.take_events();
    ASSERT_EQ(events.size(), 1u);
    harness.answer(events[0], "$-1\r\n");
    events = harness.take_events();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].entry.lane, shm::Lane::kPinned);
}

TEST(Worker, Mget_AllInL1_IsOneReply_ElseForwardedWhole) {
    Harness harness;
    harness.grant_lease();
    harness.fill("a", "1");
    harness.fill("b", "22");
    const auto session = harness.connect();
    EXPECT_EQ(harness.exchange(session, command({"MGET", "a", "b"})),
              "*2\r\n$1\r\n1\r\n$2\r\n22\r\n");
    EXPECT_EQ(harness.exchange(session, command({"MGET", "a", "absent"})), "");
    const auto events = harness.take_events();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].payload, command({"MGET", "a", "absent"}));
    EXPECT_EQ(events[0].entry.lane, shm::Lane::kTracked);
}

TEST(Worker, Password_IsAskedForAndHonoured) {
    Harness harness({.password = "sesame"});
    harness.grant_lease();
    harness.fill("k", "v");
    const auto session = harness.connect();
    EXPECT_EQ(harness.exchange(session, command({"GET", "k"})),
              "-NOAUTH Authentication required.\r\n");
    EXPECT_EQ(harness.exchange(session, command({"AUTH", "wrong"})),
              "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    EXPECT_EQ(harness.exchange(session, command({"AUTH", "sesame"})), "+OK\r\n");
    EXPECT_EQ(harness.exchange(session, command({"GET", "k"})), "$1\r\nv\r\n");
    EXPECT_EQ(harness.exchange(session, command({"RESET"})), "+RESET\r\n");
    EXPECT_EQ(harness.exchange(session, command({"GET", "k"})),
              "-NOAUTH Authentication required.\r\n");
}

TEST(Worker, Hello3_NullOfAMissIsAskedForInResp3) {
    Harness harness;
    const auto session = harness.connect();
    EXPECT_EQ(harness.exchange(session, command({"HELLO", "3"})).substr(0, 2), "%7");
    harness.exchange(session, command({"GET", "k"}));
    EXPECT_NE(harness.take_events().at(0).entry.flags & shm::kResp3, 0);
}

TEST(Worker, ArityError_IsAnsweredHere) {
    Harness harness;
    const auto session = harness.connect();
    EXPECT_EQ(harness.exchange(session, command({"GET"})),
              "-ERR wrong number of arguments for 'get' command\r\n");
    EXPECT_TRUE(harness.take_events().empty());
}

TEST(Worker, TwoWorkers_EachReadsTheOthersPartition) {
    Harness harness({.workers = 2});
    harness.grant_lease();
    const auto on_first = harness.connect(0);
    const auto on_second = harness.connect(1);
    for (int i = 0; i < 50; ++i) {
        const std::string key = "key" + std::to_string(i);
        harness.fill(key, "v" + std::to_string(i));
        const std::string expected = harness.exchange(on_first, command({"GET", key}), 0);
        EXPECT_NE(expected.find("v" + std::to_string(i)), std::string::npos);
        EXPECT_EQ(harness.exchange(on_second, command({"GET", key}), 1), expected);
    }
}

TEST(Worker, BufferLimit_TheSessionOverItIsClosed_OthersGoOn) {
    Harness harness({.buffers_bytes_max = 256 * 1024});
    harness.grant_lease();
    harness.fill("k", "v");
    const auto hog = harness.connect();
    const auto other = harness.connect();
    harness.transport().send(hog, "*2\r\n$3\r\nGET\r\n$10000000\r\n");
    for (int i = 0; i < 100; ++i) harness.transport().send(hog, std::string(10'000, 'x'));
    harness.poll(110);
    EXPECT_FALSE(harness.transport().is_open(hog));
    EXPECT_EQ(harness.counter(Counter::sessions_killed_buffers), 1u);
    EXPECT_EQ(harness.exchange(other, command({"GET", "k"})), "$1\r\nv\r\n");
}

}  // namespace
}  // namespace cachee::dataplane
