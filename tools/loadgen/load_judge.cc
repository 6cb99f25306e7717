// SPDX-License-Identifier: Apache-2.0
// What LoadThread makes of replies: is it the answer to the oldest request of the connection, is it
// right, how long did it take. One thread.
#include "base/assert.h"
#include "tools/loadgen/load_thread.h"

namespace cachee::loadgen {

namespace {

std::string key_name(const Workload& workload, uint64_t key) {
    std::string digits = std::to_string(key);
    return workload.options().key_prefix +
           std::string(12 - std::min<size_t>(12, digits.size()), '0') + digits;
}

}  // namespace

void LoadThread::record(const Pending& pending) {
    const uint64_t latency_ns = now_ns_ > pending.due_ns ? now_ns_ - pending.due_ns : 0;
    const bool write = pending.request.command == Command::kSet;
    (write ? stats_.write_ns : stats_.read_ns).record(latency_ns);
}

void LoadThread::judge_wrong(Connection& connection, const std::string& why) {
    if (connection.wrong) return;
    connection.wrong = true;
    stats_.add(Tally::kWrong);
    if (stats_.first_wrong.empty()) stats_.first_wrong = why;
}

// --- what the reader calls

// The key that the element under way answers for. Only of a request that reads.
uint64_t LoadThread::Judge::element_key() {
    if (!connection.walk) {
        connection.walk = owner.workload_.walk(owner.pending(connection, 0).request);
        connection.key = connection.walk->next();
        connection.elements = 0;
    }
    return connection.key;
}

void LoadThread::Judge::array(uint64_t count) {
    if (connection.in_flight == 0) return;
    const Request& request = owner.pending(connection, 0).request;
    if (request.command != Command::kMget || count != owner.workload_.keys_of(request)) {
        owner.judge_wrong(connection, "an array of " + std::to_string(count) +
                                          " elements that was not asked for");
    }
}

void LoadThread::Judge::value_part(uint64_t offset, const uint8_t* data, size_t size,
                                   uint64_t whole) {
    if (!owner.plan_.verify || connection.in_flight == 0) return;
    if (owner.pending(connection, 0).request.command > Command::kMget) return;
    const uint64_t key = element_key();
    const uint32_t expected = owner.workload_.value_bytes(key);
    if (whole == expected && owner.workload_.matches(key, offset, data, size)) return;
    owner.judge_wrong(connection, key_name(owner.workload_, key) + ": a value of " +
                                      std::to_string(whole) + " bytes that is not the key's (" +
                                      std::to_string(expected) + " bytes)");
}

void LoadThread::Judge::value_end(uint64_t whole) {
    if (connection.in_flight == 0) return;
    if (owner.pending(connection, 0).request.command > Command::kMget) {
        owner.judge_wrong(connection, "a value where OK was due");
        return;
    }
    if (++connection.found > owner.workload_.keys_of(owner.pending(connection, 0).request)) {
        owner.judge_wrong(connection, "more values than keys were asked for");
    }
    if (!owner.plan_.verify) return;
    if (whole == 0) owner.judge_wrong(connection, "an empty value");
    element_key();
    connection.key = connection.walk->next();
}

void LoadThread::Judge::nil() {
    if (connection.in_flight == 0) return;
    if (owner.pending(connection, 0).request.command > Command::kMget) {
        owner.judge_wrong(connection, "nil where OK was due");
        return;
    }
    if (!owner.plan_.verify) return;
    element_key();
    connection.key = connection.walk->next();
}

void LoadThread::Judge::status(std::string_view text) {
    if (connection.in_flight == 0) return;
    const bool due = owner.pending(connection, 0).request.command > Command::kMget;
    if (!due || text != "OK") {
        owner.judge_wrong(connection, "status \"" + std::string(text.substr(0, 64)) + "\"" +
                                          (due ? " where OK was due" : " where a value was due"));
    }
}

void LoadThread::Judge::error(std::string_view text) {
    connection.error = true;
    if (connection.in_flight == 0) return;
    if (owner.pending(connection, 0).request.command == Command::kAuth) {
        owner.fail("AUTH was refused: " + std::string(text.substr(0, 200)));
        return;
    }
    owner.stats_.add_error(text);
}

void LoadThread::Judge::integer() {
    if (connection.in_flight != 0) owner.judge_wrong(connection, "an integer reply");
}

void LoadThread::Judge::reply_end() { owner.reply_done(connection); }

void LoadThread::reply_done(Connection& connection) {
    if (connection.in_flight == 0) {
        // Servers say why before they close: "-ERR max number of clients reached".
        if (connection.error) {
            last_close_ = "the target sent an error that answers nothing";
        } else {
            judge_wrong(connection, "a reply to no request");
        }
        abort(connection);
        return;
    }
    const Pending done = pending(connection, 0);
    connection.first = (connection.first + 1) % ring_;
    --connection.in_flight;
    --in_flight_;
    const bool good = !connection.error && !connection.wrong;
    if (done.request.command == Command::kAuth) {
        if (good) {
            connection.state = State::kUp;
            connection.retry_ns = plan_.retry_ns;
            ++up_;
            down_since_ns_ = 0;
        }
    } else if (!done.run) {
        if (good) stats_.add(Tally::kPopulated);
    } else {
        stats_.add(Tally::kAnswered);
        if (done.measured) {
            stats_.last_reply_ns.store(now_ns_, std::memory_order_relaxed);
            // Error replies are counted by kind and stay out of the percentiles.
            if (!connection.error) {
                const bool write = done.request.command == Command::kSet;
                stats_.add(write ? Tally::kWrites : Tally::kReads);
                record(done);
                if (!write) {
                    const uint32_t keys = workload_.keys_of(done.request);
                    stats_.add(Tally::kHits, connection.found);
                    stats_.add(Tally::kMisses, keys - std::min(keys, connection.found));
                }
            }
        }
    }
    connection.walk.reset();
    connection.found = 0;
    connection.error = false;
    connection.wrong = false;
    offer(connection);
}

}  // namespace cachee::loadgen
