// SPDX-License-Identifier: Apache-2.0
// What is asked: which commands in which mix, on which keys, with which values. A value is a
// function of its key and the seed, so that any reply can be judged without remembering what was
// written, and a SET changes nothing that a reader could notice. Not when: see Schedule. Immutable
// after make(); shared by all threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/rng.h"
#include "tools/loadgen/distributions.h"
#include "tools/loadgen/reply_reader.h"

namespace cachee::loadgen {

enum class Command : uint8_t { kGet, kMget, kSet, kAuth };

struct WorkloadOptions {
    uint64_t keys = 100'000;
    std::string distribution = "uniform";
    std::string key_prefix = "key:";
    std::string value_bytes = "64";
    double reads_percent = 90;
    uint32_t mget_keys = 0;  // 0: reads are GETs
    std::string ttl_ms;      // "", "MS" or "MIN:MAX"
    std::string user;
    std::string password;
    Protocol protocol = Protocol::kResp;
    uint64_t seed = 1;
};

struct Request {
    Command command = Command::kGet;
    uint32_t ttl_ms = 0;     // of a SET; 0: none
    uint64_t key = 0;        // MGET: where its keys begin for a sequential walk
    uint64_t mget_seed = 0;  // of an MGET's keys
};

// The keys of one request in order.
class KeyWalk {
  public:
    KeyWalk(const KeyDistribution& keys, const Request& request)
        : keys_(&keys), request_(request), rng_(request.mget_seed), cursor_(request.key) {}
    uint64_t next() {
        return request_.command == Command::kMget ? keys_->draw(rng_, cursor_) : request_.key;
    }

  private:
    const KeyDistribution* keys_;
    Request request_;
    base::Rng rng_;
    uint64_t cursor_;
};

class Workload {
  public:
    // Errors name the option.
    static base::Result<Workload> make(const WorkloadOptions& options);

    // The next request of a thread that owns `rng` and `cursor`.
    Request next(base::Rng& rng, uint64_t& cursor) const;
    // The SET that brings `key` into being.
    Request set_of(uint64_t key, base::Rng& rng) const;

    KeyWalk walk(const Request& request) const { return KeyWalk(keys_, request); }
    uint32_t keys_of(const Request& request) const {
        return request.command == Command::kMget ? options_.mget_keys : 1;
    }

    // An upper bound of what write() writes.
    size_t bytes_max(const Request& request) const;
    // In the workload's protocol; returns its end. REQUIRES: bytes_max() bytes at `out`.
    uint8_t* write(const Request& request, uint8_t* out) const;

    uint32_t value_bytes(uint64_t key) const;
    // Whether the bytes from `offset` on are those of the key's value; says nothing of its length.
    bool matches(uint64_t key, uint64_t offset, const uint8_t* data, size_t size) const;
    void write_value(uint64_t key, uint8_t* out, size_t size) const;

    const WorkloadOptions& options() const { return options_; }
    const KeyDistribution& keys() const { return keys_; }
    const SizeDistribution& sizes() const { return sizes_; }
    bool may_expire() const { return ttl_max_ms_ != 0; }

  private:
    Workload(const WorkloadOptions& options, KeyDistribution keys, SizeDistribution sizes)
        : options_(options), keys_(std::move(keys)), sizes_(std::move(sizes)) {}
    base::Status complete_memcached();
    uint8_t* write_key(uint64_t key, uint8_t* out) const;
    uint8_t* write_memcached(const Request& request, uint8_t* out) const;
    uint32_t draw_ttl(base::Rng& rng) const;

    WorkloadOptions options_;
    KeyDistribution keys_;
    SizeDistribution sizes_;
    uint32_t ttl_min_ms_ = 0;
    uint32_t ttl_max_ms_ = 0;
    std::string auth_;        // the whole command
    std::string key_header_;  // "$16\r\nkey:"; memcached: " key:"
    std::string get_header_;  // "*2\r\n$3\r\nGET\r\n" and key_header_; memcached: "get key:"
    double reads_ = 1;
};

}  // namespace cachee::loadgen
