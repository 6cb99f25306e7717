// SPDX-License-Identifier: Apache-2.0
// The only thing a worker sees of the network. TCP over DPDK, RDMA, kernel sockets and the
// in-process test link are all Transports; one object per worker, used by that worker's thread
// only.
//
//   poll ──> events (opened, data, eof, writable, closed) ──> worker parses in place
//   worker ──> reserve/commit or append (replies) ──> release ──> flush
//
// Life of a session: kOpened, then any number of kData and kWritable, at most one kEof, and exactly
// one kClosed, whoever closed it. After the release() that follows kClosed the transport may use
// the index for a new session.
//
// Nothing here allocates, locks or makes a system call per request on the poll-mode transports; the
// socket transport makes system calls per burst (that is what it is).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"

namespace cachee::io {

// Dense, in [0, sessions_max): index of the session in the transport and in the worker's own table.
using SessionIndex = uint32_t;

enum class EventKind : uint8_t {
    kOpened,
    kData,      // data, size: the next bytes of the stream, in order, each delivered once
    kEof,       // the peer has sent all it will (FIN); replies still reach it
    kWritable,  // after reserve() or append() came up short: at least half of the limit is free
                // again
    kClosed,    // gone; reason says why; nothing more can be sent
};

enum class CloseReason : uint8_t {
    kLocal,       // close() was called, everything was delivered
    kPeer,        // the peer closed
    kReset,       // RST, ECONNRESET
    kTimeout,     // retransmissions or keepalives unanswered
    kNoMemory,    // buffers exhausted
    kSlowReader,  // held more unsent bytes than allowed for too long
    kDevice,      // port, queue pair or socket failed
};

struct Event {
    EventKind kind = EventKind::kData;
    CloseReason reason = CloseReason::kLocal;
    SessionIndex session = 0;
    const uint8_t* data = nullptr;  // borrowed until release()
    uint32_t size = 0;
};

enum class CloseHow : uint8_t {
    kFlush,  // send what is queued, then FIN
    kAbort,  // drop what is queued, RST
};

// The most that one reserve() may ask for; longer replies go through append().
inline constexpr uint32_t kReserveBytesMax = 1024;

// Owner of bytes that a transport sends from where they lie instead of copying them. Each hold
// keeps the bytes around `data` as they are until it is given back. Called by the transport's
// thread.
class Lender {
  public:
    Lender() = default;
    Lender(const Lender&) = delete;
    Lender& operator=(const Lender&) = delete;
    virtual ~Lender() = default;
    virtual void hold(const uint8_t* data) noexcept = 0;  // REQUIRES: held already
    virtual void give_back(const uint8_t* data) noexcept = 0;
};

class Transport {
  public:
    Transport() = default;
    Transport(const Transport&) = delete;
    Transport& operator=(const Transport&) = delete;
    virtual ~Transport() = default;

    // Sessions that can exist at once, which bounds SessionIndex.
    virtual uint32_t sessions_max() const noexcept = 0;

    // Receives, runs timers, and fills at most `max` events; returns their number. now_ns never
    // goes back. Must be followed by release() before the next poll().
    virtual size_t poll(uint64_t now_ns, Event* events, size_t max) noexcept = 0;

    // `size` contiguous writable bytes at the end of the session's reply stream, or nullptr when
    // its send limit is reached (a kWritable event follows when there is room) or it is closed.
    // Valid until the next call for that session; only commit() makes the bytes part of the stream.
    // REQUIRES: size <= kReserveBytesMax.
    virtual uint8_t* reserve(SessionIndex session, uint32_t size) noexcept = 0;
    // REQUIRES: size <= the size of the reserve() before it.
    virtual void commit(SessionIndex session, uint32_t size) noexcept = 0;

    // The two in one, for a reply whose size is known: the bytes are part of the stream at once and
    // are written before the next call for any session. nullptr as from reserve().
    virtual uint8_t* extend(SessionIndex session, uint32_t size) noexcept = 0;

    // Copies as much of data as the send limit allows and returns that count; a short count is
    // followed by a kWritable event later. A closed session takes everything and drops it.
    virtual size_t append(SessionIndex session, const uint8_t* data, size_t size) noexcept = 0;

    // Whether append_lent() is of use: fixed from the start. A transport that copies anyway says
    // no.
    virtual bool takes_lent() const noexcept { return false; }
    // The same without the copy, all or nothing: true takes over one hold of `lender` on the bytes,
    // and gives it back when the peer has acknowledged them or the session is gone. False: nothing
    // was taken (send limit reached, buffers short, or the transport copies anyway): append().
    // REQUIRES: takes_lent().
    virtual bool append_lent(SessionIndex session, const uint8_t* data, size_t size,
                             Lender& lender) noexcept {
        (void)session, (void)data, (void)size, (void)lender;
        return false;
    }

    // Back-pressure: between pause() and resume() no kData or kEof is delivered for the session and
    // the peer's window closes. Data events already returned by poll() stay valid.
    virtual void pause(SessionIndex session) noexcept = 0;
    virtual void resume(SessionIndex session) noexcept = 0;

    // kClosed follows, when all was sent (kFlush; bounded by the transport's timers) or at the next
    // poll (kAbort). No kData follows.
    virtual void close(SessionIndex session, CloseHow how) noexcept = 0;

    // Gives back the data of the last poll()'s events.
    virtual void release() noexcept = 0;

    // Sends what was committed since the last flush, as few segments, frames and doorbells as it
    // can.
    virtual void flush(uint64_t now_ns) noexcept = 0;

    // Called by an idle worker: sleep until something may have arrived or `max_ns` have passed.
    virtual void wait(uint64_t max_ns) noexcept = 0;

    // "address:port" of the peer, for CLIENT LIST and logs. Cold.
    virtual std::string peer_cold(SessionIndex session) const = 0;
};

}  // namespace cachee::io
