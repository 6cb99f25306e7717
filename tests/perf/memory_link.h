// SPDX-License-Identifier: Apache-2.0
// Two FramePort ends joined by queues in memory, without locks, loss or delay: the cheapest link
// there is, so that what a benchmark counts is the stack and not the driver. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "base/assert.h"
#include "net/frame_port.h"

namespace cachee::perf {

class MemoryLink {
  public:
    static constexpr uint32_t kFrameBytes = 2048;
    static constexpr uint32_t kFrames = 4096;  // per direction; power of two

    MemoryLink() : ends_{End(*this, 0), End(*this, 1)} {
        for (int side = 0; side < 2; ++side) {
            memory_[side] =
                std::make_unique_for_overwrite<uint8_t[]>(size_t{kFrames} * kFrameBytes);
            for (uint32_t i = 0; i < kFrames; ++i) {
                free_[side].push_back(&memory_[side][size_t{i} * kFrameBytes]);
            }
            queue_[side].resize(kFrames);
        }
    }

    net::FramePort& end(int side) { return ends_[side]; }
    bool frames_wait_for(int side) const { return head_[side] != tail_[side]; }

  private:
    struct Queued {
        uint8_t* data;
        uint32_t size;
    };

    class End final : public net::FramePort {
      public:
        End(MemoryLink& link, int side) : link_(link), side_(side) {
            info_.name = side == 0 ? "memory0" : "memory1";
            info_.mac = {2, 0, 0, 0, 0, static_cast<uint8_t>(side + 1)};
        }
        const net::PortInfo& info() const noexcept override { return info_; }
        size_t rx_burst(net::RxFrame* frames, size_t max) noexcept override {
            size_t count = 0;
            while (count < max && link_.tail_[side_] != link_.head_[side_]) {
                const Queued& queued = link_.queue_[side_][link_.tail_[side_]++ % kFrames];
                // As a NIC with receive checksum offload reports them.
                frames[count++] = {.data = queued.data,
                                   .size = queued.size,
                                   .ip_checksum = net::Checksum::kGood,
                                   .tcp_checksum = net::Checksum::kGood,
                                   .handle = queued.data};
            }
            return count;
        }
        void rx_release(const net::RxFrame* frames, size_t count) noexcept override {
            for (size_t i = 0; i < count; ++i) {
                auto* data = static_cast<uint8_t*>(frames[i].handle);
                link_.give_back(1 - side_, data);
                link_.free_[1 - side_].push_back(data);
            }
        }
        size_t tx_alloc(net::TxFrame* frames, size_t count) noexcept override {
            std::vector<uint8_t*>& pool = link_.free_[side_];
            size_t given = 0;
            while (given < count && !pool.empty()) {
                frames[given] = net::TxFrame{};
                frames[given].data = pool.back();
                frames[given].handle = pool.back();
                frames[given].capacity = kFrameBytes;
                pool.pop_back();
                ++given;
            }
            return given;
        }
        size_t tx_burst(net::TxFrame* frames, size_t count) noexcept override {
            const int to = 1 - side_;
            for (size_t i = 0; i < count; ++i) {
                CACHEE_ASSERT(link_.head_[to] - link_.tail_[to] < kFrames);
                link_.queue_[to][link_.head_[to]++ % kFrames] = {frames[i].data, frames[i].size};
            }
            return count;
        }
        void tx_free(net::TxFrame* frames, size_t count) noexcept override {
            for (size_t i = 0; i < count; ++i) {
                link_.give_back(side_, frames[i].data);
                link_.free_[side_].push_back(frames[i].data);
            }
        }
        // The other end sees a frame of the right length without these bytes: nobody but a device
        // would have read them.
        bool tx_attach(net::TxFrame& frame, const uint8_t* data, uint32_t,
                       io::Lender& lender) noexcept override {
            Attached& attached = link_.attached_of(side_, frame.data);
            if (attached.lender != nullptr) return false;
            attached = {data, &lender};
            return true;
        }
        void wait(uint64_t) noexcept override {}

        // Transmit checksum offload, as every server NIC has it.
        void offer_offloads() {
            info_.tx_ip_checksum = true;
            info_.tx_tcp_checksum = true;
        }
        void offer_attach() { info_.tx_attach = true; }

      private:
        MemoryLink& link_;
        int side_;
        net::PortInfo info_;
    };

  public:
    void offer_offloads() {
        ends_[0].offer_offloads();
        ends_[1].offer_offloads();
    }

    void offer_attach() {
        for (int side = 0; side < 2; ++side) attached_[side].resize(kFrames);
        ends_[0].offer_attach();
    }

  private:
    struct Attached {
        const uint8_t* data = nullptr;
        io::Lender* lender = nullptr;
    };
    Attached& attached_of(int side, const uint8_t* frame) {
        return attached_[side][static_cast<size_t>(frame - memory_[side].get()) / kFrameBytes];
    }
    void give_back(int side, const uint8_t* frame) {
        if (attached_[side].empty()) return;
        Attached& attached = attached_of(side, frame);
        if (attached.lender != nullptr) attached.lender->give_back(attached.data);
        attached = {};
    }

    std::vector<Attached> attached_[2];
    std::array<End, 2> ends_;
    std::unique_ptr<uint8_t[]> memory_[2];
    std::vector<uint8_t*> free_[2];
    std::vector<Queued> queue_[2];
    uint64_t head_[2] = {0, 0};
    uint64_t tail_[2] = {0, 0};
};

}  // namespace cachee::perf
