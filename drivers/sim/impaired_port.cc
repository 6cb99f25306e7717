// SPDX-License-Identifier: Apache-2.0
// A FramePort with a bad wire in front of it; see impaired_port.h.
#include "drivers/sim/impaired_port.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"

namespace cachee::sim {

using net::Checksum;
using net::RxFrame;
using net::TxFrame;

namespace {

constexpr uint32_t kFrameOverhead = 18;  // Ethernet header and a tag
constexpr size_t kBurst = 32;

ImpairmentOptions with_frame_bytes(ImpairmentOptions options, uint32_t bytes) {
    options.frame_bytes_max = bytes;
    return options;
}

// What the inner port knew of the checksums, through Impairment::Frame::note.
uint32_t note_of(const RxFrame& frame) {
    return static_cast<uint32_t>(frame.ip_checksum) | static_cast<uint32_t>(frame.tcp_checksum)
                                                          << 8;
}

// A slot's number rides in the handle, one up so that it is never null.
void* handle_of(uint32_t slot) { return reinterpret_cast<void*>(uintptr_t{slot} + 1); }
uint32_t slot_of(const void* handle) {
    return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(handle) - 1);
}

}  // namespace

ImpairedPort::ImpairedPort(std::unique_ptr<net::FramePort> inner, const ImpairmentOptions& in,
                           const ImpairmentOptions& out, Clock clock)
    : inner_(std::move(inner)),
      info_(inner_->info()),
      frame_bytes_max_(info_.mtu + kFrameOverhead),
      in_(with_frame_bytes(in, frame_bytes_max_)),
      out_(with_frame_bytes(out, frame_bytes_max_)),
      clock_(clock) {
    info_.tx_ip_checksum = info_.tx_tcp_checksum = info_.tso = false;
    info_.tso_bytes_max = 0;
    info_.tx_attach = false;
}

ImpairedPort::~ImpairedPort() = default;

void ImpairedPort::fill(uint64_t now_ns) noexcept {
    RxFrame received[kBurst];
    size_t n = 0;
    do {
        n = inner_->rx_burst(received, kBurst);
        for (size_t i = 0; i < n; ++i) {
            Impairment::Frame frame;
            if (received[i].size > frame_bytes_max_) {
                in_.count_oversized();
            } else if (in_.acquire(frame)) {
                std::memcpy(frame.data, received[i].data, received[i].size);
                frame.size = received[i].size;
                frame.note = note_of(received[i]);
                in_.submit(frame, now_ns);
            } else {
                in_.count_overflow();
            }
        }
        inner_->rx_release(received, n);
    } while (n == kBurst);
}

void ImpairedPort::drain(uint64_t now_ns) noexcept {
    while (out_.next_due_ns() <= now_ns) {
        TxFrame to;
        if (inner_->tx_alloc(&to, 1) != 1) return;
        Impairment::Frame frame;
        if (!out_.take(frame, now_ns)) {
            inner_->tx_free(&to, 1);
            return;
        }
        CACHEE_ASSERT(frame.size <= to.capacity);
        std::memcpy(to.data, frame.data, frame.size);
        to.size = frame.size;
        if (inner_->tx_burst(&to, 1) != 1) {
            inner_->tx_free(&to, 1);
            out_.give_back(frame);
            return;
        }
        out_.release(frame);
    }
}

size_t ImpairedPort::rx_burst(RxFrame* frames, size_t max) noexcept {
    const uint64_t now = clock_();
    drain(now);
    fill(now);
    size_t count = 0;
    Impairment::Frame frame;
    while (count < max && in_.take(frame, now)) {
        RxFrame& to = frames[count++];
        to = RxFrame{};
        to.data = frame.data;
        to.size = frame.size;
        if (!frame.corrupted) {
            to.ip_checksum = static_cast<Checksum>(frame.note & 0xff);
            to.tcp_checksum = static_cast<Checksum>(frame.note >> 8);
        }
        to.handle = handle_of(frame.slot);
    }
    return count;
}

void ImpairedPort::rx_release(const RxFrame* frames, size_t count) noexcept {
    for (size_t i = 0; i < count; ++i) {
        in_.release(Impairment::Frame{.slot = slot_of(frames[i].handle)});
    }
}

size_t ImpairedPort::tx_alloc(TxFrame* frames, size_t count) noexcept {
    size_t n = 0;
    Impairment::Frame frame;
    while (n < count && out_.acquire(frame)) {
        frames[n] = TxFrame{};
        frames[n].data = frame.data;
        frames[n].capacity = frame_bytes_max_;
        frames[n].handle = handle_of(frame.slot);
        ++n;
    }
    return n;
}

size_t ImpairedPort::tx_burst(TxFrame* frames, size_t count) noexcept {
    const uint64_t now = clock_();
    for (size_t i = 0; i < count; ++i) {
        CACHEE_ASSERT(frames[i].size <= frames[i].capacity);
        out_.submit(
            Impairment::Frame{
                .data = frames[i].data, .size = frames[i].size, .slot = slot_of(frames[i].handle)},
            now);
    }
    drain(now);
    return count;
}

void ImpairedPort::tx_free(TxFrame* frames, size_t count) noexcept {
    for (size_t i = 0; i < count; ++i) {
        out_.release(Impairment::Frame{.slot = slot_of(frames[i].handle)});
    }
}

void ImpairedPort::wait(uint64_t max_ns) noexcept {
    const uint64_t due = std::min(in_.next_due_ns(), out_.next_due_ns());
    const uint64_t now = clock_();
    if (due <= now) return;
    inner_->wait(std::min(max_ns, due - now));
}

}  // namespace cachee::sim
