// SPDX-License-Identifier: Apache-2.0
// libcachee for C++20: a thin, header-only wrapper of cachee.h, which says what the calls promise.
// Any process; one thread at a time per Client. Nothing here throws but std::bad_alloc, and
// value() of an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cachee/cachee.h"

namespace cachee {

enum class Source : int32_t {
    kNowhere = CACHEE_FROM_NOWHERE,
    kL1 = CACHEE_FROM_L1,
    kAppliance = CACHEE_FROM_APPLIANCE,
};

struct Options {
    uint32_t flags = 0;  // CACHEE_NO_FALLBACK ...
    uint32_t timeout_ms = 0;
    uint32_t reconnect_max_ms = 0;
    uint32_t hint_every = 0;
    std::optional<std::string> l1_path = {};
    std::optional<std::string> address = {};
    std::optional<std::string> user = {};
    std::optional<std::string> password = {};
};

// A status, and bytes that are borrowed until the next call on the same Client.
class Found {
  public:
    Found(cachee_status status, const cachee_value& value) : status_(status), value_(value) {}

    // True when the key is there; false when it is absent, not in L1, or not known: see status().
    explicit operator bool() const noexcept { return status_ == CACHEE_OK; }
    cachee_status status() const noexcept { return status_; }
    bool is_error() const noexcept { return status_ < 0; }
    // Empty unless the key is there.
    std::string_view view() const noexcept {
        if (status_ != CACHEE_OK || value_.size == 0) return {};
        return {static_cast<const char*>(value_.data), value_.size};
    }
    std::string str() const { return std::string(view()); }
    // Of the value, also when the buffer was too small for it.
    size_t size() const noexcept { return value_.size; }
    Source source() const noexcept { return static_cast<Source>(value_.source); }
    int64_t ttl_ms() const noexcept { return value_.ttl_ms; }

  private:
    cachee_status status_;
    cachee_value value_;
};

class Client {
  public:
    // Throws std::runtime_error with cachee_last_error(); attach() does not.
    explicit Client(const char* instance = nullptr, const Options& options = {}) {
        cachee_status status = CACHEE_OK;
        std::optional<Client> client = attach(instance, options, &status);
        if (!client) throw std::runtime_error(cachee_last_error());
        handle_ = std::move(client->handle_);
    }
    static std::optional<Client> attach(const char* instance, const Options& options,
                                        cachee_status* status) {
        const auto text = [](const std::optional<std::string>& given) {
            return given ? given->c_str() : nullptr;
        };
        const cachee_options raw{
            sizeof(cachee_options),   options.flags,      options.timeout_ms,
            options.reconnect_max_ms, options.hint_every, text(options.l1_path),
            text(options.address),    text(options.user), text(options.password)};
        cachee_handle* handle = nullptr;
        *status = cachee_attach(instance, &raw, &handle);
        if (*status != CACHEE_OK) return std::nullopt;
        return Client(handle);
    }

    Found get(std::string_view key) {
        cachee_value value{};
        const cachee_status status = cachee_get(handle_.get(), key.data(), key.size(), &value);
        return {status, value};
    }
    Found get_into(std::string_view key, std::span<std::byte> buffer) {
        cachee_value value{};
        const cachee_status status = cachee_get_into(handle_.get(), key.data(), key.size(),
                                                     buffer.data(), buffer.size(), &value);
        return {status, value};
    }
    std::vector<Found> multi_get(std::span<const std::string_view> keys) {
        std::vector<cachee_item> items(keys.size());
        for (size_t i = 0; i < keys.size(); ++i) {
            items[i].key = keys[i].data();
            items[i].key_size = keys[i].size();
        }
        const cachee_status status =
            cachee_multi_get(handle_.get(), items.data(), items.size(), sizeof(cachee_item));
        std::vector<Found> found;
        found.reserve(items.size());
        for (const cachee_item& item : items) {
            found.emplace_back(
                status == CACHEE_OK ? static_cast<cachee_status>(item.status) : status, item.value);
        }
        return found;
    }
    // CACHEE_OK: it exists.
    cachee_status exists(std::string_view key, Source* source = nullptr) {
        cachee_source from = CACHEE_FROM_NOWHERE;
        const cachee_status status = cachee_exists(handle_.get(), key.data(), key.size(), &from);
        if (source != nullptr) *source = static_cast<Source>(from);
        return status;
    }
    // Milliseconds or CACHEE_NO_EXPIRY, with CACHEE_OK.
    std::pair<cachee_status, int64_t> ttl_ms(std::string_view key, Source* source = nullptr) {
        cachee_source from = CACHEE_FROM_NOWHERE;
        int64_t ttl = 0;
        const cachee_status status = cachee_ttl(handle_.get(), key.data(), key.size(), &ttl, &from);
        if (source != nullptr) *source = static_cast<Source>(from);
        return {status, ttl};
    }
    cachee_statistics statistics() const {
        cachee_statistics all{};
        all.struct_size = sizeof all;
        cachee_get_statistics(handle_.get(), &all);
        return all;
    }

  private:
    struct Detach {
        void operator()(cachee_handle* handle) const noexcept { cachee_detach(handle); }
    };
    explicit Client(cachee_handle* handle) : handle_(handle) {}

    std::unique_ptr<cachee_handle, Detach> handle_;
};

}  // namespace cachee
