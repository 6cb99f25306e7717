// SPDX-License-Identifier: Apache-2.0
#include "controlplane/pinned_connection.h"

#include <algorithm>

#include "base/clock.h"
#include "controlplane/pinned_command.h"
#include "controlplane/reply_encoder.h"

namespace cachee::controlplane {

using base::kKiB;
using base::kMiB;
using base::kNsPerMs;

namespace {

// Read but not yet given to the worker, above which reading pauses.
constexpr size_t kInboxBytesMax = 1 * kMiB;
// Of the worker's backlog, above which no pinned connection of it is read.
constexpr uint64_t kBacklogBytesMax = 4 * kMiB;

constexpr std::string_view kQuit = "*1\r\n$4\r\nQUIT\r\n";
constexpr std::string_view kQuitReply = "+OK\r\n";
// L2 closes a connection after QUIT once it has written the reply: without one, perhaps never.
constexpr std::string_view kRepliesOnAndQuit =
    "*1\r\n$7\r\nDISCARD\r\n*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n*1\r\n$4\r\nQUIT\r\n";
constexpr std::string_view kRepliesOnAndQuitReply = "+OK\r\n+OK\r\n";
// Its reply is the one that CLIENT REPLY SKIP leaves out.
constexpr std::string_view kSkippedAndQuit = "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n";

// How many bytes at the end may be the beginning of `own`, the reply to our own QUIT.
size_t own_reply_bytes(std::string_view replies, std::string_view own) {
    for (size_t bytes = std::min(replies.size(), own.size()); bytes > 0; --bytes) {
        if (replies.ends_with(own.substr(0, bytes))) return bytes;
    }
    return 0;
}

}  // namespace

void PinnedConnection::open(bool resp3) {
    connect_deadline_ns_ = base::monotonic_ns() + table_.options_.connect_timeout_ms * kNsPerMs;
    uv_tcp_init(table_.loop_, &tcp_);
    tcp_.data = this;
    connect_.data = this;
    keep_alive_ = shared_from_this();
    reader_ = redisReaderCreate();
    hello_ = table_.backend_.hello(resp3, hello_replies_left_);
    const sockaddr* address = table_.backend_.address();
    const int error =
        address == nullptr ? UV_EAI_AGAIN : uv_tcp_connect(&connect_, &tcp_, address, on_connect);
    if (error != 0) fail(uv_strerror(error));
}

void PinnedConnection::on_connect(uv_connect_t* request, int status) {
    auto* connection = self(request->data);
    if (connection->closed_) return;
    if (status != 0) {
        connection->fail(uv_strerror(status));
        return;
    }
    uv_tcp_nodelay(&connection->tcp_, 1);
    connection->reading_ = true;
    uv_read_start(connection->stream(), on_allocate, on_read);
    connection->write_now(connection->hello_);
    connection->hello_.clear();
}

void PinnedConnection::on_allocate(uv_handle_t* handle, size_t, uv_buf_t* buffer) {
    auto* connection = self(handle->data);
    connection->read_buffer_.resize(64 * kKiB);
    *buffer = uv_buf_init(connection->read_buffer_.data(),
                          static_cast<unsigned>(connection->read_buffer_.size()));
}

void PinnedConnection::on_read(uv_stream_t* stream, ssize_t count, const uv_buf_t* buffer) {
    auto* connection = self(stream->data);
    if (connection->closed_ || count == 0) return;
    if (count < 0) {
        // What came before the end belongs to the session: QUIT's +OK, an error before a
        // disconnect.
        connection->ended("it was lost (" + std::string(uv_strerror(static_cast<int>(count))) +
                          ")");
        return;
    }
    const std::string_view bytes(buffer->base, static_cast<size_t>(count));
    if (connection->relaying_) {
        connection->take(bytes);
    } else {
        connection->take_handshake(bytes);
    }
}

void PinnedConnection::take_handshake(std::string_view bytes) {
    redisReaderFeed(reader_, bytes.data(), bytes.size());
    void* reply = nullptr;
    while (hello_replies_left_ > 0) {
        if (redisReaderGetReply(reader_, &reply) != REDIS_OK) {
            fail("it does not speak RESP");
            return;
        }
        if (reply == nullptr) return;
        const auto* tree = static_cast<redisReply*>(reply);
        const std::string error =
            tree->type == REDIS_REPLY_ERROR ? std::string(tree->str, tree->len) : std::string();
        freeReplyObject(reply);
        if (!error.empty()) {
            fail("it refused the handshake: " + error);
            return;
        }
        --hello_replies_left_;
    }
    redisReaderFree(reader_);
    reader_ = nullptr;
    relaying_ = true;
    const std::string commands = std::move(unsent_);
    unsent_.clear();
    write_now(commands);
    if (ending_ && blocks_) half_close();
}

bool PinnedConnection::write(std::string_view command, uint64_t queued_bytes_max) {
    const size_t queued = unsent_.size() + uv_stream_get_write_queue_size(stream());
    if (queued + command.size() > queued_bytes_max) return false;
    note(command);
    append(command);
    return true;
}

void PinnedConnection::append(std::string_view command) {
    if (relaying_) {
        write_now(command);
    } else {
        unsent_.append(command);
    }
}

// What the command changes in how the session's end and its replies are understood.
void PinnedConnection::note(std::string_view command) {
    quit_ |= starts_with(command, kQuit);
    blocks_ |= may_block(command);
    swaps_ |= starts_with(command, "*3\r\n$6\r\nSWAPDB\r\n");
    constexpr std::string_view kClientReply = "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n";
    if (!starts_with(command, kClientReply)) {
        if (reply_mode_ == ReplyMode::kSkipNext) reply_mode_ = ReplyMode::kOn;
        return;
    }
    const std::string_view mode = command.substr(kClientReply.size());
    if (starts_with(mode, "$2\r\nON\r\n")) {
        reply_mode_ = ReplyMode::kOn;
    } else if (starts_with(mode, "$3\r\nOFF\r\n")) {
        reply_mode_ = ReplyMode::kOff;
    } else if (starts_with(mode, "$4\r\nSKIP\r\n") && reply_mode_ == ReplyMode::kOn) {
        reply_mode_ = ReplyMode::kSkipNext;
    }
}

// Not by closing our half of the connection: L2 takes that for the end of the client and throws
// away the replies it has not written yet. QUIT is executed in every state (MULTI, subscribed) and
// in its turn; L2 closes once everything is written. But a session that used a blocking command may
// be waiting in it: QUIT would wait too, and the command take an element that nobody receives. L2
// treats it as it would treat the client itself.
void PinnedConnection::end_when_answered(uint64_t patience_ns) {
    if (ending_) return;
    ending_ = true;
    end_patience_ns_ = patience_ns;
    end_deadline_ns_ = base::monotonic_ns() + patience_ns;
    if (quit_ || ended_) return;
    if (blocks_) {
        quit_ = true;
        if (relaying_) half_close();
        return;
    }
    switch (reply_mode_) {
        case ReplyMode::kOn:
            append(kQuit);
            break;
        case ReplyMode::kSkipNext:
            append(kSkippedAndQuit);
            break;
        case ReplyMode::kOff:
            append(kRepliesOnAndQuit);
            break;
    }
    own_reply_ = reply_mode_ == ReplyMode::kOff ? kRepliesOnAndQuitReply : kQuitReply;
}

// Behind what is still being written.
void PinnedConnection::half_close() {
    auto* request = new uv_shutdown_t;
    const int error = uv_shutdown(request, stream(), [](uv_shutdown_t* done, int) { delete done; });
    if (error != 0) delete request;  // not connected any more: reading notices
}

void PinnedConnection::check_end(uint64_t now_ns) {
    if (!ending_ || ended_) return;
    if (relaying_ && !reading_) {
        end_deadline_ns_ = now_ns + end_patience_ns_;  // it is the session that is slow, not L2
    } else if (now_ns > end_deadline_ns_) {
        own_reply_ = {};  // what was kept for QUIT's reply is the session's
        quit_ = false;
        ended("no answer within " + std::to_string(end_patience_ns_ / kNsPerMs) + " ms");
    }
}

void PinnedConnection::write_now(std::string_view bytes) {
    if (bytes.empty()) return;
    size_t written = 0;
    if (uv_stream_get_write_queue_size(stream()) == 0) {
        uv_buf_t buffer =
            uv_buf_init(const_cast<char*>(bytes.data()),
                        static_cast<unsigned>(std::min<size_t>(bytes.size(), 1u << 30)));
        const int count = uv_try_write(stream(), &buffer, 1);
        if (count > 0) written = static_cast<size_t>(count);
    }
    if (written == bytes.size()) return;
    auto* rest = new Write;
    rest->bytes = bytes.substr(written);
    rest->request.data = rest;
    uv_buf_t buffer = uv_buf_init(rest->bytes.data(), static_cast<unsigned>(rest->bytes.size()));
    // A write that fails is noticed by reading: the connection is lost.
    const int error = uv_write(&rest->request, stream(), &buffer, 1, [](uv_write_t* request, int) {
        delete static_cast<Write*>(request->data);
    });
    if (error != 0) delete rest;
}

void PinnedConnection::take(std::string_view bytes) {
    inbox_.append(bytes);
    if (ending_) end_deadline_ns_ = base::monotonic_ns() + end_patience_ns_;
    if (!releasing_) start_release();
    const bool behind = table_.coherence_.attached() &&
                        table_.coherence_.link(worker).backlog_bytes() > kBacklogBytesMax;
    if (reading_ && (behind || inbox_.size() > kInboxBytesMax)) {
        reading_ = false;
        uv_read_stop(stream());
    }
}

void PinnedConnection::resume_reading() {
    if (reading_ || closed_ || ended_ || !relaying_ || inbox_.size() > kInboxBytesMax / 2) return;
    if (table_.coherence_.link(worker).backlog_bytes() > kBacklogBytesMax / 2) return;
    reading_ = true;
    uv_read_start(stream(), on_allocate, on_read);
}

// One release at a time keeps the order; what arrives meanwhile shares the next one.
void PinnedConnection::start_release() {
    const size_t kept = ended_ ? 0 : own_reply_bytes(inbox_, own_reply_);
    if (kept == inbox_.size()) return;
    outbound_ = inbox_.substr(0, inbox_.size() - kept);
    inbox_.erase(0, outbound_.size());
    releasing_ = true;
    if (!writes_) {
        release_behind_invalidations();
        return;
    }
    table_.coherence_.fence([connection = shared_from_this()] {
        if (connection->closed_ || !connection->table_.coherence_.attached()) return;
        Coherence& coherence = connection->table_.coherence_;
        if (connection->swaps_) coherence.bump_generation("a pinned session used SWAPDB", true);
        connection->release_behind_invalidations();
    });
}

// No L1 may show, after these replies, what was there before what they show.
void PinnedConnection::release_behind_invalidations() {
    Coherence& coherence = table_.coherence_;
    if (!coherence.attached()) {
        release();
        return;
    }
    Barrier barrier;
    coherence.add_all(barrier);
    coherence.release_after(worker, std::move(barrier),
                            [connection = shared_from_this()](bool applied) {
                                if (connection->closed_) return;
                                if (applied) {
                                    connection->release();
                                } else {
                                    connection->fail("a worker did not follow its invalidations");
                                }
                            });
}

void PinnedConnection::release() {
    table_.stream(worker, session_id, outbound_);
    outbound_.clear();
    releasing_ = false;
    if (!inbox_.empty()) {
        start_release();
    } else if (ended_) {
        finish();
    }
}

void PinnedConnection::ended(std::string reason) {
    ended_ = true;
    end_reason_ = std::move(reason);
    uv_read_stop(stream());
    reading_ = false;
    if (!own_reply_.empty() && inbox_.ends_with(own_reply_)) {
        inbox_.resize(inbox_.size() - own_reply_.size());
        quit_ = true;
    }
    if (releasing_) return;
    if (inbox_.empty()) {
        finish();
    } else {
        start_release();
    }
}

void PinnedConnection::finish() {
    if (closed_) return;
    if (quit_) {
        table_.end_session(worker, session_id, "");
        table_.remove(this);
    } else {
        fail(end_reason_ + ", the outcome of unanswered commands is unknown");
    }
}

void PinnedConnection::fail(const std::string& reason) {
    if (closed_) return;
    // Replies that wait for a fence are not given out: L1 may not have been told of their writes
    // yet.
    table_.end_session(worker, session_id,
                       "ERR cachee: this session's connection to L2 failed: " + reason);
    table_.remove(this);
}

void PinnedConnection::close() {
    if (closed_) return;
    closed_ = true;
    uv_close(reinterpret_cast<uv_handle_t*>(&tcp_), [](uv_handle_t* handle) {
        const auto keep = std::move(self(handle->data)->keep_alive_);
    });
}

}  // namespace cachee::controlplane
