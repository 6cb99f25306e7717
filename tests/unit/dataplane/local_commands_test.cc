// SPDX-License-Identifier: Apache-2.0
// Session commands: replies in both protocols, what they change, and that error texts are those of
// a real valkey-server. Test code.
#include "dataplane/local_commands.h"

#include <gtest/gtest.h>

#include "valkey_process.h"

namespace cachee::dataplane::test {
namespace {

struct Session {
    config::Config config;
    LocalContext context;
    LocalEffects effects;  // of the last command
    bool answered = false;

    Session() {
        context.client.id = 7;
        context.client.address = "127.0.0.1:5000";
        context.client.local_address = "127.0.0.1:6379";
        context.config = &config;
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    std::string run(const std::vector<std::string>& args) {
        const std::vector<std::string_view> views(args.begin(), args.end());
        std::string out;
        effects = {};
        answered = answer_local(views, context, out, effects);
        return out;
    }
};

constexpr const char* kWrongPass =
    "-WRONGPASS invalid username-password pair or user is disabled.\r\n";

TEST(Hello, Plain_TellsTheServerAndKeepsProtocol) {
    Session session;
    EXPECT_EQ(session.run({"HELLO"}),
              "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$"
              "5\r\nproto\r\n:2\r\n"
              "$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
              "$7\r\nmodules\r\n*0\r\n");
    EXPECT_EQ(session.effects.protocol, resp::Protocol::kResp2);
}

TEST(Hello, Version3_RepliesInResp3AtOnce) {
    Session session;
    EXPECT_TRUE(session.run({"hello", "3", "SETNAME", "app"}).starts_with("%7\r\n"));
    EXPECT_EQ(session.effects.protocol, resp::Protocol::kResp3);
    EXPECT_EQ(session.effects.client_name, "app");
    EXPECT_EQ(session.effects.authenticated, std::nullopt);
}

TEST(Hello, Unauthenticated_NeedsAuth) {
    Session session;
    session.config.listen.password = "secret";
    session.context.authenticated = false;
    EXPECT_TRUE(session.run({"HELLO", "3"}).starts_with("-NOAUTH HELLO must be called"));
    EXPECT_EQ(session.effects.protocol, std::nullopt);
    EXPECT_EQ(session.run({"HELLO", "3", "AUTH", "default", "wrong"}), kWrongPass);
    EXPECT_EQ(session.effects.protocol, std::nullopt);
    EXPECT_EQ(session.effects.authenticated, std::nullopt);
    EXPECT_EQ(session.run({"HELLO", "3", "AUTH", "other", "secret"}), kWrongPass);
    EXPECT_TRUE(session.run({"HELLO", "3", "AUTH", "default", "secret"}).starts_with("%7"));
    EXPECT_EQ(session.effects.authenticated, true);
    EXPECT_EQ(session.effects.protocol, resp::Protocol::kResp3);
}

TEST(Auth, Password_IsChecked) {
    Session session;
    session.config.listen.password = "secret";
    EXPECT_EQ(session.run({"AUTH", "secre"}), kWrongPass);
    EXPECT_EQ(session.run({"AUTH", ""}), kWrongPass);
    EXPECT_EQ(session.run({"AUTH", "secretsecret"}), kWrongPass);
    EXPECT_EQ(session.effects.authenticated, std::nullopt);
    EXPECT_EQ(session.run({"AUTH", "secret"}), "+OK\r\n");
    EXPECT_EQ(session.effects.authenticated, true);
    EXPECT_EQ(session.run({"AUTH", "default", "secret"}), "+OK\r\n");
    EXPECT_EQ(session.run({"AUTH", "other", "secret"}), kWrongPass);
}

TEST(PasswordEquals, AnyDifference_IsFound) {
    EXPECT_TRUE(password_equals("secret", "secret"));
    EXPECT_TRUE(password_equals("", ""));
    EXPECT_FALSE(password_equals("", "secret"));
    EXPECT_FALSE(password_equals("secret", ""));
    EXPECT_FALSE(password_equals(std::string_view("\0", 1), ""));
    EXPECT_FALSE(password_equals("secretsecret", "secret"));
    EXPECT_FALSE(password_equals("Secret", "secret"));
    EXPECT_FALSE(password_equals("secreT", "secret"));
}

TEST(Reset, Always_ReturnsToTheStart) {
    Session session;
    session.config.listen.password = "secret";
    session.context.client.protocol = resp::Protocol::kResp3;
    EXPECT_EQ(session.run({"RESET"}), "+RESET\r\n");
    EXPECT_TRUE(session.effects.reset);
    EXPECT_EQ(session.effects.protocol, resp::Protocol::kResp2);
    EXPECT_EQ(session.effects.authenticated, false);
    EXPECT_EQ(session.effects.client_name, "");
}

TEST(Quit, Always_ClosesAfterReply) {
    Session session;
    EXPECT_EQ(session.run({"QUIT"}), "+OK\r\n");
    EXPECT_TRUE(session.effects.close);
}

TEST(Select, WithL2_OtherDatabasesAreNotOurs) {
    Session session;
    EXPECT_EQ(session.run({"SELECT", "0"}), "+OK\r\n");
    EXPECT_EQ(session.run({"SELECT", "1"}), "");
    EXPECT_FALSE(session.answered);
    session.context.standalone = true;
    EXPECT_EQ(session.run({"SELECT", "1"}), "-ERR DB index is out of range\r\n");
}

TEST(Client, NamesAndLibrary_GoToEffectsAndLines) {
    Session session;
    EXPECT_EQ(session.run({"CLIENT", "GETNAME"}), "$-1\r\n");
    EXPECT_EQ(session.run({"CLIENT", "SETINFO", "LIB-NAME", "redis-py"}), "+OK\r\n");
    EXPECT_EQ(session.effects.lib_name, "redis-py");
    EXPECT_EQ(session.run({"CLIENT", "SETINFO", "lib-ver", "5.0"}), "+OK\r\n");
    EXPECT_EQ(session.effects.lib_version, "5.0");
    session.context.client.name = "app";
    EXPECT_EQ(session.run({"CLIENT", "GETNAME"}), "$3\r\napp\r\n");
    const std::string line = session.run({"CLIENT", "INFO"});
    EXPECT_NE(line.find("id=7 addr=127.0.0.1:5000 laddr=127.0.0.1:6379 "), std::string::npos);
    EXPECT_NE(line.find(" name=app "), std::string::npos);
    EXPECT_EQ(session.run({"CLIENT", "LIST"}), line);
    EXPECT_EQ(session.run({"CLIENT", "LIST", "ID", "7"}), line);
    EXPECT_EQ(session.run({"CLIENT", "LIST", "ID", "8"}), "$0\r\n\r\n");
    EXPECT_EQ(session.run({"CLIENT", "LIST", "TYPE", "pubsub"}), "$0\r\n\r\n");
    session.context.client.protocol = resp::Protocol::kResp3;
    EXPECT_TRUE(session.run({"CLIENT", "INFO"}).starts_with("="));
}

TEST(Client, SubcommandsOfL2_ArePassedOrRefused) {
    Session session;
    EXPECT_EQ(session.run({"CLIENT", "TRACKING", "ON"}), "");
    EXPECT_FALSE(session.answered);
    EXPECT_EQ(session.run({"CLIENT", "NOSUCH"}),
              "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.\r\n");
    session.context.standalone = true;
    EXPECT_EQ(session.run({"CLIENT", "TRACKING", "ON"}),
              "-ERR client|tracking is not available here: it needs an L2, and this cachee is "
              "standalone\r\n");
}

TEST(ConfigGet, WhatBenchmarksAsk_IsAnswered) {
    Session session;
    EXPECT_EQ(session.run({"CONFIG", "GET", "save"}), "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    EXPECT_EQ(session.run({"CONFIG", "GET", "appendonly"}),
              "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
    EXPECT_EQ(session.run({"config", "get", "MAXMEMORY", "max*y", "nosuch"}),
              "*4\r\n$9\r\nMAXMEMORY\r\n$9\r\n268435456\r\n"
              "$16\r\nmaxmemory-policy\r\n$11\r\nallkeys-lfu\r\n");
    EXPECT_EQ(session.run({"CONFIG", "GET", "databases"}), "*0\r\n");
    session.context.standalone = true;
    EXPECT_EQ(session.run({"CONFIG", "GET", "databases"}), "*2\r\n$9\r\ndatabases\r\n$1\r\n1\r\n");
    session.context.client.protocol = resp::Protocol::kResp3;
    EXPECT_EQ(session.run({"CONFIG", "GET", "port"}), "%1\r\n$4\r\nport\r\n$4\r\n6379\r\n");
}

TEST(ConfigGet, Everything_NeverShowsThePassword) {
    Session session;
    session.context.standalone = true;
    session.config.listen.password = "hunter2hunter2";
    session.config.l2.backend = "redis://user:hunter2hunter2@host:1";
    EXPECT_EQ(session.run({"CONFIG", "GET", "*"}).find("hunter2"), std::string::npos);
    EXPECT_EQ(session.run({"CONFIG", "GET", "requirepass"}), "*0\r\n");
}

TEST(GlobMatches, RedisPatterns_AsRedis) {
    EXPECT_TRUE(glob_matches("*", ""));
    EXPECT_TRUE(glob_matches("a*c", "abbbc"));
    EXPECT_TRUE(glob_matches("A?C", "abc"));
    EXPECT_TRUE(glob_matches("max*-p*", "maxmemory-policy"));
    EXPECT_TRUE(glob_matches("[a-c]x", "bX"));
    EXPECT_TRUE(glob_matches("[c-a]x", "bx"));
    EXPECT_TRUE(glob_matches("[^a]x", "bx"));
    EXPECT_TRUE(glob_matches("\\*", "*"));
    EXPECT_FALSE(glob_matches("\\*", "a"));
    EXPECT_FALSE(glob_matches("[^a]x", "ax"));
    EXPECT_FALSE(glob_matches("a*c", "ab"));
    EXPECT_FALSE(glob_matches("", "a"));
    EXPECT_FALSE(glob_matches("a?", "a"));
    EXPECT_FALSE(glob_matches("[", "a"));
    EXPECT_FALSE(glob_matches("[^", ""));
}

TEST(GlobMatches, ManyStars_StaysFast) {
    std::string pattern;
    for (int i = 0; i < 2000; ++i) {
        pattern += "a*";
    }
    EXPECT_FALSE(glob_matches(pattern + "b", std::string(4000, 'a')));
}

TEST(AnswerLocal, OtherCommands_AreLeftAlone) {
    Session session;
    for (const char* name : {"GET", "COMMAND", "PINGS", "", "SUBSCRIBE"}) {
        EXPECT_EQ(session.run({name, "x"}), "") << name;
        EXPECT_FALSE(session.answered) << name;
    }
}

TEST(AnswerLocal, RealServer_SaysTheSame) {
    ValkeyProcess server({"--requirepass", "secret"});
    if (!server.running()) {
        GTEST_SKIP() << server.why_not();
    }
    ASSERT_EQ(server.command({"AUTH", "secret"}), "+OK\r\n");
    Session session;
    session.context.standalone = true;
    session.config.listen.password = "secret";
    const std::vector<std::vector<std::string>> commands = {
        {"PING"},
        {"PING", "x"},
        {"ping", "a", "b"},
        {"ECHO"},
        {"ECHO", "a\r\nb"},
        {"ECHO", "a", "b"},
        {"HELLO", "4"},
        {"HELLO", "1"},
        {"HELLO", "x"},
        {"HELLO", ""},
        {"HELLO", "2", "SETNAME"},
        {"HELLO", "2", "AUTH", "x"},
        {"HELLO", "2", "BOGUS"},
        {"HELLO", "2", "SETNAME", "a b"},
        {"HELLO", "2", "AUTH", "default", "bad"},
        {"HELLO", "2", "AUTH", "nobody", "secret"},
        {"AUTH"},
        {"AUTH", "a", "b", "c"},
        {"AUTH", "bad"},
        {"AUTH", "default", "bad"},
        {"AUTH", "nobody", "bad"},
        {"AUTH", "default", "secret"},
        {"AUTH", "secret"},
        {"SELECT"},
        {"SELECT", "0"},
        {"SELECT", "1"},
        {"SELECT", "-1"},
        {"SELECT", "x"},
        {"SELECT", "99999999999"},
        {"SELECT", "0", "0"},
        {"CLIENT"},
        {"CLIENT", "NOSUCH"},
        {"CLIENT", "GETNAME"},
        {"CLIENT", "GETNAME", "x"},
        {"CLIENT", "SETNAME"},
        {"CLIENT", "SETNAME", "a b"},
        {"CLIENT", "SETNAME", "ok"},
        {"client", "setname", ""},
        {"CLIENT", "SETINFO", "lib-name", "x"},
        {"CLIENT", "SETINFO", "LIB-VER", "a b"},
        {"CLIENT", "SETINFO", "bogus", "x"},
        {"CLIENT", "SETINFO", "lib-name"},
        {"CLIENT", "ID", "x"},
        {"CLIENT", "INFO", "x"},
        {"CLIENT", "NO-EVICT", "on"},
        {"CLIENT", "NO-EVICT", "x"},
        {"CLIENT", "NO-TOUCH", "OFF"},
        {"CLIENT", "NO-TOUCH"},
        {"CLIENT", "LIST", "TYPE", "bogus"},
        {"CLIENT", "LIST", "ID", "x"},
        {"CLIENT", "LIST", "bogus"},
        {"CLIENT", "LIST", "TYPE", "pubsub"},
        {"CLIENT", "LIST", "ID"},
        {"CLIENT", "CAPA", "redirect"},
        {"CLIENT", "HELP", "x"},
        {"CONFIG"},
        {"CONFIG", "GET"},
        {"CONFIG", "BOGUS"},
        {"CONFIG", "GET", "nosuch"},
        {"CONFIG", "GET", "save"},
        {"CONFIG", "GET", "AppendOnly"},
        {"CONFIG", "GET", "databases"},
        {"CONFIG", "GET", "timeout"},
        {"CONFIG", "GET", "proto-max-bulk-len"},
        {"CONFIG", "HELP", "x"},
        {"RESET", "x"},
        {"RESET"},
    };
    for (const auto& command : commands) {
        EXPECT_EQ(session.run(command), server.command(command)) << testing::PrintToString(command);
        EXPECT_TRUE(session.answered) << testing::PrintToString(command);
    }
}

}  // namespace
}  // namespace cachee::dataplane::test
