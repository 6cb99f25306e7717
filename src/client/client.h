// SPDX-License-Identifier: Apache-2.0
// One handle of libcachee: the L1 file it reads, the appliance it falls back to, and what it
// remembers between calls. The C functions of cachee.h are thin wrappers around this (c_api.cc).
// One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "cachee/cachee.h"
#include "client/appliance.h"
#include "client/arena.h"
#include "client/tsc_clock.h"
#include "l1/hints.h"
#include "l1/reader.h"

namespace cachee::client {

struct ClientOptions {
    std::string instance = "main";
    std::string l1_path;  // empty: where the signpost says
    bool fixed_address = false;
    bool fallback = true;
    bool verify = true;
    bool lazy = false;
    uint32_t hint_every = 32;  // 0: no hints
    ApplianceOptions appliance;
};

class Client {
  public:
    explicit Client(ClientOptions options);

    // Why not, in *error. With ClientOptions::lazy what is not there yet is no error.
    cachee_status attach(std::string* error);

    cachee_status get(std::string_view key, cachee_value* value);
    cachee_status get_into(std::string_view key, void* buffer, size_t capacity,
                           cachee_value* value);
    void multi_get(std::span<cachee_item> items);
    cachee_status exists(std::string_view key, cachee_source* source);
    cachee_status ttl(std::string_view key, int64_t* ttl_ms, cachee_source* source);

    // After an exception: replies that nobody took are not the next call's.
    void abandon() noexcept { appliance_.disconnect(); }
    void add_statistics(cachee_statistics* statistics) const;
    // Why the last call ended with an error.
    const std::string& failure() const { return appliance_.failure(); }

  private:
    template <bool kVerify>
    l1::ReadStatus read(std::string_view key, void* buffer, size_t capacity, cachee_value* value);
    l1::ReadStatus read_l1(std::string_view key, void* buffer, size_t capacity,
                           cachee_value* value) {
        return options_.verify ? read<true>(key, buffer, capacity, value)
                               : read<false>(key, buffer, capacity, value);
    }
    // Into the arena, as much as there is.
    l1::ReadStatus read_l1_to_arena(std::string_view key, cachee_value* value);
    void fill_hit(const l1::ReadResult& found, const void* data, uint64_t now_ns,
                  cachee_value* value) const noexcept;
    l1::ReadResult peek_l1(std::string_view key, uint64_t* now_ns);
    void prefetch(std::span<const cachee_item> items) const noexcept;

    void note_hit(uint64_t hash) noexcept {
        ++hits_;
        if (--hint_countdown_ == 0) hint_cold(hash);
    }
    void hint_cold(uint64_t hash) noexcept;
    // Counts, and looks for another L1 file where that may help; true: it found one.
    bool missed(l1::ReadStatus status);
    bool look_for_l1();
    cachee_status attach_l1(std::string* error);

    // --- the appliance (fallback.cc) ---
    cachee_status fall_back(std::string_view key, void* buffer, size_t capacity, bool own_memory,
                            cachee_value* value);
    cachee_status take_value(const Reply& reply, void* buffer, size_t capacity, bool own_memory,
                             cachee_value* value);
    cachee_status ask_number(std::string_view command, std::string_view key, int64_t* number);
    void multi_fall_back(std::span<cachee_item* const> missing);
    bool may_fall_back() const { return options_.fallback && appliance_.is_configured(); }

    ClientOptions options_;
    TscClock clock_;
    std::unique_ptr<l1::Reader> reader_;
    Arena arena_;
    uint32_t hint_countdown_ = UINT32_MAX;
    uint64_t hits_ = 0;
    std::unique_ptr<l1::HintSender> hints_;
    Appliance appliance_;
    uint64_t look_again_ns_ = 0;
    uint64_t misses_ = 0;
    uint64_t untrusted_ = 0;
    uint64_t busy_ = 0;
    uint64_t damaged_ = 0;
    uint64_t requests_ = 0;
    uint64_t request_failures_ = 0;
    uint64_t attachments_ = 0;
    uint64_t hints_of_earlier_ = 0;
};

}  // namespace cachee::client
