// SPDX-License-Identifier: Apache-2.0
// Transport over the kernel's TCP: epoll and non-blocking sockets. Needs no privileges and no NIC
// of its own; pays system calls per burst and session, which the poll-mode transports do not. One
// object per worker, used by that worker's thread only; workers share the port with SO_REUSEPORT.
//
//   kernel ──recv──> receive area (one burst) ──events──> worker
//   worker ──reserve/append──> chain of blocks per session ──sendmsg at flush()──> kernel
//
// All memory is sized at start. Everything a peer or the kernel can do ends as an event or a
// counter.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "drivers/socket/block_pool.h"
#include "drivers/socket/index_list.h"
#include "io/transport.h"
#include "stats/counters.h"

namespace cachee::socket {

struct SocketOptions {
    std::string address = "127.0.0.1";  // IPv4 or IPv6 literal of this host
    uint16_t port = 6379;               // 0: the kernel chooses, see SocketTransport::port()
    bool listen = true;                 // false: client role only; address and port mean nothing
    uint32_t worker = 0;                // worker 0 also checks that nobody else has the port
    uint32_t worker_count = 1;          // more than one: the port is shared among them
    uint32_t sessions_max = 16384;      // of this worker; 1..1048576
    uint32_t send_buffer_bytes_max = 1 * base::kMiB;  // unsent bytes per session; at least 2 KiB
    uint32_t receive_window_bytes = 0;              // SO_RCVBUF per session; 0: the kernel tunes it
    uint64_t buffers_bytes_max = 256 * base::kMiB;  // of this worker, both directions
    uint32_t keepalive_idle_s = 300;                // 0: off
    uint32_t keepalive_interval_s = 30;
    uint32_t keepalive_probes_max = 8;
    // A session over its send limit this long, or not done sending this long after close(kFlush),
    // is closed with kSlowReader.
    uint32_t slow_reader_timeout_ms = 30000;
    // After the last byte and our FIN, how long the peer may take to close before we stop
    // listening.
    uint32_t linger_timeout_ms = 1000;
    // How long the worker's blocks may be exhausted before the session that holds most of them is
    // closed with kNoMemory.
    uint32_t starvation_timeout_ms = 1000;
    uint32_t backlog = 4096;
};

class SocketTransport final : public io::Transport {
  public:
    // Binds and listens. Errors name what to do: address in use (and how to find by whom), not an
    // address of this host, privileged port, sizes that do not fit. `counters` is borrowed for the
    // object's life; this transport adds sessions_refused and sessions_killed_buffers only (the
    // rest is the worker's, who sees every event).
    static base::Result<std::unique_ptr<SocketTransport>> create(const SocketOptions& options,
                                                                 stats::WorkerCounters* counters);
    ~SocketTransport() override;

    uint16_t port() const noexcept { return port_; }

    // Active open, to an IPv4 or IPv6 address. kOpened follows on success, kClosed on failure (not
    // bounded in time here: close(kAbort) gives up). kNoIndex when no session or descriptor is
    // free.
    io::SessionIndex connect(const sockaddr_storage& to) noexcept;

    uint32_t sessions_max() const noexcept override { return options_.sessions_max; }
    size_t poll(uint64_t now_ns, io::Event* events, size_t max) noexcept override;
    uint8_t* reserve(io::SessionIndex session, uint32_t size) noexcept override;
    void commit(io::SessionIndex session, uint32_t size) noexcept override;
    uint8_t* extend(io::SessionIndex session, uint32_t size) noexcept override;
    size_t append(io::SessionIndex session, const uint8_t* data, size_t size) noexcept override;
    void pause(io::SessionIndex session) noexcept override;
    void resume(io::SessionIndex session) noexcept override;
    void close(io::SessionIndex session, io::CloseHow how) noexcept override;
    void release() noexcept override;
    void flush(uint64_t now_ns) noexcept override;
    void wait(uint64_t max_ns) noexcept override;
    std::string peer_cold(io::SessionIndex session) const override;

  private:
    enum class State : uint8_t {
        kFree,
        kConnecting,  // active open, not answered yet
        kOpen,
        kFlushing,   // close(kFlush) was called, bytes are left
        kLingering,  // our FIN is out, waiting for the peer's
        kDead,       // descriptor gone; kClosed is due, or delivered and not yet released
    };
    struct Session {
        uint64_t deadline_ns = 0;  // meaningful while in timed_
        int fd = -1;
        uint32_t generation = 0;  // tells a descriptor's events from those of an earlier session
        uint32_t head = kNoIndex;
        uint32_t tail = kNoIndex;
        uint32_t queued = 0;    // unsent bytes
        uint32_t reserved = 0;  // of the last reserve()
        uint32_t armed = 0;     // epoll events asked for
        State state = State::kFree;
        io::CloseReason reason = io::CloseReason::kLocal;
        bool paused = false;
        bool eof = false;     // the peer's FIN was delivered
        bool short_ = false;  // reserve() or append() came up short, kWritable is owed
    };
    static_assert(sizeof(Session) <= 64);

    // What epoll hands back with an event.
    static constexpr uint64_t kListenerKey = UINT64_MAX;
    static constexpr uint64_t session_key(uint32_t index, uint32_t generation) noexcept {
        return (static_cast<uint64_t>(generation) << 32) | index;
    }

    SocketTransport(const SocketOptions& options, stats::WorkerCounters* counters);
    base::Status init();
    base::Status listen_on(const sockaddr_storage& address, socklen_t size);
    base::Status probe_address(const sockaddr_storage& address, socklen_t size) const;

    // Parts of poll(): each adds to `events` at `count`.
    void emit_closed(io::Event* events, size_t max, size_t& count) noexcept;
    void emit_writable(io::Event* events, size_t max, size_t& count) noexcept;
    void accept_burst(io::Event* events, size_t max, size_t& count) noexcept;
    void session_ready(uint32_t index, uint32_t ready, io::Event* events, size_t& count) noexcept;
    void connect_ready(uint32_t index, io::Event* events, size_t& count) noexcept;
    void receive(uint32_t index, io::Event* events, size_t& count) noexcept;
    void drain_lingering(uint32_t index) noexcept;
    void run_timers() noexcept;
    void relieve_starvation_cold() noexcept;

    // Adopts an accepted descriptor; false when it had to be dropped.
    bool open_session(int fd, const sockaddr_storage& peer, io::Event* events,
                      size_t& count) noexcept;
    // A free session for the descriptor, in epoll's set; kNoIndex when there is none.
    uint32_t adopt(int fd, const sockaddr_storage& peer, State state, uint32_t interest) noexcept;
    void refuse_cold(int fd) noexcept;
    // Whether accepting may go on after accept4() failed with `error`.
    bool accept_failed_cold(int error) noexcept;

    uint32_t tail_with_room(Session& session, uint32_t size) noexcept;  // kNoIndex: pool exhausted
    void came_up_short(uint32_t index) noexcept;
    // Sends what is queued, at most a few system calls; arms EPOLLOUT when the socket is full.
    void send_queue(uint32_t index) noexcept;
    void consume(uint32_t index, size_t sent) noexcept;
    void after_sending(uint32_t index) noexcept;
    void finish_sending(uint32_t index) noexcept;
    void drop_queue(Session& session) noexcept;
    void arm(uint32_t index, uint32_t wanted) noexcept;
    void set_deadline(uint32_t index, uint32_t timeout_ms) noexcept;
    // Closes the descriptor and owes the worker a kClosed.
    void kill(uint32_t index, io::CloseReason reason, bool with_reset) noexcept;
    static io::CloseReason reason_of(int error) noexcept;

    SocketOptions options_;
    stats::WorkerCounters* counters_;
    BlockPool pool_;
    std::vector<Session> sessions_;
    std::vector<sockaddr_storage> peers_;
    IndexList free_;         // sessions
    IndexList dirty_;        // bytes queued since the last flush
    IndexList closed_;       // kClosed is due
    IndexList closed_told_;  // kClosed was delivered by the last poll()
    IndexList writable_;     // kWritable is due as soon as the pool has blocks
    IndexList timed_;        // sessions with a deadline
    std::array<epoll_event, 256> ready_;
    size_t ready_next_ = 0;
    size_t ready_count_ = 0;
    size_t received_ = 0;  // bytes of the receive area in use by this burst
    uint64_t now_ns_ = 0;
    uint64_t timers_due_ns_ = 0;
    uint64_t starved_since_ns_ = 0;     // 0: not starved
    uint64_t listener_resumes_ns_ = 0;  // 0: the listener is not paused
    uint32_t starved_blocks_ = 0;       // kWritable waits for this many free blocks
    int epoll_fd_ = -1;
    int listen_fd_ = -1;
    int spare_fd_ = -1;  // given up for a moment to refuse a peer when descriptors run out
    uint16_t port_ = 0;
};

// For composition roots: the same as SocketTransport::create, as the seam's type.
base::Result<std::unique_ptr<io::Transport>> make_socket_transport(const SocketOptions& options,
                                                                   stats::WorkerCounters* counters);

}  // namespace cachee::socket
