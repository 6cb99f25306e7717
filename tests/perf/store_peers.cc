// SPDX-License-Identifier: Apache-2.0
// L1's GET beside what a team would link instead, in one run: the same keys, the same values, the
// same random order, in turns. Each answers by copying the value out.
//
//   store_bench KEYS ROUNDS GETS [MEMCACHED_SOCKET VALKEY_SOCKET]
//
// In-process peers: oneapi::tbb::concurrent_hash_map, libcuckoo, RocksDB's caches. None of the maps
// evicts, expires or can be read by another process; the caches evict. Over a socket, when paths
// are given: memcached and Valkey, one request at a time, which must hold the keys already
// (store.py fills them). Keys are 16 bytes, "key:" and 12 digits; values 64 bytes, of the number.
// Prints a line of JSON: nanoseconds per GET of each round, by name.
#include <oneapi/tbb/concurrent_hash_map.h>
#include <rocksdb/cache.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <libcuckoo/cuckoohash_map.hh>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"
#include "base/rng.h"
#include "l1/partition.h"
#include "l1/store.h"

namespace cachee::perf {
namespace {

constexpr uint64_t kSeed = 0x5eed;
constexpr uint32_t kKeyBytes = 16;
constexpr uint32_t kValueBytes = 64;
constexpr uint64_t kNowMs = 1000;
constexpr uint32_t kGeneration = 3;
constexpr uint32_t kBurst = 32;  // of the data plane

using Key = std::array<char, kKeyBytes>;
using Value = std::array<char, kValueBytes>;

[[noreturn]] void fail(const std::string& why) {
    std::fprintf(stderr, "store_bench: %s\n", why.c_str());
    std::exit(1);
}

Key key_of(uint32_t number) {
    char text[32];
    std::snprintf(text, sizeof text, "key:%012u", number);
    Key key;
    std::memcpy(key.data(), text, kKeyBytes);
    return key;
}

Value value_of(uint32_t number) {
    char text[96];
    std::snprintf(text, sizeof text, "%064u", number);
    Value value;
    std::memcpy(value.data(), text, kValueBytes);
    return value;
}

std::string_view view(const Key& key) { return {key.data(), kKeyBytes}; }

struct HashKey {
    size_t operator()(const Key& key) const { return base::hash_key(view(key), kSeed); }
    // As oneTBB asks for it.
    static size_t hash(const Key& key) { return base::hash_key(view(key), kSeed); }
    static bool equal(const Key& a, const Key& b) { return a == b; }
};

// Gets the keys of `order`, each value into `out`; returns how many were there.
class Contender {
  public:
    virtual ~Contender() = default;
    virtual uint64_t gets(const std::vector<Key>& order, Value* out) = 0;
};

class L1 final : public Contender {
  public:
    enum class As : uint8_t { kOwner, kAnyone, kBursts };
    L1(l1::Partition& partition, As as) : partition_(partition), as_(as) {}

    uint64_t gets(const std::vector<Key>& order, Value* out) override {
        switch (as_) {
            case As::kOwner:
                return one_by_one<l1::By::kOwner>(order, out);
            case As::kAnyone:
                return one_by_one<l1::By::kAnyone>(order, out);
            case As::kBursts:
                break;
        }
        return in_bursts(order, out);
    }

  private:
    template <l1::By kBy>
    uint64_t one_by_one(const std::vector<Key>& order, Value* out) {
        uint64_t there = 0;
        for (const Key& key : order) {
            const uint64_t hash = base::hash_key(view(key), kSeed);
            there += copy<kBy>(partition_.find<kBy>(hash, view(key), kNowMs, kGeneration), out);
        }
        return there;
    }
    template <l1::By kBy>
    static uint64_t copy(const l1::Lookup& found, Value* out) {
        if (found.status != l1::FindStatus::kHit || found.value_bytes > kValueBytes) return 0;
        l1::copy_value(out->data(), found.value, found.value_bytes);
        return l1::Partition::still_valid(found) ? 1 : 0;
    }
    // As the data plane does it: prefetch the buckets, then the items of a burst.
    uint64_t in_bursts(const std::vector<Key>& order, Value* out) {
        constexpr l1::By kBy = l1::By::kAnyone;
        uint64_t there = 0;
        uint64_t hashes[kBurst];
        l1::Candidate candidates[kBurst];
        for (size_t first = 0; first < order.size(); first += kBurst) {
            const size_t count = std::min<size_t>(kBurst, order.size() - first);
            for (size_t i = 0; i < count; ++i) {
                hashes[i] = base::hash_key(view(order[first + i]), kSeed);
                partition_.prefetch_bucket(hashes[i]);
            }
            for (size_t i = 0; i < count; ++i) candidates[i] = partition_.look<kBy>(hashes[i]);
            for (size_t i = 0; i < count; ++i) {
                there +=
                    copy<kBy>(partition_.take<kBy>(candidates[i], hashes[i], view(order[first + i]),
                                                   kNowMs, kGeneration),
                              out);
            }
        }
        return there;
    }

    l1::Partition& partition_;
    const As as_;
};

class TbbMap final : public Contender {
  public:
    explicit TbbMap(uint32_t keys) : map_(keys) {
        for (uint32_t i = 0; i < keys; ++i) map_.insert({key_of(i), value_of(i)});
    }
    uint64_t gets(const std::vector<Key>& order, Value* out) override {
        uint64_t there = 0;
        for (const Key& key : order) {
            Map::const_accessor found;
            if (!map_.find(found, key)) continue;
            *out = found->second;
            ++there;
        }
        return there;
    }

  private:
    using Map = oneapi::tbb::concurrent_hash_map<Key, Value, HashKey>;
    Map map_;
};

class Cuckoo final : public Contender {
  public:
    explicit Cuckoo(uint32_t keys) : map_(keys) {
        for (uint32_t i = 0; i < keys; ++i) map_.insert(key_of(i), value_of(i));
    }
    uint64_t gets(const std::vector<Key>& order, Value* out) override {
        uint64_t there = 0;
        for (const Key& key : order) there += map_.find(key, *out) ? 1 : 0;
        return there;
    }

  private:
    libcuckoo::cuckoohash_map<Key, Value, HashKey> map_;
};

class RocksCache final : public Contender {
  public:
    RocksCache(std::shared_ptr<rocksdb::Cache> cache, uint32_t keys) : cache_(std::move(cache)) {
        for (uint32_t i = 0; i < keys; ++i) {
            const Key key = key_of(i);
            auto* value = new Value(value_of(i));
            const auto status = cache_->Insert({key.data(), kKeyBytes}, value,
                                               kKeyBytes + kValueBytes, &RocksCache::drop);
            if (!status.ok()) fail("RocksDB's cache refused a value: " + status.ToString());
        }
    }
    uint64_t gets(const std::vector<Key>& order, Value* out) override {
        uint64_t there = 0;
        for (const Key& key : order) {
            rocksdb::Cache::Handle* handle = cache_->Lookup({key.data(), kKeyBytes});
            if (handle == nullptr) continue;
            *out = *static_cast<const Value*>(cache_->Value(handle));
            cache_->Release(handle);
            ++there;
        }
        return there;
    }

  private:
    static void drop(const rocksdb::Slice&, void* value) { delete static_cast<Value*>(value); }
    std::shared_ptr<rocksdb::Cache> cache_;
};

// One request at a time over a Unix socket; a reply of `reply_bytes` bytes holds the value at
// `value_offset`.
class Server final : public Contender {
  public:
    Server(const std::string& path, std::string before, std::string after, size_t value_offset,
           size_t reply_bytes)
        : before_(std::move(before)),
          after_(std::move(after)),
          value_offset_(value_offset),
          reply_bytes_(reply_bytes),
          fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        if (path.size() >= sizeof address.sun_path) fail("the path of a socket is too long");
        std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
        if (fd_ < 0 || ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
            fail("cannot connect to " + path);
        }
    }
    ~Server() override { ::close(fd_); }
    uint64_t gets(const std::vector<Key>& order, Value* out) override {
        uint64_t there = 0;
        char bytes[512];
        for (const Key& key : order) {
            const std::string request = before_ + std::string(view(key)) + after_;
            if (::send(fd_, request.data(), request.size(), MSG_NOSIGNAL) !=
                static_cast<ssize_t>(request.size())) {
                fail("a server closed its connection");
            }
            size_t size = 0;
            while (size < reply_bytes_) {
                const ssize_t count = ::recv(fd_, bytes + size, sizeof bytes - size, 0);
                if (count <= 0) fail("a server closed its connection");
                size += static_cast<size_t>(count);
            }
            std::memcpy(out->data(), bytes + value_offset_, kValueBytes);
            ++there;
        }
        return there;
    }

  private:
    const std::string before_;
    const std::string after_;
    const size_t value_offset_;
    const size_t reply_bytes_;
    const int fd_;
};

std::unique_ptr<l1::Store> make_l1(uint32_t keys) {
    auto store = l1::Store::create({.instance = "store-bench-" + std::to_string(::getpid()),
                                    .bytes = uint64_t{keys} * 160 + (64 << 20),
                                    .item_bytes_expected = kKeyBytes + kValueBytes,
                                    .hash_seed = kSeed});
    if (!store) fail(store.error().message);
    store.value()->unlink();  // mapped until the end; nothing is left behind
    l1::Partition& partition = store.value()->partition(0);
    for (uint32_t i = 0; i < keys; ++i) {
        const Key key = key_of(i);
        const Value value = value_of(i);
        if (partition.put(base::hash_key(view(key), kSeed), view(key), {value.data(), kValueBytes},
                          0, kGeneration, kNowMs) != l1::PutStatus::kStored) {
            fail("L1 is too small");
        }
    }
    return std::move(store).value();
}

std::vector<Key> random_order(base::Rng& rng, uint32_t keys, uint32_t gets) {
    std::vector<Key> order;
    order.reserve(gets);
    for (uint32_t i = 0; i < gets; ++i)
        order.push_back(key_of(static_cast<uint32_t>(rng.below(keys))));
    return order;
}

int run(int argc, char** argv) {
    const auto keys = static_cast<uint32_t>(std::strtoul(argv[1], nullptr, 10));
    const auto rounds = static_cast<uint32_t>(std::strtoul(argv[2], nullptr, 10));
    const auto gets = static_cast<uint32_t>(std::strtoul(argv[3], nullptr, 10));
    if (keys == 0 || rounds == 0 || gets == 0) fail("nothing to do");
    const auto store = make_l1(keys);
    l1::Partition& partition = store->partition(0);
    std::vector<std::pair<std::string, std::unique_ptr<Contender>>> contenders;
    const auto add = [&](std::string name, std::unique_ptr<Contender> contender) {
        contenders.emplace_back(std::move(name), std::move(contender));
    };
    add("l1_owner", std::make_unique<L1>(partition, L1::As::kOwner));
    add("l1_anyone", std::make_unique<L1>(partition, L1::As::kAnyone));
    add("l1_burst", std::make_unique<L1>(partition, L1::As::kBursts));
    add("tbb", std::make_unique<TbbMap>(keys));
    add("libcuckoo", std::make_unique<Cuckoo>(keys));
    const size_t cache_bytes = size_t{keys} * 400 + (8 << 20);  // nothing is evicted
    add("rocksdb_lru", std::make_unique<RocksCache>(rocksdb::NewLRUCache(cache_bytes), keys));
    if (argc == 6) {
        add("memcached",
            std::make_unique<Server>(argv[4], "get ", "\r\n", std::strlen("VALUE ") + kKeyBytes + 7,
                                     std::strlen("VALUE ") + kKeyBytes + 7 + kValueBytes + 2 + 5));
        add("valkey", std::make_unique<Server>(argv[5], "*2\r\n$3\r\nGET\r\n$16\r\n", "\r\n", 5,
                                               5 + kValueBytes + 2));
    }
    base::Rng rng(11);
    std::map<std::string, std::vector<double>> took;
    for (uint32_t round = 0; round <= rounds; ++round) {  // the first one warms up
        for (auto& [name, contender] : contenders) {
            const bool remote = name == "memcached" || name == "valkey";
            const std::vector<Key> order = random_order(rng, keys, remote ? gets / 100 + 1 : gets);
            Value last{};
            const uint64_t start = base::monotonic_ns();
            const uint64_t there = contender->gets(order, &last);
            const uint64_t ns = base::monotonic_ns() - start;
            if (there != order.size()) fail(name + " lost keys");
            const auto number = static_cast<uint32_t>(
                std::strtoul(std::string(view(order.back()).substr(4)).c_str(), nullptr, 10));
            if (last != value_of(number)) fail(name + " gave a wrong value");
            if (round > 0)
                took[name].push_back(static_cast<double>(ns) / static_cast<double>(order.size()));
        }
    }
    std::printf("{");
    const char* separator = "";
    for (const auto& [name, values] : took) {
        std::printf("%s\"%s\": [", separator, name.c_str());
        for (size_t i = 0; i < values.size(); ++i)
            std::printf("%s%.1f", i == 0 ? "" : ", ", values[i]);
        std::printf("]");
        separator = ", ";
    }
    std::printf("}\n");
    return 0;
}

}  // namespace
}  // namespace cachee::perf

int main(int argc, char** argv) {
    if (argc != 4 && argc != 6) {
        std::fprintf(stderr,
                     "usage: store_bench KEYS ROUNDS GETS [MEMCACHED_SOCKET VALKEY_SOCKET]\n");
        return 2;
    }
    return cachee::perf::run(argc, argv);
}
