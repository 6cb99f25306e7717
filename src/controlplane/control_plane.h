// SPDX-License-Identifier: Apache-2.0
// The control plane as one object: event loop, attachment to the data plane, L2, router. Everything
// runs on the thread that calls run(); only stop() may be called from elsewhere.
//
// The loop sleeps in epoll when there is nothing to do, having published so; workers then wake it
// through the FIFO (shm/wake.h). After work it polls for a few microseconds before it sleeps again.
#pragma once

#include <uv.h>

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "config/schema.h"
#include "controlplane/attachment.h"
#include "controlplane/coherence.h"
#include "controlplane/key_guard.h"
#include "controlplane/pinned_sessions.h"
#include "controlplane/redis_backend.h"
#include "controlplane/request_router.h"
#include "controlplane/swap_watch.h"
#include "shm/wake.h"

namespace cachee::controlplane {

class ControlPlane final : private L2Listener {
  public:
    // Takes the instance lock and opens the wake-up FIFO. `l2` is empty when cachee runs
    // standalone.
    static base::Result<std::unique_ptr<ControlPlane>> create(const config::Config& config,
                                                              std::optional<L2Address> l2);
    ~ControlPlane() override;

    // Until stop(), or SIGTERM or SIGINT if `handle_signals`.
    void run(bool handle_signals);
    // Any thread, any number of times.
    void stop();

  private:
    ControlPlane(const config::Config& config, std::optional<L2Address> l2, InstanceLock lock,
                 shm::WakeFifo wake);

    void on_key_invalidated(std::string_view key) override { coherence_->on_key_invalidated(key); }
    void on_all_invalidated() override { coherence_->on_all_invalidated(); }
    void on_lane_up(L2Lane lane) override;
    void on_lane_lost(L2Lane lane) override;

    void start_handles(bool handle_signals);
    void before_poll();
    void after_poll();
    void on_tick();
    bool work();
    bool may_sleep();
    void look_for_data_plane(uint64_t now_ns);
    void finish_attach();
    void detach(const std::string& reason, bool blind);
    void log_once(const std::string& state);
    void publish_stats(uint64_t now_ns);
    void begin_stop();
    void close_handles();

    config::Config config_;
    InstanceLock lock_;
    shm::WakeFifo wake_;
    uv_loop_t loop_{};
    uv_async_t stop_async_{};
    uv_poll_t wake_poll_{};
    uv_prepare_t prepare_{};
    uv_check_t check_{};
    uv_idle_t idle_{};
    uv_timer_t timer_{};
    uv_signal_t signals_[2]{};
    bool handle_signals_ = false;

    stats::ControlCounters detached_counters_{};
    stats::ControlCounters* counters_ = &detached_counters_;
    std::unique_ptr<Attachment> attachment_;
    bool serving_ = false;  // the workers follow our epoch
    KeyGuard guard_;
    std::unique_ptr<RedisBackend> backend_;  // none: standalone
    std::unique_ptr<Coherence> coherence_;
    std::unique_ptr<SwapWatch> swap_watch_;
    std::unique_ptr<PinnedSessions> pinned_;
    std::unique_ptr<RequestRouter> router_;

    bool stopping_ = false;
    uint64_t stop_deadline_ns_ = 0;
    uint64_t spin_until_ns_ = 0;
    uint64_t spin_ns_ = 0;  // after work, before sleeping
    uint64_t held_since_ns_ = 0;
    uint64_t next_look_ns_ = 0;
    uint64_t next_stats_ns_ = 0;
    uint64_t attach_started_ns_ = 0;
    std::string logged_state_;
};

}  // namespace cachee::controlplane
