// SPDX-License-Identifier: Apache-2.0
// The test peer; see sim_client.h. One thread.
#include "drivers/sim/sim_client.h"

#include <utility>

#include "base/assert.h"

namespace cachee::sim {

using io::EventKind;
using net::kNoSession;

SimClient::SimClient(net::FramePort& port, const net::TcpOptions& options)
    : counters_(std::make_unique<stats::WorkerCounters>()),
      serial_by_index_(options.sessions_max, -1) {
    auto created = net::TcpTransport::create(port, options, counters_.get());
    CACHEE_ASSERT(created.has_value());
    transport_ = std::move(created).value();
}

int64_t SimClient::connect(uint32_t ip, uint16_t port, uint16_t local_port) {
    return opening(transport_->connect(ip, port, local_port));
}

int64_t SimClient::connect(const net::Ipv6Address& ip, uint16_t port, uint16_t local_port) {
    return opening(transport_->connect(ip, port, local_port));
}

int64_t SimClient::opening(io::SessionIndex index) {
    if (index == kNoSession) return -1;
    serial_by_index_[index] = static_cast<int64_t>(sessions_.size());
    sessions_.emplace_back();
    index_by_serial_.push_back(index);
    return serial_by_index_[index];
}

int64_t SimClient::serial_of(io::SessionIndex index) {
    if (serial_by_index_[index] < 0) {
        serial_by_index_[index] = static_cast<int64_t>(sessions_.size());
        sessions_.emplace_back();
        index_by_serial_.push_back(index);
    }
    return serial_by_index_[index];
}

void SimClient::send(int64_t serial, std::string_view bytes) {
    session(serial).outbox.append(bytes);
    drain(serial);
}

void SimClient::drain(int64_t serial) {
    Session& s = session(serial);
    if (s.closed) {
        std::string().swap(s.outbox);  // with its memory: sessions are never forgotten
        return;
    }
    const io::SessionIndex index = index_by_serial_[static_cast<size_t>(serial)];
    if (!s.outbox.empty()) {
        const size_t taken = transport_->append(
            index, reinterpret_cast<const uint8_t*>(s.outbox.data()), s.outbox.size());
        s.outbox.erase(0, taken);
    }
    if (!s.outbox.empty()) return;
    if (std::exchange(s.half_close_due, false)) transport_->shutdown_send(index);
    if (std::exchange(s.close_due, false)) transport_->close(index, io::CloseHow::kFlush);
}

void SimClient::half_close(int64_t serial) {
    session(serial).half_close_due = true;
    drain(serial);
}

void SimClient::close(int64_t serial) {
    session(serial).close_due = true;
    drain(serial);
}

void SimClient::abort(int64_t serial) {
    if (session(serial).closed) return;
    transport_->close(index_by_serial_[static_cast<size_t>(serial)], io::CloseHow::kAbort);
}

void SimClient::pause(int64_t serial) {
    session(serial).paused = true;
    transport_->pause(index_by_serial_[static_cast<size_t>(serial)]);
}

void SimClient::resume(int64_t serial) {
    session(serial).paused = false;
    if (!session(serial).closed) {
        transport_->resume(index_by_serial_[static_cast<size_t>(serial)]);
    }
}

std::string SimClient::take_received(int64_t serial) {
    return std::exchange(session(serial).received, {});
}

void SimClient::handle(const io::Event& event, uint64_t now_ns) {
    const int64_t serial = serial_of(event.session);
    Session& s = session(serial);
    CACHEE_ASSERT(!s.closed);
    switch (event.kind) {
        case EventKind::kOpened:
            CACHEE_ASSERT(!s.opened);
            s.opened = true;
            break;
        case EventKind::kData:
            CACHEE_ASSERT(s.opened);
            CACHEE_ASSERT(!s.eof);
            CACHEE_ASSERT(event.size > 0);
            s.received.append(reinterpret_cast<const char*>(event.data), event.size);
            s.last_progress_ns = now_ns;
            if (on_data) on_data(serial);
            break;
        case EventKind::kEof:
            CACHEE_ASSERT(!s.eof);
            s.eof = true;
            if (on_eof) on_eof(serial);
            break;
        case EventKind::kWritable:
            ++s.writable_events;
            break;
        case EventKind::kClosed:
            s.closed = true;
            s.reason = event.reason;
            serial_by_index_[event.session] = -1;
            break;
    }
    drain(serial);
}

size_t SimClient::step(uint64_t now_ns) {
    io::Event events[32];
    const size_t n = transport_->poll(now_ns, events, 32);
    for (size_t i = 0; i < n; ++i) handle(events[i], now_ns);
    transport_->release();
    transport_->flush(now_ns);
    return n;
}

}  // namespace cachee::sim
