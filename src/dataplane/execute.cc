// SPDX-License-Identifier: Apache-2.0
// What each command starts: the fast path's GET is staged; everything else is answered by cachee
// itself, from L1, or forwarded to L2 on the lane that its route names. Data plane, the worker's
// own thread.
//
// Every start_* function returns false when the command cannot start now (it will be parsed and
// started again); it has then changed nothing.
#include <algorithm>

#include "base/clock.h"
#include "base/hash.h"
#include "dataplane/worker.h"
#include "resp/encoder.h"

namespace cachee::dataplane {

using stats::Counter;

namespace {

constexpr uint64_t kUnknownKeys = ~uint64_t{0};

bool is_get(const resp::ArgumentList& arguments) noexcept {
    if (arguments.size() != 2 || arguments[0].size() != 3) return false;
    const std::string_view name = arguments[0];
    return (name[0] | 0x20) == 'g' && (name[1] | 0x20) == 'e' && (name[2] | 0x20) == 't';
}

bool is_same_word(std::string_view a, std::string_view lower) noexcept {
    return a.size() == lower.size() &&
           std::equal(a.begin(), a.end(), lower.begin(),
                      [](char x, char y) { return (x >= 'A' && x <= 'Z' ? x | 0x20 : x) == y; });
}

// Those that a session may send before it has authenticated (acl.c, CMD_NO_AUTH).
bool allowed_unauthenticated(const resp::CommandInfo* command) noexcept {
    return command != nullptr && (command->name == "auth" || command->name == "hello" ||
                                  command->name == "quit" || command->name == "reset");
}

}  // namespace

bool Worker::start_command(io::SessionIndex index, Session& session) noexcept {
    bool started = true;
    if (session.plain && is_get(arguments_) && session.lane_group <= LaneGroup::kTracked &&
        !congested()) [[likely]] {
        stage(index, arguments_[1]);
    } else {
        answer_staged();
        if (session.closing) return true;
        if (session.stalled || congested()) return false;
        started = start_command_slow(index, session);
    }
    if (started) counters_.add(Counter::requests);
    return started;
}

bool Worker::start_command_slow(io::SessionIndex index, Session& session) noexcept {
    session.last_command_ns = now_ns_;
    if (session.pinned) return forward_pinned(index, session);
    const std::span<const std::string_view> arguments{arguments_.begin(), arguments_.size()};
    const resp::CommandInfo* command = resp::find_command(arguments);
    if (!session.authenticated && !allowed_unauthenticated(command)) {
        reply_error(index, session, "NOAUTH Authentication required.");
        return true;
    }
    if (command != nullptr && (command->name == "post" || command->name == "host:")) {
        // HTTP, perhaps a browser that was made to talk to us: nothing of what follows may be
        // executed (as Redis does, networking.c: securityWarningCommand).
        counters_.add(Counter::protocol_errors);
        session.closing = true;
        session.update_plain();
        transport_.close(index, io::CloseHow::kAbort);
        return true;
    }
    if (command != nullptr && !resp::arity_fits(*command, arguments.size())) {
        const std::string text =
            "ERR wrong number of arguments for '" + std::string(command->name) + "' command";
        reply_error(index, session, text);
        return true;
    }
    if (command != nullptr && command->route == resp::Route::kLocal) {
        return start_local(index, session, *command);
    }
    if (command != nullptr && command->name == "select" && is_same_word(arguments_[1], "0")) {
        counters_.add(Counter::requests_local);
        reply(index, session, "+OK\r\n");  // where every unpinned session is
        return true;
    }
    if (options_.standalone) return start_standalone(index, session);
    return start_routed(index, session, command);
}

bool Worker::start_routed(io::SessionIndex index, Session& session,
                          const resp::CommandInfo* command) noexcept {
    if (command == nullptr) return forward(index, session, nullptr, shm::Lane::kFenced);
    switch (command->route) {
        case resp::Route::kRead:
            if (command->name == "get") return start_get(index, session);
            return start_mget(index, session, *command);
        case resp::Route::kTracked:
            return forward(index, session, command, shm::Lane::kTracked);
        case resp::Route::kPass:
            if (resp::needs_pinning(*command, {arguments_.begin(), arguments_.size()})) break;
            return forward(index, session, command, shm::Lane::kPass);
        case resp::Route::kForbidden:
            reply_error(
                index, session,
                "ERR cachee: this command would harm L2 or the appliance for everybody and is "
                "not forwarded; send it to L2 directly");
            return true;
        case resp::Route::kPinned:
            break;
        case resp::Route::kLocal:
        case resp::Route::kFenced:
            return forward(index, session, command, shm::Lane::kFenced);
    }
    // From here on the session has a connection of its own; what is in flight comes first.
    if (session.in_flight != 0) return false;
    session.pinned = true;
    session.update_plain();
    if (forward_pinned(index, session)) return true;
    session.pinned = false;
    session.update_plain();
    return false;
}

// A GET off the fast path: behind commands of another lane, or of a session that is not plain.
bool Worker::start_get(io::SessionIndex index, Session& session) noexcept {
    const std::string_view key = arguments_[1];
    Staged get{.hash = base::hash_key(key, options_.hash_seed),
               .key = key,
               .partition = nullptr,
               .session = index,
               .candidate = {}};
    get.partition = &partition_of(get.hash);
    if (answer_from_l1(index, session, get) == L1Answer::kAnswered) return true;
    if (session.sent_in_flight != 0 && session.lane_group != LaneGroup::kTracked) return false;
    miss(index, session, get);
    return true;
}

// From L1 when all keys are there, else whole to L2: one reply, one moment.
bool Worker::start_mget(io::SessionIndex index, Session& session,
                        const resp::CommandInfo& command) noexcept {
    const size_t keys = arguments_.size() - 1;
    bool from_l1 = l1_trusted();
    mget_reply_.clear();
    uint8_t header[resp::kBulkHeaderBytesMax];
    const auto append = [this](const uint8_t* from, const uint8_t* to) {
        mget_reply_.append(reinterpret_cast<const char*>(from), static_cast<size_t>(to - from));
    };
    append(header, resp::write_aggregate_header(header, '*', keys));
    for (size_t i = 1; from_l1 && i <= keys; ++i) {
        const uint64_t hash = base::hash_key(arguments_[i], options_.hash_seed);
        const l1::Lookup found = find(hash, arguments_[i]);
        from_l1 = found.status == l1::FindStatus::kHit &&
                  (session.keys_in_flight & key_bit(hash)) == 0 &&
                  mget_reply_.size() + found.value_bytes < options_.buffers_bytes_max;
        if (!from_l1) break;
        append(header, resp::write_bulk_header(header, found.value_bytes));
        const size_t at = mget_reply_.size();
        mget_reply_.resize(at + found.value_bytes);
        l1::copy_value(mget_reply_.data() + at, found.value, found.value_bytes);
        mget_reply_.append("\r\n");
        from_l1 = l1::Partition::still_valid(found);
    }
    if (from_l1) {
        counters_.add(Counter::l1_hits, keys);
        reply(index, session, mget_reply_);
        return true;
    }
    if (!forward(index, session, &command, shm::Lane::kTracked)) return false;
    counters_.add(Counter::l1_misses, keys);
    return true;
}

// One bit per declared key; fills key_indexes_.
uint64_t Worker::keys_mask(const resp::CommandInfo* command) noexcept {
    key_indexes_.clear();
    if (command == nullptr) return kUnknownKeys;
    if (!resp::command_keys(*command, {arguments_.begin(), arguments_.size()}, key_indexes_)) {
        return kUnknownKeys;
    }
    uint64_t mask = command->route == resp::Route::kFenced ? kUnknownKeys : 0;
    for (const uint32_t i : key_indexes_) {
        mask |= key_bit(base::hash_key(arguments_[i], options_.hash_seed));
    }
    return mask;
}

bool Worker::forward(io::SessionIndex index, Session& session, const resp::CommandInfo* command,
                     shm::Lane lane) noexcept {
    const LaneGroup group = lane == shm::Lane::kTracked ? LaneGroup::kTracked : LaneGroup::kPass;
    if (session.sent_in_flight != 0 && session.lane_group != group) return false;
    if (!control_.controlplane_alive(now_ns_, options_.controlplane_patience_ns)) {
        reply_error(index, session,
                    "ERR cachee: the control plane is not running, so that L2 cannot be asked");
        return true;
    }
    const std::span<const std::string_view> arguments{arguments_.begin(), arguments_.size()};
    const size_t bytes = resp::command_bytes(arguments);
    const uint64_t mask = keys_mask(command);
    const uint32_t parked = park(index, session);
    if (parked == kNoSlot) return false;
    Parked& request = parked_[parked];
    if (pool_.bytes_in_use() + bytes > options_.buffers_bytes_max ||
        !pool_.grow(request.command, bytes)) {
        kill_session(index, session);
        return true;
    }
    resp::write_command(request.command.data, arguments);
    request.command.size = static_cast<uint32_t>(bytes);
    request.lane = lane;
    request.may_write = command == nullptr || (command->flags & resp::kCmdReadonly) == 0;
    const bool write =
        command == nullptr || lane == shm::Lane::kFenced || (command->flags & resp::kCmdWrite) != 0;
    if (write) {
        request.entry_flags |= shm::kWrite;
        // Readers go to L2 from here on (0001, session order); the control plane does the rest.
        for (const uint32_t i : key_indexes_) {
            const uint64_t hash = base::hash_key(arguments_[i], options_.hash_seed);
            l1::Partition& partition = partition_of(hash);
            if (&partition == &own_partition_) partition.erase(hash, arguments_[i]);
        }
    }
    if (!key_indexes_.empty()) {
        request.key_hash = base::hash_key(arguments_[key_indexes_[0]], options_.hash_seed);
    }
    session.keys_in_flight |= mask;
    start_waiting(parked, group);
    send_or_queue(parked);
    counters_.add(Counter::passed_through);
    return true;
}

bool Worker::forward_pinned(io::SessionIndex index, Session& session) noexcept {
    if (!control_.controlplane_alive(now_ns_, options_.controlplane_patience_ns)) {
        reply_error(index, session,
                    "ERR cachee: the control plane is not running, so that L2 cannot be asked");
        return true;
    }
    const std::span<const std::string_view> arguments{arguments_.begin(), arguments_.size()};
    Buffer bytes;
    if (!pool_.grow(bytes, resp::command_bytes(arguments))) {
        kill_session(index, session);
        return true;
    }
    bytes.size = static_cast<uint32_t>(resp::write_command(bytes.data, arguments) - bytes.data);
    shm::RingEntry entry;
    entry.kind = static_cast<uint16_t>(shm::EventKind::kCommand);
    entry.lane = shm::Lane::kPinned;
    entry.flags = shm::kWrite;
    if (session.protocol == resp::Protocol::kResp3) entry.flags |= shm::kResp3;
    entry.session_id = session_id(index, session.generation);
    const bool sent = control_.send(entry, bytes.view());
    pool_.release(bytes);
    if (!sent) {
        counters_.add(Counter::ring_full);
        return false;
    }
    counters_.add(Counter::passed_through);
    return true;
}

}  // namespace cachee::dataplane
