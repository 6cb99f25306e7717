// SPDX-License-Identifier: Apache-2.0
// Records of segments in flight; see sack_scoreboard.h. Worker thread only.
#include "net/sack_scoreboard.h"

#include <algorithm>

#include "net/bytes.h"

namespace cachee::net::scoreboard {
namespace {

constexpr uint8_t kState = SentSegment::kSacked | SentSegment::kLost | SentSegment::kRetransmitted;

void note(Delivered::Newest& newest, const SentSegment& segment) noexcept {
    const bool later = segment.sent_us == newest.sent_us ? seq_gt(segment.end, newest.end)
                                                         : seq_gt(segment.sent_us, newest.sent_us);
    if (newest.any && !later) return;
    newest = {segment.sent_us, segment.end, true};
}

// The record is delivered, and was not before.
void note_delivered(const SentSegment& segment, Delivered& delivered) noexcept {
    delivered.bytes += segment.size();
    if (segment.is(SentSegment::kRetransmitted)) {
        note(delivered.repeated, segment);
    } else {
        if (!delivered.original.any || seq_lt(segment.sent_us, delivered.oldest_us)) {
            delivered.oldest_us = segment.sent_us;
        }
        note(delivered.original, segment);
        if (seq_lt(segment.end, delivered.fack)) delivered.reordered = true;
        if (seq_le(segment.end, delivered.recover)) delivered.before_recover = true;
    }
    delivered.fack = seq_max(delivered.fack, segment.end);
}

void leave_counts(Scoreboard& board, const SentSegment& segment, uint32_t bytes,
                  bool whole) noexcept {
    if (segment.is(SentSegment::kSacked)) {
        board.sacked_bytes -= bytes;
        if (whole) --board.sacked_segments;
    }
    if (segment.is(SentSegment::kLost)) board.lost_bytes -= bytes;
}

}  // namespace

bool room(const Scoreboard& board, const SentPool& pool, uint32_t owner) noexcept {
    if (pool.available(owner)) return true;
    return !board.empty() && (pool.at(board.tail).flags & kState) == 0;
}

void append(Scoreboard& board, SentPool& pool, uint32_t owner, uint32_t start, uint32_t end,
            uint32_t now_us, send_queue::Cursor at) noexcept {
    const uint32_t index = pool.allocate(owner);
    if (index == kNoRecord) {
        CACHEE_DASSERT(!board.empty());
        SentSegment& tail = pool.at(board.tail);
        tail.end = end;
        tail.sent_us = now_us;
        return;
    }
    SentSegment& segment = pool.at(index);
    segment.start = start;
    segment.end = end;
    segment.sent_us = now_us;
    segment.at = at;
    if (board.empty()) {
        board.head = index;
    } else {
        CACHEE_DASSERT(pool.at(board.tail).end == start);
        pool.at(board.tail).next = index;
    }
    board.tail = index;
    ++board.segments;
}

void acknowledge(Scoreboard& board, SentPool& pool, uint32_t una, send_queue::Cursor head,
                 Delivered& delivered) noexcept {
    while (!board.empty()) {
        SentSegment& segment = pool.at(board.head);
        if (seq_ge(segment.start, una)) return;
        const bool sacked = segment.is(SentSegment::kSacked);
        if (seq_gt(segment.end, una)) {  // in part
            const uint32_t bytes = una - segment.start;
            if (!sacked) delivered.bytes += bytes;
            leave_counts(board, segment, bytes, false);
            segment.start = una;
            segment.at = head;
            return;
        }
        if (!sacked) note_delivered(segment, delivered);
        leave_counts(board, segment, segment.size(), true);
        const uint32_t next = segment.next;
        pool.free(board.head);
        board.head = next;
        --board.segments;
        if (next == kNoRecord) board.tail = kNoRecord;
    }
}

bool split(Scoreboard& board, SentPool& pool, const BlockPool& blocks, uint32_t owner,
           uint32_t index, uint32_t at) noexcept {
    const uint32_t rest = pool.allocate(owner);
    if (rest == kNoRecord) return false;
    SentSegment& segment = pool.at(index);
    SentSegment& second = pool.at(rest);
    CACHEE_DASSERT(seq_lt(segment.start, at) && seq_lt(at, segment.end));
    second = segment;
    second.start = at;
    second.at = send_queue::advance(blocks, segment.at, at - segment.start);
    segment.end = at;
    segment.next = rest;
    if (board.tail == index) board.tail = rest;
    ++board.segments;
    if (second.is(SentSegment::kSacked)) ++board.sacked_segments;
    return true;
}

void sack(Scoreboard& board, SentPool& pool, const BlockPool& blocks, uint32_t owner,
          uint32_t start, uint32_t end, Delivered& delivered) noexcept {
    for (uint32_t i = board.head; i != kNoRecord; i = pool.at(i).next) {
        SentSegment* segment = &pool.at(i);
        if (seq_ge(segment->start, end)) return;
        if (seq_le(segment->end, start) || segment->is(SentSegment::kSacked)) continue;
        if (seq_lt(segment->start, start)) {
            if (split(board, pool, blocks, owner, i, start)) continue;  // its second half is next
            continue;
        }
        if (seq_gt(segment->end, end) && !split(board, pool, blocks, owner, i, end)) return;
        segment = &pool.at(i);
        note_delivered(*segment, delivered);
        delivered.sacked_bytes += segment->size();
        if (segment->is(SentSegment::kLost)) {
            board.lost_bytes -= segment->size();
            segment->flags &= static_cast<uint8_t>(~SentSegment::kLost);
        }
        segment->flags |= SentSegment::kSacked;
        board.sacked_bytes += segment->size();
        ++board.sacked_segments;
    }
}

void mark_lost(Scoreboard& board, SentSegment& segment) noexcept {
    CACHEE_DASSERT(!segment.is(SentSegment::kSacked) && !segment.is(SentSegment::kLost));
    segment.flags |= SentSegment::kLost;
    board.lost_bytes += segment.size();
}

void mark_all_lost(Scoreboard& board, SentPool& pool) noexcept {
    for (uint32_t i = board.head; i != kNoRecord; i = pool.at(i).next) {
        SentSegment& segment = pool.at(i);
        if ((segment.flags & (SentSegment::kSacked | SentSegment::kLost)) == 0) {
            mark_lost(board, segment);
        }
    }
}

void clear_lost(Scoreboard& board, SentPool& pool) noexcept {
    for (uint32_t i = board.head; i != kNoRecord; i = pool.at(i).next) {
        pool.at(i).flags &= static_cast<uint8_t>(~SentSegment::kLost);
    }
    board.lost_bytes = 0;
}

uint32_t first_lost(const Scoreboard& board, const SentPool& pool) noexcept {
    if (board.lost_bytes == 0) return kNoRecord;
    uint32_t i = board.head;
    while (i != kNoRecord && !pool.at(i).is(SentSegment::kLost)) i = pool.at(i).next;
    return i;
}

void sent_again(Scoreboard& board, SentSegment& segment, uint32_t now_us) noexcept {
    if (segment.is(SentSegment::kLost)) board.lost_bytes -= segment.size();
    segment.flags &= static_cast<uint8_t>(~SentSegment::kLost);
    segment.flags |= SentSegment::kRetransmitted;
    segment.sent_us = now_us;
}

void forget_sacked(Scoreboard& board, SentPool& pool) noexcept {
    for (uint32_t i = board.head; i != kNoRecord; i = pool.at(i).next) {
        pool.at(i).flags &= static_cast<uint8_t>(~SentSegment::kSacked);
    }
    board.sacked_bytes = 0;
    board.sacked_segments = 0;
}

void clear(Scoreboard& board, SentPool& pool) noexcept {
    uint32_t i = board.head;
    while (i != kNoRecord) {
        const uint32_t next = pool.at(i).next;
        pool.free(i);
        i = next;
    }
    board = Scoreboard{};
}

}  // namespace cachee::net::scoreboard
