// SPDX-License-Identifier: Apache-2.0
#include "controlplane/coherence.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "base/clock.h"
#include "base/hash.h"

namespace cachee::controlplane {

using base::kMiB;
using base::kNsPerMs;
using shm::CommandKind;
using stats::ControlCounter;

namespace {

constexpr std::string_view kPing = "*1\r\n$4\r\nPING\r\n";
// A worker's backlog beyond which waiting fills are given up, and beyond which it gets a new
// generation instead of its invalidations one by one.
constexpr uint64_t kBacklogFillBytes = 16 * kMiB;
constexpr size_t kBacklogInvalidations = 65536;
// Beyond this it is looked whether the worker's process still lives.
constexpr size_t kBacklogSilent = 1024;
// Beyond these the worker is as good as dead: everything for it is dropped and a new epoch begun.
constexpr size_t kBacklogEntriesMax = 4 * kBacklogInvalidations;
constexpr uint64_t kBacklogBytesMax = 2048 * kMiB;

constexpr uint64_t kBoundEveryNs = 100 * kNsPerMs;
// Of the tracked connection, before L2 is asked over another one.
constexpr uint64_t kSilenceNs = 1000 * kNsPerMs;

shm::RingEntry entry_of(CommandKind kind) {
    shm::RingEntry entry;
    entry.kind = static_cast<uint16_t>(kind);
    return entry;
}

}  // namespace

Coherence::Coherence(L2Backend& backend, KeyGuard& guard, const config::L2& options,
                     stats::ControlCounters* const& counters)
    : backend_(backend),
      guard_(guard),
      options_(options),
      counters_(counters),
      journal_(options.journal_bytes_max) {}

Coherence::~Coherence() = default;

void Coherence::attach(Attachment* attachment) {
    attachment_ = attachment;
    held_.clear();
    held_.resize(workers());
    hash_seed_ = attachment->header().hash_seed;
    guard_.rehash(hash_seed_);
    item_bytes_max_ = attachment->header().item_bytes_max;
    l1_id_ = attachment->header().l1_id;
    const uint32_t known = attachment->header().generation.load(std::memory_order_relaxed);
    // Newer than ours: somebody else has vouched for this L1 since.
    const bool ours = static_cast<int32_t>(known - generation_) <= 0;
    const bool covered = journal_.covers(l1_id_);
    if (!ours) generation_ = known;
    revoked_ = false;
    next_ping_ns_ = 0;
    if (ours && covered && tracking_) {
        resume();
        return;
    }
    if (journal_.is_open()) counters_->add(ControlCounter::journal_losses);
    const std::string cause = journal_.is_open() && journal_.lost() ? ", " + journal_.cause() : "";
    journal_.take();
    bump_generation("a data plane is attached" + cause, false);
}

// The L1 that we vouched for, in the hands of another data plane.
void Coherence::resume() {
    replay_ = journal_.take();
    counters_->add(ControlCounter::dataplane_resumes);
    counters_->add(ControlCounter::journal_keys, replay_.size());
    // Release: as in bump_generation().
    attachment_->header().generation.store(generation_, std::memory_order_release);
    lease_until_ns_ = 0;
    send_lease(0);
    revoked_ = true;
    spdlog::info("L1 generation {} goes on: {} keys changed while no data plane was there",
                 generation_, replay_.size());
}

bool Coherence::replay_journal() {
    bool moved = false;
    while (!replay_.empty() && !backlogged_links()) {
        invalidate(replay_.back(), nullptr);
        replay_.pop_back();
        moved = true;
    }
    return moved;
}

void Coherence::detach(bool blind) {
    journal_.open(l1_id_);
    if (!tracking_) journal_.lose("invalidations were being lost");
    if (blind) journal_.lose("the workers do not follow");
    for (const WorkerLink& target : attachment_->links()) {
        const bool whole =
            target.each_unapplied([this](std::string_view key) { journal_.note(key); });
        if (!whole) journal_.lose("a ring of the old data plane is damaged");
    }
    for (const std::string& key : replay_) journal_.note(key);
    replay_.clear();
    attachment_ = nullptr;
    auto held = std::move(held_);
    held_.clear();
    held_count_ = 0;
    for (auto& queue : held) {
        for (auto& waiting : queue) waiting->released(false);
    }
    fences_waiting_.clear();
    for (auto& ping : pings_) ping->fences.clear();
}

uint64_t Coherence::hash(std::string_view key) const { return base::hash_key(key, hash_seed_); }
uint32_t Coherence::owner(uint64_t hash) const { return base::owner_of(hash, workers()); }

void Coherence::on_tracking_up() {
    tracking_ = true;
    last_pong_ns_ = base::monotonic_ns();
    guard_.all_invalidated();
    counters_->set(ControlCounter::l2_connected, 1);
    bump_generation("tracking is confirmed", false);
    next_ping_ns_ = 0;  // the lease comes with the first PONG
}

void Coherence::on_tracking_lost() {
    tracking_ = false;
    guard_.all_invalidated();
    counters_->set(ControlCounter::l2_connected, 0);
    journal_.lose("the connection that invalidations come on was lost");
    // The lease that was given stays true until it lapses: it never promised more than lease_ms.
    // The new generation comes with the next confirmed tracking, or with the first fence that
    // fails.
    spdlog::warn("L2 {}: invalidations are lost; L1 answers for {} ms at most", backend_.name(),
                 options_.lease_ms);
}

void Coherence::on_key_invalidated(std::string_view key) {
    guard_.invalidated(key);
    invalidate(key, nullptr);
}

void Coherence::on_all_invalidated() { bump_generation("L2 was flushed", true); }

void Coherence::invalidate(std::string_view key, Barrier* barrier) {
    if (!attached()) {
        journal_.note(key);
        return;
    }
    const uint64_t key_hash = hash(key);
    const uint32_t worker = owner(key_hash);
    shm::RingEntry entry = entry_of(CommandKind::kInvalidate);
    entry.key_hash = key_hash;
    entry.key_bytes = static_cast<uint32_t>(key.size());
    const uint64_t sequence = link(worker).send(entry, key);
    if (barrier != nullptr) barrier->emplace_back(worker, sequence);
}

bool Coherence::fill(std::string_view key, uint64_t key_hash, std::string_view value,
                     uint64_t deadline_ms, Barrier* barrier) {
    if (!fills_allowed() || key.size() + value.size() > item_bytes_max_) return false;
    WorkerLink& target = link(owner(key_hash));
    // In one entry: a worker installs no pieces.
    if (key.size() + value.size() > target.entry_bytes_max()) return false;
    if (target.backlog_bytes() > kBacklogFillBytes) return false;
    shm::RingEntry entry = entry_of(CommandKind::kFill);
    entry.key_hash = key_hash;
    entry.key_bytes = static_cast<uint32_t>(key.size());
    entry.arg0 = deadline_ms;
    entry.arg1 = generation_;
    const uint64_t sequence = target.send(entry, key, value);
    if (barrier != nullptr) barrier->emplace_back(target.index(), sequence);
    counters_->add(ControlCounter::fills_sent);
    return true;
}

void Coherence::bump_generation(std::string_view cause, bool keep_lease) {
    guard_.all_invalidated();
    if (!attached()) {
        journal_.lose(cause);
        return;
    }
    replay_.clear();  // of older generations
    ++generation_;
    counters_->add(ControlCounter::generation_bumps);
    // release: readers in other processes that see it find the ring entries no older than it.
    attachment_->header().generation.store(generation_, std::memory_order_release);
    if (!keep_lease) lease_until_ns_ = 0;
    send_lease(lease_until_ns_);
    revoked_ = lease_until_ns_ == 0;
    spdlog::info("L1 generation {}: {}", generation_, cause);
}

void Coherence::send_lease(uint64_t until_ns) {
    shm::RingEntry entry = entry_of(CommandKind::kLease);
    entry.arg0 = until_ns;
    entry.arg1 = generation_;
    for (WorkerLink& target : attachment_->links()) target.send(entry);
}

void Coherence::stop_leases() {
    stopped_ = true;
    if (!attached()) return;
    lease_until_ns_ = 0;
    send_lease(0);
    revoked_ = true;
}

void Coherence::add_all(Barrier& barrier) const {
    for (WorkerLink& target : attachment_->links()) {
        barrier.emplace_back(target.index(), target.last_invalidation());
    }
}

size_t Coherence::first_open(const Barrier& barrier) const {
    for (size_t i = 0; i < barrier.size(); ++i) {
        if (attachment_->links()[barrier[i].first].consumed() < barrier[i].second) return i;
    }
    return barrier.size();
}

bool Coherence::applied(const Barrier& barrier, uint32_t receiver) const {
    for (const auto& [worker, sequence] : barrier) {
        if (worker != receiver && attachment_->links()[worker].consumed() < sequence) return false;
    }
    return true;
}

void Coherence::release_after(uint32_t receiver, Barrier barrier, Released released) {
    if (!attached()) {
        released(false);
        return;
    }
    std::erase_if(barrier, [&](const auto& pair) { return pair.first == receiver; });
    const size_t open = first_open(barrier);
    if (open == barrier.size()) {
        released(true);
        return;
    }
    auto held = std::make_unique<Held>();
    held->barrier = std::move(barrier);
    held->deadline_ns = base::monotonic_ns() + options_.request_timeout_ms * kNsPerMs;
    held->released = std::move(released);
    ++held_count_;
    hold(std::move(held), open);
}

void Coherence::hold(std::unique_ptr<Held> held, size_t open) {
    // What came before has been applied for good: positions only grow.
    held->barrier.erase(held->barrier.begin(), held->barrier.begin() + static_cast<long>(open));
    const uint32_t worker = held->barrier.front().first;
    held_[worker].push_back(std::move(held));
}

void Coherence::fence(std::function<void()> passed) {
    counters_->add(ControlCounter::fences);
    fences_waiting_.push_back(std::move(passed));
}

void Coherence::lost_fences(std::vector<std::function<void()>>& fences) {
    if (fences.empty()) return;
    if (attached() && !revoked_) bump_generation("a fence was lost with the L2 connection", false);
    for (auto& passed : fences) passed();
    fences.clear();
}

void Coherence::flush() {
    if (fences_waiting_.empty()) return;
    auto fences = std::move(fences_waiting_);
    fences_waiting_.clear();
    if (!tracking_) {
        lost_fences(fences);
        return;
    }
    send_ping(std::move(fences));
}

void Coherence::send_ping(std::vector<std::function<void()>> fences) {
    auto ping = std::make_unique<Ping>();
    ping->owner = this;
    ping->sent_ns = base::monotonic_ns();
    ping->fences = std::move(fences);
    Ping* sent = ping.get();
    pings_.push_back(std::move(ping));
    if (!backend_.send(L2Lane::kTracked, kPing, *sent)) on_pong(sent, nullptr);
}

void Coherence::on_pong(Ping* ping, const redisReply* reply) {
    const auto found = std::find_if(pings_.begin(), pings_.end(),
                                    [&](const auto& each) { return each.get() == ping; });
    std::unique_ptr<Ping> owned = std::move(*found);
    pings_.erase(found);
    if (reply == nullptr || reply->type == REDIS_REPLY_ERROR) {
        lost_fences(owned->fences);
        return;
    }
    last_pong_ns_ = base::monotonic_ns();
    if (attached() && tracking_ && !stopped_ && replay_.empty()) {
        const uint64_t until = owned->sent_ns + options_.lease_ms * kNsPerMs;
        // Fences may come thousands of times a second; their PONGs need not each become a lease.
        const uint64_t step = options_.heartbeat_ms * kNsPerMs / 2;
        if (revoked_ || until > lease_until_ns_ + step) {
            lease_until_ns_ = until;
            send_lease(until);
            revoked_ = false;
        }
    }
    for (auto& passed : owned->fences) passed();
}

void Coherence::bound_backlog(WorkerLink& target) {
    if (target.backlog_bytes() > kBacklogFillBytes) target.drop_waiting_fills();
    if (target.backlog_entries() < kBacklogInvalidations) return;
    if (silent(base::monotonic_ns()) != nullptr) return;  // they will go to the journal
    const size_t replaced =
        target.replace_waiting_invalidations(generation_ + 1, kBacklogInvalidations / 2);
    if (replaced == 0) return;
    bump_generation("worker " + std::to_string(target.index()) + " lags " +
                        std::to_string(replaced) + " invalidations behind",
                    false);
}

bool Coherence::backlogged() const { return !replay_.empty() || backlogged_links(); }

bool Coherence::backlogged_links() const {
    if (attachment_ == nullptr) return false;
    for (const WorkerLink& target : attachment_->links()) {
        if (target.has_backlog()) return true;
    }
    return false;
}

const WorkerLink* Coherence::hopeless() const {
    if (attachment_ == nullptr) return nullptr;
    for (const WorkerLink& target : attachment_->links()) {
        if (target.backlog_entries() > kBacklogEntriesMax ||
            target.backlog_bytes() > kBacklogBytesMax) {
            return &target;
        }
    }
    return nullptr;
}

const WorkerLink* Coherence::silent(uint64_t now_ns) const {
    if (attachment_ == nullptr) return nullptr;
    for (const WorkerLink& target : attachment_->links()) {
        const uint64_t beat = target.worker()->heartbeat_ns.load(std::memory_order_relaxed);
        if (target.backlog_entries() > kBacklogSilent && beat != 0 && beat < now_ns &&
            now_ns - beat > kSilenceNs) {
            return &target;
        }
    }
    return nullptr;
}

bool Coherence::poll() {
    if (!attached()) return false;
    bool moved = replay_journal();
    for (WorkerLink& target : attachment_->links()) {
        if (target.has_backlog()) moved |= target.pump();
    }
    if (held_count_ == 0) return moved;
    for (uint32_t worker = 0; worker < held_.size(); ++worker) {
        auto& queue = held_[worker];
        while (!queue.empty()) {
            const size_t open = first_open(queue.front()->barrier);
            if (open == 0) break;
            std::unique_ptr<Held> held = std::move(queue.front());
            queue.pop_front();
            moved = true;
            if (open < held->barrier.size()) {
                hold(std::move(held), open);
                continue;
            }
            --held_count_;
            held->released(true);
            if (!attached()) return true;
        }
    }
    return moved;
}

void Coherence::Probe::on_reply(const redisReply* reply) {
    in_flight = false;
    if (reply != nullptr) answered_ns = base::monotonic_ns();
}

// A connection that died without a word (a firewall that forgot it) would keep every miss waiting.
// When L2 as a whole is slow, patience is right: dropping the connection would make outcomes
// unknown.
void Coherence::check_silence(uint64_t now_ns) {
    const uint64_t life_ns = std::max(last_pong_ns_, backend_.last_read_ns(L2Lane::kTracked));
    const uint64_t silent_ns = now_ns - std::min(now_ns, life_ns);
    if (silent_ns <= kSilenceNs) {
        probe_.answered_ns = 0;
        return;
    }
    if (silent_ns > options_.request_timeout_ms * kNsPerMs) {
        backend_.drop(L2Lane::kTracked,
                      "no PONG for " + std::to_string(options_.request_timeout_ms) + " ms");
    } else if (probe_.answered_ns == 0 && !probe_.in_flight) {
        probe_.in_flight = backend_.send(L2Lane::kShared2, kPing, probe_);
    } else if (probe_.answered_ns != 0 && now_ns - probe_.answered_ns > kSilenceNs / 2) {
        backend_.drop(L2Lane::kTracked, "it is silent while another connection answers");
    }
}

void Coherence::tick(uint64_t now_ns) {
    if (tracking_ && now_ns >= next_ping_ns_) {
        next_ping_ns_ = now_ns + options_.heartbeat_ms * kNsPerMs;
        // One heartbeat in flight is enough: a second would prove nothing more.
        const bool in_flight = std::any_of(pings_.begin(), pings_.end(),
                                           [](const auto& ping) { return ping->fences.empty(); });
        if (!in_flight) send_ping({});
    }
    if (tracking_) check_silence(now_ns);
    if (!attached()) return;
    if (now_ns >= next_bound_ns_) {
        next_bound_ns_ = now_ns + kBoundEveryNs;
        for (WorkerLink& target : attachment_->links()) bound_backlog(target);
    }
    for (auto& queue : held_) {
        while (!queue.empty() && queue.front()->deadline_ns <= now_ns) {
            std::unique_ptr<Held> held = std::move(queue.front());
            queue.pop_front();
            --held_count_;
            held->released(false);
        }
    }
}

}  // namespace cachee::controlplane
