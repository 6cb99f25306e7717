// SPDX-License-Identifier: Apache-2.0
// Numbers and JSON as the CLI prints them.
#include "tools/cachee/text.h"

#include <gtest/gtest.h>

#include <limits>

namespace cachee::cli {
namespace {

TEST(Grouped, AnyNumber_HasCommaEveryThreeDigits) {
    EXPECT_EQ(grouped(0), "0");
    EXPECT_EQ(grouped(999), "999");
    EXPECT_EQ(grouped(1000), "1,000");
    EXPECT_EQ(grouped(1234567), "1,234,567");
    EXPECT_EQ(grouped(UINT64_MAX), "18,446,744,073,709,551,615");
}

TEST(HumanCount, AroundUnitBorders_NeverPrintsFourDigitsBeforeThePoint) {
    EXPECT_EQ(human_count(0), "0");
    EXPECT_EQ(human_count(999), "999");
    EXPECT_EQ(human_count(999.96), "1.0k");
    EXPECT_EQ(human_count(12345), "12.3k");
    EXPECT_EQ(human_count(999960), "1.0M");
    EXPECT_EQ(human_count(2.5e9), "2.5G");
    EXPECT_EQ(human_count(1e18), "1000000.0T");
}

TEST(HumanBytes, PowersOf1024_HaveNoFraction) {
    EXPECT_EQ(human_bytes(0), "0 B");
    EXPECT_EQ(human_bytes(1023), "1023 B");
    EXPECT_EQ(human_bytes(256 << 20), "256 MiB");
    EXPECT_EQ(human_bytes((3 << 20) / 2), "1.5 MiB");
}

TEST(HumanNs, EachUnit_IsChosenBySize) {
    EXPECT_EQ(human_ns(850), "850 ns");
    EXPECT_EQ(human_ns(12345), "12.3 us");
    EXPECT_EQ(human_ns(999960), "1.0 ms");
    EXPECT_EQ(human_ns(4'000'000), "4.0 ms");
    EXPECT_EQ(human_ns(90'000'000'000), "90.0 s");
}

TEST(HumanUptime, MoreThanADay_ShowsDays) {
    EXPECT_EQ(human_uptime(0), "00:00:00");
    EXPECT_EQ(human_uptime(3 * 86400 + 4 * 3600 + 5 * 60 + 6), "3d 04:05:06");
}

TEST(Percent, NotKnown_IsADash) {
    EXPECT_EQ(percent(ratio_percent(0, 0)), "-");
    EXPECT_EQ(percent(ratio_percent(1, 3)), "33.3");
    EXPECT_EQ(percent(ratio_percent(5, 5)), "100.0");
}

TEST(JsonEscape, ControlBytesQuotesAndHighBytes_AreEscaped) {
    EXPECT_EQ(json_escape("a\"b\\c\n\x01\xff"), "a\\\"b\\\\c\\u000a\\u0001\\u00ff");
}

TEST(JsonObject, EveryKindOfMember_KeepsTheOrder) {
    JsonObject object;
    object.text("t", "x").number("n", UINT64_MAX).real("r", 1.5).boolean("b", false).null("z");
    JsonArray array;
    array.raw("1").raw("2");
    object.raw("a", array.close());
    EXPECT_EQ(object.close(),
              R"({"t":"x","n":18446744073709551615,"r":1.5,"b":false,"z":null,"a":[1,2]})");
}

TEST(JsonObject, NotFinite_IsNull) {
    JsonObject object;
    object.real("i", std::numeric_limits<double>::infinity());
    EXPECT_EQ(object.close(), R"({"i":null})");
    EXPECT_EQ(JsonObject().close(), "{}");
}

}  // namespace
}  // namespace cachee::cli
