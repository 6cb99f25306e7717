// SPDX-License-Identifier: Apache-2.0
// Ten thousand clients that ask and are answered, with connections coming and going, first alone
// and then beside attackers on the same link: a SYN flood, readers that keep their windows closed,
// peers that half-close and fall silent, storms of RST and SYN with the clients' own addresses,
// stray ACKs. Memory keeps its bound, no client's connection breaks, the clients' goodput holds.
// Virtual time, one seed. Longer, by hand: CACHEE_SOAK_SECONDS=600 sim_tcp_soak_test.
#include <gtest/gtest.h>

#include <cstdlib>
#include <queue>

#include "net/bytes.h"
#include "net/headers.h"
#include "net/interface.h"
#include "tests/sim/world.h"

namespace cachee::sim {
namespace {

using stats::Counter;

constexpr uint32_t kClients = 10'000;
constexpr size_t kRequestBytes = 16;
constexpr uint64_t kStepNs = 200'000;
constexpr uint32_t kSlowReaders = 400;
constexpr uint32_t kFloodNet = 0x0a010000;
constexpr uint32_t kSlowNet = 0x0a020000;
constexpr uint32_t kHalfNet = 0x0a030000;

net::TcpOptions soak_options(uint32_t ip) {
    net::TcpOptions options;
    options.local_ip = ip;
    options.prefix_length = 8;
    options.sessions_max = 16384;
    options.half_open_max = 512;
    options.time_wait_max = 4096;
    options.send_buffer_bytes_max = 128 * 1024;
    options.receive_window_bytes = 64 * 1024;
    options.buffers_bytes_max = 24 * base::kMiB;
    options.rto_initial_ms = 100;
    options.time_wait_ms = 200;
    options.linger_ms = 1000;
    options.fin_wait_2_ms = 1000;
    options.slow_reader_timeout_s = 5;
    options.retransmissions_max = 6;
    options.keepalive_idle_s = 5;
    options.keepalive_interval_s = 1;
    options.keepalive_probes_max = 3;
    options.secret_seed = 42;
    return options;
}

// Everything but the clients: crafts segments, and sees what the server sends to its addresses.
class Attackers {
  public:
    Attackers(SimLink& link, uint64_t seed) : link_(link), rng_(seed), slow_(kSlowReaders) {
        link.set_filter([this](int from, const uint8_t* data, uint32_t size) {
            return from != 0 || !take(data, size);
        });
    }

    // One millisecond's worth.
    void attack(uint64_t now_ms) {
        for (int i = 0; i < 20; ++i) {
            const auto ip = kFloodNet + static_cast<uint32_t>(rng_.below(65536));
            send(ip, port(), net::kSyn, random(), 0, 65535, 0);
        }
        for (int i = 0; i < 8; ++i) spoof(i % 2 == 0 ? net::kRst : net::kSyn);
        for (int i = 0; i < 4; ++i) {
            send(kFloodNet + static_cast<uint32_t>(rng_.below(65536)), port(), net::kAck, random(),
                 random(), 65535, 0);
        }
        Slow& slow = slow_[now_ms % kSlowReaders];  // (re)opens one
        if (!slow.open) open(slow, kSlowNet + static_cast<uint32_t>(now_ms % kSlowReaders), false);
        if (now_ms % 4 == 0) {
            half_.emplace_back();
            if (half_.size() > 4000) half_.erase(half_.begin(), half_.begin() + 2000);
            open(half_.back(), kHalfNet + static_cast<uint32_t>(half_opened_++ % 65536), true);
        }
        answer();
    }
    uint64_t slow_resets() const { return slow_resets_; }

  private:
    struct Slow {
        uint32_t ip = 0;
        uint16_t port = 0;
        bool open = false;
        bool half = false;
    };
    struct Heard {
        uint32_t ip;
        uint16_t port;
        uint8_t flags;
        uint32_t seq;
        uint32_t ack;
    };

    uint32_t random() { return static_cast<uint32_t>(rng_.next()); }
    uint16_t port() { return static_cast<uint16_t>(1024 + rng_.below(60000)); }

    // With the address of a client and the port of some: blind, as an attacker off the path is.
    void spoof(uint8_t flags) {
        const auto to = static_cast<uint16_t>(32768 + rng_.below(32768));
        send(kClientIp, to, flags, random(), 0, 1000, 0);
    }
    void open(Slow& slow, uint32_t ip, bool half) {
        slow = {ip, port(), true, half};
        send(slow.ip, slow.port, net::kSyn, 1000, 0, 4000, 0);
    }

    bool take(const uint8_t* data, uint32_t size) {
        net::Ipv4Packet packet;
        net::TcpSegment segment;
        if (net::load_be16(data + 12) != net::kEtherTypeIpv4 ||
            !net::parse_ipv4(data + 14, size - 14, packet) || packet.dst_ip == kClientIp ||
            !net::parse_tcp(packet.payload, packet.payload_bytes, segment)) {
            return false;
        }
        const uint32_t net = packet.dst_ip & 0xffff0000;
        if (net != kFloodNet) {
            heard_.push_back({packet.dst_ip, segment.dst_port, static_cast<uint8_t>(segment.flags),
                              segment.seq + segment.size, segment.ack});
        }
        return true;
    }

    // A closed window for whatever comes; after the handshake, requests for more than the server
    // may hold, or a FIN.
    void answer() {
        std::vector<Heard> heard;
        heard.swap(heard_);
        for (const Heard& h : heard) {
            const bool slow = (h.ip & 0xffff0000) == kSlowNet;
            if ((h.flags & net::kRst) != 0) {
                if (slow && slow_[h.ip - kSlowNet].port == h.port) {
                    slow_[h.ip - kSlowNet].open = false;
                    ++slow_resets_;
                }
                continue;
            }
            if ((h.flags & net::kSyn) != 0) {
                send(h.ip, h.port, net::kAck, 1001, h.seq + 1, 500, 20 * kRequestBytes);
                if (!slow) {
                    send(h.ip, h.port, net::kAck | net::kFin, 1001 + 20 * kRequestBytes, h.seq + 1,
                         500, 0);
                }
            } else if (slow) {
                // Nothing is taken: the ACK repeats the first one's number.
                send(h.ip, h.port, net::kAck, h.ack, h.seq - 1, 0, 0);
            }
        }
    }

    void send(uint32_t ip, uint16_t from, uint8_t flags, uint32_t seq, uint32_t ack,
              uint16_t window, uint32_t payload) {
        net::FramePort& raw = link_.end(1);
        net::TxFrame frame;
        if (raw.tx_alloc(&frame, 1) != 1) return;
        uint8_t* const p = frame.data;
        std::memset(p, 0, 54);
        const net::MacAddress& to = link_.end(0).info().mac;
        std::copy(to.begin(), to.end(), p);
        p[6] = 2;
        p[7] = 9;
        net::store_be16(p + 12, net::kEtherTypeIpv4);
        p[14] = 0x45;
        net::store_be16(p + 16, static_cast<uint16_t>(40 + payload));
        p[22] = 64;
        p[23] = net::kProtocolTcp;
        net::store_be32(p + 26, ip);
        net::store_be32(p + 30, kServerIp);
        net::store_be16(p + 34, from);
        net::store_be16(p + 36, kPort);
        net::store_be32(p + 38, seq);
        net::store_be32(p + 42, ack);
        p[46] = 0x50;
        p[47] = flags;
        net::store_be16(p + 48, window);
        // Requests for the largest reply.
        for (uint32_t i = 0; i < payload; ++i) p[54 + i] = i % kRequestBytes == 0 ? 'X' : '.';
        net::checksum_store(p + 24, net::checksum_finish(net::checksum_add(p + 14, 20, 0)));
        const uint64_t pseudo =
            net::pseudo_header_sum(ip, kServerIp, net::kProtocolTcp, 20 + payload);
        net::checksum_store(p + 50,
                            net::checksum_finish(net::checksum_add(p + 34, 20 + payload, pseudo)));
        frame.size = 54 + payload;
        if (raw.tx_burst(&frame, 1) != 1) raw.tx_free(&frame, 1);
    }

    SimLink& link_;
    base::Rng rng_;
    std::vector<Slow> slow_;
    std::vector<Slow> half_;
    std::vector<Heard> heard_;
    uint64_t half_opened_ = 0;
    uint64_t slow_resets_ = 0;
};

size_t reply_bytes(char kind) {
    return kind == 'X' ? 60'000 : kind == 'l' ? 8000 : kind == 'm' ? 1500 : 64;
}

class Soak {
  public:
    Soak(uint64_t seed, bool attacked)
        : link_options_(link_options(seed)),
          world_(link_options_, soak_options(kServerIp), soak_options(kClientIp)),
          rng_(seed),
          attacked_(attacked),
          attackers_(world_.link, seed + 1) {
        world_.step_ns = kStepNs;
        world_.server->on_data = [this](int64_t id) { serve(id); };
        world_.server->on_eof = [this](int64_t id) { world_.server->close(id); };
        world_.client->on_data = [this](int64_t id) { replied(id); };
    }

    // The clients' exchanges in that much time, after all are connected.
    uint64_t run(uint64_t seconds) {
        for (uint32_t opened = 0; opened < kClients;) {
            for (int i = 0; i < 20 && opened < kClients; ++i, ++opened) connect();
            step();
        }
        for (int i = 0; i < 2000; ++i) step();
        EXPECT_GE(world_.server_usage().sessions, kClients * 99 / 100) << "some are leaving";
        const uint64_t before = exchanges_;
        const uint64_t end = world_.now_ns + seconds * base::kNsPerS;
        measuring_ = true;
        while (world_.now_ns < end && !::testing::Test::HasFailure()) step();
        return exchanges_ - before;
    }

    // All clients and attackers fall silent, or close.
    void wind_down() {
        attacked_ = false;
        stopping_ = true;
        for (size_t i = 0; i < clients_.size(); ++i) {
            if (!clients_[i].open) continue;
            world_.client->abort(static_cast<int64_t>(i));
            if (i % 50 == 0) world_.step();  // more at once would not fit the link
        }
        world_.step_ns = 2'000'000;
        world_.run_for_ms(20'000);
        const auto usage = world_.server_usage();
        EXPECT_EQ(usage.sessions, 0u);
        EXPECT_EQ(usage.half_open, 0u);
        EXPECT_EQ(usage.time_wait, 0u);
        EXPECT_EQ(usage.blocks, 0u);
    }

    uint64_t counter(Counter id) { return world_.server->counter(id); }
    uint32_t blocks_most() const { return blocks_most_; }
    uint64_t broken() const { return broken_; }
    uint64_t churned() const { return churned_; }
    const Attackers& attackers() const { return attackers_; }

  private:
    struct Client {
        bool open = false;
        bool leaving = false;
        char kind = 's';
        size_t missing = 0;
    };
    struct Due {
        uint64_t ns;
        int64_t id;
        bool operator<(const Due& other) const { return ns > other.ns; }
    };

    static SimLinkOptions link_options(uint64_t seed) {
        SimLinkOptions options;
        options.seed = seed;
        options.delay_ns = 100'000;
        options.queue_frames = 8192;
        options.tx_frames = 4096;
        return options;
    }

    void connect() {
        const int64_t id = world_.client->connect(kServerIp, kPort);
        ASSERT_GE(id, 0);
        clients_.resize(static_cast<size_t>(id) + 1);
        clients_[static_cast<size_t>(id)].open = true;
        ask_later(id, 300);
    }
    void ask_later(int64_t id, uint64_t within_ms) {
        due_.push({world_.now_ns + rng_.below(within_ms * base::kNsPerMs), id});
    }
    void ask(int64_t id) {
        Client& client = clients_[static_cast<size_t>(id)];
        if (!client.open || client.leaving) return;
        const uint64_t draw = rng_.below(1000);
        if (draw < 5) {  // leaves, and another one comes
            client.leaving = true;
            world_.client->half_close(id);
            return;
        }
        client.kind = draw < 15 ? 'l' : draw < 100 ? 'm' : 's';
        client.missing = reply_bytes(client.kind);
        world_.client->send(id, std::string(1, client.kind) + std::string(kRequestBytes - 1, '.'));
    }
    void serve(int64_t id) {
        std::string& in = world_.server->session(id).received;
        std::string out;
        size_t at = 0;
        for (; in.size() - at >= kRequestBytes; at += kRequestBytes) {
            out.append(reply_bytes(in[at]), in[at]);
        }
        in.erase(0, at);
        world_.server->send(id, out);
    }
    void replied(int64_t id) {
        Client& client = clients_[static_cast<size_t>(id)];
        const std::string got = world_.client->take_received(id);
        ASSERT_LE(got.size(), client.missing);
        ASSERT_EQ(got.find_first_not_of(client.kind), std::string::npos);
        client.missing -= got.size();
        if (client.missing > 0) return;
        ++exchanges_;
        ask_later(id, 300);
    }

    void step() {
        while (!due_.empty() && due_.top().ns <= world_.now_ns && !stopping_) {
            const int64_t id = due_.top().id;
            due_.pop();
            ask(id);
        }
        if (attacked_ && measuring_ && world_.now_ns / base::kNsPerMs != attacked_ms_) {
            attacked_ms_ = world_.now_ns / base::kNsPerMs;
            attackers_.attack(attacked_ms_);
        }
        world_.step();
        // A worker polls more often: a burst of 32 per step would be less than what is offered.
        world_.server->step(world_.now_ns);
        blocks_most_ = std::max(blocks_most_, world_.server_usage().blocks);
        if (++steps_ % 256 == 0) replace_gone();
    }
    void replace_gone() {
        uint32_t gone = 0;
        for (size_t i = 0; i < clients_.size(); ++i) {
            Client& client = clients_[i];
            if (!client.open || !world_.client->session(static_cast<int64_t>(i)).closed) continue;
            client.open = false;
            ++(client.leaving ? churned_ : broken_);
            ++gone;
        }
        for (; gone > 0; --gone) connect();
    }

    const SimLinkOptions link_options_;
    World world_;
    base::Rng rng_;
    bool attacked_;
    bool measuring_ = false;
    bool stopping_ = false;
    Attackers attackers_;
    std::vector<Client> clients_;
    std::priority_queue<Due> due_;
    uint64_t exchanges_ = 0;
    uint64_t attacked_ms_ = 0;
    uint64_t steps_ = 0;
    uint64_t broken_ = 0;
    uint64_t churned_ = 0;
    uint32_t blocks_most_ = 0;
};

uint64_t number_from(const char* name, uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(TcpSoak, TenThousandClients_BesideAttackers_GoodputAndMemoryHold) {
    const uint64_t seconds = number_from("CACHEE_SOAK_SECONDS", 2);
    const uint64_t seed = number_from("CACHEE_TEST_SEED", 1);
    std::cout << "CACHEE_TEST_SEED=" << seed << " CACHEE_SOAK_SECONDS=" << seconds << std::endl;
    uint64_t alone = 0;
    {
        Soak soak(seed, false);
        alone = soak.run(seconds);
        EXPECT_EQ(soak.broken(), 0u);
        EXPECT_GT(soak.churned(), 10u);
    }
    Soak soak(seed, true);
    const uint64_t beside = soak.run(seconds);
    std::cout << "exchanges: " << alone << " alone, " << beside << " beside attackers; most blocks "
              << soak.blocks_most() << ", cookies " << soak.counter(Counter::tcp_cookies_sent)
              << " sent " << soak.counter(Counter::tcp_cookies_accepted)
              << " accepted, slow readers " << soak.counter(Counter::tcp_slow_readers)
              << " closed for time " << soak.counter(Counter::tcp_slow_readers_memory)
              << " for memory, challenge ACKs " << soak.counter(Counter::tcp_challenge_acks)
              << ", churned " << soak.churned() << std::endl;
    EXPECT_GT(alone, seconds * 20'000);
    EXPECT_GE(static_cast<double>(beside), 0.8 * static_cast<double>(alone));
    EXPECT_EQ(soak.broken(), 0u) << "no client's connection may break";
    EXPECT_LE(soak.blocks_most(), 24 * base::kMiB / 2048);
    EXPECT_GT(soak.counter(Counter::tcp_cookies_sent), seconds * 10'000);
    EXPECT_GT(soak.counter(Counter::tcp_slow_readers_memory), 0u);
    EXPECT_GT(soak.attackers().slow_resets(), 0u);
    soak.wind_down();
}

}  // namespace
}  // namespace cachee::sim
