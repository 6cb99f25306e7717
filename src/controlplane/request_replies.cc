// SPDX-License-Identifier: Apache-2.0
// RequestRouter, the way back: what a reply of L2 means for the guard and for L1, and when it may
// leave to the worker. Control plane thread only.
#include "base/clock.h"
#include "controlplane/reply_encoder.h"
#include "controlplane/request_router.h"

namespace cachee::controlplane {

using base::kNsPerMs;
using shm::CommandKind;
using stats::ControlCounter;

// --- replies ------------------------------------------------------------------------------------

void RequestRouter::on_reply(Request* request, const redisReply* reply) {
    --request->replies_left;
    if (reply == nullptr) {
        if (request->replies_left == 0) on_lost(request);
        return;
    }
    counters_->add(ControlCounter::l2_replies);
    if (reply->type == REDIS_REPLY_ERROR) counters_->add(ControlCounter::l2_errors);
    if (request->replies_left > 0) {
        request->pttl_ms.push_back(reply->type == REDIS_REPLY_INTEGER ? reply->integer : -2);
        return;
    }
    const uint64_t took = base::monotonic_ns() - request->sent_ns;
    counters_->add(ControlCounter::l2_latency_ns_sum, took);
    latency_.record(took);
    switch (request->kind) {
        case Kind::kFetch:
            settle_fetch(*request, *reply);
            break;
        case Kind::kMget:
            settle_mget(*request, *reply);
            break;
        case Kind::kCommand:
            settle_command(*request, *reply);
            break;
    }
    finish(request);
}

void RequestRouter::on_lost(Request* request) {
    request->sent = false;
    if (request->write) {
        // It may have been executed: L1 forgets the keys, and the client is told the truth.
        Barrier barrier;
        settle_writes(*request, false, barrier);
        fail(*request, "ERR cachee: connection to L2 lost, the outcome of this command is unknown");
        finish(request);
        return;
    }
    if (request->retried || request->answered || request->fenced) {
        fail(*request, "ERR cachee: connection to L2 lost");
        finish(request);
        return;
    }
    request->retried = true;
    waiting_[static_cast<size_t>(request->lane)].push_back(request);
}

// The value at `index` was not touched from the moment it was asked for: it goes to L1.
bool RequestRouter::install_fetched(Request& request, size_t index, const redisReply& value,
                                    Barrier& barrier) {
    if (value.type != REDIS_REPLY_STRING || index >= request.pttl_ms.size()) return false;
    const int64_t pttl_ms = request.pttl_ms[index];
    if (pttl_ms != -1 && pttl_ms <= 0) return false;
    if (!coherence_.fills_allowed()) return false;
    if (!guard_.undisturbed(request.tickets[index], 0)) {
        counters_->add(ControlCounter::fills_dropped_stale);
        return false;
    }
    const uint64_t deadline_ms =
        pttl_ms == -1 ? 0 : request.sent_ns / kNsPerMs + static_cast<uint64_t>(pttl_ms);
    const KeyGuard::Record* record = request.records[index];
    return coherence_.fill(record->key, record->hash, {value.str, value.len}, deadline_ms,
                           &barrier);
}

// Before a fetched value is shown to anybody, the owner's L1 must hold nothing older: an older
// value that is there goes with the fill, or with an invalidation. The push that will tell of the
// change may still be behind this reply (L2 sends BCAST pushes at the end of its turn), and until
// it comes a reader would see the new value and then, from L1, the old one.
void RequestRouter::supersede(Request& request, size_t index, const redisReply& value,
                              Barrier& barrier) {
    if (install_fetched(request, index, value, barrier)) return;
    coherence_.invalidate(request.records[index]->key, &barrier);
}

void RequestRouter::settle_fetch(Request& request, const redisReply& reply) {
    Barrier barrier;
    if (coherence_.attached()) supersede(request, 0, reply, barrier);
    reply_all(request, reply, barrier);
}

void RequestRouter::settle_mget(Request& request, const redisReply& reply) {
    Barrier barrier;
    if (reply.type == REDIS_REPLY_ARRAY && reply.elements == request.records.size() &&
        coherence_.attached()) {
        for (size_t i = 0; i < reply.elements; ++i) {
            supersede(request, i, *reply.element[i], barrier);
        }
    }
    reply_all(request, reply, barrier);
}

// L1 learns of every key written; after this none of them counts as in flight.
void RequestRouter::settle_writes(Request& request, bool stored, Barrier& barrier) {
    for (size_t i = 0; i < request.records.size(); ++i) {
        KeyGuard::Record* record = request.records[i];
        const bool install = stored && request.install && guard_.undisturbed(request.tickets[i], 1);
        guard_.write_finished(record);
        if (install) {
            const uint64_t deadline_ms =
                request.ttl_ms == 0 ? 0 : request.sent_ns / kNsPerMs + request.ttl_ms;
            if (coherence_.fill(record->key, record->hash, request.value, deadline_ms, &barrier)) {
                continue;
            }
        }
        coherence_.invalidate(record->key, &barrier);
    }
}

void RequestRouter::settle_command(Request& request, const redisReply& reply) {
    Barrier barrier;
    if (request.write) {
        settle_writes(request, reply.type == REDIS_REPLY_STATUS, barrier);
    }
    if (request.flushes && reply.type != REDIS_REPLY_ERROR) {
        coherence_.bump_generation("a client flushed or swapped databases", true);
    }
    if (!request.fenced || !coherence_.attached()) {
        // What a read of L2 shows may be a write that is still in flight: no L1 may show the value
        // before it afterwards.
        if (!request.write && coherence_.attached()) coherence_.add_all(barrier);
        reply_all(request, reply, barrier);
        return;
    }
    if (request.answered) return;
    // The reply waits for the fence by value: the request ends here.
    std::string bytes;
    const Waiter waiter = request.waiters[0];
    const auto protocol = waiter.resp3 ? resp::Protocol::kResp3 : resp::Protocol::kResp2;
    if (!encode_reply(reply, protocol, bytes)) {
        bytes = error_reply("ERR cachee: L2 sent a reply that cannot be encoded");
    }
    coherence_.fence([this, waiter, bytes = std::move(bytes), number = data_plane_]() mutable {
        if (number != data_plane_ || !coherence_.attached()) return;
        Barrier all;
        coherence_.add_all(all);
        answer(waiter, std::move(bytes), std::move(all));
    });
}

// --- answers ------------------------------------------------------------------------------------

void RequestRouter::reply_all(Request& request, const redisReply& reply, const Barrier& barrier) {
    if (request.answered || !coherence_.attached()) return;
    request.answered = true;
    std::string encoded[2];
    for (const Waiter& waiter : request.waiters) {
        std::string& bytes = encoded[waiter.resp3];
        const auto protocol = waiter.resp3 ? resp::Protocol::kResp3 : resp::Protocol::kResp2;
        if (bytes.empty() && !encode_reply(reply, protocol, bytes)) {
            bytes = error_reply("ERR cachee: L2 sent a reply that cannot be encoded");
        }
        answer(waiter, request.waiters.size() == 1 ? std::move(bytes) : bytes, barrier);
    }
}

void RequestRouter::answer(const Waiter& waiter, std::string bytes, Barrier barrier) {
    if (!coherence_.attached()) return;
    const auto send_reply = [this, waiter](std::string_view reply) {
        shm::RingEntry entry;
        entry.kind = static_cast<uint16_t>(CommandKind::kReply);
        entry.request_id = waiter.request_id;
        entry.session_id = waiter.session_id;
        coherence_.link(waiter.worker).send(entry, reply);
    };
    if (coherence_.applied(barrier, waiter.worker)) {
        send_reply(bytes);
        return;
    }
    coherence_.release_after(
        waiter.worker, std::move(barrier),
        [this, send_reply, bytes = std::move(bytes), number = data_plane_](bool applied) {
            if (number != data_plane_ || !coherence_.attached()) return;
            send_reply(applied ? bytes
                               : error_reply("ERR cachee: a worker does not follow; the command "
                                             "was executed but may not be visible yet"));
        });
}

void RequestRouter::answer_error(const Waiter& waiter, std::string_view text) {
    answer(waiter, error_reply(text), {});
}

void RequestRouter::fail(Request& request, std::string_view text) {
    if (request.answered) return;
    request.answered = true;
    for (const Waiter& waiter : request.waiters) answer_error(waiter, text);
}

}  // namespace cachee::controlplane
