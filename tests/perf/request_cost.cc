// SPDX-License-Identifier: Apache-2.0
// What one GET costs in the data plane: the real Worker over our own TCP and a link in memory, with
// a client of the same stack on its other end, in one thread. Two uses:
//
//   request_cost_bench count CONNECTIONS REQUESTS PIPELINE   under callgrind, which collects inside
//       Worker::poll_once only: user instructions of everything from frame to frame
//   request_cost_bench audit CONNECTIONS REQUESTS PIPELINE   natively: counts system calls (a
//   seccomp filter
//       traps each of them), heap allocations and mutex calls of the measured requests
//
// Keys of 16 and values of 64 bytes, all in L1. Prints one JSON object.
#include <dlfcn.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"
#include "dataplane/standalone.h"
#include "dataplane/worker.h"
#include "memory_link.h"
#include "net/headers.h"
#include "net/tcp_transport.h"

namespace {

volatile bool g_counting = false;
volatile uint64_t g_allocations = 0;
volatile uint64_t g_locks = 0;
volatile uint64_t g_system_calls = 0;

}  // namespace

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);

void* malloc(size_t size) {
    if (g_counting) g_allocations = g_allocations + 1;
    return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
    if (g_counting) g_allocations = g_allocations + 1;
    return __libc_calloc(count, size);
}
void* realloc(void* block, size_t size) {
    if (g_counting) g_allocations = g_allocations + 1;
    return __libc_realloc(block, size);
}
int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
    static auto* real =
        reinterpret_cast<int (*)(pthread_mutex_t*)>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
    if (g_counting) g_locks = g_locks + 1;
    return real(mutex);
}
}

namespace cachee::perf {
namespace {

constexpr uint64_t kSeed = 7;
constexpr uint32_t kKeys = 10'000;

std::string key_of(uint32_t i) {
    char text[32];
    std::snprintf(text, sizeof text, "key:%012u", i);
    return text;
}

class Bench {
  public:
    Bench(uint32_t connections, uint32_t pipeline) : pipeline_(pipeline) {
        link_.offer_offloads();
        auto segment = shm::Segment::create(name_, {});
        if (!segment) fail(segment.error().message);
        segment_ = std::move(segment).value();
        segment_->header()->hash_seed = kSeed;
        l1::StoreOptions store_options;
        store_options.instance = name_;
        store_options.hugepages = l1::Hugepages::kOff;
        store_options.bytes = 64 << 20;
        store_options.hash_seed = kSeed;
        auto store = l1::Store::create(store_options);
        if (!store) fail(store.error().message);
        store_ = std::move(store).value();

        net::TcpOptions server_options;
        server_options.local_ip = net::parse_ipv4_address("198.18.0.1").value();
        server_options.listen_port = 6379;
        server_options.sessions_max = 1024;
        server_options.buffers_bytes_max = 64 << 20;
        server_ = create(link_.end(0), server_options, &segment_->worker(0)->counters);
        net::TcpOptions client_options = server_options;
        client_options.local_ip = net::parse_ipv4_address("198.18.0.2").value();
        client_options.listen_port = 0;
        client_counters_ = std::make_unique<stats::WorkerCounters>();
        client_ = create(link_.end(1), client_options, client_counters_.get());

        dataplane::WorkerOptions options;
        options.standalone = true;
        options.hash_seed = kSeed;
        options.request_timeout_ns = 5'000'000'000;
        options.config = &config_;
        worker_ = std::make_unique<dataplane::Worker>(options, *server_, *store_, *segment_,
                                                      nullptr, nullptr);
        fill();
        connect(connections);
    }
    ~Bench() {
        worker_.reset();
        store_->unlink();
        segment_->unlink();
    }

    // Closed loop: every connection has `pipeline` requests under way.
    void run(uint64_t requests) {
        uint64_t sent = 0;
        replies_ = 0;
        while (sent < requests) {
            for (const io::SessionIndex session : sessions_) {
                for (uint32_t i = 0; i < pipeline_; ++i) {
                    const std::string& bytes = requests_[(sent++ * 7919) % kKeys];
                    client_->append(session, reinterpret_cast<const uint8_t*>(bytes.data()),
                                    bytes.size());
                }
            }
            client_->flush(now_ns_);
            const uint64_t expected = sent * kReplyBytes;
            while (received_ < expected) turn();
            received_ -= expected;
            requests_done_ += sent;
            requests -= std::min(requests, sent);
            sent = 0;
        }
    }
    uint64_t requests_done() const { return requests_done_; }

  private:
    static constexpr uint64_t kReplyBytes = 5 + 64 + 2;  // "$64\r\n" + value + CRLF

    [[noreturn]] static void fail(const std::string& text) {
        std::fprintf(stderr, "request_cost_bench: %s\n", text.c_str());
        std::exit(1);
    }
    static std::unique_ptr<net::TcpTransport> create(net::FramePort& port,
                                                     const net::TcpOptions& options,
                                                     stats::WorkerCounters* counters) {
        auto made = net::TcpTransport::create(port, options, counters);
        if (!made) fail(made.error().message);
        return std::move(made).value();
    }

    void fill() {
        const std::string value(64, 'v');
        for (uint32_t i = 0; i < kKeys; ++i) {
            const std::string key = key_of(i);
            store_->partition(0).put(base::hash_key(key, kSeed), key, value, 0, 1,
                                     now_ns_ / 1'000'000);
            std::string request;
            const std::string_view words[] = {"GET", key};
            resp::append_command(request, words);
            requests_.push_back(request);
        }
    }

    void connect(uint32_t connections) {
        for (uint32_t i = 0; i < connections; ++i) {
            sessions_.push_back(
                client_->connect(net::parse_ipv4_address("198.18.0.1").value(), 6379));
        }
        for (int i = 0; i < 1000 && opened_ < connections; ++i) turn();
        if (opened_ < connections) fail("the connections did not open");
    }

    // One turn of both ends; only the worker's is measured.
    void turn() {
        now_ns_ += 10'000;
        if (link_.frames_wait_for(0)) {
            g_counting = measure;
            worker_->poll_once(now_ns_);
            g_counting = false;
        }
        const size_t count = client_->poll(now_ns_, events_, 64);
        for (size_t i = 0; i < count; ++i) {
            if (events_[i].kind == io::EventKind::kOpened) ++opened_;
            if (events_[i].kind == io::EventKind::kData) received_ += events_[i].size;
            if (events_[i].kind == io::EventKind::kClosed) fail("a connection was closed");
        }
        client_->release();
        client_->flush(now_ns_);
    }

  public:
    bool measure = false;

  private:
    std::string name_ = "bench" + std::to_string(::getpid());
    config::Config config_;
    MemoryLink link_;
    std::unique_ptr<shm::Segment> segment_;
    std::unique_ptr<l1::Store> store_;
    std::unique_ptr<net::TcpTransport> server_;
    std::unique_ptr<net::TcpTransport> client_;
    std::unique_ptr<stats::WorkerCounters> client_counters_;
    std::unique_ptr<dataplane::Worker> worker_;
    std::vector<io::SessionIndex> sessions_;
    std::vector<std::string> requests_;
    io::Event events_[64];
    uint64_t now_ns_ = 1'000'000'000'000;
    uint32_t pipeline_;
    uint32_t opened_ = 0;
    uint64_t received_ = 0;
    uint64_t replies_ = 0;
    uint64_t requests_done_ = 0;
};

// Every system call of this thread from now on ends in this handler and is not carried out.
void count_system_call(int, siginfo_t* info, void* context) {
    g_system_calls = g_system_calls + 1;
    auto* machine = static_cast<ucontext_t*>(context);
    machine->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
    (void)info;
}

bool trap_system_calls() {
    struct sigaction action {};
    action.sa_sigaction = count_system_call;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSYS, &action, nullptr);
    // write, exit_group and rt_sigreturn pass: the report, the end, and the handler's way back.
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{static_cast<unsigned short>(sizeof filter / sizeof filter[0]), filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

int run(const std::string& mode, uint32_t connections, uint64_t requests, uint32_t pipeline) {
    char report[512];
    int size = 0;
    {
        // Leaked on purpose in audit mode: taking it down makes system calls.
        auto* bench = new Bench(connections, pipeline);
        bench->run(connections * pipeline * 20ULL);  // warm: windows open, caches and pools filled
        const uint64_t before = bench->requests_done();
        if (mode == "audit") {
            // What the files would leave behind; the mappings stay.
            bench->measure = true;
            const std::string name = "bench" + std::to_string(::getpid());
            ::unlink(("/dev/shm/cachee-" + name + "-control").c_str());
            ::unlink(("/dev/shm/cachee-" + name + "-l1").c_str());
            if (!trap_system_calls()) {
                std::fprintf(stderr, "request_cost_bench: this kernel refuses a seccomp filter\n");
                return 1;
            }
            // Prove the traps: one of each must be seen.
            g_counting = true;
            std::free(std::malloc(100));
            static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
            pthread_mutex_lock(&mutex);
            pthread_mutex_unlock(&mutex);
            g_counting = false;
            syscall(SYS_getppid);
            if (g_system_calls != 1 || g_allocations == 0 || g_locks != 1) {
                const char text[] = "request_cost_bench: the counters do not count\n";
                [[maybe_unused]] const ssize_t written = ::write(2, text, sizeof text - 1);
                ::_exit(1);
            }
            g_system_calls = 0;
            g_allocations = 0;
            g_locks = 0;
        }
        bench->run(requests);
        const uint64_t done = bench->requests_done() - before;
        size = std::snprintf(report, sizeof report,
                             "{\"requests\":%llu,\"total_requests\":%llu,\"system_calls\":%llu,"
                             "\"allocations\":%llu,\"locks\":%llu}\n",
                             static_cast<unsigned long long>(done),
                             static_cast<unsigned long long>(bench->requests_done()),
                             static_cast<unsigned long long>(g_system_calls),
                             static_cast<unsigned long long>(g_allocations),
                             static_cast<unsigned long long>(g_locks));
        if (mode != "audit") delete bench;
    }
    [[maybe_unused]] const ssize_t written = ::write(1, report, static_cast<size_t>(size));
    ::_exit(0);
}

}  // namespace
}  // namespace cachee::perf

int main(int argc, char** argv) {
    if (argc != 5 || (std::strcmp(argv[1], "count") != 0 && std::strcmp(argv[1], "audit") != 0)) {
        std::fprintf(stderr, "usage: %s count|audit CONNECTIONS REQUESTS PIPELINE\n", argv[0]);
        return 2;
    }
    return cachee::perf::run(argv[1], static_cast<uint32_t>(std::atoi(argv[2])),
                             static_cast<uint64_t>(std::atoll(argv[3])),
                             static_cast<uint32_t>(std::atoi(argv[4])));
}
