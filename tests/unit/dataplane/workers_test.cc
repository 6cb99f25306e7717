// SPDX-License-Identifier: Apache-2.0
// Several workers at once, each on its own thread with its own peers, as a standalone cache: GETs
// of keys of all workers straight from L1, mutations of others' keys over the rings between
// workers. What each session sees is in its own order, whoever owns the keys. Also run by
// ThreadSanitizer.
#include <sys/mman.h>

#include <atomic>
#include <charconv>
#include <thread>
#include <vector>

#include "resp/encoder.h"
#include "worker_harness.h"

namespace cachee::dataplane {
namespace {

constexpr uint32_t kRounds = 60;
constexpr uint32_t kSessionsPerWorker = 3;

std::string command(std::initializer_list<std::string_view> words) {
    std::string text;
    resp::append_command(text, std::span<const std::string_view>(words.begin(), words.size()));
    return text;
}

// Takes replies off the front of `stream`; empty: none is complete.
std::string take_reply(std::string& stream) {
    const size_t line = stream.find("\r\n");
    if (line == std::string::npos) return {};
    size_t end = line + 2;
    if (stream[0] == '$' && stream[1] != '-') {
        end += std::stoul(stream.substr(1, line - 1)) + 2;
        if (stream.size() < end) return {};
    }
    std::string reply = stream.substr(0, end);
    stream.erase(0, end);
    return reply;
}

std::string bulk(std::string_view text) {
    return "$" + std::to_string(text.size()) + "\r\n" + std::string(text) + "\r\n";
}

// One client connection: sends a batch, waits for all of its replies, checks them, sends the next.
// Its own keys must answer exactly; the stamps that other workers' clients write never go back.
class Client {
  public:
    Client(MemoryTransport& transport, uint32_t worker, uint32_t number, uint32_t workers)
        : transport_(transport),
          name_(std::to_string(worker) + ":" + std::to_string(number)),
          session_(transport.open()),
          stamps_(workers),
          writes_stamps_(number == 0),
          worker_(worker) {}

    bool done() const { return round_ == kRounds && expected_.empty(); }
    const std::string& failure() const { return failure_; }

    void step() {
        stream_ += transport_.received(session_);
        while (!expected_.empty()) {
            const std::string reply = take_reply(stream_);
            if (reply.empty()) return;
            check(reply, expected_.front());
            expected_.pop_front();
        }
        if (round_ < kRounds) send_batch(++round_);
    }

  private:
    static constexpr uint32_t kExact = UINT32_MAX;
    struct Expected {
        std::string reply;
        uint32_t stamp_of = kExact;
    };

    void send_batch(uint32_t round) {
        std::string batch;
        const std::string value = "value " + name_ + " " + std::to_string(round);
        for (const char* part : {"a", "b", "c", "d"}) {  // of any owner
            const std::string key = std::string(part) + ":" + name_;
            batch += command({"SET", key, value}) + command({"GET", key});
            expected_.push_back({"+OK\r\n"});
            expected_.push_back({bulk(value)});
        }
        const std::string count = "count:" + name_;
        batch += command({"INCR", count}) + command({"GET", count});
        expected_.push_back({":" + std::to_string(round) + "\r\n"});
        expected_.push_back({bulk(std::to_string(round))});
        if (writes_stamps_) {
            batch += command({"SET", "stamp:" + std::to_string(worker_), std::to_string(round)});
            expected_.push_back({"+OK\r\n"});
        }
        for (uint32_t other = 0; other < stamps_.size(); ++other) {
            batch += command({"GET", "stamp:" + std::to_string(other)});
            expected_.push_back({{}, other});
        }
        batch += command({"DEL", "d:" + name_}) + command({"GET", "d:" + name_});
        expected_.push_back({":1\r\n"});
        expected_.push_back({"$-1\r\n"});
        transport_.send(session_, batch);
    }

    void check(const std::string& reply, const Expected& expected) {
        if (expected.stamp_of == kExact) {
            if (reply != expected.reply && failure_.empty()) {
                failure_ = name_ + ": " + reply + " instead of " + expected.reply;
            }
            return;
        }
        if (reply == "$-1\r\n" && stamps_[expected.stamp_of] == 0) return;
        const size_t at = reply.find("\r\n") + 2;
        uint32_t stamp = 0;
        std::from_chars(reply.data() + at, reply.data() + reply.size(), stamp);
        if ((stamp == 0 || stamp < stamps_[expected.stamp_of]) && failure_.empty()) {
            failure_ = name_ + ": a stamp went back: " + reply;
        }
        stamps_[expected.stamp_of] = stamp;
    }

    MemoryTransport& transport_;
    const std::string name_;
    const io::SessionIndex session_;
    std::vector<uint32_t> stamps_;
    const bool writes_stamps_;
    const uint32_t worker_;
    uint32_t round_ = 0;
    std::deque<Expected> expected_;
    std::string stream_;
    std::string failure_;
};

class WorkersTest : public testing::TestWithParam<uint32_t> {};

TEST_P(WorkersTest, MutationsOfOthersKeys_EachSessionSeesItsOwnOrder) {
    const uint32_t workers = GetParam();
    Harness harness({.workers = workers, .standalone = true});
    std::vector<std::vector<Client>> clients(workers);
    for (uint32_t w = 0; w < workers; ++w) {
        for (uint32_t number = 0; number < kSessionsPerWorker; ++number) {
            clients[w].emplace_back(harness.transport(w), w, number, workers);
        }
    }
    std::atomic<uint32_t> working{workers};
    std::vector<std::thread> threads;
    for (uint32_t w = 0; w < workers; ++w) {
        threads.emplace_back([&, w] {
            uint64_t now_ns = harness.now_ns();
            bool finished = false;
            // A worker whose clients are done goes on answering the others'.
            while (working.load(std::memory_order_relaxed) != 0) {
                now_ns += 1000;
                if (!harness.worker(w).poll_once(now_ns)) std::this_thread::yield();
                bool all_done = true;
                for (Client& client : clients[w]) {
                    if (!client.done()) client.step();
                    all_done &= client.done();
                }
                if (all_done && !finished) {
                    finished = true;
                    working.fetch_sub(1, std::memory_order_relaxed);
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& of_worker : clients) {
        for (const Client& client : of_worker) EXPECT_EQ(client.failure(), "");
    }
}

INSTANTIATE_TEST_SUITE_P(Workers, WorkersTest, testing::Values(1U, 2U, 4U, 8U));

// A write to L1 would end this process. What counts hits for the eviction policy writes a bucket
// now and then until that count is at its end: it is brought there first.
TEST(WorkersMemory, GetsOfAllWorkersKeys_WriteNothingOfL1) {
    Harness harness({.workers = 2, .standalone = true});
    const io::SessionIndex sessions[2] = {harness.connect(0), harness.connect(1)};
    std::vector<std::string> keys;
    for (int i = 0; i < 100; ++i) {
        keys.push_back("key:" + std::to_string(i));
        harness.exchange(sessions[0], command({"SET", keys.back(), "value " + keys.back()}), 0);
        l1::Partition& partition = harness.store().partition(harness.owner(keys.back()));
        const uint64_t hash = base::hash_key(keys.back(), Harness::kSeed);
        for (uint64_t t = 0; t < l1::kFrequencyMax; ++t) partition.touch(hash);
    }
    harness.poll(10);
    // But for the headers: each owner tells there, on a line of its own, that it lives.
    const uint64_t headers = sizeof(l1::FileHeader) + 4096;
    uint8_t* const protected_base = harness.store().base() + headers;
    const uint64_t protected_bytes = harness.store().bytes() - headers;
    ASSERT_EQ(::mprotect(protected_base, protected_bytes, PROT_READ), 0);
    for (int round = 0; round < 20; ++round) {
        for (uint32_t w = 0; w < 2; ++w) {
            std::string requests;
            std::string replies;
            for (const std::string& key : keys) {
                requests += command({"GET", key});
                replies += bulk("value " + key);
            }
            ASSERT_EQ(harness.exchange(sessions[w], requests, w), replies);
        }
    }
    ASSERT_EQ(::mprotect(protected_base, protected_bytes, PROT_READ | PROT_WRITE), 0);
}

// What a worker writes besides its own heap lies on lines of its own.
TEST(WorkersMemory, BlocksOfTwoWorkers_ShareNoLine) {
    static_assert(alignof(shm::WorkerBlock) >= 64);
    static_assert(sizeof(shm::WorkerBlock) % 64 == 0);
    static_assert(alignof(stats::WorkerCounters) >= 64);
    Harness harness({.workers = 3, .standalone = true});
    for (uint32_t w = 0; w < 3; ++w) {
        EXPECT_EQ(reinterpret_cast<uintptr_t>(harness.segment().worker(w)) % 64, 0U);
    }
}

}  // namespace
}  // namespace cachee::dataplane
