// SPDX-License-Identifier: Apache-2.0
// What a GET of a large value costs the worker, copied and lent: from what size on is lending worth
// its pins? The real Worker over our own TCP and a link in memory whose device "reads" frames
// without the processor, as a NIC does. Two workers, one after the other in every round: values
// copied into the send queue and from there into frames, or lent to a device that can gather.
// Cycles of Worker::poll_once only; medians, and the quartiles of the rounds' ratios.
//
//   large_values_bench ROUNDS      prints one JSON object
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/hash.h"
#include "dataplane/l1_lender.h"
#include "dataplane/standalone.h"
#include "dataplane/worker.h"
#include "memory_link.h"
#include "net/headers.h"
#include "net/tcp_transport.h"

namespace cachee::perf {
namespace {

constexpr uint64_t kSeed = 7;
constexpr uint64_t kStoreBytes = 256 << 20;
constexpr uint64_t kValuesBytes = 96 << 20;  // beyond the caches, so that values come from memory
constexpr uint32_t kKeysMax = 4096;
constexpr uint32_t kSizes[] = {2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 256 << 10};

enum class Way : uint8_t { kCopied, kLent };

[[noreturn]] void fail(const std::string& text) {
    std::fprintf(stderr, "large_values_bench: %s\n", text.c_str());
    std::exit(1);
}

// One store for all; each way has its own link, transports and worker.
class Bench {
  public:
    Bench(Way way, l1::Store& store, shm::Segment& segment, io::Lender& lender) {
        link_.offer_offloads();
        if (way == Way::kLent) link_.offer_attach();
        net::TcpOptions options;
        options.local_ip = net::parse_ipv4_address("198.18.0.1").value();
        options.listen_port = 6379;
        options.sessions_max = 16;
        options.buffers_bytes_max = 64 << 20;
        options.receive_window_bytes = 1 << 20;
        server_ = create(link_.end(0), options, &segment.worker(0)->counters);
        options.local_ip = net::parse_ipv4_address("198.18.0.2").value();
        options.listen_port = 0;
        client_counters_ = std::make_unique<stats::WorkerCounters>();
        client_ = create(link_.end(1), options, client_counters_.get());
        dataplane::WorkerOptions worker;
        worker.standalone = true;
        worker.hash_seed = kSeed;
        worker.request_timeout_ns = 5'000'000'000;
        worker.lend_bytes_min = way == Way::kCopied ? 0 : 1;
        worker.lender = &lender;
        worker.config = &config_;
        worker_ =
            std::make_unique<dataplane::Worker>(worker, *server_, store, segment, nullptr, nullptr);
        session_ = client_->connect(net::parse_ipv4_address("198.18.0.1").value(), 6379);
        for (int i = 0; i < 1000 && !opened_; ++i) turn();
        if (!opened_) fail("the connection did not open");
    }

    // Cycles of the worker for each GET.
    double run(uint32_t first, uint32_t count, uint64_t value_bytes) {
        const uint64_t reply = std::to_string(value_bytes).size() + 3 + value_bytes + 2;
        cycles_ = 0;
        for (uint32_t i = 0; i < count; ++i) {
            std::string request;
            const std::string key = "key:" + std::to_string((first + i) % kKeysMax);
            const std::string_view words[] = {"GET", key};
            resp::append_command(request, words);
            received_ = 0;
            client_->append(session_, reinterpret_cast<const uint8_t*>(request.data()),
                            request.size());
            client_->flush(now_ns_);
            for (int turns = 0; received_ < reply; ++turns) {
                if (turns > 100'000) fail("a reply did not come");
                turn();
            }
            if (received_ != reply) fail("a reply has another length: is the value in L1?");
        }
        return static_cast<double>(cycles_) / count;
    }

  private:
    static std::unique_ptr<net::TcpTransport> create(net::FramePort& port,
                                                     const net::TcpOptions& options,
                                                     stats::WorkerCounters* counters) {
        auto made = net::TcpTransport::create(port, options, counters);
        if (!made) fail(made.error().message);
        return std::move(made).value();
    }

    void turn() {
        now_ns_ += 10'000;
        if (link_.frames_wait_for(0)) {
            const uint64_t before = __rdtsc();
            worker_->poll_once(now_ns_);
            cycles_ += __rdtsc() - before;
        }
        const size_t count = client_->poll(now_ns_, events_, 64);
        for (size_t i = 0; i < count; ++i) {
            if (events_[i].kind == io::EventKind::kOpened) opened_ = true;
            if (events_[i].kind == io::EventKind::kData) received_ += events_[i].size;
            if (events_[i].kind == io::EventKind::kClosed) fail("the connection was closed");
        }
        client_->release();
        client_->flush(now_ns_);
    }

    config::Config config_;
    MemoryLink link_;
    std::unique_ptr<net::TcpTransport> server_;
    std::unique_ptr<net::TcpTransport> client_;
    std::unique_ptr<stats::WorkerCounters> client_counters_;
    std::unique_ptr<dataplane::Worker> worker_;
    io::SessionIndex session_ = 0;
    io::Event events_[64];
    uint64_t now_ns_ = 1'000'000'000'000;
    bool opened_ = false;
    uint64_t received_ = 0;
    uint64_t cycles_ = 0;
};

// The value that a part of all (0..1) lies below.
double quantile(std::vector<double> values, double part) {
    std::sort(values.begin(), values.end());
    return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1))];
}

int run(int rounds) {
    const std::string name = "bench" + std::to_string(::getpid());
    auto segment = shm::Segment::create(name, {});
    if (!segment) fail(segment.error().message);
    (*segment)->header()->hash_seed = kSeed;
    l1::StoreOptions options;
    options.instance = name;
    options.hugepages = l1::Hugepages::kOff;
    options.bytes = kStoreBytes;
    options.item_bytes_expected = 4096;
    options.hash_seed = kSeed;
    auto store = l1::Store::create(options);
    if (!store) fail(store.error().message);
    {
        dataplane::L1Lender lender(**store);
        Bench copied(Way::kCopied, **store, **segment, lender);
        Bench lent(Way::kLent, **store, **segment, lender);
        std::printf("{\"sizes\":[");
        bool first_size = true;
        for (const uint32_t bytes : kSizes) {
            const auto keys =
                static_cast<uint32_t>(std::min<uint64_t>(kKeysMax, kValuesBytes / bytes));
            (*store)->partition(0).clear();
            const std::string value(bytes, 'v');
            for (uint32_t i = 0; i < kKeysMax; ++i) {
                if (i >= keys) break;
                const std::string key = "key:" + std::to_string(i);
                (*store)->partition(0).put(base::hash_key(key, kSeed), key, value, 0, 1, 1);
            }
            const uint32_t count = std::max(8u, keys / 16);
            std::vector<double> cycles[2];
            std::vector<double> ratios;
            uint32_t at = 0;
            for (int round = 0; round < rounds; ++round) {
                double spent[2];
                for (int way = 0; way < 2; ++way) {
                    const uint32_t from = at + count <= keys ? at : 0;
                    spent[way] = (way == 0 ? copied : lent).run(from, count, bytes);
                    cycles[way].push_back(spent[way]);
                    at = from + count;
                }
                ratios.push_back(spent[1] / spent[0]);
            }
            std::printf(
                "%s{\"bytes\":%u,\"copied\":%.0f,\"lent\":%.0f,\"ratio\":%.3f,\"low\":%.3f,"
                "\"high\":%.3f}",
                first_size ? "" : ",", bytes, quantile(cycles[0], 0.5), quantile(cycles[1], 0.5),
                quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75));
            first_size = false;
        }
        std::printf("]}\n");
    }
    (*store)->unlink();
    (*segment)->unlink();
    return 0;
}

}  // namespace
}  // namespace cachee::perf

int main(int argc, char** argv) {
    const int rounds = argc == 2 ? std::atoi(argv[1]) : 0;
    if (rounds <= 0) {
        std::fprintf(stderr, "usage: %s ROUNDS\n", argv[0]);
        return 2;
    }
    return cachee::perf::run(rounds);
}
