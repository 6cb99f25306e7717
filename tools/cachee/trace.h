// SPDX-License-Identifier: Apache-2.0
// Reads access traces, one record after the other, plain or zstd-compressed:
//
//   CSV      time_s,key,key_bytes,value_bytes,client,operation,ttl_s   (Twitter's columns, no
//   header) oracle   libCacheSim's oracleGeneral: packed little-endian records of 24 bytes
//            | time u32 | object u64 | size u32 | next access i64 |   all of them reads
//
// The bytes are not trusted: a record that cannot be read is an error that names its place. Not a
// whole-file loader: memory use is a few buffers. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cachee::cli {

enum class TraceOperation : uint8_t { kGet, kSet, kDelete };

struct TraceRecord {
    uint64_t key = 0;          // the number in the trace; other text is hashed to one
    uint64_t time_ms = 0;      // since the first request
    uint32_t key_bytes = 0;    // 0: not known
    uint32_t value_bytes = 0;  // 0: not known
    uint32_t ttl_s = 0;        // 0: none
    TraceOperation operation = TraceOperation::kGet;
};

enum class TraceFormat : uint8_t { kCsv, kOracle };

// By the name without ".zst": ".bin", ".oracleGeneral" and ".oracleGeneral.bin" are oracle, else
// CSV.
TraceFormat trace_format_of(std::string_view path);

// One line, without its line break.
base::Result<TraceRecord> parse_csv_line(std::string_view line);

inline constexpr size_t kOracleRecordBytes = 24;
// REQUIRES: kOracleRecordBytes readable bytes.
TraceRecord parse_oracle_record(const uint8_t* bytes);

class TraceReader {
  public:
    // Compression is recognised by the first bytes, not by the name.
    static base::Result<std::unique_ptr<TraceReader>> open(const std::string& path,
                                                           TraceFormat format);
    virtual ~TraceReader() = default;

    // True: `record` is the next one. False: the end. An error is final.
    virtual base::Result<bool> next(TraceRecord& record) = 0;
    // Share of the file that was read, 0..1; for a progress display.
    virtual double progress() const = 0;
};

}  // namespace cachee::cli
