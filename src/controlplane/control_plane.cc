// SPDX-License-Identifier: Apache-2.0
#include "controlplane/control_plane.h"

#include <sched.h>
#include <spdlog/spdlog.h>

#include <csignal>

#include "base/clock.h"
#include "base/units.h"

namespace cachee::controlplane {

using base::kNsPerMs;
using base::kNsPerS;
using base::kNsPerUs;
using stats::ControlCounter;

namespace {

constexpr uint64_t kTickMs = 5;
constexpr uint32_t kEventBudget = 512;  // per worker and pass
// Cores beside those of the workers that it takes for one to be spare: one for this process, one
// for L2 or the kernel's network. With fewer, polling would keep from its core whom it waits for.
constexpr uint32_t kCoresBesideWorkers = 2;
constexpr uint64_t kWatchNs = 2 * kNsPerMs;  // polling for a worker that is slow to follow
constexpr uint64_t kLookNs = 100 * kNsPerMs;
constexpr uint64_t kStopNs = kNsPerS;  // for what is in flight at a stop

template <typename Handle>
uv_handle_t* handle_of(Handle& handle) {
    return reinterpret_cast<uv_handle_t*>(&handle);
}

uint32_t usable_cores() {
    cpu_set_t set;
    return ::sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<uint32_t>(CPU_COUNT(&set))
                                                         : 1;
}

ControlPlane* self(void* data) { return static_cast<ControlPlane*>(data); }

}  // namespace

base::Result<std::unique_ptr<ControlPlane>> ControlPlane::create(const config::Config& config,
                                                                 std::optional<L2Address> l2) {
    const std::string prefix = config.instance.runtime_dir + "/" + config.instance.name;
    auto lock = InstanceLock::take(prefix + "-controlplane.lock");
    if (!lock) return lock.error();
    auto wake = shm::WakeFifo::open(prefix + ".wake");
    if (!wake) return wake.error();
    return std::unique_ptr<ControlPlane>(
        new ControlPlane(config, std::move(l2), std::move(lock.value()), std::move(wake.value())));
}

ControlPlane::ControlPlane(const config::Config& config, std::optional<L2Address> l2,
                           InstanceLock lock, shm::WakeFifo wake)
    : config_(config), lock_(std::move(lock)), wake_(std::move(wake)) {
    CACHEE_ASSERT(uv_loop_init(&loop_) == 0);
    uv_async_init(&loop_, &stop_async_, [](uv_async_t* async) { self(async->data)->begin_stop(); });
    stop_async_.data = this;
    if (!l2) return;
    backend_ = std::make_unique<RedisBackend>(&loop_, std::move(*l2), config.l2,
                                              "cachee-" + config.instance.name, counters_);
    coherence_ = std::make_unique<Coherence>(*backend_, guard_, config.l2, counters_);
    swap_watch_ = std::make_unique<SwapWatch>(
        *backend_, [this] { coherence_->bump_generation("SWAPDB was called in L2", true); });
    pinned_ = std::make_unique<PinnedSessions>(&loop_, *backend_, *coherence_, config, counters_);
    router_ = std::make_unique<RequestRouter>(*backend_, *coherence_, guard_, *pinned_, config,
                                              counters_);
}

ControlPlane::~ControlPlane() {
    // Only when run() was never called is the async handle still open.
    if (uv_is_closing(handle_of(stop_async_)) == 0) uv_close(handle_of(stop_async_), nullptr);
    uv_run(&loop_, UV_RUN_DEFAULT);
    uv_loop_close(&loop_);
}

void ControlPlane::stop() { uv_async_send(&stop_async_); }

void ControlPlane::start_handles(bool handle_signals) {
    uv_poll_init(&loop_, &wake_poll_, wake_.fd());
    wake_poll_.data = this;
    uv_poll_start(&wake_poll_, UV_READABLE,
                  [](uv_poll_t* poll, int, int) { self(poll->data)->wake_.drain(); });
    uv_prepare_init(&loop_, &prepare_);
    prepare_.data = this;
    uv_prepare_start(&prepare_, [](uv_prepare_t* handle) { self(handle->data)->before_poll(); });
    uv_check_init(&loop_, &check_);
    check_.data = this;
    uv_check_start(&check_, [](uv_check_t* handle) { self(handle->data)->after_poll(); });
    uv_idle_init(&loop_, &idle_);
    uv_timer_init(&loop_, &timer_);
    timer_.data = this;
    uv_timer_start(
        &timer_, [](uv_timer_t* timer) { self(timer->data)->on_tick(); }, 0, kTickMs);
    handle_signals_ = handle_signals;
    if (!handle_signals) return;
    const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; ++i) {
        uv_signal_init(&loop_, &signals_[i]);
        signals_[i].data = this;
        uv_signal_start(
            &signals_[i], [](uv_signal_t* signal, int) { self(signal->data)->begin_stop(); },
            numbers[i]);
    }
}

void ControlPlane::run(bool handle_signals) {
    start_handles(handle_signals);
    if (backend_) backend_->start(*this);
    uv_run(&loop_, UV_RUN_DEFAULT);
}

// --- the loop -----------------------------------------------------------------------------------

bool ControlPlane::work() {
    if (!serving_) return false;
    bool worked = false;
    if (router_) {
        worked |= router_->drain(kEventBudget);
        worked |= coherence_->poll();
        coherence_->flush();
        worked |= coherence_->poll();
    } else {
        // Standalone: the workers answer everything; whatever they say is let go.
        for (WorkerLink& link : attachment_->links()) {
            shm::RingEntry entry;
            std::string_view payload;
            while (link.next_event(entry, payload)) worked = true;
            link.release_events();
        }
    }
    return worked;
}

bool ControlPlane::may_sleep() {
    if (!serving_) return true;
    // seq_cst: pairs with the worker's fence between publishing its event and reading this flag.
    // Either it sees that we sleep and wakes us, or we see its event below.
    attachment_->header().controlplane_sleeping.store(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    for (WorkerLink& link : attachment_->links()) {
        if (link.events_empty()) continue;
        attachment_->header().controlplane_sleeping.store(0, std::memory_order_relaxed);
        return false;
    }
    return true;
}

void ControlPlane::before_poll() {
    const bool worked = work();
    if (backend_) backend_->flush();
    const uint64_t now_ns = base::monotonic_ns();
    if (worked) spin_until_ns_ = now_ns + spin_ns_;
    // Replies that wait for a worker: it says nothing when it has followed, so its position is
    // polled.
    const bool watching =
        serving_ && coherence_ && (coherence_->watching() || coherence_->backlogged());
    if (!watching) {
        held_since_ns_ = 0;
    } else if (held_since_ns_ == 0 || worked) {
        held_since_ns_ = now_ns;
    }
    const bool watch = watching && now_ns - held_since_ns_ < kWatchNs;
    const bool saturated = router_ && router_->in_flight() >= config_.l2.in_flight_max;
    if (watch || now_ns < spin_until_ns_ || (!saturated && !may_sleep())) {
        uv_idle_start(&idle_, [](uv_idle_t*) {});  // the poll that follows does not block
    } else {
        uv_idle_stop(&idle_);
    }
}

void ControlPlane::after_poll() {
    if (!serving_) return;
    auto& sleeping = attachment_->header().controlplane_sleeping;
    if (sleeping.load(std::memory_order_relaxed) != 0) {
        sleeping.store(0, std::memory_order_relaxed);
    }
}

void ControlPlane::on_tick() {
    const uint64_t now_ns = base::monotonic_ns();
    if (attachment_) {
        attachment_->header().controlplane_heartbeat_ns.store(now_ns, std::memory_order_relaxed);
    }
    if (now_ns >= next_look_ns_ || (attachment_ && !serving_)) look_for_data_plane(now_ns);
    if (backend_) {
        backend_->tick(now_ns);
        coherence_->tick(now_ns);
        router_->tick(now_ns);
        pinned_->tick(now_ns);
        swap_watch_->tick(now_ns);
    }
    if (now_ns >= next_stats_ns_) publish_stats(now_ns);
    if (stopping_ && (now_ns >= stop_deadline_ns_ || !router_ || router_->in_flight() == 0)) {
        close_handles();
    }
}

void ControlPlane::publish_stats(uint64_t now_ns) {
    next_stats_ns_ = now_ns + kNsPerS;
    if (!router_) return;
    LatencyHistogram& latency = router_->latency();
    counters_->set(ControlCounter::l2_latency_ns_last_p50, latency.quantile(0.5));
    counters_->set(ControlCounter::l2_latency_ns_last_p99, latency.quantile(0.99));
    latency.reset();
}

// --- L2 -----------------------------------------------------------------------------------------

void ControlPlane::on_lane_up(L2Lane lane) {
    if (lane == L2Lane::kTracked) coherence_->on_tracking_up();
    router_->on_lane_up(lane);
}

void ControlPlane::on_lane_lost(L2Lane lane) {
    if (lane == L2Lane::kTracked) coherence_->on_tracking_lost();
}

// --- the data plane -----------------------------------------------------------------------------

void ControlPlane::log_once(const std::string& state) {
    if (state == logged_state_) return;
    logged_state_ = state;
    spdlog::info("{}", state);
}

void ControlPlane::look_for_data_plane(uint64_t now_ns) {
    next_look_ns_ = now_ns + kLookNs;
    if (attachment_ && !attachment_->current()) {
        detach("the data plane was restarted or stopped", false);
    }
    if (const WorkerLink* worker = serving_ && coherence_ ? coherence_->silent(now_ns) : nullptr) {
        detach("worker " + std::to_string(worker->index()) + " shows no sign of life", false);
    }
    if (const WorkerLink* worker = serving_ && coherence_ ? coherence_->hopeless() : nullptr) {
        const std::string reason =
            "worker " + std::to_string(worker->index()) + " takes nothing from its ring";
        detach(reason, true);
    }
    if (stopping_) return;
    if (!attachment_) {
        auto attached = Attachment::attach(config_.instance.name);
        if (!attached) {
            log_once("waiting for the data plane: " + attached.error().message);
            return;
        }
        attachment_ = std::move(attached.value());
        attach_started_ns_ = now_ns;
    }
    if (serving_) return;
    if (attachment_->acknowledged()) {
        finish_attach();
    } else if (now_ns - attach_started_ns_ > kNsPerS) {
        log_once("waiting for the data plane: " + attachment_->waiting_for() +
                 " has not acknowledged epoch " + std::to_string(attachment_->epoch()));
    }
}

void ControlPlane::finish_attach() {
    shm::ControlHeader& header = attachment_->header();
    counters_ = &header.control_counters;
    counters_->add(ControlCounter::dataplane_attaches);
    const bool connected = backend_ && backend_->ready(L2Lane::kTracked);
    counters_->set(ControlCounter::l2_connected, connected);
    counters_->set(ControlCounter::l2_in_flight, 0);
    counters_->set(ControlCounter::pinned_sessions, 0);
    serving_ = true;
    const auto workers = static_cast<uint32_t>(attachment_->links().size());
    spin_ns_ = usable_cores() >= workers + kCoresBesideWorkers ? config_.l2.spin_us * kNsPerUs : 0;
    const std::string l2 = backend_ ? backend_->name() : "none (standalone)";
    const size_t bytes = l2.copy(header.l2_backend, sizeof header.l2_backend - 1);
    header.l2_backend[bytes] = '\0';
    if (coherence_) coherence_->attach(attachment_.get());
    header.controlplane_state.store(static_cast<uint32_t>(shm::PlaneState::kRunning),
                                    std::memory_order_release);
    log_once("attached to the data plane (pid " + std::to_string(header.dataplane_pid) + ", " +
             std::to_string(attachment_->links().size()) + " workers), epoch " +
             std::to_string(attachment_->epoch()));
}

void ControlPlane::detach(const std::string& reason, bool blind) {
    log_once("detached: " + reason);
    if (serving_ && coherence_) {
        router_->forget_data_plane();
        pinned_->close_all(false);
        coherence_->detach(blind);
    }
    serving_ = false;
    counters_ = &detached_counters_;
    attachment_.reset();
}

// --- the end ------------------------------------------------------------------------------------

// No more lease: from now on nobody listens to invalidations. What is in flight may still be
// answered.
void ControlPlane::begin_stop() {
    if (stopping_) return;
    stopping_ = true;
    stop_deadline_ns_ = base::monotonic_ns() + kStopNs;
    spdlog::info("stopping: the lease is withdrawn, {} commands are in flight",
                 router_ ? router_->in_flight() : 0);
    if (coherence_) coherence_->stop_leases();
}

void ControlPlane::close_handles() {
    if (uv_is_closing(handle_of(timer_)) != 0) return;
    if (backend_) {
        router_->fail_all("ERR cachee: the control plane stops");
        pinned_->close_all(true);
        backend_->stop();
        coherence_->poll();
    }
    if (attachment_) {
        attachment_->header().controlplane_state.store(
            static_cast<uint32_t>(shm::PlaneState::kStopped), std::memory_order_release);
    }
    for (uv_handle_t* handle : {handle_of(stop_async_), handle_of(wake_poll_), handle_of(prepare_),
                                handle_of(check_), handle_of(idle_), handle_of(timer_)}) {
        uv_close(handle, nullptr);
    }
    if (handle_signals_) {
        for (uv_signal_t& signal : signals_) uv_close(handle_of(signal), nullptr);
    }
}

}  // namespace cachee::controlplane
