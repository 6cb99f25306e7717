// SPDX-License-Identifier: Apache-2.0
// A peer for tests: a TcpTransport and, per session, what arrived and what waits to be sent. It
// opens connections, or accepts them when its options name a listening port. Time is the caller's;
// one thread. Not for production: it buffers without bound and allocates.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/tcp_transport.h"
#include "stats/counters.h"

namespace cachee::sim {

class SimClient {
  public:
    struct Session {
        bool opened = false;
        bool eof = false;
        bool closed = false;
        bool paused = false;
        io::CloseReason reason = io::CloseReason::kLocal;
        std::string received;
        uint64_t writable_events = 0;
        std::string outbox;  // not yet taken by the transport
        bool half_close_due = false;
        bool close_due = false;
        uint64_t last_progress_ns = 0;  // when bytes last arrived
    };

    // Aborts on bad options: the caller is a test.
    SimClient(net::FramePort& port, const net::TcpOptions& options);

    // -1 when refused. Serials are never reused, unlike the transport's indices.
    int64_t connect(uint32_t ip, uint16_t port, uint16_t local_port = 0);
    int64_t connect(const net::Ipv6Address& ip, uint16_t port, uint16_t local_port = 0);
    void send(int64_t serial, std::string_view bytes);
    void half_close(int64_t serial);  // FIN after what was sent
    void close(int64_t serial);       // the same, and nothing more is received
    void abort(int64_t serial);       // RST
    void pause(int64_t serial);
    void resume(int64_t serial);
    Session& session(int64_t serial) { return sessions_[static_cast<size_t>(serial)]; }
    size_t session_count() const { return sessions_.size(); }
    std::string take_received(int64_t serial);

    // One turn of a worker: poll, events, release, send, flush. Returns the number of events.
    size_t step(uint64_t now_ns);

    // Called for each session's new data (a server that answers), after it was added to `received`.
    std::function<void(int64_t serial)> on_data;
    // Called when a peer has half-closed.
    std::function<void(int64_t serial)> on_eof;

    net::TcpTransport& transport() { return *transport_; }
    // Of an open session.
    io::SessionIndex index_of(int64_t serial) const {
        return index_by_serial_[static_cast<size_t>(serial)];
    }
    const stats::WorkerCounters& counters() const { return *counters_; }
    uint64_t counter(stats::Counter id) const { return counters_->get(id); }

  private:
    void handle(const io::Event& event, uint64_t now_ns);
    void drain(int64_t serial);
    int64_t serial_of(io::SessionIndex index);
    int64_t opening(io::SessionIndex index);

    std::unique_ptr<stats::WorkerCounters> counters_;
    std::unique_ptr<net::TcpTransport> transport_;
    std::vector<Session> sessions_;
    std::vector<int64_t> serial_by_index_;  // -1: none
    std::vector<io::SessionIndex> index_by_serial_;
};

}  // namespace cachee::sim
