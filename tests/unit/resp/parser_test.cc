// SPDX-License-Identifier: Apache-2.0
// Tests of resp/parser.h: complete commands, every split point, limits and every error text.
#include "resp/parser.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "resp/encoder.h"

namespace cachee::resp {
namespace {

using Arguments = std::vector<std::string>;

struct Outcome {
    ParseStatus status = ParseStatus::kIncomplete;
    size_t consumed = 0;
    std::string error;
    Arguments arguments;
    bool operator==(const Outcome&) const = default;
};

void PrintTo(const Outcome& outcome, std::ostream* out) {
    *out << "status " << static_cast<int>(outcome.status) << ", consumed " << outcome.consumed
         << ", error '" << outcome.error << "', " << outcome.arguments.size() << " arguments";
}

Outcome outcome_of(const ParseResult& result, const ArgumentList& list) {
    Outcome outcome{result.status, result.consumed, std::string(result.error), {}};
    for (const std::string_view argument : list) {
        outcome.arguments.emplace_back(argument);
    }
    return outcome;
}

// A copy at an address of its own with exactly its size, so that a sanitizer sees every read behind
// it.
class Moved {
  public:
    explicit Moved(std::string_view bytes) : bytes_(new char[bytes.size()]), size_(bytes.size()) {
        std::memcpy(bytes_.get(), bytes.data(), bytes.size());
    }
    operator std::string_view() const { return {bytes_.get(), size_}; }

  private:
    std::unique_ptr<char[]> bytes_;
    size_t size_;
};

Outcome parse_whole(std::string_view bytes, const Limits& limits = {}) {
    const Moved copy(bytes);
    ParseState state;
    ArgumentList list;
    return outcome_of(parse_command(copy, limits, state, list), list);
}

// The pieces end at each of `ends`; stops at the first that is not incomplete.
Outcome parse_pieces(std::string_view bytes, const std::vector<size_t>& ends,
                     const Limits& limits = {}) {
    ParseState state;
    ArgumentList list;
    Outcome outcome;
    for (const size_t end : ends) {
        const Moved copy(bytes.substr(0, end));
        outcome = outcome_of(parse_command(copy, limits, state, list), list);
        if (outcome.status != ParseStatus::kIncomplete) {
            EXPECT_EQ(state.needed_bytes, 0U);
            break;
        }
        EXPECT_GE(state.needed_bytes, end);
        EXPECT_LE(state.scanned_bytes, end);
        EXPECT_TRUE(outcome.arguments.empty());
    }
    return outcome;
}

void expect_same_at_every_split(std::string_view bytes, const Limits& limits = {}) {
    const Outcome whole = parse_whole(bytes, limits);
    std::vector<size_t> every;
    for (size_t end = 0; end <= bytes.size(); ++end) {
        every.push_back(end);
        EXPECT_EQ(parse_pieces(bytes, {end, bytes.size()}, limits), whole) << "split at " << end;
    }
    const Outcome bytewise = parse_pieces(bytes, every, limits);
    EXPECT_EQ(bytewise, whole) << "byte by byte";
}

Outcome complete(size_t consumed, Arguments arguments) {
    return {ParseStatus::kComplete, consumed, "", std::move(arguments)};
}

Outcome failed(std::string error) { return {ParseStatus::kProtocolError, 0, std::move(error), {}}; }

std::string command(const Arguments& arguments) {
    const std::vector<std::string_view> views(arguments.begin(), arguments.end());
    std::string out;
    append_command(out, views);
    return out;
}

TEST(Parser, Array_OneCommand_GivesArgumentsAndConsumed) {
    EXPECT_EQ(parse_whole("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"), complete(20, {"GET", "k"}));
}

TEST(Parser, Array_Pipeline_ConsumesOneCommandOnly) {
    const std::string one = command({"SET", "key", std::string("a\0b\r\n", 5)});
    EXPECT_EQ(parse_whole(one + one),
              complete(one.size(), {"SET", "key", std::string("a\0b\r\n", 5)}));
}

// What the short way takes, the resumed parse (which never goes it) finds too.
TEST(Parser, ShortPair_LengthsAndMutations_AgreeWithTheGeneralWay) {
    const Limits limits{.bulk_bytes_max = 90};
    uint32_t taken = 0;
    for (size_t bytes = 0; bytes <= 120; ++bytes) {
        const std::string whole = command({"GET", std::string(bytes, 'k')}) + "*1";
        for (size_t at = 0; at < std::min<size_t>(whole.size(), 24); ++at) {
            for (const char c : {whole[at], '0', '9', '$', '\r', '\n', '-', '\xff'}) {
                std::string mutated = whole;
                mutated[at] = c;
                ShortPair pair;
                if (!parse_short_pair(mutated, limits, pair)) continue;
                ++taken;
                const Outcome general = parse_pieces(mutated, {1, mutated.size()}, limits);
                EXPECT_EQ(general, complete(pair.consumed, {std::string(pair.name, 3),
                                                            std::string(pair.argument)}));
            }
        }
        for (size_t size = 0; size < whole.size() - 2; ++size) {
            ShortPair pair;
            EXPECT_FALSE(parse_short_pair(std::string_view(whole).substr(0, size), limits, pair));
        }
    }
    EXPECT_GT(taken, 1000u);
}

TEST(Parser, Array_EmptyBulk_IsAnArgument) {
    EXPECT_EQ(parse_whole("*1\r\n$0\r\n\r\n"), complete(10, {""}));
}

TEST(Parser, Array_NoArguments_IsCompleteAndEmpty) {
    EXPECT_EQ(parse_whole("*0\r\n"), complete(4, {}));
    EXPECT_EQ(parse_whole("*0\r\nPING\r\n"), complete(4, {}));
    EXPECT_EQ(parse_whole("*-1\r\n"), complete(5, {}));
    EXPECT_EQ(parse_whole("*-10\r\n*1\r\n"), complete(6, {}));
}

TEST(Parser, Array_BytesAfterCr_AreNotChecked) {
    EXPECT_EQ(parse_whole("*1\rX$1\rYaZZ"), complete(11, {"a"}));
}

TEST(Parser, Empty_Buffer_IsIncomplete) {
    EXPECT_EQ(parse_whole(""), Outcome{});
    EXPECT_EQ(parse_whole("*"), Outcome{});
    EXPECT_EQ(parse_whole("*1\r"), Outcome{});
}

TEST(Parser, Array_Splits_EqualWhole) {
    expect_same_at_every_split(command({"SET", "key", "value"}));
    expect_same_at_every_split(command({"SET", std::string(12, 'k'), std::string(1234, 'v')}));
    expect_same_at_every_split(command({"", "", ""}));
    expect_same_at_every_split(command(Arguments(120, "x")));
    expect_same_at_every_split("*0\r\n");
    expect_same_at_every_split("*-1\r\n");
}

TEST(Parser, Errors_Splits_EqualWhole) {
    for (const char* bytes :
         {"*x\r\n", "*2\r\n$3\r\nGET\r\n:1\r\n", "*1\r\n$-1\r\n", "*1\r\n$x\r\n",
          "*1\r\n$01\r\na\r\n", "*\r\n", "*1\r\n\r\n", "GET \"a\r\n", "GET 'a'b\r\n"}) {
        SCOPED_TRACE(bytes);
        EXPECT_EQ(parse_whole(bytes).status, ParseStatus::kProtocolError);
        expect_same_at_every_split(bytes);
    }
}

TEST(Parser, MultibulkLength_Invalid_SaysSo) {
    for (const char* bytes : {"*x\r\n", "*\r\n", "*+1\r\n", "* 1\r\n", "*01\r\n", "*00\r\n",
                              "*-0\r\n", "*1 \r\n", "*1048577\r\n", "*99999999999999999999\r\n",
                              "*--1\r\n", "*-\r\n", "*1a\r\n", "*0x1\r\n"}) {
        EXPECT_EQ(parse_whole(bytes), failed("Protocol error: invalid multibulk length")) << bytes;
    }
    EXPECT_EQ(parse_whole(std::string_view("*1\0\r\n", 5)),
              failed("Protocol error: invalid multibulk length"));
}

TEST(Parser, BulkLength_Invalid_SaysSo) {
    for (const char* bytes : {"$x\r\n", "$\r\n", "$+1\r\n", "$-1\r\n", "$01\r\n", "$536870913\r\n",
                              "$99999999999999999999\r\n", "$1.0\r\n", "$ 1\r\n"}) {
        EXPECT_EQ(parse_whole(std::string("*1\r\n") + bytes),
                  failed("Protocol error: invalid bulk length"))
            << bytes;
    }
}

TEST(Parser, ExpectedDollar_EachByte_IsNamed) {
    for (int byte = 0; byte < 256; ++byte) {
        const char c = static_cast<char>(byte);
        if (c == '$') {
            continue;
        }
        std::string text = "Protocol error: expected '$', got '";
        if (c != '\0') {
            text += c == '\r' || c == '\n' ? ' ' : c;
            text += '\'';
        }
        EXPECT_EQ(parse_whole(std::string("*1\r\n") + c + "3\r\n"), failed(text)) << byte;
    }
}

TEST(Parser, ExpectedDollar_Text_OutlivesTheCall) {
    const auto error_for = [](std::string_view bytes) {
        ParseState state;
        ArgumentList list;
        return parse_command(bytes, {}, state, list).error;
    };
    const std::string_view first = error_for("*1\r\n:1\r\n");
    const std::string_view second = error_for("*1\r\n+1\r\n");
    EXPECT_EQ(first, "Protocol error: expected '$', got ':'");
    EXPECT_EQ(second, "Protocol error: expected '$', got '+'");
}

TEST(Parser, CountLine_TooLong_IsAnErrorOnlyPastTheLimit) {
    Limits limits;
    limits.inline_bytes_max = 100;
    const std::string digits(100, '1');
    EXPECT_EQ(parse_whole("*" + digits.substr(1), limits), Outcome{});
    EXPECT_EQ(parse_whole("*" + digits, limits),
              failed("Protocol error: too big mbulk count string"));
    EXPECT_EQ(parse_whole("*1\r\n$" + digits.substr(1), limits), Outcome{});
    EXPECT_EQ(parse_whole("*1\r\n$" + digits, limits),
              failed("Protocol error: too big bulk count string"));
    expect_same_at_every_split("*" + digits + "1\r\n", limits);
    expect_same_at_every_split("*1\r\n$" + digits + "1\r\n", limits);
    expect_same_at_every_split("*1\r\n$" + digits.substr(1) + "\r\n", limits);
}

TEST(Parser, Inline_TooLong_IsAnErrorOnlyPastTheLimit) {
    Limits limits;
    limits.inline_bytes_max = 100;
    EXPECT_EQ(parse_whole(std::string(100, 'a'), limits), Outcome{});
    EXPECT_EQ(parse_whole(std::string(101, 'a'), limits),
              failed("Protocol error: too big inline request"));
    EXPECT_EQ(parse_whole(std::string(100, 'a') + "\n", limits),
              complete(101, {std::string(100, 'a')}));
    EXPECT_EQ(parse_whole(std::string(101, 'a') + "\n", limits),
              failed("Protocol error: too big inline request"));
    expect_same_at_every_split(std::string(100, 'a') + "\n", limits);
    expect_same_at_every_split(std::string(101, 'a') + "\n", limits);
}

TEST(Parser, Defaults_InlineLimit_Is64KiB) {
    EXPECT_EQ(parse_whole(std::string(65536, 'a')), Outcome{});
    EXPECT_EQ(parse_whole(std::string(65537, 'a')),
              failed("Protocol error: too big inline request"));
}

TEST(Parser, Limits_Arguments_AreInclusive) {
    Limits limits;
    limits.arguments_max = 3;
    EXPECT_EQ(parse_whole(command({"a", "b", "c"}), limits), complete(25, {"a", "b", "c"}));
    EXPECT_EQ(parse_whole(command({"a", "b", "c", "d"}), limits),
              failed("Protocol error: invalid multibulk length"));
    EXPECT_EQ(parse_whole("a b c\r\n", limits), complete(7, {"a", "b", "c"}));
    EXPECT_EQ(parse_whole("a b c d\r\n", limits), failed("Protocol error: too big inline request"));
}

TEST(Parser, Limits_BulkBytes_AreInclusive) {
    Limits limits;
    limits.bulk_bytes_max = 5;
    EXPECT_EQ(parse_whole("*1\r\n$5\r\nabcde\r\n", limits), complete(15, {"abcde"}));
    EXPECT_EQ(parse_whole("*1\r\n$6\r\n", limits), failed("Protocol error: invalid bulk length"));
    EXPECT_EQ(parse_whole("*1\r\n$6\r\nabcdef\r\n", limits),
              failed("Protocol error: invalid bulk length"));
}

TEST(Parser, Limits_HugeBulk_IsWaitedForWithoutOverflow) {
    Limits limits;
    limits.bulk_bytes_max = UINT64_MAX;
    const Moved bytes("*1\r\n$999999999999999999\r\nabc");
    ParseState state;
    ArgumentList list;
    EXPECT_EQ(parse_command(bytes, limits, state, list).status, ParseStatus::kIncomplete);
    EXPECT_EQ(state.needed_bytes, 999999999999999999U + 2 + 25);
    EXPECT_EQ(parse_whole("*1\r\n$9999999999999999999\r\n", limits),
              failed("Protocol error: invalid bulk length"));
}

struct InlineCase {
    std::string_view line;
    Arguments arguments;
};

TEST(Parser, Inline_Lines_SplitLikeRedis) {
    using namespace std::string_view_literals;
    const InlineCase cases[] = {
        {"PING\r\n", {"PING"}},
        {"PING\n", {"PING"}},
        {"\r\n", {}},
        {"\n", {}},
        {"   \t \r\n", {}},
        {"  SET  key\tvalue  \r\n", {"SET", "key", "value"}},
        {"SET k \"a b\"\r\n", {"SET", "k", "a b"}},
        {"SET k ''\r\n", {"SET", "k", ""}},
        {"SET \"\" \"\"\r\n", {"SET", "", ""}},
        {R"(SET k "\x41\xfF\x00\n\r\t\b\a\\\"\q")"
         "\n",
         {"SET", "k", std::string("A\xff\0\n\r\t\b\a\\\"q", 11)}},
        {R"(SET k "\xg1\x4")"
         "\n",
         {"SET", "k", "xg1x4"}},
        {R"(SET k 'it\'s \n "raw"')"
         "\n",
         {"SET", "k", R"(it's \n "raw")"}},
        {"foo\"bar\" baz\n", {"foobar", "baz"}},
        {"a'b c' d\n", {"ab c", "d"}},
        {"GET a\0b\r\n"sv, {"GET", "a"}},
        {"GET \0\"\r\n"sv, {"GET"}},
        {"a\vb \v c\n", {"a\vb", "c"}},
        {"a\rb\n", {"a", "b"}},
        {"GET \xff\xfe\n", {"GET", "\xff\xfe"}},
        {"\"a\"\t'b'\n", {"a", "b"}},
    };
    for (const InlineCase& one : cases) {
        SCOPED_TRACE(std::string(one.line));
        EXPECT_EQ(parse_whole(one.line), complete(one.line.size(), one.arguments));
        EXPECT_EQ(parse_whole(std::string(one.line) + "*1\r\n"),
                  complete(one.line.size(), one.arguments));
        expect_same_at_every_split(one.line);
    }
}

TEST(Parser, Inline_Quotes_UnbalancedIsAnError) {
    for (const char* line :
         {"GET \"a\r\n", "GET 'a\r\n", "GET \"a\"b\r\n", "GET 'a'b\r\n", "GET \"a\\\"\r\n", "\"\n",
          "'\n", "a\"\n", "GET 'a\\'\n", "\"a\\\n", "\"a\"\"b\"\n"}) {
        EXPECT_EQ(parse_whole(line), failed("Protocol error: unbalanced quotes in request"))
            << line;
    }
}

TEST(Parser, Inline_ManyQuoted_ViewsStayValid) {
    std::string line;
    Arguments expected;
    for (int i = 0; i < 3000; ++i) {
        line += "'" + std::to_string(i) + "' ";
        expected.push_back(std::to_string(i));
    }
    EXPECT_EQ(parse_whole(line + "\n"), complete(line.size() + 1, expected));
}

TEST(Parser, State_AfterError_IsFresh) {
    ParseState state;
    ArgumentList list;
    EXPECT_EQ(parse_command("*2\r\n$1\r\na\r\n", {}, state, list).status, ParseStatus::kIncomplete);
    EXPECT_TRUE(state.header_seen);
    EXPECT_EQ(parse_command("*2\r\n$1\r\na\r\n:\r\n", {}, state, list).status,
              ParseStatus::kProtocolError);
    EXPECT_FALSE(state.header_seen);
    EXPECT_EQ(parse_command("PING\r\n", {}, state, list).status, ParseStatus::kComplete);
    EXPECT_EQ(list.size(), 1U);
}

TEST(Parser, List_Reused_DoesNotAllocate) {
    ParseState state;
    ArgumentList list;
    const std::string get = command({"GET", "0123456789abcdef"});
    ASSERT_EQ(parse_command(get, {}, state, list).status, ParseStatus::kComplete);
    const std::string_view* const storage = list.begin();
    for (int i = 0; i < 100; ++i) {
        ASSERT_EQ(parse_command(get, {}, state, list).status, ParseStatus::kComplete);
    }
    EXPECT_EQ(list.begin(), storage);
    EXPECT_EQ(list[1].data(), get.data() + get.size() - 18);
}

// Quadratic work over these pieces would be 5e12 byte visits: it would not end within the test's
// time.
TEST(Parser, Bulk_100MBInPieces_WorkIsLinear) {
    const std::string bytes = command({"SET", "k", std::string(100'000'000, 'v')});
    ParseState state;
    ArgumentList list;
    size_t end = 0;
    ParseResult result;
    uint64_t calls_past_hint = 0;
    while (result.status == ParseStatus::kIncomplete && end < bytes.size()) {
        end = std::min(end + 1024, bytes.size());
        calls_past_hint += end >= state.needed_bytes;
        result = parse_command(std::string_view(bytes).substr(0, end), {}, state, list);
    }
    EXPECT_EQ(result.status, ParseStatus::kComplete);
    EXPECT_EQ(result.consumed, bytes.size());
    EXPECT_EQ(list[2].size(), 100'000'000U);
    EXPECT_LE(calls_past_hint, 3U);
}

TEST(Parser, ManyArguments_InPieces_WorkIsLinear) {
    const std::string bytes = command(Arguments(200'000, "abc"));
    ParseState state;
    ArgumentList list;
    ParseResult result;
    for (size_t end = 100; result.status == ParseStatus::kIncomplete; end += 100) {
        result = parse_command(std::string_view(bytes).substr(0, end), {}, state, list);
    }
    EXPECT_EQ(result.status, ParseStatus::kComplete);
    EXPECT_EQ(result.consumed, bytes.size());
    EXPECT_EQ(list.size(), 200'000U);
}

// A line that grows byte by byte is searched once: the search goes on where it ended.
TEST(Parser, LongLine_Bytewise_IsSearchedOnce) {
    ParseState state;
    ArgumentList list;
    const std::string line = "*" + std::string(60'000, '1');
    for (size_t end = 1; end <= line.size(); ++end) {
        ASSERT_EQ(parse_command(std::string_view(line).substr(0, end), {}, state, list).status,
                  ParseStatus::kIncomplete);
        ASSERT_EQ(state.searched_bytes, end);
    }
}

}  // namespace
}  // namespace cachee::resp
