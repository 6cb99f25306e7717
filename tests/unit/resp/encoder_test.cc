// SPDX-License-Identifier: Apache-2.0
// Tests of resp/encoder.h: both protocols, bounds, doubles as Valkey 8 prints them, commands.
#include "resp/encoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/rng.h"
#include "resp/parser.h"

namespace cachee::resp {
namespace {

template <typename Write>
std::string written(Write write) {
    std::vector<uint8_t> buffer(4096, 0xee);
    const uint8_t* end = write(buffer.data());
    return {reinterpret_cast<const char*>(buffer.data()), static_cast<size_t>(end - buffer.data())};
}

template <typename Append>
std::string both(Append append) {
    std::string out2;
    std::string out3;
    Writer writer2(out2, Protocol::kResp2);
    Writer writer3(out3, Protocol::kResp3);
    append(writer2);
    append(writer3);
    return out2 + "|" + out3;
}

TEST(Encoder, RawWriters_Extremes_FitTheirBounds) {
    for (uint64_t bytes = 0; bytes < 1100; ++bytes) {
        EXPECT_EQ(written([bytes](uint8_t* out) { return write_bulk_header(out, bytes); }),
                  "$" + std::to_string(bytes) + "\r\n");
    }
    for (uint32_t bytes = 0; bytes <= kShortBulkBytesMax; ++bytes) {
        const BulkHeader header = short_bulk_header(bytes);
        char word[sizeof header.word];
        std::memcpy(word, &header.word, sizeof word);
        ASSERT_EQ(std::string_view(word, header.bytes), "$" + std::to_string(bytes) + "\r\n");
    }
    const std::string header =
        written([](uint8_t* out) { return write_bulk_header(out, UINT64_MAX); });
    EXPECT_EQ(header, "$18446744073709551615\r\n");
    EXPECT_LE(header.size(), kBulkHeaderBytesMax);
    EXPECT_EQ(written([](uint8_t* out) { return write_integer(out, INT64_MIN); }),
              ":-9223372036854775808\r\n");
    EXPECT_EQ(written([](uint8_t* out) { return write_integer(out, INT64_MAX); }),
              ":9223372036854775807\r\n");
    EXPECT_EQ(written([](uint8_t* out) { return write_aggregate_header(out, '%', 12); }),
              "%12\r\n");
    EXPECT_EQ(written([](uint8_t* out) { return write_bulk(out, ""); }), "$0\r\n\r\n");
    EXPECT_EQ(written([](uint8_t* out) { return write_bulk(out, std::string_view("a\0\r\n", 4)); }),
              std::string("$4\r\na\0\r\n\r\n", 10));
}

TEST(Encoder, Null_EachProtocol_HasItsForm) {
    EXPECT_EQ(null_reply(Protocol::kResp2), "$-1\r\n");
    EXPECT_EQ(null_reply(Protocol::kResp3), "_\r\n");
    EXPECT_EQ(both([](Writer& w) { w.null(); }), "$-1\r\n|_\r\n");
}

TEST(Encoder, Writer_SharedTypes_AreTheSame) {
    EXPECT_EQ(both([](Writer& w) { w.simple("OK"); }), "+OK\r\n|+OK\r\n");
    EXPECT_EQ(both([](Writer& w) { w.integer(-7); }), ":-7\r\n|:-7\r\n");
    EXPECT_EQ(both([](Writer& w) { w.bulk("ab"); }), "$2\r\nab\r\n|$2\r\nab\r\n");
    EXPECT_EQ(both([](Writer& w) { w.array(3); }), "*3\r\n|*3\r\n");
}

TEST(Encoder, Writer_LineEndsInTexts_BecomeSpaces) {
    EXPECT_EQ(both([](Writer& w) { w.error("ERR a\r\nb"); }), "-ERR a  b\r\n|-ERR a  b\r\n");
    EXPECT_EQ(both([](Writer& w) { w.simple("a\nb"); }), "+a b\r\n|+a b\r\n");
}

TEST(Encoder, Writer_Resp3Types_AreConvertedForResp2) {
    EXPECT_EQ(both([](Writer& w) { w.boolean(true).boolean(false); }), ":1\r\n:0\r\n|#t\r\n#f\r\n");
    EXPECT_EQ(both([](Writer& w) { w.map(2); }), "*4\r\n|%2\r\n");
    EXPECT_EQ(both([](Writer& w) { w.set(2); }), "*2\r\n|~2\r\n");
    EXPECT_EQ(both([](Writer& w) { w.push(2); }), "*2\r\n|>2\r\n");
    EXPECT_EQ(both([](Writer& w) { w.verbatim("txt", "a\r\nb"); }),
              "$4\r\na\r\nb\r\n|=8\r\ntxt:a\r\nb\r\n");
    EXPECT_EQ(both([](Writer& w) { w.verbatim("longer", ""); }), "$0\r\n\r\n|=4\r\nlon:\r\n");
    EXPECT_EQ(both([](Writer& w) { w.big_number("-123456789012345678901234567890"); }),
              "$31\r\n-123456789012345678901234567890\r\n|(-123456789012345678901234567890\r\n");
}

struct DoubleCase {
    double value;
    std::string_view text;
};

// All but nan and -0 were read from ZSCORE of Valkey 8.0.1.
constexpr DoubleCase kDoubles[] = {
    {1e21, "1e+21"},
    {0.1, "0.1"},
    {-1.5e-9, "-1.5e-9"},
    {1e17, "100000000000000000"},
    {123456789012345680.0, "123456789012345680"},
    {1e22, "1e+22"},
    {0.0001, "0.0001"},
    {0.00001, "0.00001"},
    {0.000001234, "1.234e-6"},
    {1.7976931348623157e308, "1.7976931348623157e+308"},
    {5e-324, "5e-324"},
    {3.0, "3"},
    {0.0, "0"},
    {-0.0, "-0"},
    {0x1p62, "4611686018427387904"},
    {-100.0, "-100"},
    {HUGE_VAL, "inf"},
    {-HUGE_VAL, "-inf"},
    {0.30000000000000004, "0.30000000000000004"},
    {1234567.891, "1234567.891"},
    {100000000.0, "100000000"},
    {12345678901234567890.0, "12345678901234567000"},
    {1e-7, "1e-7"},
    {1.5e10, "15000000000"},
    {1.5e300, "1.5e+300"},
    {-2.5e-300, "-2.5e-300"},
};

TEST(Encoder, Real_KnownValues_AsValkeyPrintsThem) {
    for (const DoubleCase& one : kDoubles) {
        const std::string text(one.text);
        EXPECT_EQ(both([&one](Writer& w) { w.real(one.value); }),
                  "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n|," + text + "\r\n");
    }
    const std::string nan = both([](Writer& w) { w.real(std::nan("")).real(-std::nan("")); });
    EXPECT_EQ(nan, "$3\r\nnan\r\n$3\r\nnan\r\n|,nan\r\n,nan\r\n");
}

TEST(Encoder, Real_RandomBits_ReadBackTheSame) {
    const uint64_t seed = base::random_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    base::Rng rng(seed);
    for (int i = 0; i < 20000; ++i) {
        double value = 0;
        const uint64_t bits = rng.next();
        std::memcpy(&value, &bits, sizeof value);
        if (!std::isfinite(value)) {
            continue;
        }
        value = rng.chance(0.5) ? value : std::ldexp(static_cast<double>(bits >> 40), -12);
        std::string out;
        Writer(out, Protocol::kResp3).real(value);
        ASSERT_EQ(std::strtod(out.c_str() + 1, nullptr), value) << out;
        ASSERT_LE(out.size(), 32U);
    }
}

TEST(Encoder, Command_AllForms_AreTheSameBytes) {
    const std::string big(100'000, 'x');
    const std::vector<std::vector<std::string_view>> commands = {
        {},
        {"PING"},
        {"SET", "k", ""},
        {"SET", "k", big},
        std::vector<std::string_view>(1000, "ab")};
    for (const auto& arguments : commands) {
        std::string appended = "before";
        append_command(appended, arguments);
        std::vector<uint8_t> raw(command_bytes(arguments) + 1, 0xee);
        const uint8_t* end = write_command(raw.data(), arguments);
        ASSERT_EQ(end, raw.data() + raw.size() - 1);
        EXPECT_EQ(*end, 0xee);
        EXPECT_EQ(appended.substr(6), std::string(raw.begin(), raw.end() - 1));
        ParseState state;
        ArgumentList list;
        const ParseResult result =
            parse_command(std::string_view(appended).substr(6), {}, state, list);
        ASSERT_EQ(result.status, ParseStatus::kComplete);
        EXPECT_EQ(result.consumed, appended.size() - 6);
        EXPECT_TRUE(std::equal(list.begin(), list.end(), arguments.begin(), arguments.end()));
    }
}

}  // namespace
}  // namespace cachee::resp
