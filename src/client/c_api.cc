// SPDX-License-Identifier: Apache-2.0
// The C functions of cachee.h: arguments are checked, exceptions end here, and the reason of an
// error is kept for cachee_last_error(). No logic of its own.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "cachee/cachee.h"
#include "client/client.h"

struct cachee_handle {
    explicit cachee_handle(cachee::client::ClientOptions options) : client(std::move(options)) {}
    cachee::client::Client client;
};

namespace {

using cachee::client::Client;
using cachee::client::ClientOptions;

// Keys of the Redis protocol are no longer.
constexpr size_t kKeyBytesMax = size_t{512} << 20;
constexpr uint32_t kTimeoutMs = 1000;
constexpr uint32_t kHintEvery = 32;

thread_local char last_error[512];

cachee_status fail(cachee_status status, std::string_view text) noexcept {
    const size_t size = std::min(text.size(), sizeof last_error - 1);
    std::memcpy(last_error, text.data(), size);
    last_error[size] = '\0';
    return status;
}

// Errors only: what is there or absent has no reason to explain.
[[gnu::cold, gnu::noinline]] cachee_status explain_cold(const Client& client,
                                                        cachee_status status) noexcept {
    const std::string& reason = client.failure();
    return fail(status, reason.empty() ? cachee_status_text(status) : std::string_view(reason));
}

cachee_status explained(const Client& client, cachee_status status) noexcept {
    if (status < 0) [[unlikely]]
        return explain_cold(client, status);
    return status;
}

[[gnu::cold, gnu::noinline]] cachee_status out_of_memory_cold(Client* client) noexcept {
    if (client != nullptr) client->abandon();
    return fail(CACHEE_NO_MEMORY, cachee_status_text(CACHEE_NO_MEMORY));
}

bool usable(const cachee_handle* handle, const void* key, size_t key_size,
            const void* result) noexcept {
    return handle != nullptr && result != nullptr && (key != nullptr || key_size == 0) &&
           key_size <= kKeyBytesMax;
}

cachee_status invalid() noexcept {
    return fail(CACHEE_INVALID, "a null pointer, or a key beyond 512 MB");
}

std::string_view view(const void* key, size_t size) noexcept {
    return size == 0 ? std::string_view{} : std::string_view{static_cast<const char*>(key), size};
}

std::string text_or(const char* given, const char* variable) {
    if (given != nullptr) return given;
    const char* value = variable == nullptr ? nullptr : ::secure_getenv(variable);
    return value == nullptr ? "" : value;
}

// Fields beyond what the caller's header knows are zero, the default.
cachee_options known_part(const cachee_options* given) noexcept {
    cachee_options options = CACHEE_OPTIONS_INIT;
    if (given == nullptr) return options;
    std::memcpy(&options, given, std::min(given->struct_size, sizeof options));
    return options;
}

ClientOptions translate(const char* instance, const cachee_options& given) {
    ClientOptions options;
    options.instance = text_or(instance, "CACHEE_INSTANCE");
    if (options.instance.empty()) options.instance = "main";
    options.l1_path = text_or(given.l1_path, "CACHEE_L1_PATH");
    options.fallback = (given.flags & CACHEE_NO_FALLBACK) == 0;
    options.verify = (given.flags & CACHEE_NO_CHECKSUM) == 0;
    options.lazy = (given.flags & CACHEE_LAZY) != 0;
    options.hint_every = given.hint_every == 0 ? kHintEvery : given.hint_every;
    if ((given.flags & CACHEE_NO_HINTS) != 0) options.hint_every = 0;
    options.appliance.address = text_or(given.address, "CACHEE_ADDRESS");
    options.fixed_address = !options.appliance.address.empty();
    options.appliance.user = text_or(given.user, nullptr);
    options.appliance.password = text_or(given.password, "CACHEE_PASSWORD");
    options.appliance.timeout_ms = given.timeout_ms == 0 ? kTimeoutMs : given.timeout_ms;
    options.appliance.reconnect_max_ms =
        given.reconnect_max_ms == 0 ? kTimeoutMs : given.reconnect_max_ms;
    return options;
}

}  // namespace

extern "C" {

cachee_status cachee_attach(const char* instance, const cachee_options* options,
                            cachee_handle** handle) {
    if (handle == nullptr) return invalid();
    *handle = nullptr;
    if (options != nullptr && options->struct_size < sizeof options->struct_size) {
        return fail(CACHEE_INVALID, "cachee_options: set struct_size (CACHEE_OPTIONS_INIT)");
    }
    try {
        ClientOptions translated = translate(instance, known_part(options));
        if (translated.instance.find('/') != std::string::npos) {
            return fail(CACHEE_INVALID, "the name of an instance has no '/'");
        }
        auto made = std::make_unique<cachee_handle>(std::move(translated));
        std::string error;
        const cachee_status status = made->client.attach(&error);
        if (status != CACHEE_OK) return fail(status, error);
        *handle = made.release();
        return CACHEE_OK;
    } catch (const std::exception&) {
        return out_of_memory_cold(nullptr);
    }
}

void cachee_detach(cachee_handle* handle) { delete handle; }

cachee_status cachee_get(cachee_handle* handle, const void* key, size_t key_size,
                         cachee_value* value) {
    if (!usable(handle, key, key_size, value)) return invalid();
    try {
        return explained(handle->client, handle->client.get(view(key, key_size), value));
    } catch (const std::exception&) {
        return out_of_memory_cold(&handle->client);
    }
}

cachee_status cachee_get_into(cachee_handle* handle, const void* key, size_t key_size, void* buffer,
                              size_t capacity, cachee_value* value) {
    if (!usable(handle, key, key_size, value)) return invalid();
    if (buffer == nullptr && capacity != 0) return invalid();
    try {
        return explained(handle->client,
                         handle->client.get_into(view(key, key_size), buffer, capacity, value));
    } catch (const std::exception&) {
        return out_of_memory_cold(&handle->client);
    }
}

cachee_status cachee_multi_get(cachee_handle* handle, cachee_item* items, size_t count,
                               size_t item_size) {
    if (handle == nullptr || (items == nullptr && count != 0)) return invalid();
    if (item_size != sizeof(cachee_item)) {
        return fail(CACHEE_INVALID, "item_size is not sizeof(cachee_item)");
    }
    for (size_t i = 0; i < count; ++i) {
        if (!usable(handle, items[i].key, items[i].key_size, items)) return invalid();
    }
    try {
        handle->client.multi_get({items, count});
        return CACHEE_OK;
    } catch (const std::exception&) {
        return out_of_memory_cold(&handle->client);
    }
}

cachee_status cachee_exists(cachee_handle* handle, const void* key, size_t key_size,
                            cachee_source* source) {
    cachee_source ignored;
    if (source == nullptr) source = &ignored;
    if (!usable(handle, key, key_size, source)) return invalid();
    try {
        return explained(handle->client, handle->client.exists(view(key, key_size), source));
    } catch (const std::exception&) {
        return out_of_memory_cold(&handle->client);
    }
}

cachee_status cachee_ttl(cachee_handle* handle, const void* key, size_t key_size, int64_t* ttl_ms,
                         cachee_source* source) {
    cachee_source ignored;
    if (source == nullptr) source = &ignored;
    if (!usable(handle, key, key_size, ttl_ms)) return invalid();
    try {
        return explained(handle->client, handle->client.ttl(view(key, key_size), ttl_ms, source));
    } catch (const std::exception&) {
        return out_of_memory_cold(&handle->client);
    }
}

void cachee_get_statistics(const cachee_handle* handle, cachee_statistics* statistics) {
    if (handle == nullptr || statistics == nullptr) return;
    const size_t size = std::min(statistics->struct_size, sizeof(cachee_statistics));
    if (size < sizeof statistics->struct_size) return;
    cachee_statistics all{};
    handle->client.add_statistics(&all);
    all.struct_size = statistics->struct_size;
    std::memcpy(statistics, &all, size);
}

const char* cachee_last_error(void) { return last_error; }
const char* cachee_version(void) { return CACHEE_VERSION; }
int cachee_abi_version(void) { return CACHEE_ABI_VERSION; }

const char* cachee_status_text(cachee_status status) {
    switch (status) {
        case CACHEE_OK:
            return "found";
        case CACHEE_ABSENT:
            return "no such key";
        case CACHEE_MISS:
            return "not in L1, and the appliance was not asked";
        case CACHEE_TOO_SMALL:
            return "the buffer is too small for the value";
        case CACHEE_INVALID:
            return "an argument that no call takes";
        case CACHEE_NO_INSTANCE:
            return "no data plane of that name has run here";
        case CACHEE_NOT_PERMITTED:
            return "this account may not read L1 (l1.readers_group)";
        case CACHEE_INCOMPATIBLE:
            return "the data plane is of another release";
        case CACHEE_DAMAGED:
            return "what is there is no L1";
        case CACHEE_SYSTEM:
            return "the operating system refused";
        case CACHEE_NO_MEMORY:
            return "out of memory";
        case CACHEE_APPLIANCE_DOWN:
            return "the appliance cannot be reached";
        case CACHEE_TIMEOUT:
            return "the appliance did not answer in time";
        case CACHEE_DENIED:
            return "the appliance wants another user or password";
        case CACHEE_WRONG_TYPE:
            return "the key holds no string";
        case CACHEE_REFUSED:
            return "the appliance answered with an error";
        case CACHEE_PROTOCOL:
            return "what answers there does not speak RESP";
    }
    return "an unknown status";
}

}  // extern "C"
