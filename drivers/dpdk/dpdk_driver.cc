// SPDX-License-Identifier: Apache-2.0
// EAL and the ethdev: start, configuration, stop. Cold code, main thread.
#include "drivers/dpdk/dpdk_driver.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "base/clock.h"
#include "drivers/dpdk/buffers.h"
#include "drivers/dpdk/dpdk_port.h"
#include "drivers/dpdk/lent_memory.h"
#include "drivers/dpdk/pci_device.h"

namespace cachee::dpdk {
namespace {

using base::Error;
using base::Status;

constexpr uint64_t kLinkWaitNs = 2 * base::kNsPerS;

std::string reason_text(int code) { return rte_strerror(code < 0 ? -code : code); }

uint64_t free_hugepages_2m() {
    std::ifstream file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    uint64_t pages = 0;
    file >> pages;
    return pages;
}

}  // namespace

struct DpdkDriver::Impl {
    config::Dpdk config;
    uint32_t worker_count = 0;
    std::string prefix;
    std::vector<std::string> arguments;  // EAL keeps pointers into them
    std::vector<char*> argv;
    bool eal_up = false;
    bool device_up = false;  // configured: close() is due
    uint16_t port_id = 0;
    rte_eth_dev_info device{};
    uint64_t tx_offloads = 0;
    std::vector<rte_mempool*> rx_pools;
    std::vector<rte_mempool*> tx_pools;    // the same ones where TSO is not offered
    std::vector<rte_mempool*> lent_pools;  // empty: nothing is lent
    LentMemory lent;
    net::PortInfo info;
    std::vector<std::string> notes;

    Status check_config() const;
    Status start_eal(const std::string& instance, config::LogLevel log_level);
    void remove_runtime_directory() const;
    Status find_device();
    Status check_queues() const;
    Status make_pools();
    Status configure();
    Status set_up_queues();
    Status start_device();
    void wait_for_link();
    void fill_info();
    Status make_lent_pools();
    std::string device_name() const { return config.device.substr(0, config.device.find(',')); }
    Error device_error(const std::string& what, int code) const {
        return Error{"dpdk.device " + device_name() + ": " + what + ": " + reason_text(code)};
    }
};

Status DpdkDriver::Impl::check_config() const {
    if (config.mtu < 576 || config.mtu > 9000) {
        return Error{"dpdk.mtu is " + std::to_string(config.mtu) + "; allowed: 576..9000"};
    }
    const uint32_t held = config.rx_descriptors + config.tx_descriptors + 2 * kCacheMbufs;
    if (config.mbufs < held || config.mbufs > kMbufsMax) {
        return Error{"dpdk.mbufs is " + std::to_string(config.mbufs) + "; allowed with " +
                     std::to_string(config.rx_descriptors) + " + " +
                     std::to_string(config.tx_descriptors) +
                     " descriptors: " + std::to_string(held) + ".." + std::to_string(kMbufsMax)};
    }
    return {};
}

Status DpdkDriver::Impl::start_eal(const std::string& instance, config::LogLevel log_level) {
    auto built = eal_arguments(config, worker_count, instance, log_level);
    if (!built) return built.error();
    arguments = std::move(*built);
    prefix = "cachee-" + instance;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    rte_openlog_stream(stderr);  // without it EAL writes to syslog as well
    cpu_set_t cpus;
    const bool have_cpus = ::sched_getaffinity(0, sizeof cpus, &cpus) == 0;
    const int result = rte_eal_init(static_cast<int>(arguments.size()), argv.data());
    if (have_cpus) ::sched_setaffinity(0, sizeof cpus, &cpus);
    remove_runtime_directory();
    if (result >= 0) {
        eal_up = true;
        return {};
    }
    std::string text = "DPDK's EAL did not start (" + reason_text(rte_errno) + ")";
    if (rte_errno == EALREADY) {
        text += ": it can be started once in a process only";
    } else if (config.hugepages && free_hugepages_2m() * 2 < config.memory_mib) {
        text += ": dpdk.memory_mib is " + std::to_string(config.memory_mib) + " and only " +
                std::to_string(free_hugepages_2m()) +
                " hugepages of 2 MiB are free; raise vm.nr_hugepages, lower dpdk.memory_mib or set "
                "dpdk.hugepages: false";
    } else if (is_pci_address(device_name())) {
        text += "; dpdk.device " + device_name() + " " + pci_obstacle(device_name());
    } else {
        text += "; the lines above, or instance.log_level: debug, say why";
    }
    return Error{text};
}

// EAL makes a directory even when it is told to share nothing and puts no file into it. It goes at
// once: a process that drops its privileges cannot remove it later.
void DpdkDriver::Impl::remove_runtime_directory() const {
    const std::filesystem::path runtime = rte_eal_get_runtime_dir();
    if (runtime.filename() != prefix) return;
    std::error_code ignored;
    std::filesystem::remove(runtime, ignored);  // only if it is empty
}

Status DpdkDriver::Impl::find_device() {
    if (rte_eth_dev_get_port_by_name(device_name().c_str(), &port_id) == 0) return {};
    const uint64_t first = rte_eth_find_next_owned_by(0, RTE_ETH_DEV_NO_OWNER);
    if (first < RTE_MAX_ETHPORTS) {  // "3b:00.0" is known by its long name
        port_id = static_cast<uint16_t>(first);
        return {};
    }
    if (is_pci_address(device_name())) {
        return Error{"dpdk.device " + device_name() + " " + pci_obstacle(device_name())};
    }
    return Error{"dpdk.device " + device_name() +
                 ": no port of that name came up; a net_af_xdp device needs its iface and "
                 "CAP_NET_ADMIN, net_tap needs /dev/net/tun"};
}

Status DpdkDriver::Impl::check_queues() const {
    const auto queues = std::min(device.max_rx_queues, device.max_tx_queues);
    if (queues >= worker_count) return {};
    std::string text = "dpdk.device " + device_name() + " has " + std::to_string(queues) +
                       (queues == 1 ? " queue pair, " : " queue pairs, ") +
                       std::to_string(worker_count) + " workers need one each";
    const std::string driver = device.driver_name;
    if (driver == "net_af_xdp") {
        text += ": add queue_count=" + std::to_string(worker_count) +
                " to the device (and as many queues to the interface: ethtool -L), or";
    } else if (driver == "net_virtio_user") {
        text += ": add queues=" + std::to_string(worker_count) + " to the device, or";
    } else if (driver == "net_virtio") {
        text += ": give the virtual machine's NIC that many (QEMU: mq=on, and queues=" +
                std::to_string(worker_count) + " of its netdev), or";
    } else {
        text += ":";
    }
    return Error{text + " configure fewer workers (workers.count, workers.cores)"};
}

Status DpdkDriver::Impl::make_pools() {
    const auto room = static_cast<uint16_t>(data_room_bytes(config.mtu));
    const bool tso = (tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0;
    const int socket = rte_eth_dev_socket_id(port_id);
    for (uint32_t worker = 0; worker < worker_count; ++worker) {
        const std::string name = "cachee_rx_" + std::to_string(worker);
        rte_mempool* rx =
            rte_pktmbuf_pool_create(name.c_str(), config.mbufs, kCacheMbufs, 0, room, socket);
        rte_mempool* tx = rx;
        if (rx != nullptr && tso) {
            const std::string tx_name = "cachee_tx_" + std::to_string(worker);
            tx = rte_pktmbuf_pool_create(tx_name.c_str(),
                                         config.tx_descriptors + kTsoMbufsBeyondRing, kCacheMbufs,
                                         0, RTE_PKTMBUF_HEADROOM + kTsoBytesMax, socket);
        }
        if (rx != nullptr) rx_pools.push_back(rx);
        if (tx == nullptr) {
            return Error{"no memory for dpdk.mbufs = " + std::to_string(config.mbufs) +
                         " frame buffers for each of " + std::to_string(worker_count) +
                         " workers (" + reason_text(rte_errno) +
                         "): raise dpdk.memory_mib (and the hugepages) or lower dpdk.mbufs"};
        }
        tx_pools.push_back(tx);
    }
    return {};
}

Status DpdkDriver::Impl::configure() {
    rte_eth_conf conf{};
    // More than the device takes is no error: fill_info() notes it. Some devices state frames only.
    conf.rxmode.mtu = std::min<uint32_t>(config.mtu, device.max_mtu);
    if (device.max_rx_pktlen >= RTE_ETHER_MAX_VLAN_FRAME_LEN) {
        conf.rxmode.mtu =
            std::min<uint32_t>(conf.rxmode.mtu, device.max_rx_pktlen - RTE_ETHER_HDR_LEN -
                                                    RTE_ETHER_CRC_LEN - RTE_VLAN_HLEN);
    }
    conf.rxmode.offloads =
        device.rx_offload_capa & (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM);
    conf.txmode.offloads = tx_offloads;
    constexpr uint64_t kHashTypes = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP;
    const uint64_t hash = device.flow_type_rss_offloads & kHashTypes;
    if (worker_count > 1 && hash != 0) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = hash;
    }
    const auto queues = static_cast<uint16_t>(worker_count);
    int result = rte_eth_dev_configure(port_id, queues, queues, &conf);
    if (result != 0 && conf.rxmode.mq_mode == RTE_ETH_MQ_RX_RSS) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_NONE;
        conf.rx_adv_conf = {};
        result = rte_eth_dev_configure(port_id, queues, queues, &conf);
    }
    if (result != 0) return device_error("cannot be configured", result);
    device_up = true;
    if (worker_count > 1 && conf.rxmode.mq_mode != RTE_ETH_MQ_RX_RSS) {
        notes.push_back("dpdk.device " + device_name() +
                        " has no RSS of its own: connections spread over the workers only if the "
                        "other end of the device hashes them");
    }
    return {};
}

Status DpdkDriver::Impl::set_up_queues() {
    uint16_t rx_descriptors = config.rx_descriptors;
    uint16_t tx_descriptors = config.tx_descriptors;
    int result = rte_eth_dev_adjust_nb_rx_tx_desc(port_id, &rx_descriptors, &tx_descriptors);
    if (result != 0) return device_error("descriptor counts are refused", result);
    rte_eth_txconf tx_conf = device.default_txconf;
    tx_conf.offloads = tx_offloads;
    const int socket = rte_eth_dev_socket_id(port_id);
    const auto node = static_cast<unsigned>(socket < 0 ? SOCKET_ID_ANY : socket);
    for (uint16_t queue = 0; queue < worker_count; ++queue) {
        result =
            rte_eth_rx_queue_setup(port_id, queue, rx_descriptors, node, nullptr, rx_pools[queue]);
        if (result != 0) {
            const bool af_xdp = std::string(device.driver_name) == "net_af_xdp";
            return device_error("receive queue " + std::to_string(queue) + " cannot be set up" +
                                    (af_xdp ? " (start as root, with dpdk.mtu at most 2000)" : ""),
                                result);
        }
        result = rte_eth_tx_queue_setup(port_id, queue, tx_descriptors, node, &tx_conf);
        if (result != 0) {
            return device_error("transmit queue " + std::to_string(queue) + " cannot be set up",
                                result);
        }
    }
    return {};
}

Status DpdkDriver::Impl::start_device() {
    const int result = rte_eth_dev_start(port_id);
    if (result != 0) {
        const bool memif = std::string(device.driver_name) == "net_memif";
        return device_error(std::string("does not start") +
                                (memif ? " (as a client: nobody listens at its socket)" : ""),
                            result);
    }
    rte_eth_promiscuous_disable(
        port_id);  // not every device can; frames for others are dropped later
    wait_for_link();
    fill_info();
    return {};
}

void DpdkDriver::Impl::wait_for_link() {
    const uint64_t deadline = base::monotonic_ns() + kLinkWaitNs;
    for (;;) {
        rte_eth_link link{};
        if (rte_eth_link_get_nowait(port_id, &link) != 0) return;  // it cannot tell
        if (link.link_status == RTE_ETH_LINK_UP) return;
        if (base::monotonic_ns() > deadline) break;
        const timespec pause{0, 10'000'000};
        ::nanosleep(&pause, nullptr);
    }
    notes.push_back(
        "dpdk.device " + device_name() +
        ": the link is down (cable, switch port, or the peer of a virtual device); going on");
}

void DpdkDriver::Impl::fill_info() {
    info.name = device_name();
    rte_ether_addr mac{};
    rte_eth_macaddr_get(port_id, &mac);
    std::copy(std::begin(mac.addr_bytes), std::end(mac.addr_bytes), info.mac.begin());
    uint16_t mtu = 0;
    const bool known = rte_eth_dev_get_mtu(port_id, &mtu) == 0 && mtu > 0;
    info.mtu = known ? std::min<uint32_t>(mtu, config.mtu) : config.mtu;
    if (info.mtu < config.mtu) {
        notes.push_back("dpdk.device " + device_name() + ": the MTU is " +
                        std::to_string(info.mtu) +
                        ", not dpdk.mtu = " + std::to_string(config.mtu));
    }
    info.tx_ip_checksum = (tx_offloads & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0;
    info.tx_tcp_checksum = (tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) != 0;
    info.tso = (tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0;
    info.tso_bytes_max = info.tso ? kTsoBytesMax : 0;
}

Status DpdkDriver::Impl::make_lent_pools() {
    const int socket = rte_eth_dev_socket_id(port_id);
    constexpr uint16_t kPrivateBytes = RTE_ALIGN(sizeof(LentFrame), RTE_MBUF_PRIV_ALIGN);
    for (uint32_t worker = 0; worker < worker_count; ++worker) {
        const std::string name = "cachee_lent_" + std::to_string(worker);
        rte_mempool* pool = rte_pktmbuf_pool_create(name.c_str(), lent_frames(config), kCacheMbufs,
                                                    kPrivateBytes, 0, socket);
        if (pool == nullptr) {
            return Error{"large values are copied into frames: no memory for their descriptions (" +
                         reason_text(rte_errno) + "); raise dpdk.memory_mib"};
        }
        lent_pools.push_back(pool);
    }
    return {};
}

Status DpdkDriver::lend(uint8_t* memory, uint64_t bytes, uint64_t page_bytes) {
    CACHEE_ASSERT(impl_->device_up);
    if ((impl_->tx_offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) == 0) return {};
    Status status = impl_->lent.add(memory, bytes, page_bytes, impl_->device.device);
    if (status) status = impl_->make_lent_pools();
    if (!status) {
        impl_->lent.remove();
        return status;
    }
    impl_->info.tx_attach = true;
    return {};
}

DpdkDriver::DpdkDriver() : impl_(std::make_unique<Impl>()) {}

DpdkDriver::~DpdkDriver() { stop(); }

Status DpdkDriver::init(const config::Dpdk& config, uint32_t worker_count,
                        const std::string& instance, config::LogLevel log_level) {
    CACHEE_ASSERT(!impl_->eal_up);
    CACHEE_ASSERT(worker_count > 0);
    impl_->config = config;
    impl_->worker_count = worker_count;
    Status status = impl_->check_config();
    if (status) status = impl_->start_eal(instance, log_level);
    if (!status) return status;
    status = impl_->find_device();
    if (status) {
        const int result = rte_eth_dev_info_get(impl_->port_id, &impl_->device);
        if (result != 0) status = impl_->device_error("does not describe itself", result);
    }
    if (status) {
        // TSO only together with the TCP checksum, which it implies; the IP header's is made in
        // DpdkPort where the device has none.
        constexpr uint64_t kChecksums =
            RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
        const uint64_t offered = impl_->device.tx_offload_capa;
        impl_->tx_offloads = offered & kChecksums;
        // net_tap refuses, and never sends, a TSO frame whose segments fill the MTU: it compares
        // tso_segsz plus all headers, Ethernet's too, with the MTU (rte_eth_tap.c, pmd_tx_burst).
        const bool sound = std::string(impl_->device.driver_name) != "net_tap";
        if ((impl_->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) != 0 && sound) {
            impl_->tx_offloads |= offered & RTE_ETH_TX_OFFLOAD_TCP_TSO;
        }
        // Lent bytes are a segment of their own. net_tap sums in software, and wrongly over a
        // segment of odd length.
        if (sound && config.gather) {
            impl_->tx_offloads |= offered & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
        }
        status = impl_->check_queues();
    }
    if (status) status = impl_->make_pools();
    if (status) status = impl_->configure();
    if (status) status = impl_->set_up_queues();
    if (status) status = impl_->start_device();
    if (!status) stop();
    return status;
}

const net::PortInfo& DpdkDriver::info() const { return impl_->info; }

const std::vector<std::string>& DpdkDriver::notes() const { return impl_->notes; }

DeviceStats DpdkDriver::device_stats() const {
    rte_eth_stats stats{};
    if (!impl_->device_up || rte_eth_stats_get(impl_->port_id, &stats) != 0) return {};
    return DeviceStats{stats.ipackets,  stats.opackets, stats.imissed,
                       stats.rx_nombuf, stats.ierrors,  stats.oerrors};
}

std::unique_ptr<net::FramePort> DpdkDriver::port(uint32_t worker, stats::WorkerCounters* counters) {
    CACHEE_ASSERT(impl_->device_up);
    CACHEE_ASSERT(worker < impl_->worker_count);
    return std::make_unique<DpdkPort>(
        impl_->info, impl_->port_id, static_cast<uint16_t>(worker),
        DpdkPort::Buffers{impl_->tx_pools[worker],
                          impl_->info.tx_attach ? impl_->lent_pools[worker] : nullptr,
                          &impl_->lent},
        counters);
}

bool DpdkDriver::enter_worker() { return rte_thread_register() == 0; }

void DpdkDriver::leave_worker() { rte_thread_unregister(); }

void DpdkDriver::stop() {
    if (!impl_->eal_up) return;
    impl_->eal_up = false;
    if (impl_->device_up) {
        impl_->device_up = false;
        rte_eth_dev_stop(impl_->port_id);
        impl_->lent.remove();
        rte_eth_dev_close(impl_->port_id);
    }
    for (rte_mempool* pool : impl_->lent_pools) rte_mempool_free(pool);
    impl_->lent_pools.clear();
    for (size_t i = 0; i < impl_->rx_pools.size(); ++i) {
        const bool own = i < impl_->tx_pools.size() && impl_->tx_pools[i] != impl_->rx_pools[i];
        if (own) rte_mempool_free(impl_->tx_pools[i]);
        rte_mempool_free(impl_->rx_pools[i]);
    }
    impl_->rx_pools.clear();
    impl_->tx_pools.clear();
    rte_eal_cleanup();
}

}  // namespace cachee::dpdk
