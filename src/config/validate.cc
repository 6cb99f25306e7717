// SPDX-License-Identifier: Apache-2.0
// Checks across keys. Each conflict names the key to change and the way out. Cold code; any thread.
#include "config/validate.h"

#include <unistd.h>

#include <algorithm>

#include "config/address.h"
#include "config/keys.h"

namespace cachee::config {
namespace {

using Conflicts = std::vector<Conflict>;

void check_workers(const Config& config, Conflicts& conflicts) {
    const std::vector<uint32_t>& cores = config.workers.cores;
    if (cores.size() > 64) {
        conflicts.push_back(
            {"workers.cores", "more than 64 cores; at most 64 workers are supported"});
    }
    std::vector<uint32_t> sorted = cores;
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice != sorted.end()) {
        conflicts.push_back({"workers.cores", "core " + std::to_string(*twice) +
                                                  " is listed twice; each worker needs its own"});
    }
    const long present = sysconf(_SC_NPROCESSORS_CONF);
    if (present > 0 && !sorted.empty() && sorted.back() >= static_cast<uint64_t>(present)) {
        conflicts.push_back({"workers.cores", "core " + std::to_string(sorted.back()) +
                                                  " does not exist; this machine has 0.." +
                                                  std::to_string(present - 1)});
    }
}

void check_listen(const Config& config, Conflicts& conflicts) {
    uint32_t address = 0;
    if (config.listen.password.empty() && parse_ipv4(config.listen.address, address) &&
        !is_private_ipv4(address)) {
        conflicts.push_back(
            {"listen.password", "protected mode: listen.address " + config.listen.address +
                                    " can be reached from outside and no password is set; set "
                                    "listen.password, or listen on a loopback or private address"});
    }
    if (config.listen.buffers_bytes_max < config.listen.send_buffer_bytes_max) {
        conflicts.push_back(
            {"listen.buffers_bytes_max",
             "is less than listen.send_buffer_bytes_max, which one session may use"});
    }
    if (config.listen.buffers_bytes_max < config.listen.receive_window_bytes) {
        conflicts.push_back(
            {"listen.buffers_bytes_max",
             "is less than listen.receive_window_bytes, which one session may use"});
    }
}

void check_drivers(const Config& config, Conflicts& conflicts) {
    if (config.driver == DriverKind::kDpdk && config.dpdk.device.empty()) {
        conflicts.push_back({"dpdk.device",
                             "is empty; driver dpdk needs a PCI address such as "
                             "0000:3b:00.0 or a vdev such as net_tap0,iface=cachee0"});
    }
    if (config.driver != DriverKind::kSocket) {
        uint32_t address = 0;
        if (parse_ipv4(config.listen.address, address) && address == 0) {
            conflicts.push_back({"listen.address",
                                 "0.0.0.0 is for driver socket only; dpdk and sim "
                                 "need the appliance's own address"});
        }
    }
    if (config.driver == DriverKind::kDpdk && !config.dpdk.gateway.empty()) {
        uint32_t own = 0;
        uint32_t gateway = 0;
        const uint32_t bits = config.dpdk.prefix_bits;
        const uint32_t mask = bits == 0 ? 0 : ~uint32_t{0} << (32 - bits);
        if (parse_ipv4(config.listen.address, own) && parse_ipv4(config.dpdk.gateway, gateway) &&
            (own & mask) != (gateway & mask)) {
            conflicts.push_back({"dpdk.gateway", "is not in the subnet of listen.address " +
                                                     config.listen.address + "/" +
                                                     std::to_string(bits)});
        }
    }
    if (config.impairment.enabled && config.driver != DriverKind::kDpdk) {
        conflicts.push_back(
            {"impairment.enabled",
             "is for driver dpdk only; driver sim has its own keys (sim.loss ...)"});
    }
    const Tcp& tcp = config.tcp;
    if (tcp.rto_min_ms > tcp.rto_max_ms) {
        conflicts.push_back({"tcp.rto_min_ms", "is greater than tcp.rto_max_ms"});
    }
    if (tcp.rto_initial_ms > tcp.rto_max_ms) {
        conflicts.push_back({"tcp.rto_initial_ms", "is greater than tcp.rto_max_ms"});
    }
}

bool within(const std::array<uint8_t, 16>& address, const Ipv6Prefix& prefix) {
    for (uint32_t bit = 0; bit < prefix.bits; ++bit) {
        const uint32_t shift = 7 - bit % 8;
        if (((address[bit / 8] ^ prefix.address[bit / 8]) >> shift & 1) != 0) return false;
    }
    return true;
}

void check_ipv6_gateway(const Config& config, const std::vector<Ipv6Prefix>& prefixes,
                        Conflicts& conflicts) {
    std::array<uint8_t, 16> gateway;
    if (config.ip.ipv6_gateway.empty() || !parse_ipv6(config.ip.ipv6_gateway, gateway)) return;
    const bool link_local = gateway[0] == 0xfe && (gateway[1] & 0xc0) == 0x80;
    const bool on_link = std::any_of(prefixes.begin(), prefixes.end(),
                                     [&](const Ipv6Prefix& p) { return within(gateway, p); });
    if (!link_local && !on_link) {
        conflicts.push_back({"ip.ipv6_gateway",
                             "is neither link-local nor within a prefix of ip.ipv6_addresses, so "
                             "it cannot be reached"});
    }
}

// REQUIRES: what check_text() lets through.
void check_ip(const Config& config, Conflicts& conflicts) {
    const Ip& ip = config.ip;
    if (config.driver == DriverKind::kSocket && (ip.ipv6 || ip.vlan_id != 0)) {
        conflicts.push_back({ip.ipv6 ? "ip.ipv6" : "ip.vlan_id",
                             "is for the drivers dpdk and sim; with driver socket the kernel has "
                             "the addresses and tags"});
    }
    if (!ip.ipv6 && (!ip.ipv6_addresses.empty() || !ip.ipv6_gateway.empty())) {
        conflicts.push_back({"ip.ipv6", "is false and IPv6 addresses are given; set it to true"});
    }
    if (ip.ipv6 && config.driver == DriverKind::kDpdk && config.dpdk.mtu < 1280) {
        conflicts.push_back({"dpdk.mtu", "is below 1280, which IPv6 needs (ip.ipv6)"});
    }
    if (ip.ipv6_addresses.size() > 4) {
        conflicts.push_back({"ip.ipv6_addresses", "has more than 4 addresses"});
    }
    std::vector<Ipv6Prefix> prefixes;
    for (const std::string& text : ip.ipv6_addresses) {
        Ipv6Prefix prefix;
        if (!parse_ipv6_prefix(text, prefix)) continue;
        prefixes.push_back(prefix);
        if (config.listen.password.empty() && !is_private_ipv6(prefix.address)) {
            conflicts.push_back(
                {"listen.password",
                 "protected mode: " + text +
                     " of ip.ipv6_addresses can be reached from outside and no password is set; "
                     "set listen.password, or use an address of fc00::/7"});
        }
    }
    check_ipv6_gateway(config, prefixes, conflicts);
}

void check_memory(const Config& config, Conflicts& conflicts) {
    const uint64_t workers =
        config.workers.cores.empty() ? config.workers.count : config.workers.cores.size();
    if (config.l1.item_bytes_max > config.l1.bytes / workers / 2) {
        conflicts.push_back(
            {"l1.item_bytes_max", "is more than half of a worker's share of l1.bytes (" +
                                      std::to_string(config.l1.bytes / workers) +
                                      " bytes); lower it or raise l1.bytes"});
    }
    if (config.l1.bytes_max != 0 && config.l1.bytes_max < config.l1.bytes) {
        conflicts.push_back({"l1.bytes_max", "is less than l1.bytes; raise it, or leave it out"});
    }
    // A value comes from L2 through this ring, in one entry (shm/ring.h: the greatest payload).
    if (config.l1.item_bytes_max > config.shm.ring_data_bytes / 8) {
        conflicts.push_back(
            {"l1.item_bytes_max",
             "is more than an eighth of shm.ring_data_bytes, through which values come from "
             "L2; lower it or raise shm.ring_data_bytes"});
    }
    if (config.limits.query_buffer_bytes_max < config.limits.inline_bytes_max) {
        conflicts.push_back(
            {"limits.query_buffer_bytes_max", "is less than limits.inline_bytes_max"});
    }
}

void check_quotas(const Config& config, Conflicts& conflicts) {
    constexpr size_t kQuotasMax = 8;
    if (config.l1.quotas.size() > kQuotasMax) {
        conflicts.push_back({"l1.quotas", "has more than 8 prefixes"});
    }
    std::vector<std::string> prefixes;
    for (const std::string& text : config.l1.quotas) {
        Quota quota;
        if (!parse_quota(text, quota).empty()) continue;
        if (std::find(prefixes.begin(), prefixes.end(), quota.prefix) != prefixes.end()) {
            conflicts.push_back({"l1.quotas", "has \"" + quota.prefix + "\" twice"});
        }
        if (quota.bytes > config.l1.bytes) {
            conflicts.push_back(
                {"l1.quotas", "\"" + quota.prefix + "\" may take more than all of l1.bytes"});
        }
        prefixes.push_back(quota.prefix);
    }
}

void check_l2(const Config& config, Conflicts& conflicts) {
    const L2& l2 = config.l2;
    if (l2.reconnect_min_ms > l2.reconnect_max_ms) {
        conflicts.push_back({"l2.reconnect_min_ms", "is greater than l2.reconnect_max_ms"});
    }
    if (l2.lease_ms < uint64_t{2} * l2.heartbeat_ms) {
        conflicts.push_back(
            {"l2.lease_ms",
             "is less than two of l2.heartbeat_ms: one late PING would stop L1; raise it "
             "or lower l2.heartbeat_ms"});
    }
}

}  // namespace

std::vector<Conflict> find_conflicts(const Config& config) {
    Conflicts conflicts;
    check_workers(config, conflicts);
    check_listen(config, conflicts);
    check_drivers(config, conflicts);
    check_ip(config, conflicts);
    check_memory(config, conflicts);
    check_quotas(config, conflicts);
    check_l2(config, conflicts);
    return conflicts;
}

}  // namespace cachee::config
