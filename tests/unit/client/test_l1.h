// SPDX-License-Identifier: Apache-2.0
// An L1 of a test's own with one or two partitions, as a data plane makes it, and what reads it
// through the C functions. The "data plane" is the test itself.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "cachee/cachee.h"
#include "l1/partition.h"
#include "l1/signpost.h"
#include "l1/store.h"

namespace cachee::client {

inline constexpr uint64_t kTestSeed = 77;
inline constexpr uint32_t kTestGeneration = 5;

class TestL1 {
  public:
    explicit TestL1(const std::string& name, uint64_t bytes = 2 << 20, uint32_t partitions = 2)
        : instance_(name + "-" + std::to_string(::getpid())), bytes_(bytes), count_(partitions) {
        make();
    }
    ~TestL1() {
        if (store_) store_->unlink();
        ::unlink(l1::signpost_path(instance_).c_str());
    }
    TestL1(const TestL1&) = delete;
    TestL1& operator=(const TestL1&) = delete;

    // A data plane that starts: the file of the one before is dropped.
    void make() {
        store_.reset();
        auto store = l1::Store::create({.instance = instance_,
                                        .hugepages = l1::Hugepages::kOff,
                                        .bytes = bytes_,
                                        .partitions = count_,
                                        .hash_seed = kTestSeed});
        CACHEE_ASSERT(store.has_value());
        store_ = std::move(store).value();
        CACHEE_ASSERT(
            l1::write_signpost(instance_, {store_->path(), hints_path, listen}, 0640).has_value());
        trust(60'000);
    }
    // Without the polite end: nothing is revoked, nothing is unlinked.
    void leave_file() { store_.reset(); }

    void trust(int64_t ms, uint32_t generation = kTestGeneration) {
        const uint64_t until =
            ms == 0 ? 0 : base::monotonic_ns() + static_cast<uint64_t>(ms) * base::kNsPerMs;
        for (uint32_t i = 0; i < count_; ++i) {
            store_->partition(i).publish_trust(until, generation);
        }
    }
    void put(std::string_view key, std::string_view value, uint64_t deadline_ms = 0,
             uint32_t generation = kTestGeneration) {
        const uint64_t hash = base::hash_key(key, kTestSeed);
        ASSERT_EQ(owner(hash).put(hash, key, value, deadline_ms, generation, now_ms()),
                  l1::PutStatus::kStored);
    }
    bool erase(std::string_view key) {
        const uint64_t hash = base::hash_key(key, kTestSeed);
        return owner(hash).erase(hash, key);
    }
    l1::Partition& owner(uint64_t hash) {
        return store_->partition(base::owner_of(hash, store_->partitions()));
    }
    l1::Bucket& bucket(std::string_view key) {
        const uint64_t hash = base::hash_key(key, kTestSeed);
        auto* headers =
            reinterpret_cast<l1::PartitionHeader*>(store_->base() + sizeof(l1::FileHeader));
        const l1::PartitionHeader& header = headers[base::owner_of(hash, count_)];
        auto* buckets = reinterpret_cast<l1::Bucket*>(store_->base() + header.buckets_offset);
        return buckets[(uint64_t{static_cast<uint32_t>(hash)} * header.bucket_count) >> 32];
    }

    static uint64_t now_ms() { return base::monotonic_ns() / base::kNsPerMs; }
    const std::string& instance() const { return instance_; }
    l1::Store& store() { return *store_; }

    std::string hints_path;
    std::string listen = "127.0.0.1:1";

  private:
    std::string instance_;
    uint64_t bytes_;
    uint32_t count_;
    std::unique_ptr<l1::Store> store_;
};

// A handle that the test ends with.
class Handle {
  public:
    explicit Handle(const std::string& instance, uint32_t flags = CACHEE_NO_FALLBACK) {
        cachee_options options = CACHEE_OPTIONS_INIT;
        options.flags = flags;
        options.hint_every = 1;
        attach(instance, options);
    }
    Handle(const std::string& instance, const cachee_options& options) {
        attach(instance, options);
    }
    ~Handle() { cachee_detach(handle_); }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;

    operator cachee_handle*() { return handle_; }  // NOLINT: as the C functions take it
    cachee_status status() const { return status_; }

    cachee_status get(std::string_view key, std::string* text = nullptr) {
        value = {};
        const cachee_status status = cachee_get(handle_, key.data(), key.size(), &value);
        if (text != nullptr && status == CACHEE_OK) {
            text->assign(static_cast<const char*>(value.data), value.size);
        }
        return status;
    }
    std::string text_of(std::string_view key) {
        std::string text;
        const cachee_status status = get(key, &text);
        return status == CACHEE_OK ? text : std::string("(") + cachee_status_text(status) + ")";
    }
    cachee_statistics statistics() {
        cachee_statistics all{};
        all.struct_size = sizeof all;
        cachee_get_statistics(handle_, &all);
        return all;
    }

    cachee_value value{};

  private:
    void attach(const std::string& instance, const cachee_options& options) {
        status_ = cachee_attach(instance.c_str(), &options, &handle_);
    }
    cachee_handle* handle_ = nullptr;
    cachee_status status_ = CACHEE_OK;
};

}  // namespace cachee::client
