// SPDX-License-Identifier: Apache-2.0
// Standalone commands in virtual time: time-to-live to the millisecond, limits and failures of L1,
// spread. That replies are Valkey's is the business of standalone_differential_test.cc. Test code.
#include <gtest/gtest.h>

#include "dataplane/standalone_call.h"
#include "test_partition.h"

namespace cachee::dataplane::test {
namespace {

Spread spread(std::vector<std::string> args) {
    const std::vector<std::string_view> views(args.begin(), args.end());
    return spread_of(views);
}

TEST(SpreadOf, EveryKind_AsDeclared) {
    EXPECT_EQ(spread({"SET", "k", "v"}), Spread::kOneKey);
    EXPECT_EQ(spread({"iNcRbYfLoAt", "k", "1"}), Spread::kOneKey);
    EXPECT_EQ(spread({"DEL", "a", "b"}), Spread::kSumPerKey);
    EXPECT_EQ(spread({"UNLINK", "a"}), Spread::kSumPerKey);
    EXPECT_EQ(spread({"EXISTS", "a"}), Spread::kSumPerKey);
    EXPECT_EQ(spread({"TOUCH", "a"}), Spread::kSumPerKey);
    EXPECT_EQ(spread({"MSET", "a", "1", "b", "2"}), Spread::kOkPerPair);
    EXPECT_EQ(spread({"GET", "a"}), Spread::kReadAnywhere);
    EXPECT_EQ(spread({"MGET", "a", "b"}), Spread::kReadAnywhere);
    EXPECT_EQ(spread({"DBSIZE"}), Spread::kAllPartitionsSum);
    EXPECT_EQ(spread({"FLUSHALL"}), Spread::kAllPartitionsOk);
    EXPECT_EQ(spread({"FLUSHDB", "Async"}), Spread::kAllPartitionsOk);
    EXPECT_EQ(spread({"FLUSHALL", "SYNC"}), Spread::kAllPartitionsOk);
    EXPECT_EQ(spread({"NOSUCH", "a"}), Spread::kUnknown);
    EXPECT_EQ(spread({""}), Spread::kUnknown);
    EXPECT_EQ(spread({"INCRBYFLOATINCRBYFLOAT", "a"}), Spread::kUnknown);
}

TEST(SpreadOf, WrongArguments_NamesNoKey) {
    EXPECT_EQ(spread({"GET"}), Spread::kNoKey);
    EXPECT_EQ(spread({"DEL"}), Spread::kNoKey);
    EXPECT_EQ(spread({"MSET", "a", "1", "b"}), Spread::kNoKey);
    EXPECT_EQ(spread({"FLUSHALL", "NOW"}), Spread::kNoKey);
    EXPECT_EQ(spread({"FLUSHALL", "SYNC", "SYNC"}), Spread::kNoKey);
    EXPECT_EQ(spread({"DBSIZE", "x"}), Spread::kNoKey);
}

TEST(Ttl, LastMillisecond_KeyIsThereAndThenGone) {
    Shell shell;
    EXPECT_EQ(shell.run({"SET", "k", "v", "PX", "100"}), "+OK\r\n");
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":100\r\n");
    shell.advance_ms(99);
    EXPECT_EQ(shell.run({"GET", "k"}), "$1\r\nv\r\n");
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":1\r\n");
    shell.advance_ms(1);
    EXPECT_EQ(shell.run({"GET", "k"}), "$-1\r\n");
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":-2\r\n");
    EXPECT_EQ(shell.run({"DEL", "k"}), ":0\r\n");
    EXPECT_EQ(shell.run({"SET", "k", "w", "XX"}), "$-1\r\n");
    EXPECT_EQ(shell.run({"INCR", "k"}), ":1\r\n");
    EXPECT_EQ(shell.run({"TTL", "k"}), ":-1\r\n");
}

TEST(Ttl, Seconds_AreRounded) {
    Shell shell;
    shell.run({"SET", "k", "v", "PX", "1499"});
    EXPECT_EQ(shell.run({"TTL", "k"}), ":1\r\n");
    shell.run({"SET", "k", "v", "PX", "1500"});
    EXPECT_EQ(shell.run({"TTL", "k"}), ":2\r\n");
}

TEST(Ttl, AbsoluteTime_ComesBackExactlyWhenClocksTickApart) {
    Shell shell;
    ASSERT_EQ(shell.run({"SET", "k", "v", "PXAT", "1700000100123"}), "+OK\r\n");
    // Both clocks are cut to milliseconds, each at its own instant: their difference wobbles by
    // one.
    shell.wall_ms += 1;
    EXPECT_EQ(shell.run({"PEXPIRETIME", "k"}), ":1700000100123\r\n");
    shell.now_ms += 2;
    shell.wall_ms += 1;
    EXPECT_EQ(shell.run({"PEXPIRETIME", "k"}), ":1700000100123\r\n");
    EXPECT_EQ(shell.run({"EXPIRETIME", "k"}), ":1700000100\r\n");
}

TEST(Ttl, WallClockSteps_DeadlineStaysOnMonotonicClock) {
    Shell shell;
    shell.run({"SET", "k", "v", "PX", "1000"});
    shell.wall_ms += 3'600'000;
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":1000\r\n");
    EXPECT_EQ(shell.run({"PEXPIRETIME", "k"}), ":1700003601000\r\n");
    EXPECT_EQ(shell.run({"PEXPIREAT", "k", "1700003600500"}), ":1\r\n");
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":500\r\n");
}

TEST(Ttl, Writes_KeepOrDropIt) {
    Shell shell;
    const auto with_ttl = [&shell] { shell.run({"SET", "k", "5", "PX", "900"}); };
    with_ttl();
    shell.run({"INCR", "k"});
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":900\r\n");
    shell.run({"INCRBYFLOAT", "k", "0.5"});
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":900\r\n");
    shell.run({"APPEND", "k", "x"});
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":900\r\n");
    shell.run({"SETRANGE", "k", "0", "y"});
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":900\r\n");
    shell.run({"SET", "k", "z", "KEEPTTL"});
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":900\r\n");
    shell.run({"GETSET", "k", "z"});
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":-1\r\n");
    with_ttl();
    shell.run({"MSET", "k", "z"});
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":-1\r\n");
    with_ttl();
    EXPECT_EQ(shell.run({"GETEX", "k"}), "$1\r\n5\r\n");
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":900\r\n");
    EXPECT_EQ(shell.run({"GETEX", "k", "PERSIST"}), "$1\r\n5\r\n");
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":-1\r\n");
}

TEST(Ttl, ExpireConditions_CompareWithCurrentDeadline) {
    Shell shell;
    shell.run({"SET", "k", "v"});
    EXPECT_EQ(shell.run({"PEXPIRE", "k", "100", "GT"}), ":0\r\n");
    EXPECT_EQ(shell.run({"PEXPIRE", "k", "100", "XX"}), ":0\r\n");
    EXPECT_EQ(shell.run({"PEXPIRE", "k", "100", "LT"}), ":1\r\n");
    EXPECT_EQ(shell.run({"PEXPIRE", "k", "100", "NX"}), ":0\r\n");
    EXPECT_EQ(shell.run({"PEXPIRE", "k", "100", "GT"}), ":0\r\n");
    EXPECT_EQ(shell.run({"PEXPIRE", "k", "100", "LT"}), ":0\r\n");
    EXPECT_EQ(shell.run({"PEXPIRE", "k", "101", "XX", "GT"}), ":1\r\n");
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":101\r\n");
    EXPECT_EQ(shell.run({"EXPIRE", "k", "-1"}), ":1\r\n");
    EXPECT_EQ(shell.run({"EXISTS", "k"}), ":0\r\n");
}

TEST(Ttl, BeyondHorizonOfL1_EndsAtTheHorizon) {
    Shell shell;
    EXPECT_EQ(shell.run({"SET", "k", "v", "PXAT", "9223372036854775807"}), "+OK\r\n");
    const uint64_t horizon_ms = l1::kNoDeadline - 1;
    EXPECT_EQ(shell.run({"PTTL", "k"}), ":" + std::to_string(horizon_ms - shell.now_ms) + "\r\n");
}

TEST(Ttl, CapConfigured_EveryKeyHasOne) {
    StandaloneOptions options;
    options.ttl_max_ms = 1000;
    Shell shell(options);
    shell.run({"SET", "forever", "v"});
    shell.run({"SET", "long", "v", "EX", "100"});
    shell.run({"SET", "short", "v", "PX", "10"});
    EXPECT_EQ(shell.run({"PTTL", "forever"}), ":1000\r\n");
    EXPECT_EQ(shell.run({"PTTL", "long"}), ":1000\r\n");
    EXPECT_EQ(shell.run({"PTTL", "short"}), ":10\r\n");
    shell.run({"PERSIST", "short"});
    EXPECT_EQ(shell.run({"PTTL", "short"}), ":1000\r\n");
    shell.run({"EXPIRE", "short", "5000"});
    EXPECT_EQ(shell.run({"PTTL", "short"}), ":1000\r\n");
}

TEST(Failure, ValueTooLarge_NamesTheLimitAndOldValueStays) {
    Shell shell({}, 10);
    const std::string error =
        "-ERR string exceeds the largest item that this cache takes (10 bytes)\r\n";
    EXPECT_EQ(shell.run({"SET", "k", "123456789"}), "+OK\r\n");
    EXPECT_EQ(shell.run({"SET", "k", "1234567890"}), error);
    EXPECT_EQ(shell.run({"SET", "k", "1234567890", "GET"}), error);
    EXPECT_EQ(shell.run({"APPEND", "k", "x"}), error);
    EXPECT_EQ(shell.run({"SETRANGE", "k", "9", "x"}), error);
    EXPECT_EQ(shell.run({"MSET", "a", "1", "k", "1234567890"}), error);
    EXPECT_EQ(shell.run({"EXISTS", "a"}), ":0\r\n");
    EXPECT_EQ(shell.run({"GET", "k"}), "$9\r\n123456789\r\n");
    EXPECT_EQ(shell.run({"SETRANGE", "k", "9223372036854775807", "x"}),
              "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
}

TEST(Failure, KeyTooLong_IsAnErrorAndReadsMiss) {
    Shell shell;
    const std::string key(65535, 'k');
    EXPECT_EQ(shell.run({"SET", key, "v"}),
              "-ERR key exceeds the longest that this cache takes (65534 bytes)\r\n");
    EXPECT_EQ(shell.run({"GET", key}), "$-1\r\n");
    EXPECT_EQ(shell.run({"DEL", key}), ":0\r\n");
    EXPECT_EQ(shell.run({"SET", key.substr(1), "v"}), "+OK\r\n");
    EXPECT_EQ(shell.run({"GET", key.substr(1)}), "$1\r\nv\r\n");
}

TEST(Failure, MoreThanFits_WritesSucceedAndOldKeysGo) {
    Shell shell;
    const std::string value(50'000, 'x');
    for (int i = 0; i < 1000; ++i) {
        ASSERT_EQ(shell.run({"SET", "key:" + std::to_string(i), value}), "+OK\r\n") << i;
    }
    EXPECT_EQ(shell.run({"EXISTS", "key:999"}), ":1\r\n");
    EXPECT_EQ(shell.run({"APPEND", "key:999", "y"}), ":50001\r\n");
    EXPECT_LT(shell.partition().items(), 200U);
}

TEST(Generation, OtherThanItsOwn_IsAMiss) {
    StandaloneOptions options;
    options.generation = 7;
    Shell shell(options);
    const std::string key = "k";
    shell.partition().put(base::hash_key(key, 0), key, "old", 0, 6, shell.now_ms);
    EXPECT_EQ(shell.run({"GET", "k"}), "$-1\r\n");
    EXPECT_EQ(shell.run({"SET", "k", "new", "NX"}), "+OK\r\n");
    EXPECT_EQ(shell.run({"GET", "k"}), "$3\r\nnew\r\n");
}

TEST(CountKey, PerName_DoesAsTheCommand) {
    Shell shell;
    shell.run({"MSET", "a", "1", "b", "2"});
    EXPECT_EQ(shell.standalone().count_key("EXISTS", "a", shell.now_ms), 1);
    EXPECT_EQ(shell.standalone().count_key("touch", "a", shell.now_ms), 1);
    EXPECT_EQ(shell.standalone().count_key("Del", "a", shell.now_ms), 1);
    EXPECT_EQ(shell.standalone().count_key("Del", "a", shell.now_ms), 0);
    EXPECT_EQ(shell.standalone().count_key("UNLINK", "b", shell.now_ms), 1);
    EXPECT_EQ(shell.run({"DBSIZE"}), ":0\r\n");
}

TEST(Execute, SeveralReplies_AreAppended) {
    Shell shell;
    std::string out = "before";
    const std::vector<std::string_view> get = {"GET", "k"};
    shell.standalone().execute(get, resp::Protocol::kResp3, shell.now_ms, shell.wall_ms, out);
    const std::vector<std::string_view> set = {"SET", "k", "v"};
    shell.standalone().execute(set, resp::Protocol::kResp2, shell.now_ms, shell.wall_ms, out);
    EXPECT_EQ(out, "before_\r\n+OK\r\n");
}

TEST(ParseInt64, OnlyCanonicalDecimal_IsTaken) {
    EXPECT_EQ(parse_int64("0"), 0);
    EXPECT_EQ(parse_int64("-1"), -1);
    EXPECT_EQ(parse_int64("9223372036854775807"), INT64_MAX);
    EXPECT_EQ(parse_int64("-9223372036854775808"), INT64_MIN);
    for (const char* bad :
         {"", "-", "-0", "+1", "01", " 1", "1 ", "1.0", "0x1", "9223372036854775808",
          "-9223372036854775809", "18446744073709551616", "a"}) {
        EXPECT_EQ(parse_int64(bad), std::nullopt) << bad;
    }
}

}  // namespace
}  // namespace cachee::dataplane::test
