// SPDX-License-Identifier: Apache-2.0
// The gateway thread; see sim_gateway.h.
#include "drivers/sim/sim_gateway.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace cachee::sim {

using io::CloseHow;
using io::CloseReason;
using io::EventKind;
using io::SessionIndex;

namespace {

constexpr uint64_t kListenerTag = UINT64_MAX;
constexpr size_t kPendingMax = 256 * 1024;  // bytes the kernel socket would not take yet
constexpr uint64_t kIdleNs = 100'000;

}  // namespace

class SimGateway::Bridge {
  public:
    Bridge(int listener, int epoll, std::unique_ptr<net::TcpTransport> transport,
           const SimGatewayOptions& options)
        : listener_(listener),
          epoll_(epoll),
          transport_(std::move(transport)),
          options_(options),
          peers_(transport_->sessions_max()) {}

    ~Bridge() {
        for (Peer& peer : peers_) {
            if (peer.fd >= 0) ::close(peer.fd);
        }
        for (const Draining& rest : draining_) ::close(rest.fd);
        ::close(epoll_);
        ::close(listener_);
    }

    void run(const std::atomic<bool>& stop) {
        while (!stop.load(std::memory_order_relaxed)) {
            const size_t link_events = poll_link();
            const int socket_events = poll_sockets();
            if (!draining_.empty()) drain();
            transport_->flush(base::monotonic_ns());
            if (link_events == 0 && socket_events == 0) transport_->wait(kIdleNs);
        }
        for (SessionIndex i = 0; i < peers_.size(); ++i) {
            if (peers_[i].fd >= 0) transport_->close(i, CloseHow::kAbort);
        }
        transport_->flush(base::monotonic_ns());
    }

  private:
    struct Peer {
        int fd = -1;
        bool readable = false;   // EPOLLIN was seen and not all was read
        bool blocked = false;    // append() came up short
        bool read_done = false;  // the kernel side has sent FIN
        bool eof = false;        // the link side has sent FIN
        bool write_done = false;
        bool paused = false;
        bool opened = false;
        std::string outbox;   // read from the kernel, not yet taken by the transport
        std::string pending;  // from the link, not yet taken by the kernel
    };

    struct Draining {
        int fd;
        std::string pending;
    };

    size_t poll_link() {
        io::Event events[64];
        const size_t n = transport_->poll(base::monotonic_ns(), events, 64);
        for (size_t i = 0; i < n; ++i) handle(events[i]);
        transport_->release();
        return n;
    }

    void handle(const io::Event& event) {
        Peer& peer = peers_[event.session];
        switch (event.kind) {
            case EventKind::kOpened:
                peer.opened = true;
                watch(event.session, EPOLL_CTL_ADD);
                break;
            case EventKind::kData:
                if (peer.fd < 0) break;
                peer.pending.append(reinterpret_cast<const char*>(event.data), event.size);
                write_out(event.session);
                break;
            case EventKind::kEof:
                peer.eof = true;
                if (peer.fd >= 0) write_out(event.session);
                break;
            case EventKind::kWritable:
                peer.blocked = false;
                if (peer.fd >= 0) read_in(event.session);
                break;
            case EventKind::kClosed:
                closed(event.session, event.reason);
                break;
        }
    }

    void watch(SessionIndex index, int operation) {
        epoll_event event{};
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        event.data.u64 = index;
        epoll_ctl(epoll_, operation, peers_[index].fd, &event);
    }

    int poll_sockets() {
        epoll_event events[64];
        const int n = epoll_wait(epoll_, events, 64, 0);
        for (int i = 0; i < n; ++i) {
            if (events[i].data.u64 == kListenerTag) {
                accept_all();
                continue;
            }
            const auto index = static_cast<SessionIndex>(events[i].data.u64);
            if (peers_[index].fd < 0) continue;
            if ((events[i].events & EPOLLERR) != 0) {
                drop(index);
                continue;
            }
            peers_[index].readable = true;
            if ((events[i].events & EPOLLOUT) != 0) write_out(index);
            if (peers_[index].fd >= 0) read_in(index);
        }
        return n;
    }

    void accept_all() {
        for (;;) {
            const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd < 0) return;
            const int one = 1;
            ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            const SessionIndex index =
                transport_->connect(options_.server_ip, options_.server_port);
            if (index == net::kNoSession) {
                reset_socket(fd);
                continue;
            }
            peers_[index] = Peer{};
            peers_[index].fd = fd;
        }
    }

    // Kernel to link, until one of them has enough. The link's own bound is the back-pressure.
    void read_in(SessionIndex index) {
        Peer& peer = peers_[index];
        if (!peer.opened) return;
        while (!peer.blocked) {
            if (!peer.outbox.empty()) {
                const auto* data = reinterpret_cast<const uint8_t*>(peer.outbox.data());
                const size_t taken = transport_->append(index, data, peer.outbox.size());
                peer.outbox.erase(0, taken);
                peer.blocked = !peer.outbox.empty();
                continue;
            }
            if (!peer.readable || peer.read_done) return;
            char buffer[16 * 1024];
            const ssize_t n = ::read(peer.fd, buffer, sizeof buffer);
            if (n > 0) {
                peer.outbox.assign(buffer, static_cast<size_t>(n));
            } else if (n == 0) {
                peer.read_done = true;
                transport_->shutdown_send(index);
            } else if (errno == EAGAIN || errno == EINTR) {
                peer.readable = errno == EINTR;
            } else {
                drop(index);
                return;
            }
        }
    }

    // Link to kernel. Too much pending closes the link's window until the client reads.
    void write_out(SessionIndex index) {
        Peer& peer = peers_[index];
        size_t done = 0;
        while (done < peer.pending.size()) {
            const ssize_t n = ::send(peer.fd, peer.pending.data() + done,
                                     peer.pending.size() - done, MSG_NOSIGNAL);
            if (n > 0) {
                done += static_cast<size_t>(n);
            } else if (errno == EAGAIN) {
                break;
            } else if (errno != EINTR) {
                drop(index);
                return;
            }
        }
        peer.pending.erase(0, done);
        if (peer.pending.size() > kPendingMax && !peer.paused) {
            peer.paused = true;
            transport_->pause(index);
        } else if (peer.pending.size() < kPendingMax / 2 && peer.paused) {
            peer.paused = false;
            transport_->resume(index);
        }
        if (peer.eof && peer.pending.empty() && !peer.write_done) {
            peer.write_done = true;
            ::shutdown(peer.fd, SHUT_WR);
        }
    }

    // The kernel side failed: the server sees a reset.
    void drop(SessionIndex index) {
        Peer& peer = peers_[index];
        ::close(peer.fd);
        peer.fd = -1;
        transport_->close(index, CloseHow::kAbort);
    }

    void closed(SessionIndex index, CloseReason reason) {
        Peer& peer = peers_[index];
        if (peer.fd < 0) return;
        const bool orderly = reason == CloseReason::kPeer || reason == CloseReason::kLocal;
        if (orderly) {
            // Both sides are done, but the client may not have read everything yet.
            epoll_ctl(epoll_, EPOLL_CTL_DEL, peer.fd, nullptr);
            draining_.push_back({peer.fd, std::move(peer.pending)});
        } else {
            reset_socket(peer.fd);
        }
        peer.fd = -1;
    }

    // Sockets without a session any more: what is left to write, then FIN.
    void drain() {
        std::erase_if(draining_, [](Draining& rest) {
            while (!rest.pending.empty()) {
                const ssize_t n =
                    ::send(rest.fd, rest.pending.data(), rest.pending.size(), MSG_NOSIGNAL);
                if (n < 0 && errno == EAGAIN) return false;
                if (n < 0 && errno == EINTR) continue;
                if (n <= 0) break;
                rest.pending.erase(0, static_cast<size_t>(n));
            }
            ::close(rest.fd);
            return true;
        });
    }

    static void reset_socket(int fd) {
        const linger now{1, 0};
        ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        ::close(fd);
    }

    const int listener_;
    const int epoll_;
    std::unique_ptr<net::TcpTransport> transport_;
    const SimGatewayOptions options_;
    std::vector<Peer> peers_;
    std::vector<Draining> draining_;
};

base::Result<std::unique_ptr<SimGateway>> SimGateway::start(net::FramePort& port,
                                                            const SimGatewayOptions& options) {
    auto failed = [](const std::string& what) {
        return base::Error{"sim gateway: " + what + ": " + std::strerror(errno)};
    };
    std::unique_ptr<SimGateway> gateway(new SimGateway);
    gateway->counters_ = std::make_unique<stats::WorkerCounters>();
    auto transport = net::TcpTransport::create(port, options.tcp, gateway->counters_.get());
    if (!transport) return transport.error();
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) return failed("socket");
    const int one = 1;
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(options.listen_port);
    socklen_t length = sizeof address;
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = kListenerTag;
    if (epoll < 0 || ::bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        ::listen(listener, 512) != 0 ||
        ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
        ::epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0) {
        const base::Error error =
            failed("cannot listen on 127.0.0.1:" + std::to_string(options.listen_port));
        ::close(listener);
        if (epoll >= 0) ::close(epoll);
        return error;
    }
    gateway->listen_port_ = ntohs(address.sin_port);
    gateway->bridge_ =
        std::make_unique<Bridge>(listener, epoll, std::move(transport).value(), options);
    gateway->thread_ = std::thread([raw = gateway.get()] { raw->bridge_->run(raw->stop_); });
    return gateway;
}

SimGateway::~SimGateway() {
    stop_.store(true, std::memory_order_relaxed);
    if (thread_.joinable()) thread_.join();
}

}  // namespace cachee::sim
