// SPDX-License-Identifier: Apache-2.0
// Stages, connections and sending of LoadThread; what comes back is judged in load_judge.cc. One
// thread.
#include "tools/loadgen/load_thread.h"

#include <algorithm>

#include "base/assert.h"

namespace cachee::loadgen {

using io::CloseReason;
using io::Event;
using io::EventKind;

namespace {

constexpr size_t kEventsMax = 256;
constexpr uint64_t kCloseNs = 500 * base::kNsPerMs;  // how long saying goodbye may take
constexpr uint64_t kRetryNsMax = base::kNsPerS;
constexpr uint64_t kAwayNsMin = 10 * base::kNsPerUs;  // no turn of our own takes that long

const char* reason_text(CloseReason reason) {
    switch (reason) {
        case CloseReason::kLocal:
            return "closed here";
        case CloseReason::kPeer:
            return "closed by the target";
        case CloseReason::kReset:
            return "refused or reset by the target";
        case CloseReason::kTimeout:
            return "no answer from the target's host";
        case CloseReason::kNoMemory:
            return "out of buffers";
        case CloseReason::kSlowReader:
            return "the target does not read";
        case CloseReason::kDevice:
            return "the network device or socket failed";
    }
    return "closed";
}

}  // namespace

LoadThread::LoadThread(const LoadPlan& plan, const Workload& workload, ClientLink& link,
                       ThreadStats& stats)
    : plan_(plan),
      workload_(workload),
      link_(link),
      transport_(link.transport()),
      stats_(stats),
      ring_(std::max(plan.pipeline, kPopulatePipeline)),
      now_ns_(link.now_ns()),
      stage_since_ns_(now_ns_),
      down_since_ns_(now_ns_),
      rng_(workload.options().seed * 0x9e3779b97f4a7c15ULL + plan.thread),
      connections_(plan.connections),
      pending_(size_t{plan.connections} * ring_),
      connection_of_(transport_.sessions_max(), UINT32_MAX),
      ready_(plan.connections),
      events_(kEventsMax) {
    CACHEE_ASSERT(plan.connections > 0);
    CACHEE_ASSERT(plan.connections <= transport_.sessions_max());
    CACHEE_ASSERT(plan.thread < plan.threads);
    // Sequential walks of the threads begin apart.
    cursor_ = workload.keys().keys() / plan.threads * plan.thread;
    for (Connection& connection : connections_) {
        connection.since_ns = now_ns_;
        connection.retry_ns = plan.retry_ns;
    }
}

bool LoadThread::step() {
    const uint64_t before_ns = now_ns_;
    now_ns_ = link_.now_ns();
    if (stage_ == Stage::kRun && now_ns_ - before_ns > kAwayNsMin) {
        stats_.add(Tally::kAwayNs, now_ns_ - before_ns);
    }
    const size_t count = transport_.poll(now_ns_, events_.data(), events_.size());
    // What came is stamped after the work of receiving it.
    if (count > 0) now_ns_ = link_.now_ns();
    for (size_t i = 0; i < count; ++i) take_event(events_[i]);
    if (now_ns_ >= look_around_ns_) look_around();
    const uint64_t in_flight = in_flight_;
    issue();
    const bool issued = in_flight != in_flight_;
    transport_.release();
    transport_.flush(now_ns_);
    advance_stage();
    return count > 0 || issued;
}

uint64_t LoadThread::idle_ns() const {
    const uint64_t look = look_around_ns_ > now_ns_ ? look_around_ns_ - now_ns_ : 0;
    if (stage_ != Stage::kRun) return look;
    if (schedule_ && ready_count_ > 0) {
        const uint64_t due = schedule_->due_ns();
        return std::min(look, due > now_ns_ ? due - now_ns_ : 0);
    }
    return look;
}

void LoadThread::populate() {
    CACHEE_ASSERT(stage_ == Stage::kReady);
    stage_ = Stage::kPopulate;
    populate_next_ = plan_.thread;
    for (Connection& connection : connections_) offer(connection);
}

void LoadThread::run(uint64_t start_ns) {
    CACHEE_ASSERT(stage_ == Stage::kReady);
    stage_ = Stage::kRun;
    measure_from_ns_ = start_ns + plan_.warmup_ns;
    end_ns_ = measure_from_ns_ + plan_.measure_ns;
    if (plan_.rate > 0) {
        schedule_.emplace(plan_.rate, plan_.poisson, start_ns, rng_.next());
        // Threads with equal gaps take turns.
        if (!plan_.poisson) {
            const double shift = 1e9 / plan_.rate * plan_.thread / plan_.threads;
            schedule_.emplace(plan_.rate, false, start_ns + static_cast<uint64_t>(shift), 0);
        }
    }
    for (Connection& connection : connections_) offer(connection);
}

void LoadThread::stop() {
    if (stage_ == Stage::kRun) {
        end_ns_ = std::min(end_ns_, now_ns_);
    } else if (stage_ < Stage::kRun) {
        stage_ = Stage::kClose;
        stage_since_ns_ = now_ns_;
    }
}

void LoadThread::fail(const std::string& why) {
    if (over()) return;
    stage_ = Stage::kFailed;
    failure_ = why;
}

// --- stages

void LoadThread::advance_stage() {
    const Stage before = stage_;
    switch (stage_) {
        case Stage::kConnect:
            if (up_ == plan_.connections) {
                stage_ = Stage::kReady;
            } else if (now_ns_ - stage_since_ns_ > plan_.timeout_ns) {
                fail(std::to_string(up_) + " of " + std::to_string(plan_.connections) +
                     " connections could be opened within " +
                     std::to_string(plan_.timeout_ns / base::kNsPerMs) + " ms" +
                     (last_close_.empty() ? "" : " (" + last_close_ + ")"));
            }
            break;
        case Stage::kPopulate:
            if (populate_next_ >= workload_.keys().keys() && in_flight_ == 0) {
                stage_ = Stage::kReady;
            }
            break;
        case Stage::kRun: {
            const bool all_sent = plan_.requests != 0 && measured_sent_ >= plan_.requests;
            const uint64_t due_ns = schedule_ ? schedule_->due_ns() : now_ns_;
            if (all_sent || due_ns >= end_ns_) {
                stage_ = Stage::kDrain;
            } else if (now_ns_ >= end_ns_ && now_ns_ - end_ns_ > plan_.timeout_ns) {
                give_up_rest();
                stage_ = Stage::kClose;
            }
            break;
        }
        case Stage::kDrain:
            if (in_flight_ == 0) {
                stage_ = Stage::kClose;
            } else if (now_ns_ - stage_since_ns_ > plan_.timeout_ns) {
                give_up_rest();
                stage_ = Stage::kClose;
            }
            break;
        case Stage::kClose: {
            const bool late = now_ns_ - stage_since_ns_ > kCloseNs;
            const bool all = std::ranges::all_of(
                connections_, [](const Connection& c) { return c.state == State::kDown; });
            if (all || late) stage_ = Stage::kEnded;
            break;
        }
        case Stage::kReady:
        case Stage::kEnded:
        case Stage::kFailed:
            break;
    }
    const bool loaded = stage_ == Stage::kPopulate || stage_ == Stage::kRun;
    if (loaded && down_since_ns_ != 0 && now_ns_ - down_since_ns_ > plan_.timeout_ns) {
        fail("all connections are lost and none could be opened again (" + last_close_ + ")");
    }
    if (stage_ == before) return;
    stage_since_ns_ = now_ns_;
    if (stage_ != Stage::kClose) return;
    for (Connection& connection : connections_) {
        if (connection.state != State::kDown && !connection.aborted) {
            transport_.close(connection.session, io::CloseHow::kFlush);
        }
    }
}

// The patience is over: what was due and has no answer counts with the time that it has waited.
void LoadThread::give_up_rest() {
    for (Connection& connection : connections_) {
        for (uint32_t i = 0; i < connection.in_flight; ++i) {
            const Pending& waiting = pending(connection, i);
            if (!waiting.run) continue;
            stats_.add(Tally::kUnanswered);
            if (waiting.measured) record(waiting);
        }
        in_flight_ -= connection.in_flight;
        connection.in_flight = 0;
    }
    for (; schedule_ && schedule_->due_ns() < end_ns_; schedule_->advance()) {
        stats_.add(Tally::kUnanswered);
        Pending never;
        never.due_ns = schedule_->due_ns();
        if (never.due_ns >= measure_from_ns_) record(never);
    }
}

// --- connections

void LoadThread::take_event(const Event& event) {
    const uint32_t index = connection_of_[event.session];
    if (index == UINT32_MAX) return;
    Connection& connection = connections_[index];
    switch (event.kind) {
        case EventKind::kOpened:
            opened(connection);
            break;
        case EventKind::kData: {
            if (connection.aborted) break;
            if (stage_ >= Stage::kRun && now_ns_ >= measure_from_ns_) {
                stats_.add(Tally::kBytesIn, event.size);
            }
            Judge judge{*this, connection};
            if (!connection.reader.feed(event.data, event.size, judge)) {
                judge_wrong(connection, "bytes that are no reply");
                abort(connection);
            }
            break;
        }
        case EventKind::kEof:
            abort(connection);
            last_close_ = reason_text(CloseReason::kPeer);
            break;
        case EventKind::kWritable: {
            const size_t taken = transport_.append(
                connection.session, reinterpret_cast<const uint8_t*>(connection.unsent.data()),
                connection.unsent.size());
            connection.unsent.erase(0, taken);
            connection.blocked = !connection.unsent.empty();
            offer(connection);
            break;
        }
        case EventKind::kClosed:
            closed(connection, event.reason);
            break;
    }
}

void LoadThread::look_around() {
    look_around_ns_ = now_ns_ + kLookAroundNs;
    for (Connection& connection : connections_) {
        switch (connection.state) {
            case State::kDown:
                break;
            case State::kConnecting:
                if (now_ns_ - connection.since_ns > plan_.timeout_ns) abort(connection);
                break;
            case State::kGreeting:
            case State::kUp:
                if (connection.in_flight > 0 && !connection.aborted &&
                    now_ns_ - pending(connection, 0).sent_ns > plan_.timeout_ns) {
                    stats_.add(Tally::kTimeouts);
                    last_close_ = "no reply within the timeout";
                    abort(connection);
                }
                break;
        }
    }
    if (stage_ < Stage::kDrain) open_connections();
}

void LoadThread::open_connections() {
    for (uint32_t i = 0; i < connections_.size() && connecting_ < kConnectingMax; ++i) {
        Connection& connection = connections_[i];
        if (connection.state != State::kDown || now_ns_ < connection.since_ns) continue;
        connection.since_ns = now_ns_;
        connection.session = link_.connect();
        if (connection.session == kNoSession) {
            connection.since_ns += connection.retry_ns;
            return;
        }
        connection.state = State::kConnecting;
        connection.aborted = false;
        connection_of_[connection.session] = i;
        ++connecting_;
    }
}

void LoadThread::opened(Connection& connection) {
    if (connection.aborted) return;  // closed() follows
    --connecting_;
    connection.state = State::kUp;
    connection.reader = ReplyReader(workload_.options().protocol);
    if (stage_ != Stage::kConnect) stats_.add(Tally::kReconnects);
    if (workload_.options().password.empty()) {
        ++up_;
        down_since_ns_ = 0;
        connection.retry_ns = plan_.retry_ns;
        offer(connection);
        return;
    }
    connection.state = State::kGreeting;
    send(connection, Request{.command = Command::kAuth}, now_ns_, false);
}

void LoadThread::abort(Connection& connection) {
    if (connection.aborted) return;
    connection.aborted = true;
    transport_.close(connection.session, io::CloseHow::kAbort);
}

void LoadThread::closed(Connection& connection, CloseReason reason) {
    connection_of_[connection.session] = UINT32_MAX;
    if (!connection.aborted) last_close_ = reason_text(reason);
    if (connection.state == State::kConnecting) --connecting_;
    if (connection.state == State::kUp && --up_ == 0) down_since_ns_ = now_ns_;
    if (stage_ == Stage::kConnect && up_ == 0 && reason == CloseReason::kReset) {
        fail("no connection could be opened: " + last_close_);
    }
    const bool loaded = stage_ == Stage::kPopulate || stage_ == Stage::kRun ||
                        (stage_ == Stage::kDrain && connection.in_flight > 0);
    if (loaded && connection.state == State::kUp) stats_.add(Tally::kDisconnects);
    stats_.add(Tally::kLost, connection.in_flight);
    in_flight_ -= connection.in_flight;
    const uint64_t retry_ns = connection.retry_ns;
    const bool queued = connection.queued;
    connection = Connection{};
    connection.queued = queued;
    connection.since_ns = now_ns_ + retry_ns;
    connection.retry_ns = std::min(2 * retry_ns, kRetryNsMax);
}

// --- sending

uint32_t LoadThread::pipeline_now() const {
    return stage_ == Stage::kPopulate ? kPopulatePipeline : plan_.pipeline;
}

void LoadThread::offer(Connection& connection) {
    if (connection.queued || connection.state != State::kUp || connection.blocked ||
        connection.aborted || connection.in_flight >= pipeline_now()) {
        return;
    }
    connection.queued = true;
    ready_[(ready_head_ + ready_count_++) % ready_.size()] =
        static_cast<uint32_t>(&connection - connections_.data());
}

bool LoadThread::next_due(uint64_t& due_ns) const {
    due_ns = now_ns_;
    if (stage_ == Stage::kPopulate) return populate_next_ < workload_.keys().keys();
    if (stage_ != Stage::kRun) return false;
    if (plan_.requests != 0 && measured_sent_ >= plan_.requests) return false;
    if (schedule_) due_ns = schedule_->due_ns();
    return due_ns <= now_ns_ && due_ns < end_ns_;
}

void LoadThread::issue() {
    uint64_t due_ns = 0;
    while (ready_count_ > 0 && next_due(due_ns)) {
        Connection& connection = connections_[ready_[ready_head_]];
        ready_head_ = (ready_head_ + 1) % ready_.size();
        --ready_count_;
        connection.queued = false;
        // A closed loop fills the connection, an open one spreads its requests.
        while (connection.state == State::kUp && !connection.blocked && !connection.aborted &&
               connection.in_flight < pipeline_now() && next_due(due_ns)) {
            if (stage_ == Stage::kPopulate) {
                const Request request = workload_.set_of(populate_next_, rng_);
                populate_next_ += plan_.threads;
                send(connection, request, due_ns, false);
                continue;
            }
            send(connection, workload_.next(rng_, cursor_), due_ns, true);
            if (!schedule_) continue;
            schedule_->advance();
            break;
        }
        offer(connection);
    }
}

void LoadThread::send(Connection& connection, const Request& request, uint64_t due_ns, bool run) {
    CACHEE_DASSERT(connection.in_flight < ring_);
    CACHEE_DASSERT(connection.unsent.empty());
    Pending& slot = pending(connection, connection.in_flight);
    slot = Pending{.due_ns = due_ns,
                   .sent_ns = now_ns_,
                   .request = request,
                   .measured = run && due_ns >= measure_from_ns_,
                   .run = run};
    ++connection.in_flight;
    ++in_flight_;
    if (slot.measured) ++measured_sent_;
    const size_t bound = workload_.bytes_max(request);
    size_t size = 0;
    uint8_t* out = nullptr;
    if (bound <= io::kReserveBytesMax) {
        out = transport_.reserve(connection.session, static_cast<uint32_t>(bound));
    }
    if (out != nullptr) {
        size = static_cast<size_t>(workload_.write(request, out) - out);
        transport_.commit(connection.session, static_cast<uint32_t>(size));
    } else {
        if (scratch_.size() < bound) scratch_.resize(bound);
        size = static_cast<size_t>(workload_.write(request, scratch_.data()) - scratch_.data());
        const size_t taken = transport_.append(connection.session, scratch_.data(), size);
        connection.unsent.assign(reinterpret_cast<const char*>(scratch_.data()) + taken,
                                 size - taken);
        connection.blocked = taken < size;
    }
    if (slot.measured) stats_.add(Tally::kBytesOut, size);
}

}  // namespace cachee::loadgen
