// SPDX-License-Identifier: Apache-2.0
// One thread's share of a load: its connections, what is in flight on them, and the judging of
// replies. Driven by step() with whatever clock the link has, so that it runs in virtual time in
// tests. Not the drawing of requests (Workload) nor the network (ClientLink). One thread.
//
//   connect ─> ready ─> populate ─> ready ─> run ─> drain ─> close ─> ended
//                                                             any ─> failed
//
// Closed loop: every connection keeps `pipeline` requests in flight; a request is due when it can
// be sent. Open loop: a schedule says when requests are due, whatever became of those before; one
// that finds no free place waits, and its latency counts from when it was due. That is what keeps a
// stall of the target visible in the percentiles (no coordinated omission).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "base/units.h"
#include "tools/loadgen/client_link.h"
#include "tools/loadgen/reply_reader.h"
#include "tools/loadgen/thread_stats.h"
#include "tools/loadgen/workload.h"

namespace cachee::loadgen {

struct LoadPlan {
    uint32_t thread = 0;
    uint32_t threads = 1;
    uint32_t connections = 1;  // of this thread
    uint32_t pipeline = 1;     // requests in flight per connection
    double rate = 0;           // requests per second of this thread; 0: closed loop
    bool poisson = true;
    uint64_t requests = 0;  // measured requests of this thread; 0: by time
    uint64_t warmup_ns = 0;
    uint64_t measure_ns = 10 * base::kNsPerS;  // with requests: the bound
    uint64_t timeout_ns = 5 * base::kNsPerS;   // of a connect and of a reply
    uint64_t retry_ns = 10 * base::kNsPerMs;   // before the first reconnect; doubles, up to 1 s
    bool verify = false;
};

enum class Stage : uint8_t { kConnect, kReady, kPopulate, kRun, kDrain, kClose, kEnded, kFailed };

class LoadThread {
  public:
    // All are borrowed.
    LoadThread(const LoadPlan& plan, const Workload& workload, ClientLink& link,
               ThreadStats& stats);

    // One turn: take events, judge replies, send what is due. True when there was something to do.
    bool step();

    Stage stage() const { return stage_; }
    bool over() const { return stage_ == Stage::kEnded || stage_ == Stage::kFailed; }
    const std::string& failure() const { return failure_; }  // kFailed: why
    // How long nothing is due that only this thread knows of; an event may come earlier.
    uint64_t idle_ns() const;

    // REQUIRES: stage() == kReady.
    void populate();
    // REQUIRES: stage() == kReady. The warm-up begins at start_ns.
    void run(uint64_t start_ns);
    // Ends the run early: what is in flight is still awaited.
    void stop();
    uint64_t measured_from_ns() const { return measure_from_ns_; }

  private:
    static constexpr uint32_t kPopulatePipeline = 16;
    static constexpr uint64_t kLookAroundNs = 5 * base::kNsPerMs;
    static constexpr uint32_t kConnectingMax = 64;

    struct Pending {
        uint64_t due_ns = 0;
        uint64_t sent_ns = 0;
        Request request;
        bool measured = false;
        bool run = false;  // of the run, not of populating or AUTH
    };
    enum class State : uint8_t { kDown, kConnecting, kGreeting, kUp };
    struct Connection {
        io::SessionIndex session = kNoSession;
        State state = State::kDown;
        bool queued = false;    // in ready_
        bool blocked = false;   // the transport is full: wait for kWritable
        bool aborted = false;   // by us, for a timeout or a malformed reply
        uint64_t since_ns = 0;  // kConnecting: began; kDown: try again at
        uint64_t retry_ns = 0;
        uint32_t first = 0;  // of the ring of pending requests
        uint32_t in_flight = 0;
        ReplyReader reader;
        std::string unsent;
        // The reply under way
        std::optional<KeyWalk> walk;
        uint64_t key = 0;
        uint32_t elements = 0;
        uint32_t found = 0;
        bool error = false;
        bool wrong = false;
    };
    // What the reader calls.
    struct Judge {
        LoadThread& owner;
        Connection& connection;
        void array(uint64_t count);
        void value_part(uint64_t offset, const uint8_t* data, size_t size, uint64_t whole);
        void value_end(uint64_t whole);
        void nil();
        void status(std::string_view text);
        void error(std::string_view text);
        void integer();
        void reply_end();
        uint64_t element_key();
    };

    void take_event(const io::Event& event);
    void open_connections();
    void opened(Connection& connection);
    void closed(Connection& connection, io::CloseReason reason);
    void abort(Connection& connection);
    void reply_done(Connection& connection);
    void judge_wrong(Connection& connection, const std::string& why);
    void offer(Connection& connection);  // into ready_, when it has a place
    uint32_t pipeline_now() const;
    bool next_due(uint64_t& due_ns) const;  // whether a request may leave now, and its due time
    void issue();
    void send(Connection& connection, const Request& request, uint64_t due_ns, bool run);
    void look_around();
    void advance_stage();
    void give_up_rest();
    void fail(const std::string& why);
    Pending& pending(Connection& connection, uint32_t i) {
        const size_t index = static_cast<size_t>(&connection - connections_.data());
        return pending_[index * ring_ + (connection.first + i) % ring_];
    }
    void record(const Pending& pending);

    const LoadPlan plan_;
    const Workload& workload_;
    ClientLink& link_;
    io::Transport& transport_;
    ThreadStats& stats_;
    const uint32_t ring_;

    Stage stage_ = Stage::kConnect;
    std::string failure_;
    uint64_t now_ns_ = 0;
    uint64_t stage_since_ns_ = 0;
    uint64_t look_around_ns_ = 0;
    uint64_t measure_from_ns_ = 0;
    uint64_t end_ns_ = 0;
    uint64_t populate_next_ = 0;
    uint64_t measured_sent_ = 0;
    uint64_t in_flight_ = 0;
    uint64_t down_since_ns_ = 0;  // no connection is up since; 0: one is
    uint32_t up_ = 0;
    uint32_t connecting_ = 0;
    uint64_t cursor_ = 0;
    base::Rng rng_;
    std::optional<Schedule> schedule_;
    std::string last_close_;

    std::vector<Connection> connections_;
    std::vector<Pending> pending_;
    std::vector<uint32_t> connection_of_;  // by session
    std::vector<uint32_t> ready_;          // ring of connections with a free place
    size_t ready_head_ = 0;
    size_t ready_count_ = 0;
    std::vector<io::Event> events_;
    std::vector<uint8_t> scratch_;
};

}  // namespace cachee::loadgen
