// SPDX-License-Identifier: Apache-2.0
// The simulated link; see sim_link.h. Any thread, one per end.
#include "drivers/sim/sim_link.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>

#include "base/assert.h"
#include "base/clock.h"
#include "drivers/sim/offload.h"

namespace cachee::sim {

using net::RxFrame;
using net::TxFrame;

namespace {

constexpr uint32_t kHeadroom = 18;  // Ethernet header and a tag

bool later(uint64_t a_time, uint64_t a_order, uint64_t b_time, uint64_t b_order) {
    return a_time != b_time ? a_time > b_time : a_order > b_order;
}

}  // namespace

struct SimLink::Buffer {
    explicit Buffer(uint32_t capacity) : bytes(capacity) {}
    std::vector<uint8_t> bytes;
    uint32_t size = 0;
    const uint8_t* lent = nullptr;  // the end of the frame, until it is read
    uint32_t lent_bytes = 0;
    io::Lender* lender = nullptr;
};

class SimLink::End final : public net::FramePort {
  public:
    End(SimLink& link, int which) : link_(link), which_(which) {
        const SimLinkOptions& options = link.options_;
        info_.name = "sim" + std::to_string(which);
        info_.mac = {0x02, 0xca, 0xc4, 0xee, 0, static_cast<uint8_t>(which + 1)};
        info_.mtu = options.mtu;
        info_.tx_ip_checksum = info_.tx_tcp_checksum = options.tx_checksums;
        info_.tso = options.tso_bytes_max > 0;
        info_.tso_bytes_max = options.tso_bytes_max;
        info_.tx_attach = options.tx_attach;
        const uint32_t capacity = std::max(options.mtu + kHeadroom, options.tso_bytes_max);
        for (uint32_t i = 0; i < options.tx_frames; ++i) {
            buffers_.push_back(std::make_unique<Buffer>(capacity));
            free_tx_.push_back(buffers_.back().get());
        }
        queue_.reserve(options.queue_frames + 2);
    }

    const net::PortInfo& info() const noexcept override { return info_; }

    size_t rx_burst(RxFrame* frames, size_t max) noexcept override {
        std::lock_guard lock(link_.mutex_);
        send_pending_locked();
        const uint64_t now = link_.now_locked();
        size_t n = 0;
        while (n < max && !queue_.empty() && queue_.front().arrival_ns <= now) {
            Buffer* buffer = queue_.front().buffer;
            std::pop_heap(queue_.begin(), queue_.end(), after);
            queue_.pop_back();
            RxFrame& frame = frames[n++];
            frame = RxFrame{};
            frame.data = buffer->bytes.data();
            frame.size = buffer->size;
            frame.handle = buffer;
            if (link_.options_.rx_checksums) judge_checksums(frame);
        }
        link_.held_ += static_cast<uint32_t>(n);
        link_.counts_.delivered += n;
        return n;
    }

    void rx_release(const RxFrame* frames, size_t count) noexcept override {
        std::lock_guard lock(link_.mutex_);
        for (size_t i = 0; i < count; ++i) {
            link_.free_wire_.push_back(static_cast<Buffer*>(frames[i].handle));
        }
        CACHEE_ASSERT(link_.held_ >= count);
        link_.held_ -= static_cast<uint32_t>(count);
    }

    size_t tx_alloc(TxFrame* frames, size_t count) noexcept override {
        std::lock_guard lock(link_.mutex_);
        send_pending_locked();
        size_t n = 0;
        while (n < count && !free_tx_.empty()) {
            Buffer* buffer = free_tx_.back();
            free_tx_.pop_back();
            frames[n] = TxFrame{};
            frames[n].data = buffer->bytes.data();
            frames[n].capacity = static_cast<uint32_t>(buffer->bytes.size());
            frames[n].handle = buffer;
            ++n;
        }
        return n;
    }

    size_t tx_burst(TxFrame* frames, size_t count) noexcept override {
        std::lock_guard lock(link_.mutex_);
        send_pending_locked();
        for (size_t i = 0; i < count; ++i) {
            CACHEE_ASSERT(frames[i].size <= frames[i].capacity);
            pending_.push_back(frames[i]);
        }
        if (!info_.tx_attach) send_pending_locked();
        if (count > 0) link_.arrival_.notify_all();
        return count;
    }

    void tx_free(TxFrame* frames, size_t count) noexcept override {
        std::lock_guard lock(link_.mutex_);
        for (size_t i = 0; i < count; ++i) {
            auto* buffer = static_cast<Buffer*>(frames[i].handle);
            give_back(*buffer);
            free_tx_.push_back(buffer);
        }
    }

    bool tx_attach(TxFrame& frame, const uint8_t* data, uint32_t size,
                   io::Lender& lender) noexcept override {
        auto* buffer = static_cast<Buffer*>(frame.handle);
        if (!info_.tx_attach || buffer->lent != nullptr) return false;
        buffer->lent = data;
        buffer->lent_bytes = size;
        buffer->lender = &lender;
        return true;
    }

    void wait(uint64_t max_ns) noexcept override {
        if (!link_.options_.real_clock) return;  // virtual time passes only in advance()
        std::unique_lock lock(link_.mutex_);
        const uint64_t now = link_.now_locked();
        uint64_t wait_ns = max_ns;
        if (!queue_.empty()) {
            const uint64_t arrival = queue_.front().arrival_ns;
            if (arrival <= now) return;
            wait_ns = std::min(wait_ns, arrival - now);
        }
        link_.arrival_.wait_for(lock, std::chrono::nanoseconds(wait_ns));
    }

  private:
    friend class SimLink;
    static void give_back(Buffer& buffer) noexcept {
        if (buffer.lent != nullptr) buffer.lender->give_back(buffer.lent);
        buffer.lent = nullptr;
    }
    void send_pending_locked() {
        for (TxFrame& frame : pending_) {
            auto* buffer = static_cast<Buffer*>(frame.handle);
            if (buffer->lent != nullptr) {
                std::memcpy(frame.data + frame.size - buffer->lent_bytes, buffer->lent,
                            buffer->lent_bytes);
                give_back(*buffer);
            }
            link_.transmit_locked(which_, frame);
            free_tx_.push_back(buffer);
        }
        pending_.clear();
    }
    static bool after(const InFlight& a, const InFlight& b) {
        return later(a.arrival_ns, a.order, b.arrival_ns, b.order);
    }

    SimLink& link_;
    const int which_;
    net::PortInfo info_;
    std::vector<std::unique_ptr<Buffer>> buffers_;
    std::vector<Buffer*> free_tx_;
    std::vector<TxFrame> pending_;  // handed over, not read yet
    std::vector<InFlight> queue_;   // heap; frames on their way to this end
    uint64_t last_arrival_ns_ = 0;
    uint64_t busy_until_ns_ = 0;  // the link towards this end
};

SimLinkOptions link_options_of(const config::Sim& sim) {
    SimLinkOptions options;
    options.seed = sim.seed;
    options.loss = sim.loss;
    options.duplication = sim.duplication;
    options.reordering = sim.reordering;
    options.delay_ns = uint64_t{sim.delay_us} * base::kNsPerUs;
    options.jitter_ns = uint64_t{sim.jitter_us} * base::kNsPerUs;
    options.queue_frames = 4096;
    options.real_clock = true;
    return options;
}

SimLink::SimLink(const SimLinkOptions& options) : options_(options), rng_(options.seed) {
    CACHEE_ASSERT(options.mtu >= 576);
    // Both queues full, and as many again held by the receivers.
    for (uint32_t i = 0; i < 4 * options.queue_frames; ++i) {
        buffers_.push_back(std::make_unique<Buffer>(options.mtu + kHeadroom));
        free_wire_.push_back(buffers_.back().get());
    }
    ends_[0] = std::make_unique<End>(*this, 0);
    ends_[1] = std::make_unique<End>(*this, 1);
}

SimLink::~SimLink() = default;

net::FramePort& SimLink::end(int which) {
    CACHEE_ASSERT(which == 0 || which == 1);
    return *ends_[which];
}

void SimLink::advance(uint64_t now_ns) {
    std::lock_guard lock(mutex_);
    CACHEE_ASSERT(now_ns >= now_ns_);
    for (const auto& end : ends_) end->send_pending_locked();
    now_ns_ = now_ns;
}

uint64_t SimLink::next_arrival_ns() {
    std::lock_guard lock(mutex_);
    for (const auto& end : ends_) end->send_pending_locked();
    uint64_t next = UINT64_MAX;
    for (const auto& end : ends_) {
        if (!end->queue_.empty()) next = std::min(next, end->queue_.front().arrival_ns);
    }
    return next;
}

void SimLink::set_loss(double probability) {
    std::lock_guard lock(mutex_);
    options_.loss = probability;
}

void SimLink::set_filter(Filter filter) {
    std::lock_guard lock(mutex_);
    filter_ = std::move(filter);
}

SimLink::Counts SimLink::counts() {
    std::lock_guard lock(mutex_);
    return counts_;
}

uint32_t SimLink::frames_held() {
    std::lock_guard lock(mutex_);
    return held_;
}

uint64_t SimLink::now_locked() const {
    return options_.real_clock ? base::monotonic_ns() : now_ns_;
}

void SimLink::transmit_locked(int from, const TxFrame& frame) {
    for_each_wire_frame(frame,
                        [&](const uint8_t* data, uint32_t size) { wire_locked(from, data, size); });
}

void SimLink::wire_locked(int from, const uint8_t* data, uint32_t size) {
    ++counts_.sent;
    const bool tagged = size >= 14 && data[12] == 0x81 && data[13] == 0;
    if (size > options_.mtu + kHeadroom - (tagged ? 0 : 4)) {
        ++counts_.oversized;
        return;
    }
    if (filter_ && !filter_(from, data, size)) {
        ++counts_.lost;
        return;
    }
    if (rng_.chance(options_.loss)) {
        ++counts_.lost;
        return;
    }
    const int to = 1 - from;
    const bool corrupt = rng_.chance(options_.corruption);
    const bool reorder = rng_.chance(options_.reordering);
    if (reorder) ++counts_.reordered;
    enqueue_locked(to, data, size, reorder ? options_.reorder_hold_ns : 0, corrupt);
    if (rng_.chance(options_.duplication)) {
        ++counts_.duplicated;
        enqueue_locked(to, data, size, 0, false);
    }
}

void SimLink::enqueue_locked(int to, const uint8_t* data, uint32_t size, uint64_t extra_ns,
                             bool corrupt) {
    End& end = *ends_[to];
    uint64_t departure = now_locked();
    bool mark = false;
    if (end.queue_.size() >= options_.queue_frames || free_wire_.empty() ||
        !admit_locked(end, size, departure, mark)) {
        ++counts_.overflowed;
        return;
    }
    Buffer* buffer = free_wire_.back();
    free_wire_.pop_back();
    std::memcpy(buffer->bytes.data(), data, size);
    buffer->size = size;
    if (corrupt) corrupt_locked(*buffer);
    const uint64_t jitter = options_.jitter_ns > 0 ? rng_.below(options_.jitter_ns) : 0;
    if (mark && mark_locked(*buffer)) ++counts_.marked;
    uint64_t arrival = departure + options_.delay_ns + jitter;
    if (extra_ns > 0) {
        arrival += extra_ns;
    } else {
        arrival = std::max(arrival, end.last_arrival_ns_);
        end.last_arrival_ns_ = arrival;
    }
    end.queue_.push_back({arrival, order_++, buffer});
    std::push_heap(end.queue_.begin(), end.queue_.end(), End::after);
}

// The bottleneck: when the last bit of the frame has left, which is now without a limit. False: the
// queue before it is full.
bool SimLink::admit_locked(End& end, uint32_t size, uint64_t& departure, bool& mark) {
    if (options_.bytes_per_s == 0) return true;
    constexpr uint64_t kNsPerS = 1'000'000'000;
    const uint64_t now = departure;
    const uint64_t start = std::max(now, end.busy_until_ns_);
    const uint64_t waiting = (start - now) * options_.bytes_per_s / kNsPerS;
    if (waiting + size > options_.queue_bytes) return false;
    mark = options_.mark_bytes != 0 && waiting > options_.mark_bytes;
    departure = start + size * kNsPerS / options_.bytes_per_s;
    end.busy_until_ns_ = departure;
    return true;
}

// Congestion experienced, in an IPv4 packet that may carry it; the header's checksum follows.
bool SimLink::mark_locked(Buffer& buffer) {
    constexpr uint32_t kIp = 14;
    if (buffer.size < kIp + 20 || buffer.bytes[12] != 8 || buffer.bytes[13] != 0) return false;
    uint8_t& tos = buffer.bytes[kIp + 1];
    if ((tos & 3) == 0) return false;
    const uint32_t added = 3u - (tos & 3);
    tos |= 3;
    // RFC 1624: HC' = ~(~HC + added).
    const uint32_t old = uint32_t{buffer.bytes[kIp + 10]} << 8 | buffer.bytes[kIp + 11];
    uint32_t sum = (~old & 0xffff) + added;
    sum = (sum & 0xffff) + (sum >> 16);
    const uint32_t checksum = ~sum & 0xffff;
    buffer.bytes[kIp + 10] = static_cast<uint8_t>(checksum >> 8);
    buffer.bytes[kIp + 11] = static_cast<uint8_t>(checksum);
    return true;
}

// Only what a checksum covers: the Ethernet header has its own on a real wire, and ARP none at all.
void SimLink::corrupt_locked(Buffer& buffer) {
    constexpr uint32_t kEthernet = 14;
    if (buffer.size <= kEthernet) return;
    const uint32_t type = static_cast<uint32_t>(buffer.bytes[12]) << 8 | buffer.bytes[13];
    if (type != 0x0800 && type != 0x86dd) return;
    const uint64_t bit = rng_.below(uint64_t{buffer.size - kEthernet} * 8);
    buffer.bytes[kEthernet + bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    ++counts_.corrupted;
}

}  // namespace cachee::sim
