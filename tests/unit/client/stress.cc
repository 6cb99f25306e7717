// SPDX-License-Identifier: Apache-2.0
// A writer and readers for the kill tests (tests/integration/test_libcachee_kills.py), each a
// process of its own that may be killed at any instant. They share a scoreboard file:
//   libcachee_stress write BOARD ADDRESS SEED      SETs and DELs through the appliance, until
//   killed libcachee_stress read BOARD INSTANCE SEED FLAGS    reads through libcachee, until killed
//   libcachee_stress show BOARD                    prints what was counted, as JSON
//
// A value is its key, a number that grows with each write, a filler whose length the number
// decides, and a checksum of all that. For each key the board has a floor: the least number that
// may still be read, raised when a write is acknowledged, above the last one when a DEL is. A
// reader takes the floor before it asks.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/rng.h"
#include "cachee/cachee.h"

namespace {

using cachee::base::Rng;

constexpr uint64_t kKeys = 512;

struct Key {
    std::atomic<uint64_t> floor;
    std::atomic<uint64_t> acked;  // number of the last acknowledged SET
    std::atomic<uint64_t>
        acked_dead_ms;  // monotonic: it has surely ended by then; 0: it does not end
    std::atomic<uint64_t> reserved;
};

struct Board {
    std::atomic<uint64_t> torn, stale, expired, foreign;
    std::atomic<uint64_t> from_l1, from_appliance, absent, misses, failures, writes, write_failures;
    std::atomic<uint64_t> attachments;
    char first[256];  // of what should not have been
    Key keys[kKeys];
};

Board* open_board(const char* path) {
    const int fd = ::open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ::ftruncate(fd, sizeof(Board)) != 0) std::exit(2);
    void* mapped = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) std::exit(2);
    ::close(fd);
    return static_cast<Board*>(mapped);
}

std::string key_of(uint64_t id) { return "stress:" + std::to_string(id); }

std::string value_of(uint64_t id, uint64_t number) {
    std::string text = key_of(id) + " " + std::to_string(number) + " ";
    text.append(number * 37 % 900, static_cast<char>('a' + number % 26));
    const uint32_t crc = cachee::base::crc32c(text.data(), text.size());
    text.append(reinterpret_cast<const char*>(&crc), sizeof crc);
    return text;
}

// --- the writer
// -----------------------------------------------------------------------------------

class Wire {
  public:
    explicit Wire(const std::string& address) {
        const size_t colon = address.rfind(':');
        address_.sin_family = AF_INET;
        ::inet_pton(AF_INET, address.substr(0, colon).c_str(), &address_.sin_addr);
        address_.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
    }
    // "+OK", ":1", ...; empty: nobody knows whether it was done.
    std::string call(std::initializer_list<std::string> words) {
        if (fd_ < 0 && !connect()) return {};
        std::string request = "*" + std::to_string(words.size()) + "\r\n";
        for (const std::string& word : words) {
            request += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
        }
        std::string line;
        bool lives = ::send(fd_, request.data(), request.size(), MSG_NOSIGNAL) ==
                     static_cast<ssize_t>(request.size());
        while (lives && !line.ends_with("\r\n")) {
            char byte;
            lives = ::recv(fd_, &byte, 1, 0) == 1;
            if (lives) line += byte;
        }
        if (!lives) {
            ::close(fd_);
            fd_ = -1;
            return {};
        }
        return line.substr(0, line.size() - 2);
    }

  private:
    bool connect() {
        fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const timeval patience{2, 0};
        const int on = 1;
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (::connect(fd_, reinterpret_cast<sockaddr*>(&address_), sizeof address_) == 0)
            return true;
        ::close(fd_);
        fd_ = -1;
        ::usleep(2000);
        return false;
    }
    sockaddr_in address_{};
    int fd_ = -1;
};

void set_key(Board& board, Wire& wire, Rng& rng, uint64_t id, uint64_t number) {
    const uint64_t lifetime_ms = rng.below(3) == 0 ? 5 + rng.below(200) : 0;
    const std::string reply = lifetime_ms == 0
                                  ? wire.call({"SET", key_of(id), value_of(id, number)})
                                  : wire.call({"SET", key_of(id), value_of(id, number), "PX",
                                               std::to_string(lifetime_ms)});
    if (reply != "+OK") {
        board.write_failures.fetch_add(1);
        return;
    }
    const uint64_t now_ms = cachee::base::monotonic_ns() / cachee::base::kNsPerMs;
    Key& key = board.keys[id];
    key.acked.store(0);
    key.acked_dead_ms.store(lifetime_ms == 0 ? 0 : now_ms + lifetime_ms + 2);
    key.acked.store(number);
    key.floor.store(number);
    board.writes.fetch_add(1);
}

[[noreturn]] void write_forever(Board& board, const std::string& address, uint64_t seed) {
    Rng rng(seed);
    Wire wire(address);
    for (uint64_t number = 1;; ++number) {
        const uint64_t id = rng.below(kKeys);
        if (rng.below(100) < 75) {
            set_key(board, wire, rng, id, number);
        } else if (const std::string reply = wire.call({"DEL", key_of(id)});
                   reply.starts_with(":")) {
            board.keys[id].floor.store(number);
            board.writes.fetch_add(1);
        } else {
            board.write_failures.fetch_add(1);
        }
    }
}

// --- a reader
// -------------------------------------------------------------------------------------

void complain(Board& board, std::atomic<uint64_t>& counter, const std::string& text) {
    if (counter.fetch_add(1) == 0 && board.first[0] == '\0') {
        std::snprintf(board.first, sizeof board.first, "%s", text.c_str());
    }
}

struct Before {
    uint64_t floor;
    uint64_t acked;
    uint64_t dead_ms;
    uint64_t now_ms;
};

Before look(const Key& key) {
    Before before{};
    before.acked = key.acked.load();
    before.dead_ms = key.acked_dead_ms.load();
    if (key.acked.load() != before.acked) before.dead_ms = 0;
    before.floor = key.floor.load();
    before.now_ms = cachee::base::monotonic_ns() / cachee::base::kNsPerMs;
    return before;
}

void judge(Board& board, uint64_t id, const Before& before, cachee_status status,
           const cachee_value& value) {
    if (status != CACHEE_OK) {
        (status == CACHEE_ABSENT ? board.absent
         : status == CACHEE_MISS ? board.misses
                                 : board.failures)
            .fetch_add(1);
        return;
    }
    (value.source == CACHEE_FROM_L1 ? board.from_l1 : board.from_appliance).fetch_add(1);
    const std::string text(static_cast<const char*>(value.data), value.size);
    const std::string prefix = key_of(id) + " ";
    const std::string what = key_of(id) + " from " + std::to_string(value.source) + ": ";
    if (!text.starts_with(prefix)) {
        complain(board, board.foreign, what + text.substr(0, 100));
        return;
    }
    const uint64_t number = std::strtoull(text.c_str() + prefix.size(), nullptr, 10);
    if (text != value_of(id, number)) {
        complain(board, board.torn, what + text.substr(0, 100));
    } else if (number < before.floor) {
        complain(
            board, board.stale,
            what + std::to_string(number) + " is below the floor " + std::to_string(before.floor));
    } else if (number == before.acked && before.dead_ms != 0 && before.now_ms > before.dead_ms) {
        complain(board, board.expired,
                 what + std::to_string(number) + " ended " +
                     std::to_string(before.now_ms - before.dead_ms) + " ms ago");
    }
}

void read_many(Board& board, cachee_handle* handle, Rng& rng) {
    constexpr size_t kMany = 16;
    cachee_item items[kMany] = {};
    std::string keys[kMany];
    uint64_t ids[kMany];
    Before before[kMany];
    for (size_t i = 0; i < kMany; ++i) {
        ids[i] = rng.below(kKeys);
        keys[i] = key_of(ids[i]);
        items[i].key = keys[i].data();
        items[i].key_size = keys[i].size();
        before[i] = look(board.keys[ids[i]]);
    }
    if (cachee_multi_get(handle, items, kMany, sizeof(cachee_item)) != CACHEE_OK) return;
    for (size_t i = 0; i < kMany; ++i) {
        judge(board, ids[i], before[i], static_cast<cachee_status>(items[i].status),
              items[i].value);
    }
}

[[noreturn]] void read_forever(Board& board, const char* instance, uint64_t seed, uint32_t flags) {
    Rng rng(seed);
    cachee_options options = CACHEE_OPTIONS_INIT;
    options.flags = flags | CACHEE_LAZY;
    options.timeout_ms = 500;
    options.reconnect_max_ms = 20;
    options.hint_every = 4;
    for (;;) {
        cachee_handle* handle = nullptr;
        if (cachee_attach(instance, &options, &handle) != CACHEE_OK) {
            ::usleep(1000);
            continue;
        }
        board.attachments.fetch_add(1);
        for (int i = 0; i < 20'000; ++i) {
            const uint64_t id = rng.below(kKeys);
            const std::string key = key_of(id);
            const Before before = look(board.keys[id]);
            cachee_value value;
            char buffer[1100];
            const cachee_status status = i % 2 == 0
                                             ? cachee_get(handle, key.data(), key.size(), &value)
                                             : cachee_get_into(handle, key.data(), key.size(),
                                                               buffer, sizeof buffer, &value);
            judge(board, id, before, status, value);
            if (i % 8 == 0) read_many(board, handle, rng);
            // What L1 does not vouch for is asked for again and again: leave time to the others.
            if (status != CACHEE_OK && rng.below(8) == 0) ::usleep(50);
        }
        cachee_detach(handle);
    }
}

int show(const Board& board) {
    const std::pair<const char*, const std::atomic<uint64_t>*> all[] = {
        {"torn", &board.torn},
        {"stale", &board.stale},
        {"expired", &board.expired},
        {"foreign", &board.foreign},
        {"from_l1", &board.from_l1},
        {"from_appliance", &board.from_appliance},
        {"absent", &board.absent},
        {"misses", &board.misses},
        {"failures", &board.failures},
        {"writes", &board.writes},
        {"write_failures", &board.write_failures},
        {"attachments", &board.attachments}};
    std::printf("{");
    for (const auto& [name, counter] : all) {
        std::printf("\"%s\": %llu, ", name, static_cast<unsigned long long>(counter->load()));
    }
    std::printf("\"first\": \"%s\"}\n", board.first);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view mode = argc > 2 ? argv[1] : "";
    if (mode == "show") return show(*open_board(argv[2]));
    if (mode == "write" && argc == 5) {
        write_forever(*open_board(argv[2]), argv[3], std::strtoull(argv[4], nullptr, 10));
    }
    if (mode == "read" && argc == 6) {
        read_forever(*open_board(argv[2]), argv[3], std::strtoull(argv[4], nullptr, 10),
                     static_cast<uint32_t>(std::strtoul(argv[5], nullptr, 10)));
    }
    std::fprintf(stderr, "usage: libcachee_stress write|read|show BOARD ...\n");
    return 2;
}
