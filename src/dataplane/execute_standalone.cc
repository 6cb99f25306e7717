// SPDX-License-Identifier: Apache-2.0
// Commands of a standalone cache (no L2): executed on this worker's partition, or sent to the
// workers that own the keys. Data plane, the worker's own thread.
#include <array>

#include "base/clock.h"
#include "base/hash.h"
#include "dataplane/standalone.h"
#include "dataplane/worker.h"

namespace cachee::dataplane {

using stats::Counter;

bool Worker::start_standalone(io::SessionIndex index, Session& session) noexcept {
    const std::span<const std::string_view> arguments{arguments_.begin(), arguments_.size()};
    // Calls to different owners keep no order among each other.
    if (session.sent_in_flight != 0) return false;
    const Spread spread = spread_of(arguments);
    if (options_.worker_count > 1) {
        switch (spread) {
            case Spread::kSumPerKey:
                return standalone_spread(index, session, 1, Combine::kSum);
            case Spread::kOkPerPair:
                return standalone_spread(index, session, 2, Combine::kOk);
            case Spread::kAllPartitionsSum:
                return standalone_everywhere(index, session, Combine::kSum);
            case Spread::kAllPartitionsOk:
                return standalone_everywhere(index, session, Combine::kOk);
            case Spread::kReadAnywhere:
                return standalone_read(index, session);
            case Spread::kOneKey: {
                const uint32_t owner = base::owner_of(
                    base::hash_key(arguments[1], options_.hash_seed), options_.worker_count);
                if (owner == options_.index) break;
                if (remote_->available(options_.index) == 0) return false;
                return standalone_call(index, session, owner, arguments);
            }
            case Spread::kNoKey:
            case Spread::kUnknown:
                break;
        }
    }
    // An error made before it is executed: the reply must not alias scratch_, which reply() may
    // use.
    standalone_reply_.clear();
    standalone_->execute(arguments, session.protocol, now_ms_, base::wall_ms(), standalone_reply_);
    if (standalone_reply_[0] == '-') counters_.add(Counter::replies_error);
    reply(index, session, standalone_reply_);
    return true;
}

// One command whole to one other owner.
bool Worker::standalone_call(io::SessionIndex index, Session& session, uint32_t owner,
                             std::span<const std::string_view> arguments) noexcept {
    const uint32_t parked = park(index, session);
    if (parked == kNoSlot) return false;
    parked_[parked].remote_left = 1;
    parked_[parked].may_write = true;
    start_waiting(parked, LaneGroup::kRemote);
    session.keys_in_flight = ~uint64_t{0};
    run_or_call(parked, owner, arguments);
    return true;
}

// One call per key (step 1) or per key and value (step 2), each to the key's owner.
bool Worker::standalone_spread(io::SessionIndex index, Session& session, uint32_t step,
                               Combine combine) noexcept {
    const size_t calls = (arguments_.size() - 1) / step;
    // More calls than fit at once would wait for each other: such a command is refused.
    if (calls > RemoteMesh::kCallsPerPair) {
        reply_error(index, session,
                    "ERR too many keys for one command of a standalone cache with several workers");
        return true;
    }
    if (remote_->available(options_.index) < calls) return false;
    const uint32_t parked = park(index, session);
    if (parked == kNoSlot) return false;
    Parked& request = parked_[parked];
    request.combine = combine;
    request.remote_left = static_cast<uint32_t>(calls);
    request.may_write = true;
    start_waiting(parked, LaneGroup::kRemote);
    session.keys_in_flight = ~uint64_t{0};
    for (size_t i = 0; i < calls; ++i) {
        const std::array<std::string_view, 3> call{arguments_[0], arguments_[1 + i * step],
                                                   step == 2 ? arguments_[2 + i * step] : ""};
        const uint32_t owner =
            base::owner_of(base::hash_key(call[1], options_.hash_seed), options_.worker_count);
        run_or_call(parked, owner, std::span(call).first(1 + step));
    }
    return true;
}

bool Worker::standalone_everywhere(io::SessionIndex index, Session& session,
                                   Combine combine) noexcept {
    if (remote_->available(options_.index) < options_.worker_count) return false;
    const uint32_t parked = park(index, session);
    if (parked == kNoSlot) return false;
    Parked& request = parked_[parked];
    request.combine = combine;
    request.remote_left = options_.worker_count;
    request.may_write = true;
    start_waiting(parked, LaneGroup::kRemote);
    session.keys_in_flight = ~uint64_t{0};
    for (uint32_t owner = 0; owner < options_.worker_count; ++owner) {
        run_or_call(parked, owner, {arguments_.begin(), arguments_.size()});
    }
    return true;
}

// GET and MGET off the fast path: any partition may be read from here.
bool Worker::standalone_read(io::SessionIndex index, Session& session) noexcept {
    standalone_reply_.clear();
    const bool many = arguments_.size() != 2 || arguments_[0].size() != 3;
    if (many) {
        uint8_t header[resp::kBulkHeaderBytesMax];
        const uint8_t* end = resp::write_aggregate_header(header, '*', arguments_.size() - 1);
        standalone_reply_.append(reinterpret_cast<const char*>(header),
                                 static_cast<size_t>(end - header));
    }
    for (size_t i = 1; i < arguments_.size(); ++i) {
        append_value(base::hash_key(arguments_[i], options_.hash_seed), arguments_[i],
                     session.protocol);
    }
    reply(index, session, standalone_reply_);
    return true;
}

// The key's value, or null, behind standalone_reply_. Repeated while the owner is writing: it is a
// live worker and its writes are short, so this ends.
void Worker::append_value(uint64_t hash, std::string_view key, resp::Protocol protocol) noexcept {
    const size_t at = standalone_reply_.size();
    while (true) {
        standalone_reply_.resize(at);
        const l1::Lookup found = find(hash, key);
        if (found.status == l1::FindStatus::kBusy) continue;
        if (found.status == l1::FindStatus::kMiss) {
            standalone_reply_.append(resp::null_reply(protocol));
            counters_.add(Counter::l1_misses);
            return;
        }
        uint8_t header[resp::kBulkHeaderBytesMax];
        const uint8_t* end = resp::write_bulk_header(header, found.value_bytes);
        standalone_reply_.append(reinterpret_cast<const char*>(header),
                                 static_cast<size_t>(end - header));
        const size_t value_at = standalone_reply_.size();
        standalone_reply_.resize(value_at + found.value_bytes);
        l1::copy_value(standalone_reply_.data() + value_at, found.value, found.value_bytes);
        standalone_reply_.append("\r\n");
        if (!l1::Partition::still_valid(found)) continue;
        counters_.add(Counter::l1_hits);
        return;
    }
}

// Executes one part here, or sends it to its owner. REQUIRES: a call is available.
void Worker::run_or_call(uint32_t parked, uint32_t owner,
                         std::span<const std::string_view> arguments) noexcept {
    const resp::Protocol protocol = sessions_[parked_[parked].session].protocol;
    if (owner == options_.index) {
        standalone_reply_.clear();
        standalone_->execute(arguments, protocol, now_ms_, base::wall_ms(), standalone_reply_);
        add_remote_reply(parked, standalone_reply_);
        return;
    }
    RemoteCall* call = remote_->take(options_.index);
    CACHEE_ASSERT(call != nullptr);
    call->answered = false;
    call->protocol = protocol;
    call->request_id = parked_.request_id(parked);
    call->command.clear();
    resp::append_command(call->command, arguments);
    const bool pushed = remote_->ring(options_.index, owner).push(call);
    CACHEE_ASSERT(pushed);  // the ring holds all calls of both workers
}

}  // namespace cachee::dataplane
