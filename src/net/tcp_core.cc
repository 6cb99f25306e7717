// SPDX-License-Identifier: Apache-2.0
// The TCP engine's outside: the events of poll(), the calls a worker makes between poll() and
// flush(), opening and closing of sessions. See tcp_core.h. Worker thread only.
#include "net/tcp_core.h"

#include <algorithm>
#include <utility>

#include "net/congestion.h"
#include "net/receive_queue.h"
#include "net/send_queue.h"

namespace cachee::net {

using io::CloseHow;
using io::CloseReason;
using io::EventKind;
using io::SessionIndex;
using stats::Counter;

namespace {

SipKey make_isn_key(uint64_t seed) {
    return {siphash_128({seed, 1}, 2, 3), siphash_128({seed, 4}, 5, 6)};
}

// One for each purpose, so that what one gives away says nothing about the others.
SipKey derive(SipKey key, uint64_t purpose) {
    return {siphash_128(key, 13, purpose), siphash_128(key, 14, purpose)};
}

}  // namespace

TcpCore::TcpCore(FramePort& port, const TcpOptions& options, stats::WorkerCounters* counters)
    : options_(options),
      isn_key_(make_isn_key(options.secret_seed)),
      address_key_{siphash_128(isn_key_, 13, 14), siphash_128(isn_key_, 15, 16)},
      rto_limits_{options.rto_initial_ms * 1000, options.rto_min_ms * 1000,
                  options.rto_max_ms * 1000},
      rto_min_ticks_(ticks_of_us(rto_limits_.min_us)),
      rto_short_us_(rto_limits_.min_us > kTickUs ? rto_limits_.min_us - kTickUs : 0),
      edge_slack_(
          std::min(options.receive_window_bytes / 2, port.info().mtu - kIpv4Bytes - kTcpBytes)),
      slow_reader_ticks_(ticks_of_ms(uint64_t{options.slow_reader_timeout_s} * 1000)),
      persist_max_ticks_(ticks_of_ms(options.persist_max_ms)),
      receive_blocks_max_(static_cast<uint32_t>(
          std::min<uint64_t>(options.out_of_order_total_bytes_max, options.buffers_bytes_max) /
          kBlockBytes)),
      half_base_(options.sessions_max),
      wait_base_(options.sessions_max + options.half_open_max),
      interface_id_(wait_base_ + options.time_wait_max),
      counters_(counters),
      timestamp_offset_(static_cast<uint32_t>(siphash_128(isn_key_, 7, 8))),
      interface_(port,
                 {options.local_ip, options.prefix_length, options.gateway_ip,
                  options.verify_checksums, options.vlan_id, options.ipv6, options.neighbours_max,
                  options.icmp_replies_per_s, options.secret_seed},
                 counters),
      pool_(options.buffers_bytes_max),
      sent_pool_(options.sessions_max, options.segment_records_max),
      table_(interface_id_, siphash_128(isn_key_, 9, 10)),
      table_ipv6_(options.ipv6.enabled ? interface_id_ : 0, siphash_128(isn_key_, 17, 18)),
      pairs_(options.ipv6.enabled ? interface_id_ : 0),
      wheel_(interface_id_ + 1),
      hot_(options.sessions_max),
      cold_(options.sessions_max),
      paths_(options.sessions_max),
      known_paths_(options.paths_max),
      half_open_(options.half_open_max),
      time_wait_(options.time_wait_max),
      free_sessions_(options.sessions_max),
      free_half_open_(options.half_open_max),
      free_time_wait_(options.time_wait_max),
      half_open_ages_(options.half_open_max),
      time_wait_ages_(options.time_wait_max),
      cookies_(derive(isn_key_, 1)),
      syn_ack_limit_(options.syn_ack_repeats_per_s, derive(isn_key_, 2)),
      challenge_limit_(options.challenge_acks_per_s, derive(isn_key_, 3)),
      reset_limit_(options.resets_per_s, derive(isn_key_, 4)),
      ready_(options.sessions_max),
      dirty_(options.sessions_max),
      starved_(options.sessions_max),
      unresolved_(options.sessions_max),
      suspects_(options.sessions_max),
      zombies_(options.sessions_max),
      buffers_low_(
          static_cast<uint32_t>(uint64_t{pool_.blocks_max()} * options.buffers_low_percent / 100)),
      ephemeral_next_(static_cast<uint16_t>(siphash_128(isn_key_, 11, 12))) {
    interface_.set_error_sink(this);
    update_send_limit();
}

TcpCore::~TcpCore() {
    for (Hot& hot : hot_) {
        if ((hot.flags & kLent) != 0) send_queue::clear(hot, pool_);
    }
    release();
}

base::Result<std::unique_ptr<TcpTransport>> TcpTransport::create(FramePort& port,
                                                                 const TcpOptions& options,
                                                                 stats::WorkerCounters* counters) {
    auto bad = [](const std::string& what) { return base::Error{"tcp: " + what}; };
    if (counters == nullptr) return bad("no counters were given");
    if (options.local_ip == 0) return bad("the local address is not set");
    if (options.prefix_length > 32) return bad("prefix_length must be 0..32");
    if (options.vlan_id > 4094) return bad("vlan_id must be 0..4094");
    if (options.neighbours_max == 0 || options.icmp_replies_per_s == 0) {
        return bad("neighbours_max and icmp_replies_per_s must not be 0");
    }
    if (options.ipv6.enabled) {
        if (options.ipv6.addresses.size() > Ipv6Options::kAddressesMax) {
            return bad("at most 4 IPv6 addresses can be assigned");
        }
        for (const auto& assigned : options.ipv6.addresses) {
            const Ipv6Address& address = assigned.address;
            if (address.unspecified() || address.multicast() || address.loopback_or_embedded()) {
                return bad(format_ipv6_address(address) + " cannot be assigned to a host");
            }
            if (assigned.prefix_bits > 128) return bad("an IPv6 prefix has 0..128 bits");
        }
        if (port.info().mtu < kIpv6MtuMin) return bad("IPv6 needs an MTU of at least 1280");
    }
    if (options.sessions_max == 0 || options.sessions_max > (1u << 20)) {
        return bad("sessions_max must be 1..1048576");
    }
    if (options.segment_records_max > (1u << 24)) {
        return bad("segment_records_max must be 0..16777216");
    }
    if (options.half_open_max == 0 || options.half_open_max > (1u << 20)) {
        return bad("half_open_max must be 1..1048576");
    }
    if (options.time_wait_max == 0 || options.time_wait_max > (1u << 20)) {
        return bad("time_wait_max must be 1..1048576");
    }
    if (options.syn_cookies_percent == 0 || options.syn_cookies_percent > 100) {
        return bad("syn_cookies_percent must be 1..100");
    }
    if (options.syn_ack_repeats_per_s == 0 || options.challenge_acks_per_s == 0 ||
        options.resets_per_s == 0) {
        return bad("limits per second must be at least 1");
    }
    if (options.keepalive_interval_s == 0 || options.keepalive_probes_max == 0 ||
        options.keepalive_probes_max > 100) {
        return bad("keepalive_interval_s must be at least 1, keepalive_probes_max 1..100");
    }
    if (options.send_share_percent == 0 || options.send_share_percent > 100) {
        return bad("send_share_percent must be 1..100");
    }
    if (options.persist_max_ms == 0 || options.buffers_low_percent > 100) {
        return bad("persist_max_ms must be at least 1, buffers_low_percent 0..100");
    }
    if (options.send_buffer_bytes_max < io::kReserveBytesMax) {
        return bad("send_buffer_bytes_max must be at least 1024");
    }
    if (options.receive_window_bytes < 2048 || options.receive_window_bytes > base::kGiB) {
        return bad("receive_window_bytes must be 2048..1073741824");
    }
    const uint64_t blocks = options.buffers_bytes_max / kBlockBytes;
    if (blocks < 16 || blocks >= kNoBlock) return bad("buffers_bytes_max must be 32 KiB..8 TiB");
    if (options.rto_min_ms == 0 || options.rto_max_ms < options.rto_min_ms ||
        options.rto_max_ms > 240000) {
        return bad("rto_min_ms..rto_max_ms must lie in 1..240000");
    }
    if (port.info().mtu < 576 || port.info().mtu > 65535) return bad("the MTU must be 576..65535");
    return std::unique_ptr<TcpTransport>(std::make_unique<TcpCore>(port, options, counters));
}

void TcpCore::begin_tick(uint32_t tick) noexcept {
    update_gauges();
    now_tick_ = tick;
    if (started_) return;
    started_ = true;
    wheel_.start(now_tick_);
    interface_.announce(now_tick_);
    if (interface_.has_ipv6()) wheel_.arm(interface_id_, now_tick_ + Interface::kTimerTicks);
}

void TcpCore::release() noexcept {
    if (blocks_later_ != kNoBlock || !zombies_.empty()) [[unlikely]]
        release_sessions();
    if (held_count_ == 0) return;
    interface_.release(held_.data(), std::exchange(held_count_, 0));
}

void TcpCore::release_sessions() noexcept {
    if (blocks_later_ != kNoBlock) pool_.free_chain(blocks_later_);
    blocks_later_ = kNoBlock;
    while (!zombies_.empty()) {
        const uint32_t index = zombies_.pop();
        hot_[index].state = State::kFree;
        free_sessions_.give(index);
    }
}

void TcpCore::update_gauges() noexcept {
    update_send_limit();
    counters_->set(Counter::tcp_half_open, free_half_open_.in_use());
    counters_->set(Counter::tcp_time_wait, free_time_wait_.in_use());
    counters_->set(Counter::tcp_buffer_blocks, pool_.in_use());
}

// --- events

bool TcpCore::anything_due(const Hot& hot) const noexcept {
    if ((hot.flags & (kOpenedDue | kWritableDue | kClosedDue)) != 0) return true;
    if ((hot.flags & kPaused) != 0) return false;
    return (hot.flags & kEofDue) != 0 ||
           ((hot.flags & kStored) != 0 && hot.rcv_read != hot.rcv_nxt);
}

bool TcpCore::deliver(Hot& hot) noexcept {
    if ((hot.flags & kOpenedDue) != 0) {
        if (!event_room()) return false;
        hot.flags &= ~kOpenedDue;
        emit(hot, EventKind::kOpened, nullptr, 0);
    }
    if ((hot.flags & (kStored | kPaused)) == kStored) deliver_stored(hot);
    const bool read_all = (hot.flags & kPaused) == 0 && (hot.flags & kStored) == 0;
    if (read_all && (hot.flags & kEofDue) != 0) {
        if (!event_room()) return false;
        hot.flags &= ~kEofDue;
        emit(hot, EventKind::kEof, nullptr, 0);
    }
    if ((hot.flags & kWritableDue) != 0) {
        if (!event_room()) return false;
        hot.flags &= ~kWritableDue;
        emit(hot, EventKind::kWritable, nullptr, 0);
    }
    // A connection that ended in order keeps its data until it is read, even past a pause.
    if ((hot.flags & kClosedDue) != 0 && (hot.flags & (kStored | kEofDue)) == 0) {
        if (!event_room()) return false;
        hot.flags &= ~kClosedDue;
        emit(hot, EventKind::kClosed, nullptr, 0);
        event_next_[-1].reason = cold_of(hot).reason;
        hot.state = State::kZombie;
        zombies_.push(index_of(hot));
    }
    return !anything_due(hot) || ((hot.flags & kPaused) != 0 && event_room());
}

void TcpCore::deliver_stored(Hot& hot) noexcept {
    Cold& cold = cold_of(hot);
    while (cold.rq_head != kNoBlock && event_room()) {
        const Block& block = pool_.at(cold.rq_head);
        if (!seq_lt(block.seq, hot.rcv_nxt)) break;
        const uint32_t end = block.seq + (block.end - block.start);
        if (seq_gt(end, hot.rcv_read)) {
            const uint32_t skip = hot.rcv_read - block.seq;
            emit(hot, EventKind::kData, block.data + block.start + skip, end - hot.rcv_read);
            hot.rcv_read = end;
        }
        give_block_later(receive_queue::pop(cold, pool_));
        --receive_blocks_;
    }
    const bool fin_pending = (hot.flags & kFinReceived) != 0;
    if (cold.rq_head == kNoBlock) {
        hot.flags &= ~kStored;
        if (fin_pending) hot.rcv_read = hot.rcv_nxt;
    }
    if (hot.state < State::kDone) mark_dirty(hot);  // the window may have to be opened
}

void TcpCore::give_block_later(uint32_t block) noexcept {
    pool_.at(block).next = blocks_later_;
    blocks_later_ = block;
}

void TcpCore::drain_ready_cold() noexcept {
    for (uint32_t left = ready_.size(); left > 0 && event_room(); --left) {
        Hot& hot = hot_[ready_.pop()];
        hot.flags &= ~kReady;
        if (!deliver(hot)) mark_ready(hot);
    }
}

void TcpCore::wake_starved() noexcept {
    if (pool_.available() < std::max(1u, pool_.blocks_max() / 16)) return;
    while (!starved_.empty()) {
        Hot& hot = hot_[starved_.pop()];
        hot.flags &= ~kStarved;
        if ((hot.flags & kWantWritable) == 0) continue;
        hot.flags &= ~kWantWritable;
        hot.flags |= kWritableDue;
        mark_ready(hot);
    }
}

void TcpCore::wake_resolved() noexcept {
    resolutions_seen_ = interface_.resolutions();
    for (uint32_t left = unresolved_.size(); left > 0; --left) {
        Hot& hot = hot_[unresolved_.pop()];
        hot.flags &= ~kUnresolved;
        mark_dirty(hot);
    }
}

// --- sessions

Hot& TcpCore::open_session(uint32_t index, ConnectionKey key, const Ipv6Pair* pair) noexcept {
    Hot& hot = hot_[index];
    // A session that died dirty, ready or starved is still in those queues: the flags stay true.
    const uint32_t queued = hot.flags & (kDirty | kReady | kStarved | kUnresolved | kSuspect);
    hot = Hot{};
    hot.flags = queued;
    if (pair != nullptr) hot.flags |= kIpv6;
    hot.key = key;
    hot.heard_tick = now_tick_;
    cold_[index] = Cold{};
    paths_[index] = {};
    cold_[index].our_mss = our_mss(pair != nullptr);
    enter_id(index, key, pair);
    return hot;
}

uint8_t* TcpCore::reserve(SessionIndex session, uint32_t size) noexcept {
    Hot& hot = hot_[session];
    if (can_send(hot) && hot.sq_bytes + size <= send_limit_) [[likely]] {
        uint8_t* const out = send_queue::reserve(hot, pool_, size);
        if (out != nullptr) [[likely]] {
            hot.flags |= kReserved;
            return out;
        }
    }
    return refuse_reserve_cold(hot, size);
}

uint8_t* TcpCore::extend(SessionIndex session, uint32_t size) noexcept {
    Hot& hot = hot_[session];
    if (can_send(hot) && hot.sq_bytes + size <= send_limit_) [[likely]] {
        uint8_t* const out = send_queue::extend(hot, pool_, size);
        if (out != nullptr) [[likely]] {
            mark_dirty(hot, session);
            return out;
        }
    }
    return refuse_reserve_cold(hot, size);
}

uint8_t* TcpCore::refuse_reserve_cold(Hot& hot, uint32_t size) noexcept {
    if (!can_send(hot)) return nullptr;
    hot.flags |= kWantWritable;
    if (hot.sq_bytes + size <= send_limit_ && (hot.flags & kStarved) == 0) {
        hot.flags |= kStarved;
        starved_.push(index_of(hot));
    }
    return nullptr;
}

void TcpCore::commit(SessionIndex session, uint32_t size) noexcept {
    Hot& hot = hot_[session];
    if ((hot.flags & kReserved) == 0) return;  // closed since
    hot.flags &= ~kReserved;
    send_queue::commit(hot, pool_, size);
    mark_dirty(hot);
}

size_t TcpCore::append(SessionIndex session, const uint8_t* data, size_t size) noexcept {
    Hot& hot = hot_[session];
    if (!can_send(hot)) return size;
    const uint32_t limit = send_limit_ - std::min(send_limit_, hot.sq_bytes);
    const uint32_t wanted = static_cast<uint32_t>(std::min<size_t>(size, limit));
    const uint32_t taken = send_queue::append(hot, pool_, data, wanted);
    if (taken > 0) mark_dirty(hot);
    if (taken == size) return taken;
    hot.flags |= kWantWritable;
    if (taken < wanted && (hot.flags & kStarved) == 0) {
        hot.flags |= kStarved;
        starved_.push(session);
    }
    return taken;
}

// A copy made frame by frame, straight from memory, costs more than one in a stretch (`lend` of
// tools/bench): of use only to a port that needs none.
bool TcpCore::takes_lent() const noexcept { return interface_.can_attach(); }

bool TcpCore::append_lent(SessionIndex session, const uint8_t* data, size_t size,
                          io::Lender& lender) noexcept {
    Hot& hot = hot_[session];
    // Below the limit it is taken whole: what it adds to memory is little.
    if (!can_send(hot) || hot.sq_bytes >= send_limit_) return false;
    if (size > kLentBytesMax) return false;
    if (!send_queue::append_lent(hot, pool_, data, static_cast<uint32_t>(size), lender)) {
        return false;
    }
    count(Counter::values_lent);
    mark_dirty(hot);
    return true;
}

void TcpCore::pause(SessionIndex session) noexcept { hot_[session].flags |= kPaused; }

void TcpCore::resume(SessionIndex session) noexcept {
    Hot& hot = hot_[session];
    hot.flags &= ~kPaused;
    if (hot.state == State::kFree || hot.state == State::kZombie) return;
    if (anything_due(hot)) mark_ready(hot);
}

void TcpCore::queue_fin(Hot& hot) noexcept {
    if ((hot.flags & kFinQueued) != 0) return;
    hot.flags |= kFinQueued;
    if (hot.state == State::kEstablished || hot.state == State::kSynReceived) {
        hot.state = State::kFinWait1;
    } else if (hot.state == State::kCloseWait) {
        hot.state = State::kLastAck;
    }
    mark_dirty(hot);
}

void TcpCore::shutdown_send(SessionIndex session) noexcept {
    Hot& hot = hot_[session];
    if (can_send(hot)) queue_fin(hot);
}

void TcpCore::close(SessionIndex session, CloseHow how) noexcept {
    Hot& hot = hot_[session];
    if (hot.state == State::kFree || hot.state == State::kZombie) return;
    hot.flags &= ~(kPaused | kEofDue | kWritableDue | kWantWritable | kReserved);
    if (hot.state == State::kDone) {
        finish(hot, cold_of(hot).reason, true);
        return;
    }
    if (how == CloseHow::kAbort || hot.state == State::kSynSent) {
        if (hot.state != State::kSynSent) send_reset(hot);
        finish(hot, CloseReason::kLocal, true);
        return;
    }
    if ((hot.flags & kLingering) != 0) return;
    hot.flags |= kLingering;
    Cold& cold = cold_of(hot);
    receive_blocks_ -= cold.rq_blocks;
    receive_queue::clear(cold, pool_);
    hot.flags &= ~kStored;
    hot.rcv_read = hot.rcv_nxt;
    const bool only_fin = hot.state == State::kFinWait2;
    cold.linger_deadline =
        deadline_in(ticks_of_ms(only_fin ? options_.fin_wait_2_ms : options_.linger_ms));
    queue_fin(hot);
    mark_dirty(hot);
}

void TcpCore::finish(Hot& hot, CloseReason reason, bool discard) noexcept {
    const uint32_t index = index_of(hot);
    Cold& cold = cold_[index];
    if (hot.state != State::kDone) {
        forget_id(index, hot.key, (hot.flags & kIpv6) != 0);
        wheel_.cancel(index);
        hot.armed_tick = 0;
        send_queue::clear(hot, pool_);
        scoreboard::clear(cold.board, sent_pool_);
        hot.flags &= ~kRecords;
        cold.reason = reason;
        hot.state = State::kDone;
    }
    hot.flags &= ~(kWantWritable | kWritableDue | kReserved);
    if (discard) {
        receive_blocks_ -= cold.rq_blocks;
        receive_queue::clear(cold, pool_);
        hot.flags &= ~(kStored | kEofDue | kPaused);
    }
    hot.flags |= kClosedDue;
    mark_ready(hot);
}

void TcpCore::finish_into_time_wait(Hot& hot) noexcept {
    TimeWait wait;
    wait.key = hot.key;
    wait.mac = hot.mac;
    wait.snd_nxt = hot.snd_max;
    wait.rcv_nxt = hot.rcv_nxt;
    wait.ts_recent = hot.ts_recent;
    wait.has_timestamps = (hot.flags & kHasTimestamps) != 0;
    wait.window = advertise(hot);
    wait.ipv6 = (hot.flags & kIpv6) != 0;
    const Ipv6Pair* const pair = pair_if(index_of(hot), wait.ipv6);
    const bool local = (hot.flags & kLingering) != 0;
    // Out of order data cannot be left behind a FIN that was taken, so nothing is lost here.
    finish(hot, local ? CloseReason::kLocal : CloseReason::kPeer, local);
    enter_time_wait(wait, pair);
}

std::string TcpCore::peer_cold(SessionIndex session) const {
    const Hot& hot = hot_[session];
    const std::string host = (hot.flags & kIpv6) != 0
                                 ? "[" + format_ipv6_address(pairs_[session].remote) + "]"
                                 : format_ipv4_address(remote_ip_of(hot.key));
    return host + ":" + std::to_string(remote_port_of(hot.key));
}

TcpTransport::Usage TcpCore::usage() const noexcept {
    return {free_sessions_.in_use(), free_half_open_.in_use(), free_time_wait_.in_use(),
            pool_.in_use(), sent_pool_.in_use()};
}

}  // namespace cachee::net
