// SPDX-License-Identifier: Apache-2.0
// Trace formats, plain and compressed, whole and damaged.
#include "tools/cachee/trace.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zstd.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "base/rng.h"

namespace cachee::cli {
namespace {

class TraceFile : public ::testing::Test {
  protected:
    std::string path_ = ::testing::TempDir() + "cachee-trace-" + std::to_string(::getpid());
    ~TraceFile() override { ::unlink(path_.c_str()); }

    void write(const std::string& bytes) {
        std::FILE* file = std::fopen(path_.c_str(), "wb");
        ASSERT_NE(file, nullptr);
        ASSERT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
        std::fclose(file);
    }

    // All records, or the error text in `error`.
    std::vector<TraceRecord> read(TraceFormat format, std::string& error) {
        std::vector<TraceRecord> records;
        auto reader = TraceReader::open(path_, format);
        if (!reader) {
            error = reader.error().message;
            return records;
        }
        TraceRecord record;
        while (true) {
            auto more = reader.value()->next(record);
            if (!more) {
                error = more.error().message;
                return records;
            }
            if (!more.value()) return records;
            records.push_back(record);
        }
    }
};

std::string compress(const std::string& bytes) {
    std::string out(ZSTD_compressBound(bytes.size()), '\0');
    out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3));
    return out;
}

std::string oracle_record(uint32_t time_s, uint64_t object, uint32_t size, int64_t next) {
    std::string bytes(kOracleRecordBytes, '\0');
    std::memcpy(bytes.data(), &time_s, 4);
    std::memcpy(bytes.data() + 4, &object, 8);
    std::memcpy(bytes.data() + 12, &size, 4);
    std::memcpy(bytes.data() + 16, &next, 8);
    return bytes;
}

TEST(ParseCsvLine, AllColumns_AreRead) {
    auto record = parse_csv_line("12.345,18446744073709551615,67,1500,9,set,3600");
    ASSERT_TRUE(record) << record.error().message;
    EXPECT_EQ(record->time_ms, 12345U);
    EXPECT_EQ(record->key, UINT64_MAX);
    EXPECT_EQ(record->key_bytes, 67U);
    EXPECT_EQ(record->value_bytes, 1500U);
    EXPECT_EQ(record->operation, TraceOperation::kSet);
    EXPECT_EQ(record->ttl_s, 3600U);
}

TEST(ParseCsvLine, KeyThatIsText_IsHashedAndMayHoldCommas) {
    auto first = parse_csv_line("0,user:1,x,9,5,0,get,0");
    auto second = parse_csv_line("0,user:1,y,9,5,0,get,0");
    ASSERT_TRUE(first) << first.error().message;
    ASSERT_TRUE(second);
    EXPECT_NE(first->key, second->key);
    EXPECT_EQ(first->key_bytes, 9U);
}

TEST(ParseCsvLine, TwittersOperations_AreReadsOrWrites) {
    for (const char* name : {"get", "gets"}) {
        EXPECT_EQ(parse_csv_line(std::string("0,1,0,0,0,") + name + ",0")->operation,
                  TraceOperation::kGet);
    }
    for (const char* name : {"set", "add", "replace", "cas", "append", "prepend", "incr", "decr"}) {
        EXPECT_EQ(parse_csv_line(std::string("0,1,0,0,0,") + name + ",0")->operation,
                  TraceOperation::kSet);
    }
    EXPECT_EQ(parse_csv_line("0,1,0,0,0,delete,0")->operation, TraceOperation::kDelete);
}

TEST(ParseCsvLine, BadLines_NameWhatIsWrong) {
    const std::pair<const char*, const char*> cases[] = {
        {"", "columns"},
        {"0,1,2,3,4,get", "columns"},
        {"x,1,0,0,0,get,0", "time_s"},
        {"-1,1,0,0,0,get,0", "time_s"},
        {"nan,1,0,0,0,get,0", "time_s"},
        {"1e300,1,0,0,0,get,0", "time_s"},
        {"0,,0,0,0,get,0", "key is empty"},
        {"0,1,-4,0,0,get,0", "key_bytes"},
        {"0,1,0,4294967296,0,get,0", "value_bytes"},
        {"0,1,0,1.5,0,get,0", "value_bytes"},
        {"0,1,0,0,0,fetch,0", "fetch"},
        {"0,1,0,0,0,get,soon", "ttl_s"},
    };
    for (const auto& [line, part] : cases) {
        auto record = parse_csv_line(line);
        ASSERT_FALSE(record) << line;
        EXPECT_NE(record.error().message.find(part), std::string::npos)
            << line << ": " << record.error().message;
    }
}

TEST(ParseCsvLine, RandomBytes_NeverCrash) {
    const uint64_t seed = base::random_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    base::Rng rng(seed);
    int accepted = 0;
    for (int i = 0; i < 20000; ++i) {
        std::string line = "0.5,123,4,5,6,get,7";
        for (uint64_t edits = rng.below(4); edits > 0; --edits) {
            line[rng.below(line.size())] = static_cast<char>(rng.below(256));
        }
        accepted += static_cast<bool>(parse_csv_line(line));
    }
    EXPECT_GT(accepted, 0);
    EXPECT_LT(accepted, 20000);
}

TEST_F(TraceFile, Csv_PlainAndCompressed_GiveTheSame) {
    std::string text;
    for (int i = 0; i < 50000; ++i) {
        text += std::to_string(i) + ".000," + std::to_string(i * 7) + ",0,100,0,get,0\n";
    }
    std::string error;
    write(text);
    const auto plain = read(TraceFormat::kCsv, error);
    ASSERT_EQ(error, "");
    write(compress(text));
    const auto compressed = read(TraceFormat::kCsv, error);
    ASSERT_EQ(error, "");
    ASSERT_EQ(plain.size(), 50000U);
    ASSERT_EQ(compressed.size(), 50000U);
    EXPECT_EQ(plain[49999].key, 49999U * 7);
    EXPECT_EQ(compressed[49999].key, 49999U * 7);
}

TEST_F(TraceFile, Csv_LastLineWithoutBreakAndCrLf_IsRead) {
    write("0,1,0,0,0,get,0\r\n\n0,2,0,0,0,set,0");
    std::string error;
    const auto records = read(TraceFormat::kCsv, error);
    ASSERT_EQ(error, "");
    ASSERT_EQ(records.size(), 2U);
    EXPECT_EQ(records[1].key, 2U);
}

TEST_F(TraceFile, Csv_BadLine_IsNamedByFileAndLine) {
    write("0,1,0,0,0,get,0\nnonsense\n");
    std::string error;
    EXPECT_EQ(read(TraceFormat::kCsv, error).size(), 1U);
    EXPECT_NE(error.find(path_ + ":2:"), std::string::npos) << error;
}

TEST_F(TraceFile, Csv_EndlessLine_IsAnErrorAndNotMemory) {
    write(std::string(1 << 20, 'x'));
    std::string error;
    read(TraceFormat::kCsv, error);
    EXPECT_NE(error.find("no CSV trace"), std::string::npos) << error;
}

TEST_F(TraceFile, Zstd_CutAnywhere_IsAnErrorOrAPrefix) {
    std::string text;
    base::Rng rng(7);
    for (int i = 0; i < 2000; ++i) text += "0," + std::to_string(rng.next()) + ",0,1,0,get,0\n";
    const std::string whole = compress(text);
    for (size_t cut = 1; cut < whole.size(); cut += 997) {
        write(whole.substr(0, cut));
        std::string error;
        EXPECT_LT(read(TraceFormat::kCsv, error).size(), 2000U);
        EXPECT_NE(error, "") << "cut at " << cut;
    }
}

TEST_F(TraceFile, Zstd_DamagedBody_IsAnError) {
    std::string text;
    base::Rng rng(7);
    for (int i = 0; i < 2000; ++i) text += "0," + std::to_string(rng.next()) + ",0,1,0,get,0\n";
    std::string bytes = compress(text);
    for (size_t i = bytes.size() / 2; i < bytes.size() / 2 + 64; ++i)
        bytes[i] = static_cast<char>(~bytes[i]);
    write(bytes);
    std::string error;
    read(TraceFormat::kCsv, error);
    EXPECT_NE(error, "");
}

TEST_F(TraceFile, Oracle_PlainAndCompressed_AreRead) {
    const std::string bytes =
        oracle_record(1000, UINT64_MAX, 77, -1) + oracle_record(1003, 5, 0, 2);
    for (const std::string& content : {bytes, compress(bytes)}) {
        write(content);
        std::string error;
        const auto records = read(TraceFormat::kOracle, error);
        ASSERT_EQ(error, "");
        ASSERT_EQ(records.size(), 2U);
        EXPECT_EQ(records[0].key, UINT64_MAX);
        EXPECT_EQ(records[0].value_bytes, 77U);
        EXPECT_EQ(records[0].time_ms, 0U);
        EXPECT_EQ(records[1].time_ms, 3000U);
        EXPECT_EQ(records[1].operation, TraceOperation::kGet);
    }
}

TEST_F(TraceFile, Oracle_CutRecord_IsNamed) {
    write(oracle_record(0, 1, 1, 0) + oracle_record(0, 2, 1, 0).substr(0, 23));
    std::string error;
    EXPECT_EQ(read(TraceFormat::kOracle, error).size(), 1U);
    EXPECT_NE(error.find("record 1 is cut short (23 of 24 bytes)"), std::string::npos) << error;
}

TEST_F(TraceFile, Open_NoFile_SaysWhy) {
    std::string error;
    read(TraceFormat::kCsv, error);
    EXPECT_NE(error.find("No such file"), std::string::npos) << error;
}

TEST_F(TraceFile, Open_EmptyFile_IsTheEnd) {
    write("");
    std::string error;
    EXPECT_TRUE(read(TraceFormat::kCsv, error).empty());
    EXPECT_EQ(error, "");
}

TEST(TraceFormatOf, Names_ChooseTheFormat) {
    EXPECT_EQ(trace_format_of("a/b.csv.zst"), TraceFormat::kCsv);
    EXPECT_EQ(trace_format_of("trace"), TraceFormat::kCsv);
    EXPECT_EQ(trace_format_of("w.oracleGeneral.bin.zst"), TraceFormat::kOracle);
    EXPECT_EQ(trace_format_of("w.oracleGeneral"), TraceFormat::kOracle);
}

}  // namespace
}  // namespace cachee::cli
