// SPDX-License-Identifier: Apache-2.0
// Fuzz target of net/interface.h and what is behind it: frames as they come off the wire, whatever
// their bytes, over IPv4 and IPv6. Input: one byte of choices, then records of [length 1][frame];
// the last one takes what is left. Each frame is given as it is with checksums "good" by the port
// (so that any TCP header is reached), or with its checksums verified, into a stack with a session
// or a half-open entry of each version, and cookies. What no input can guess may be mended first:
// checksums (ICMP's are always verified) and our initial sequence number, in acknowledgements and
// in the packets that ICMP errors quote. Promises: no read outside of the frame, frames sent are
// well formed, every buffer comes back, the tables keep their bounds.
//
// Choices: 1 checksums good, 2 verified, 4..16 which use of cookies, 16 mended, 32 IPv6 handshake,
// 64 handshakes complete, 128 a second at the end.
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
constexpr Ipv6Address kLocal6 = {{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
constexpr Ipv6Address kRemote6 = {{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};
enum Choice : uint8_t {
    kGoodChecksums = 1,
    kVerify = 2,
    kMend = 16,
    kHandshakeIpv6 = 32,
    kEstablished = 64,
    kSecondAfter = 128,
};

TcpOptions options_for(uint8_t choices) {
    TcpOptions options;
    options.local_ip = kLocal;
    options.listen_port = 6379;
    options.sessions_max = 4;
    options.half_open_max = 4;
    options.time_wait_max = 2;
    options.receive_window_bytes = 16384;
    options.buffers_bytes_max = 32 * 2048;
    options.verify_checksums = (choices & kVerify) != 0;
    options.syn_cookies = static_cast<SynCookiesUse>((choices >> 2) % 3);
    options.secret_seed = 1;
    options.ipv6.enabled = true;
    options.ipv6.addresses = {{kLocal6, 64}};
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
        const auto size = static_cast<uint32_t>(frame.size()) - 14;
        if (load_be16(&frame[12]) == kEtherTypeIpv6) return check_ipv6(&frame[14], size);
        if (load_be16(&frame[12]) != kEtherTypeIpv4) return;
        Ipv4Packet packet;
        CACHEE_ASSERT(parse_ipv4(&frame[14], size, packet));
        CACHEE_ASSERT(packet.src_ip == kLocal);
        if (packet.protocol != kProtocolTcp) return;
        check_tcp(
            packet.payload, packet.payload_bytes,
            pseudo_header_sum(packet.src_ip, packet.dst_ip, kProtocolTcp, packet.payload_bytes),
            iss);
    }
    void check_ipv6(const uint8_t* data, uint32_t size) {
        Ipv6Packet packet;
        Ipv6Problem problem;
        CACHEE_ASSERT(parse_ipv6(data, size, packet, problem) == Ipv6Verdict::kGood);
        CACHEE_ASSERT(packet.src() == kLocal6 || packet.src().link_local() ||
                      packet.src().unspecified());
        CACHEE_ASSERT(size == kIpv6Bytes + load_be16(data + 4));
        const uint64_t pseudo =
            ipv6_pseudo_sum(packet.header + 8, packet.protocol, packet.payload_bytes);
        if (packet.protocol == kProtocolTcp) {
            check_tcp(packet.payload, packet.payload_bytes, pseudo, iss6);
            return;
        }
        CACHEE_ASSERT(packet.protocol == kProtocolIcmpv6);
        CACHEE_ASSERT(checksum_fold(checksum_add(packet.payload, packet.payload_bytes, pseudo)) ==
                      0xffff);
    }
    static void check_tcp(const uint8_t* tcp, uint32_t bytes, uint64_t pseudo, uint32_t& iss) {
        CACHEE_ASSERT(checksum_fold(checksum_add(tcp, bytes, pseudo)) == 0xffff);
        TcpSegment segment;
        CACHEE_ASSERT(parse_tcp(tcp, bytes, segment));
        if ((segment.flags & (kSyn | kAck)) == (kSyn | kAck)) iss = segment.seq;
    }

    MemoryPort port;
    std::unique_ptr<stats::WorkerCounters> counters = std::make_unique<stats::WorkerCounters>();
    std::unique_ptr<TcpTransport> tcp;
    uint64_t now_ns = 1'000'000'000;
    uint32_t iss = 0;  // of the last SYN and ACK, by version
    uint32_t iss6 = 0;
};

// A SYN of the peer's port 1000, or the ACK that follows; `flags` says which.
void handshake(Stack& stack, bool ipv6, uint8_t flags) {
    uint8_t frame[74] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
    uint8_t* const ip = frame + 14;
    uint8_t* tcp = ip + 20;
    if (ipv6) {
        store_be16(frame + 12, kEtherTypeIpv6);
        ip[0] = 0x60;
        ip[5] = 20;
        ip[6] = kProtocolTcp;
        ip[7] = 64;
        kRemote6.store(ip + 8);
        kLocal6.store(ip + 24);
        tcp = ip + kIpv6Bytes;
    } else {
        store_be16(frame + 12, kEtherTypeIpv4);
        ip[0] = 0x45;
        ip[3] = 40;
        ip[8] = 64;
        ip[9] = kProtocolTcp;
        store_be32(ip + 12, kRemote);
        store_be32(ip + 16, kLocal);
    }
    store_be16(tcp, 1000);
    store_be16(tcp + 2, 6379);
    store_be32(tcp + 4, flags == kSyn ? 0x1000 : 0x1001);
    store_be32(tcp + 8, (ipv6 ? stack.iss6 : stack.iss) + 1);
    tcp[12] = 0x50;
    tcp[13] = flags;
    store_be16(tcp + 14, 0xffff);
    stack.port.push(frame, static_cast<size_t>(tcp + 20 - frame), Checksum::kGood);
    stack.turn();
}

void add_be32(uint8_t* p, uint32_t value) { store_be32(p, load_be32(p) + value); }

// What is at `quoted`, of `bytes`, in an ICMP error: its sequence number becomes relative to ours.
void mend_quoted(uint8_t* quoted, uint32_t bytes, bool ipv6, uint32_t iss) {
    const uint32_t tcp_at = ipv6 ? kIpv6Bytes : 4u * (bytes > 0 ? quoted[0] & 15 : 0);
    if (bytes >= tcp_at + 8) add_be32(quoted + tcp_at + 4, iss);
}

void mend_ipv4(uint8_t* ip, uint32_t size, uint32_t iss) {
    Ipv4Packet packet;
    if (!parse_ipv4(ip, size, packet)) return;
    store_be16(ip + 10, 0);
    checksum_store(ip + 10, checksum_finish(checksum_add(ip, packet.header_bytes, 0)));
    uint8_t* const payload = ip + (packet.payload - ip);
    const uint32_t bytes = packet.payload_bytes;
    if (packet.protocol == kProtocolTcp && bytes >= 20) {
        add_be32(payload + 8, iss);
        store_be16(payload + 16, 0);
        const uint64_t pseudo =
            pseudo_header_sum(packet.src_ip, packet.dst_ip, kProtocolTcp, bytes);
        checksum_store(payload + 16, checksum_finish(checksum_add(payload, bytes, pseudo)));
    } else if (packet.protocol == kProtocolIcmp && bytes >= 8) {
        if (payload[0] != 8) mend_quoted(payload + 8, bytes - 8, false, iss);
        store_be16(payload + 2, 0);
        checksum_store(payload + 2, checksum_finish(checksum_add(payload, bytes, 0)));
    }
}

void mend_ipv6(uint8_t* ip, uint32_t size, uint32_t iss) {
    Ipv6Packet packet;
    Ipv6Problem problem;
    if (parse_ipv6(ip, size, packet, problem) != Ipv6Verdict::kGood) return;
    uint8_t* const payload = ip + (packet.payload - ip);
    const uint32_t bytes = packet.payload_bytes;
    uint8_t* field = nullptr;
    if (packet.protocol == kProtocolTcp && bytes >= 20) {
        add_be32(payload + 8, iss);
        field = payload + 16;
    } else if (packet.protocol == kProtocolIcmpv6 && bytes >= 8) {
        if (payload[0] < 128) mend_quoted(payload + 8, bytes - 8, true, iss);
        field = payload + 2;
    } else {
        return;
    }
    store_be16(field, 0);
    const uint64_t pseudo = ipv6_pseudo_sum(packet.header + 8, packet.protocol, bytes);
    checksum_store(field, checksum_finish(checksum_add(payload, bytes, pseudo)));
}

void push(Stack& stack, const uint8_t* data, size_t size, uint8_t choices) {
    const Checksum checksum =
        (choices & kGoodChecksums) != 0 ? Checksum::kGood : Checksum::kUnknown;
    if ((choices & kMend) == 0 || size < 14) {
        stack.port.push(data, size, checksum);
        return;
    }
    std::vector<uint8_t> frame(data, data + size);
    const auto packet_bytes = static_cast<uint32_t>(size) - 14;
    const uint16_t type = load_be16(&frame[12]);
    if (type == kEtherTypeIpv4) mend_ipv4(frame.data() + 14, packet_bytes, stack.iss);
    if (type == kEtherTypeIpv6) mend_ipv6(frame.data() + 14, packet_bytes, stack.iss6);
    stack.port.push(frame.data(), size, checksum);
}

}  // namespace

void frame_target(const uint8_t* data, size_t size) {
    if (size == 0) return;
    const uint8_t choices = data[0];
    ++data;
    --size;
    Stack stack(choices);
    for (const bool ipv6 : {false, true}) {
        if (ipv6 && (choices & kHandshakeIpv6) == 0) continue;
        handshake(stack, ipv6, kSyn);
        if ((choices & kEstablished) != 0) handshake(stack, ipv6, kAck);
    }
    while (size > 0) {
        const size_t length = std::min<size_t>(data[0], size - 1);
        push(stack, data + 1, length, choices);
        data += 1 + length;
        size -= 1 + length;
        stack.turn();
        const TcpTransport::Usage usage = stack.tcp->usage();
        CACHEE_ASSERT(usage.sessions <= 4 && usage.half_open <= 4 && usage.time_wait <= 2);
        CACHEE_ASSERT(usage.blocks <= 32);
    }
    if ((choices & kSecondAfter) != 0) {
        stack.now_ns += 1'000'000'000;
        stack.turn();
    }
}

}  // namespace cachee::fuzz

CACHEE_FUZZ_MAIN(frame_target)
