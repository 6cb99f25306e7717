// SPDX-License-Identifier: Apache-2.0
// A server in memory and the link to it, in virtual time: it stores what it is sent, answers after
// a service time, and misbehaves on demand. Test code, one thread.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "resp/encoder.h"
#include "resp/parser.h"
#include "tools/loadgen/client_link.h"

namespace cachee::loadgen {

class FakeTarget final : public ClientLink, public io::Transport {
  public:
    explicit FakeTarget(uint32_t sessions = 16) : sessions_(sessions) {}

    // --- what the server does
    uint64_t clock_ns = 1'000'000'000;
    uint64_t service_ns = 100'000;
    uint64_t stall_from_ns = UINT64_MAX;  // what comes from here on ...
    uint64_t stall_until_ns = 0;          // ... is answered no earlier than this
    bool refuses = false;
    bool is_mute = false;            // takes requests and never answers
    size_t piece_bytes = SIZE_MAX;   // replies arrive in pieces of this size, one per poll
    size_t append_bytes = SIZE_MAX;  // how much append() takes at a time; no reserve() below 1024
    // Replaces the reply to a command; nullopt: the usual one.
    std::function<std::optional<std::string>(const resp::ArgumentList&)> answer;

    // --- what it saw
    std::map<std::string, std::string> store;
    uint64_t commands = 0;
    uint64_t connects = 0;
    size_t in_flight_max = 0;
    std::vector<std::string> names;  // of the commands

    void cut_all(io::CloseReason reason) {
        for (Session& session : sessions_) {
            if (session.open) session.close_due = reason;
        }
    }

    // --- ClientLink
    io::Transport& transport() override { return *this; }
    uint64_t now_ns() noexcept override { return clock_ns; }
    io::SessionIndex connect() noexcept override {
        for (uint32_t i = 0; i < sessions_.size(); ++i) {
            if (sessions_[i].used) continue;
            sessions_[i] = Session{};
            sessions_[i].used = true;
            ++connects;
            if (refuses) {
                sessions_[i].close_due = io::CloseReason::kReset;
            } else {
                sessions_[i].open_due = true;
            }
            return i;
        }
        return kNoSession;
    }

    // --- io::Transport
    uint32_t sessions_max() const noexcept override {
        return static_cast<uint32_t>(sessions_.size());
    }
    size_t poll(uint64_t now, io::Event* events, size_t max) noexcept override {
        size_t count = 0;
        for (uint32_t i = 0; i < sessions_.size() && count + 3 < max; ++i) {
            Session& session = sessions_[i];
            const auto emit = [&](io::EventKind kind) -> io::Event& {
                events[count] = {kind, io::CloseReason::kLocal, i, nullptr, 0};
                return events[count++];
            };
            if (session.open_due) {
                session.open_due = false;
                session.open = true;
                emit(io::EventKind::kOpened);
            }
            if (session.close_due) {
                emit(io::EventKind::kClosed).reason = *session.close_due;
                session = Session{};
                continue;
            }
            if (session.short_) {
                session.short_ = false;
                emit(io::EventKind::kWritable);
            }
            session.arriving.clear();
            while (!session.replies.empty() && session.replies.front().at_ns <= now &&
                   session.arriving.size() < piece_bytes) {
                std::string& bytes = session.replies.front().bytes;
                const size_t n = std::min(bytes.size(), piece_bytes - session.arriving.size());
                session.arriving.append(bytes, 0, n);
                bytes.erase(0, n);
                if (!bytes.empty()) break;
                session.replies.pop_front();
            }
            if (session.arriving.empty()) continue;
            io::Event& event = emit(io::EventKind::kData);
            event.data = reinterpret_cast<const uint8_t*>(session.arriving.data());
            event.size = static_cast<uint32_t>(session.arriving.size());
        }
        return count;
    }
    uint8_t* reserve(io::SessionIndex index, uint32_t size) noexcept override {
        if (append_bytes < io::kReserveBytesMax) return nullptr;
        sessions_[index].reserved.assign(size, '\0');
        return reinterpret_cast<uint8_t*>(sessions_[index].reserved.data());
    }
    void commit(io::SessionIndex index, uint32_t size) noexcept override {
        sessions_[index].input.append(sessions_[index].reserved, 0, size);
    }
    uint8_t* extend(io::SessionIndex index, uint32_t size) noexcept override {
        if (reserve(index, size) == nullptr) return nullptr;
        std::string& stream = sessions_[index].input;
        stream.append(size, '?');
        return reinterpret_cast<uint8_t*>(&stream[stream.size() - size]);
    }
    size_t append(io::SessionIndex index, const uint8_t* data, size_t size) noexcept override {
        const size_t taken = std::min(size, append_bytes);
        sessions_[index].input.append(reinterpret_cast<const char*>(data), taken);
        sessions_[index].short_ = taken < size;
        return taken;
    }
    void pause(io::SessionIndex) noexcept override {}
    void resume(io::SessionIndex) noexcept override {}
    void close(io::SessionIndex index, io::CloseHow) noexcept override {
        sessions_[index].close_due = io::CloseReason::kLocal;
    }
    void release() noexcept override {}
    void flush(uint64_t now) noexcept override {
        for (Session& session : sessions_) {
            serve(session, now);
            in_flight_max = std::max(in_flight_max, session.replies.size());
        }
    }
    void wait(uint64_t) noexcept override {}
    std::string peer_cold(io::SessionIndex) const override { return "fake"; }

  private:
    struct Reply {
        uint64_t at_ns;
        std::string bytes;
    };
    struct Session {
        bool used = false;
        bool open = false;
        bool open_due = false;
        bool short_ = false;
        std::optional<io::CloseReason> close_due;
        std::string input;
        std::string reserved;
        std::string arriving;
        std::deque<Reply> replies;
        resp::ParseState parse;
    };

    void serve(Session& session, uint64_t now) {
        resp::ArgumentList arguments;
        while (!session.input.empty()) {
            const auto parsed =
                resp::parse_command(session.input, resp::Limits{}, session.parse, arguments);
            if (parsed.status != resp::ParseStatus::kComplete) return;
            ++commands;
            names.emplace_back(arguments[0]);
            uint64_t at_ns = now + service_ns;
            if (now >= stall_from_ns && now < stall_until_ns) at_ns = stall_until_ns + service_ns;
            std::optional<std::string> bytes = answer ? answer(arguments) : std::nullopt;
            if (!bytes) bytes = usual(arguments);
            session.input.erase(0, parsed.consumed);
            if (!is_mute) session.replies.push_back({at_ns, *bytes});
        }
    }
    std::string usual(const resp::ArgumentList& arguments) {
        std::string out;
        resp::Writer writer(out);
        if (arguments[0] == "SET") {
            store[std::string(arguments[1])] = arguments[2];
            writer.simple("OK");
        } else if (arguments[0] == "GET") {
            write_value(writer, arguments[1]);
        } else if (arguments[0] == "MGET") {
            writer.array(arguments.size() - 1);
            for (size_t i = 1; i < arguments.size(); ++i) write_value(writer, arguments[i]);
        } else if (arguments[0] == "AUTH") {
            writer.simple("OK");
        } else {
            writer.error("ERR unknown command");
        }
        return out;
    }
    void write_value(resp::Writer& writer, std::string_view key) {
        const auto found = store.find(std::string(key));
        if (found == store.end()) {
            writer.null();
        } else {
            writer.bulk(found->second);
        }
    }

    std::vector<Session> sessions_;
};

}  // namespace cachee::loadgen
