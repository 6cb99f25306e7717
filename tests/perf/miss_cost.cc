// SPDX-License-Identifier: Apache-2.0
// What a miss adds to a round trip to L2, without any client's network: a worker in this process
// over a transport in memory, a real control plane beside it (started by miss_cost's caller,
// p8.py), a real L2. GETs of keys that are in L2 only, in turns with the same GETs sent by this
// thread to L2 itself over a socket of its own that it polls, as the worker polls.
//
// usage: miss_cost_bench INSTANCE RUNTIME_DIR L2_PORT ROUNDS SAMPLES
// Keys are p8:0000000000000 and so on, at least ROUNDS * SAMPLES + 101 of them, values of 64 bytes.
// Prints one line per round: the medians of both in nanoseconds.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "dataplane/worker.h"
#include "shm/wake.h"
#include "tests/unit/dataplane/memory_transport.h"

namespace cachee::perf {
namespace {

constexpr uint64_t kSeed = 7;
constexpr uint64_t kPatienceNs = 10 * base::kNsPerS;

[[noreturn]] void fail(const std::string& why) {
    std::fprintf(stderr, "miss_cost: %s\n", why.c_str());
    std::exit(1);
}

std::string get_of(uint32_t number) {
    char text[64];
    std::snprintf(text, sizeof text, "*2\r\n$3\r\nGET\r\n$16\r\np8:%013u\r\n", number);
    return text;
}

const std::string& expected() {
    static const std::string reply = "$64\r\n" + std::string(64, 'v') + "\r\n";
    return reply;
}

uint64_t median(std::vector<uint64_t>& values) {
    std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                     values.end());
    return values[values.size() / 2];
}

// One blocking question at a time to L2, its answer polled for.
class Direct {
  public:
    explicit Direct(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (fd_ < 0 || ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
            fail("cannot connect to L2");
        }
        const int on = 1;
        ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    ~Direct() { ::close(fd_); }
    Direct(const Direct&) = delete;
    Direct& operator=(const Direct&) = delete;

    uint64_t get_ns(const std::string& request) {
        const uint64_t start = base::monotonic_ns();
        if (::send(fd_, request.data(), request.size(), MSG_NOSIGNAL) !=
            static_cast<ssize_t>(request.size())) {
            fail("cannot write to L2");
        }
        char bytes[256];
        size_t size = 0;
        while (size < expected().size()) {
            const ssize_t count = ::recv(fd_, bytes + size, sizeof bytes - size, MSG_DONTWAIT);
            if (count > 0) size += static_cast<size_t>(count);
            if (count == 0) fail("L2 closed the connection");
            if (base::monotonic_ns() - start > kPatienceNs) fail("L2 does not answer");
        }
        const uint64_t took = base::monotonic_ns() - start;
        if (std::string_view(bytes, size) != expected()) fail("L2 gave a wrong reply");
        return took;
    }

  private:
    int fd_;
};

class Appliance {
  public:
    Appliance(const std::string& instance, const std::string& runtime_dir) : transport_(16) {
        auto segment = shm::Segment::create(instance, {});
        if (!segment) fail(segment.error().message);
        segment_ = std::move(segment).value();
        segment_->header()->hash_seed = kSeed;
        segment_->header()->item_bytes_max = 1 << 20;
        segment_->header()->generation.store(1);
        l1::StoreOptions store_options;
        store_options.instance = instance;
        store_options.hugepages = l1::Hugepages::kOff;
        store_options.bytes = 64 << 20;
        store_options.hash_seed = kSeed;
        auto store = l1::Store::create(store_options);
        if (!store) fail(store.error().message);
        store_ = std::move(store).value();
        auto wake = shm::WakeFifo::open(runtime_dir + "/" + instance + ".wake");
        if (!wake) fail(wake.error().message);
        wake_ = std::make_unique<shm::WakeFifo>(std::move(wake).value());
        dataplane::WorkerOptions options;
        options.hash_seed = kSeed;
        options.request_timeout_ns = kPatienceNs;
        options.config = &config_;
        worker_ = std::make_unique<dataplane::Worker>(options, transport_, *store_, *segment_,
                                                      wake_.get(), nullptr);
        session_ = transport_.open();
    }
    ~Appliance() {
        worker_.reset();
        store_->unlink();
        segment_->unlink();
    }
    Appliance(const Appliance&) = delete;
    Appliance& operator=(const Appliance&) = delete;

    // Until a control plane has given the worker a lease.
    void wait_attached() {
        segment_->header()->dataplane_state.store(static_cast<uint32_t>(shm::PlaneState::kRunning));
        const uint64_t start = base::monotonic_ns();
        uint64_t now = start;
        while (segment_->worker(0)->lease_until_ns.load() < now) {
            now = base::monotonic_ns();
            worker_->poll_once(now);
            if (now - start > kPatienceNs) fail("no control plane came");
        }
    }
    uint64_t get_ns(const std::string& request) {
        const uint64_t start = base::monotonic_ns();
        transport_.send(session_, request);
        std::string reply;
        uint64_t now = start;
        while (reply.size() < expected().size()) {
            worker_->poll_once(now);
            reply += transport_.received(session_);
            now = base::monotonic_ns();
            if (now - start > kPatienceNs) fail("a miss is not answered");
        }
        if (reply != expected()) fail("a wrong reply: " + reply.substr(0, 80));
        return now - start;
    }
    // The thread goes on serving while nothing is measured.
    void idle_ns(uint64_t ns) {
        const uint64_t start = base::monotonic_ns();
        uint64_t now = start;
        while (now - start < ns) {
            now = base::monotonic_ns();
            worker_->poll_once(now);
        }
    }
    uint64_t misses() const { return segment_->worker(0)->counters.get(stats::Counter::l1_misses); }

  private:
    config::Config config_;
    dataplane::MemoryTransport transport_;
    std::unique_ptr<shm::Segment> segment_;
    std::unique_ptr<l1::Store> store_;
    std::unique_ptr<shm::WakeFifo> wake_;
    std::unique_ptr<dataplane::Worker> worker_;
    io::SessionIndex session_ = 0;
};

int run(char** argv) {
    const auto rounds = static_cast<uint32_t>(std::strtoul(argv[4], nullptr, 10));
    const auto samples = static_cast<uint32_t>(std::strtoul(argv[5], nullptr, 10));
    if (rounds == 0 || samples == 0) fail("nothing to do");
    Appliance appliance(argv[1], argv[2]);
    appliance.wait_attached();
    Direct direct(static_cast<uint16_t>(std::strtoul(argv[3], nullptr, 10)));
    for (uint32_t i = 0; i < 100; ++i) {
        appliance.get_ns(get_of(rounds * samples + i));
        direct.get_ns(get_of(rounds * samples + i));
    }
    const uint64_t before = appliance.misses();
    for (uint32_t round = 0; round < rounds; ++round) {
        std::vector<uint64_t> missed;
        std::vector<uint64_t> asked;
        for (uint32_t i = round * samples; i < (round + 1) * samples; ++i) {
            const std::string request = get_of(i);
            asked.push_back(direct.get_ns(request));
            appliance.idle_ns(20'000);  // the control plane has gone to sleep, L2 too
            missed.push_back(appliance.get_ns(request));
            appliance.idle_ns(20'000);
        }
        std::printf("%llu %llu\n", static_cast<unsigned long long>(median(missed)),
                    static_cast<unsigned long long>(median(asked)));
        std::fflush(stdout);
    }
    if (appliance.misses() - before < uint64_t{rounds} * samples) fail("not all of them missed");
    return 0;
}

}  // namespace
}  // namespace cachee::perf

int main(int argc, char** argv) {
    if (argc != 6) {
        std::fprintf(stderr,
                     "usage: miss_cost_bench INSTANCE RUNTIME_DIR L2_PORT ROUNDS SAMPLES\n");
        return 2;
    }
    return cachee::perf::run(argv);
}
