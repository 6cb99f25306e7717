// SPDX-License-Identifier: Apache-2.0
// A real redis-server or valkey-server for one test: free loopback port, nothing saved, ended by
// pid. And a blocking client to talk to it behind cachee's back. Tests only; one thread.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <hiredis.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdarg>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace cachee::test {

inline uint16_t free_port() {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof address;
    ::bind(fd, reinterpret_cast<sockaddr*>(&address), bytes);
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes);
    ::close(fd);
    return ntohs(address.sin_port);
}

struct FreeReply {
    void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

class Client {
  public:
    explicit Client(uint16_t port) : context_(redisConnect("127.0.0.1", port)) {}
    ~Client() {
        if (context_ != nullptr) redisFree(context_);
    }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    bool connected() const { return context_ != nullptr && context_->err == 0; }
    Reply run(const char* format, ...) {
        va_list arguments;
        va_start(arguments, format);
        auto* reply = static_cast<redisReply*>(redisvCommand(context_, format, arguments));
        va_end(arguments);
        return Reply(reply);
    }
    // The text of a string, status or error reply; ":n" of an integer.
    std::string text(const char* format, ...) {
        va_list arguments;
        va_start(arguments, format);
        Reply reply(static_cast<redisReply*>(redisvCommand(context_, format, arguments)));
        va_end(arguments);
        if (!reply) return "(lost)";
        if (reply->type == REDIS_REPLY_INTEGER) return ":" + std::to_string(reply->integer);
        return reply->str != nullptr ? std::string(reply->str, reply->len) : "(none)";
    }
    // calls= of a command in INFO commandstats, 0 when it was never called.
    uint64_t calls(const std::string& command) {
        const std::string info = text("INFO commandstats");
        const std::string key = "cmdstat_" + command + ":calls=";
        const size_t at = info.find(key);
        return at == std::string::npos ? 0 : std::stoull(info.substr(at + key.size()));
    }

  private:
    redisContext* context_;
};

// Bytes in, bytes out: what a server itself says.
class RawClient {
  public:
    explicit RawClient(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const timeval patience{.tv_sec = 2, .tv_usec = 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    }
    ~RawClient() { ::close(fd_); }
    RawClient(const RawClient&) = delete;
    RawClient& operator=(const RawClient&) = delete;

    // What comes back, until it ends in `end`; less when nothing more comes.
    std::string run(const std::string& request, const std::string& end) {
        if (::send(fd_, request.data(), request.size(), MSG_NOSIGNAL) < 0) return {};
        std::string reply;
        char buffer[4096];
        while (!reply.ends_with(end)) {
            const ssize_t count = ::recv(fd_, buffer, sizeof buffer, 0);
            if (count <= 0) break;
            reply.append(buffer, static_cast<size_t>(count));
        }
        return reply;
    }

  private:
    int fd_;
};

class RealServer {
  public:
    explicit RealServer(std::string program = "valkey-server", std::vector<std::string> extra = {})
        : program_(std::move(program)), extra_(std::move(extra)), port_(free_port()) {
        start();
    }
    ~RealServer() { kill(); }

    void start() {
        std::vector<std::string> arguments{
            program_, "--port",    std::to_string(port_), "--bind", "127.0.0.1",
            "--save", "",          "--appendonly",        "no",     "--enable-debug-command",
            "yes",    "--logfile", "/dev/null",           "--dir",  "/tmp"};
        arguments.insert(arguments.end(), extra_.begin(), extra_.end());
        pid_ = ::fork();
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            std::vector<char*> argv;
            for (auto& argument : arguments) argv.push_back(argument.data());
            argv.push_back(nullptr);
            ::execvp(program_.c_str(), argv.data());
            ::_exit(127);
        }
        for (int i = 0; i < 500; ++i) {
            if (Client(port_).connected()) return;
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        ADD_FAILURE() << program_ << " did not start";
    }
    void kill() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }
    void pause() const { ::kill(pid_, SIGSTOP); }
    void resume() const { ::kill(pid_, SIGCONT); }
    uint16_t port() const { return port_; }

  private:
    std::string program_;
    std::vector<std::string> extra_;
    uint16_t port_;
    pid_t pid_ = -1;
};

}  // namespace cachee::test
