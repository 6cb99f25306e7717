// SPDX-License-Identifier: Apache-2.0
// Trace formats and the zstd stream below them; see trace.h.
#include "tools/cachee/trace.h"

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "base/hash.h"

namespace cachee::cli {

namespace {

constexpr size_t kLineBytesMax = 64 * 1024;
constexpr size_t kColumns = 7;

// Bytes of a file, decompressed when it starts with zstd's magic number.
class ByteSource {
  public:
    static base::Result<std::unique_ptr<ByteSource>> open(const std::string& path) {
        std::unique_ptr<ByteSource> source(new ByteSource(path));
        source->file_ = std::fopen(path.c_str(), "rb");
        if (source->file_ == nullptr) {
            return base::Error{fmt::format("cannot open {}: {}", path, std::strerror(errno))};
        }
        if (std::fseek(source->file_, 0, SEEK_END) == 0) {
            source->file_bytes_ = std::max(0L, std::ftell(source->file_));
            std::rewind(source->file_);
        }
        source->input_.resize(ZSTD_DStreamInSize());
        source->input_bytes_ =
            std::fread(source->input_.data(), 1, source->input_.size(), source->file_);
        constexpr std::array<uint8_t, 4> kZstdMagic = {0x28, 0xb5, 0x2f, 0xfd};
        if (source->input_bytes_ >= kZstdMagic.size() &&
            std::memcmp(source->input_.data(), kZstdMagic.data(), kZstdMagic.size()) == 0) {
            source->stream_ = ZSTD_createDStream();
        }
        return source;
    }

    ByteSource(const ByteSource&) = delete;
    ByteSource& operator=(const ByteSource&) = delete;
    ~ByteSource() {
        ZSTD_freeDStream(stream_);
        if (file_ != nullptr) std::fclose(file_);
    }

    // Up to `size` bytes; 0: the end.
    base::Result<size_t> read(uint8_t* out, size_t size) {
        if (stream_ == nullptr) return read_plain(out, size);
        ZSTD_outBuffer output{out, size, 0};
        while (output.pos == 0) {
            if (input_position_ == input_bytes_ && !refill()) {
                if (std::ferror(file_) != 0) return read_error();
                if (!frame_complete_) return base::Error{path_ + ": the zstd stream is cut short"};
                return size_t{0};
            }
            ZSTD_inBuffer input{input_.data(), input_bytes_, input_position_};
            const size_t code = ZSTD_decompressStream(stream_, &output, &input);
            input_position_ = input.pos;
            if (ZSTD_isError(code) != 0) {
                return base::Error{
                    fmt::format("{}: damaged zstd stream: {}", path_, ZSTD_getErrorName(code))};
            }
            frame_complete_ = code == 0;
        }
        return output.pos;
    }

    double progress() const {
        if (file_bytes_ == 0) return 1;
        return static_cast<double>(consumed_ + static_cast<int64_t>(input_position_)) /
               static_cast<double>(file_bytes_);
    }

  private:
    explicit ByteSource(std::string path) : path_(std::move(path)) {}

    base::Error read_error() const {
        return base::Error{fmt::format("cannot read {}: {}", path_, std::strerror(errno))};
    }

    bool refill() {
        consumed_ += static_cast<int64_t>(input_bytes_);
        input_position_ = 0;
        input_bytes_ = std::fread(input_.data(), 1, input_.size(), file_);
        return input_bytes_ > 0;
    }

    base::Result<size_t> read_plain(uint8_t* out, size_t size) {
        if (input_position_ == input_bytes_ && !refill()) {
            if (std::ferror(file_) != 0) return read_error();
            return size_t{0};
        }
        const size_t count = std::min(size, input_bytes_ - input_position_);
        std::memcpy(out, input_.data() + input_position_, count);
        input_position_ += count;
        return count;
    }

    std::string path_;
    std::FILE* file_ = nullptr;
    int64_t file_bytes_ = 0;
    int64_t consumed_ = 0;
    std::vector<uint8_t> input_;
    size_t input_bytes_ = 0;
    size_t input_position_ = 0;
    ZSTD_DStream* stream_ = nullptr;
    bool frame_complete_ = true;
};

class CsvReader final : public TraceReader {
  public:
    CsvReader(std::string path, std::unique_ptr<ByteSource> source)
        : path_(std::move(path)), source_(std::move(source)) {}

    base::Result<bool> next(TraceRecord& record) override {
        while (true) {
            auto line = next_line();
            if (!line) return line.error();
            if (line->data() == nullptr) return false;
            ++line_number_;
            if (line->empty()) continue;
            auto parsed = parse_csv_line(*line);
            if (!parsed) {
                return base::Error{
                    fmt::format("{}:{}: {}", path_, line_number_, parsed.error().message)};
            }
            record = parsed.value();
            return true;
        }
    }

    double progress() const override { return source_->progress(); }

  private:
    // Without its line break; data() == nullptr: the end. Valid until the next call.
    base::Result<std::string_view> next_line() {
        while (true) {
            const size_t end = buffer_.find('\n', position_);
            if (end != std::string::npos) {
                std::string_view line(buffer_.data() + position_, end - position_);
                position_ = end + 1;
                if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
                return line;
            }
            buffer_.erase(0, position_);
            position_ = 0;
            if (buffer_.size() > kLineBytesMax) {
                return base::Error{
                    fmt::format("{}:{}: a line of more than {} bytes: this is no CSV trace", path_,
                                line_number_ + 1, kLineBytesMax)};
            }
            const size_t before = buffer_.size();
            buffer_.resize(before + kLineBytesMax);
            auto count =
                source_->read(reinterpret_cast<uint8_t*>(buffer_.data()) + before, kLineBytesMax);
            if (!count) return count.error();
            buffer_.resize(before + *count);
            if (*count > 0) continue;
            if (buffer_.empty()) return std::string_view();
            buffer_ += '\n';  // a last line without a line break
        }
    }

    std::string path_;
    std::unique_ptr<ByteSource> source_;
    std::string buffer_;
    size_t position_ = 0;
    uint64_t line_number_ = 0;
};

class OracleReader final : public TraceReader {
  public:
    OracleReader(std::string path, std::unique_ptr<ByteSource> source)
        : path_(std::move(path)), source_(std::move(source)) {}

    base::Result<bool> next(TraceRecord& record) override {
        std::array<uint8_t, kOracleRecordBytes> bytes;
        size_t have = 0;
        while (have < bytes.size()) {
            auto count = source_->read(bytes.data() + have, bytes.size() - have);
            if (!count) return count.error();
            if (*count == 0) break;
            have += *count;
        }
        if (have == 0) return false;
        if (have < bytes.size()) {
            return base::Error{fmt::format("{}: record {} is cut short ({} of {} bytes)", path_,
                                           records_, have, bytes.size())};
        }
        record = parse_oracle_record(bytes.data());
        if (records_ == 0) first_time_ms_ = record.time_ms;
        record.time_ms = record.time_ms > first_time_ms_ ? record.time_ms - first_time_ms_ : 0;
        ++records_;
        return true;
    }

    double progress() const override { return source_->progress(); }

  private:
    std::string path_;
    std::unique_ptr<ByteSource> source_;
    uint64_t records_ = 0;
    uint64_t first_time_ms_ = 0;
};

template <typename T>
bool parse_number(std::string_view text, T& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
}

// A count that some traces write as "12.0".
bool parse_count(std::string_view text, uint32_t& value) {
    if (const size_t point = text.find('.'); point != std::string_view::npos) {
        if (text.find_first_not_of('0', point + 1) != std::string_view::npos) return false;
        text = text.substr(0, point);
    }
    return parse_number(text, value);
}

bool parse_operation(std::string_view text, TraceOperation& operation) {
    if (text == "get" || text == "gets") {
        operation = TraceOperation::kGet;
    } else if (text == "set" || text == "add" || text == "replace" || text == "cas" ||
               text == "append" || text == "prepend" || text == "incr" || text == "decr") {
        operation = TraceOperation::kSet;  // each leaves another value behind
    } else if (text == "delete") {
        operation = TraceOperation::kDelete;
    } else {
        return false;
    }
    return true;
}

}  // namespace

TraceFormat trace_format_of(std::string_view path) {
    if (path.ends_with(".zst")) path.remove_suffix(4);
    return path.ends_with(".bin") || path.ends_with(".oracleGeneral") ? TraceFormat::kOracle
                                                                      : TraceFormat::kCsv;
}

base::Result<TraceRecord> parse_csv_line(std::string_view line) {
    std::array<std::string_view, kColumns> columns;
    // Twitter's own keys may hold commas: the key is what six columns from both sides leave.
    const size_t commas = static_cast<size_t>(std::count(line.begin(), line.end(), ','));
    if (commas + 1 < kColumns) {
        return base::Error{
            fmt::format("{} columns instead of {} "
                        "(time_s,key,key_bytes,value_bytes,client,operation,ttl_s)",
                        commas + 1, kColumns)};
    }
    for (size_t i = kColumns - 1; i >= 2; --i) {
        const size_t comma = line.rfind(',');
        columns[i] = line.substr(comma + 1);
        line = line.substr(0, comma);
    }
    const size_t comma = line.find(',');
    columns[0] = line.substr(0, comma);
    columns[1] = line.substr(comma + 1);

    TraceRecord record;
    double time_s = 0;
    if (!parse_number(columns[0], time_s) || !(time_s >= 0) || time_s > 1e12) {
        return base::Error{fmt::format("time_s \"{}\" is not a number of seconds", columns[0])};
    }
    record.time_ms = static_cast<uint64_t>(std::llround(time_s * 1000));
    if (columns[1].empty()) return base::Error{"the key is empty"};
    if (!parse_number(columns[1], record.key)) record.key = base::hash_key(columns[1], 0);
    constexpr std::array<std::pair<size_t, const char*>, 3> kCounts = {
        {{2, "key_bytes"}, {3, "value_bytes"}, {6, "ttl_s"}}};
    for (const auto& [column, name] : kCounts) {
        uint32_t& value = column == 2   ? record.key_bytes
                          : column == 3 ? record.value_bytes
                                        : record.ttl_s;
        if (!parse_count(columns[column], value)) {
            return base::Error{
                fmt::format("{} \"{}\" is not a whole number", name, columns[column])};
        }
    }
    if (!parse_operation(columns[5], record.operation)) {
        return base::Error{fmt::format("unknown operation \"{}\"", columns[5])};
    }
    return record;
}

TraceRecord parse_oracle_record(const uint8_t* bytes) {
    uint32_t time_s = 0;
    TraceRecord record;
    std::memcpy(&time_s, bytes, sizeof time_s);
    std::memcpy(&record.key, bytes + 4, sizeof record.key);
    std::memcpy(&record.value_bytes, bytes + 12, sizeof record.value_bytes);
    record.time_ms = uint64_t{time_s} * 1000;
    return record;
}

base::Result<std::unique_ptr<TraceReader>> TraceReader::open(const std::string& path,
                                                             TraceFormat format) {
    auto source = ByteSource::open(path);
    if (!source) return source.error();
    std::unique_ptr<TraceReader> reader;
    if (format == TraceFormat::kCsv) {
        reader = std::make_unique<CsvReader>(path, std::move(source).value());
    } else {
        reader = std::make_unique<OracleReader>(path, std::move(source).value());
    }
    return reader;
}

}  // namespace cachee::cli
