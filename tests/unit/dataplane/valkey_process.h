// SPDX-License-Identifier: Apache-2.0
// A real valkey-server on a free loopback port for the length of one test, and a connection to it.
// It dies with the test (SIGKILL by its own pid, and by the kernel when the test itself dies). Test
// code.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "resp/encoder.h"

namespace cachee::dataplane::test {

class ValkeyProcess {
  public:
    explicit ValkeyProcess(const std::vector<std::string>& more_arguments = {}) {
        const uint16_t port = free_port();
        std::vector<std::string> arguments = {
            "valkey-server", "--port", std::to_string(port), "--bind", "127.0.0.1", "--save",   "",
            "--appendonly",  "no",     "--databases",        "1",      "--logfile", "/dev/null"};
        arguments.insert(arguments.end(), more_arguments.begin(), more_arguments.end());
        std::vector<char*> argv;
        for (std::string& argument : arguments) {
            argv.push_back(argument.data());
        }
        argv.push_back(nullptr);
        pid_ = fork();
        if (pid_ == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            execvp(argv[0], argv.data());
            _exit(kExitNoBinary);
        }
        connect_to(port);
    }
    ValkeyProcess(const ValkeyProcess&) = delete;
    ValkeyProcess& operator=(const ValkeyProcess&) = delete;
    ~ValkeyProcess() {
        if (socket_ >= 0) {
            close(socket_);
        }
        if (pid_ > 0) {
            kill(pid_, SIGKILL);
            waitpid(pid_, nullptr, 0);
        }
    }

    bool running() const { return socket_ >= 0; }
    const std::string& why_not() const { return why_not_; }

    // One reply per command, as bytes; fewer when the connection is lost.
    std::vector<std::string> pipeline(const std::vector<std::vector<std::string>>& commands) {
        std::string bytes;
        for (const auto& command : commands) {
            const std::vector<std::string_view> views(command.begin(), command.end());
            resp::append_command(bytes, views);
        }
        std::vector<std::string> replies;
        size_t sent = 0;
        while (replies.size() < commands.size()) {
            pollfd ready{socket_,
                         static_cast<short>(sent < bytes.size() ? POLLIN | POLLOUT : POLLIN), 0};
            if (poll(&ready, 1, 5000) <= 0) {
                break;
            }
            if ((ready.revents & POLLOUT) != 0) {
                const ssize_t n = send(socket_, bytes.data() + sent, bytes.size() - sent,
                                       MSG_NOSIGNAL | MSG_DONTWAIT);
                sent += n > 0 ? static_cast<size_t>(n) : 0;
            }
            if ((ready.revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !receive()) {
                break;
            }
            size_t end = 0;
            while (replies.size() < commands.size() && (end = reply_end(0)) != 0) {
                replies.push_back(received_.substr(0, end));
                received_.erase(0, end);
            }
        }
        return replies;
    }
    std::string command(const std::vector<std::string>& arguments) {
        const std::vector<std::string> replies = pipeline({arguments});
        return replies.empty() ? "(connection lost)" : replies[0];
    }

  private:
    static constexpr int kExitNoBinary = 127;

    static sockaddr_in loopback(uint16_t port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return address;
    }

    static uint16_t free_port() {
        const int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address = loopback(0);
        socklen_t size = sizeof address;
        bind(probe, reinterpret_cast<sockaddr*>(&address), size);
        getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size);
        close(probe);
        return ntohs(address.sin_port);
    }

    void connect_to(uint16_t port) {
        const sockaddr_in address = loopback(port);
        for (int attempt = 0; attempt < 500; ++attempt) {
            int status = 0;
            if (waitpid(pid_, &status, WNOHANG) == pid_) {
                pid_ = -1;
                why_not_ = WIFEXITED(status) && WEXITSTATUS(status) == kExitNoBinary
                               ? "no valkey-server in PATH"
                               : "valkey-server ended at its start";
                return;
            }
            const int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            if (connect(s, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
                socket_ = s;
                return;
            }
            close(s);
            usleep(20'000);
        }
        why_not_ = "valkey-server did not listen within 10 s";
    }

    bool receive() {
        char buffer[65536];
        const ssize_t n = recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n <= 0) {
            return false;
        }
        received_.append(buffer, static_cast<size_t>(n));
        return true;
    }

    // Where the reply that starts at `at` ends; 0: not all of it is there.
    size_t reply_end(size_t at) const {
        const size_t line_end = received_.find("\r\n", at);
        if (line_end == std::string::npos) {
            return 0;
        }
        const char type = received_[at];
        const long long n = std::atoll(received_.c_str() + at + 1);
        size_t end = line_end + 2;
        if (type == '$' || type == '=' || type == '!') {
            end += n < 0 ? 0 : static_cast<size_t>(n) + 2;
            return end <= received_.size() ? end : 0;
        }
        if (type == '*' || type == '%' || type == '~' || type == '>') {
            for (long long i = 0; i < (type == '%' ? 2 * n : n); ++i) {
                if (end >= received_.size() || (end = reply_end(end)) == 0) {
                    return 0;
                }
            }
        }
        return end;
    }

    pid_t pid_ = -1;
    int socket_ = -1;
    std::string received_;
    std::string why_not_;
};

}  // namespace cachee::dataplane::test
