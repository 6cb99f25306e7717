// SPDX-License-Identifier: Apache-2.0
// Set-up of SocketTransport and the accepting of connections, with their limits: sessions, file
// descriptors, kernel memory. Start is cold; accept_burst runs on the owning worker's thread.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "drivers/socket/socket_transport.h"

namespace cachee::socket {
namespace {

using base::Error;
using base::Status;

constexpr int kAcceptsMax = 64;  // per burst, refused ones included
constexpr uint64_t kListenerPauseNs = 100 * base::kNsPerMs;
constexpr std::string_view kRefusal = "-ERR max number of clients reached\r\n";

std::string endpoint(const SocketOptions& options) {
    const bool v6 = options.address.find(':') != std::string::npos;
    return (v6 ? "[" + options.address + "]" : options.address) + ":" +
           std::to_string(options.port);
}

Error listen_error(const SocketOptions& options, int error) {
    const std::string what = "cannot listen on " + endpoint(options) + ": ";
    const std::string port = std::to_string(options.port);
    switch (error) {
        case EADDRINUSE:
            return Error{what + "the address is in use; `ss -ltnp 'sport = :" + port +
                         "'` shows by whom: stop that process or change listen.port"};
        case EADDRNOTAVAIL:
            return Error{what +
                         "this host has no such address; `ip addr` lists those it has: change "
                         "listen.address"};
        case EACCES:
            return Error{what +
                         "ports below 1024 need CAP_NET_BIND_SERVICE: start as root or "
                         "change listen.port"};
        default:
            return Error{what + std::strerror(error)};
    }
}

bool parse_address(const SocketOptions& options, sockaddr_storage& storage, socklen_t& size) {
    storage = {};
    auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
    if (::inet_pton(AF_INET, options.address.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(options.port);
        size = sizeof(sockaddr_in);
        return true;
    }
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
    if (::inet_pton(AF_INET6, options.address.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(options.port);
        size = sizeof(sockaddr_in6);
        return true;
    }
    return false;
}

void set_flag(int fd, int level, int name, int value) {
    ::setsockopt(fd, level, name, &value, sizeof value);
}

// Raises the soft limit on descriptors towards what the sessions may need. Falling short is no
// error: accept_failed_cold() deals with running out.
void raise_descriptor_limit(const SocketOptions& options) {
    const uint64_t needed =
        static_cast<uint64_t>(options.sessions_max) * options.worker_count + 256;
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed) return;
    limit.rlim_cur = std::min<rlim_t>(needed, limit.rlim_max);
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

SocketTransport::SocketTransport(const SocketOptions& options, stats::WorkerCounters* counters)
    : options_(options),
      counters_(counters),
      sessions_(options.sessions_max),
      peers_(options.sessions_max),
      free_(options.sessions_max),
      dirty_(options.sessions_max),
      closed_(options.sessions_max),
      closed_told_(options.sessions_max),
      writable_(options.sessions_max),
      timed_(options.sessions_max),
      ready_{} {
    for (uint32_t index = 0; index < options.sessions_max; ++index) free_.push_back(index);
}

SocketTransport::~SocketTransport() {
    for (const Session& session : sessions_) {
        if (session.fd >= 0) ::close(session.fd);
    }
    for (const int fd : {listen_fd_, spare_fd_, epoll_fd_}) {
        if (fd >= 0) ::close(fd);
    }
}

base::Result<std::unique_ptr<SocketTransport>> SocketTransport::create(
    const SocketOptions& options, stats::WorkerCounters* counters) {
    CACHEE_ASSERT(counters != nullptr);
    CACHEE_ASSERT(options.worker < options.worker_count);
    if (options.sessions_max == 0 || options.sessions_max > 1048576) {
        return Error{"listen.sessions_max is " + std::to_string(options.sessions_max) +
                     "; allowed: 1..1048576"};
    }
    if (options.send_buffer_bytes_max < 2 * io::kReserveBytesMax) {
        return Error{"listen.send_buffer_bytes_max is " +
                     std::to_string(options.send_buffer_bytes_max) + "; at least " +
                     std::to_string(2 * io::kReserveBytesMax) + " is needed"};
    }
    std::unique_ptr<SocketTransport> transport(new SocketTransport(options, counters));
    Status status = transport->init();
    if (!status) return status.error();
    return transport;
}

base::Result<std::unique_ptr<io::Transport>> make_socket_transport(
    const SocketOptions& options, stats::WorkerCounters* counters) {
    auto transport = SocketTransport::create(options, counters);
    if (!transport) return transport.error();
    return std::unique_ptr<io::Transport>(std::move(*transport));
}

Status SocketTransport::init() {
    // An eighth of the memory, 64 KiB to 1 MiB, receives; the rest is blocks of unsent bytes.
    const uint64_t total = options_.buffers_bytes_max / kBlockBytes * kBlockBytes;
    const uint64_t receive_bytes =
        std::clamp<uint64_t>(base::align_up(total / 8, kBlockBytes), 64 * base::kKiB, base::kMiB);
    const uint64_t send_limit = options_.send_buffer_bytes_max;
    if (total < receive_bytes + send_limit + send_limit / 2 + 16 * kBlockBytes) {
        return Error{"listen.buffers_bytes_max is " + std::to_string(options_.buffers_bytes_max) +
                     ", too small for listen.send_buffer_bytes_max " + std::to_string(send_limit) +
                     ": give it at least twice as much plus 256 KiB"};
    }
    if (total / kBlockBytes >= kNoIndex) return Error{"listen.buffers_bytes_max is over 16 TiB"};
    if (!pool_.init(receive_bytes, total - receive_bytes)) {
        return Error{"cannot reserve listen.buffers_bytes_max = " + std::to_string(total) +
                     " bytes of address space: " + std::strerror(errno)};
    }
    starved_blocks_ = std::clamp<uint32_t>(pool_.capacity() / 16, 1, 256);
    sockaddr_storage address;
    socklen_t size = 0;
    if (!parse_address(options_, address, size)) {
        return Error{"listen.address \"" + options_.address + "\" is not an IPv4 or IPv6 address"};
    }
    raise_descriptor_limit(options_);
    epoll_fd_ = ::epoll_create1(EPOLL_CLOEXEC);
    spare_fd_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (epoll_fd_ < 0 || spare_fd_ < 0) {
        return Error{std::string("cannot create an epoll set: ") + std::strerror(errno)};
    }
    if (!options_.listen) return {};
    if (options_.worker == 0 && options_.worker_count > 1) {
        Status free = probe_address(address, size);
        if (!free) return free;
    }
    return listen_on(address, size);
}

// With SO_REUSEPORT another process of the same user could share the port unnoticed, and steal half
// of the connections: a socket without it is refused where somebody listens.
Status SocketTransport::probe_address(const sockaddr_storage& address, socklen_t size) const {
    if (options_.port == 0) return {};
    const int fd = ::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return listen_error(options_, errno);
    set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    const bool bound = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0;
    const int error = errno;
    ::close(fd);
    if (!bound) return listen_error(options_, error);
    return {};
}

Status SocketTransport::listen_on(const sockaddr_storage& address, socklen_t size) {
    listen_fd_ = ::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listen_fd_ < 0) return listen_error(options_, errno);
    set_flag(listen_fd_, SOL_SOCKET, SO_REUSEADDR, 1);
    if (options_.worker_count > 1) set_flag(listen_fd_, SOL_SOCKET, SO_REUSEPORT, 1);
    if (address.ss_family == AF_INET6) set_flag(listen_fd_, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    // Accepted sockets inherit all of these (tcp(7)), which saves system calls per connection.
    set_flag(listen_fd_, IPPROTO_TCP, TCP_NODELAY, 1);
    if (options_.receive_window_bytes > 0) {
        set_flag(listen_fd_, SOL_SOCKET, SO_RCVBUF,
                 static_cast<int>(std::min<uint32_t>(options_.receive_window_bytes, INT32_MAX)));
    }
    if (options_.keepalive_idle_s > 0) {
        const auto seconds = [](uint32_t s) { return static_cast<int>(std::min(s, 32767u)); };
        set_flag(listen_fd_, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_flag(listen_fd_, IPPROTO_TCP, TCP_KEEPIDLE, seconds(options_.keepalive_idle_s));
        set_flag(listen_fd_, IPPROTO_TCP, TCP_KEEPINTVL, seconds(options_.keepalive_interval_s));
        set_flag(listen_fd_, IPPROTO_TCP, TCP_KEEPCNT,
                 static_cast<int>(options_.keepalive_probes_max));
    }
    const auto backlog = static_cast<int>(std::min<uint32_t>(options_.backlog, 65535));
    if (::bind(listen_fd_, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
        ::listen(listen_fd_, backlog) != 0) {
        return listen_error(options_, errno);
    }
    sockaddr_storage bound{};
    socklen_t bound_size = sizeof bound;
    ::getsockname(listen_fd_, reinterpret_cast<sockaddr*>(&bound), &bound_size);
    // sin_port and sin6_port are at the same place.
    port_ = ntohs(reinterpret_cast<const sockaddr_in*>(&bound)->sin_port);
    epoll_event interest{};
    interest.events = EPOLLIN;
    interest.data.u64 = kListenerKey;
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, listen_fd_, &interest) != 0) {
        return listen_error(options_, errno);
    }
    return {};
}

void SocketTransport::accept_burst(io::Event* events, size_t max, size_t& count) noexcept {
    for (int i = 0; i < kAcceptsMax && count < max; ++i) {
        sockaddr_storage peer;
        socklen_t size = sizeof peer;
        const int fd = ::accept4(listen_fd_, reinterpret_cast<sockaddr*>(&peer), &size,
                                 SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN || !accept_failed_cold(errno)) return;
        } else if (!open_session(fd, peer, events, count)) {
            refuse_cold(fd);
        }
    }
}

bool SocketTransport::open_session(int fd, const sockaddr_storage& peer, io::Event* events,
                                   size_t& count) noexcept {
    const uint32_t index = adopt(fd, peer, State::kOpen, EPOLLIN);
    if (index == kNoIndex) return false;
    events[count++] = io::Event{io::EventKind::kOpened, io::CloseReason::kLocal, index, nullptr, 0};
    return true;
}

uint32_t SocketTransport::adopt(int fd, const sockaddr_storage& peer, State state,
                                uint32_t interest) noexcept {
    if (free_.empty()) return kNoIndex;
    const uint32_t index = free_.head();
    Session& session = sessions_[index];
    epoll_event event{};
    event.events = interest;
    event.data.u64 = session_key(index, session.generation);
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) return kNoIndex;
    free_.remove(index);
    const uint32_t generation = session.generation;
    session = Session{};
    session.generation = generation;
    session.fd = fd;
    session.armed = interest;
    session.state = state;
    peers_[index] = peer;
    return index;
}

// --- active open

io::SessionIndex SocketTransport::connect(const sockaddr_storage& to) noexcept {
    if (free_.empty()) return kNoIndex;
    const int fd = ::socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return kNoIndex;
    set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    const socklen_t size =
        to.ss_family == AF_INET6 ? sizeof(sockaddr_in6) : socklen_t{sizeof(sockaddr_in)};
    int error = 0;
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), size) != 0) error = errno;
    const uint32_t index = adopt(fd, to, State::kConnecting, EPOLLOUT);
    if (index == kNoIndex) {
        ::close(fd);
        return kNoIndex;
    }
    if (error != 0 && error != EINPROGRESS) kill(index, reason_of(error), false);
    return index;
}

// The kernel has an answer to an active open.
void SocketTransport::connect_ready(uint32_t index, io::Event* events, size_t& count) noexcept {
    Session& session = sessions_[index];
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(session.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
        kill(index, reason_of(error), false);
        return;
    }
    session.state = State::kOpen;
    arm(index, EPOLLIN);
    if (session.state != State::kOpen) return;  // arm() failed
    events[count++] = io::Event{io::EventKind::kOpened, io::CloseReason::kLocal, index, nullptr, 0};
}

[[gnu::cold, gnu::noinline]] void SocketTransport::refuse_cold(int fd) noexcept {
    counters_->add(stats::Counter::sessions_refused);
    // A fresh socket's buffer takes the line whole; if it does not, the peer sees the close alone.
    [[maybe_unused]] const ssize_t sent =
        ::send(fd, kRefusal.data(), kRefusal.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    ::close(fd);
}

[[gnu::cold, gnu::noinline]] bool SocketTransport::accept_failed_cold(int error) noexcept {
    if (error != EMFILE && error != ENFILE && error != ENOBUFS && error != ENOMEM) {
        return true;  // ECONNABORTED and the network errors of accept(2) concern one peer only
    }
    if (error == EMFILE && spare_fd_ >= 0) {
        ::close(spare_fd_);
        const int fd = ::accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) refuse_cold(fd);
        spare_fd_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && spare_fd_ >= 0) return true;
    }
    // Nothing helps but time: without this pause the level-triggered listener would spin.
    epoll_event interest{};
    interest.data.u64 = kListenerKey;
    ::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, listen_fd_, &interest);
    listener_resumes_ns_ = now_ns_ + kListenerPauseNs;
    if (spare_fd_ < 0) spare_fd_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    return false;
}

std::string SocketTransport::peer_cold(io::SessionIndex session) const {
    const sockaddr_storage& peer = peers_[session];
    char text[INET6_ADDRSTRLEN] = "";
    if (peer.ss_family == AF_INET) {
        const auto* v4 = reinterpret_cast<const sockaddr_in*>(&peer);
        ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        return std::string(text) + ":" + std::to_string(ntohs(v4->sin_port));
    }
    if (peer.ss_family == AF_INET6) {
        const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&peer);
        ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        return "[" + std::string(text) + "]:" + std::to_string(ntohs(v6->sin6_port));
    }
    return "";
}

}  // namespace cachee::socket
