// SPDX-License-Identifier: Apache-2.0
// What happens when time passes, apart from retransmission (tcp_retransmit.cc). A session has one
// node in the wheel, armed at the earliest of its deadlines; a deadline that moves later leaves the
// node alone, and it re-arms itself when it fires. Worker thread only.
#include <algorithm>

#include "net/tcp_core.h"

namespace cachee::net {

using io::CloseReason;
using stats::Counter;

void TcpCore::run_timers_due() noexcept {
    wheel_.advance(now_tick_, kTimersPerPoll, [this](uint32_t id) {
        if (id < half_base_) {
            hot_[id].armed_tick = 0;
            session_timer(hot_[id]);
        } else if (id < wait_base_) {
            half_open_timer(id);
        } else if (id < interface_id_) {
            drop_time_wait(id);
        } else {
            interface_.on_timer(now_tick_);
            wheel_.arm(id, now_tick_ + Interface::kTimerTicks);
        }
    });
}

void TcpCore::session_timer(Hot& hot) noexcept {
    if (hot.state == State::kFree || hot.state >= State::kDone) return;
    Cold& cold = cold_of(hot);
    age_path(hot);
    if (hot.ack_deadline != 0 && seq_ge(now_tick_, hot.ack_deadline)) {
        hot.ack_deadline = 0;
        owe_ack_now(hot);
    }
    if (cold.linger_deadline != 0 && seq_ge(now_tick_, cold.linger_deadline)) {
        on_linger_timeout(hot);
        return;
    }
    if (hot.rtx_deadline != 0 && seq_ge(now_tick_, hot.rtx_deadline)) {
        hot.rtx_deadline = 0;
        if ((hot.flags & kPersist) != 0) {
            on_persist_timeout(hot);
        } else {
            on_retransmission_timer(hot);
        }
        if (hot.state >= State::kDone) return;
    }
    if (!check_keepalive(hot)) return;
    rearm(hot);
}

// Nothing is in flight and the window lets nothing out.
void TcpCore::on_persist_timeout(Hot& hot) noexcept {
    Cold& cold = cold_of(hot);
    if (cold.retries >= options_.retransmissions_max) {
        count(Counter::tcp_timeouts);
        send_reset(hot);
        finish(hot, CloseReason::kTimeout, true);
        return;
    }
    note_stall(hot);
    if (too_slow(hot)) {
        close_slow_reader(hot, Counter::tcp_slow_readers);
        return;
    }
    ++cold.retries;
    if (hot.backoff < 16) ++hot.backoff;
    hot.flags |= kProbeDue;
    hot.flags &= ~kPersist;
    mark_dirty(hot);
}

// False: the connection was given up.
bool TcpCore::check_keepalive(Hot& hot) noexcept {
    if (options_.keepalive_idle_s == 0 || hot.state == State::kSynSent) return true;
    if (hot.snd_una != hot.snd_max) return true;
    Cold& cold = cold_of(hot);
    const uint32_t idle = ticks_of_ms(uint64_t{options_.keepalive_idle_s} * 1000);
    const uint32_t interval = ticks_of_ms(uint64_t{options_.keepalive_interval_s} * 1000);
    const uint32_t silent = now_tick_ - hot.heard_tick;
    if (silent < idle) {
        cold.keepalives = 0;
        return true;
    }
    if (silent < idle + cold.keepalives * interval) return true;
    if (cold.keepalives >= options_.keepalive_probes_max) {
        count(Counter::tcp_timeouts);
        send_reset(hot);
        finish(hot, CloseReason::kTimeout, true);
        return false;
    }
    ++cold.keepalives;
    if (send_ack(hot, hot.snd_max - 1)) {
        count(Counter::tcp_probes);
    } else {
        count(Counter::drop_no_buffer);
    }
    return true;
}

// After close(kFlush). While the peer takes data it is given more time.
void TcpCore::on_linger_timeout(Hot& hot) noexcept {
    Cold& cold = cold_of(hot);
    if (hot.state == State::kFinWait2) {
        // All was delivered; only the peer's FIN is missing.
        count(Counter::tcp_fin_wait_2_timeouts);
        finish(hot, CloseReason::kLocal, true);
        return;
    }
    const uint32_t linger = ticks_of_ms(options_.linger_ms);
    const bool moving = (hot.flags & kStalled) == 0 && hot.sq_bytes > 0;
    if (moving || ((hot.flags & kStalled) != 0 && !stalled_for(hot, linger))) {
        const uint32_t since = moving ? now_tick_ : cold.stall_tick;
        cold.linger_deadline = since + linger == 0 ? 1 : since + linger;
        rearm(hot);
        return;
    }
    if (hot.snd_wnd == 0) {
        close_slow_reader(hot, Counter::tcp_slow_readers);
        return;
    }
    count(Counter::tcp_timeouts);
    send_reset(hot);
    finish(hot, CloseReason::kTimeout, true);
}

void TcpCore::rearm(Hot& hot) noexcept {
    if (hot.state == State::kFree || hot.state >= State::kDone) return;
    const Cold& cold = cold_of(hot);
    uint32_t earliest = 0;
    auto consider = [&](uint32_t deadline) {
        if (deadline == 0) return;
        if (earliest == 0 || seq_lt(deadline, earliest)) earliest = deadline;
    };
    consider(hot.rtx_deadline);
    consider(hot.ack_deadline);
    consider(cold.linger_deadline);
    if (options_.keepalive_idle_s != 0 && hot.state != State::kSynSent) {
        const uint32_t idle = ticks_of_ms(uint64_t{options_.keepalive_idle_s} * 1000);
        const uint32_t interval = ticks_of_ms(uint64_t{options_.keepalive_interval_s} * 1000);
        const uint32_t due = hot.heard_tick + idle + cold.keepalives * interval;
        consider(due == 0 ? 1 : due);
    }
    if (earliest == 0) return;
    if (hot.armed_tick != 0 && seq_le(hot.armed_tick, earliest)) return;
    hot.armed_tick = earliest;
    wheel_.arm(index_of(hot), earliest);
}

}  // namespace cachee::net
