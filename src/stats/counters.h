// SPDX-License-Identifier: Apache-2.0
// Every counter and gauge of a worker, by name, unit and meaning: the one list from which the shared
// memory block, the CLI, the metrics and docs/METRICS.md are made. Add a line at the end of its group;
// the list's order is part of the shared-memory layout (shm::kLayoutVersion).
//
// One writer per block (the worker's thread), any reader in any process: relaxed atomics, no
// read-modify-write instruction (a plain add on the writer's side).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cachee::stats {

// X(identifier, unit, meaning)
#define CACHEE_WORKER_COUNTERS(X) \
    X(polls, "polls", "calls of the poll loop") \
    X(polls_busy, "polls", "polls that found work") \
    X(cycles_busy, "cycles", "TSC cycles spent in polls that found work") \
    X(cycles_idle, "cycles", "TSC cycles spent in polls that found none, and asleep") \
    X(sleeps, "sleeps", "times the idle worker slept") \
    X(requests, "requests", "commands parsed") \
    X(requests_local, "requests", "commands answered by cachee itself") \
    X(l1_hits, "requests", "reads answered from L1") \
    X(l1_misses, "requests", "reads that L1 could not answer") \
    X(l1_lease_refusals, "requests", "reads not answered from L1 because the lease had lapsed") \
    X(passed_through, "requests", "commands forwarded to L2") \
    X(replies_error, "replies", "error replies made by cachee itself") \
    X(protocol_errors, "sessions", "sessions closed for malformed RESP") \
    X(sessions_opened, "sessions", "sessions accepted") \
    X(sessions_closed, "sessions", "sessions gone") \
    X(sessions_refused, "sessions", "sessions refused because a table was full") \
    X(sessions_killed_buffers, "sessions", "sessions closed because their buffers were over a limit") \
    X(requests_timed_out, "requests", "parked requests answered with an error after their deadline") \
    X(parked_full, "requests", "requests that had to wait because the parked table was full") \
    X(ring_full, "events", "times the ring to the control plane was full") \
    X(bytes_in, "bytes", "stream bytes received") \
    X(bytes_out, "bytes", "stream bytes queued for sending") \
    X(fills, "items", "values installed from L2") \
    X(fills_refused, "items", "values from L2 that L1 did not take (too large, or no memory)") \
    X(invalidations, "keys", "keys dropped from L1 on word of the control plane") \
    X(flushes, "flushes", "times everything in L1 became untrusted") \
    X(l1_items, "items", "items in L1 (gauge)") \
    X(l1_bytes_used, "bytes", "bytes of L1 segments in use (gauge)") \
    X(l1_bytes_total, "bytes", "bytes of L1 segments (gauge)") \
    X(l1_evicted, "items", "items evicted for space") \
    X(l1_expired, "items", "items dropped because their time-to-live ended") \
    X(l1_puts, "items", "items written") \
    X(l1_put_failures, "items", "writes that L1 could not take") \
    X(l1_read_retries, "reads", "lookups repeated because a writer was at work") \
    X(frames_in, "frames", "frames received") \
    X(frames_out, "frames", "frames sent") \
    X(frame_bytes_in, "bytes", "frame bytes received") \
    X(frame_bytes_out, "bytes", "frame bytes sent") \
    X(drop_malformed, "frames", "dropped: header too short, bad length or bad version") \
    X(drop_checksum, "frames", "dropped: wrong checksum") \
    X(drop_not_for_us, "frames", "dropped: another host's address or an unhandled protocol") \
    X(drop_source, "frames", "dropped: a source address that no other host can have") \
    X(drop_vlan, "frames", "dropped: without the VLAN tag that is configured, or with another one") \
    X(drop_nd_refused, "packets", "dropped: neighbour discovery or listener query that fails RFC 4861's checks") \
    X(drop_rate_limited, "packets", "not answered: ARP, ND or ICMP beyond the configured rate") \
    X(drop_ipv6_extension, "frames", "dropped: IPv6 extension headers too long, unknown or unused here") \
    X(drop_fragment, "frames", "dropped: IPv4 fragments") \
    X(drop_fragment_ipv6, "frames", "dropped: IPv6 fragments, but for packets that are one (RFC 6946)") \
    X(drop_icmp_refused, "packets", "dropped: ICMP errors about nothing in flight, malformed or absurd (RFC 5927)") \
    X(drop_no_listener, "segments", "refused with RST: no listener or connection") \
    X(drop_table_full, "segments", "dropped: connection or half-open table full") \
    X(drop_out_of_window, "segments", "dropped: outside the receive window") \
    X(drop_out_of_order_full, "segments", "dropped: out-of-order buffer full, of the connection or of the worker") \
    X(drop_no_buffer, "frames", "dropped: no transmit or receive buffer") \
    X(drop_unexpected, "segments", "dropped: flags without a meaning there (RST of no connection or of TIME_WAIT, no ACK)") \
    X(tcp_opened, "connections", "TCP connections established") \
    X(tcp_resets_in, "connections", "TCP connections reset by the peer") \
    X(tcp_resets_out, "segments", "RST segments sent") \
    X(tcp_retransmits, "segments", "TCP segments sent again") \
    X(tcp_rto, "timeouts", "TCP retransmission timeouts") \
    X(tcp_fast_retransmits, "segments", "TCP segments sent again in fast recovery") \
    X(tcp_out_of_order, "segments", "TCP segments received out of order") \
    X(tcp_fast_path, "segments", "TCP segments taken by header prediction") \
    X(tcp_timeouts, "connections", "TCP connections given up") \
    X(arp_in, "frames", "ARP packets received") \
    X(arp_conflicts, "frames", "ARP packets of another host that claims our address") \
    X(nd_in, "packets", "neighbour discovery messages received (ICMPv6)") \
    X(nd_duplicates, "addresses", "own IPv6 addresses given up because another host has them") \
    X(nd_conflicts, "packets", "advertisements by others of an IPv6 address of ours that is in use") \
    X(icmp_echo, "packets", "ICMP and ICMPv6 echo requests answered") \
    X(icmp_unreachable, "packets", "ICMP errors about segments in flight (only a connection not yet open is closed)") \
    X(icmp_too_big, "packets", "ICMP messages that a packet in flight is larger than a link on its way") \
    X(icmp_errors_out, "packets", "ICMP errors sent: unknown protocol, port or IPv6 option") \
    X(tcp_segments_shrunk, "connections", "times a connection's segments shrank to fit the path") \
    X(tcp_black_holes, "connections", "of these, because full-size segments vanished without a word") \
    X(tcp_challenge_acks, "segments", "challenge ACKs sent for a RST, SYN or ACK that did not fit") \
    X(tcp_probes, "segments", "zero-window and keepalive probes sent") \
    X(tcp_half_open, "connections", "handshakes under way (gauge)") \
    X(tcp_time_wait, "connections", "connections in TIME_WAIT (gauge)") \
    X(tcp_buffer_blocks, "blocks", "2 KiB send and receive blocks in use (gauge)") \
    X(tcp_recoveries, "recoveries", "fast recoveries begun: segments taken for lost before a timeout") \
    X(tcp_tail_probes, "segments", "tail loss probes sent") \
    X(tcp_spurious_recoveries, "recoveries", "recoveries and timeouts undone: nothing had been lost") \
    X(tcp_duplicates_reported, "reports", "D-SACKs received: the peer got something twice") \
    X(tcp_sack_blocks_bad, "blocks", "SACK blocks ignored: of data that was never sent, or malformed") \
    X(tcp_reneged, "timeouts", "timeouts at which the peer did not acknowledge what it had reported with SACK") \
    X(tcp_ecn_marks, "segments", "segments received with a router's congestion mark") \
    X(tcp_ecn_reductions, "reductions", "congestion windows reduced because the peer got marked segments") \
    X(tcp_cookies_sent, "segments", "SYNs answered with a cookie because many handshakes were under way") \
    X(tcp_cookies_accepted, "connections", "connections opened by an ACK of a cookie") \
    X(tcp_cookies_bad, "segments", "ACKs of no connection, while cookies were out, that fit none") \
    X(tcp_half_open_expired, "connections", "handshakes given up because the peer did not answer") \
    X(tcp_half_open_recycled, "connections", "oldest handshakes given up for a new one: the half-open table was full") \
    X(tcp_syn_acks_suppressed, "segments", "SYN and ACKs not repeated: over the limit per second") \
    X(tcp_challenges_suppressed, "segments", "segments not challenged: over the limit per second or per connection") \
    X(tcp_resets_suppressed, "segments", "segments of no connection not answered with RST: over the limit per second") \
    X(tcp_time_wait_recycled, "connections", "oldest connections in TIME_WAIT forgotten: the table was full") \
    X(tcp_slow_readers, "connections", "connections closed because the peer took no data for too long") \
    X(tcp_slow_readers_memory, "connections", "connections closed because the peer took no data and buffers ran short") \
    X(tcp_fin_wait_2_timeouts, "connections", "closed connections forgotten because the peer did not close its side") \
    X(values_lent, "values", "large values sent from where they lie in L1 instead of copied")

// X(identifier, unit, meaning): written by the control plane's thread.
#define CACHEE_CONTROL_COUNTERS(X) \
    X(l2_connected, "boolean", "1 while the L2 connection is up and tracking is confirmed (gauge)") \
    X(l2_connects, "connections", "successful connections to L2") \
    X(l2_failures, "connections", "connections to L2 that failed or were lost") \
    X(l2_commands, "commands", "commands sent to L2") \
    X(l2_replies, "replies", "replies from L2") \
    X(l2_errors, "replies", "error replies from L2") \
    X(l2_in_flight, "commands", "commands sent and not yet answered (gauge)") \
    X(l2_latency_ns_sum, "ns", "sum of L2 reply times") \
    X(l2_latency_ns_last_p50, "ns", "median L2 reply time of the last second (gauge)") \
    X(l2_latency_ns_last_p99, "ns", "99th percentile of L2 reply times of the last second (gauge)") \
    X(fetches, "keys", "misses asked of L2") \
    X(fetches_coalesced, "requests", "misses that joined a fetch already under way") \
    X(fills_sent, "keys", "values sent to L1") \
    X(fills_dropped_stale, "keys", "values not installed because the key was written or invalidated meanwhile") \
    X(invalidations_received, "keys", "keys invalidated by L2") \
    X(flushes_received, "flushes", "whole-keyspace invalidations from L2") \
    X(generation_bumps, "bumps", "times all of L1 became untrusted") \
    X(fences, "fences", "round trips that confirmed the invalidation path had caught up") \
    X(writes, "commands", "writes forwarded to L2") \
    X(pinned_sessions, "sessions", "sessions with an L2 connection of their own (gauge)") \
    X(pinned_refused, "sessions", "sessions refused because too many were pinned") \
    X(ring_full, "commands", "times a ring to a worker was full") \
    X(dataplane_attaches, "attaches", "times a data plane was found")

enum class Counter : uint16_t {
#define X(identifier, unit, meaning) identifier,
    CACHEE_WORKER_COUNTERS(X)
#undef X
};

enum class ControlCounter : uint16_t {
#define X(identifier, unit, meaning) identifier,
    CACHEE_CONTROL_COUNTERS(X)
#undef X
};

struct CounterInfo {
    std::string_view name;
    std::string_view unit;
    std::string_view meaning;
};

inline constexpr CounterInfo kWorkerCounters[] = {
#define X(identifier, unit, meaning) {#identifier, unit, meaning},
    CACHEE_WORKER_COUNTERS(X)
#undef X
};

inline constexpr CounterInfo kControlCounters[] = {
#define X(identifier, unit, meaning) {#identifier, unit, meaning},
    CACHEE_CONTROL_COUNTERS(X)
#undef X
};

inline constexpr size_t kWorkerCounterCount = sizeof(kWorkerCounters) / sizeof(CounterInfo);
inline constexpr size_t kControlCounterCount = sizeof(kControlCounters) / sizeof(CounterInfo);

// A block of counters of one writer. Placed in shared memory by shm/layout.h, or on the heap in tests.
template <typename Id, size_t kCapacity>
struct alignas(64) Block {
    std::array<std::atomic<uint64_t>, kCapacity> values;

    // Owner thread only.
    void add(Id id, uint64_t delta = 1) noexcept {
        auto& value = values[static_cast<size_t>(id)];
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
        // One instruction, which compilers do not make of the two atomic ones below.
        asm("addq %1, %0" : "+m"(value) : "er"(delta) : "cc");
#else
        value.store(value.load(std::memory_order_relaxed) + delta, std::memory_order_relaxed);
#endif
    }
    void set(Id id, uint64_t v) noexcept {
        values[static_cast<size_t>(id)].store(v, std::memory_order_relaxed);
    }
    // Any thread.
    uint64_t get(Id id) const noexcept {
        return values[static_cast<size_t>(id)].load(std::memory_order_relaxed);
    }
};

using WorkerCounters = Block<Counter, 128>;
using ControlCounters = Block<ControlCounter, 64>;
static_assert(kWorkerCounterCount <= 128);
static_assert(kControlCounterCount <= 64);

}  // namespace cachee::stats
