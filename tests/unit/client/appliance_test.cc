// SPDX-License-Identifier: Apache-2.0
// The fall-back against a scripted server on a loopback port: answers, errors, silence, garbage,
// connections that end, and the pauses between attempts.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "test_l1.h"

namespace cachee::client {
namespace {

// Serves one connection after the other: everything received goes to the script, whose result is
// sent; "close" ends the connection.
class FakeServer {
  public:
    using Script = std::function<std::string(const std::string&)>;

    explicit FakeServer(Script script) : script_(std::move(script)) {
        listen_fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        CACHEE_ASSERT(::bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), size) == 0);
        CACHEE_ASSERT(::listen(listen_fd_, 8) == 0);
        ::getsockname(listen_fd_, reinterpret_cast<sockaddr*>(&address), &size);
        address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
        thread_ = std::thread([this] { serve(); });
    }
    ~FakeServer() {
        stop_.store(true);
        thread_.join();
        ::close(listen_fd_);
    }
    FakeServer(const FakeServer&) = delete;
    FakeServer& operator=(const FakeServer&) = delete;

    const std::string& address() const { return address_; }
    int connections() const { return connections_.load(); }

  private:
    bool readable(int fd) {
        while (!stop_.load()) {
            pollfd poll{fd, POLLIN, 0};
            if (::poll(&poll, 1, 10) > 0) return true;
        }
        return false;
    }
    void serve() {
        while (readable(listen_fd_)) {
            const int fd = ::accept(listen_fd_, nullptr, nullptr);
            connections_.fetch_add(1);
            char bytes[65536];
            while (readable(fd)) {
                const ssize_t got = ::recv(fd, bytes, sizeof bytes, 0);
                if (got <= 0) break;
                const std::string reply = script_(std::string(bytes, static_cast<size_t>(got)));
                if (reply == "close") break;
                if (::send(fd, reply.data(), reply.size(), MSG_NOSIGNAL) < 0) break;
            }
            ::close(fd);
        }
    }

    Script script_;
    int listen_fd_ = -1;
    std::string address_;
    std::atomic<bool> stop_{false};
    std::atomic<int> connections_{0};
    std::thread thread_;
};

cachee_options options_for(const FakeServer& server) {
    cachee_options options = CACHEE_OPTIONS_INIT;
    options.address = server.address().c_str();
    options.timeout_ms = 2000;
    return options;
}

size_t count_of(const std::string& text, const std::string& word) {
    size_t count = 0;
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1))
        ++count;
    return count;
}

TEST(LibcacheeFallback, MissInL1_TheApplianceIsAskedAndNamed) {
    FakeServer server([](const std::string& request) -> std::string {
        if (request.find("absent") != std::string::npos) {
            return request.find("PTTL") != std::string::npos     ? ":-2\r\n"
                   : request.find("EXISTS") != std::string::npos ? ":0\r\n"
                                                                 : "$-1\r\n";
        }
        if (request.find("list") != std::string::npos) return "-WRONGTYPE no string\r\n";
        if (request.find("EXISTS") != std::string::npos) return ":1\r\n";
        if (request.find("PTTL") != std::string::npos) return ":1234\r\n";
        return "$5\r\nhello\r\n";
    });
    TestL1 l1("ask");
    l1.put("here", "l1");
    Handle handle(l1.instance(), options_for(server));
    EXPECT_EQ(handle.text_of("here"), "l1");
    EXPECT_EQ(handle.value.source, CACHEE_FROM_L1);
    EXPECT_EQ(server.connections(), 0);
    EXPECT_EQ(handle.text_of("there"), "hello");
    EXPECT_EQ(handle.value.source, CACHEE_FROM_APPLIANCE);
    EXPECT_EQ(handle.value.ttl_ms, CACHEE_EXPIRY_UNKNOWN);
    EXPECT_EQ(handle.get("absent"), CACHEE_ABSENT);
    EXPECT_EQ(handle.value.source, CACHEE_FROM_APPLIANCE);
    EXPECT_EQ(handle.get("list"), CACHEE_WRONG_TYPE);
    EXPECT_EQ(std::string(cachee_last_error()), "WRONGTYPE no string");
    cachee_source source = CACHEE_FROM_NOWHERE;
    int64_t ttl = 0;
    EXPECT_EQ(cachee_exists(handle, "there", 5, &source), CACHEE_OK);
    EXPECT_EQ(source, CACHEE_FROM_APPLIANCE);
    EXPECT_EQ(cachee_exists(handle, "absent", 6, &source), CACHEE_ABSENT);
    EXPECT_EQ(cachee_ttl(handle, "there", 5, &ttl, &source), CACHEE_OK);
    EXPECT_EQ(ttl, 1234);
    EXPECT_EQ(cachee_ttl(handle, "absent", 6, &ttl, &source), CACHEE_ABSENT);
    char small[2];
    cachee_value value;
    EXPECT_EQ(cachee_get_into(handle, "there", 5, small, sizeof small, &value), CACHEE_TOO_SMALL);
    EXPECT_EQ(value.size, 5U);
    EXPECT_EQ(server.connections(), 1);
}

TEST(LibcacheeFallback, ManyMisses_AreAskedInRoundsAndKeepTheirOrder) {
    std::atomic<int> asked{0};
    FakeServer server([&](const std::string& request) {
        std::string replies;
        for (size_t i = count_of(request, "GET"); i > 0; --i) {
            const std::string text = std::to_string(asked.fetch_add(1));
            replies += "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
        }
        return replies;
    });
    TestL1 l1("rounds");
    l1.put("k7", "l1");
    Handle handle(l1.instance(), options_for(server));
    std::vector<std::string> keys;
    std::vector<cachee_item> items(300);
    for (size_t i = 0; i < items.size(); ++i) keys.push_back("k" + std::to_string(i));
    for (size_t i = 0; i < items.size(); ++i) {
        items[i].key = keys[i].data();
        items[i].key_size = keys[i].size();
    }
    ASSERT_EQ(cachee_multi_get(handle, items.data(), items.size(), sizeof(cachee_item)), CACHEE_OK);
    for (size_t i = 0; i < items.size(); ++i) {
        ASSERT_EQ(items[i].status, CACHEE_OK) << i;
        const std::string text(static_cast<const char*>(items[i].value.data), items[i].value.size);
        EXPECT_EQ(text, i == 7 ? "l1" : std::to_string(i < 7 ? i : i - 1));
    }
}

TEST(LibcacheeFallback, ValueInPieces_IsPutTogether) {
    const std::string value(300'000, 'x');
    FakeServer server([&](const std::string&) {
        return "$" + std::to_string(value.size()) + "\r\n" + value + "\r\n";
    });
    TestL1 l1("pieces");
    Handle handle(l1.instance(), options_for(server));
    EXPECT_EQ(handle.text_of("k"), value);
    EXPECT_EQ(handle.text_of("k"), value);
}

TEST(LibcacheeFallback, Silence_EndsWithTheTimeout) {
    FakeServer server([](const std::string&) { return std::string("$5\r\nhel"); });
    TestL1 l1("silence");
    cachee_options options = options_for(server);
    options.timeout_ms = 50;
    Handle handle(l1.instance(), options);
    const uint64_t start = base::monotonic_ns();
    EXPECT_EQ(handle.get("k"), CACHEE_TIMEOUT);
    EXPECT_GE(base::monotonic_ns() - start, 50 * base::kNsPerMs);
    EXPECT_LT(base::monotonic_ns() - start, 1500 * base::kNsPerMs);
    EXPECT_NE(std::string(cachee_last_error()).find("timeout_ms"), std::string::npos);
    EXPECT_EQ(handle.statistics().appliance_failures, 1U);
}

TEST(LibcacheeFallback, ConnectionEndedMeanwhile_IsMadeAnewOnce) {
    std::atomic<int> asked{0};
    FakeServer server([&](const std::string&) {
        return asked.fetch_add(1) == 1 ? std::string("close") : std::string("$1\r\nv\r\n");
    });
    TestL1 l1("anew");
    Handle handle(l1.instance(), options_for(server));
    EXPECT_EQ(handle.text_of("k"), "v");
    EXPECT_EQ(handle.text_of("k"), "v") << "asked again on another connection";
    EXPECT_EQ(server.connections(), 2);
}

TEST(LibcacheeFallback, NobodyListens_FailsAtOnceAndWaitsBeforeTheNextAttempt) {
    std::string address;
    {
        FakeServer server([](const std::string&) { return std::string(); });
        address = server.address();
    }
    TestL1 l1("down");
    l1.put("here", "v");
    cachee_options options = CACHEE_OPTIONS_INIT;
    options.address = address.c_str();
    Handle handle(l1.instance(), options);
    EXPECT_EQ(handle.get("k"), CACHEE_APPLIANCE_DOWN);
    const uint64_t start = base::monotonic_ns();
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(handle.get("k"), CACHEE_APPLIANCE_DOWN);
    EXPECT_LT(base::monotonic_ns() - start, 500 * base::kNsPerMs);
    EXPECT_EQ(handle.text_of("here"), "v");
}

TEST(LibcacheeFallback, Password_IsSentFirstAndARefusalNamed) {
    FakeServer server([](const std::string& request) -> std::string {
        if (request.find("AUTH") == std::string::npos) return "$1\r\nv\r\n";
        return request.find("me\r\n$6\r\nsecret") != std::string::npos ? "+OK\r\n"
                                                                       : "-WRONGPASS no\r\n";
    });
    TestL1 l1("auth");
    cachee_options options = options_for(server);
    options.user = "me";
    options.password = "secret";
    {
        Handle right(l1.instance(), options);
        EXPECT_EQ(right.text_of("k"), "v");
    }
    options.password = "guess";
    Handle wrong(l1.instance(), options);
    EXPECT_EQ(wrong.get("k"), CACHEE_DENIED);
    EXPECT_NE(std::string(cachee_last_error()).find("WRONGPASS"), std::string::npos);
}

TEST(LibcacheeFallback, Garbage_IsAProtocolErrorAndTheNextCallStartsAnew) {
    const std::vector<std::string> bad = {"HTTP/1.1 400 Bad Request\r\n\r\n",
                                          "$99999999999\r\n",
                                          "$-7\r\n",
                                          "$3\r\nabcdef\r\n",
                                          "$x\r\n",
                                          std::string(100'000, 'y'),
                                          "*2\r\n$1\r\na\r\n$1\r\nb\r\n"};
    std::atomic<size_t> at{0};
    FakeServer server([&](const std::string&) {
        const size_t now = at.fetch_add(1);
        return now % 2 == 0 ? bad[now / 2 % bad.size()] : std::string("$1\r\nv\r\n");
    });
    TestL1 l1("garbage");
    Handle handle(l1.instance(), options_for(server));
    for (size_t i = 0; i < bad.size(); ++i) {
        EXPECT_EQ(handle.get("k"), CACHEE_PROTOCOL) << bad[i].substr(0, 20);
        EXPECT_EQ(handle.text_of("k"), "v");
    }
}

TEST(LibcacheeFallback, AddressWithoutPort_IsInvalid) {
    TestL1 l1("address");
    cachee_options options = CACHEE_OPTIONS_INIT;
    options.address = "somewhere";
    Handle handle(l1.instance(), options);
    EXPECT_EQ(handle.get("k"), CACHEE_INVALID);
}

}  // namespace
}  // namespace cachee::client
