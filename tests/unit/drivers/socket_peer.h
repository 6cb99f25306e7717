// SPDX-License-Identifier: Apache-2.0
// A non-blocking kernel socket as the conformance suite's peer. Test code, one thread.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>

#include "tests/unit/drivers/transport_conformance.h"

namespace cachee::io {

class SocketPeer final : public TestPeer {
  public:
    // nullptr when the connection is refused. receive_buffer 0: the kernel's own choice.
    static std::unique_ptr<SocketPeer> connect(const std::string& address, uint16_t port,
                                               int receive_buffer = 0) {
        auto peer = std::make_unique<SocketPeer>();
        peer->fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (receive_buffer > 0) {
            ::setsockopt(peer->fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
        }
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(port);
        ::inet_pton(AF_INET, address.c_str(), &to.sin_addr);
        if (::connect(peer->fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) return nullptr;
        ::fcntl(peer->fd_, F_SETFL, O_NONBLOCK);
        return peer;
    }
    ~SocketPeer() override {
        if (fd_ >= 0) ::close(fd_);
    }

    size_t send(const std::string& bytes) override {
        const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        return n > 0 ? static_cast<size_t>(n) : 0;
    }
    std::string receive(size_t max) override {
        std::string bytes(max, '\0');
        const ssize_t n = ::recv(fd_, bytes.data(), max, 0);
        if (n == 0) end_ = true;
        if (n < 0 && errno != EAGAIN) {
            end_ = true;
            reset_ = errno == ECONNRESET;
        }
        bytes.resize(n > 0 ? static_cast<size_t>(n) : 0);
        return bytes;
    }
    bool at_end() override { return end_; }
    bool was_reset() override { return reset_; }
    void shutdown_write() override { ::shutdown(fd_, SHUT_WR); }
    void reset() override {
        const linger drop{1, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &drop, sizeof drop);
        ::close(fd_);
        fd_ = -1;
    }
    int fd() const { return fd_; }

  private:
    int fd_ = -1;
    bool end_ = false;
    bool reset_ = false;
};

}  // namespace cachee::io
