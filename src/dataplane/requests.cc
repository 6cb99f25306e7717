// SPDX-License-Identifier: Apache-2.0
// Parked requests, what the control plane sends, and calls between workers. Data plane, the
// worker's own thread. The rules that decide what may be answered when are in docs/decisions/0001.
#include <algorithm>
#include <charconv>

#include "base/clock.h"
#include "base/hash.h"
#include "dataplane/standalone.h"
#include "dataplane/worker.h"

namespace cachee::dataplane {

using stats::Counter;

namespace {

constexpr uint32_t kTimeoutsPerPoll = 64;

}  // namespace

// --- parked requests
// --------------------------------------------------------------------------------

// A slot at the end of the session's reply queue, ready and empty; kNoSlot when the table is full.
uint32_t Worker::park(io::SessionIndex index, Session& session) noexcept {
    const uint32_t parked = parked_.take();
    if (parked == kNoSlot) {
        counters_.add(Counter::parked_full);
        return kNoSlot;
    }
    parked_[parked].session = index;
    if (session.queue_tail != kNoSlot) parked_[session.queue_tail].next_in_session = parked;
    if (session.queue_head == kNoSlot) session.queue_head = parked;
    session.queue_tail = parked;
    parked_[parked].next_in_session = kNoSlot;
    ++session.in_flight;
    return parked;
}

void Worker::start_waiting(uint32_t parked, LaneGroup group) noexcept {
    Parked& request = parked_[parked];
    request.sent_ns = now_ns_;
    request.deadline_ns = now_ns_ + options_.request_timeout_ns;
    parked_.start_waiting(parked);
    Session& session = sessions_[request.session];
    ++session.sent_in_flight;
    session.lane_group = group;
}

bool Worker::send_parked(uint32_t parked) noexcept {
    const Parked& request = parked_[parked];
    const Session& session = sessions_[request.session];
    shm::RingEntry entry;
    entry.kind =
        static_cast<uint16_t>(request.fetch ? shm::EventKind::kFetch : shm::EventKind::kCommand);
    entry.lane = request.lane;
    entry.flags = request.entry_flags;
    if (session.protocol == resp::Protocol::kResp3) entry.flags |= shm::kResp3;
    entry.request_id = parked_.request_id(parked);
    entry.session_id = session_id(request.session, session.generation);
    entry.key_hash = request.key_hash;
    entry.key_bytes = request.fetch ? request.command.size : 0;
    return control_.send(entry, request.command.view());
}

void Worker::send_or_queue(uint32_t parked) noexcept {
    if (queued_next_ == queued_.size() && send_parked(parked)) return;
    counters_.add(Counter::ring_full);
    queued_.push_back(parked_.request_id(parked));  // within its reserved capacity: one per slot
}

void Worker::send_queued() noexcept {
    while (queued_next_ < queued_.size()) {
        const uint32_t parked = parked_.find(queued_[queued_next_]);
        if (parked != kNoSlot && !send_parked(parked)) break;
        ++queued_next_;
    }
    if (queued_next_ == queued_.size()) {
        queued_.clear();
        queued_next_ = 0;
    } else if (queued_.size() == queued_.capacity()) {
        queued_.erase(queued_.begin(), queued_.begin() + static_cast<std::ptrdiff_t>(queued_next_));
        queued_next_ = 0;
    }
}

// The reply is complete: out with it, and with what stood behind it.
void Worker::finish(uint32_t parked) noexcept {
    const io::SessionIndex index = parked_[parked].session;
    Session& session = sessions_[index];
    parked_.stop_waiting(parked);
    pool_.release(parked_[parked].command);
    if (--session.sent_in_flight == 0) session.lane_group = LaneGroup::kNone;
    drain_replies(index, session);
    resume(index, session);
    if (session.eof || session.closing) close_when_done(index, session);
}

void Worker::fail(uint32_t parked, std::string_view error) noexcept {
    Parked& request = parked_[parked];
    counters_.add(Counter::replies_error);
    request.reply.size = 0;
    if (!pool_.append(request.reply, "-") || !pool_.append(request.reply, error) ||
        !pool_.append(request.reply, "\r\n")) {
        kill_session(request.session, sessions_[request.session]);
    }
    finish(parked);
}

void Worker::drain_replies(io::SessionIndex index, Session& session) noexcept {
    while (session.queue_head != kNoSlot && session.output.empty()) {
        const uint32_t parked = session.queue_head;
        Parked& request = parked_[parked];
        if (request.state != ParkedState::kReady) return;
        session.queue_head = request.next_in_session;
        if (session.queue_head == kNoSlot) session.queue_tail = kNoSlot;
        --session.in_flight;
        write_out(index, session, request.reply.view());
        pool_.release(request.reply);
        pool_.release(request.command);
        parked_.give(parked);
    }
    if (session.in_flight == 0) session.keys_in_flight = 0;
}

// The session is gone: late replies find their slot's sequence changed.
void Worker::drop_requests(Session& session) noexcept {
    while (session.queue_head != kNoSlot) {
        const uint32_t parked = session.queue_head;
        Parked& request = parked_[parked];
        session.queue_head = request.next_in_session;
        if (request.state == ParkedState::kWaiting) parked_.stop_waiting(parked);
        pool_.release(request.reply);
        pool_.release(request.command);
        parked_.give(parked);
    }
    session.queue_tail = kNoSlot;
    session.in_flight = 0;
    session.sent_in_flight = 0;
    session.keys_in_flight = 0;
    session.lane_group = LaneGroup::kNone;
}

void Worker::expire_parked() noexcept {
    if (queued_next_ != queued_.size()) send_queued();
    for (uint32_t i = 0; i < kTimeoutsPerPoll; ++i) {
        const uint32_t oldest = parked_.oldest();
        if (oldest == kNoSlot || parked_[oldest].deadline_ns > now_ns_) return;
        counters_.add(Counter::requests_timed_out);
        fail(oldest,
             parked_[oldest].may_write
                 ? "ERR cachee: L2 did not answer in time, the outcome of this command is unknown"
                 : "ERR cachee: L2 did not answer in time");
    }
}

// --- from the control plane
// -------------------------------------------------------------------------

bool Worker::poll_control() noexcept {
    std::string_view payload;
    uint32_t taken = 0;
    while (taken < kControlCredit && control_.next(control_entry_, payload)) {
        apply(control_entry_, payload);
        ++taken;
    }
    if (taken != 0) control_.release();
    return taken != 0;
}

void Worker::apply(const shm::RingEntry& entry, std::string_view payload) noexcept {
    switch (static_cast<shm::CommandKind>(entry.kind)) {
        case shm::CommandKind::kReply:
            take_reply(entry, payload);
            break;
        case shm::CommandKind::kStream:
            take_stream(entry, payload);
            break;
        case shm::CommandKind::kFill:
            take_fill(entry, payload);
            break;
        case shm::CommandKind::kInvalidate:
            counters_.add(Counter::invalidations);
            own_partition_.erase(base::hash_key(payload, options_.hash_seed), payload);
            break;
        case shm::CommandKind::kLease: {
            lease_until_ns_ = entry.arg0;
            if (generation_ != entry.arg1) {
                generation_ = entry.arg1;
                counters_.add(Counter::flushes);
            }
            shm::WorkerBlock& block = control_.block();
            block.generation.store(generation_, std::memory_order_relaxed);
            block.lease_until_ns.store(lease_until_ns_, std::memory_order_release);
            own_partition_.publish_trust(lease_until_ns_, generation_);
            break;
        }
        case shm::CommandKind::kCloseSession: {
            io::SessionIndex index;
            Session* session = session_of(entry.session_id, index);
            if (session == nullptr) break;
            session->closing = true;
            session->stream_ended = true;
            session->update_plain();
            if (!session->last_words.empty()) {
                write_out(index, *session, session->last_words.view());
                pool_.release(session->last_words);
            }
            close_when_done(index, *session);
            break;
        }
    }
}

Session* Worker::session_of(uint64_t id, io::SessionIndex& index) noexcept {
    index = static_cast<io::SessionIndex>(id);
    if (index >= sessions_.size()) return nullptr;
    Session& session = sessions_[index];
    if (!session.open || session.generation != static_cast<uint32_t>(id >> 32)) return nullptr;
    return &session;
}

void Worker::take_reply(const shm::RingEntry& entry, std::string_view payload) noexcept {
    const uint32_t parked = parked_.find(entry.request_id);
    if (parked == kNoSlot) return;  // timed out, or the session is gone
    Parked& request = parked_[parked];
    const io::SessionIndex index = request.session;
    Session& session = sessions_[index];
    const bool whole = (entry.flags & shm::kMore) == 0;
    // The common case: first in the queue and complete. No copy into the slot.
    if (whole && request.reply.empty() && session.queue_head == parked && session.output.empty()) {
        write_out(index, session, payload);
        finish(parked);
        return;
    }
    if (pool_.bytes_in_use() + payload.size() > options_.buffers_bytes_max ||
        !pool_.append(request.reply, payload)) {
        kill_session(index, session);
        return;
    }
    if (whole) finish(parked);
}

void Worker::take_stream(const shm::RingEntry& entry, std::string_view payload) noexcept {
    io::SessionIndex index;
    Session* session = session_of(entry.session_id, index);
    if (session == nullptr) {
        shm::RingEntry notice;
        notice.kind = static_cast<uint16_t>(shm::EventKind::kSessionClosed);
        notice.session_id = entry.session_id;
        if (!control_.send(notice, {})) counters_.add(Counter::ring_full);
        return;
    }
    write_out(index, *session, payload);
}

void Worker::take_fill(const shm::RingEntry& entry, std::string_view payload) noexcept {
    if (entry.key_bytes > payload.size() || entry.arg1 != generation_) return;
    const std::string_view key = payload.substr(0, entry.key_bytes);
    const std::string_view value = payload.substr(entry.key_bytes);
    const uint64_t hash = base::hash_key(key, options_.hash_seed);
    if (base::owner_of(hash, options_.worker_count) != options_.index) return;
    if (entry.arg0 != 0 && entry.arg0 <= now_ms_) {
        own_partition_.erase(hash, key);
        return;
    }
    const l1::PutStatus status =
        own_partition_.put(hash, key, value, entry.arg0, generation_, now_ms_);
    if (status == l1::PutStatus::kStored) {
        counters_.add(Counter::fills);
        return;
    }
    // What was there before is older than what could not be stored.
    own_partition_.erase(hash, key);
    counters_.add(Counter::fills_refused);
}

// A new control plane: it knows nothing of what its predecessor was asked.
void Worker::follow_controlplane_cold() noexcept {
    lease_until_ns_ = 0;
    control_.block().lease_until_ns.store(0, std::memory_order_release);
    own_partition_.publish_trust(0, generation_);
    queued_.clear();
    queued_next_ = 0;
    control_.acknowledge();
    // Ids first: fail() changes the list.
    std::vector<uint64_t> waiting;
    for (uint32_t parked = parked_.oldest(); parked != kNoSlot; parked = parked_[parked].newer) {
        waiting.push_back(parked_.request_id(parked));
    }
    for (const uint64_t id : waiting) {
        const uint32_t parked = parked_.find(id);
        if (parked == kNoSlot) continue;
        if (parked_[parked].remote_left != 0) continue;  // another worker answers it
        if (parked_[parked].may_write) {
            fail(parked,
                 "ERR cachee: the control plane was restarted, the outcome of this command is "
                 "unknown");
        } else {
            parked_[parked].reply.size = 0;  // part of an answer of the old one
            send_or_queue(parked);
        }
    }
    for (io::SessionIndex index = 0; index < sessions_.size(); ++index) {
        Session& session = sessions_[index];
        if (!session.open || !session.pinned || session.stream_ended) continue;
        // Its transaction or subscription died with the connection that the old one held.
        session.closing = true;
        session.stream_ended = true;
        session.update_plain();
        transport_.close(index, io::CloseHow::kFlush);
    }
}

// --- between workers (standalone)
// -------------------------------------------------------------------

bool Worker::poll_remote() noexcept {
    if (remote_ == nullptr || !options_.standalone) return false;
    bool busy = false;
    for (uint32_t other = 0; other < options_.worker_count; ++other) {
        if (other == options_.index) continue;
        RemoteRing& from = remote_->ring(other, options_.index);
        for (uint32_t i = 0; i < kControlCredit; ++i) {
            RemoteCall* call = from.pop();
            if (call == nullptr) break;
            busy = true;
            if (call->answered) {
                take_remote_answer(*call);
            } else {
                answer_remote(*call);
            }
        }
    }
    return busy;
}

void Worker::answer_remote(RemoteCall& call) noexcept {
    resp::ParseState state;
    resp::ArgumentList arguments;
    const resp::ParseResult parsed =
        resp::parse_command(call.command, options_.limits, state, arguments);
    CACHEE_ASSERT(parsed.status == resp::ParseStatus::kComplete);
    call.reply.clear();
    standalone_->execute({arguments.begin(), arguments.size()}, call.protocol, now_ms_,
                         base::wall_ms(), call.reply);
    call.answered = true;
    const bool pushed = remote_->ring(options_.index, call.origin).push(&call);
    CACHEE_ASSERT(pushed);  // the ring holds all calls of both workers
}

void Worker::take_remote_answer(RemoteCall& call) noexcept {
    const uint32_t parked = parked_.find(call.request_id);
    if (parked != kNoSlot) add_remote_reply(parked, call.reply);
    remote_->give(&call);
}

// One of the answers that make the reply of `parked`; finishes it with the last one.
void Worker::add_remote_reply(uint32_t parked, std::string_view reply) noexcept {
    Parked& request = parked_[parked];
    bool stored = true;
    const bool is_error = !reply.empty() && reply[0] == '-';
    if (request.combine == Combine::kReplace || is_error) {
        request.reply.size = 0;
        request.combine = Combine::kReplace;
        stored = pool_.append(request.reply, reply);
    } else if (request.combine == Combine::kSum && reply.size() > 3) {
        int64_t value = 0;
        std::from_chars(reply.data() + 1, reply.data() + reply.size() - 2, value);
        request.sum += value;
    }
    if (!stored) kill_session(request.session, sessions_[request.session]);
    CACHEE_DASSERT(request.remote_left > 0);
    if (--request.remote_left > 0) return;
    if (request.combine == Combine::kOk) {
        stored = pool_.append(request.reply, "+OK\r\n");
    } else if (request.combine == Combine::kSum) {
        uint8_t digits[resp::kBulkHeaderBytesMax];
        const uint8_t* end = resp::write_integer(digits, request.sum);
        stored = pool_.append(request.reply, {reinterpret_cast<const char*>(digits),
                                              static_cast<size_t>(end - digits)});
    }
    if (!stored) kill_session(request.session, sessions_[request.session]);
    finish(parked);
}

}  // namespace cachee::dataplane
