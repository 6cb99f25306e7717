// SPDX-License-Identifier: Apache-2.0
// Runs one client's share of a trace; see replay_client.h.
#include "tools/cachee/replay_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "base/clock.h"

namespace cachee::cli {

namespace {

constexpr size_t kPopulateBatch = 64;
constexpr int kReconnectAttempts = 50;
constexpr auto kReconnectPause = std::chrono::milliseconds(100);

uint64_t now_ms() { return base::monotonic_ns() / base::kNsPerMs; }

uint32_t saturated_ns(uint64_t ns) {
    return static_cast<uint32_t>(std::min<uint64_t>(ns, UINT32_MAX));
}

}  // namespace

ReplayClient::ReplayClient(const ReplayOptions& options, HostPort target, const HostPort* l2,
                           ReplayShared& shared)
    : options_(options),
      shared_(shared),
      target_(std::move(target)),
      l2_(l2 == nullptr ? nullptr : std::make_unique<RedisLink>(*l2)),
      is_lazy_(l2 == nullptr || options.cache_aside) {}

base::Status ReplayClient::connect() {
    if (auto status = target_.connect(); !status) return status;
    return l2_ == nullptr ? base::Status() : l2_->connect();
}

std::string ReplayClient::key_of(const TraceRecord& record) const {
    return key_text(options_.key_prefix, record.key, record.key_bytes);
}

uint32_t ReplayClient::value_bytes(const TraceRecord& record) {
    const uint32_t bytes =
        record.value_bytes == 0 ? options_.value_bytes_unknown : record.value_bytes;
    if (bytes > options_.value_bytes_max) ++counts_.values_cut;
    return std::min(bytes, options_.value_bytes_max);
}

uint64_t ReplayClient::ttl_ms(uint32_t ttl_s) const {
    if (ttl_s == 0) return 0;
    return std::max<uint64_t>(1, static_cast<uint64_t>(std::llround(static_cast<double>(ttl_s) *
                                                                    1000.0 * options_.ttl_scale)));
}

void ReplayClient::apply_write(KeyState& state, const TraceRecord& record, uint64_t sent_ms) {
    state.knowledge = KeyKnowledge::kPresent;
    ++state.version;
    state.value_bytes = value_bytes(record);
    const uint64_t ttl = ttl_ms(record.ttl_s);
    state.expires_low_ms = ttl == 0 ? UINT64_MAX : sent_ms + ttl;
    // Known only when the reply is here; until then a late read is given the benefit of the doubt.
    state.expires_high_ms = UINT64_MAX;
}

void ReplayClient::send_set(RedisLink& link, std::string_view key, const KeyState& state,
                            uint32_t ttl_s, uint64_t key_number) {
    derive_value(key_number, state.version, options_.seed, state.value_bytes, value_);
    const uint64_t ttl = ttl_ms(ttl_s);
    if (ttl == 0) {
        link.send({"SET", key, value_});
    } else {
        const std::string text = std::to_string(ttl);
        link.send({"SET", key, value_, "PX", text});
    }
}

base::Result<uint64_t> ReplayClient::populate() {
    uint64_t populated = 0;
    std::vector<std::pair<KeyState*, uint64_t>> sent;  // with the TTL
    const auto drain = [&]() -> base::Status {
        for (auto& [state, ttl] : sent) {
            auto reply = l2_->read();
            if (!reply) return reply.error();
            if (reply->kind != Reply::Kind::kStatus) {
                return base::Error{fmt::format("L2 refuses SET: {}", reply->text)};
            }
            if (ttl != 0) state->expires_high_ms = now_ms() + ttl;
            ++populated;
        }
        sent.clear();
        return {};
    };
    for (const TraceRecord& record : records_) {
        shared_.done.fetch_add(1, std::memory_order_relaxed);
        const auto [entry, is_new] = states_.try_emplace(record.key);
        if (!is_new || record.operation != TraceOperation::kGet) continue;
        KeyState& state = entry->second;
        apply_write(state, record, now_ms());
        send_set(*l2_, key_of(record), state, record.ttl_s, record.key);
        sent.emplace_back(&state, ttl_ms(record.ttl_s));
        if (sent.size() == kPopulateBatch) {
            if (auto status = drain(); !status) return status.error();
        }
    }
    if (auto status = drain(); !status) return status.error();
    counts_.values_cut = 0;  // counted again when the requests run
    return populated;
}

base::Status ReplayClient::run() {
    size_t next = 0;
    bool l2_first = false;
    while (next < records_.size() && !shared_.stop.load(std::memory_order_relaxed)) {
        const size_t count = build_batch(next);
        // Turn by turn, so that neither side always finds the caches of the machine warm.
        l2_first = !l2_first;
        if (l2_ != nullptr && l2_first) {
            if (auto status = read_l2_batch(); !status) return status;
        }
        if (auto status = read_target_batch(); !status) return status;
        if (auto status = refill(); !status) return status;
        if (l2_ != nullptr && !l2_first) {
            if (auto status = read_l2_batch(); !status) return status;
        }
        next += count;
        shared_.done.fetch_add(count, std::memory_order_relaxed);
    }
    counts_.keys = states_.size();
    return {};
}

// At most `pipeline` requests. Ends before a key whose state an earlier read of the batch decides.
size_t ReplayClient::build_batch(size_t from) {
    batch_.clear();
    const size_t end = std::min(records_.size(), from + options_.pipeline);
    for (size_t i = from; i < end; ++i) {
        const TraceRecord& record = records_[i];
        const bool undecided = std::any_of(batch_.begin(), batch_.end(), [&](const Pending& other) {
            return other.record->key == record.key &&
                   (is_lazy_ || states_[record.key].knowledge == KeyKnowledge::kUnknown);
        });
        if (undecided) break;
        batch_.push_back(Pending{&record, key_of(record), states_[record.key]});
    }
    return batch_.size();
}

void ReplayClient::send_target(Pending& pending) {
    const TraceRecord& record = *pending.record;
    KeyState& state = states_[record.key];
    pending.before = state;
    switch (record.operation) {
        case TraceOperation::kGet:
            target_.send({"GET", pending.key});
            return;
        case TraceOperation::kDelete:
            target_.send({"DEL", pending.key});
            state.knowledge = KeyKnowledge::kAbsent;
            return;
        case TraceOperation::kSet:
            apply_write(state, record, now_ms());
            send_set(target_, pending.key, state, record.ttl_s, record.key);
            return;
    }
}

base::Status ReplayClient::read_target_batch() {
    refills_.clear();
    const uint64_t sent_ns = base::monotonic_ns();
    for (Pending& pending : batch_) send_target(pending);
    for (Pending& pending : batch_) {
        auto reply = target_.read();
        const uint64_t received_ns = base::monotonic_ns();
        if (!reply) {
            // Nobody knows which writes of the batch were done.
            for (const Pending& lost : batch_)
                states_[lost.record->key].knowledge = KeyKnowledge::kUnknown;
            counts_.errors += batch_.size();
            refills_.clear();
            return reconnect(target_, reply.error().message);
        }
        const bool is_read = pending.record->operation == TraceOperation::kGet;
        (is_read ? target_reads_ : target_writes_).push_back(saturated_ns(received_ns - sent_ns));
        KeyState& state = states_[pending.record->key];
        if (reply->kind == Reply::Kind::kError || reply->kind == Reply::Kind::kOther) {
            ++counts_.errors;
            if (counts_.first_error.empty()) counts_.first_error = std::string(reply->text);
            if (!is_read) state.knowledge = KeyKnowledge::kUnknown;
        } else if (is_read) {
            take_read_reply(pending, *reply, sent_ns / base::kNsPerMs,
                            received_ns / base::kNsPerMs);
        } else if (pending.record->operation == TraceOperation::kDelete) {
            ++counts_.deletes;
        } else {
            ++counts_.writes;
            if (const uint64_t ttl = ttl_ms(pending.record->ttl_s); ttl != 0) {
                state.expires_high_ms = received_ns / base::kNsPerMs + ttl;
            }
        }
    }
    return {};
}

void ReplayClient::take_read_reply(Pending& pending, const Reply& reply, uint64_t sent_ms,
                                   uint64_t received_ms) {
    const std::string_view value =
        reply.kind == Reply::Kind::kNil ? std::string_view() : reply.text;
    ++counts_.reads;
    counts_.found += value.data() != nullptr;
    counts_.bytes_read += value.size();
    const Judgement judgement =
        options_.verify || pending.before.knowledge == KeyKnowledge::kUnknown
            ? judge(pending.before, pending.record->key, options_.seed, value, sent_ms, received_ms)
            : Judgement{value.data() == nullptr ? Verdict::kGone : Verdict::kGood, 0};
    note_judgement(judgement, pending, "target");
    KeyState& state = states_[pending.record->key];
    if (judgement.verdict == Verdict::kAdopted) {
        state.knowledge = KeyKnowledge::kPresent;
        state.version = judgement.version;
        state.value_bytes = static_cast<uint32_t>(value.size());
        state.expires_low_ms = 0;  // set in an earlier run: its TTL may end at any moment
        state.expires_high_ms = UINT64_MAX;
    } else if (judgement.verdict == Verdict::kForeign ||
               (judgement.verdict == Verdict::kGone && is_lazy_)) {
        refills_.push_back(pending);
    } else if (judgement.verdict == Verdict::kGone &&
               pending.before.knowledge == KeyKnowledge::kPresent &&
               state.version == pending.before.version) {
        state.knowledge = KeyKnowledge::kAbsent;
    }
}

base::Status ReplayClient::refill() {
    for (const Pending& pending : refills_) {
        KeyState& state = states_[pending.record->key];
        apply_write(state, *pending.record, now_ms());
        send_set(target_, pending.key, state, pending.record->ttl_s, pending.record->key);
    }
    for (const Pending& pending : refills_) {
        KeyState& state = states_[pending.record->key];
        auto reply = target_.read();
        if (!reply) {
            for (const Pending& lost : refills_) {
                states_[lost.record->key].knowledge = KeyKnowledge::kUnknown;
            }
            counts_.errors += refills_.size();
            return reconnect(target_, reply.error().message);
        }
        if (reply->kind != Reply::Kind::kStatus) {
            ++counts_.errors;
            if (counts_.first_error.empty()) counts_.first_error = std::string(reply->text);
            state.knowledge = KeyKnowledge::kUnknown;
            continue;
        }
        ++counts_.refills;
        if (const uint64_t ttl = ttl_ms(pending.record->ttl_s); ttl != 0) {
            state.expires_high_ms = now_ms() + ttl;
        }
    }
    return {};
}

base::Status ReplayClient::read_l2_batch() {
    const uint64_t sent_ns = base::monotonic_ns();
    size_t sent = 0;
    for (const Pending& pending : batch_) {
        if (pending.record->operation != TraceOperation::kGet) continue;
        l2_->send({"GET", pending.key});
        ++sent;
    }
    for (const Pending& pending : batch_) {
        if (pending.record->operation != TraceOperation::kGet) continue;
        auto reply = l2_->read();
        const uint64_t received_ns = base::monotonic_ns();
        if (!reply) {
            counts_.errors += sent;
            return reconnect(*l2_, reply.error().message);
        }
        l2_reads_.push_back(saturated_ns(received_ns - sent_ns));
        if (reply->kind == Reply::Kind::kError) {
            ++counts_.errors;
            if (counts_.first_error.empty())
                counts_.first_error = "L2: " + std::string(reply->text);
            continue;
        }
        const std::string_view value =
            reply->kind == Reply::Kind::kNil ? std::string_view() : reply->text;
        ++counts_.l2_reads;
        counts_.l2_found += value.data() != nullptr;
        const KeyState& state = states_[pending.record->key];
        if (!options_.verify || state.knowledge == KeyKnowledge::kUnknown) continue;
        note_judgement(judge(state, pending.record->key, options_.seed, value,
                             sent_ns / base::kNsPerMs, received_ns / base::kNsPerMs),
                       pending, "L2");
    }
    return {};
}

void ReplayClient::note_judgement(const Judgement& judgement, const Pending& pending,
                                  const char* where) {
    const char* what = nullptr;
    switch (judgement.verdict) {
        case Verdict::kGood:
            ++counts_.good;
            return;
        case Verdict::kGone:
            ++counts_.gone;
            return;
        case Verdict::kForeign:
            ++counts_.foreign;
            return;
        case Verdict::kAdopted:
            ++counts_.adopted;
            return;
        case Verdict::kMissing:
            ++counts_.missing;
            what = "is missing";
            break;
        case Verdict::kStale:
            ++counts_.stale;
            what = "is stale";
            break;
        case Verdict::kCorrupt:
            ++counts_.corrupt;
            what = "is no value of this key";
            break;
    }
    if (!counts_.first_wrong.empty()) return;
    const KeyState& state = states_[pending.record->key];
    counts_.first_wrong = fmt::format("{}: key \"{}\" {}: found version {}, expected {}", where,
                                      pending.key, what, judgement.version,
                                      state.knowledge == KeyKnowledge::kAbsent
                                          ? "nothing"
                                          : fmt::format("version {}", state.version));
}

base::Status ReplayClient::reconnect(RedisLink& link, const std::string& why) {
    if (counts_.first_error.empty()) counts_.first_error = why;
    base::Status status;
    for (int attempt = 0; attempt < kReconnectAttempts && !shared_.stop.load(); ++attempt) {
        status = link.connect();
        if (status) {
            ++counts_.reconnects;
            return {};
        }
        std::this_thread::sleep_for(kReconnectPause);
    }
    return status;
}

}  // namespace cachee::cli
