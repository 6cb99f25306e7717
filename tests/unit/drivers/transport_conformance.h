// SPDX-License-Identifier: Apache-2.0
// What every io::Transport must do, as a typed GoogleTest suite over the seam alone. A transport's
// own test file supplies a harness and instantiates:
//
//   struct MyHarness {
//       io::Transport& transport();
//       io::Transport& limited();  // another object, with sessions_max() and send limit small
//       uint64_t now_ns();         // the time base for poll() and flush()
//       std::unique_ptr<TestPeer> connect(io::Transport& to);  // nullptr: refused outright
//       void step();               // lets the network work for a moment: real or virtual time
//       static constexpr uint32_t kLimitedSessions, kLimitedSendBytes;
//   };
//   INSTANTIATE_TYPED_TEST_SUITE_P(Mine, TransportConformance, MyHarness);
//
// The peer is non-blocking; the suite interleaves it with the transport in one thread.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "io/transport.h"

namespace cachee::io {

class TestPeer {
  public:
    virtual ~TestPeer() = default;
    virtual size_t send(const std::string& bytes) = 0;  // how many were taken
    virtual std::string receive(size_t max) = 0;        // what has arrived; "" is not the end
    virtual bool at_end() = 0;                          // FIN or RST seen by receive()
    virtual bool was_reset() = 0;
    virtual void shutdown_write() = 0;
    virtual void reset() = 0;
};

// A worker in miniature: runs the poll, release, flush cycle and records what each session saw.
class MiniWorker {
  public:
    struct Seen {
        bool open = false;
        std::string data;
        int opened = 0, eofs = 0, writables = 0, closes = 0;
        CloseReason reason = CloseReason::kLocal;
        std::string owed;  // echo bytes that the send limit refused
    };

    explicit MiniWorker(Transport& transport) : transport_(transport) {}

    // One cycle; the number of events.
    size_t cycle(uint64_t now_ns) {
        std::array<Event, 32> events;
        const size_t n = transport_.poll(now_ns, events.data(), events.size());
        for (size_t i = 0; i < n; ++i) take(events[i]);
        transport_.release();
        transport_.flush(now_ns);
        return n;
    }

    Seen& at(SessionIndex session) { return seen_[session]; }
    std::map<SessionIndex, Seen>& all() { return seen_; }
    SessionIndex last_opened = UINT32_MAX;
    bool echo = false;
    bool close_on_eof = false;
    int opened = 0;
    int closed = 0;

    void send(SessionIndex session, const std::string& bytes) {
        Seen& seen = seen_[session];
        seen.owed += bytes;
        push(session, seen);
    }

  private:
    void take(const Event& event) {
        Seen& seen = seen_[event.session];
        ASSERT_LT(event.session, transport_.sessions_max());
        switch (event.kind) {
            case EventKind::kOpened:
                ASSERT_FALSE(seen.open) << "a session was opened twice";
                seen = Seen{};
                seen.open = true;
                seen.opened = 1;
                last_opened = event.session;
                ++opened;
                break;
            case EventKind::kData:
                ASSERT_TRUE(seen.open) << "data outside a session's life";
                ASSERT_EQ(seen.eofs, 0) << "data after the end";
                ASSERT_GT(event.size, 0u);
                seen.data.append(reinterpret_cast<const char*>(event.data), event.size);
                if (echo) {
                    seen.owed.append(reinterpret_cast<const char*>(event.data), event.size);
                    push(event.session, seen);
                }
                break;
            case EventKind::kEof:
                ASSERT_TRUE(seen.open);
                ASSERT_EQ(++seen.eofs, 1) << "two ends";
                if (close_on_eof && seen.owed.empty()) {
                    transport_.close(event.session, CloseHow::kFlush);
                }
                break;
            case EventKind::kWritable:
                ASSERT_TRUE(seen.open);
                ++seen.writables;
                push(event.session, seen);
                if (close_on_eof && seen.eofs > 0 && seen.owed.empty()) {
                    transport_.close(event.session, CloseHow::kFlush);
                }
                break;
            case EventKind::kClosed:
                ASSERT_TRUE(seen.open) << "closed twice, or never opened";
                seen.open = false;
                ++seen.closes;
                seen.reason = event.reason;
                ++closed;
                break;
        }
    }
    void push(SessionIndex session, Seen& seen) {
        const size_t taken = transport_.append(
            session, reinterpret_cast<const uint8_t*>(seen.owed.data()), seen.owed.size());
        ASSERT_LE(taken, seen.owed.size());
        seen.owed.erase(0, taken);
    }

    Transport& transport_;
    std::map<SessionIndex, Seen> seen_;
};

inline std::string pattern(size_t size, uint64_t seed) {
    base::Rng rng(seed);
    std::string bytes(size, '\0');
    for (char& byte : bytes) byte = static_cast<char>(rng.next());
    return bytes;
}

template <typename Harness>
class TransportConformance : public ::testing::Test {
  protected:
    // Cycles until `done()` or too many steps: the caller asserts what it waited for.
    template <typename Done>
    bool run_until(Transport&, MiniWorker& worker, Done done, int steps_max = 20000) {
        for (int i = 0; i < steps_max; ++i) {
            if (done()) return true;
            if (worker.cycle(harness_.now_ns()) == 0) harness_.step();
        }
        return done();
    }
    SessionIndex open(Transport& to, MiniWorker& worker, std::unique_ptr<TestPeer>& peer) {
        const int before = worker.opened;
        peer = harness_.connect(to);
        EXPECT_NE(peer, nullptr);
        EXPECT_TRUE(run_until(to, worker, [&] { return worker.opened > before; }));
        return worker.last_opened;
    }

    Harness harness_;
};

TYPED_TEST_SUITE_P(TransportConformance);

TYPED_TEST_P(TransportConformance, Reply_ReservedAndAppended_ArrivesInOrder) {
    Transport& transport = this->harness_.transport();
    MiniWorker worker(transport);
    std::unique_ptr<TestPeer> peer;
    const SessionIndex session = this->open(transport, worker, peer);
    EXPECT_NE(transport.peer_cold(session), "");
    ASSERT_EQ(peer->send("ping"), 4u);
    ASSERT_TRUE(
        this->run_until(transport, worker, [&] { return worker.at(session).data == "ping"; }));
    uint8_t* place = transport.reserve(session, kReserveBytesMax);
    ASSERT_NE(place, nullptr);
    std::memcpy(place, "one ", 4);
    transport.commit(session, 4);
    const std::string middle = pattern(5000, 1);
    ASSERT_EQ(transport.append(session, reinterpret_cast<const uint8_t*>(middle.data()), 5000),
              5000u);
    place = transport.reserve(session, 16);
    ASSERT_NE(place, nullptr);
    place =
        transport.reserve(session, 5);  // a reservation that was never committed counts for nothing
    ASSERT_NE(place, nullptr);
    std::memcpy(place, " last", 5);
    transport.commit(session, 5);
    std::string got;
    ASSERT_TRUE(this->run_until(transport, worker, [&] {
        got += peer->receive(1 << 20);
        return got.size() >= 5009;
    }));
    EXPECT_EQ(got, "one " + middle + " last");
}

TYPED_TEST_P(TransportConformance, Echo_LargeBothWays_StreamsEqual) {
    Transport& transport = this->harness_.transport();
    MiniWorker worker(transport);
    worker.echo = true;
    worker.close_on_eof = true;
    std::unique_ptr<TestPeer> peer;
    const SessionIndex session = this->open(transport, worker, peer);
    const std::string bytes = pattern(3 << 20, 2);
    size_t sent = 0;
    bool finished = false;
    std::string got;
    ASSERT_TRUE(this->run_until(transport, worker, [&] {
        if (sent < bytes.size()) sent += peer->send(bytes.substr(sent, 1 << 16));
        if (sent == bytes.size() && !finished) {
            peer->shutdown_write();
            finished = true;
        }
        // A peer that reads behind its own writing: the send limit is reached now and then.
        if (sent > got.size() + (1 << 19) || finished) got += peer->receive(1 << 16);
        return peer->at_end();
    }));
    EXPECT_TRUE(got == bytes) << got.size() << " of " << bytes.size();
    EXPECT_EQ(worker.at(session).eofs, 1);
    ASSERT_TRUE(this->run_until(transport, worker, [&] { return worker.closed == 1; }));
    EXPECT_FALSE(peer->was_reset());
}

TYPED_TEST_P(TransportConformance, Sessions_Many_KeepTheirStreamsApart) {
    Transport& transport = this->harness_.transport();
    MiniWorker worker(transport);
    worker.echo = true;
    std::vector<std::unique_ptr<TestPeer>> peers;
    constexpr size_t kPeers = 100;
    for (size_t i = 0; i < kPeers; ++i) {
        std::unique_ptr<TestPeer> peer;
        this->open(transport, worker, peer);
        peers.push_back(std::move(peer));
    }
    std::vector<std::string> got(kPeers);
    for (int round = 0; round < 5; ++round) {
        for (size_t i = 0; i < kPeers; ++i) {
            const std::string line = std::to_string(i) + ":" + std::to_string(round) + "\n";
            ASSERT_EQ(peers[i]->send(line), line.size());
            ASSERT_TRUE(this->run_until(transport, worker, [&] {
                got[i] += peers[i]->receive(1000);
                return got[i].ends_with(line);
            }));
        }
    }
    for (auto& peer : peers) peer->reset();
    EXPECT_TRUE(this->run_until(transport, worker,
                                [&] { return worker.closed == static_cast<int>(kPeers); }));
}

TYPED_TEST_P(TransportConformance, HalfClose_RepliesStillReachPeer) {
    Transport& transport = this->harness_.transport();
    MiniWorker worker(transport);
    std::unique_ptr<TestPeer> peer;
    const SessionIndex session = this->open(transport, worker, peer);
    peer->send("question");
    peer->shutdown_write();
    ASSERT_TRUE(this->run_until(transport, worker, [&] { return worker.at(session).eofs == 1; }));
    EXPECT_EQ(worker.at(session).data, "question");
    worker.send(session, "answer");
    std::string got;
    ASSERT_TRUE(this->run_until(transport, worker, [&] {
        got += peer->receive(100);
        return got == "answer";
    }));
    EXPECT_FALSE(peer->at_end());
    transport.close(session, CloseHow::kFlush);
    ASSERT_TRUE(this->run_until(transport, worker, [&] {
        got += peer->receive(100);
        return peer->at_end() && worker.closed == 1;
    }));
    EXPECT_FALSE(peer->was_reset());
    EXPECT_EQ(worker.at(session).closes, 1);
}

TYPED_TEST_P(TransportConformance, PeerResets_OneClosedWithReset) {
    Transport& transport = this->harness_.transport();
    MiniWorker worker(transport);
    std::unique_ptr<TestPeer> peer;
    const SessionIndex session = this->open(transport, worker, peer);
    peer->reset();
    ASSERT_TRUE(this->run_until(transport, worker, [&] { return worker.closed == 1; }));
    EXPECT_EQ(worker.at(session).reason, CloseReason::kReset);
    // The index is free: whatever is sent to it goes nowhere, and nothing more is said of it.
    EXPECT_EQ(transport.append(session, reinterpret_cast<const uint8_t*>("x"), 1), 1u);
    EXPECT_EQ(transport.reserve(session, 1), nullptr);
    for (int i = 0; i < 50; ++i) {
        worker.cycle(this->harness_.now_ns());
        this->harness_.step();
    }
    EXPECT_EQ(worker.closed, 1);
}

TYPED_TEST_P(TransportConformance, PeerResetsPausedSession_Closed) {
    Transport& transport = this->harness_.transport();
    MiniWorker worker(transport);
    std::unique_ptr<TestPeer> peer;
    const SessionIndex session = this->open(transport, worker, peer);
    transport.pause(session);
    peer->send("never seen");
    for (int i = 0; i < 20; ++i) {
        worker.cycle(this->harness_.now_ns());
        this->harness_.step();
    }
    peer->reset();
    ASSERT_TRUE(this->run_until(transport, worker, [&] { return worker.closed == 1; }));
    EXPECT_EQ(worker.at(session).reason, CloseReason::kReset);
    EXPECT_EQ(worker.at(session).data, "");
}

TYPED_TEST_P(TransportConformance, Abort_PeerSeesReset) {
    Transport& transport = this->harness_.transport();
    MiniWorker worker(transport);
    std::unique_ptr<TestPeer> peer;
    const SessionIndex session = this->open(transport, worker, peer);
    transport.close(session, CloseHow::kAbort);
    transport.close(session, CloseHow::kAbort);
    ASSERT_TRUE(this->run_until(transport, worker, [&] {
        peer->receive(10);
        return peer->at_end() && worker.closed == 1;
    }));
    EXPECT_TRUE(peer->was_reset());
    EXPECT_EQ(worker.at(session).closes, 1);
}

TYPED_TEST_P(TransportConformance, CloseFlush_DeliversEverythingThenFin) {
    Transport& transport = this->harness_.transport();
    MiniWorker worker(transport);
    std::unique_ptr<TestPeer> peer;
    const SessionIndex session = this->open(transport, worker, peer);
    peer->send("unread bytes must not turn the close into a reset");
    const std::string bytes = pattern(600 * 1024, 3);
    worker.send(session, bytes);
    ASSERT_EQ(worker.at(session).owed, "");
    transport.close(session, CloseHow::kFlush);
    EXPECT_EQ(transport.reserve(session, 1), nullptr);
    EXPECT_EQ(transport.append(session, reinterpret_cast<const uint8_t*>("late"), 4), 4u);
    std::string got;
    ASSERT_TRUE(this->run_until(transport, worker, [&] {
        got += peer->receive(1 << 14);
        return peer->at_end();
    }));
    EXPECT_TRUE(got == bytes) << got.size() << " of " << bytes.size();
    EXPECT_FALSE(peer->was_reset());
    peer.reset();
    ASSERT_TRUE(this->run_until(transport, worker, [&] { return worker.closed == 1; }));
    EXPECT_EQ(worker.at(session).reason, CloseReason::kLocal);
    EXPECT_EQ(worker.at(session).data, "") << "data after close()";
}

TYPED_TEST_P(TransportConformance, Pause_HoldsDataAndEnd_ResumeDeliversThem) {
    Transport& transport = this->harness_.transport();
    MiniWorker worker(transport);
    std::unique_ptr<TestPeer> peer;
    const SessionIndex session = this->open(transport, worker, peer);
    transport.pause(session);
    // The peer's window closes: it can send only so much.
    const std::string bytes = pattern(64 << 10, 4);
    size_t sent = 0;
    size_t stuck = 0;
    for (int i = 0; i < 3000 && stuck < 50; ++i) {
        const size_t n = sent < (64u << 20) ? peer->send(bytes) : 0;
        sent += n;
        stuck = n == 0 ? stuck + 1 : 0;
        worker.cycle(this->harness_.now_ns());
        if (n == 0) this->harness_.step();
    }
    EXPECT_EQ(stuck, 50u) << "a paused session took " << sent << " bytes";
    EXPECT_EQ(worker.at(session).data, "");
    peer->shutdown_write();
    for (int i = 0; i < 20; ++i) {
        worker.cycle(this->harness_.now_ns());
        this->harness_.step();
    }
    EXPECT_EQ(worker.at(session).eofs, 0);
    transport.resume(session);
    ASSERT_TRUE(this->run_until(transport, worker, [&] { return worker.at(session).eofs == 1; }));
    EXPECT_EQ(worker.at(session).data.size(), sent);
}

TYPED_TEST_P(TransportConformance, SendLimit_RefusesThenWritable_NothingLost) {
    Transport& transport = this->harness_.limited();
    MiniWorker worker(transport);
    std::unique_ptr<TestPeer> peer;
    const SessionIndex session = this->open(transport, worker, peer);
    const std::string bytes = pattern(16 << 20, 5);
    worker.send(session, bytes);
    const size_t taken = bytes.size() - worker.at(session).owed.size();
    EXPECT_LE(taken, TypeParam::kLimitedSendBytes);
    EXPECT_GT(taken, 0u);
    EXPECT_EQ(transport.reserve(session, kReserveBytesMax), nullptr);
    std::string got;
    ASSERT_TRUE(this->run_until(transport, worker, [&] {
        got += peer->receive(1 << 16);
        return got.size() >= bytes.size();
    }));
    EXPECT_TRUE(got == bytes);
    EXPECT_GT(worker.at(session).writables, 0);
    EXPECT_NE(transport.reserve(session, kReserveBytesMax), nullptr);
}

TYPED_TEST_P(TransportConformance, SessionsMax_BeyondIt_RefusedAndIndexReused) {
    Transport& transport = this->harness_.limited();
    MiniWorker worker(transport);
    std::vector<std::unique_ptr<TestPeer>> peers;
    for (uint32_t i = 0; i < TypeParam::kLimitedSessions; ++i) {
        std::unique_ptr<TestPeer> peer;
        this->open(transport, worker, peer);
        peers.push_back(std::move(peer));
    }
    auto refused = this->harness_.connect(transport);
    if (refused != nullptr) {
        ASSERT_TRUE(this->run_until(transport, worker, [&] {
            refused->receive(100);
            return refused->at_end();
        }));
    }
    EXPECT_EQ(worker.opened, static_cast<int>(TypeParam::kLimitedSessions));
    peers[1]->reset();
    ASSERT_TRUE(this->run_until(transport, worker, [&] { return worker.closed == 1; }));
    std::unique_ptr<TestPeer> next;
    this->open(transport, worker, next);
    EXPECT_EQ(worker.opened, static_cast<int>(TypeParam::kLimitedSessions) + 1);
}

REGISTER_TYPED_TEST_SUITE_P(TransportConformance, Reply_ReservedAndAppended_ArrivesInOrder,
                            Echo_LargeBothWays_StreamsEqual, Sessions_Many_KeepTheirStreamsApart,
                            HalfClose_RepliesStillReachPeer, PeerResets_OneClosedWithReset,
                            PeerResetsPausedSession_Closed, Abort_PeerSeesReset,
                            CloseFlush_DeliversEverythingThenFin,
                            Pause_HoldsDataAndEnd_ResumeDeliversThem,
                            SendLimit_RefusesThenWritable_NothingLost,
                            SessionsMax_BeyondIt_RefusedAndIndexReused);

}  // namespace cachee::io
