// SPDX-License-Identifier: Apache-2.0
// Does the replayer notice a cache that lies? It runs against a small key-value server in this
// process that can be told to serve old values, forget keys, damage bytes, refuse, or hang up.
#include "tools/cachee/replay_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <hiredis.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace cachee::cli {
namespace {

enum class Fault { kNone, kOldValue, kForget, kDamage, kRefuseSet, kHangUpOnce };

class LyingServer {
  public:
    LyingServer() {
        listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        CACHEE_ASSERT(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) ==
                      0);
        CACHEE_ASSERT(::listen(listener_, 16) == 0);
        socklen_t size = sizeof address;
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
        acceptor_ = std::thread([this] { accept_all(); });
    }
    ~LyingServer() {
        ::shutdown(listener_, SHUT_RDWR);
        acceptor_.join();
        for (std::thread& thread : sessions_) thread.join();
        ::close(listener_);
    }

    HostPort address() const { return {"127.0.0.1", port_}; }
    void set_fault(Fault fault) { fault_ = fault; }
    void put(const std::string& key, const std::string& value) { values_[key] = {value}; }
    size_t keys() const { return values_.size(); }

  private:
    void accept_all() {
        for (int fd = 0; (fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
            sessions_.emplace_back([this, fd] { serve(fd); });
        }
    }

    void serve(int fd) {
        redisReader* reader = redisReaderCreate();
        char bytes[16384];
        bool open = true;
        for (ssize_t count = 0; open && (count = ::read(fd, bytes, sizeof bytes)) > 0;) {
            redisReaderFeed(reader, bytes, static_cast<size_t>(count));
            void* raw = nullptr;
            while (open && redisReaderGetReply(reader, &raw) == REDIS_OK && raw != nullptr) {
                auto* command = static_cast<redisReply*>(raw);
                const std::string reply = answer(*command);
                freeReplyObject(command);
                open = !reply.empty() && ::send(fd, reply.data(), reply.size(), MSG_NOSIGNAL) > 0;
            }
        }
        redisReaderFree(reader);
        ::close(fd);
    }

    // Empty: hang up.
    std::string answer(const redisReply& command) {
        const std::lock_guard lock(mutex_);
        const auto argument = [&](size_t i) {
            return std::string(command.element[i]->str, command.element[i]->len);
        };
        const std::string name = argument(0);
        const std::string key = argument(1);
        if (fault_ == Fault::kHangUpOnce) {
            fault_ = Fault::kNone;
            return {};
        }
        if (name == "SET") {
            if (fault_ == Fault::kRefuseSet) return "-OOM command not allowed\r\n";
            values_[key].push_back(argument(2));
            return "+OK\r\n";
        }
        if (name == "DEL") {
            if (fault_ == Fault::kOldValue) return ":1\r\n";  // says so, and keeps it
            return ":" + std::to_string(values_.erase(key)) + "\r\n";
        }
        const auto entry = values_.find(key);
        if (entry == values_.end() || fault_ == Fault::kForget) return "$-1\r\n";
        const std::vector<std::string>& versions = entry->second;
        std::string value = fault_ == Fault::kOldValue && versions.size() > 1
                                ? versions[versions.size() - 2]
                                : versions.back();
        if (fault_ == Fault::kDamage)
            value[value.size() / 2] = static_cast<char>(~value[value.size() / 2]);
        return "$" + std::to_string(value.size()) + "\r\n" + value + "\r\n";
    }

    int listener_ = -1;
    uint16_t port_ = 0;
    std::thread acceptor_;
    std::vector<std::thread> sessions_;
    std::mutex mutex_;
    std::map<std::string, std::vector<std::string>> values_;
    Fault fault_ = Fault::kNone;
};

class ReplayClientTest : public ::testing::Test {
  protected:
    ReplayClientTest() {
        options_.verify = true;
        options_.pipeline = 4;
    }

    static TraceRecord record(uint64_t key, TraceOperation operation, uint32_t value_bytes = 100) {
        TraceRecord record;
        record.key = key;
        record.operation = operation;
        record.value_bytes = value_bytes;
        return record;
    }

    // Runs the records; with L2 (the same server) when `with_l2`. REQUIRES: the server answers at
    // first.
    ReplayCounts run(const std::vector<TraceRecord>& records, bool with_l2 = false,
                     Fault fault = Fault::kNone) {
        const HostPort l2 = server_.address();
        ReplayClient client(options_, server_.address(), with_l2 ? &l2 : nullptr, shared_);
        for (const TraceRecord& item : records) client.add(item);
        EXPECT_TRUE(client.connect());
        if (with_l2) {
            auto populated = client.populate();
            EXPECT_TRUE(populated) << populated.error().message;
        }
        server_.set_fault(fault);
        auto status = client.run();
        EXPECT_TRUE(status) << status.error().message;
        server_.set_fault(Fault::kNone);
        return client.counts();
    }

    ReplayOptions options_;
    ReplayShared shared_;
    LyingServer server_;
};

constexpr auto kGet = TraceOperation::kGet;
constexpr auto kSet = TraceOperation::kSet;
constexpr auto kDelete = TraceOperation::kDelete;

TEST_F(ReplayClientTest, Run_HonestServer_EveryReadIsRight) {
    const ReplayCounts counts =
        run({record(1, kGet), record(1, kSet), record(1, kGet), record(2, kGet), record(1, kDelete),
             record(1, kGet), record(1, kSet), record(1, kGet)},
            true);
    EXPECT_EQ(counts.wrong(), 0U) << counts.first_wrong;
    EXPECT_EQ(counts.errors, 0U) << counts.first_error;
    EXPECT_EQ(counts.reads, 5U);
    EXPECT_EQ(counts.found, 4U);
    EXPECT_EQ(counts.writes, 2U);
    EXPECT_EQ(counts.deletes, 1U);
    EXPECT_EQ(counts.keys, 2U);
    EXPECT_EQ(counts.l2_reads, 5U);
}

TEST_F(ReplayClientTest, Run_WithoutL2_SetsWhatWasMissed) {
    const ReplayCounts counts =
        run({record(1, kGet), record(1, kGet), record(2, kGet), record(2, kGet)});
    EXPECT_EQ(counts.found, 2U);
    EXPECT_EQ(counts.refills, 2U);
    EXPECT_EQ(counts.good, 2U);
    EXPECT_EQ(server_.keys(), 2U);
}

TEST_F(ReplayClientTest, Run_OldValueServed_IsStale) {
    options_.pipeline = 1;
    const ReplayCounts counts =
        run({record(1, kSet), record(1, kSet), record(1, kGet)}, true, Fault::kOldValue);
    EXPECT_GE(counts.stale, 1U);
    EXPECT_NE(counts.first_wrong.find("found version 1, expected version 2"), std::string::npos)
        << counts.first_wrong;
}

TEST_F(ReplayClientTest, Run_DeletedKeyServed_IsStale) {
    const ReplayCounts counts =
        run({record(1, kSet), record(1, kDelete), record(1, kGet)}, true, Fault::kOldValue);
    EXPECT_GE(counts.stale, 1U);
    EXPECT_NE(counts.first_wrong.find("expected nothing"), std::string::npos) << counts.first_wrong;
}

TEST_F(ReplayClientTest, Run_KeyForgotten_IsMissing) {
    EXPECT_GE(run({record(1, kGet)}, true, Fault::kForget).missing, 1U);
}

TEST_F(ReplayClientTest, Run_DamagedByte_IsCorrupt) {
    EXPECT_GE(run({record(1, kGet)}, true, Fault::kDamage).corrupt, 1U);
}

TEST_F(ReplayClientTest, Run_SetRefused_IsAnErrorWithItsText) {
    const ReplayCounts counts = run({record(1, kSet), record(1, kGet)}, false, Fault::kRefuseSet);
    EXPECT_GE(counts.errors, 1U);
    EXPECT_NE(counts.first_error.find("OOM"), std::string::npos) << counts.first_error;
    EXPECT_EQ(counts.wrong(), 0U);
}

TEST_F(ReplayClientTest, Run_ConnectionLost_GoesOnAndTrustsNothingItKnew) {
    options_.pipeline = 2;
    const ReplayCounts counts =
        run({record(1, kSet), record(2, kSet), record(1, kGet), record(2, kGet)}, false,
            Fault::kHangUpOnce);
    EXPECT_EQ(counts.reconnects, 1U);
    EXPECT_EQ(counts.errors, 2U);
    EXPECT_EQ(counts.wrong(), 0U) << counts.first_wrong;
    EXPECT_EQ(counts.reads, 2U);
}

TEST_F(ReplayClientTest, Run_KeysOfAnEarlierReplay_AreAdopted) {
    std::string value;
    derive_value(1, 9, options_.seed, 50, value);
    server_.put("1", value);
    server_.put("2", "somebody else's");
    const ReplayCounts counts =
        run({record(1, kGet), record(1, kGet), record(2, kGet), record(2, kGet)});
    EXPECT_EQ(counts.adopted, 1U);
    EXPECT_EQ(counts.foreign, 1U);
    EXPECT_EQ(counts.good, 2U);
    EXPECT_EQ(counts.wrong(), 0U) << counts.first_wrong;
}

TEST_F(ReplayClientTest, Run_LargeValue_IsCutAndCounted) {
    options_.value_bytes_max = 32;
    const ReplayCounts counts = run({record(1, kSet, 1000), record(1, kGet)}, true);
    EXPECT_EQ(counts.values_cut, 1U);
    EXPECT_EQ(counts.bytes_read, 32U);
    EXPECT_EQ(counts.wrong(), 0U);
}

TEST_F(ReplayClientTest, Run_StopAsked_EndsBeforeTheTrace) {
    shared_.stop = true;
    EXPECT_EQ(run({record(1, kGet)}).reads, 0U);
}

TEST_F(ReplayClientTest, Connect_NobodyListens_NamesTheAddress) {
    ReplayClient client(options_, {"127.0.0.1", 1}, nullptr, shared_);
    auto status = client.connect();
    ASSERT_FALSE(status);
    EXPECT_NE(status.error().message.find("127.0.0.1:1"), std::string::npos);
}

TEST(ParseHostPort, GoodAndBadTexts_AreToldApart) {
    EXPECT_EQ(parse_host_port("10.0.0.1:6379")->port, 6379);
    EXPECT_EQ(parse_host_port("[::1]:7")->host, "::1");
    for (const char* text : {"", "host", "host:", ":1", "host:0", "host:65536", "host:1x"}) {
        EXPECT_FALSE(parse_host_port(text)) << text;
    }
}

}  // namespace
}  // namespace cachee::cli
