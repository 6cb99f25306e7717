// SPDX-License-Identifier: Apache-2.0
// The poll and the path of a GET that L1 answers. Data plane, the worker's own thread.
#include "dataplane/worker.h"

#include <algorithm>

#include "base/clock.h"
#include "base/hash.h"
#include "dataplane/standalone.h"
#include "resp/encoder.h"

namespace cachee::dataplane {

using stats::Counter;

namespace {

// One hit in so many is counted for the eviction policy; a power of two.
constexpr uint64_t kTouchEvery = 8;
// A standalone worker that has not been seen for so long may be dead.
constexpr uint64_t kStandaloneTrustNs = 250 * base::kNsPerMs;

}  // namespace

Worker::Worker(const WorkerOptions& options, io::Transport& transport, l1::Store& store,
               shm::Segment& segment, const shm::WakeFifo* wake, RemoteMesh* remote)
    : options_(options),
      transport_(transport),
      store_(store),
      lend_bytes_min_(options.lender != nullptr && options.lend_bytes_min > 0 &&
                              transport.takes_lent()
                          ? options.lend_bytes_min
                          : UINT64_MAX),
      segment_(segment),
      counters_(segment.worker(options.index)->counters),
      remote_(remote),
      pool_(options.arena_bytes),
      control_(segment, options.index, wake, pool_),
      parked_(options.parked_requests_max),
      own_partition_(store.partition(options.index)),
      parked_stage_max_(options.parked_requests_max -
                        std::min<uint32_t>(options.parked_requests_max, 2 * kStagedMax)),
      short_gets_allowed_(options.limits.arguments_max >= 2 &&
                          options.limits.bulk_bytes_max >= resp::kShortGetKeyBytesMax),
      events_(options.burst_max),
      sessions_(transport.sessions_max()),
      value_copy_(options.item_bytes_max),
      listen_(segment.header()->listen) {
    CACHEE_ASSERT(options.config != nullptr);
    CACHEE_ASSERT(options.index < options.worker_count);
    CACHEE_ASSERT(store.partitions() == options.worker_count);
    CACHEE_ASSERT(remote != nullptr || options.worker_count == 1);
    for (uint32_t i = 0; i < options.worker_count; ++i) partitions_.push_back(&store.partition(i));
    own_partition_.set_counters(&counters_);
    cycles_last_ = base::cycles();
    arguments_.reserve(64);
    key_indexes_.reserve(64);
    retry_.reserve(sessions_.size());
    retry_now_.reserve(sessions_.size());
    queued_.reserve(options.parked_requests_max + 2 * kStagedMax);
    if (options.standalone) {
        generation_ = 1;
        standalone_ = std::make_unique<Standalone>(
            own_partition_, StandaloneOptions{.hash_seed = options.hash_seed,
                                              .generation = generation_,
                                              .ttl_max_ms = options.ttl_max_ms,
                                              .bulk_bytes_max = options.limits.bulk_bytes_max});
    }
}

Worker::~Worker() {
    for (io::SessionIndex i = 0; i < sessions_.size(); ++i) {
        drop_requests(sessions_[i]);
        pool_.release(sessions_[i].input);
        pool_.release(sessions_[i].output);
        pool_.release(sessions_[i].last_words);
    }
    own_partition_.publish_trust(0, generation_);
    own_partition_.set_counters(nullptr);
}

// What is due now and then: a poll that found nothing has the time for it, a busy worker does it
// every so many polls.
[[gnu::always_inline]] inline void Worker::housekeeping(bool busy) noexcept {
    const uint64_t cycles = base::cycles();
    cycles_[busy] += cycles - cycles_last_;
    cycles_last_ = cycles;
    const uint64_t polls = ++polls_[busy];
    if (!queued_.empty() || parked_.oldest() != kNoSlot) expire_parked();
    if (busy && polls % kUpkeepPolls != 0) [[likely]]
        return;
    if (own_partition_.upkeep_is_due(now_ms_)) own_partition_.maintain(now_ms_);
    if (!busy || polls == kHousekeepingPolls) publish_cold();
}

bool Worker::poll_once(uint64_t now_ns) noexcept {
    now_ns_ = now_ns;
    now_ms_ = now_ns / base::kNsPerMs;
    if (control_.new_controlplane()) follow_controlplane_cold();

    const size_t count = transport_.poll(now_ns, events_.data(), options_.burst_max);
    for (size_t i = 0; i < count; ++i) {
        const io::Event& event = events_[i];
        if (event.kind == io::EventKind::kData) [[likely]] {
            take_data(event.session, {reinterpret_cast<const char*>(event.data), event.size});
        } else {
            take_event(event);
        }
    }
    if (staged_count_ != 0) answer_burst();
    control_.flush();

    bool busy = count != 0;
    if (control_.anything_to_take()) busy |= poll_control();
    if (remote_ != nullptr) busy |= poll_remote();
    if (!retry_.empty()) [[unlikely]]
        retry_stalled();
    transport_.release();
    transport_.flush(now_ns);
    housekeeping(busy);
    return busy;
}

// Inline in poll_once(), the parser and the hash with it.
[[gnu::always_inline]] inline void Worker::take_data(io::SessionIndex index,
                                                     std::string_view bytes) noexcept {
    const Session& session = sessions_[index];
    counters_.add(Counter::bytes_in, bytes.size());
    if (session.input.empty()) [[likely]] {
        const size_t taken = take_short_get(index, session, bytes);
        if (taken == bytes.size()) [[likely]]
            return;
        bytes.remove_prefix(taken);
    }
    take_other_data(index, bytes);
}

void Worker::take_event(const io::Event& event) noexcept {
    switch (event.kind) {
        case io::EventKind::kData:
            take_data(event.session, {reinterpret_cast<const char*>(event.data), event.size});
            break;
        case io::EventKind::kOpened:
            open_session(event.session);
            break;
        case io::EventKind::kEof:
            answer_staged();
            end_of_input(event.session);
            break;
        case io::EventKind::kWritable:
            answer_staged();
            writable(event.session);
            break;
        case io::EventKind::kClosed:
            answer_staged();
            session_gone(event.session, event.reason);
            break;
    }
}

// Copies the value into the reply. False: nothing was sent, because it does not fit one
// reservation, or it changed while it was copied.
template <l1::By kBy>
[[gnu::always_inline]] inline bool Worker::reply_with_value(io::SessionIndex index,
                                                            const l1::Lookup& found) noexcept {
    // Less than a word would not hold the header's.
    constexpr uint32_t kValueBytesMin = 2;
    constexpr uint32_t kValueBytesMax = io::kReserveBytesMax - resp::kBulkHeaderBytesMax - 2;
    const uint32_t value_bytes = found.value_bytes;
    if (value_bytes - kValueBytesMin > kValueBytesMax - kValueBytesMin) return false;
    const resp::BulkHeader header = resp::short_bulk_header(value_bytes);
    const uint32_t size = header.bytes + value_bytes + 2;
    uint8_t* const out =
        kBy == l1::By::kOwner ? transport_.extend(index, size) : transport_.reserve(index, size);
    if (out == nullptr) return false;
    std::memcpy(out, &header.word, sizeof header.word);
    uint8_t* const value = out + header.bytes;
    l1::copy_value(value, found.value, value_bytes);
    std::memcpy(value + value_bytes, "\r\n", 2);
    if (kBy != l1::By::kOwner) {
        if (!l1::Partition::still_valid<kBy>(found)) return false;
        transport_.commit(index, size);
    }
    stats::WorkerCounters& counters = counters_;
    counters.add(Counter::bytes_out, size);
    counters.add(Counter::l1_hits);
    return true;
}

// A hit of a session that waits for nothing. False: answer_from_l1() is to find out.
template <l1::By kBy>
[[gnu::always_inline]] inline bool Worker::answer_quickly(const Staged& get) noexcept {
    const l1::Lookup found =
        get.partition->take_usual<kBy>(get.candidate, get.key, now_ms_, generation_);
    return found.status == l1::FindStatus::kHit && reply_with_value<kBy>(get.session, found);
}

[[gnu::noinline]] bool Worker::answer_quickly_foreign(const Staged& get) noexcept {
    return answer_quickly<l1::By::kAnyone>(get);
}

// Second stage: the items of all. Third: compare, copy into the replies; or park.
[[gnu::always_inline]] inline void Worker::answer_burst() noexcept {
    const size_t count = staged_count_;
    staged_count_ = 0;
    const bool trusted = l1_trusted();
    if (trusted) [[likely]] {
        for (size_t i = 0; i < count; ++i) {
            staged_[i].candidate = staged_[i].partition->look<l1::By::kAnyone>(staged_[i].hash);
        }
    }
    for (size_t i = 0; i < count; ++i) {
        const Staged& get = staged_[i];
        Session& session = sessions_[get.session];
        if (trusted && session.plain && session.in_flight == 0) [[likely]] {
            if (get.partition == &own_partition_) [[likely]] {
                if (answer_quickly<l1::By::kOwner>(get)) [[likely]] {
                    if (++touches_ % kTouchEvery == 0) own_partition_.touch(get.hash);
                    continue;
                }
            } else if (answer_quickly_foreign(get)) {
                continue;
            }
        }
        if (session.closing) continue;
        if (answer_from_l1(get.session, session, get) != L1Answer::kAnswered)
            miss(get.session, session, get);
    }
}

// Elsewhere than at the end of a burst.
void Worker::answer_all_staged() noexcept { answer_burst(); }

// From L1, whoever owns the key, in the session's turn. kUnsure: a writer was at work, or there is
// no room for the reply to wait in.
Worker::L1Answer Worker::look_once(io::SessionIndex index, Session& session,
                                   const Staged& get) noexcept {
    const l1::Lookup found = find(get.hash, get.key);
    if (found.status == l1::FindStatus::kMiss) return L1Answer::kMiss;
    if (found.status != l1::FindStatus::kHit) return L1Answer::kUnsure;
    if (!reply_with_large_value(index, session, found)) return L1Answer::kUnsure;
    counters_.add(Counter::l1_hits);
    return L1Answer::kAnswered;
}

Worker::L1Answer Worker::answer_from_l1(io::SessionIndex index, Session& session,
                                        const Staged& get) noexcept {
    if (!l1_trusted()) {
        counters_.add(Counter::l1_lease_refusals);
        return L1Answer::kUnsure;
    }
    if ((session.keys_in_flight & key_bit(get.hash)) != 0) return L1Answer::kUnsure;
    // Another worker may be writing: a copy is good only if the bucket did not change meanwhile.
    for (int attempt = 0; attempt < 4; ++attempt) {
        const L1Answer answer = look_once(index, session, get);
        if (answer != L1Answer::kUnsure) return answer;
        counters_.add(Counter::l1_read_retries);
    }
    return L1Answer::kUnsure;
}

// As below, without a copy into the reply: the value stays where it is until the peer has it.
// False: nothing was sent.
bool Worker::lend_value(io::SessionIndex index, Session& session,
                        const l1::Lookup& found) noexcept {
    if (found.value_bytes < lend_bytes_min_) return false;
    if (session.in_flight != 0 || !session.output.empty()) return false;
    if (!store_.pin(found)) return false;
    uint8_t header[resp::kBulkHeaderBytesMax];
    const uint8_t* header_end = resp::write_bulk_header(header, found.value_bytes);
    write_out(index, session,
              {reinterpret_cast<const char*>(header), static_cast<size_t>(header_end - header)});
    if (session.output.empty() &&
        transport_.append_lent(index, found.value, found.value_bytes, *options_.lender)) {
        counters_.add(Counter::bytes_out, found.value_bytes);
    } else {
        write_out(index, session, {reinterpret_cast<const char*>(found.value), found.value_bytes});
        store_.unpin(found.value);
    }
    write_out(index, session, "\r\n");
    return true;
}

// Values that do not fit one reservation, and replies that must queue.
bool Worker::reply_with_large_value(io::SessionIndex index, Session& session,
                                    const l1::Lookup& found) noexcept {
    if (lend_value(index, session, found)) return true;
    std::string_view value{reinterpret_cast<const char*>(found.value), found.value_bytes};
    if (found.version_word != nullptr) {  // another worker's
        if (found.value_bytes > value_copy_.size()) return false;
        l1::copy_value(value_copy_.data(), found.value, found.value_bytes);
        if (!l1::Partition::still_valid(found)) return false;
        value = {reinterpret_cast<const char*>(value_copy_.data()), found.value_bytes};
    }
    uint8_t header[resp::kBulkHeaderBytesMax];
    const uint8_t* header_end = resp::write_bulk_header(header, found.value_bytes);
    const std::string_view header_view{reinterpret_cast<const char*>(header),
                                       static_cast<size_t>(header_end - header)};
    if (session.in_flight == 0) {
        write_out(index, session, header_view);
        write_out(index, session, value);
        write_out(index, session, "\r\n");
        return true;
    }
    const uint32_t parked = park(index, session);
    if (parked == kNoSlot) return false;
    Parked& request = parked_[parked];
    if (!pool_.append(request.reply, header_view) || !pool_.append(request.reply, value) ||
        !pool_.append(request.reply, "\r\n")) {
        kill_session(index, session);
    }
    return true;
}

void Worker::miss(io::SessionIndex index, Session& session, const Staged& get) noexcept {
    if (options_.standalone) {
        standalone_reply_.clear();
        append_value(get.hash, get.key, session.protocol);  // a hit when L1 was merely unsure
        reply(index, session, standalone_reply_);
        return;
    }
    counters_.add(Counter::l1_misses);
    if (!control_.controlplane_alive(now_ns_, options_.controlplane_patience_ns)) {
        reply_error(index, session,
                    "ERR cachee: the control plane is not running, so that L2 cannot be asked");
        return;
    }
    const uint32_t parked = park(index, session);
    if (parked == kNoSlot) {
        // start_command() keeps a burst's worth of slots free, so that only a bug gets here.
        kill_session(index, session);
        return;
    }
    Parked& request = parked_[parked];
    request.fetch = true;
    request.lane = shm::Lane::kTracked;
    request.key_hash = get.hash;
    if ((session.keys_in_flight & key_bit(get.hash)) != 0) request.entry_flags |= shm::kOrdered;
    session.keys_in_flight |= key_bit(get.hash);
    if (!pool_.append(request.command, get.key)) {
        kill_session(index, session);
        return;
    }
    start_waiting(parked, LaneGroup::kTracked);
    send_or_queue(parked);
}

// What others see of this worker.
void Worker::publish_cold() noexcept {
    counters_.add(Counter::polls, polls_[0] + polls_[1]);
    counters_.add(Counter::polls_busy, polls_[1]);
    counters_.add(Counter::cycles_idle, cycles_[0]);
    counters_.add(Counter::cycles_busy, cycles_[1]);
    polls_[0] = polls_[1] = 0;
    cycles_[0] = cycles_[1] = 0;
    own_partition_.maintain(now_ms_);
    shm::WorkerBlock& block = control_.block();
    block.heartbeat_ns.store(now_ns_, std::memory_order_relaxed);
    block.sessions.store(open_sessions_, std::memory_order_relaxed);
    block.parked.store(parked_.used(), std::memory_order_relaxed);
    // Nothing here becomes untrusted, but readers have to see that somebody is there.
    if (options_.standalone)
        own_partition_.publish_trust(now_ns_ + kStandaloneTrustNs, generation_);
}

}  // namespace cachee::dataplane
