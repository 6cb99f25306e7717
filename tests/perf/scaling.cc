// SPDX-License-Identifier: Apache-2.0
// Which cache lines do workers share when they answer GETs? Two programs in one:
//
//   scaling_bench run WORKERS GETS get|fresh|mixed|lent   to be run under `valgrind --tool=lackey
//       --trace-mem=yes`: workers as in production over our own TCP and a link in memory each,
//       asked for keys of all of them. They take turns in one thread, each on a stack of its own,
//       so that a run repeats itself; before and after each poll a mark is written, by which the
//       trace says whose poll an access belongs to. The clients are outside of the marks.
//   scaling_bench analyse                           reads that trace from its standard input: lines
//       that one worker wrote and another one read or wrote, and how many stores went to them
//
// The trace has every load and store of the program's code, libc's included. What is one per thread
// in production is shared here, which can only make the figure worse. `fresh`: the owner of a key
// still counts its hits for the eviction policy; with the others that count is at its end. `mixed`
// (one SET in ten, of any worker's key) is there to show that the measurement sees what it looks
// for; `lent` has values that are sent from L1 itself. Both programs print one JSON object.
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"
#include "dataplane/l1_lender.h"
#include "dataplane/standalone.h"
#include "dataplane/worker.h"
#include "memory_link.h"
#include "net/headers.h"
#include "net/tcp_transport.h"

namespace cachee::perf {
namespace {

// The page of marks lies where both programs know it: one line per worker, then two more.
constexpr uintptr_t kMarks = 0x20'0000'0000;
constexpr uint32_t kWorkersMax = 32;
constexpr uint32_t kNobody = kWorkersMax;       // a poll has ended
constexpr uint32_t kMeasure = kWorkersMax + 1;  // what follows counts

void mark(uint32_t which) {
    *reinterpret_cast<volatile uint64_t*>(kMarks + uint64_t{64} * which) = 1;
}

[[noreturn]] void fail(const std::string& text) {
    std::fprintf(stderr, "scaling_bench: %s\n", text.c_str());
    std::exit(1);
}

constexpr uint64_t kSeed = 7;
constexpr uint32_t kKeys = 100;
constexpr uint32_t kConnections = 4;  // of each worker
constexpr uint32_t kLentBytes = 8192;

enum class Load { kGet, kFresh, kMixed, kLent };

// One worker's network and its clients.
struct Lane {
    MemoryLink link;
    stats::WorkerCounters client_counters;
    std::unique_ptr<net::TcpTransport> server;
    std::unique_ptr<net::TcpTransport> client;
    std::unique_ptr<dataplane::Worker> worker;
    std::vector<io::SessionIndex> sessions;
    uint32_t opened = 0;
    uint64_t received = 0;
    uint64_t expected = 0;

    std::vector<uint8_t> stack = std::vector<uint8_t>(256 << 10);
    ucontext_t context{};
};

class Bench {
  public:
    Bench(uint32_t workers, Load load)
        : load_(load), value_(load == Load::kLent ? kLentBytes : 64, 'v') {
        make_memory(workers);
        config_.listen.lend_bytes_min = load == Load::kLent ? kLentBytes / 2 : 0;
        lender_ = std::make_unique<dataplane::L1Lender>(*store_);
        mesh_ = std::make_unique<dataplane::RemoteMesh>(workers);
        for (uint32_t i = 0; i < workers; ++i) lanes_.push_back(make_lane(i));
        for (uint32_t i = 0; i < workers; ++i) make_worker(i, workers);
        fill(workers);
        for (uint32_t i = 0; i < workers; ++i) make_stack(i);
        connect();
    }
    ~Bench() {
        for (auto& lane : lanes_) lane->worker.reset();
        store_->unlink();
        segment_->unlink();
    }

    // At least `gets` requests, spread over all lanes; returns how many.
    uint64_t ask(uint64_t gets) {
        uint64_t asked = 0;
        while (asked < gets) {
            for (auto& lane : lanes_) {
                for (const io::SessionIndex session : lane->sessions) {
                    const bool set = load_ == Load::kMixed && asked % 10 == 9;
                    const auto key = static_cast<uint32_t>(rng_.below(kKeys));
                    ++asked;
                    const std::string& bytes = (set ? sets_ : gets_)[key];
                    lane->expected += set ? 5 : get_reply_bytes_;
                    lane->client->append(session, reinterpret_cast<const uint8_t*>(bytes.data()),
                                         bytes.size());
                }
                lane->client->flush(now_ns_);
            }
            settle();
        }
        return asked;
    }
    void print(uint64_t asked) const {
        std::printf("{\"requests\":%" PRIu64 ",\"regions\":{\"L1\":[%" PRIuPTR ",%" PRIu64
                    "],\"control segment\":[%" PRIuPTR ",%" PRIu64 "]}}\n",
                    asked, reinterpret_cast<uintptr_t>(store_->base()), store_->bytes(),
                    reinterpret_cast<uintptr_t>(segment_->base()),
                    segment_->header()->segment_bytes);
    }

  private:
    void make_memory(uint32_t workers) {
        auto segment = shm::Segment::create(
            name_, {.worker_count = workers, .ring_entries = 64, .ring_data_bytes = 1 << 16});
        if (!segment) fail(segment.error().message);
        segment_ = std::move(segment).value();
        segment_->header()->hash_seed = kSeed;
        l1::StoreOptions options;
        options.instance = name_;
        options.hugepages = l1::Hugepages::kOff;
        options.bytes = 64 << 20;
        options.partitions = workers;
        options.hash_seed = kSeed;
        auto store = l1::Store::create(options);
        if (!store) fail(store.error().message);
        store_ = std::move(store).value();
    }
    std::unique_ptr<Lane> make_lane(uint32_t i) {
        auto lane = std::make_unique<Lane>();
        lane->link.offer_offloads();
        if (load_ == Load::kLent) lane->link.offer_attach();
        net::TcpOptions options;
        options.local_ip = net::parse_ipv4_address("198.18.0.1").value();
        options.listen_port = 6379;
        options.sessions_max = 16;
        options.half_open_max = 16;
        options.time_wait_max = 16;
        options.buffers_bytes_max = 1 << 20;
        options.send_share_percent = 100;
        lane->server = create(lane->link.end(0), options, &segment_->worker(i)->counters);
        options.local_ip = net::parse_ipv4_address("198.18.0.2").value();
        options.listen_port = 0;
        lane->client = create(lane->link.end(1), options, &lane->client_counters);
        return lane;
    }
    static std::unique_ptr<net::TcpTransport> create(net::FramePort& port,
                                                     const net::TcpOptions& options,
                                                     stats::WorkerCounters* counters) {
        auto made = net::TcpTransport::create(port, options, counters);
        if (!made) fail(made.error().message);
        return std::move(made).value();
    }
    void make_worker(uint32_t i, uint32_t workers) {
        dataplane::WorkerOptions options;
        options.index = i;
        options.worker_count = workers;
        options.standalone = true;
        options.hash_seed = kSeed;
        options.request_timeout_ns = 5'000'000'000;
        options.parked_requests_max = 1024;
        options.arena_bytes = 1 << 20;
        options.lend_bytes_min = config_.listen.lend_bytes_min;
        options.lender = lender_.get();
        options.config = &config_;
        lanes_[i]->worker = std::make_unique<dataplane::Worker>(
            options, *lanes_[i]->server, *store_, *segment_, nullptr, mesh_.get());
    }
    void fill(uint32_t workers) {
        for (uint32_t i = 0; i < kKeys; ++i) {
            char key[32];
            std::snprintf(key, sizeof key, "key:%012u", i);
            const uint64_t hash = base::hash_key(key, kSeed);
            l1::Partition& partition = store_->partition(base::owner_of(hash, workers));
            partition.put(hash, key, value_, 0, 1, now_ns_ / 1'000'000);
            for (uint64_t t = 0; t < l1::kFrequencyMax && load_ != Load::kFresh; ++t) {
                partition.touch(hash);
            }
            const std::string_view get[] = {"GET", key};
            resp::append_command(gets_.emplace_back(), get);
            const std::string_view set[] = {"SET", key, value_};
            resp::append_command(sets_.emplace_back(), set);
        }
        const std::string header = "$" + std::to_string(value_.size()) + "\r\n";
        get_reply_bytes_ = header.size() + value_.size() + 2;
    }
    void connect() {
        for (auto& lane : lanes_) {
            for (uint32_t i = 0; i < kConnections; ++i) {
                lane->sessions.push_back(
                    lane->client->connect(net::parse_ipv4_address("198.18.0.1").value(), 6379));
            }
        }
        for (int i = 0; i < 100; ++i) turn();
        for (auto& lane : lanes_) {
            if (lane->opened < kConnections) fail("the connections did not open");
        }
    }

    void make_stack(uint32_t worker) {
        Lane& lane = *lanes_[worker];
        ::getcontext(&lane.context);
        lane.context.uc_stack.ss_sp = lane.stack.data();
        lane.context.uc_stack.ss_size = lane.stack.size();
        const auto self = reinterpret_cast<uintptr_t>(this);  // makecontext() passes integers only
        ::makecontext(&lane.context, reinterpret_cast<void (*)()>(&Bench::run), 3,
                      static_cast<uint32_t>(self), static_cast<uint32_t>(self >> 32), worker);
    }
    // On the lane's stack, for ever.
    static void run(uint32_t low, uint32_t high, uint32_t worker) {
        Bench& bench = *reinterpret_cast<Bench*>(uint64_t{high} << 32 | low);
        Lane& lane = *bench.lanes_[worker];
        for (;;) {
            mark(worker);
            lane.worker->poll_once(bench.now_ns_);
            mark(kNobody);
            ::swapcontext(&lane.context, &bench.context_);
        }
    }
    void turn() {
        now_ns_ += 10'000;
        for (auto& lane : lanes_) {
            ::swapcontext(&context_, &lane->context);
            io::Event events[64];
            const size_t count = lane->client->poll(now_ns_, events, 64);
            for (size_t i = 0; i < count; ++i) {
                if (events[i].kind == io::EventKind::kOpened) ++lane->opened;
                if (events[i].kind == io::EventKind::kData) lane->received += events[i].size;
                if (events[i].kind == io::EventKind::kClosed) fail("a connection was closed");
            }
            lane->client->release();
            lane->client->flush(now_ns_);
        }
    }
    void settle() {
        for (int turns = 0; turns < 1000; ++turns) {
            turn();
            const bool all = std::ranges::all_of(
                lanes_, [](const auto& lane) { return lane->received >= lane->expected; });
            if (all) return;
        }
        fail("replies are missing");
    }

    const Load load_;
    const std::string value_;
    const std::string name_ = "scaling" + std::to_string(::getpid());
    config::Config config_;
    std::unique_ptr<shm::Segment> segment_;
    std::unique_ptr<l1::Store> store_;
    std::unique_ptr<dataplane::L1Lender> lender_;
    std::unique_ptr<dataplane::RemoteMesh> mesh_;
    std::vector<std::unique_ptr<Lane>> lanes_;
    base::Rng rng_{kSeed};
    std::vector<std::string> gets_;
    std::vector<std::string> sets_;
    size_t get_reply_bytes_ = 0;
    uint64_t now_ns_ = 1'000'000'000'000;
    ucontext_t context_{};
};

int run(uint32_t workers, uint64_t gets, const std::string& name) {
    const Load load = name == "get"     ? Load::kGet
                      : name == "fresh" ? Load::kFresh
                      : name == "mixed" ? Load::kMixed
                                        : Load::kLent;
    void* page = ::mmap(reinterpret_cast<void*>(kMarks), 4096, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (page != reinterpret_cast<void*>(kMarks)) fail("the page of marks is taken");
    Bench bench(workers, load);
    bench.ask(gets / 4);  // windows open, pools filled
    mark(kMeasure);
    bench.print(bench.ask(gets));
    return 0;
}

// --- the trace

struct Line {
    uint32_t readers = 0;  // a bit per worker
    uint32_t writers = 0;
    uint64_t stores = 0;
    uint64_t instruction = 0;  // of the last store
};

class Analysis {
  public:
    // " S 04025310,8": L, S, or M (both), after the line of the instruction.
    void take(const char* text) {
        if (text[0] == 'I') instruction_ = text;
        if (text[0] != ' ' || (text[1] != 'S' && text[1] != 'L' && text[1] != 'M')) return;
        char* end = nullptr;
        const uint64_t address = std::strtoull(text + 3, &end, 16);
        if (*end != ',') return;
        if (address >= kMarks && address < kMarks + 4096) {
            const auto which = static_cast<uint32_t>((address - kMarks) / 64);
            if (which == kMeasure) measuring_ = true;
            worker_ = which < kWorkersMax ? which : kNobody;
            return;
        }
        if (!measuring_ || worker_ == kNobody) return;
        ++accesses_;
        const uint64_t last = address + std::strtoull(end + 1, nullptr, 10) - 1;
        for (uint64_t line = address / 64; line <= last / 64; ++line) {
            Line& seen = lines_[line];
            if (text[1] != 'S') seen.readers |= 1u << worker_;
            if (text[1] == 'L') continue;
            seen.writers |= 1u << worker_;
            ++seen.stores;
            seen.instruction = std::strtoull(instruction_.c_str() + 1, nullptr, 16);
        }
    }
    void print() const {
        std::printf("{\"accesses\":%" PRIu64 ",\"lines\":%zu,\"shared\":[", accesses_,
                    lines_.size());
        const char* comma = "";
        for (const auto& [line, seen] : lines_) {
            const uint32_t all = seen.readers | seen.writers;
            if (seen.writers == 0 || (all & (all - 1)) == 0) continue;
            std::printf("%s{\"address\":%" PRIu64 ",\"stores\":%" PRIu64
                        ",\"readers\":%u,\"writers\":%u,\"instruction\":%" PRIu64 "}",
                        comma, line * 64, seen.stores, seen.readers, seen.writers,
                        seen.instruction);
            comma = ",";
        }
        std::printf("]}\n");
    }

  private:
    std::unordered_map<uint64_t, Line> lines_;
    bool measuring_ = false;
    uint32_t worker_ = kNobody;
    uint64_t accesses_ = 0;
    std::string instruction_;  // the line of the last one
};

int analyse() {
    Analysis analysis;
    char text[256];
    while (std::fgets(text, sizeof text, stdin) != nullptr) analysis.take(text);
    analysis.print();
    return 0;
}

}  // namespace
}  // namespace cachee::perf

int main(int argc, char** argv) {
    const std::string mode = argc > 1 ? argv[1] : "";
    if (mode == "analyse" && argc == 2) return cachee::perf::analyse();
    const int workers = argc == 5 ? std::atoi(argv[2]) : 0;
    bool known = false;
    for (const char* load : {"get", "fresh", "mixed", "lent"}) {
        known = known || (argc == 5 && std::strcmp(argv[4], load) == 0);
    }
    if (mode != "run" || workers < 1 || workers > 32 || !known) {
        std::fprintf(stderr,
                     "usage: %s run WORKERS GETS get|fresh|mixed|lent, or %s analyse < TRACE\n",
                     argv[0], argv[0]);
        return 2;
    }
    return cachee::perf::run(static_cast<uint32_t>(workers),
                             static_cast<uint64_t>(std::atoll(argv[3])), argv[4]);
}
