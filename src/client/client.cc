// SPDX-License-Identifier: Apache-2.0
// Reading L1, and finding it again when it was replaced.
#include "client/client.h"

#include <algorithm>

#include "l1/signpost.h"

namespace cachee::client {

using l1::ReadResult;
using l1::ReadStatus;

namespace {

// While L1 is not vouched for, the file at its path is looked at this often.
constexpr uint64_t kLookAgainNs = 2 * base::kNsPerMs;
// Keys of cachee_multi_get() whose memory is fetched at the same time.
constexpr size_t kBatch = 32;
// The first try at a value of unknown size.
constexpr size_t kGuessBytes = 4096;

cachee_status status_of(l1::AttachFault fault) {
    switch (fault) {
        case l1::AttachFault::kNone:
            return CACHEE_OK;
        case l1::AttachFault::kAbsent:
            return CACHEE_NO_INSTANCE;
        case l1::AttachFault::kForbidden:
            return CACHEE_NOT_PERMITTED;
        case l1::AttachFault::kIncompatible:
            return CACHEE_INCOMPATIBLE;
        case l1::AttachFault::kDamaged:
            return CACHEE_DAMAGED;
        case l1::AttachFault::kSystem:
            return CACHEE_SYSTEM;
    }
    return CACHEE_SYSTEM;
}

std::string_view key_of(const cachee_item& item) {
    return {static_cast<const char*>(item.key), item.key_size};
}

}  // namespace

Client::Client(ClientOptions options)
    : options_(std::move(options)), appliance_(options_.appliance) {}

// --- attaching ----------------------------------------------------------------------------------

cachee_status Client::attach(std::string* error) {
    const cachee_status status = attach_l1(error);
    if (status == CACHEE_OK || !options_.lazy) return status;
    if (status == CACHEE_NO_INSTANCE || status == CACHEE_DAMAGED) return CACHEE_OK;
    return status;
}

cachee_status Client::attach_l1(std::string* error) {
    bool forbidden = false;
    const auto signpost = l1::read_signpost(options_.instance, &forbidden);
    std::string path = options_.l1_path;
    if (path.empty()) {
        if (forbidden) {
            *error = l1::signpost_path(options_.instance) +
                     " may not be read: this account is not in l1.readers_group";
            return CACHEE_NOT_PERMITTED;
        }
        if (!signpost) {
            *error = "no data plane of instance \"" + options_.instance + "\" runs here (no file " +
                     l1::signpost_path(options_.instance) + ")";
            return CACHEE_NO_INSTANCE;
        }
        path = signpost->l1_path;
    }
    if (signpost && !options_.fixed_address) appliance_.set_address(signpost->listen);
    l1::AttachError attach_error;
    auto reader = l1::Reader::attach(path, &attach_error);
    if (!reader) {
        *error = attach_error.message;
        return status_of(attach_error.fault);
    }
    reader_ = std::move(reader);
    ++attachments_;
    if (hints_) hints_of_earlier_ += hints_->sent();
    hints_.reset();
    if (signpost && options_.hint_every != 0) {
        hints_ = l1::HintSender::open(signpost->hints_path);
    }
    hint_countdown_ = hints_ ? options_.hint_every : UINT32_MAX;
    return CACHEE_OK;
}

bool Client::look_for_l1() {
    const uint64_t now_ns = base::monotonic_ns();
    if (now_ns < look_again_ns_) return false;
    look_again_ns_ = now_ns + kLookAgainNs;
    if (reader_ && reader_->is_current()) return false;
    // Not before the new one is there: what is mapped is at least harmless.
    std::string error;
    return attach_l1(&error) == CACHEE_OK;
}

bool Client::missed(ReadStatus status) {
    switch (status) {
        case ReadStatus::kUntrusted:
            ++untrusted_;
            return look_for_l1();
        case ReadStatus::kBusy:
            ++busy_;
            break;
        case ReadStatus::kDamaged:
            ++damaged_;
            break;
        default:
            ++misses_;
            break;
    }
    return false;
}

void Client::hint_cold(uint64_t hash) noexcept {
    hint_countdown_ = hints_ ? options_.hint_every : UINT32_MAX;
    if (hints_) hints_->add(hash);
}

// --- reading ------------------------------------------------------------------------------------

[[gnu::always_inline]] inline void Client::fill_hit(const ReadResult& found, const void* data,
                                                    uint64_t now_ns,
                                                    cachee_value* value) const noexcept {
    value->data = data;
    value->size = found.value_bytes;
    value->ttl_ms = found.deadline_ms == 0
                        ? CACHEE_NO_EXPIRY
                        : static_cast<int64_t>(found.deadline_ms - now_ns / base::kNsPerMs);
    value->source = CACHEE_FROM_L1;
}

template <bool kVerify>
[[gnu::always_inline]] inline ReadStatus Client::read(std::string_view key, void* buffer,
                                                      size_t capacity, cachee_value* value) {
    if (reader_ == nullptr || key.size() > l1::kKeyBytesMax) [[unlikely]]
        return reader_ == nullptr ? ReadStatus::kUntrusted : ReadStatus::kMiss;
    const l1::Reader::Place place = reader_->place_of(key);
    l1::Reader::prefetch_bucket(place);  // while the clock is read
    const uint64_t now_ns = clock_.now_ns();
    const ReadResult found = reader_->read<kVerify>(place, key, now_ns, buffer, capacity);
    if (found.status == ReadStatus::kHit) [[likely]] {
        fill_hit(found, buffer, now_ns, value);
        note_hit(place.hash);
    } else {
        value->size = found.value_bytes;
    }
    return found.status;
}

ReadStatus Client::read_l1_to_arena(std::string_view key, cachee_value* value) {
    if (arena_.room_bytes() < kGuessBytes) arena_.reserve(kGuessBytes);
    for (int attempt = 0; attempt < 4; ++attempt) {
        const ReadStatus status = read_l1(key, arena_.room(), arena_.room_bytes(), value);
        if (status == ReadStatus::kHit) [[likely]]
            arena_.commit(value->size);
        if (status != ReadStatus::kTooSmall) return status;
        arena_.reserve(value->size);
    }
    return ReadStatus::kBusy;  // it grows faster than it is read
}

cachee_status Client::get(std::string_view key, cachee_value* value) {
    arena_.reset();
    ReadStatus status = read_l1_to_arena(key, value);
    if (status == ReadStatus::kHit) [[likely]]
        return CACHEE_OK;
    if (missed(status)) {
        status = read_l1_to_arena(key, value);
        if (status == ReadStatus::kHit) return CACHEE_OK;
    }
    return fall_back(key, nullptr, 0, true, value);
}

cachee_status Client::get_into(std::string_view key, void* buffer, size_t capacity,
                               cachee_value* value) {
    ReadStatus status = read_l1(key, buffer, capacity, value);
    if (status == ReadStatus::kHit) [[likely]]
        return CACHEE_OK;
    if (status != ReadStatus::kTooSmall && missed(status)) {
        status = read_l1(key, buffer, capacity, value);
        if (status == ReadStatus::kHit) return CACHEE_OK;
    }
    if (status == ReadStatus::kTooSmall) {
        *value = {.data = nullptr,
                  .size = value->size,
                  .ttl_ms = CACHEE_EXPIRY_UNKNOWN,
                  .source = CACHEE_FROM_L1,
                  .reserved = 0};
        return CACHEE_TOO_SMALL;
    }
    return fall_back(key, buffer, capacity, false, value);
}

// Two rounds, so that the memory of all keys is under way at once: buckets, then items.
void Client::prefetch(std::span<const cachee_item> items) const noexcept {
    if (reader_ == nullptr) return;
    l1::Reader::Place places[kBatch];
    size_t count = 0;
    for (const cachee_item& item : items) {
        if (item.key_size > l1::kKeyBytesMax) continue;
        places[count] = reader_->place_of(key_of(item));
        l1::Reader::prefetch_bucket(places[count++]);
    }
    for (size_t i = 0; i < count; ++i) l1::Reader::prefetch_item(places[i]);
}

void Client::multi_get(std::span<cachee_item> items) {
    arena_.reset();
    std::vector<cachee_item*> missing;
    for (size_t start = 0; start < items.size(); start += kBatch) {
        const auto batch = items.subspan(start, std::min(kBatch, items.size() - start));
        prefetch(batch);
        for (cachee_item& item : batch) {
            const std::string_view key = key_of(item);
            const bool own = item.buffer == nullptr;
            item.value = {};
            ReadStatus status = ReadStatus::kMiss;
            for (int attempt = 0; attempt < 2; ++attempt) {
                status = own ? read_l1_to_arena(key, &item.value)
                             : read_l1(key, item.buffer, item.capacity, &item.value);
                if (status == ReadStatus::kHit || status == ReadStatus::kTooSmall) break;
                if (!missed(status)) break;
            }
            item.status = status == ReadStatus::kHit ? CACHEE_OK : CACHEE_MISS;
            if (status == ReadStatus::kHit) continue;
            if (status == ReadStatus::kTooSmall) {
                item.status = CACHEE_TOO_SMALL;
                item.value.source = CACHEE_FROM_L1;
            } else {
                item.value = {};
                missing.push_back(&item);
            }
        }
    }
    if (!missing.empty() && may_fall_back()) multi_fall_back(missing);
}

ReadResult Client::peek_l1(std::string_view key, uint64_t* now_ns) {
    if (reader_ == nullptr) return {.status = ReadStatus::kUntrusted};
    if (key.size() > l1::kKeyBytesMax) return {};
    const l1::Reader::Place place = reader_->place_of(key);
    *now_ns = clock_.now_ns();
    const ReadResult found = reader_->peek(place, key, *now_ns);
    if (found.status == ReadStatus::kHit) note_hit(place.hash);
    return found;
}

cachee_status Client::exists(std::string_view key, cachee_source* source) {
    uint64_t now_ns = 0;
    *source = CACHEE_FROM_L1;
    ReadResult found = peek_l1(key, &now_ns);
    if (found.status != ReadStatus::kHit && missed(found.status)) found = peek_l1(key, &now_ns);
    if (found.status == ReadStatus::kHit) return CACHEE_OK;
    int64_t number = 0;
    *source = CACHEE_FROM_NOWHERE;
    const cachee_status status = ask_number("EXISTS", key, &number);
    if (status != CACHEE_OK) return status;
    *source = CACHEE_FROM_APPLIANCE;
    return number != 0 ? CACHEE_OK : CACHEE_ABSENT;
}

cachee_status Client::ttl(std::string_view key, int64_t* ttl_ms, cachee_source* source) {
    uint64_t now_ns = 0;
    *source = CACHEE_FROM_L1;
    ReadResult found = peek_l1(key, &now_ns);
    if (found.status != ReadStatus::kHit && missed(found.status)) found = peek_l1(key, &now_ns);
    if (found.status == ReadStatus::kHit) {
        *ttl_ms = found.deadline_ms == 0
                      ? CACHEE_NO_EXPIRY
                      : static_cast<int64_t>(found.deadline_ms - now_ns / base::kNsPerMs);
        return CACHEE_OK;
    }
    int64_t number = 0;
    *source = CACHEE_FROM_NOWHERE;
    const cachee_status status = ask_number("PTTL", key, &number);
    if (status != CACHEE_OK) return status;
    *source = CACHEE_FROM_APPLIANCE;
    if (number == -2) return CACHEE_ABSENT;
    *ttl_ms = number == -1 ? CACHEE_NO_EXPIRY : number;
    return CACHEE_OK;
}

void Client::add_statistics(cachee_statistics* s) const {
    s->l1_hits = hits_;
    s->l1_misses = misses_;
    s->l1_untrusted = untrusted_;
    s->l1_busy = busy_;
    s->l1_damaged = damaged_;
    s->appliance_requests = requests_;
    s->appliance_failures = request_failures_;
    s->attachments = attachments_;
    s->hints_sent = hints_of_earlier_ + (hints_ ? hints_->sent() : 0);
}

}  // namespace cachee::client
