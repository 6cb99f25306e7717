// SPDX-License-Identifier: Apache-2.0
// A FramePort over memory for fuzz targets: frames pushed by the target are received, each in a
// buffer of its exact size so that a sanitizer sees reads past it; frames sent are collected. No
// clock, no threads. Test code.
#pragma once

#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "base/assert.h"
#include "net/frame_port.h"

namespace cachee::fuzz {

class MemoryPort final : public net::FramePort {
  public:
    explicit MemoryPort(uint32_t mtu = 1500) {
        info_.name = "fuzz";
        info_.mac = {2, 0, 0, 0, 0, 1};
        info_.mtu = mtu;
    }
    ~MemoryPort() override { CACHEE_ASSERT(held_ == 0 && out_ == 0); }

    void push(const uint8_t* data, size_t size, net::Checksum checksum) {
        std::unique_ptr<uint8_t[]> copy(new uint8_t[size]);
        if (size > 0) std::memcpy(copy.get(), data, size);
        rx_.push_back({std::move(copy), static_cast<uint32_t>(size), checksum});
    }
    bool idle() const { return rx_.empty(); }
    std::deque<std::vector<uint8_t>>& sent() { return sent_; }
    uint64_t sent_count() const { return sent_count_; }
    // How many transmit buffers there are from now on: a port can run out of them.
    void set_tx_room(uint32_t room) { tx_room_ = room; }

    const net::PortInfo& info() const noexcept override { return info_; }
    size_t rx_burst(net::RxFrame* frames, size_t max) noexcept override {
        size_t n = 0;
        for (; n < max && !rx_.empty(); ++n) {
            Received& r = rx_.front();
            frames[n] = {r.data.get(), r.size, r.checksum, r.checksum, r.data.get()};
            r.data.release();
            rx_.pop_front();
            ++held_;
        }
        return n;
    }
    void rx_release(const net::RxFrame* frames, size_t count) noexcept override {
        for (size_t i = 0; i < count; ++i) delete[] static_cast<uint8_t*>(frames[i].handle);
        CACHEE_ASSERT(held_ >= count);
        held_ -= count;
    }
    size_t tx_alloc(net::TxFrame* frames, size_t count) noexcept override {
        size_t n = 0;
        for (; n < count && out_ < tx_room_; ++n) {
            frames[n] = {};
            frames[n].capacity = 14 + 4 + info_.mtu;
            frames[n].data = new uint8_t[frames[n].capacity];
            ++out_;
        }
        return n;
    }
    size_t tx_burst(net::TxFrame* frames, size_t count) noexcept override {
        for (size_t i = 0; i < count; ++i) {
            CACHEE_ASSERT(frames[i].size >= 14 && frames[i].size <= frames[i].capacity);
            sent_.emplace_back(frames[i].data, frames[i].data + frames[i].size);
            ++sent_count_;
        }
        tx_free(frames, count);
        return count;
    }
    void tx_free(net::TxFrame* frames, size_t count) noexcept override {
        for (size_t i = 0; i < count; ++i) delete[] frames[i].data;
        CACHEE_ASSERT(out_ >= count);
        out_ -= count;
    }
    void wait(uint64_t) noexcept override {}

  private:
    struct Received {
        std::unique_ptr<uint8_t[]> data;
        uint32_t size;
        net::Checksum checksum;
    };
    net::PortInfo info_;
    std::deque<Received> rx_;
    std::deque<std::vector<uint8_t>> sent_;
    uint64_t sent_count_ = 0;
    size_t held_ = 0;
    size_t out_ = 0;
    uint32_t tx_room_ = 512;
};

}  // namespace cachee::fuzz
