// SPDX-License-Identifier: Apache-2.0
// The same seeded stream of commands to Standalone and to a real valkey-server: every reply must be
// the same bytes, in RESP2 and in RESP3. Times are long ones (nothing expires while it runs), so
// that the two clocks cannot make a difference; remaining times are compared with a tolerance.
// Replay: CACHEE_TEST_SEED=n.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/clock.h"
#include "base/rng.h"
#include "dataplane/standalone_call.h"
#include "test_partition.h"
#include "valkey_process.h"

namespace cachee::dataplane::test {
namespace {

using Command = std::vector<std::string>;

class Generator {
  public:
    Generator(uint64_t seed, uint64_t wall_ms) : rng_(seed), wall_ms_(wall_ms) {}

    Command next() {
        Command command = whole();
        if (rng_.chance(0.05)) {  // too many or too few arguments
            if (rng_.chance(0.5) && command.size() > 1) {
                command.pop_back();
            } else {
                command.push_back(rng_.chance(0.5) ? key() : "nx");
            }
        }
        if (rng_.chance(0.3)) {  // names and options have no case
            for (char& c : command[0]) {
                c = static_cast<char>(rng_.chance(0.5) ? std::tolower(c) : std::toupper(c));
            }
        }
        return command;
    }

  private:
    std::string pick(std::initializer_list<const char*> choices) {
        return choices.begin()[rng_.below(choices.size())];
    }
    std::string key() { return "key:" + std::to_string(rng_.below(10)); }

    std::string value() {
        switch (rng_.below(8)) {
            case 0:
                return std::to_string(static_cast<int64_t>(rng_.below(2000)) - 1000);
            case 1:
                return std::to_string(static_cast<int64_t>(rng_.next()));
            case 2:
                return pick({"9223372036854775807", "-9223372036854775808", "9223372036854775800",
                             "", "0", "-0", "007", "+1", " 1", "1 ", "-", "12345678901234567890"});
            case 3:
                return pick({"3.14", "-2.5e3", "0x1A", "inf", "-inf", "nan", "1e400", "1e5000",
                             "1e-5000", "0.1", "5.0e-1", ".5", "1.", "1e17",
                             "123456789.123456789"});
            case 4: {
                std::string bytes(rng_.below(40), '\0');
                for (char& c : bytes) {
                    c = static_cast<char>(rng_.below(256));
                }
                return bytes;
            }
            case 5:
                return std::string(rng_.below(3000), 'x');
            default:
                return pick({"hello", "hello world", "a\r\nb", "one", "OK", "\n"});
        }
    }

    std::string integer() {
        return rng_.chance(0.8) ? std::to_string(static_cast<int64_t>(rng_.below(60)) - 30)
                                : value();
    }

    // Within L1's horizon of 34 years, and far enough apart that a delay between the two servers
    // changes no comparison.
    std::string relative_time(uint64_t unit_ms) {
        if (rng_.chance(0.1)) {
            return unit_ms > 1 && rng_.chance(0.3)
                       ? pick({"9223372036854775", "9223372036854776", "-9223372036854776"})
                       : pick({"0", "-1", "-100", "abc", "", "1.5", "9223372036854775807",
                               "-9223372036854775808", "92233720368547758070"});
        }
        return std::to_string((10'000'000 + rng_.below(900'000'000'000)) / unit_ms);
    }

    std::string absolute_time(uint64_t unit_ms) {
        if (rng_.chance(0.1)) {
            return unit_ms > 1 && rng_.chance(0.3)
                       ? pick({"9223372036854776", "-9223372036854776"})
                       : pick({"0", "-1", "1", "1000000", "abc", "9223372036854775808",
                               "-9223372036854775808"});
        }
        return std::to_string((wall_ms_ + 10'000'000 + rng_.below(900'000'000'000)) / unit_ms);
    }

    void add_expiry(Command& command) {
        switch (rng_.below(4)) {
            case 0:
                command.insert(command.end(), {"EX", relative_time(1000)});
                break;
            case 1:
                command.insert(command.end(), {"PX", relative_time(1)});
                break;
            case 2:
                command.insert(command.end(), {"EXAT", absolute_time(1000)});
                break;
            default:
                command.insert(command.end(), {"pxat", absolute_time(1)});
        }
    }

    Command set() {
        Command command = {"SET", key(), value()};
        for (uint64_t n = rng_.below(3); n > 0; --n) {
            if (rng_.chance(0.4)) {
                add_expiry(command);
            } else {
                command.push_back(pick(
                    {"NX", "XX", "GET", "KEEPTTL", "nx", "get", "PERSIST", "EX", "bogus", ""}));
            }
        }
        return command;
    }

    Command getex() {
        Command command = {"GETEX", key()};
        for (uint64_t n = rng_.below(3); n > 0; --n) {
            if (rng_.chance(0.6)) {
                add_expiry(command);
            } else {
                command.push_back(pick({"PERSIST", "persist", "NX", "KEEPTTL", "PX"}));
            }
        }
        return command;
    }

    Command expire() {
        Command command = {pick({"EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"}), key()};
        const uint64_t unit_ms = command[0][0] == 'P' ? 1 : 1000;
        command.push_back(command[0].ends_with("AT") ? absolute_time(unit_ms)
                                                     : relative_time(unit_ms));
        for (uint64_t n = rng_.below(3); n > 0; --n) {
            command.push_back(pick({"NX", "XX", "GT", "LT", "gt", "lt", "BAD\r\n", "bo\ngus"}));
        }
        return command;
    }

    Command many_keys(const char* name) {
        Command command = {name};
        for (uint64_t n = 1 + rng_.below(4); n > 0; --n) {
            command.push_back(key());
        }
        return command;
    }

    Command mset() {
        Command command = {"MSET"};
        for (uint64_t n = 1 + rng_.below(4); n > 0; --n) {
            command.push_back(key());
            command.push_back(value());
        }
        return command;
    }

    Command rare() {
        switch (rng_.below(6)) {
            case 0:
                return {pick({"FLUSHALL", "FLUSHDB"})};
            case 1:
                return {pick({"FLUSHALL", "FLUSHDB"}), pick({"ASYNC", "sync", "never"})};
            case 2:
                return {"NOSUCHCOMMAND"};
            case 3:
                return {"NO\r\nSUCH", value(), value(), value()};
            case 4:
                return {std::string(200, 'n'), std::string(rng_.below(200), 'a'), key(), key()};
            default:
                return {pick({"SETEX", "PSETEX"}), key(), pick({"0", "-1", "x", "1.5"}), value()};
        }
    }

    Command whole() {
        switch (rng_.below(30)) {
            case 0:
            case 1:
            case 2:
            case 3:
                return set();
            case 4:
            case 5:
                return {"GET", key()};
            case 6:
                return many_keys("MGET");
            case 7:
                return {"SETNX", key(), value()};
            case 8:
                return {"SETEX", key(), relative_time(1000), value()};
            case 9:
                return {"PSETEX", key(), relative_time(1), value()};
            case 10:
                return {"GETSET", key(), value()};
            case 11:
                return {"GETDEL", key()};
            case 12:
            case 13:
                return getex();
            case 14:
                return mset();
            case 15:
                return {"APPEND", key(), value()};
            case 16:
                return {"STRLEN", key()};
            case 17:
                return {pick({"GETRANGE", "SUBSTR"}), key(), integer(), integer()};
            case 18:
                return {"SETRANGE", key(), integer(), value()};
            case 19:
                return {pick({"INCR", "DECR"}), key()};
            case 20:
                return {pick({"INCRBY", "DECRBY"}), key(), rng_.chance(0.5) ? integer() : value()};
            case 21:
            case 22:
                return {"INCRBYFLOAT", key(), value()};
            case 23:
                return many_keys(rng_.chance(0.5) ? "DEL" : "UNLINK");
            case 24:
                return many_keys(rng_.chance(0.5) ? "EXISTS" : "TOUCH");
            case 25:
                return {pick({"TYPE", "PERSIST"}), key()};
            case 26:
            case 27:
                return expire();
            case 28:
                return {pick({"TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"}), key()};
            default:
                return rng_.chance(0.5) ? Command{"DBSIZE"} : rare();
        }
    }

    base::Rng rng_;
    const uint64_t wall_ms_;
};

std::string shown(const Command& command) {
    std::string text;
    for (const std::string& argument : command) {
        text.append(testing::PrintToString(argument)).append(" ");
    }
    return text;
}

// The replies of TTL and friends differ by what passes between the two executions.
bool same_reply(const Command& command, const std::string& ours, const std::string& theirs) {
    if (ours == theirs) {
        return true;
    }
    bool is_time = false;
    for (const char* name : {"ttl", "pttl", "expiretime", "pexpiretime"}) {
        is_time = is_time || equals_ignoring_case(command[0], name);
    }
    if (!is_time || ours[0] != ':' || theirs[0] != ':') {
        return false;
    }
    const long long a = std::atoll(ours.c_str() + 1);
    const long long b = std::atoll(theirs.c_str() + 1);
    const bool in_seconds = std::tolower(command[0][0]) != 'p';
    return a > 0 && b > 0 && std::abs(a - b) <= (in_seconds ? 10 : 10'000);
}

class StandaloneDifferential : public testing::TestWithParam<resp::Protocol> {};

TEST_P(StandaloneDifferential, SeededStream_RepliesAreValkeys) {
    ValkeyProcess server;
    if (!server.running()) {
        GTEST_SKIP() << server.why_not();
    }
    const char* replay = std::getenv("CACHEE_TEST_SEED");
    const uint64_t seed =
        replay != nullptr ? std::strtoull(replay, nullptr, 10) : base::random_seed();
    SCOPED_TRACE("CACHEE_TEST_SEED=" + std::to_string(seed));

    Shell shell;
    shell.protocol = GetParam();
    if (GetParam() == resp::Protocol::kResp3) {
        ASSERT_EQ(server.command({"HELLO", "3"}).at(0), '%');
    }
    Generator generator(seed, base::wall_ms());
    constexpr int kBatches = 100;
    constexpr int kBatchCommands = 200;
    for (int batch = 0; batch < kBatches; ++batch) {
        std::vector<Command> commands;
        for (int i = 0; i < kBatchCommands; ++i) {
            commands.push_back(generator.next());
        }
        const std::vector<std::string> theirs = server.pipeline(commands);
        ASSERT_EQ(theirs.size(), commands.size()) << "the server went away";
        shell.now_ms = base::monotonic_ns() / base::kNsPerMs;
        shell.wall_ms = base::wall_ms();
        for (size_t i = 0; i < commands.size(); ++i) {
            const std::string ours = shell.run(commands[i]);
            ASSERT_TRUE(same_reply(commands[i], ours, theirs[i]))
                << "command " << batch * kBatchCommands + static_cast<int>(i) << ": "
                << shown(commands[i]) << "\n  ours:   " << testing::PrintToString(ours)
                << "\n  theirs: " << testing::PrintToString(theirs[i]);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Resp, StandaloneDifferential,
                         testing::Values(resp::Protocol::kResp2, resp::Protocol::kResp3));

}  // namespace
}  // namespace cachee::dataplane::test
