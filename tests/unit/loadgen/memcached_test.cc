// SPDX-License-Identifier: Apache-2.0
// The load generator's side of memcached's text protocol: how requests are written, and what the
// reader makes of replies, cut at every byte.
#include <gtest/gtest.h>

#include "tools/loadgen/reply_reader.h"
#include "tools/loadgen/workload.h"

namespace cachee::loadgen {
namespace {

// Writes down what the reader calls.
struct Sink {
    std::string seen;
    void array(uint64_t) { seen += "array "; }
    void value_part(uint64_t, const uint8_t* data, size_t size, uint64_t) {
        value.append(reinterpret_cast<const char*>(data), size);
    }
    void value_end(uint64_t whole) {
        seen += "value(" + std::to_string(whole) + ":" + value + ") ";
        value.clear();
    }
    void nil() { seen += "nil "; }
    void status(std::string_view text) { seen += "status(" + std::string(text) + ") "; }
    void error(std::string_view text) { seen += "error(" + std::string(text) + ") "; }
    void integer() { seen += "integer "; }
    void reply_end() { seen += "| "; }
    std::string value;
};

bool feed(ReplyReader& reader, std::string_view bytes, Sink& sink) {
    return reader.feed(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), sink);
}

TEST(Memcached, Replies_CutAnywhere_AreWhatTheyAre) {
    const std::string bytes =
        "STORED\r\nVALUE k 0 3\r\nabc\r\nEND\r\nEND\r\nVALUE k 0 0\r\n\r\nEND\r\n"
        "VALUE k 0 5\r\nEND\r\n\r\nEND\r\nVALUE a 0 1\r\nA\r\nVALUE b 0 "
        "1\r\nB\r\nEND\r\nSERVER_ERROR out of memory\r\nERROR\r\n";
    const std::string expected =
        "status(OK) | value(3:abc) | nil | value(0:) | value(5:END\r\n) | "
        "value(1:A) value(1:B) | error(SERVER_ERROR out of memory) | error(ERROR) | ";
    for (size_t cut = 0; cut <= bytes.size(); ++cut) {
        ReplyReader reader(Protocol::kMemcached);
        Sink sink;
        ASSERT_TRUE(feed(reader, std::string_view(bytes).substr(0, cut), sink)) << cut;
        ASSERT_TRUE(feed(reader, std::string_view(bytes).substr(cut), sink)) << cut;
        ASSERT_EQ(sink.seen, expected) << cut;
    }
}

TEST(Memcached, NoReply_Refused) {
    for (const char* bytes :
         {"+OK\r\n", "VALUE k 0 x\r\n", "VALUE k 0 -1\r\n", "VALUE k 0 99999999999\r\n",
          "VALUE k 0 1\r\nabc", "VALUE k 0 1\r\na\r\nSTORED\r\n", "NOT_STORED\r\n", "END\n"}) {
        ReplyReader reader(Protocol::kMemcached);
        Sink sink;
        EXPECT_FALSE(feed(reader, bytes, sink)) << bytes;
    }
}

TEST(Memcached, Requests_Written_AreOfTheTextProtocol) {
    WorkloadOptions options;
    options.protocol = Protocol::kMemcached;
    options.value_bytes = "5000";
    options.mget_keys = 2;
    options.distribution = "sequential";
    auto workload = Workload::make(options);
    ASSERT_TRUE(workload);
    const auto written = [&](const Request& request) {
        std::vector<uint8_t> bytes(workload->bytes_max(request));
        const uint8_t* end = workload->write(request, bytes.data());
        EXPECT_LE(end, bytes.data() + bytes.size());
        return std::string(reinterpret_cast<const char*>(bytes.data()),
                           static_cast<size_t>(end - bytes.data()));
    };
    EXPECT_EQ(written({.command = Command::kGet, .key = 42}), "get key:000000000042\r\n");
    EXPECT_EQ(written({.command = Command::kMget, .key = 7}),
              "get key:000000000007 key:000000000008\r\n");
    const std::string set = written({.command = Command::kSet, .key = 7});
    const std::string head = "set key:000000000007 0 0 5000\r\n";
    EXPECT_EQ(set.substr(0, head.size()), head);
    ASSERT_EQ(set.size(), head.size() + 5000 + 2);
    const auto* value = reinterpret_cast<const uint8_t*>(set.data()) + head.size();
    EXPECT_TRUE(workload->matches(7, 0, value, 5000));
    EXPECT_EQ(set.substr(set.size() - 2), "\r\n");
}

TEST(Memcached, WhatTheProtocolHasNot_Refused) {
    WorkloadOptions plain;
    plain.protocol = Protocol::kMemcached;
    EXPECT_TRUE(Workload::make(plain));
    WorkloadOptions ttl = plain;
    ttl.ttl_ms = "100";
    WorkloadOptions password = plain;
    password.password = "secret";
    WorkloadOptions blank = plain;
    blank.key_prefix = "a b";
    WorkloadOptions longer = plain;
    longer.key_prefix.assign(239, 'k');
    for (const WorkloadOptions& options : {ttl, password, blank, longer}) {
        auto made = Workload::make(options);
        ASSERT_FALSE(made);
        EXPECT_NE(made.error().message.find("memcached"), std::string::npos);
    }
}

}  // namespace
}  // namespace cachee::loadgen
