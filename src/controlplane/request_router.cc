// SPDX-License-Identifier: Apache-2.0
// The way to L2: events in, plans, lanes, timeouts. The way back is request_replies.cc.
#include "controlplane/request_router.h"

#include <spdlog/spdlog.h>

#include "base/clock.h"
#include "controlplane/set_command.h"
#include "resp/command_table.h"
#include "resp/encoder.h"

namespace cachee::controlplane {

using base::kMiB;
using base::kNsPerMs;
using base::kNsPerS;
using shm::EventKind;
using stats::ControlCounter;

namespace {

// An MGET of more keys is answered but not installed: it would be preceded by as many PTTLs.
constexpr size_t kMgetInstallKeysMax = 256;

std::string command_of(std::initializer_list<std::string_view> arguments) {
    std::string out;
    resp::append_command(out, {arguments.begin(), arguments.size()});
    return out;
}

L2Lane l2_lane(shm::Lane lane, bool resp3) {
    if (lane == shm::Lane::kTracked) return L2Lane::kTracked;
    return resp3 ? L2Lane::kShared3 : L2Lane::kShared2;
}

}  // namespace

RequestRouter::RequestRouter(L2Backend& backend, Coherence& coherence, KeyGuard& guard,
                             PinnedSessions& pinned, const config::Config& config,
                             stats::ControlCounters* const& counters)
    : backend_(backend),
      coherence_(coherence),
      guard_(guard),
      pinned_(pinned),
      options_(config.l2),
      counters_(counters),
      assembler_(config.limits.bulk_bytes_max + 64 * kMiB) {
    limits_.bulk_bytes_max = config.limits.bulk_bytes_max;
    limits_.arguments_max = config.limits.arguments_max;
    limits_.inline_bytes_max = config.limits.inline_bytes_max;
}

RequestRouter::~RequestRouter() {
    while (!requests_.empty()) finish(requests_.front());
}

// --- events in ----------------------------------------------------------------------------------

bool RequestRouter::drain(uint32_t budget) {
    bool found = false;
    for (uint32_t worker = 0; worker < coherence_.workers(); ++worker) {
        WorkerLink& link = coherence_.link(worker);
        shm::RingEntry entry;
        std::string_view payload;
        uint32_t taken = 0;
        // At the limit events stay in the ring: the workers hold their requests back then.
        while (taken < budget && in_flight_ < options_.in_flight_max &&
               link.next_event(entry, payload)) {
            on_event(worker, entry, payload);
            ++taken;
        }
        if (taken > 0) {
            link.release_events();
            found = true;
        }
    }
    return found;
}

void RequestRouter::on_event(uint32_t worker, const shm::RingEntry& entry,
                             std::string_view payload) {
    if (entry.kind == static_cast<uint16_t>(EventKind::kSessionClosed)) {
        pinned_.close(worker, entry.session_id);
        assembler_.session_closed(worker, entry.session_id);
        return;
    }
    if (entry.kind == static_cast<uint16_t>(EventKind::kSessionEnding)) {
        pinned_.end(worker, entry.session_id);
        return;
    }
    if ((entry.flags & shm::kMore) == 0 && assembler_.empty()) {
        on_message(worker, entry, payload);
        return;
    }
    std::string_view message;
    switch (assembler_.add(worker, entry, payload, message)) {
        case MessageAssembler::Outcome::kPartial:
            return;
        case MessageAssembler::Outcome::kWhole:
            on_message(worker, entry, message);
            return;
        case MessageAssembler::Outcome::kTooLong:
            answer_error({worker, entry.session_id, entry.request_id, false},
                         "ERR cachee: the command is too long to be passed on");
            return;
    }
}

void RequestRouter::on_message(uint32_t worker, const shm::RingEntry& entry,
                               std::string_view payload) {
    const Waiter waiter{worker, entry.session_id, entry.request_id,
                        (entry.flags & shm::kResp3) != 0};
    if (entry.kind == static_cast<uint16_t>(EventKind::kFetch)) {
        on_fetch(waiter, entry, payload);
    } else if (entry.kind != static_cast<uint16_t>(EventKind::kCommand)) {
        malformed(worker, "an event of unknown kind");
    } else if (entry.lane == shm::Lane::kPinned) {
        pinned_.command(worker, entry.session_id, waiter.resp3, (entry.flags & shm::kWrite) != 0,
                        payload);
    } else if (entry.lane == shm::Lane::kTracked || entry.lane == shm::Lane::kPass ||
               entry.lane == shm::Lane::kFenced) {
        on_command(waiter, entry, payload);
    } else {
        malformed(worker, "a command for an unknown lane");
        answer_error(waiter, "ERR cachee: internal error: unknown lane");
    }
}

bool RequestRouter::joinable(const Request& fetch) const {
    if (fetch.answered) return false;
    // Not sent yet: it will read what L2 has then. Sent: nothing may have changed since.
    return !fetch.sent || guard_.undisturbed(fetch.tickets[0], 0);
}

void RequestRouter::on_fetch(const Waiter& waiter, const shm::RingEntry& entry,
                             std::string_view key) {
    const uint64_t hash = coherence_.hash(key);
    KeyGuard::Record* record = guard_.find(key);
    if (record != nullptr && record->open_fetch != nullptr && (entry.flags & shm::kOrdered) == 0) {
        auto* open = static_cast<Request*>(record->open_fetch);
        if (joinable(*open)) {
            open->waiters.push_back(waiter);
            counters_->add(ControlCounter::fetches_coalesced);
            return;
        }
    }
    auto* request = new Request;
    request->kind = Kind::kFetch;
    request->lane = L2Lane::kTracked;
    request->waiters.push_back(waiter);
    request->records.push_back(guard_.acquire(key, hash));
    request->records[0]->open_fetch = request;
    counters_->add(ControlCounter::fetches);
    submit(request);
}

void RequestRouter::on_command(const Waiter& waiter, const shm::RingEntry& entry,
                               std::string_view command) {
    resp::ParseState state;
    const auto parsed = resp::parse_command(command, limits_, state, arguments_);
    if (parsed.status != resp::ParseStatus::kComplete || parsed.consumed != command.size() ||
        arguments_.empty() || command[0] != '*') {
        malformed(waiter.worker, "a command that is not one RESP array");
        answer_error(waiter, "ERR cachee: internal error: malformed command");
        return;
    }
    const resp::CommandInfo* info = resp::find_command({arguments_.begin(), arguments_.size()});
    if (info != nullptr &&
        (info->route == resp::Route::kPinned || info->route == resp::Route::kForbidden)) {
        // On a connection that others share it would change the state of all of them.
        malformed(waiter.worker, "a stateful command for a shared connection");
        answer_error(waiter, "ERR cachee: internal error: this command needs its own connection");
        return;
    }
    auto* request = new Request;
    request->lane = l2_lane(entry.lane, waiter.resp3);
    request->waiters.push_back(waiter);
    request->write = (entry.flags & shm::kWrite) != 0;
    request->fenced = entry.lane == shm::Lane::kFenced;
    plan(*request, entry);
    request->command = command;
    submit(request);
}

// Keys, and what their values may become in L1.
void RequestRouter::plan(Request& request, const shm::RingEntry& entry) {
    const std::span<const std::string_view> arguments(arguments_.begin(), arguments_.size());
    const resp::CommandInfo* info = resp::find_command(arguments);
    if (info != nullptr && (info->flags & resp::kCmdWrite) != 0) request.write = true;
    const std::string_view name = info != nullptr ? info->name : std::string_view();
    request.flushes = name == "flushall" || name == "flushdb" || name == "swapdb";
    if (request.flushes) request.fenced = request.write = true;
    const bool mget = name == "mget" && entry.lane == shm::Lane::kTracked;
    if (!request.write && !mget) return;

    key_indexes_.clear();
    if (info == nullptr || !resp::command_keys(*info, arguments, key_indexes_)) {
        // What cannot be told exactly is waited for: the fence covers every key.
        request.fenced = request.fenced || request.write;
        key_indexes_.clear();
    }
    for (const uint32_t index : key_indexes_) {
        if (index >= arguments.size()) continue;
        const std::string_view key = arguments[index];
        request.records.push_back(guard_.acquire(key, coherence_.hash(key)));
    }
    if (mget) {
        request.kind = Kind::kMget;
        return;
    }
    if (request.lane != L2Lane::kTracked || request.records.size() != 1) return;
    if (const auto stored = stored_value(arguments)) {
        if (stored->key.size() + stored->value.size() > coherence_.item_bytes_max()) return;
        request.install = true;
        request.value = stored->value;
        request.ttl_ms = stored->ttl_ms;
    }
}

// --- to L2 --------------------------------------------------------------------------------------

void RequestRouter::submit(Request* request) {
    request->router = this;
    request->deadline_ns = base::monotonic_ns() + options_.request_timeout_ms * kNsPerMs;
    request->position = requests_.insert(requests_.end(), request);
    ++in_flight_;
    if (request->write) counters_->add(ControlCounter::writes);
    if (backend_.ready(request->lane)) {
        send(request);
    } else {
        waiting_[static_cast<size_t>(request->lane)].push_back(request);
    }
}

void RequestRouter::send(Request* request) {
    request->sent = true;
    request->sent_ns = base::monotonic_ns();
    request->tickets.clear();
    request->pttl_ms.clear();
    if (request->write) start_writes(*request);
    for (KeyGuard::Record* record : request->records) {
        request->tickets.push_back(guard_.ticket(record));
    }
    // The times to live first: the value that follows is no older than they are, and when it comes
    // everything is known.
    const bool ask_ttl =
        request->kind == Kind::kFetch ||
        (request->kind == Kind::kMget && request->records.size() <= kMgetInstallKeysMax);
    request->replies_left = 1;
    if (ask_ttl) request->replies_left += static_cast<uint32_t>(request->records.size());
    // From here on the request may be gone whenever a send fails: send() is true while ready.
    if (ask_ttl) {
        for (KeyGuard::Record* record : request->records) {
            backend_.send(request->lane, command_of({"PTTL", record->key}), *request);
        }
    }
    if (request->kind == Kind::kFetch) {
        backend_.send(request->lane, command_of({"GET", request->records[0]->key}), *request);
    } else {
        backend_.send(request->lane, request->command, *request);
    }
    counters_->add(ControlCounter::l2_commands, request->replies_left);
    // A write is never sent twice: it need not be kept.
    if (request->write) request->command = {};
}

// From here on another connection may read the new value from L2, so no L1 may answer with the old
// one: not even the worker's that passed the write on and dropped its own, for a fill may have been
// on its way to it.
void RequestRouter::start_writes(Request& request) {
    for (KeyGuard::Record* record : request.records) {
        guard_.write_started(record);
        coherence_.invalidate(record->key, nullptr);
    }
}

void RequestRouter::on_lane_up(L2Lane lane) {
    auto waiting = std::move(waiting_[static_cast<size_t>(lane)]);
    waiting_[static_cast<size_t>(lane)].clear();
    for (Request* request : waiting) send(request);
}

// --- the end of a request
// ---------------------------------------------------------------------------

// REQUIRES: its writes are settled, or it was never sent.
void RequestRouter::finish(Request* request) {
    for (KeyGuard::Record* record : request->records) {
        if (record->open_fetch == request) record->open_fetch = nullptr;
        guard_.release(record);
    }
    requests_.erase(request->position);
    --in_flight_;
    delete request;
}

void RequestRouter::tick(uint64_t now_ns) {
    counters_->set(ControlCounter::l2_in_flight, in_flight_);
    for (auto next = requests_.begin(); next != requests_.end();) {
        Request* request = *next++;
        if (request->deadline_ns > now_ns) break;
        if (request->sent) {
            if (request->answered) continue;
            fail(*request, "ERR cachee: L2 at " + backend_.name() + " did not answer within " +
                               std::to_string(options_.request_timeout_ms) + " ms" +
                               (request->write ? ", the outcome of this command is unknown" : ""));
            continue;
        }
        fail(*request, "ERR cachee: L2 at " + backend_.name() + " is unreachable");
        auto& waiting = waiting_[static_cast<size_t>(request->lane)];
        if (waiting.front() == request) {
            waiting.pop_front();  // nearly always: both lists are in order of arrival
        } else {
            std::erase(waiting, request);
        }
        finish(request);
    }
}

void RequestRouter::forget_data_plane() {
    ++data_plane_;
    assembler_.clear();
    for (auto& queue : waiting_) {
        for (Request* request : queue) finish(request);
        queue.clear();
    }
    for (Request* request : requests_) {
        request->answered = true;
        for (KeyGuard::Record* record : request->records) {
            if (record->open_fetch == request) record->open_fetch = nullptr;
        }
    }
}

void RequestRouter::fail_all(std::string_view error) {
    for (Request* request : requests_) fail(*request, error);
}

void RequestRouter::malformed(uint32_t worker, std::string_view what) {
    const uint64_t now_ns = base::monotonic_ns();
    if (now_ns - malformed_logged_ns_ < kNsPerS) return;
    malformed_logged_ns_ = now_ns;
    spdlog::error("worker {} sent {}: do both planes run the same release?", worker, what);
}

}  // namespace cachee::controlplane
