// SPDX-License-Identifier: Apache-2.0
// A Transport in memory for tests of the worker: the test writes what peers send and reads what
// they get, can bound what a peer takes, and sees every call. Single-threaded.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "base/assert.h"
#include "io/transport.h"

namespace cachee::dataplane {

class MemoryTransport final : public io::Transport {
  public:
    explicit MemoryTransport(uint32_t sessions) : sessions_(sessions) {}

    // --- the peers' side ---

    io::SessionIndex open() {
        for (io::SessionIndex i = 0; i < sessions_.size(); ++i) {
            if (sessions_[i].used) continue;
            sessions_[i] = Peer{};
            sessions_[i].used = true;
            push({.kind = io::EventKind::kOpened, .session = i}, {});
            return i;
        }
        CACHEE_ASSERT(false);
        return 0;
    }
    void send(io::SessionIndex session, std::string_view bytes) {
        push({.kind = io::EventKind::kData, .session = session}, bytes);
    }
    void half_close(io::SessionIndex session) {
        push({.kind = io::EventKind::kEof, .session = session}, {});
    }
    void reset(io::SessionIndex session) {
        push(
            {.kind = io::EventKind::kClosed, .reason = io::CloseReason::kReset, .session = session},
            {});
    }
    // What the peer got since the last call.
    std::string received(io::SessionIndex session) {
        std::string bytes;
        bytes.swap(sessions_[session].received);
        return bytes;
    }
    // Bytes the peer will take in all from now on; the default is no bound.
    void limit(io::SessionIndex session, uint64_t bytes) { sessions_[session].room = bytes; }
    void make_room(io::SessionIndex session) {
        sessions_[session].room = UINT64_MAX;
        if (!sessions_[session].short_of_room) return;
        sessions_[session].short_of_room = false;
        push({.kind = io::EventKind::kWritable, .session = session}, {});
    }
    bool is_open(io::SessionIndex session) const { return sessions_[session].used; }
    bool is_paused(io::SessionIndex session) const { return sessions_[session].paused; }
    bool was_aborted(io::SessionIndex session) const { return sessions_[session].aborted; }
    size_t reserve_calls() const { return reserve_calls_; }

    // --- Transport ---

    uint32_t sessions_max() const noexcept override {
        return static_cast<uint32_t>(sessions_.size());
    }
    size_t poll(uint64_t, io::Event* events, size_t max) noexcept override {
        size_t count = 0;
        std::deque<Pending> later;
        while (count < max && !pending_.empty()) {
            Pending pending = std::move(pending_.front());
            pending_.pop_front();
            const io::SessionIndex session = pending.event.session;
            const bool input = pending.event.kind == io::EventKind::kData ||
                               pending.event.kind == io::EventKind::kEof;
            if (input && sessions_[session].closing) continue;
            if (input && sessions_[session].paused) {
                later.push_back(std::move(pending));
                continue;
            }
            if (pending.event.kind == io::EventKind::kClosed) freed_.push_back(session);
            delivered_.push_back(std::move(pending));
            io::Event& event = events[count++] = delivered_.back().event;
            event.data = reinterpret_cast<const uint8_t*>(delivered_.back().bytes.data());
            event.size = static_cast<uint32_t>(delivered_.back().bytes.size());
        }
        while (!later.empty()) {
            pending_.push_front(std::move(later.back()));
            later.pop_back();
        }
        return count;
    }
    uint8_t* reserve(io::SessionIndex session, uint32_t size) noexcept override {
        CACHEE_ASSERT(size <= io::kReserveBytesMax);
        ++reserve_calls_;
        if (sessions_[session].room < size) {
            sessions_[session].short_of_room = true;
            return nullptr;
        }
        return reserved_;
    }
    void commit(io::SessionIndex session, uint32_t size) noexcept override {
        take(session, reserved_, size);
    }
    // Where the bytes belong: what a caller writes too late, or elsewhere, is then missed.
    uint8_t* extend(io::SessionIndex session, uint32_t size) noexcept override {
        if (reserve(session, size) == nullptr) return nullptr;
        const std::string unwritten(size, '?');
        take(session, reinterpret_cast<const uint8_t*>(unwritten.data()), size);
        if (sessions_[session].closing) return reserved_;
        std::string& stream = sessions_[session].received;
        return reinterpret_cast<uint8_t*>(&stream[stream.size() - size]);
    }
    size_t append(io::SessionIndex session, const uint8_t* data, size_t size) noexcept override {
        const size_t taken = std::min<uint64_t>(size, sessions_[session].room);
        if (taken < size) sessions_[session].short_of_room = true;
        take(session, data, taken);
        return taken;
    }
    void pause(io::SessionIndex session) noexcept override { sessions_[session].paused = true; }
    void resume(io::SessionIndex session) noexcept override { sessions_[session].paused = false; }
    void close(io::SessionIndex session, io::CloseHow how) noexcept override {
        if (sessions_[session].closing) return;
        sessions_[session].closing = true;
        sessions_[session].aborted = how == io::CloseHow::kAbort;
        push({.kind = io::EventKind::kClosed, .session = session}, {});
    }
    void release() noexcept override {
        // Whoever kept a pointer into the burst reads this.
        for (Pending& pending : delivered_) {
            std::memset(pending.bytes.data(), 0xDD, pending.bytes.size());
        }
        delivered_.clear();
        for (const io::SessionIndex session : freed_) sessions_[session].used = false;
        freed_.clear();
    }
    void flush(uint64_t) noexcept override {}
    void wait(uint64_t) noexcept override {}
    std::string peer_cold(io::SessionIndex session) const override {
        return "192.0.2.1:" + std::to_string(10000 + session);
    }

  private:
    struct Pending {
        io::Event event;
        std::string bytes;
    };
    struct Peer {
        bool used = false;
        bool paused = false;
        bool closing = false;
        bool aborted = false;
        bool short_of_room = false;
        uint64_t room = UINT64_MAX;
        std::string received;
    };

    void push(io::Event event, std::string_view bytes) {
        pending_.push_back(Pending{event, std::string(bytes)});
    }
    void take(io::SessionIndex session, const uint8_t* data, size_t size) {
        Peer& peer = sessions_[session];
        if (peer.closing) return;
        if (peer.room != UINT64_MAX) peer.room -= size;
        peer.received.append(reinterpret_cast<const char*>(data), size);
    }

    std::vector<Peer> sessions_;
    std::deque<Pending> pending_;
    std::deque<Pending> delivered_;
    std::vector<io::SessionIndex> freed_;
    uint8_t reserved_[io::kReserveBytesMax] = {};
    size_t reserve_calls_ = 0;
};

}  // namespace cachee::dataplane
