// SPDX-License-Identifier: Apache-2.0
// Tests of resp/command_table.h and resp/command_reply.h.
#include "resp/command_table.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "resp/command_data.h"
#include "resp/command_reply.h"

namespace cachee::resp {
namespace {

using Words = std::vector<std::string_view>;

// "MSET a 1" as arguments; '' is an empty one. The views live as long as the literal.
Words split(std::string_view line) {
    Words words;
    while (!line.empty()) {
        const size_t space = std::min(line.find(' '), line.size());
        const std::string_view word = line.substr(0, space);
        words.push_back(word == "''" ? std::string_view("") : word);
        line.remove_prefix(std::min(space + 1, line.size()));
    }
    return words;
}

const CommandInfo& command(std::string_view line) {
    const CommandInfo* found = find_command(split(line));
    if (found == nullptr) {
        ADD_FAILURE() << line << " is not in the table";
        static const CommandInfo none;
        return none;
    }
    return *found;
}

std::string keys_of(std::string_view line) {
    std::vector<uint32_t> indexes;
    if (!command_keys(command(line), split(line), indexes)) {
        EXPECT_TRUE(indexes.empty());
        return "unknown";
    }
    std::string text;
    for (const uint32_t index : indexes) {
        text += (text.empty() ? "" : " ") + std::to_string(index);
    }
    return text;
}

TEST(CommandTable, Lookup_EveryRow_FindsItself) {
    for (size_t i = 0; i < kCommandCount; ++i) {
        std::string upper(kCommands[i].name);
        for (char& c : upper) {
            c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        }
        const size_t bar = upper.find('|');
        const Words words = bar == std::string::npos
                                ? Words{upper}
                                : Words{std::string_view(upper).substr(0, bar),
                                        std::string_view(upper).substr(bar + 1)};
        const CommandInfo* found = find_command(words);
        ASSERT_NE(found, nullptr) << upper;
        EXPECT_EQ(found->name, kCommands[i].name);
        EXPECT_EQ(found, &command_at(i));
        EXPECT_EQ(find_command_named(upper), found);
        EXPECT_EQ(command_data(*found), &kCommands[i]);
    }
}

TEST(CommandTable, Lookup_Unknown_IsNull) {
    for (const char* name : {"nosuch", "", "gett", "ge", "g", "get|", "|", "get\x01", "ge\x54x",
                             "client!id", "[et", "gEt "}) {
        const Words words = {name};
        EXPECT_EQ(find_command(words), nullptr) << name;
    }
    EXPECT_EQ(find_command({}), nullptr);
    const std::string long_name(100'000, 'a');
    const Words words = {long_name};
    EXPECT_EQ(find_command(words), nullptr);
    const Words nul = {std::string_view("get\0", 4)};
    EXPECT_EQ(find_command(nul), nullptr);
    // Folding is for letters only: '@' | 0x20 is '`', and so on.
    const Words folded = {"xread\x07roup"};
    EXPECT_EQ(find_command(folded), nullptr);
}

TEST(CommandTable, Lookup_Container_FallsBackToItself) {
    EXPECT_EQ(command("CoNfIg gEt x").name, "config|get");
    EXPECT_EQ(command("CONFIG").name, "config");
    EXPECT_EQ(command("CONFIG NOSUCH").name, "config");
    EXPECT_EQ(command("GET id").name, "get");
    const std::string long_sub(1000, 'x');
    const Words words = {"config", long_sub};
    EXPECT_EQ(find_command(words)->name, "config");
}

TEST(CommandTable, Flags_KnownCommands_AreValkeys) {
    EXPECT_EQ(command("GET").flags, uint32_t{kCmdReadonly | kCmdFast});
    EXPECT_EQ(command("GET").arity, 2);
    EXPECT_TRUE(command("SET").flags & kCmdWrite);
    EXPECT_TRUE(command("RANDOMKEY").flags & kCmdNondeterministic);
    EXPECT_FALSE(command("HGETALL").flags & kCmdNondeterministic);
    EXPECT_TRUE(command("BLPOP").flags & kCmdBlocking);
    EXPECT_TRUE(command("ZUNION").flags & kCmdMovableKeys);
    EXPECT_EQ(command("MSET").key_step, 2);
    EXPECT_EQ(command("BLPOP").last_key, -2);
}

TEST(CommandTable, Arity_Counts_AreChecked) {
    EXPECT_TRUE(arity_fits(command("GET"), 2));
    EXPECT_FALSE(arity_fits(command("GET"), 1));
    EXPECT_FALSE(arity_fits(command("GET"), 3));
    EXPECT_TRUE(arity_fits(command("SET"), 3));
    EXPECT_TRUE(arity_fits(command("SET"), 1'000'000));
    EXPECT_FALSE(arity_fits(command("SET"), 2));
}

struct RouteCase {
    Route route;
    std::string_view lines;  // separated by ','
};

TEST(CommandTable, Routes_PerGroup_AsDesigned) {
    const RouteCase cases[] = {
        {Route::kRead, "get,MGET a b"},
        {Route::kLocal,
         "hello,ping,echo,quit,auth,reset,info,command,command count,client id,"
         "client setname x,client list,client no-evict on,config get x"},
        {Route::kTracked,
         "set,del,unlink,incr,expire,getex,getdel,mset,rename,lpush,hset,sadd,xadd,"
         "append,persist,incrbyfloat,setnx,getset,psetex,setrange,zunionstore"},
        {Route::kPass,
         "strlen,hgetall,zadd,lpop,spop,zincrby,sort,keys,scan,dbsize,publish,xread,"
         "config set a b,config rewrite,script load x,acl whoami,slowlog get,restore,"
         "memory usage k,memory stats,object freq k,eval_ro,ttl,exists"},
        {Route::kFenced, "eval,evalsha,fcall,flushall,flushdb,swapdb,copy,move,migrate,pfcount"},
        {Route::kPinned,
         "multi,exec,discard,watch,unwatch,select,subscribe,psubscribe,ssubscribe,"
         "unsubscribe,blpop,blmove,bzpopmin,monitor,wait,waitaof,client tracking on,"
         "client reply off,script debug yes,script kill"},
        {Route::kForbidden,
         "shutdown,replicaof,slaveof,debug,failover,sync,psync,replconf,"
         "cluster failover,cluster reset,module load x,client kill x,post,Host:"},
    };
    for (const RouteCase& one : cases) {
        std::string_view rest = one.lines;
        while (!rest.empty()) {
            const size_t comma = std::min(rest.find(','), rest.size());
            EXPECT_EQ(command(rest.substr(0, comma)).route, one.route) << rest.substr(0, comma);
            rest.remove_prefix(std::min(comma + 1, rest.size()));
        }
    }
}

// What the tracked lane relies on, for every command on it.
TEST(CommandTable, Routes_Tracked_HaveDeclaredKeysAndWrite) {
    size_t tracked = 0;
    for (size_t i = 0; i < kCommandCount; ++i) {
        const CommandInfo& info = command_at(i);
        if (info.route != Route::kTracked || info.name == "xgroup" || info.name == "xgroup|help") {
            continue;
        }
        ++tracked;
        EXPECT_GT(info.first_key, 0) << info.name;
        EXPECT_TRUE(info.flags & kCmdWrite) << info.name;
        EXPECT_FALSE(info.flags & kCmdBlocking) << info.name;
        // The id that XADD makes and the number that XTRIM ~ removes; neither is ever cached.
        const bool stream = info.name == "xadd" || info.name == "xtrim";
        EXPECT_FALSE(!stream && (info.flags & kCmdNondeterministic)) << info.name;
    }
    EXPECT_GT(tracked, 60U);
}

// A write on a shared connection must have keys that can be told, or be fenced.
TEST(CommandTable, Routes_PassedWrites_HaveKeys) {
    for (size_t i = 0; i < kCommandCount; ++i) {
        const CommandInfo& info = command_at(i);
        const bool function = info.name.starts_with("function|");  // libraries, not keys
        if (info.route == Route::kPass && (info.flags & kCmdWrite) != 0 && !function) {
            EXPECT_TRUE(info.first_key > 0 || (info.flags & kCmdMovableKeys) != 0) << info.name;
        }
        if ((info.flags & kCmdBlocking) != 0) {
            EXPECT_TRUE(info.route == Route::kPinned || info.name.starts_with("xread"))
                << info.name;
        }
        if ((info.flags & kCmdPubsub) != 0 && info.name.find("subscribe") != std::string::npos) {
            EXPECT_EQ(info.route, Route::kPinned) << info.name;
        }
    }
}

TEST(CommandTable, NeedsPinning_Xread_OnlyWithBlock) {
    const auto pins = [](std::string_view line) {
        return needs_pinning(command(line), split(line));
    };
    EXPECT_FALSE(pins("XREAD COUNT 2 STREAMS s 0"));
    EXPECT_TRUE(pins("XREAD COUNT 2 BLOCK 0 STREAMS s 0"));
    EXPECT_TRUE(pins("XREAD block 0 STREAMS s 0"));
    EXPECT_FALSE(pins("XREAD STREAMS BLOCK 0"));
    EXPECT_FALSE(pins("XREADGROUP GROUP block block STREAMS s 0"));
    EXPECT_TRUE(pins("XREADGROUP GROUP streams c BLOCK 5 STREAMS s 0"));
    EXPECT_TRUE(pins("BLPOP k 0"));
    EXPECT_TRUE(pins("MULTI"));
    EXPECT_FALSE(pins("GET k"));
}

struct KeyCase {
    std::string_view line;
    std::string_view indexes;
};

TEST(CommandTable, Keys_EachKind_AreFound) {
    const KeyCase cases[] = {
        {"GET k", "1"},
        {"MGET a b c", "1 2 3"},
        {"MSET a 1 b 2", "1 3"},
        {"PING", ""},
        {"DEL a b", "1 2"},
        {"BLPOP a b 0", "1 2"},
        {"BITOP AND d a b", "2 3 4"},
        {"RENAME a b", "1 2"},
        {"OBJECT FREQ k", "2"},
        {"MEMORY USAGE k SAMPLES 5", "2"},
        {"XGROUP CREATE k g 0", "2"},
        {"EVAL s 0", ""},
        {"EVAL s 0 a", ""},
        {"EVAL s 2 a b c", "3 4"},
        {"EVALSHA_RO s 1 a", "3"},
        {"FCALL f 1 a b", "3"},
        {"EVAL s 3 a b", "unknown"},
        {"EVAL s x a b", "unknown"},
        {"EVAL s -1 a", "unknown"},
        {"EVAL s 99999999999999999999 a", "unknown"},
        {"ZUNION 2 a b WITHSCORES", "2 3"},
        {"ZUNIONSTORE d 2 a b WEIGHTS 1 2", "1 3 4"},
        {"ZINTERCARD 1 a", "2"},
        {"ZDIFFSTORE d 1 a", "1 3"},
        {"LMPOP 2 a b LEFT", "2 3"},
        {"BLMPOP 0 2 a b LEFT", "3 4"},
        {"BZMPOP 0 1 a MIN", "3"},
        {"XREAD STREAMS a b 1 2", "2 3"},
        {"XREAD COUNT 5 streams a 1", "4"},
        {"XREADGROUP GROUP g c STREAMS a >", "5"},
        {"XREADGROUP GROUP STREAMS c STREAMS a >", "5"},
        {"SORT k", "1"},
        {"SORT k BY w_* LIMIT 0 5 GET o_* STORE d", "1 10"},
        {"SORT k BY store GET store", "1"},
        {"SORT k STORE a STORE b", "1 5"},
        {"SORT_RO k BY w_*", "1"},
        {"GEORADIUS k 1 1 1 km STORE d", "1 7"},
        {"GEORADIUS k 1 1 1 km STORE d STOREDIST e", "1 7 9"},
        {"GEORADIUSBYMEMBER k m 1 km STOREDIST d", "1 6"},
        {"MIGRATE h 1 k 0 10", "3"},
        {"MIGRATE h 1 k 0 10 AUTH keys COPY", "3"},
        {"MIGRATE h 1 '' 0 10 KEYS a b", "7 8"},
        {"MIGRATE h 1 '' 0 10 AUTH2 u keys KEYS a", "10"},
        {"MIGRATE h 1 k 0 10 KEYS a", "unknown"},
        {"GET", "unknown"},
        {"SSUBSCRIBE c", "1"},
    };
    for (const KeyCase& one : cases) {
        EXPECT_EQ(keys_of(one.line), one.indexes) << one.line;
    }
}

TEST(CommandTable, Keys_AnyArgumentCount_StayInBounds) {
    for (size_t i = 0; i < kCommandCount; ++i) {
        for (const std::string_view filler : {"1", "x", "STREAMS", "STORE", "KEYS", "-1", ""}) {
            for (size_t count = 1; count < 12; ++count) {
                const Words words(count, filler);
                std::vector<uint32_t> indexes;
                const bool known = command_keys(command_at(i), words, indexes);
                EXPECT_TRUE(known || indexes.empty());
                for (const uint32_t index : indexes) {
                    EXPECT_GE(index, 1U);
                    EXPECT_LT(index, count) << kCommands[i].name;
                }
            }
        }
    }
}

std::string reply2(std::string_view line) { return command_reply(split(line), Protocol::kResp2); }
std::string reply3(std::string_view line) { return command_reply(split(line), Protocol::kResp3); }

// Read from Valkey 8.0.1.
TEST(CommandReply, Info_Get_IsValkeys) {
    EXPECT_EQ(
        reply2("COMMAND INFO get"),
        "*1\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*3\r\n"
        "+@read\r\n+@string\r\n+@fast\r\n*0\r\n*1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n+access\r\n"
        "$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\n"
        "index\r\n:1\r\n$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n*6\r\n"
        "$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n");
    EXPECT_EQ(
        reply3("COMMAND INFO xread"),
        "*1\r\n*10\r\n$5\r\nxread\r\n:-4\r\n~3\r\n+readonly\r\n+blocking\r\n+movablekeys\r\n:0\r\n"
        ":0\r\n:0\r\n~4\r\n+@read\r\n+@stream\r\n+@slow\r\n+@blocking\r\n~0\r\n~1\r\n%3\r\n$5\r\n"
        "flags\r\n~2\r\n+RO\r\n+access\r\n$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$7\r\n"
        "keyword\r\n$4\r\nspec\r\n%2\r\n$7\r\nkeyword\r\n$7\r\nSTREAMS\r\n$9\r\nstartfrom\r\n"
        ":1\r\n$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n%3\r\n$7\r\n"
        "lastkey\r\n:-1\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:2\r\n~0\r\n");
    EXPECT_EQ(
        reply3("command info config|get nosuch"),
        "*2\r\n*10\r\n$10\r\nconfig|get\r\n:-3\r\n~4\r\n+admin\r\n+noscript\r\n+loading\r\n"
        "+stale\r\n:0\r\n:0\r\n:0\r\n~3\r\n+@admin\r\n+@slow\r\n+@dangerous\r\n~0\r\n~0\r\n~0\r\n"
        "_\r\n");
}

TEST(CommandReply, Small_Subcommands_AreValkeys) {
    EXPECT_EQ(reply2("COMMAND COUNT"), ":241\r\n");
    EXPECT_EQ(reply2("COMMAND LIST FILTERBY PATTERN xrange*"), "*1\r\n$6\r\nxrange\r\n");
    EXPECT_EQ(reply2("COMMAND LIST FILTERBY ACLCAT hyperloglog"),
              "*5\r\n$5\r\npfadd\r\n$7\r\npfcount\r\n$7\r\npfdebug\r\n$7\r\npfmerge\r\n$10\r\n"
              "pfselftest\r\n");
    EXPECT_EQ(reply2("COMMAND LIST FILTERBY ACLCAT nosuch"), "*0\r\n");
    EXPECT_EQ(reply2("COMMAND LIST FILTERBY MODULE x"), "*0\r\n");
    EXPECT_EQ(reply2("COMMAND LIST FOO"), "-ERR syntax error\r\n");
    EXPECT_EQ(reply2("COMMAND LIST").size(), 5854U);
    EXPECT_EQ(reply2("COMMAND DOCS nosuch"), "*0\r\n");
    EXPECT_EQ(reply3("COMMAND DOCS"), "%0\r\n");
    EXPECT_EQ(reply2("COMMAND FOO"), "-ERR unknown subcommand 'FOO'. Try COMMAND HELP.\r\n");
    EXPECT_EQ(reply2("COMMAND COUNT x"),
              "-ERR wrong number of arguments for 'command|count' command\r\n");
    EXPECT_TRUE(reply2("COMMAND HELP").starts_with("*21\r\n+COMMAND <subcommand>"));
}

TEST(CommandReply, GetKeys_Cases_AreValkeys) {
    const KeyCase cases[] = {
        {"mset a 1 b 2", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"},
        {"ping", "-ERR The command has no key arguments\r\n"},
        {"nosuch a", "-ERR Invalid command specified\r\n"},
        {"get", "-ERR Invalid number of arguments specified for command\r\n"},
        {"eval x 0", "*0\r\n"},
        {"eval x 5 a", "*0\r\n"},
        {"sort a store b store c", "*2\r\n$1\r\na\r\n$1\r\nc\r\n"},
        {"config get a", "-ERR The command has no key arguments\r\n"},
        {"zunion 0 a", "-ERR Invalid arguments specified for command\r\n"},
        {"subscribe x", "-ERR The command has no key arguments\r\n"},
    };
    for (const KeyCase& one : cases) {
        EXPECT_EQ(reply2("COMMAND GETKEYS " + std::string(one.line)), one.indexes) << one.line;
    }
    EXPECT_EQ(reply2("COMMAND GETKEYS"),
              "-ERR wrong number of arguments for 'command|getkeys' command\r\n");
    EXPECT_EQ(reply3("COMMAND GETKEYSANDFLAGS set a b"),
              "*1\r\n*2\r\n$1\r\na\r\n~2\r\n+OW\r\n+update\r\n");
    EXPECT_EQ(reply3("COMMAND GETKEYSANDFLAGS set a b GET"),
              "*1\r\n*2\r\n$1\r\na\r\n~3\r\n+RW\r\n+access\r\n+update\r\n");
    EXPECT_EQ(
        reply2("COMMAND GETKEYSANDFLAGS sort a store b"),
        "*2\r\n*2\r\n$1\r\na\r\n*2\r\n+RO\r\n+access\r\n*2\r\n$1\r\nb\r\n*2\r\n+OW\r\n+update\r\n");
    EXPECT_EQ(reply2("COMMAND GETKEYSANDFLAGS mset a 1 b 2"),
              "*2\r\n*2\r\n$1\r\na\r\n*2\r\n+OW\r\n+update\r\n*2\r\n$1\r\nb\r\n*2\r\n+OW\r\n"
              "+update\r\n");
}

// Reads one RESP value; its end, or nullptr when the bytes are no value.
const char* skip_value(const char* at, const char* end) {
    const char* cr = std::find(at, end, '\r');
    if (end - cr < 2) {
        return nullptr;
    }
    const char type = *at;
    const long count = type == '+' || type == '-' ? 0 : std::strtol(at + 1, nullptr, 10);
    at = cr + 2;
    if (type == '$') {
        return count < 0 ? at : at + count + 2;
    }
    const long elements = type == '%' ? 2 * count : type == '*' || type == '~' ? count : 0;
    for (long i = 0; i < elements && at != nullptr; ++i) {
        at = skip_value(at, end);
    }
    return at;
}

TEST(CommandReply, All_BothProtocols_AreWellFormed) {
    for (const Protocol protocol : {Protocol::kResp2, Protocol::kResp3}) {
        const Words words = {"COMMAND"};
        const std::string reply = command_reply(words, protocol);
        EXPECT_TRUE(reply.starts_with("*241\r\n"));
        EXPECT_EQ(skip_value(reply.data(), reply.data() + reply.size()),
                  reply.data() + reply.size());
    }
}

}  // namespace
}  // namespace cachee::resp
