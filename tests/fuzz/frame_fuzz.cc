// SPDX-License-Identifier: Apache-2.0
// Fuzz target of net/interface.h and what is behind it: frames as they come off the wire, whatever
// their bytes. Input: one byte of choices, then records of [length 1][frame]; the last one takes
// what is left. Each frame is given as it is with checksums "good" by the port (so that any TCP
// header is reached), or with its checksums verified, into a stack with one session, one half-open
// entry and cookies. Promises: no read outside of the frame, frames sent are well formed, every
// buffer comes back, the tables keep their bounds.
#include <algorithm>

#include "base/assert.h"
#include "net/bytes.h"
#include "net/checksum.h"
#include "net/headers.h"
#include "net/tcp_transport.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_port.h"

namespace cachee::fuzz {
namespace {

using namespace net;  // NOLINT: the target speaks its vocabulary

constexpr uint32_t kLocal = 0x0a000001;
constexpr uint32_t kRemote = 0x0a000002;

TcpOptions options_for(uint8_t choices) {
    TcpOptions options;
    options.local_ip = kLocal;
    options.listen_port = 6379;
    options.sessions_max = 4;
    options.half_open_max = 4;
    options.time_wait_max = 2;
    options.receive_window_bytes = 16384;
    options.buffers_bytes_max = 32 * 2048;
    options.verify_checksums = (choices & 2) != 0;
    options.syn_cookies = static_cast<SynCookiesUse>((choices >> 2) % 3);
    options.secret_seed = 1;
    return options;
}

struct Stack {
    explicit Stack(uint8_t choices) {
        auto made = TcpTransport::create(port, options_for(choices), counters.get());
        CACHEE_ASSERT(made.has_value());
        tcp = std::move(made).value();
    }
    void turn() {
        now_ns += 3'000'000;
        io::Event events[16];
        const size_t n = tcp->poll(now_ns, events, 16);
        for (size_t i = 0; i < n; ++i) {
            // Echo: what comes in order goes out again, so that sending is reached too.
            if (events[i].kind == io::EventKind::kData) {
                tcp->append(events[i].session, events[i].data, events[i].size);
            } else if (events[i].kind == io::EventKind::kEof) {
                tcp->close(events[i].session, io::CloseHow::kFlush);
            }
        }
        tcp->release();
        tcp->flush(now_ns);
        for (; !port.sent().empty(); port.sent().pop_front()) check(port.sent().front());
    }
    void check(const std::vector<uint8_t>& frame) {
        if (load_be16(&frame[12]) != kEtherTypeIpv4) return;
        Ipv4Packet packet;
        CACHEE_ASSERT(parse_ipv4(&frame[14], static_cast<uint32_t>(frame.size()) - 14, packet));
        CACHEE_ASSERT(packet.src_ip == kLocal);
        if (packet.protocol != kProtocolTcp) return;
        const uint64_t pseudo =
            pseudo_header_sum(packet.src_ip, packet.dst_ip, kProtocolTcp, packet.payload_bytes);
        CACHEE_ASSERT(checksum_fold(checksum_add(packet.payload, packet.payload_bytes, pseudo)) ==
                      0xffff);
        TcpSegment segment;
        CACHEE_ASSERT(parse_tcp(packet.payload, packet.payload_bytes, segment));
        if ((segment.flags & (kSyn | kAck)) == (kSyn | kAck)) server_iss = segment.seq;
    }

    MemoryPort port;
    std::unique_ptr<stats::WorkerCounters> counters = std::make_unique<stats::WorkerCounters>();
    std::unique_ptr<TcpTransport> tcp;
    uint64_t now_ns = 1'000'000'000;
    uint32_t server_iss = 0;
};

// A SYN of the peer's port 1000, or the ACK that follows; `flags` says which.
void handshake(Stack& stack, uint8_t flags) {
    uint8_t frame[54] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40};
    frame[22] = 64;
    frame[23] = kProtocolTcp;
    store_be32(frame + 26, kRemote);
    store_be32(frame + 30, kLocal);
    store_be16(frame + 34, 1000);
    store_be16(frame + 36, 6379);
    store_be32(frame + 38, flags == kSyn ? 0x1000 : 0x1001);
    store_be32(frame + 42, stack.server_iss + 1);
    frame[46] = 0x50;
    frame[47] = flags;
    store_be16(frame + 48, 0xffff);
    stack.port.push(frame, sizeof frame, Checksum::kGood);
    stack.turn();
}

}  // namespace

void frame_target(const uint8_t* data, size_t size) {
    if (size == 0) return;
    const uint8_t choices = data[0];
    ++data;
    --size;
    Stack stack(choices);
    handshake(stack, kSyn);
    if ((choices & 0x40) != 0) handshake(stack, kAck);
    const Checksum checksum = (choices & 1) != 0 ? Checksum::kGood : Checksum::kUnknown;
    while (size > 0) {
        const size_t length = std::min<size_t>(data[0], size - 1);
        stack.port.push(data + 1, length, checksum);
        data += 1 + length;
        size -= 1 + length;
        stack.turn();
        const TcpTransport::Usage usage = stack.tcp->usage();
        CACHEE_ASSERT(usage.sessions <= 4 && usage.half_open <= 4 && usage.time_wait <= 2);
        CACHEE_ASSERT(usage.blocks <= 32);
    }
    if ((choices & 0x80) != 0) {
        stack.now_ns += 1'000'000'000;
        stack.turn();
    }
}

}  // namespace cachee::fuzz

CACHEE_FUZZ_MAIN(frame_target)
