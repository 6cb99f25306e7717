// SPDX-License-Identifier: Apache-2.0
// Sessions with an L2 connection of their own, and reply encodings of the shared lanes.
#include "fixture.h"

namespace cachee::test {
namespace {

class PinnedTest : public PlaneTest {
  protected:
    void send(uint64_t session, const std::vector<std::string_view>& arguments, uint8_t flags = 0) {
        data_->command(0, Lane::kPinned, flags, arguments, session);
    }
    // What the session got so far, once it ends in `end`.
    std::string streamed(uint64_t session, const std::string& end) {
        auto& stream = data_->worker(0).streams[session];
        data_->until([&] { return stream.ends_with(end); }, 2000);
        return stream;
    }
};

TEST_F(PinnedTest, MultiExec_RunsOnOneConnection_AndInvalidatesBeforeItsReplies) {
    start(2);
    const std::string key = data_->key_of(1, "k");
    set(key, "1");
    ASSERT_NE(data_->hit(key), nullptr);
    send(5, {"MULTI"}, kWrite);
    send(5, {"INCR", key}, kWrite);
    send(5, {"EXEC"}, kWrite);
    auto& stream = data_->worker(0).streams[5];
    while (!stream.ends_with("*1\r\n:2\r\n")) {
        data_->poll();
        if (stream.size() >= 20) {
            EXPECT_EQ(data_->hit(key), nullptr);
        }
        ASSERT_LT(stream.size(), 100u);
    }
    EXPECT_EQ(stream, "+OK\r\n+QUEUED\r\n*1\r\n:2\r\n");
    EXPECT_EQ(data_->hit(key), nullptr);
    EXPECT_EQ(data_->counter(ControlCounter::pinned_sessions), 1u);
}

TEST_F(PinnedTest, SwapdbInATransaction_NothingIsTrustedAfterItsReply) {
    start();
    set("k", "v");
    ASSERT_NE(data_->hit("k"), nullptr);
    send(5, {"MULTI"}, kWrite);
    send(5, {"SWAPDB", "0", "1"}, kWrite);
    send(5, {"EXEC"}, kWrite);
    EXPECT_EQ(streamed(5, "*1\r\n+OK\r\n"), "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    EXPECT_EQ(data_->hit("k"), nullptr);
}

TEST_F(PinnedTest, Subscribe_MessagesStreamUntilTheSessionCloses) {
    start();
    send(7, {"SUBSCRIBE", "news"});
    EXPECT_EQ(streamed(7, ":1\r\n"), "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    EXPECT_EQ(client_->text("PUBLISH news hello"), ":1");
    EXPECT_TRUE(streamed(7, "hello\r\n").ends_with("$4\r\nnews\r\n$5\r\nhello\r\n"));
    data_->close_session(0, 7);
    EXPECT_TRUE(data_->until([&] { return client_->text("PUBLISH news again") == ":0"; }, 1000));
    EXPECT_EQ(data_->counter(ControlCounter::pinned_sessions), 0u);
}

TEST_F(PinnedTest, Subscribe_Resp3Session_GetsPushes) {
    start();
    send(8, {"SUBSCRIBE", "news"}, kResp3);
    EXPECT_EQ(streamed(8, ":1\r\n"), ">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
}

TEST_F(PinnedTest, BlockingCommand_AnswersWhenTheListFills) {
    start();
    send(3, {"BLPOP", "list", "0"}, kWrite);
    data_->run_for(50);
    EXPECT_EQ(data_->worker(0).streams[3], "");
    client_->run("RPUSH list item");
    EXPECT_EQ(streamed(3, "item\r\n"), "*2\r\n$4\r\nlist\r\n$4\r\nitem\r\n");
}

TEST_F(PinnedTest, LargeReply_ArrivesWholeAndInOrder) {
    start();
    std::string value(6 << 20, 'a');
    for (size_t i = 0; i < value.size(); i += 997) value[i] = static_cast<char>('a' + i % 26);
    client_->run("SET big %b", value.data(), value.size());
    send(4, {"MULTI"}, kWrite);
    send(4, {"GET", "big"});
    send(4, {"EXEC"}, kWrite);
    auto& stream = data_->worker(0).streams[4];
    const size_t expected = 5 + 9 + 4 + 10 + value.size() + 2;
    ASSERT_TRUE(data_->until([&] { return stream.size() >= expected; }, 5000)) << stream.size();
    EXPECT_TRUE(stream == "+OK\r\n+QUEUED\r\n*1\r\n$6291456\r\n" + value + "\r\n");
}

TEST_F(PinnedTest, L2Lost_SessionGetsAnErrorAndIsClosed) {
    start();
    send(6, {"MULTI"});
    streamed(6, "+OK\r\n");
    server_->kill();
    EXPECT_TRUE(data_->until([&] { return data_->worker(0).closed[6]; }, 1000));
    EXPECT_NE(data_->worker(0).streams[6].find("-ERR cachee: "), std::string::npos);
}

TEST_F(PinnedTest, Quit_ClosesWithoutAnError) {
    start();
    send(6, {"MULTI"}, kWrite);
    send(6, {"QUIT"});
    EXPECT_TRUE(data_->until([&] { return data_->worker(0).closed[6]; }, 1000));
    EXPECT_EQ(data_->worker(0).streams[6], "+OK\r\n+OK\r\n");
}

TEST_F(PinnedTest, TooMany_AreRefusedAndClosed) {
    config_.l2.pinned_connections_max = 1;
    start();
    send(1, {"MULTI"});
    streamed(1, "+OK\r\n");
    send(2, {"MULTI"});
    EXPECT_TRUE(data_->until([&] { return data_->worker(0).closed[2]; }, 1000));
    EXPECT_TRUE(data_->worker(0).streams[2].starts_with("-ERR cachee: too many sessions"));
    EXPECT_EQ(data_->counter(ControlCounter::pinned_refused), 1u);
}

class EndingTest : public PinnedTest {
  protected:
    // Everything the session got, once it is closed.
    std::string until_closed(uint64_t session, int timeout_ms = 2000) {
        if (!data_->until([&] { return data_->worker(0).closed[session]; }, timeout_ms)) {
            return "(not closed)";
        }
        EXPECT_TRUE(data_->until(
            [&] { return data_->counter(ControlCounter::pinned_sessions) == 0; }, 1000));
        return data_->worker(0).streams[session];
    }
};

TEST_F(EndingTest, InATransaction_RepliesComeThenTheEndAndNothingIsExecuted) {
    start();
    send(6, {"MULTI"}, kWrite);
    send(6, {"SET", "k", "v"}, kWrite);
    data_->end_session(0, 6);
    EXPECT_EQ(until_closed(6), "+OK\r\n+QUEUED\r\n");
    EXPECT_EQ(client_->text("EXISTS k"), ":0");
}

// As the reply to the QUIT that ends the connection to L2.
TEST_F(EndingTest, LastReplyIsOk_ItIsTheSessionsAndComesOnce) {
    start();
    send(6, {"SELECT", "0"});
    data_->end_session(0, 6);
    EXPECT_EQ(until_closed(6), "+OK\r\n");
    send(7, {"SELECT", "0"});
    streamed(7, "+OK\r\n");
    data_->end_session(0, 7);
    EXPECT_EQ(until_closed(7), "+OK\r\n");
}

TEST_F(EndingTest, LargeReplyUnderWay_ArrivesWhole) {
    start();
    const std::string value(6 << 20, 'v');
    client_->run("SET big %b", value.data(), value.size());
    send(4, {"MULTI"}, kWrite);
    send(4, {"GET", "big"});
    send(4, {"EXEC"}, kWrite);
    data_->end_session(0, 4);
    EXPECT_TRUE(until_closed(4, 5000) == "+OK\r\n+QUEUED\r\n*1\r\n$6291456\r\n" + value + "\r\n");
}

TEST_F(EndingTest, Subscribed_EndsAtOnce) {
    start();
    send(7, {"SUBSCRIBE", "news"});
    data_->end_session(0, 7);
    EXPECT_EQ(until_closed(7), "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    send(8, {"SUBSCRIBE", "news"}, kResp3);
    streamed(8, ":1\r\n");
    data_->end_session(0, 8);
    EXPECT_EQ(until_closed(8), ">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
}

TEST_F(EndingTest, BlockedInL2_EndsAtOnceAndTakesNothing) {
    start();
    send(3, {"SELECT", "0"});
    send(3, {"BLPOP", "list", "0"}, kWrite);
    data_->end_session(0, 3);
    EXPECT_EQ(until_closed(3, 500), "+OK\r\n");
    client_->run("RPUSH list item");
    EXPECT_EQ(client_->text("LLEN list"), ":1");
    send(4, {"BLPOP", "other", "0"}, kWrite);
    data_->run_for(30);
    data_->end_session(0, 4);
    EXPECT_EQ(until_closed(4, 500), "");
}

TEST_F(EndingTest, L2DoesNotAnswer_GetsWhatCameAndAnErrorAfterTheTimeout) {
    config_.l2.request_timeout_ms = 300;
    start();
    client_->run("CLIENT PAUSE 1000 WRITE");
    send(3, {"SELECT", "0"});
    send(3, {"SET", "k", "v"}, kWrite);
    data_->end_session(0, 3);
    const std::string replies = until_closed(3);
    EXPECT_TRUE(replies.ends_with(
        "-ERR cachee: this session's connection to L2 failed: no answer within 300 ms, the outcome "
        "of unanswered commands is unknown\r\n"))
        << replies;
    EXPECT_TRUE(replies.starts_with("+OK\r\n-ERR")) << replies;
}

TEST_F(EndingTest, AfterItsOwnQuit_ItIsAnsweredOnce) {
    start();
    send(6, {"MULTI"}, kWrite);
    send(6, {"QUIT"});
    data_->end_session(0, 6);
    EXPECT_EQ(until_closed(6), "+OK\r\n+OK\r\n");
}

TEST_F(EndingTest, RepliesTurnedOff_ClosesWithoutAnError) {
    start();
    send(6, {"SELECT", "0"});
    send(6, {"CLIENT", "REPLY", "OFF"});
    send(6, {"SET", "k", "v"}, kWrite);
    data_->end_session(0, 6);
    EXPECT_EQ(until_closed(6), "+OK\r\n");
    EXPECT_EQ(client_->text("GET k"), "v");
}

// L2 has nothing left to write when QUIT comes, and would keep the connection for that.
TEST_F(EndingTest, RepliesTurnedOffAndAllWritten_ClosesWithoutAnError) {
    start();
    send(6, {"SELECT", "0"});
    send(6, {"CLIENT", "REPLY", "OFF"});
    streamed(6, "+OK\r\n");
    send(6, {"SET", "k", "v"}, kWrite);
    data_->run_for(20);
    data_->end_session(0, 6);
    EXPECT_EQ(until_closed(6), "+OK\r\n");
    EXPECT_EQ(client_->text("GET k"), "v");
}

TEST_F(EndingTest, RepliesTurnedOffInATransaction_NothingIsExecuted) {
    start();
    send(6, {"CLIENT", "REPLY", "OFF"});
    send(6, {"MULTI"}, kWrite);
    send(6, {"SET", "k", "v"}, kWrite);
    data_->end_session(0, 6);
    EXPECT_EQ(until_closed(6), "");
    EXPECT_EQ(client_->text("EXISTS k"), ":0");
}

TEST_F(EndingTest, NextReplySkipped_ClosesWithoutAnError) {
    start();
    send(7, {"SELECT", "0"});
    send(7, {"client", "reply", "skip"});
    send(7, {"SELECT", "0"});
    send(7, {"client", "reply", "skip"});
    data_->end_session(0, 7);
    EXPECT_EQ(until_closed(7), "+OK\r\n");
    send(8, {"SELECT", "0"});
    streamed(8, "+OK\r\n");
    send(8, {"client", "reply", "skip"});
    data_->run_for(20);
    data_->end_session(0, 8);
    EXPECT_EQ(until_closed(8), "+OK\r\n");
}

TEST_F(EndingTest, NoConnection_IsClosedAtOnce) {
    start();
    data_->end_session(0, 11);
    EXPECT_EQ(until_closed(11), "");
}

TEST_F(EndingTest, L2LostBeforeItsAnswer_SaysSo) {
    start();
    send(6, {"MULTI"}, kWrite);
    streamed(6, "+OK\r\n");
    server_->pause();
    send(6, {"SET", "k", "v"}, kWrite);
    data_->end_session(0, 6);
    data_->run_for(30);
    server_->kill();
    const std::string replies = until_closed(6);
    EXPECT_TRUE(replies.starts_with("+OK\r\n-ERR cachee: ")) << replies;
}

class EncodingTest : public PlaneTest {
  protected:
    std::string pass(uint8_t flags, const std::vector<std::string_view>& arguments) {
        return data_->run(0, Lane::kPass, flags, arguments);
    }
};

TEST_F(EncodingTest, PassThrough_EachProtocol_IsWhatL2Says) {
    start();
    client_->run("HSET h f v");
    client_->run("ZADD z 1.5 m");
    client_->run("SADD s m");
    EXPECT_EQ(pass(0, {"HGETALL", "h"}), "*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    EXPECT_EQ(pass(kResp3, {"HGETALL", "h"}), "%1\r\n$1\r\nf\r\n$1\r\nv\r\n");
    EXPECT_EQ(pass(0, {"ZSCORE", "z", "m"}), "$3\r\n1.5\r\n");
    EXPECT_EQ(pass(kResp3, {"ZSCORE", "z", "m"}), ",1.5\r\n");
    EXPECT_EQ(pass(0, {"SMEMBERS", "s"}), "*1\r\n$1\r\nm\r\n");
    EXPECT_EQ(pass(kResp3, {"SMEMBERS", "s"}), "~1\r\n$1\r\nm\r\n");
    EXPECT_EQ(pass(kResp3, {"LINDEX", "none", "0"}), "_\r\n");
    EXPECT_EQ(pass(0, {"LINDEX", "none", "0"}), "$-1\r\n");
    EXPECT_TRUE(pass(0, {"LPUSH", "h", "x"}).starts_with("-WRONGTYPE "));
}

// hiredis makes one nil of both.
TEST_F(EncodingTest, PassThrough_Resp2Nulls_StayArraysOrBulks) {
    start();
    client_->run("GEOADD geo 13.361389 38.115556 Palermo");
    client_->run("XGROUP CREATE x g $ MKSTREAM");
    EXPECT_EQ(pass(kWrite, {"LPOP", "nokey", "0"}), "*-1\r\n");
    EXPECT_EQ(pass(kWrite, {"LPOP", "nokey"}), "$-1\r\n");
    EXPECT_EQ(pass(0, {"XREAD", "STREAMS", "x", "$"}), "*-1\r\n");
    EXPECT_EQ(pass(0, {"XPENDING", "x", "g"}), "*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n");
    EXPECT_EQ(pass(0, {"GEOPOS", "geo", "nope"}), "*1\r\n*-1\r\n");
    EXPECT_EQ(pass(0, {"HMGET", "nokey", "f"}), "*1\r\n$-1\r\n");
    EXPECT_EQ(pass(kResp3, {"GEOPOS", "geo", "nope"}), "*1\r\n_\r\n");
    EXPECT_EQ(pass(kResp3 | kWrite, {"LPOP", "nokey", "0"}), "_\r\n");
}

TEST_F(EncodingTest, PassThrough_Resp3Doubles_HaveL2sDigits) {
    start();
    client_->run("GEOADD geo 13.361389 38.115556 Palermo");
    client_->run("ZADD z 1e23 big -inf low 0.1 small");
    RawClient raw(server_->port());
    ASSERT_NE(raw.run("HELLO 3\r\nPING\r\n", "+PONG\r\n"), "");
    const auto l2_says = [&](const std::string& command) {
        return raw.run(command + "\r\nPING\r\n", "+PONG\r\n");
    };
    EXPECT_EQ(pass(kResp3, {"GEOPOS", "geo", "Palermo"}) + "+PONG\r\n",
              l2_says("GEOPOS geo Palermo"));
    EXPECT_EQ(pass(kResp3, {"ZRANGE", "z", "0", "-1", "WITHSCORES"}) + "+PONG\r\n",
              l2_says("ZRANGE z 0 -1 WITHSCORES"));
}

TEST_F(EncodingTest, PassThrough_ScriptReplies_KeepTheirResp3Types) {
    start();
    const auto eval = [&](const char* script) {
        return data_->run(0, Lane::kFenced, kResp3 | kWrite, {"EVAL", script, "0"});
    };
    EXPECT_EQ(eval("redis.setresp(3) return true"), "#t\r\n");
    EXPECT_EQ(eval("redis.setresp(3) return {double=0.25}"), ",0.25\r\n");
    EXPECT_EQ(eval("redis.setresp(3) return {big_number='123456789012345678901234'}"),
              "(123456789012345678901234\r\n");
    EXPECT_EQ(eval("redis.setresp(3) return {verbatim_string={format='txt',string='hi'}}"),
              "=6\r\ntxt:hi\r\n");
    EXPECT_EQ(eval("return {1,{2,{3}}}"), "*2\r\n:1\r\n*2\r\n:2\r\n*1\r\n:3\r\n");
}

TEST_F(EncodingTest, Command_LongerThanAPayload_ArrivesWhole) {
    start();
    const std::string value(400'000, 'v');
    EXPECT_EQ(data_->run(0, Lane::kTracked, kWrite, {"SET", "big", value}), "+OK\r\n");
    EXPECT_EQ(client_->text("GET big"), value);
    EXPECT_EQ(data_->hit("big"), nullptr);  // one entry of the ring cannot hold it
}

}  // namespace
}  // namespace cachee::test
