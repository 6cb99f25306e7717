// SPDX-License-Identifier: Apache-2.0
// SocketTransport against real loopback clients: the conformance suite, then what is its own.
#include "drivers/socket/socket_transport.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#include <thread>

#include "base/clock.h"
#include "tests/unit/drivers/socket_peer.h"
#include "tests/unit/drivers/transport_conformance.h"

namespace cachee::socket {
namespace {

using io::CloseReason;
using io::MiniWorker;
using io::SessionIndex;
using io::SocketPeer;
using io::TestPeer;

SocketOptions loopback() {
    SocketOptions options;
    options.port = 0;
    options.sessions_max = 256;
    options.buffers_bytes_max = 16 * base::kMiB;
    options.linger_timeout_ms = 200;
    return options;
}

std::unique_ptr<SocketTransport> make(const SocketOptions& options,
                                      stats::WorkerCounters* counters) {
    auto transport = SocketTransport::create(options, counters);
    if (!transport) {
        ADD_FAILURE() << transport.error().message;
        return nullptr;
    }
    return std::move(*transport);
}

struct SocketHarness {
    static constexpr uint32_t kLimitedSessions = 4;
    static constexpr uint32_t kLimitedSendBytes = 64 * 1024;

    SocketHarness() {
        SocketOptions options = loopback();
        whole = make(options, &counters);
        options.sessions_max = kLimitedSessions;
        options.send_buffer_bytes_max = kLimitedSendBytes;
        small = make(options, &counters);
    }
    io::Transport& transport() { return *whole; }
    io::Transport& limited() { return *small; }
    uint64_t now_ns() { return base::monotonic_ns(); }
    std::unique_ptr<TestPeer> connect(io::Transport& to) {
        return SocketPeer::connect("127.0.0.1", static_cast<SocketTransport&>(to).port());
    }
    void step() { ::usleep(50); }

    stats::WorkerCounters counters{};
    std::unique_ptr<SocketTransport> whole;
    std::unique_ptr<SocketTransport> small;
};

}  // namespace
}  // namespace cachee::socket

namespace cachee::io {
INSTANTIATE_TYPED_TEST_SUITE_P(Socket, TransportConformance, socket::SocketHarness);
}  // namespace cachee::io

namespace cachee::socket {
namespace {

size_t open_descriptors() {
    size_t count = 0;
    DIR* directory = ::opendir("/proc/self/fd");
    while (::readdir(directory) != nullptr) ++count;
    ::closedir(directory);
    return count;
}

// A transport, its worker and a clock that the test may push forward.
struct Bench {
    explicit Bench(const SocketOptions& options)
        : transport(make(options, &counters)), worker(*transport) {}
    uint64_t now_ns() const { return base::monotonic_ns() + ahead_ns; }
    template <typename Done>
    bool run_until(Done done) {
        for (int i = 0; i < 20000; ++i) {
            if (done()) return true;
            if (worker.cycle(now_ns()) == 0) ::usleep(50);
        }
        return done();
    }
    std::unique_ptr<SocketPeer> connect(int receive_buffer = 0) {
        const int before = worker.opened;
        auto peer = SocketPeer::connect("127.0.0.1", transport->port(), receive_buffer);
        EXPECT_NE(peer, nullptr);
        EXPECT_TRUE(run_until([&] { return worker.opened > before; }));
        return peer;
    }
    void advance_ms(uint64_t ms) {
        ahead_ns += ms * base::kNsPerMs;
        for (int i = 0; i < 5; ++i) worker.cycle(now_ns());
    }

    stats::WorkerCounters counters{};
    std::unique_ptr<SocketTransport> transport;
    MiniWorker worker;
    uint64_t ahead_ns = 0;
};

TEST(SocketTransport, SessionsMax_Beyond_RefusedInRedisWords) {
    SocketOptions options = loopback();
    options.sessions_max = 1;
    Bench bench(options);
    auto first = bench.connect();
    auto second = SocketPeer::connect("127.0.0.1", bench.transport->port());
    std::string got;
    ASSERT_TRUE(bench.run_until([&] {
        got += second->receive(100);
        return second->at_end();
    }));
    EXPECT_EQ(got, "-ERR max number of clients reached\r\n");
    EXPECT_EQ(bench.counters.get(stats::Counter::sessions_refused), 1u);
    EXPECT_EQ(bench.worker.opened, 1);
}

TEST(SocketTransport, SlowReader_OverLimitTooLong_ClosedAndCounted) {
    SocketOptions options = loopback();
    options.send_buffer_bytes_max = 64 * 1024;
    Bench bench(options);
    auto peer = bench.connect(4096);
    const SessionIndex session = bench.worker.last_opened;
    bench.worker.send(session, io::pattern(32 << 20, 6));  // the kernel's own buffer fills up too
    for (int i = 0; i < 200; ++i) {
        bench.worker.cycle(bench.now_ns());
        ::usleep(100);
    }
    EXPECT_EQ(bench.worker.closed, 0);
    bench.advance_ms(options.slow_reader_timeout_ms - 5000);
    EXPECT_EQ(bench.worker.closed, 0);
    bench.advance_ms(6000);
    ASSERT_EQ(bench.worker.closed, 1);
    EXPECT_EQ(bench.worker.at(session).reason, CloseReason::kSlowReader);
    EXPECT_EQ(bench.counters.get(stats::Counter::sessions_killed_buffers), 1u);
}

TEST(SocketTransport, SlowButSteadyReader_Kept) {
    SocketOptions options = loopback();
    options.send_buffer_bytes_max = 64 * 1024;
    Bench bench(options);
    auto peer = bench.connect();
    const SessionIndex session = bench.worker.last_opened;
    const std::string bytes = io::pattern(24 << 20, 7);
    bench.worker.send(session, bytes);
    std::string got;
    ASSERT_TRUE(bench.run_until([&] {
        got += peer->receive(256 << 10);
        bench.ahead_ns += 200 * base::kNsPerMs;  // far longer in all than the bound
        return got.size() == bytes.size() || bench.worker.closed > 0;
    }));
    EXPECT_EQ(bench.worker.closed, 0);
    EXPECT_TRUE(got == bytes);
}

TEST(SocketTransport, CloseFlush_PeerNeverReads_BoundedByTimer) {
    SocketOptions options = loopback();
    Bench bench(options);
    auto peer = bench.connect(4096);
    const SessionIndex session = bench.worker.last_opened;
    while (bench.worker.at(session).owed.empty()) {
        bench.worker.send(session, io::pattern(1 << 20, 8));
        bench.worker.cycle(bench.now_ns());
    }
    bench.transport->close(session, io::CloseHow::kFlush);
    bench.advance_ms(1000);
    EXPECT_EQ(bench.worker.closed, 0);
    bench.advance_ms(options.slow_reader_timeout_ms);
    ASSERT_EQ(bench.worker.closed, 1);
    EXPECT_EQ(bench.worker.at(session).reason, CloseReason::kSlowReader);
}

TEST(SocketTransport, CloseFlush_PeerKeepsItsSideOpen_LingerBounded) {
    Bench bench(loopback());
    auto peer = bench.connect();
    bench.transport->close(bench.worker.last_opened, io::CloseHow::kFlush);
    bench.advance_ms(100);
    EXPECT_EQ(bench.worker.closed, 0);
    bench.advance_ms(200);
    EXPECT_EQ(bench.worker.closed, 1);
}

TEST(SocketTransport, PoolExhausted_WorstHolderClosed_OthersGoOn) {
    SocketOptions options = loopback();
    options.send_buffer_bytes_max = 512 * 1024;
    options.buffers_bytes_max = 1 * base::kMiB;
    Bench bench(options);
    std::vector<std::unique_ptr<SocketPeer>> hogs;
    std::vector<SessionIndex> sessions;
    for (int i = 0; i < 3; ++i) {
        hogs.push_back(bench.connect(4096));
        sessions.push_back(bench.worker.last_opened);
    }
    auto reader = bench.connect();
    const SessionIndex innocent = bench.worker.last_opened;
    for (const SessionIndex session : sessions) bench.worker.send(session, io::pattern(8 << 20, 9));
    for (int i = 0; i < 300; ++i) {
        bench.worker.cycle(bench.now_ns());
        ::usleep(100);
    }
    const std::string reply = io::pattern(100 * 1024, 10);
    bench.worker.send(innocent, reply);
    EXPECT_FALSE(bench.worker.at(innocent).owed.empty()) << "the pool was not exhausted";
    bench.advance_ms(1);
    EXPECT_EQ(bench.worker.closed, 0);
    bench.advance_ms(options.starvation_timeout_ms + 50);
    std::string got;
    ASSERT_TRUE(bench.run_until([&] {
        got += reader->receive(1 << 16);
        bench.ahead_ns += base::kNsPerMs;
        return got.size() == reply.size();
    }));
    EXPECT_TRUE(got == reply);
    EXPECT_GE(bench.worker.closed, 1);
    EXPECT_EQ(bench.worker.at(innocent).closes, 0);
    for (const SessionIndex session : sessions) {
        if (bench.worker.at(session).closes > 0) {
            EXPECT_EQ(bench.worker.at(session).reason, CloseReason::kNoMemory);
        }
    }
}

TEST(SocketTransport, Create_AddressInUse_SaysHowToFindTheOwner) {
    stats::WorkerCounters counters{};
    SocketOptions options = loopback();
    auto owner = make(options, &counters);
    options.port = owner->port();
    for (const uint32_t workers : {1u, 2u}) {
        options.worker_count = workers;
        auto second = SocketTransport::create(options, &counters);
        ASSERT_FALSE(second.has_value());
        EXPECT_NE(second.error().message.find("in use"), std::string::npos);
        EXPECT_NE(second.error().message.find("ss -ltnp"), std::string::npos);
    }
}

TEST(SocketTransport, Create_SharedPortOfAnotherProcess_Refused) {
    stats::WorkerCounters counters{};
    SocketOptions options = loopback();
    options.worker_count = 2;
    auto owner = make(options, &counters);
    options.port = owner->port();
    auto thief = SocketTransport::create(options, &counters);
    EXPECT_FALSE(thief.has_value()) << "SO_REUSEPORT let a second owner in";
    options.worker = 1;
    auto colleague = SocketTransport::create(options, &counters);
    EXPECT_TRUE(colleague.has_value()) << colleague.error().message;
}

TEST(SocketTransport, Create_BadOptions_ClearErrors) {
    stats::WorkerCounters counters{};
    const auto message = [&](auto change) {
        SocketOptions options = loopback();
        change(options);
        auto transport = SocketTransport::create(options, &counters);
        return transport ? std::string() : transport.error().message;
    };
    EXPECT_NE(message([](auto& o) { o.address = "192.0.2.1"; }).find("ip addr"), std::string::npos);
    EXPECT_NE(message([](auto& o) { o.address = "localhost"; }).find("listen.address"),
              std::string::npos);
    EXPECT_NE(message([](auto& o) { o.sessions_max = 0; }).find("sessions_max"), std::string::npos);
    EXPECT_NE(message([](auto& o) { o.send_buffer_bytes_max = 100; }).find("send_buffer"),
              std::string::npos);
    EXPECT_NE(message([](auto& o) { o.buffers_bytes_max = 4096; }).find("buffers_bytes_max"),
              std::string::npos);
}

TEST(SocketTransport, Workers_ShareThePort_EachGetsSessions) {
    SocketOptions options = loopback();
    options.worker_count = 2;
    Bench first(options);
    options.worker = 1;
    options.port = first.transport->port();
    Bench second(options);
    std::vector<std::unique_ptr<SocketPeer>> peers;
    for (int i = 0; i < 100; ++i) {
        peers.push_back(SocketPeer::connect("127.0.0.1", options.port));
        ASSERT_NE(peers.back(), nullptr);
    }
    ASSERT_TRUE(first.run_until([&] {
        second.worker.cycle(second.now_ns());
        return first.worker.opened + second.worker.opened == 100;
    }));
    EXPECT_GT(first.worker.opened, 10);
    EXPECT_GT(second.worker.opened, 10);
}

TEST(SocketTransport, Wait_TrafficArrives_WakesAtOnce) {
    Bench bench(loopback());
    auto peer = bench.connect();
    const SessionIndex session = bench.worker.last_opened;
    std::thread sender([&] {
        ::usleep(20000);
        peer->send("wake");
    });
    const uint64_t start = base::monotonic_ns();
    bench.transport->wait(5 * base::kNsPerS);
    const uint64_t slept = base::monotonic_ns() - start;
    sender.join();
    EXPECT_GE(slept, 10 * base::kNsPerMs);
    EXPECT_LT(slept, base::kNsPerS);
    ASSERT_TRUE(bench.run_until([&] { return bench.worker.at(session).data == "wake"; }));
}

TEST(SocketTransport, Wait_NothingArrives_SleepsAsLongAsAsked) {
    Bench bench(loopback());
    auto peer = bench.connect();
    const uint64_t start = base::monotonic_ns();
    bench.transport->wait(20 * base::kNsPerMs);
    EXPECT_GE(base::monotonic_ns() - start, 19 * base::kNsPerMs);
}

TEST(SocketTransport, Descriptors_RunOut_PeersRefusedWithoutSpinning) {
    Bench bench(loopback());
    auto kept = bench.connect();
    // The client's end is made before the limit falls: only accept4() meets it.
    auto refused = SocketPeer::connect("127.0.0.1", bench.transport->port());
    ASSERT_NE(refused, nullptr);
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const int lowest = ::dup(0);
    ::close(lowest);
    rlimit tight = before;
    tight.rlim_cur = static_cast<rlim_t>(lowest);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
    std::string got;
    const bool ended = bench.run_until([&] {
        got += refused->receive(100);
        return refused->at_end();
    });
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_TRUE(ended);
    EXPECT_EQ(got, "-ERR max number of clients reached\r\n");
    EXPECT_EQ(bench.counters.get(stats::Counter::sessions_refused), 1u);
    auto later = bench.connect();
    EXPECT_NE(later, nullptr);
}

TEST(SocketTransport, Churn_ManySessions_NoDescriptorLeft) {
    const size_t before = open_descriptors();
    {
        Bench bench(loopback());
        bench.worker.echo = true;
        bench.worker.close_on_eof = true;
        base::Rng rng(11);
        for (int i = 0; i < 600; ++i) {
            auto peer = bench.connect();
            peer->send("hello");
            if (rng.chance(0.3)) {
                peer->reset();
            } else if (rng.chance(0.3)) {
                bench.transport->close(bench.worker.last_opened, io::CloseHow::kAbort);
            } else {
                peer->shutdown_write();
            }
            const int expected = i + 1;
            ASSERT_TRUE(bench.run_until([&] { return bench.worker.closed == expected; }));
        }
        EXPECT_EQ(bench.worker.opened, 600);
        EXPECT_LE(bench.worker.all().size(), 256u);
        auto open = bench.connect();  // the destructor closes what is left
    }
    EXPECT_EQ(open_descriptors(), before);
}

TEST(SocketTransport, Fairness_ManyBusySenders_AllProgress) {
    SocketOptions options = loopback();
    Bench bench(options);
    std::vector<std::unique_ptr<SocketPeer>> peers;
    std::vector<SessionIndex> sessions;
    for (int i = 0; i < 60; ++i) {
        peers.push_back(bench.connect());
        sessions.push_back(bench.worker.last_opened);
    }
    const std::string bytes = io::pattern(128 << 10, 12);
    for (int round = 0; round < 60; ++round) {
        for (auto& peer : peers) peer->send(bytes);
        bench.worker.cycle(bench.now_ns());
    }
    for (const SessionIndex session : sessions) {
        EXPECT_GT(bench.worker.at(session).data.size(), 0u) << session;
    }
}

// --- client role

sockaddr_storage loopback_address(uint16_t port) {
    sockaddr_storage storage{};
    auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return storage;
}

SocketOptions client_options(uint32_t sessions) {
    SocketOptions options = loopback();
    options.listen = false;
    options.sessions_max = sessions;
    return options;
}

TEST(SocketTransport, Connect_ToAListener_OpensAndCarriesBothWays) {
    Bench server(loopback());
    server.worker.echo = true;
    stats::WorkerCounters counters{};
    auto client = make(client_options(64), &counters);
    ASSERT_NE(client, nullptr);
    EXPECT_EQ(client->port(), 0);
    constexpr int kConnections = 64;
    for (int i = 0; i < kConnections; ++i) {
        ASSERT_NE(client->connect(loopback_address(server.transport->port())), kNoIndex);
    }
    // All are taken.
    EXPECT_EQ(client->connect(loopback_address(server.transport->port())), kNoIndex);
    int opened = 0;
    std::string received;
    ASSERT_TRUE(server.run_until([&] {
        io::Event events[64];
        const uint64_t now_ns = base::monotonic_ns();
        const size_t n = client->poll(now_ns, events, 64);
        for (size_t i = 0; i < n; ++i) {
            if (events[i].kind == io::EventKind::kOpened) {
                ++opened;
                client->append(events[i].session, reinterpret_cast<const uint8_t*>("ping"), 4);
            }
            if (events[i].kind == io::EventKind::kData) {
                received.append(reinterpret_cast<const char*>(events[i].data), events[i].size);
            }
        }
        client->release();
        client->flush(now_ns);
        return opened == kConnections && server.worker.opened == kConnections &&
               received.size() == size_t{4} * kConnections;
    }));
    EXPECT_EQ(received.substr(0, 8), "pingping");
}

TEST(SocketTransport, Connect_NobodyListens_ClosedWithReset) {
    uint16_t port = 0;
    { port = Bench(loopback()).transport->port(); }
    stats::WorkerCounters counters{};
    auto client = make(client_options(1), &counters);
    ASSERT_NE(client, nullptr);
    const size_t descriptors = open_descriptors();
    for (int round = 0; round < 3; ++round) {  // the session is free again each time
        const SessionIndex session = client->connect(loopback_address(port));
        ASSERT_NE(session, kNoIndex);
        size_t n = 0;
        io::Event event;
        for (int i = 0; i < 2000 && n == 0; ++i) {
            n = client->poll(base::monotonic_ns(), &event, 1);
            client->release();
            if (n == 0) ::usleep(100);
        }
        ASSERT_EQ(n, 1u);
        EXPECT_EQ(event.kind, io::EventKind::kClosed);
        EXPECT_EQ(event.reason, CloseReason::kReset);
    }
    EXPECT_EQ(open_descriptors(), descriptors);
}

TEST(SocketTransport, Connect_AbortedBeforeTheAnswer_ClosedLocally) {
    stats::WorkerCounters counters{};
    auto client = make(client_options(1), &counters);
    ASSERT_NE(client, nullptr);
    sockaddr_storage nowhere = loopback_address(9);
    // A full accept queue that nobody empties keeps the next connection unanswered.
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_storage any = loopback_address(0);
    ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&any), sizeof(sockaddr_in)), 0);
    ASSERT_EQ(::listen(listener, 0), 0);
    socklen_t size = sizeof nowhere;
    ::getsockname(listener, reinterpret_cast<sockaddr*>(&nowhere), &size);
    std::vector<std::unique_ptr<SocketPeer>> fillers;
    const uint16_t port = ntohs(reinterpret_cast<sockaddr_in*>(&nowhere)->sin_port);
    fillers.push_back(SocketPeer::connect("127.0.0.1", port));
    const SessionIndex session = client->connect(nowhere);
    ASSERT_NE(session, kNoIndex);
    client->close(session, io::CloseHow::kAbort);
    io::Event event;
    ASSERT_EQ(client->poll(base::monotonic_ns(), &event, 1), 1u);
    EXPECT_EQ(event.kind, io::EventKind::kClosed);
    EXPECT_EQ(event.reason, CloseReason::kLocal);
    client->release();
    EXPECT_NE(client->connect(nowhere), kNoIndex);
    ::close(listener);
}

}  // namespace
}  // namespace cachee::socket
