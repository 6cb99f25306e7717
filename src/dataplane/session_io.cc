// SPDX-License-Identifier: Apache-2.0
// Input, output and life of a worker's sessions: bytes in are executed in place or kept, replies go
// out in request order, back-pressure both ways. Data plane, the worker's own thread.
#include <algorithm>

#include "dataplane/worker.h"

namespace cachee::dataplane {

using stats::Counter;

namespace {

// A stalled session's transport is paused once this much input waits.
constexpr uint32_t kPauseInputBytes = 64 * 1024;
// What one session may have waiting for a peer that does not read; as Redis's limit for
// subscribers.
constexpr uint32_t kOutputBytesMax = 32 << 20;

}  // namespace

void Worker::open_session(io::SessionIndex index) noexcept {
    Session& session = sessions_[index];
    const uint32_t generation = session.generation + 1;
    session = Session{};
    session.generation = generation;
    session.open = true;
    session.authenticated = options_.config->listen.password.empty();
    session.opened_ns = now_ns_;
    session.last_command_ns = now_ns_;
    // Unique over workers: each has its own residue class.
    session.client_id = ++next_client_id_ * options_.worker_count + options_.index;
    session.update_plain();
    ++open_sessions_;
    counters_.add(Counter::sessions_opened);
}

void Worker::session_gone(io::SessionIndex index, io::CloseReason) noexcept {
    Session& session = sessions_[index];
    if (!session.open) return;
    if (session.pinned || session.sent_in_flight != 0) {
        shm::RingEntry entry;
        entry.kind = static_cast<uint16_t>(shm::EventKind::kSessionClosed);
        entry.session_id = session_id(index, session.generation);
        // A full ring loses the notice; the control plane then hears of it when it next writes to
        // the session and is answered with another notice (take_stream).
        if (!control_.send(entry, {})) counters_.add(Counter::ring_full);
    }
    drop_requests(session);
    pool_.release(session.input);
    pool_.release(session.output);
    pool_.release(session.last_words);
    session.open = false;
    session.plain = false;
    --open_sessions_;
    counters_.add(Counter::sessions_closed);
}

// Not one GET that fills the segment, or what is behind it.
void Worker::take_other_data(io::SessionIndex index, std::string_view bytes) noexcept {
    Session& session = sessions_[index];
    if (!session.open || session.closing) return;
    if (session.input.empty() && !session.stalled) [[likely]] {
        bytes.remove_prefix(run_commands(index, session, bytes));
        if (bytes.empty() || session.closing) return;
    }
    // A command that goes on in a later burst, or one that cannot start yet.
    if (pool_.bytes_in_use() + bytes.size() > options_.buffers_bytes_max ||
        !pool_.append(session.input, bytes)) {
        kill_session(index, session);
        return;
    }
    if (!session.stalled) {
        run_input(index, session);
    } else if (session.input.size >= kPauseInputBytes && !session.paused) {
        session.paused = true;
        transport_.pause(index);
    }
}

// Executes the commands in `bytes`; returns how many bytes are done with. Stops at an incomplete
// command, and at one that must wait (the session is then stalled).
size_t Worker::run_commands(io::SessionIndex index, Session& session,
                            std::string_view bytes) noexcept {
    size_t used = 0;
    while (used < bytes.size() && !session.closing && !session.stalled) {
        const std::string_view rest = bytes.substr(used);
        if (session.parse.needed_bytes == 0) [[likely]] {
            const size_t taken = take_short_get(index, session, rest);
            used += taken;
            if (taken != 0) continue;
        }
        if (session.parse.needed_bytes > rest.size()) break;
        const resp::ParseResult result =
            resp::parse_command(rest, options_.limits, session.parse, arguments_);
        if (result.status == resp::ParseStatus::kIncomplete) break;
        if (result.status == resp::ParseStatus::kProtocolError) {
            answer_staged();
            protocol_error(index, session, result.error);
            return bytes.size();
        }
        if (!arguments_.empty() && !start_command(index, session)) {
            stall(index, session);
            break;
        }
        used += result.consumed;
    }
    return session.closing ? bytes.size() : used;
}

void Worker::run_input(io::SessionIndex index, Session& session) noexcept {
    const size_t used = run_commands(index, session, session.input.view());
    answer_staged();  // staged keys point into the input
    if (!session.open) return;
    if (session.closing || used == session.input.size) {
        pool_.release(session.input);
    } else if (used != 0) {
        BufferPool::drop_front(session.input, used);
    }
    // Not stalled: what is left is the start of a command whose rest is still to come.
    if (session.paused && !session.stalled) {
        session.paused = false;
        transport_.resume(index);
    }
    if (session.eof) close_when_done(index, session);
}

// What ends a stall: a reply of this session (finish), room for output (writable), or, for
// resources of the whole worker (ring, parked table), a later poll.
void Worker::stall(io::SessionIndex index, Session& session) noexcept {
    session.stalled = true;
    session.update_plain();
    if (session.sent_in_flight == 0 && session.output.empty() && !session.retry_listed) {
        session.retry_listed = true;
        retry_.push_back(index);
    }
}

void Worker::resume(io::SessionIndex index, Session& session) noexcept {
    if (!session.stalled || !session.output.empty()) return;
    session.stalled = false;
    session.update_plain();
    run_input(index, session);
}

void Worker::retry_stalled() noexcept {
    retry_now_.swap(retry_);
    for (const io::SessionIndex index : retry_now_) {
        Session& session = sessions_[index];
        session.retry_listed = false;
        if (session.open) resume(index, session);
    }
    retry_now_.clear();
}

void Worker::protocol_error(io::SessionIndex index, Session& session,
                            std::string_view text) noexcept {
    counters_.add(Counter::protocol_errors);
    counters_.add(Counter::replies_error);
    scratch_.assign("-ERR ");
    scratch_.append(text).append("\r\n");
    if (session.pinned) {
        end_pinned(index, session, scratch_);
        return;
    }
    reply(index, session, scratch_);
    session.closing = true;
    session.update_plain();
    close_when_done(index, session);
}

// Over a limit, or out of memory: the one who caused it goes.
void Worker::kill_session(io::SessionIndex index, Session& session) noexcept {
    if (!session.open || session.closing) return;
    counters_.add(Counter::sessions_killed_buffers);
    session.closing = true;
    session.update_plain();
    transport_.close(index, io::CloseHow::kAbort);
}

void Worker::end_of_input(io::SessionIndex index) noexcept {
    Session& session = sessions_[index];
    if (!session.open) return;
    session.eof = true;
    if (session.pinned) {
        if (!session.closing) end_pinned(index, session, {});
        return;
    }
    close_when_done(index, session);
}

// No more input of a session whose replies come as a stream: the control plane ends its connection
// to L2 once everything was answered, and kCloseSession closes this one. `last_words` go out behind
// those replies.
void Worker::end_pinned(io::SessionIndex index, Session& session,
                        std::string_view last_words) noexcept {
    session.closing = true;
    session.update_plain();
    shm::RingEntry entry;
    entry.kind = static_cast<uint16_t>(shm::EventKind::kSessionEnding);
    entry.session_id = session_id(index, session.generation);
    if (control_.send(entry, {}) && pool_.append(session.last_words, last_words)) return;
    counters_.add(Counter::ring_full);
    write_out(index, session, last_words);
    transport_.close(index, io::CloseHow::kFlush);
}

void Worker::close_when_done(io::SessionIndex index, Session& session) noexcept {
    if (!session.open || session.in_flight != 0 || !session.output.empty()) return;
    if (session.pinned && !session.stream_ended) return;
    if (!session.closing && session.stalled) return;
    session.closing = true;
    session.update_plain();
    transport_.close(index, io::CloseHow::kFlush);
}

void Worker::writable(io::SessionIndex index) noexcept {
    Session& session = sessions_[index];
    if (!session.open) return;
    const size_t taken = transport_.append(index, session.output.data, session.output.size);
    if (taken < session.output.size) {
        BufferPool::drop_front(session.output, taken);
        return;
    }
    pool_.release(session.output);
    drain_replies(index, session);
    resume(index, session);
    if (session.eof || session.closing) close_when_done(index, session);
}

// To the peer, now: nothing of the session is in front.
void Worker::write_out(io::SessionIndex index, Session& session, std::string_view bytes) noexcept {
    counters_.add(Counter::bytes_out, bytes.size());
    if (session.output.empty()) {
        const size_t taken =
            transport_.append(index, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
        bytes.remove_prefix(taken);
        if (bytes.empty()) return;
    }
    const bool over = session.output.size + bytes.size() > kOutputBytesMax && session.pinned;
    if (over || pool_.bytes_in_use() + bytes.size() > options_.buffers_bytes_max ||
        !pool_.append(session.output, bytes)) {
        kill_session(index, session);
        return;
    }
    session.stalled = true;  // until kWritable
    session.update_plain();
}

// A reply of cachee's own, in its turn.
void Worker::reply(io::SessionIndex index, Session& session, std::string_view bytes) noexcept {
    if (session.in_flight == 0) {
        write_out(index, session, bytes);
        return;
    }
    const uint32_t parked = park(index, session);
    if (parked == kNoSlot || !pool_.append(parked_[parked].reply, bytes)) {
        kill_session(index, session);
    }
}

void Worker::reply_error(io::SessionIndex index, Session& session, std::string_view text) noexcept {
    counters_.add(Counter::replies_error);
    scratch_.assign("-");
    scratch_.append(text).append("\r\n");
    reply(index, session, scratch_);
}

void Worker::close_all_sessions_cold() noexcept {
    for (io::SessionIndex index = 0; index < sessions_.size(); ++index) {
        Session& session = sessions_[index];
        if (!session.open || session.closing) continue;
        session.closing = true;
        session.update_plain();
        transport_.close(index, io::CloseHow::kFlush);
    }
}

}  // namespace cachee::dataplane
