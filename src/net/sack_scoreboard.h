// SPDX-License-Identifier: Apache-2.0
// A sender's memory of what is in flight: one record per segment, in order of sequence numbers,
// with the time of its last transmission and whether the peer has it (RFC 2018, 6675). It says what
// was delivered and how much is still in the network; who is taken for lost is decided by rack.h
// and tcp_recovery.cc. The receiver's side is sack_blocks.h. Worker thread only.
//
//   snd_una                                                     snd_nxt
//   | record | record: sacked | record: lost | record: sent again |
//   head                                                       tail
//
// Records come from one pool, sized at construction: each session owns one, the rest is shared.
// When none is left the tail's record is extended instead, so that a short pool costs precision and
// never a stall. The usual case of one segment in flight needs no record: see kRecords in
// tcp_state.h.
//
// Known imperfection: SACK blocks and loss marking walk the list; the send buffer bounds it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/assert.h"
#include "net/block_pool.h"
#include "net/send_queue_cursor.h"

namespace cachee::net {

inline constexpr uint32_t kNoRecord = 0xffffffff;

struct SentSegment {
    enum Flag : uint8_t {
        kSacked = 1,         // the peer has it, out of order
        kLost = 2,           // not in the network any more; to be sent again
        kRetransmitted = 4,  // sent more than once
        kTaken = 8,          // in use
    };
    uint32_t next;
    uint32_t start;
    uint32_t end;      // one past the last byte; a FIN counts as one
    uint32_t sent_us;  // last transmission
    send_queue::Cursor at;
    uint8_t flags;

    bool is(Flag flag) const noexcept { return (flags & flag) != 0; }
    uint32_t size() const noexcept { return end - start; }
};
static_assert(sizeof(SentSegment) == 28);

class SentPool {
  public:
    SentPool(uint32_t owners, uint32_t shared)
        : owners_(owners),
          count_(owners + shared),
          records_(std::make_unique<SentSegment[]>(count_)),
          touched_(owners) {}

    // The owner's own record when it is free, else a shared one; kNoRecord when there is none.
    uint32_t allocate(uint32_t owner) noexcept {
        uint32_t index = owner;
        if (records_[owner].is(SentSegment::kTaken)) {
            if (free_ != kNoRecord) {
                index = free_;
                free_ = records_[index].next;
            } else if (touched_ < count_) {
                index = touched_++;
            } else {
                return kNoRecord;
            }
        }
        ++in_use_;
        records_[index] = SentSegment{};
        records_[index].flags = SentSegment::kTaken;
        records_[index].next = kNoRecord;
        return index;
    }
    void free(uint32_t index) noexcept {
        CACHEE_DASSERT(records_[index].is(SentSegment::kTaken));
        records_[index].flags = 0;
        --in_use_;
        if (index < owners_) return;
        records_[index].next = free_;
        free_ = index;
    }
    bool available(uint32_t owner) const noexcept {
        return !records_[owner].is(SentSegment::kTaken) || free_ != kNoRecord || touched_ < count_;
    }
    SentSegment& at(uint32_t index) noexcept { return records_[index]; }
    const SentSegment& at(uint32_t index) const noexcept { return records_[index]; }
    uint32_t in_use() const noexcept { return in_use_; }

  private:
    uint32_t owners_;
    uint32_t count_;
    std::unique_ptr<SentSegment[]> records_;
    uint32_t touched_;
    uint32_t free_ = kNoRecord;
    uint32_t in_use_ = 0;
};

// One connection's; part of Cold.
struct Scoreboard {
    uint32_t head = kNoRecord;
    uint32_t tail = kNoRecord;
    uint32_t segments = 0;
    uint32_t sacked_segments = 0;
    uint32_t sacked_bytes = 0;  // a peer without SACK: guessed from duplicate ACKs
    uint32_t lost_bytes = 0;    // marked lost and not sent again since

    bool empty() const noexcept { return head == kNoRecord; }
    // Bytes that are thought to be in the network (RFC 6675's pipe), of `flight` unacknowledged.
    uint32_t in_network(uint32_t flight) const noexcept {
        const uint32_t out = sacked_bytes + lost_bytes;
        return flight > out ? flight - out : 0;
    }
};

// What one ACK delivered.
struct Delivered {
    struct Newest {
        uint32_t sent_us = 0;
        uint32_t end = 0;
        bool any = false;
    };
    uint32_t recover = 0;  // in: end of the recovery under way
    uint32_t fack = 0;     // in and out: highest sequence number delivered (RFC 8985)
    uint32_t bytes = 0;
    uint32_t sacked_bytes = 0;    // of them: by SACK, not acknowledged
    Newest original;              // of segments sent once
    Newest repeated;              // of segments sent again
    uint32_t oldest_us = 0;       // with original.any: sent first of those
    bool reordered = false;       // a segment sent once came after a later one
    bool before_recover = false;  // a segment below `recover` that was sent once
};

namespace scoreboard {

// Whether append() would find a place.
bool room(const Scoreboard& board, const SentPool& pool, uint32_t owner) noexcept;
// [start, end) was sent at `now_us` from `at` on. REQUIRES: room(); start is where the last ends.
void append(Scoreboard& board, SentPool& pool, uint32_t owner, uint32_t start, uint32_t end,
            uint32_t now_us, send_queue::Cursor at) noexcept;
// Everything before `una` was acknowledged; `head` is where the send queue now begins.
void acknowledge(Scoreboard& board, SentPool& pool, uint32_t una, send_queue::Cursor head,
                 Delivered& delivered) noexcept;
// The peer has [start, end). A record that is covered in part is split; without a record to split
// with, it counts as not there. REQUIRES: inside what the records cover.
void sack(Scoreboard& board, SentPool& pool, const BlockPool& blocks, uint32_t owner,
          uint32_t start, uint32_t end, Delivered& delivered) noexcept;
// Cuts a record in two at `at`; false when the pool is empty. REQUIRES: start < at < end.
bool split(Scoreboard& board, SentPool& pool, const BlockPool& blocks, uint32_t owner,
           uint32_t index, uint32_t at) noexcept;
// REQUIRES: neither sacked nor lost.
void mark_lost(Scoreboard& board, SentSegment& segment) noexcept;
void mark_all_lost(Scoreboard& board, SentPool& pool) noexcept;
// Nothing is lost after all.
void clear_lost(Scoreboard& board, SentPool& pool) noexcept;
// The first record to be sent again, kNoRecord when there is none.
uint32_t first_lost(const Scoreboard& board, const SentPool& pool) noexcept;
void sent_again(Scoreboard& board, SentSegment& segment, uint32_t now_us) noexcept;
// The peer may have thrown away what it reported (RFC 2018, 8).
void forget_sacked(Scoreboard& board, SentPool& pool) noexcept;
void clear(Scoreboard& board, SentPool& pool) noexcept;

}  // namespace scoreboard
}  // namespace cachee::net
