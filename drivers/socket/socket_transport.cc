// SPDX-License-Identifier: Apache-2.0
// The burst path of SocketTransport: poll, receive, send, timers, closing. Set-up and accepting are
// in socket_listener.cc. Data plane, the owning worker's thread.
//
// epoll is level-triggered: an event that found no room in a burst is kept in ready_ and served
// first by the next poll(), so that no session starves behind its neighbours.
#include "drivers/socket/socket_transport.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/assert.h"

namespace cachee::socket {
namespace {

using io::CloseReason;
using io::Event;
using io::EventKind;

constexpr size_t kReceiveBytesMax = 64 * base::kKiB;  // per session and burst
constexpr size_t kReceiveBytesMin = 2 * base::kKiB;   // less room than this ends the burst
constexpr size_t kVectorsMax = 64;
constexpr int kSendCallsMax = 8;  // per session and flush: 2 MiB
constexpr uint64_t kTimerPeriodNs = 20 * base::kNsPerMs;

}  // namespace

size_t SocketTransport::poll(uint64_t now_ns, Event* events, size_t max) noexcept {
    CACHEE_ASSERT(received_ == 0);  // release() came after the last poll()
    now_ns_ = now_ns;
    if (now_ns >= timers_due_ns_) {
        timers_due_ns_ = now_ns + kTimerPeriodNs;
        run_timers();
    }
    size_t count = 0;
    emit_closed(events, max, count);
    emit_writable(events, max, count);
    if (ready_next_ == ready_count_) {
        const int n = ::epoll_wait(epoll_fd_, ready_.data(), static_cast<int>(ready_.size()), 0);
        ready_next_ = 0;
        ready_count_ = n > 0 ? static_cast<size_t>(n) : 0;
    }
    while (ready_next_ < ready_count_ && count < max &&
           pool_.receive_bytes() - received_ >= kReceiveBytesMin) {
        const epoll_event& ready = ready_[ready_next_++];
        if (ready.data.u64 == kListenerKey) {
            accept_burst(events, max, count);
            continue;
        }
        const auto index = static_cast<uint32_t>(ready.data.u64);
        if (sessions_[index].generation != ready.data.u64 >> 32) continue;
        session_ready(index, ready.events, events, count);
    }
    emit_closed(events, max, count);
    return count;
}

void SocketTransport::emit_closed(Event* events, size_t max, size_t& count) noexcept {
    while (count < max && !closed_.empty()) {
        const uint32_t index = closed_.pop_front();
        events[count++] = Event{EventKind::kClosed, sessions_[index].reason, index, nullptr, 0};
        closed_told_.push_back(index);
    }
}

void SocketTransport::emit_writable(Event* events, size_t max, size_t& count) noexcept {
    if (writable_.empty()) {
        starved_since_ns_ = 0;
        return;
    }
    while (count < max && !writable_.empty() && pool_.free_blocks() >= starved_blocks_) {
        const uint32_t index = writable_.pop_front();
        sessions_[index].short_ = false;
        timed_.remove(index);
        events[count++] = Event{EventKind::kWritable, CloseReason::kLocal, index, nullptr, 0};
        starved_since_ns_ = 0;
    }
    if (!writable_.empty() && pool_.free_blocks() < starved_blocks_ && starved_since_ns_ == 0) {
        starved_since_ns_ = now_ns_;
    }
}

void SocketTransport::session_ready(uint32_t index, uint32_t ready, Event* events,
                                    size_t& count) noexcept {
    Session& session = sessions_[index];
    if (session.state == State::kDead || session.state == State::kFree) return;
    if (session.state == State::kConnecting) {
        connect_ready(index, events, count);
        return;
    }
    if ((ready & EPOLLIN) != 0 && (session.armed & EPOLLIN) != 0) {
        if (session.state == State::kLingering) {
            drain_lingering(index);
        } else if (session.paused) {
            arm(index, session.armed & ~static_cast<uint32_t>(EPOLLIN));
        } else {
            receive(index, events, count);
        }
    }
    if ((ready & EPOLLOUT) != 0 && session.state != State::kDead) send_queue(index);
    // Reading and writing have reported their own errors; what is left is a hang-up of a session
    // that does neither (paused, or after the peer's FIN).
    const bool reads = (session.armed & EPOLLIN) != 0 && !session.paused;
    if ((ready & (EPOLLERR | EPOLLHUP)) != 0 && session.state != State::kDead && !reads) {
        int error = 0;
        socklen_t size = sizeof error;
        ::getsockopt(session.fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (session.state == State::kLingering) {
            kill(index, session.eof ? CloseReason::kPeer : CloseReason::kLocal, false);
        } else if (error != 0 || (ready & EPOLLHUP) != 0) {
            kill(index, error != 0 ? reason_of(error) : CloseReason::kPeer, false);
        }
    }
}

void SocketTransport::receive(uint32_t index, Event* events, size_t& count) noexcept {
    Session& session = sessions_[index];
    uint8_t* into = pool_.receive_area() + received_;
    const size_t room = std::min(pool_.receive_bytes() - received_, kReceiveBytesMax);
    const ssize_t n = ::recv(session.fd, into, room, 0);
    if (n > 0) {
        const auto size = static_cast<uint32_t>(n);
        received_ += size;
        events[count++] = Event{EventKind::kData, CloseReason::kLocal, index, into, size};
        return;
    }
    if (n == 0) {
        session.eof = true;
        arm(index, session.armed & ~static_cast<uint32_t>(EPOLLIN));
        events[count++] = Event{EventKind::kEof, CloseReason::kLocal, index, nullptr, 0};
        return;
    }
    if (errno == EAGAIN || errno == EINTR) return;
    kill(index, reason_of(errno), false);
}

void SocketTransport::drain_lingering(uint32_t index) noexcept {
    Session& session = sessions_[index];
    uint8_t* into = pool_.receive_area() + received_;
    const ssize_t n = ::recv(session.fd, into, pool_.receive_bytes() - received_, 0);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR))) return;
    kill(index, CloseReason::kLocal, false);  // all was sent: a reset now loses nothing of ours
}

void SocketTransport::run_timers() noexcept {
    if (listener_resumes_ns_ != 0 && now_ns_ >= listener_resumes_ns_) {
        listener_resumes_ns_ = 0;
        epoll_event interest{};
        interest.events = EPOLLIN;
        interest.data.u64 = kListenerKey;
        ::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, listen_fd_, &interest);
    }
    uint32_t next = kNoIndex;
    for (uint32_t index = timed_.head(); index != kNoIndex; index = next) {
        next = timed_.next(index);
        const Session& session = sessions_[index];
        if (now_ns_ < session.deadline_ns) continue;
        if (session.state == State::kLingering) {
            kill(index, CloseReason::kLocal, false);
        } else {
            counters_->add(stats::Counter::sessions_killed_buffers);
            kill(index, CloseReason::kSlowReader, true);
        }
    }
    const uint64_t patience_ns = options_.starvation_timeout_ms * base::kNsPerMs;
    if (starved_since_ns_ != 0 && now_ns_ - starved_since_ns_ >= patience_ns) {
        relieve_starvation_cold();
    }
}

[[gnu::cold, gnu::noinline]] void SocketTransport::relieve_starvation_cold() noexcept {
    uint32_t worst = kNoIndex;
    for (uint32_t index = 0; index < sessions_.size(); ++index) {
        const Session& session = sessions_[index];
        if (session.state == State::kFree || session.state == State::kDead) continue;
        if (worst == kNoIndex || session.queued > sessions_[worst].queued) worst = index;
    }
    starved_since_ns_ = 0;
    if (worst == kNoIndex) return;
    counters_->add(stats::Counter::sessions_killed_buffers);
    kill(worst, CloseReason::kNoMemory, true);
}

uint32_t SocketTransport::tail_with_room(Session& session, uint32_t size) noexcept {
    if (session.tail != kNoIndex && kBlockBytes - pool_.header(session.tail).end >= size) {
        return session.tail;
    }
    const uint32_t block = pool_.take();
    if (block == kNoIndex) return kNoIndex;
    if (session.tail == kNoIndex) {
        session.head = block;
    } else {
        pool_.header(session.tail).next = block;
    }
    session.tail = block;
    return block;
}

void SocketTransport::came_up_short(uint32_t index) noexcept {
    Session& session = sessions_[index];
    if (session.short_) return;
    session.short_ = true;
    if (session.queued <= options_.send_buffer_bytes_max / 2) {
        writable_.push_back(index);  // the pool is at its end: not this peer's doing
    } else {
        set_deadline(index, options_.slow_reader_timeout_ms);
    }
}

uint8_t* SocketTransport::reserve(io::SessionIndex index, uint32_t size) noexcept {
    CACHEE_DASSERT(size <= io::kReserveBytesMax);
    Session& session = sessions_[index];
    if (session.state != State::kOpen) return nullptr;
    if (session.queued + size > options_.send_buffer_bytes_max) {
        came_up_short(index);
        return nullptr;
    }
    const uint32_t block = tail_with_room(session, size);
    if (block == kNoIndex) {
        came_up_short(index);
        return nullptr;
    }
    session.reserved = size;
    return pool_.data(block) + pool_.header(block).end;
}

void SocketTransport::commit(io::SessionIndex index, uint32_t size) noexcept {
    Session& session = sessions_[index];
    if (session.state != State::kOpen || size == 0) return;
    CACHEE_DASSERT(size <= session.reserved);
    session.reserved = 0;
    pool_.header(session.tail).end += size;
    session.queued += size;
    dirty_.push_back(index);
}

uint8_t* SocketTransport::extend(io::SessionIndex index, uint32_t size) noexcept {
    uint8_t* const out = reserve(index, size);
    if (out != nullptr) commit(index, size);
    return out;
}

size_t SocketTransport::append(io::SessionIndex index, const uint8_t* data, size_t size) noexcept {
    Session& session = sessions_[index];
    if (session.state != State::kOpen) return size;
    const size_t allowed = std::min<size_t>(size, options_.send_buffer_bytes_max - session.queued);
    size_t done = 0;
    while (done < allowed) {
        const uint32_t block = tail_with_room(session, 1);
        if (block == kNoIndex) break;
        BlockPool::Header& header = pool_.header(block);
        const size_t piece = std::min<size_t>(allowed - done, kBlockBytes - header.end);
        std::memcpy(pool_.data(block) + header.end, data + done, piece);
        header.end += static_cast<uint32_t>(piece);
        done += piece;
    }
    session.queued += static_cast<uint32_t>(done);
    session.reserved = 0;
    if (done > 0) dirty_.push_back(index);
    if (done < size) came_up_short(index);
    return done;
}

void SocketTransport::pause(io::SessionIndex index) noexcept {
    // The descriptor leaves the interest set when it next becomes readable: a pause() with its
    // resume() in the same burst costs no system call.
    sessions_[index].paused = true;
}

void SocketTransport::resume(io::SessionIndex index) noexcept {
    Session& session = sessions_[index];
    session.paused = false;
    if (session.state == State::kOpen && !session.eof) arm(index, session.armed | EPOLLIN);
}

void SocketTransport::close(io::SessionIndex index, io::CloseHow how) noexcept {
    Session& session = sessions_[index];
    if (session.state != State::kOpen) {
        if (session.state == State::kConnecting) kill(index, CloseReason::kLocal, false);
        const bool sending =
            session.state == State::kFlushing || session.state == State::kLingering;
        if (sending && how == io::CloseHow::kAbort) kill(index, CloseReason::kLocal, true);
        return;
    }
    if (how == io::CloseHow::kAbort) {
        kill(index, CloseReason::kLocal, true);
        return;
    }
    session.state = State::kFlushing;
    session.short_ = false;
    writable_.remove(index);
    arm(index, session.armed & ~static_cast<uint32_t>(EPOLLIN));
    if (session.state != State::kFlushing) return;  // arm() failed
    set_deadline(index, options_.slow_reader_timeout_ms);
    if (session.queued == 0) finish_sending(index);
}

void SocketTransport::release() noexcept {
    received_ = 0;
    while (!closed_told_.empty()) {
        const uint32_t index = closed_told_.pop_front();
        sessions_[index].state = State::kFree;
        free_.push_back(index);
    }
}

void SocketTransport::flush(uint64_t now_ns) noexcept {
    now_ns_ = now_ns;
    // One round: a session that send_queue() puts back, having more than its share, waits its turn.
    const uint32_t first = dirty_.head();
    for (uint32_t index = first, turn = 0; index != kNoIndex; index = dirty_.head(), ++turn) {
        if (turn > 0 && index == first) return;
        dirty_.remove(index);
        if ((sessions_[index].armed & EPOLLOUT) == 0) send_queue(index);
    }
}

void SocketTransport::send_queue(uint32_t index) noexcept {
    Session& session = sessions_[index];
    for (int call = 0; call < kSendCallsMax && session.queued > 0; ++call) {
        std::array<iovec, kVectorsMax> vectors;
        size_t vector_count = 0;
        size_t asked = 0;
        for (uint32_t block = session.head; block != kNoIndex && vector_count < kVectorsMax;
             block = pool_.header(block).next) {
            const BlockPool::Header& header = pool_.header(block);
            if (header.begin == header.end) continue;
            vectors[vector_count++] =
                iovec{pool_.data(block) + header.begin, header.end - header.begin};
            asked += header.end - header.begin;
        }
        msghdr message{};
        message.msg_iov = vectors.data();
        message.msg_iovlen = vector_count;
        const ssize_t n = ::sendmsg(session.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) {
            kill(index, reason_of(errno), false);
            return;
        }
        const size_t sent = n > 0 ? static_cast<size_t>(n) : 0;
        consume(index, sent);
        if (sent < asked) {
            arm(index, session.armed | EPOLLOUT);
            break;
        }
    }
    if (session.state != State::kDead) after_sending(index);
}

// Takes `sent` bytes off the head of the queue, giving blocks back as they empty.
void SocketTransport::consume(uint32_t index, size_t sent) noexcept {
    Session& session = sessions_[index];
    CACHEE_DASSERT(sent <= session.queued);
    session.queued -= static_cast<uint32_t>(sent);
    while (session.head != kNoIndex) {
        BlockPool::Header& header = pool_.header(session.head);
        const auto piece = static_cast<uint32_t>(std::min<size_t>(sent, header.end - header.begin));
        header.begin += piece;
        sent -= piece;
        if (header.begin != header.end) return;
        const uint32_t emptied = session.head;
        session.head = header.next;
        pool_.give_back(emptied);
    }
    session.tail = kNoIndex;
}

void SocketTransport::after_sending(uint32_t index) noexcept {
    Session& session = sessions_[index];
    if (session.short_ && session.queued <= options_.send_buffer_bytes_max / 2) {
        writable_.push_back(index);
        timed_.remove(index);
    }
    if (session.queued == 0) {
        if ((session.armed & EPOLLOUT) != 0) {
            arm(index, session.armed & ~static_cast<uint32_t>(EPOLLOUT));
        }
        if (session.state == State::kFlushing) finish_sending(index);
    } else if ((session.armed & EPOLLOUT) == 0) {
        dirty_.push_back(index);
    }
}

// Everything was handed to the kernel. Closing a socket with unread bytes would reset the
// connection and might destroy the reply on its way, so the peer's FIN is awaited, for a bounded
// time.
void SocketTransport::finish_sending(uint32_t index) noexcept {
    Session& session = sessions_[index];
    if (session.eof) {
        kill(index, CloseReason::kPeer, false);
        return;
    }
    if (::shutdown(session.fd, SHUT_WR) != 0) {
        kill(index, reason_of(errno), false);
        return;
    }
    session.state = State::kLingering;
    set_deadline(index, options_.linger_timeout_ms);
    arm(index, EPOLLIN);
}

void SocketTransport::drop_queue(Session& session) noexcept {
    while (session.head != kNoIndex) {
        const uint32_t block = session.head;
        session.head = pool_.header(block).next;
        pool_.give_back(block);
    }
    session.tail = kNoIndex;
    session.queued = 0;
    session.reserved = 0;
}

void SocketTransport::arm(uint32_t index, uint32_t wanted) noexcept {
    Session& session = sessions_[index];
    if (session.armed == wanted) return;
    epoll_event interest{};
    interest.events = wanted;
    interest.data.u64 = session_key(index, session.generation);
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, session.fd, &interest) != 0) {
        kill(index, CloseReason::kDevice, true);
        return;
    }
    session.armed = wanted;
}

void SocketTransport::set_deadline(uint32_t index, uint32_t timeout_ms) noexcept {
    sessions_[index].deadline_ns = now_ns_ + timeout_ms * base::kNsPerMs;
    timed_.push_back(index);
}

void SocketTransport::kill(uint32_t index, CloseReason reason, bool with_reset) noexcept {
    Session& session = sessions_[index];
    if (session.state == State::kDead || session.state == State::kFree) return;
    if (with_reset) {
        const linger drop{1, 0};
        ::setsockopt(session.fd, SOL_SOCKET, SO_LINGER, &drop, sizeof drop);
    }
    ::close(session.fd);  // leaves the epoll set too: the descriptor was never duplicated
    session.fd = -1;
    session.state = State::kDead;
    session.reason = reason;
    session.armed = 0;
    session.short_ = false;
    ++session.generation;
    drop_queue(session);
    dirty_.remove(index);
    writable_.remove(index);
    timed_.remove(index);
    closed_.push_back(index);
}

CloseReason SocketTransport::reason_of(int error) noexcept {
    switch (error) {
        case ECONNREFUSED:
        case ECONNRESET:
        case EPIPE:
        case ECONNABORTED:
        case ENOTCONN:
            return CloseReason::kReset;
        case ETIMEDOUT:
        case EHOSTUNREACH:
        case ENETUNREACH:
        case EHOSTDOWN:
            return CloseReason::kTimeout;
        case ENOMEM:
        case ENOBUFS:
            return CloseReason::kNoMemory;
        default:
            return CloseReason::kDevice;
    }
}

void SocketTransport::wait(uint64_t max_ns) noexcept {
    const bool writable_now = !writable_.empty() && pool_.free_blocks() >= starved_blocks_;
    if (ready_next_ < ready_count_ || !closed_.empty() || writable_now || !dirty_.empty()) return;
    const timespec timeout{static_cast<time_t>(max_ns / base::kNsPerS),
                           static_cast<long>(max_ns % base::kNsPerS)};
    const int n = ::epoll_pwait2(epoll_fd_, ready_.data(), static_cast<int>(ready_.size()),
                                 &timeout, nullptr);
    ready_next_ = 0;
    ready_count_ = n > 0 ? static_cast<size_t>(n) : 0;
    if (n < 0 && errno == ENOSYS) {  // Linux before 5.11: poll() asks again after the sleep
        ::epoll_wait(epoll_fd_, ready_.data(), 1, static_cast<int>((max_ns + 999999) / 1000000));
    }
}

}  // namespace cachee::socket
