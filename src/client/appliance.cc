// SPDX-License-Identifier: Apache-2.0
#include "client/appliance.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/clock.h"

namespace cachee::client {

namespace {

constexpr uint64_t kPauseMinMs = 10;
constexpr size_t kReceiveBytes = 64 << 10;
constexpr size_t kLineBytesMax = 64 << 10;
constexpr int64_t kBulkBytesMax = int64_t{512} << 20;
// Kept for the next reply; more is given back.
constexpr size_t kInputKeptMax = 1 << 20;

void append_bulk(std::string& to, std::string_view text) {
    to += '$';
    to += std::to_string(text.size());
    to += "\r\n";
    to += text;
    to += "\r\n";
}

void append_command(std::string& to, std::span<const std::string_view> words) {
    to += '*';
    to += std::to_string(words.size());
    to += "\r\n";
    for (const std::string_view word : words) append_bulk(to, word);
}

bool parse_integer(std::string_view text, int64_t* value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
    return error == std::errc() && end == text.data() + text.size();
}

// False unless "host:port" or "[host]:port" with numbers for both.
bool split_address(const std::string& address, std::string* host, std::string* port) {
    const size_t colon = address.rfind(':');
    if (colon == std::string::npos) return false;
    *host = address.substr(0, colon);
    *port = address.substr(colon + 1);
    if (host->size() >= 2 && host->front() == '[' && host->back() == ']') {
        *host = host->substr(1, host->size() - 2);
    }
    return !host->empty() && !port->empty();
}

}  // namespace

void Appliance::set_address(const std::string& address) {
    if (address == options_.address) return;
    disconnect();
    options_.address = address;
    not_before_ns_ = pause_ms_ = 0;
}

void Appliance::disconnect() noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
    input_.clear();
    input_at_ = 0;
}

cachee_status Appliance::fail(cachee_status status, std::string text) {
    failure_ = "appliance " + options_.address + ": " + std::move(text);
    disconnect();
    return status;
}

cachee_status Appliance::wait_for(short events) {
    const uint64_t now_ns = base::monotonic_ns();
    if (now_ns >= deadline_ns_) {
        return fail(CACHEE_TIMEOUT,
                    "no answer within " + std::to_string(options_.timeout_ms) + " ms (timeout_ms)");
    }
    pollfd poll{fd_, events, 0};
    const uint64_t left_ms = (deadline_ns_ - now_ns) / base::kNsPerMs + 1;
    if (::poll(&poll, 1, static_cast<int>(std::min<uint64_t>(left_ms, 60'000))) < 0 &&
        errno != EINTR) {
        return fail(CACHEE_SYSTEM, std::string("poll: ") + std::strerror(errno));
    }
    return CACHEE_OK;  // or not yet: the caller tries, and comes back
}

cachee_status Appliance::connect_socket() {
    std::string host;
    std::string port;
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (!split_address(options_.address, &host, &port) ||
        ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) {
        return fail(CACHEE_INVALID, "the address is not \"a.b.c.d:port\" or \"[v6]:port\"");
    }
    fd_ = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int result = fd_ < 0 ? -1 : ::connect(fd_, found->ai_addr, found->ai_addrlen);
    const int connect_errno = errno;
    ::freeaddrinfo(found);
    if (fd_ < 0) return fail(CACHEE_SYSTEM, std::string("socket: ") + std::strerror(connect_errno));
    int error = result == 0 ? 0 : connect_errno;
    if (error == EINPROGRESS) {
        pollfd poll{fd_, POLLOUT, 0};
        while (poll.revents == 0) {
            if (const cachee_status status = wait_for(POLLOUT); status != CACHEE_OK) return status;
            ::poll(&poll, 1, 0);
        }
        socklen_t size = sizeof error;
        ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    }
    if (error != 0) return fail(CACHEE_APPLIANCE_DOWN, std::strerror(error));
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return CACHEE_OK;
}

cachee_status Appliance::authenticate() {
    if (options_.password.empty()) return CACHEE_OK;
    std::string command;
    if (options_.user.empty()) {
        append_command(command, std::initializer_list<std::string_view>{"AUTH", options_.password});
    } else {
        append_command(command, std::initializer_list<std::string_view>{"AUTH", options_.user,
                                                                        options_.password});
    }
    Reply reply;
    if (const cachee_status status = send_all(command); status != CACHEE_OK) return status;
    if (const cachee_status status = read_reply(&reply); status != CACHEE_OK) return status;
    if (reply.kind == ReplyKind::kError) {
        return fail(CACHEE_DENIED, std::string(reply.text));
    }
    return CACHEE_OK;
}

cachee_status Appliance::connect() {
    const uint64_t now_ns = base::monotonic_ns();
    if (now_ns < not_before_ns_) {
        return failure_.empty() ? fail(CACHEE_APPLIANCE_DOWN, "cannot be reached")
                                : CACHEE_APPLIANCE_DOWN;
    }
    cachee_status status = connect_socket();
    if (status == CACHEE_OK) status = authenticate();
    if (status != CACHEE_OK) {
        pause_ms_ = std::clamp<uint64_t>(pause_ms_ * 2, kPauseMinMs,
                                         std::max<uint64_t>(options_.reconnect_max_ms, 1));
        not_before_ns_ = base::monotonic_ns() + pause_ms_ * base::kNsPerMs;
        return status;
    }
    pause_ms_ = 0;
    return CACHEE_OK;
}

cachee_status Appliance::send_all(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            bytes.remove_prefix(static_cast<size_t>(sent));
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) return fail(CACHEE_APPLIANCE_DOWN, std::strerror(errno));
        if (const cachee_status status = wait_for(POLLOUT); status != CACHEE_OK) return status;
    }
    return CACHEE_OK;
}

cachee_status Appliance::receive_more() {
    if (input_at_ == input_.size()) {
        if (input_.capacity() > kInputKeptMax) std::string().swap(input_);
        input_.clear();
        input_at_ = 0;
    }
    for (;;) {
        const size_t had = input_.size();
        input_.resize(had + kReceiveBytes);
        const ssize_t got = ::recv(fd_, input_.data() + had, kReceiveBytes, MSG_DONTWAIT);
        const int error = errno;
        input_.resize(had + static_cast<size_t>(std::max<ssize_t>(got, 0)));
        if (got > 0) return CACHEE_OK;
        if (got == 0) return fail(CACHEE_APPLIANCE_DOWN, "it closed the connection");
        if (error == EINTR) continue;
        if (error != EAGAIN) return fail(CACHEE_APPLIANCE_DOWN, std::strerror(error));
        if (const cachee_status status = wait_for(POLLIN); status != CACHEE_OK) return status;
    }
}

cachee_status Appliance::read_line(std::string_view* line) {
    size_t searched = input_at_;
    for (;;) {
        const size_t end = input_.find("\r\n", searched);
        if (end != std::string::npos) {
            *line = std::string_view(input_).substr(input_at_, end - input_at_);
            input_at_ = end + 2;
            return CACHEE_OK;
        }
        const size_t pending = input_.size() - input_at_;
        if (pending > kLineBytesMax) return fail(CACHEE_PROTOCOL, "a line without end");
        if (const cachee_status status = receive_more(); status != CACHEE_OK) return status;
        searched = pending == 0 ? input_at_ : input_at_ + pending - 1;
    }
}

cachee_status Appliance::read_reply(Reply* reply) {
    std::string_view line;
    if (const cachee_status status = read_line(&line); status != CACHEE_OK) return status;
    const char kind = line.empty() ? '\0' : line.front();
    const std::string_view rest = line.empty() ? line : line.substr(1);
    *reply = {};
    if (kind == '+' || kind == '-') {
        reply->kind = kind == '+' ? ReplyKind::kSimple : ReplyKind::kError;
        reply->text = rest;
        return CACHEE_OK;
    }
    if (kind == '_') return CACHEE_OK;
    int64_t number = 0;
    if ((kind != ':' && kind != '$') || !parse_integer(rest, &number)) {
        return fail(CACHEE_PROTOCOL, "what answers there does not speak RESP2");
    }
    if (kind == ':') {
        reply->kind = ReplyKind::kInteger;
        reply->integer = number;
        return CACHEE_OK;
    }
    if (number == -1) return CACHEE_OK;
    if (number < 0 || number > kBulkBytesMax)
        return fail(CACHEE_PROTOCOL, "a length beyond 512 MB");
    const auto size = static_cast<size_t>(number);
    while (input_.size() - input_at_ < size + 2) {
        if (const cachee_status status = receive_more(); status != CACHEE_OK) return status;
    }
    reply->kind = ReplyKind::kBulk;
    reply->text = std::string_view(input_).substr(input_at_, size);
    if (input_.compare(input_at_ + size, 2, "\r\n") != 0) {
        return fail(CACHEE_PROTOCOL, "a value is not as long as it says");
    }
    input_at_ += size + 2;
    return CACHEE_OK;
}

cachee_status Appliance::ask(std::string_view command, std::span<const std::string_view> keys) {
    if (input_at_ != input_.size()) disconnect();  // bytes that nobody asked for
    request_.clear();
    for (const std::string_view key : keys) {
        append_command(request_, std::initializer_list<std::string_view>{command, key});
    }
    deadline_ns_ = base::monotonic_ns() + uint64_t{options_.timeout_ms} * base::kNsPerMs;
    for (int attempt = 0;; ++attempt) {
        const bool reused = fd_ >= 0;
        cachee_status status = reused ? CACHEE_OK : connect();
        if (status == CACHEE_OK) status = send_all(request_);
        // The first bytes of the answer, so that a connection that the peer has closed meanwhile is
        // found out while the request can still be sent again: reads may be repeated.
        if (status == CACHEE_OK && input_at_ == input_.size()) status = receive_more();
        if (status == CACHEE_OK) {
            failure_.clear();
            if (request_.capacity() > kInputKeptMax) std::string().swap(request_);
            return CACHEE_OK;
        }
        if (!reused || attempt > 0 || status != CACHEE_APPLIANCE_DOWN) return status;
    }
}

cachee_status Appliance::next(Reply* reply) { return read_reply(reply); }

cachee_status Appliance::status_of(const Reply& reply) {
    failure_.assign(reply.text);
    if (reply.text.starts_with("WRONGTYPE")) return CACHEE_WRONG_TYPE;
    for (const std::string_view word : {"NOAUTH", "WRONGPASS", "NOPERM"}) {
        if (reply.text.starts_with(word)) return CACHEE_DENIED;
    }
    return CACHEE_REFUSED;
}

}  // namespace cachee::client
