// SPDX-License-Identifier: Apache-2.0
// The TCP engine behind TcpTransport; private to src/net. One class, one phase per file:
//
//   tcp_core.cc       events, release, the Transport calls, open and close
//   tcp_address.cc    addresses and keys of connections
//   tcp_fast.cc       poll and flush, and the usual segment in and out: header prediction, one
//                     reply in one segment
//   tcp_input.cc      segments of sessions as RFC 9293 3.10.7 has them
//   tcp_handshake.cc  SYN, half-open, active open, no connection
//   tcp_limits.cc     SYN cookies, TIME_WAIT, and limits on what strangers can make us do
//   tcp_output.cc     flush: what each session may and must send
//   tcp_path.cc       ICMP errors, path MTU
//   tcp_recovery.cc   what an ACK says of what is in flight: loss, recovery, undo
//   tcp_retransmit.cc sending again, and the timer for it
//   tcp_timers.cc     persist, keepalive, linger
//
// Worker thread only. Ids: see tcp_state.h.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "net/block_pool.h"
#include "net/bytes.h"
#include "net/connection_table.h"
#include "net/index_list.h"
#include "net/interface.h"
#include "net/path_mtu.h"
#include "net/rate_limit.h"
#include "net/rto.h"
#include "net/send_queue.h"
#include "net/siphash.h"
#include "net/syn_cookies.h"
#include "net/tcp_state.h"
#include "net/tcp_transport.h"
#include "net/timer_wheel.h"

namespace cachee::net {

class TcpCore final : public TcpTransport, private IcmpErrorSink {
  public:
    TcpCore(FramePort& port, const TcpOptions& options, stats::WorkerCounters* counters);
    ~TcpCore() override;

    uint32_t sessions_max() const noexcept override { return options_.sessions_max; }
    size_t poll(uint64_t now_ns, io::Event* events, size_t max) noexcept override;
    uint8_t* reserve(io::SessionIndex session, uint32_t size) noexcept override;
    void commit(io::SessionIndex session, uint32_t size) noexcept override;
    uint8_t* extend(io::SessionIndex session, uint32_t size) noexcept override;
    size_t append(io::SessionIndex session, const uint8_t* data, size_t size) noexcept override;
    bool takes_lent() const noexcept override;
    bool append_lent(io::SessionIndex session, const uint8_t* data, size_t size,
                     io::Lender& lender) noexcept override;
    void pause(io::SessionIndex session) noexcept override;
    void resume(io::SessionIndex session) noexcept override;
    void close(io::SessionIndex session, io::CloseHow how) noexcept override;
    void release() noexcept override;
    void flush(uint64_t now_ns) noexcept override;
    void wait(uint64_t max_ns) noexcept override { interface_.wait(max_ns); }
    std::string peer_cold(io::SessionIndex session) const override;

    io::SessionIndex connect(uint32_t ip, uint16_t port, uint16_t local_port) noexcept override;
    io::SessionIndex connect(const Ipv6Address& ip, uint16_t port,
                             uint16_t local_port) noexcept override;
    void shutdown_send(io::SessionIndex session) noexcept override;
    Usage usage() const noexcept override;
    bool hears_groups() const noexcept override { return interface_.hears_groups(); }

  private:
    static constexpr size_t kBurst = 64;
    static constexpr uint32_t kTimersPerPoll = 512;
    static constexpr uint32_t kTickUs = 1049;  // rounded up; the granularity G of RFC 6298
    static constexpr uint32_t kRenegingUs = 10'000;
    static constexpr uint32_t kDuplicateAgeMax = 1u << 30;  // bytes before rcv_nxt
    static constexpr uint32_t kLentBytesMax = 64u << 20;    // far below half the sequence space
    static constexpr uint32_t kAttachBytesMin = 512;        // below, a copy costs less

    // --- tcp_core.cc
    void set_time(uint64_t now_ns) noexcept {
        now_ns_ = std::max(now_ns, now_ns_);
        now_us_ = static_cast<uint32_t>(now_ns_ / 1000);
        const uint32_t tick = ticks_of_ns(now_ns_);
        if (tick != now_tick_ || !started_) [[unlikely]]
            begin_tick(tick);
    }
    [[gnu::noinline]] void begin_tick(uint32_t tick) noexcept;
    void count(stats::Counter id, uint64_t n = 1) noexcept { counters_->add(id, n); }
    uint32_t index_of(const Hot& hot) const noexcept {
        return static_cast<uint32_t>(&hot - hot_.data());
    }
    Cold& cold_of(const Hot& hot) noexcept { return cold_[index_of(hot)]; }
    void receive_burst(size_t room) noexcept;
    bool event_room() const noexcept { return event_next_ != event_end_; }
    void emit(const Hot& hot, io::EventKind kind, const uint8_t* data, uint32_t size) noexcept {
        emit(index_of(hot), kind, data, size);
    }
    void emit(uint32_t index, io::EventKind kind, const uint8_t* data, uint32_t size) noexcept {
        *event_next_++ = {kind, io::CloseReason::kLocal, index, data, size};
    }
    void mark_dirty(Hot& hot) noexcept { mark_dirty(hot, index_of(hot)); }
    void mark_dirty(Hot& hot, uint32_t index) noexcept {
        if ((hot.flags & kDirty) != 0) return;
        hot.flags |= kDirty;
        dirty_.push(index);
    }
    void mark_ready(Hot& hot) noexcept {
        if ((hot.flags & kReady) != 0) return;
        hot.flags |= kReady;
        ready_.push(index_of(hot));
    }
    [[gnu::noinline]] void release_sessions() noexcept;
    bool anything_due(const Hot& hot) const noexcept;
    // Delivers what is due as far as there is room; true when nothing is left.
    bool deliver(Hot& hot) noexcept;
    void deliver_stored(Hot& hot) noexcept;
    void drain_ready() noexcept {
        if (!ready_.empty()) drain_ready_cold();
    }
    void drain_ready_cold() noexcept;
    void wake_starved() noexcept;
    void wake_resolved() noexcept;
    void give_block_later(uint32_t block) noexcept;
    Hot& open_session(uint32_t index, ConnectionKey key, const Ipv6Pair* pair) noexcept;

    // --- tcp_address.cc: which connection, and the addresses of one
    // IPv6: fills in what stands for the addresses in a key.
    void hash_addresses(TcpSegment& segment) const noexcept;
    uint32_t address_hash(const Ipv6Pair& pair) const noexcept;
    static Ipv6Pair pair_of(const TcpSegment& segment) noexcept {
        return {Ipv6Address::load(segment.ipv6_addresses),
                Ipv6Address::load(segment.ipv6_addresses + 16)};
    }
    // The addresses of a segment, copied to `storage`; nullptr: it came over IPv4.
    static const Ipv6Pair* pair_in(const TcpSegment& segment, Ipv6Pair& storage) noexcept {
        if (!segment.ipv6) return nullptr;
        storage = pair_of(segment);
        return &storage;
    }
    uint32_t find_ipv6(uint64_t home, ConnectionKey key, const Ipv6Pair& pair) const noexcept;
    // An id in its table. `pair`: nullptr for IPv4; copied.
    void enter_id(uint32_t id, ConnectionKey key, const Ipv6Pair* pair) noexcept;
    void forget_id(uint32_t id, ConnectionKey key, bool ipv6) noexcept;
    const Ipv6Pair* pair_if(uint32_t id, bool ipv6) const noexcept {
        return ipv6 ? &pairs_[id] : nullptr;
    }
    // Addresses, ports and next hop of what is sent to the other end.
    void address_fields(SegmentFields& fields, ConnectionKey key, const MacAddress& mac,
                        const Ipv6Pair* pair) const noexcept;
    bool resolve_peer(const Hot& hot, MacAddress& mac) noexcept;
    io::SessionIndex connect_to(uint32_t ip, const Ipv6Pair* pair, uint16_t port,
                                uint16_t local_port) noexcept;
    bool can_send(const Hot& hot) const noexcept {
        constexpr uint32_t kSending = 1u << static_cast<int>(State::kEstablished) |
                                      1u << static_cast<int>(State::kCloseWait) |
                                      1u << static_cast<int>(State::kSynSent) |
                                      1u << static_cast<int>(State::kSynReceived);
        return (kSending >> static_cast<int>(hot.state) & 1) != 0 && (hot.flags & kFinQueued) == 0;
    }
    [[gnu::cold, gnu::noinline]] uint8_t* refuse_reserve_cold(Hot& hot, uint32_t size) noexcept;
    void queue_fin(Hot& hot) noexcept;
    // The connection is over. discard: undelivered data is dropped.
    void finish(Hot& hot, io::CloseReason reason, bool discard) noexcept;
    void finish_into_time_wait(Hot& hot) noexcept;
    void update_gauges() noexcept;

    // --- tcp_fast.cc
    void input(const TcpSegment& segment, ConnectionKey key, uint32_t id) noexcept;
    [[gnu::noinline]] void look_up_other(size_t i) noexcept;
    [[gnu::noinline]] void input_other(size_t i) noexcept;
    bool input_usual(size_t i) noexcept;
    [[gnu::noinline]] void input_usual_slowly(size_t i, uint32_t id) noexcept;
    template <typename Segment>
    [[gnu::always_inline]] inline bool input_fast(uint32_t index, Segment segment) noexcept;
    template <bool kTimestamps, typename Segment>
    [[gnu::always_inline]] inline bool input_in_order(Hot& hot, uint32_t index,
                                                      Segment segment) noexcept;
    template <typename Segment>
    [[gnu::noinline]] bool input_in_order_plain(Hot& hot, uint32_t index, Segment segment) noexcept;
    [[gnu::noinline]] void grow_window(Hot& hot, uint32_t index, uint32_t bytes) noexcept;
    bool acked_fast(Hot& hot, uint32_t index, uint32_t ack, bool timed) noexcept;
    template <typename Segment>
    [[gnu::noinline]] void acked_by(Hot& hot, uint32_t ack, Segment segment) noexcept;
    bool output_fast(Hot& hot, Cold& cold) noexcept;
    [[gnu::cold, gnu::noinline]] uint16_t advertise_cold(Hot& hot, const Cold& cold) noexcept;
    [[gnu::noinline]] bool record_room(Hot& hot, Cold& cold) noexcept;
    [[gnu::noinline]] void note_another(Hot& hot, Cold& cold, uint32_t start,
                                        send_queue::Cursor at) noexcept;

    // --- tcp_input.cc
    void input_session(Hot& hot, TcpSegment segment) noexcept;
    bool timestamp_too_old(const Hot& hot, const TcpSegment& segment) const noexcept;
    bool acceptable(const Hot& hot, const TcpSegment& segment) const noexcept;
    bool take_rst_or_syn(Hot& hot, const TcpSegment& segment) noexcept;
    bool process_ack(Hot& hot, const TcpSegment& segment) noexcept;
    void take_window(Hot& hot, uint32_t window) noexcept;
    void acked(Hot& hot, uint32_t ack, const TcpSegment& segment) noexcept;
    void after_acked(Hot& hot) noexcept;
    void sample_timestamp(Hot& hot, const TcpSegment& segment, bool backed_off) noexcept;
    bool fin_acked(Hot& hot) noexcept;
    void process_data(Hot& hot, TcpSegment& segment) noexcept;
    void store_data(Hot& hot, const TcpSegment& segment) noexcept;
    void note_duplicate(Hot& hot, const TcpSegment& segment) noexcept;
    void process_fin(Hot& hot) noexcept;
    void challenge(Hot& hot) noexcept;
    void owe_ack_now(Hot& hot) noexcept;

    // --- tcp_handshake.cc
    void input_no_connection(const TcpSegment& segment, ConnectionKey key) noexcept;
    // `before`: the connection of the same addresses that ended, when it was in TIME_WAIT.
    void input_syn(const TcpSegment& segment, ConnectionKey key,
                   const TimeWait* before = nullptr) noexcept;
    void input_half_open(uint32_t id, const TcpSegment& segment) noexcept;
    void establish(const HalfOpen& half, const TcpSegment& segment) noexcept;
    void drop_half_open(uint32_t id) noexcept;
    void input_syn_sent(Hot& hot, const TcpSegment& segment) noexcept;
    void take_syn_options(Hot& hot, const TcpSegment& segment) noexcept;
    void send_syn_ack(const HalfOpen& half, const Ipv6Pair* pair, bool cookie) noexcept;
    void repeat_syn_ack(uint32_t id) noexcept;
    void send_rst_to(const TcpSegment& segment) noexcept;
    void half_open_timer(uint32_t id) noexcept;
    uint32_t initial_sequence(ConnectionKey key) const noexcept;
    uint16_t our_mss(bool ipv6) const noexcept;
    uint16_t effective_mss(uint16_t peer_mss, bool timestamps, bool ipv6) const noexcept;
    uint8_t our_scale() const noexcept;

    // --- tcp_limits.cc
    bool cookie_wanted() const noexcept;
    void send_cookie(HalfOpen& half, const Ipv6Pair* pair) noexcept;
    // Whether an ACK answers a cookie; then `half` is what the handshake agreed on.
    bool cookie_of(const TcpSegment& segment, ConnectionKey key, HalfOpen& half) noexcept;
    bool input_cookie(const TcpSegment& segment, ConnectionKey key) noexcept;
    uint32_t take_half_open() noexcept;
    bool challenge_allowed() noexcept;
    void enter_time_wait(const TimeWait& wait, const Ipv6Pair* pair) noexcept;
    void input_time_wait(uint32_t id, const TcpSegment& segment) noexcept;
    void answer_time_wait(const TimeWait& wait, const Ipv6Pair* pair) noexcept;
    void drop_time_wait(uint32_t id) noexcept;
    void note_stall(Hot& hot) noexcept;
    bool stalled_for(const Hot& hot, uint32_t ticks) const noexcept {
        return (hot.flags & kStalled) != 0 && now_tick_ - cold_[index_of(hot)].stall_tick >= ticks;
    }
    // The peer has not taken anything for the configured time.
    bool too_slow(const Hot& hot) const noexcept {
        return slow_reader_ticks_ != 0 && stalled_for(hot, slow_reader_ticks_);
    }
    void close_slow_reader(Hot& hot, stats::Counter why) noexcept;
    bool buffers_low() const noexcept {
        return pool_.available() < buffers_low_ || !starved_.empty();
    }
    void relieve_memory_cold() noexcept;
    void update_send_limit() noexcept;
    uint32_t worst_suspect() noexcept;
    // How many blocks a receive queue may have while it takes data out of order.
    uint32_t out_of_order_room(const Cold& cold) const noexcept {
        return cold.rq_blocks + receive_blocks_max_ -
               std::min(receive_blocks_, receive_blocks_max_);
    }
    // Stores a segment's data; false: some of it had no room, was dropped, and counted.
    bool insert_received(Cold& cold, const TcpSegment& segment, uint32_t blocks_max) noexcept;

    // --- tcp_output.cc
    // False: no transmit frame was to be had; the session stays dirty.
    bool output(Hot& hot) noexcept;
    bool output_syn(Hot& hot) noexcept;
    bool output_data(Hot& hot, bool& sent) noexcept;
    bool send_probe(Hot& hot) noexcept;
    bool send_next(Hot& hot, uint32_t size, bool fin) noexcept;
    bool send_data(Hot& hot, uint32_t seq, uint32_t size, bool fin,
                   send_queue::Cursor& cursor) noexcept;
    void put_payload(Hot& hot, TxFrame& frame, uint8_t* out, uint32_t size,
                     send_queue::Cursor& cursor) noexcept;
    uint32_t without_lent_tail(const Hot& hot, uint32_t size) const noexcept;
    bool send_ack(Hot& hot, uint32_t seq) noexcept;
    void send_reset(Hot& hot) noexcept;
    void fill_fields(Hot& hot, SegmentFields& fields, uint32_t seq, uint8_t flags) noexcept;
    uint32_t usable_window(const Hot& hot) const noexcept;
    uint32_t next_size(Hot& hot, uint32_t unsent, uint32_t window) noexcept;
    struct SynOffer {
        bool scale = false;
        bool timestamps = false;
        bool sack = false;
    };
    void put_syn_options(SegmentFields& fields, uint16_t mss, SynOffer offer,
                         uint32_t echo) const noexcept;
    void put_sack(Hot& hot, SegmentFields& fields) noexcept;
    void put_ecn(Hot& hot, SegmentFields& fields, uint32_t seq, uint32_t size) noexcept;
    uint16_t advertise(Hot& hot) noexcept { return advertise(hot, cold_of(hot)); }
    uint16_t advertise(Hot& hot, const Cold& cold) noexcept;
    bool window_update_due(const Hot& hot) const noexcept;
    void note_ack_sent(Hot& hot) noexcept {
        hot.rcv_acked = hot.rcv_nxt;
        hot.ack_deadline = 0;
        hot.flags &= ~kAckDelayed;
    }
    // A SYN of ours is not acknowledged yet. Later snd_una may come by its number again.
    bool syn_in_flight(const Hot& hot) const noexcept {
        const bool early = hot.state == State::kSynSent || hot.state == State::kSynReceived ||
                           hot.state == State::kFinWait1;
        return early && hot.snd_una == cold_[index_of(hot)].iss;
    }
    void put_timestamps(SegmentFields& fields, uint32_t echo) const noexcept;
    void set_retransmission_timer(Hot& hot, bool sent) noexcept;

    // --- tcp_recovery.cc
    // One ACK, as far as it concerns what is in flight.
    struct AckOf {
        Delivered delivered;
        uint32_t flight = 0;  // before it, as the next two
        uint32_t sacked_before = 0;
        uint32_t lost_before = 0;
        uint32_t wait_us = 0;  // until more may be taken for lost
        bool advanced = false;
        bool duplicate = false;
        bool probe_duplicate = false;  // it reports the tail loss probe as a duplicate
        bool keep_timer = false;
    };
    void keep_records(Hot& hot, Cold& cold) noexcept;
    void note_sent(Hot& hot, Cold& cold, uint32_t start, send_queue::Cursor at) noexcept;
    void acknowledge_bytes(Hot& hot, Cold& cold, uint32_t ack) noexcept;
    void take_ack(Hot& hot, const TcpSegment& segment, bool duplicate) noexcept;
    void take_sack_blocks(Hot& hot, Cold& cold, const TcpSegment& segment, AckOf& ack) noexcept;
    void take_duplicate(Hot& hot, Cold& cold, uint32_t start, uint32_t end, AckOf& ack) noexcept;
    void guess_delivered(Hot& hot, Cold& cold, AckOf& ack) noexcept;
    void take_from_guess(const Hot& hot, Cold& cold, uint32_t bytes, AckOf& ack) noexcept;
    void time_delivery(Hot& hot, Cold& cold, const TcpSegment& segment, const AckOf& ack,
                       bool backed_off) noexcept;
    void take_probe_answer(Hot& hot, Cold& cold, const TcpSegment& segment,
                           const AckOf& ack) noexcept;
    uint32_t find_losses(Hot& hot, Cold& cold) noexcept;
    void ack_in_open(Hot& hot, Cold& cold, AckOf& ack) noexcept;
    void enter_recovery(Hot& hot, Cold& cold, const AckOf& ack) noexcept;
    void ack_in_recovery(Hot& hot, Cold& cold, const TcpSegment& segment, AckOf& ack) noexcept;
    void ack_in_loss(Hot& hot, Cold& cold, const TcpSegment& segment, AckOf& ack) noexcept;
    bool shown_spurious(const Hot& hot, const Cold& cold, const TcpSegment& segment,
                        const AckOf& ack) const noexcept;
    bool frto_shows_spurious(const Hot& hot, Cold& cold, const AckOf& ack) const noexcept;
    void leave_recovery(Hot& hot, Cold& cold) noexcept;
    void take_congestion_echo(Hot& hot, Cold& cold, uint32_t flight) noexcept;
    void undo_recovery(Hot& hot, Cold& cold) noexcept;
    uint32_t in_network(const Hot& hot, const Cold& cold) const noexcept {
        return cold.board.in_network(hot.snd_nxt - hot.snd_una);
    }
    send_queue::Cursor queue_head(const Hot& hot) const noexcept {
        if (hot.sq_head == kNoBlock) return {};
        return send_queue::settle(pool_, {hot.sq_head, pool_.at(hot.sq_head).start});
    }

    // --- tcp_retransmit.cc
    bool retransmit_lost(Hot& hot) noexcept;
    bool send_again(Hot& hot, Cold& cold, uint32_t index) noexcept;
    bool tail_probe_wanted(const Hot& hot, const Cold& cold) const noexcept;
    void arm_retransmission(Hot& hot, Cold& cold, bool restart) noexcept;
    void set_timer_after_ack(Hot& hot, Cold& cold, const AckOf& ack) noexcept;
    void on_retransmission_timer(Hot& hot) noexcept;
    void on_reordering_timer(Hot& hot, Cold& cold) noexcept;
    void send_tail_probe(Hot& hot, Cold& cold) noexcept;
    void on_handshake_timeout(Hot& hot, Cold& cold) noexcept;
    void on_retransmission_timeout(Hot& hot, Cold& cold) noexcept;
    void mark_lost_on_timeout(Hot& hot, Cold& cold) noexcept;

    // --- tcp_path.cc
    void on_icmp_error(const IcmpError& error) noexcept override;
    void take_too_big(Hot& hot, const IcmpError& error) noexcept;
    uint32_t header_bytes(const Hot& hot) const noexcept;
    uint64_t path_of(const Hot& hot) const noexcept;
    bool shrink_segments(Hot& hot, uint32_t packet_bytes, uint32_t until_tick) noexcept;
    bool learn_path(Hot& hot, uint32_t packet_bytes) noexcept;
    void take_known_path(Hot& hot) noexcept;
    void age_path(Hot& hot) noexcept;
    void suspect_black_hole(Hot& hot) noexcept;

    // --- tcp_timers.cc
    void run_timers() noexcept {
        if (wheel_.due(now_tick_)) run_timers_due();
    }
    void run_timers_due() noexcept;
    void session_timer(Hot& hot) noexcept;
    void on_persist_timeout(Hot& hot) noexcept;
    bool check_keepalive(Hot& hot) noexcept;
    void on_linger_timeout(Hot& hot) noexcept;
    void rearm(Hot& hot) noexcept;
    uint32_t deadline_in(uint32_t ticks) const noexcept {
        const uint32_t deadline = now_tick_ + ticks;
        return deadline == 0 ? 1 : deadline;  // 0 means none
    }
    uint32_t rto_ticks(const Hot& hot) const noexcept {
        // On a short path the minimum rules, and nothing has to be worked out. Without a sample
        // yet (srtt_us 0) the left side is as large as can be.
        if (hot.srtt_us - 1 + 4 * hot.rttvar_us < rto_short_us_ && hot.backoff == 0) {
            return rto_min_ticks_;
        }
        return ticks_of_us(rto::current_us(hot, rto_limits_));
    }
    // Until the next probe of a closed window.
    uint32_t probe_ticks(const Hot& hot) const noexcept {
        return std::min(rto_ticks(hot), persist_max_ticks_);
    }
    uint32_t timestamp_now() const noexcept { return now_tick_ + timestamp_offset_; }
    uint32_t now_us() const noexcept { return now_us_; }

    const TcpOptions options_;
    const SipKey isn_key_;
    const SipKey address_key_;
    const rto::Limits rto_limits_;
    const uint32_t rto_min_ticks_;
    const uint32_t rto_short_us_;  // smoothed RTT and four deviations below it: the minimum rules
    const uint32_t edge_slack_;    // the window's edge is worth moving by no less than this
    const uint32_t slow_reader_ticks_;  // 0: never
    const uint32_t persist_max_ticks_;
    const uint32_t receive_blocks_max_;  // for data out of order
    const uint32_t half_base_;           // first id of the half-open entries
    const uint32_t wait_base_;           // first id of the TIME_WAIT entries
    const uint32_t interface_id_;        // the timer of what is below TCP; no connection has it
    stats::WorkerCounters* const counters_;
    const uint32_t timestamp_offset_;

    uint64_t now_ns_ = 0;
    uint32_t now_tick_ = 0;
    uint32_t now_us_ = 0;
    bool started_ = false;

    Interface interface_;
    BlockPool pool_;
    SentPool sent_pool_;
    ConnectionTable table_;  // IPv4
    ConnectionTable table_ipv6_;
    std::vector<Ipv6Pair> pairs_;  // by id; empty without IPv6
    TimerWheel wheel_;
    std::vector<Hot> hot_;
    std::vector<Cold> cold_;
    std::vector<PathState> paths_;  // by session
    PathMtuCache known_paths_;
    std::vector<HalfOpen> half_open_;
    std::vector<TimeWait> time_wait_;
    FreeIds free_sessions_;
    FreeIds free_half_open_;
    FreeIds free_time_wait_;
    AgeList half_open_ages_;  // by slot
    AgeList time_wait_ages_;
    SynCookies cookies_;
    RateLimit syn_ack_limit_;
    RateLimit challenge_limit_;
    RateLimit reset_limit_;
    IdFifo ready_;
    IdFifo dirty_;
    IdFifo starved_;
    IdFifo unresolved_;
    IdFifo suspects_;
    IdFifo zombies_;

    io::Event* event_next_ = nullptr;  // into the caller's, during poll()
    io::Event* event_end_ = nullptr;
    size_t held_count_ = 0;
    uint32_t blocks_later_ = kNoBlock;  // delivered; freed by release()
    uint32_t buffers_low_ = 0;          // blocks; fewer free: they run short
    uint32_t receive_blocks_ = 0;       // in all receive queues
    uint32_t send_limit_ = 0;           // bytes that a session may have queued now
    uint32_t relieved_tick_ = 0;
    uint32_t resolutions_seen_ = 0;
    uint16_t ephemeral_next_ = 0;
    std::array<RxFrame, kBurst> held_;
    std::array<TcpSegment, kBurst> segments_;
    std::array<Received, kBurst> received_;   // all but the usual ones: in segments_
    std::array<ConnectionKey, kBurst> keys_;  // of the segments
    std::array<uint64_t, kBurst> homes_;      // where table_ looks first for them
};

// What the window field says, and moves the promised edge. It never moves left, and moves right
// only by an amount worth telling (RFC 9293, 3.8.6.2.2).
inline uint16_t TcpCore::advertise(Hot& hot, const Cold& cold) noexcept {
    const uint32_t unread = hot.rcv_nxt - hot.rcv_read;
    const uint32_t full = options_.receive_window_bytes;
    const uint32_t window = unread < full ? full - unread : 0;
    const uint32_t offered = window & (~0u << hot.rcv_scale);
    const uint32_t worth = std::min(full / 2, uint32_t{cold.our_mss});
    // Both from rcv_nxt on; a promise may lie behind it after a probe into a closed window.
    const auto promised = static_cast<int32_t>(hot.rcv_edge - hot.rcv_nxt);
    if (static_cast<int32_t>(offered - worth) >= promised) hot.rcv_edge = hot.rcv_nxt + offered;
    const uint32_t left = seq_gt(hot.rcv_edge, hot.rcv_nxt) ? hot.rcv_edge - hot.rcv_nxt : 0;
    return static_cast<uint16_t>(std::min(left >> hot.rcv_scale, 65535u));
}

}  // namespace cachee::net
