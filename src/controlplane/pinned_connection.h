// SPDX-License-Identifier: Apache-2.0
// One session's own connection to L2: its handshake, commands in, raw reply bytes out in chunks,
// each behind a fence once the session has written, and its end. Which session has one is the
// business of PinnedSessions. Control plane thread only.
#pragma once

#include <hiredis.h>
#include <uv.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/pinned_sessions.h"

namespace cachee::controlplane {

// Lives until libuv has closed its handle: held by the table, and by itself while the handle is
// open.
class PinnedConnection : public std::enable_shared_from_this<PinnedConnection> {
  public:
    PinnedConnection(PinnedSessions& table, uint32_t index, uint64_t id)
        : worker(index), session_id(id), table_(table) {}
    ~PinnedConnection() {
        if (reader_ != nullptr) redisReaderFree(reader_);
    }

    void open(bool resp3);
    // False: too much is queued.
    bool write(std::string_view command, uint64_t queued_bytes_max);
    void set_writes() { writes_ = true; }
    void close();
    void resume_reading();
    bool overdue(uint64_t now_ns) const { return !relaying_ && now_ns > connect_deadline_ns_; }
    // The session sends no more: it ends when L2 has answered everything, or falls silent.
    void end_when_answered(uint64_t patience_ns);
    void check_end(uint64_t now_ns);
    void fail(const std::string& reason);

    const uint32_t worker;
    const uint64_t session_id;

  private:
    // CLIENT REPLY.
    enum class ReplyMode : uint8_t { kOn, kSkipNext, kOff };
    struct Write {
        uv_write_t request{};
        std::string bytes;
    };

    static PinnedConnection* self(void* handle_data) {
        return static_cast<PinnedConnection*>(handle_data);
    }
    static void on_connect(uv_connect_t* request, int status);
    static void on_allocate(uv_handle_t* handle, size_t suggested, uv_buf_t* buffer);
    static void on_read(uv_stream_t* stream, ssize_t count, const uv_buf_t* buffer);
    uv_stream_t* stream() { return reinterpret_cast<uv_stream_t*>(&tcp_); }
    void write_now(std::string_view bytes);
    void take_handshake(std::string_view bytes);
    void take(std::string_view bytes);
    void start_release();
    void release_behind_invalidations();
    void release();
    void append(std::string_view command);
    void half_close();
    void note(std::string_view command);
    void ended(std::string reason);
    void finish();

    PinnedSessions& table_;
    uv_tcp_t tcp_{};
    uv_connect_t connect_{};
    std::shared_ptr<PinnedConnection> keep_alive_;
    redisReader* reader_ = nullptr;  // while our own HELLO is answered
    uint32_t hello_replies_left_ = 0;
    std::string hello_;
    bool relaying_ = false;
    bool closed_ = false;
    bool reading_ = false;
    bool releasing_ = false;  // a fence or a hold is under way for `outbound_`
    bool writes_ = false;
    bool quit_ = false;   // the client said QUIT: that L2 closes is no error
    bool swaps_ = false;  // it used SWAPDB, perhaps in a transaction: L2 will announce nothing
    bool ended_ = false;  // L2 closed; what it sent before is still on its way to the worker
    std::string end_reason_;
    ReplyMode reply_mode_ = ReplyMode::kOn;
    bool blocks_ = false;         // it used a blocking command
    bool ending_ = false;         // the session sends no more
    std::string_view own_reply_;  // to the QUIT that is ours; empty: none was sent
    uint64_t end_patience_ns_ = 0;
    uint64_t end_deadline_ns_ = 0;
    uint64_t connect_deadline_ns_ = 0;
    std::string unsent_;  // commands until the handshake is over
    std::string inbox_;   // replies behind those in `outbound_`
    std::string outbound_;
    std::vector<char> read_buffer_;
};

}  // namespace cachee::controlplane
