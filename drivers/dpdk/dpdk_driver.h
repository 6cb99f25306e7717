// SPDX-License-Identifier: Apache-2.0
// DPDK as a source of net::FramePorts: EAL, one ethdev, one queue pair per worker. Any poll-mode
// driver: PCI addresses, net_af_xdp, net_tap, net_memif, net_ring, net_null, virtio_user. One
// object per process (EAL starts once per process). Composition root only: init() and stop() on the
// main thread; each port on its worker's thread. No DPDK header is needed to include this one.
//
//   DpdkDriver driver;
//   driver.init(config.dpdk, workers, instance)   as root, before privileges are dropped
//   driver.port(i)                                one per worker, main thread
//   worker thread: enter_worker(), polls, leave_worker()
//   ports destroyed, driver.stop()
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/schema.h"
#include "net/frame_port.h"
#include "stats/counters.h"

namespace cachee::dpdk {

// What the device itself counted since start; cold.
struct DeviceStats {
    uint64_t frames_in = 0;
    uint64_t frames_out = 0;
    uint64_t missed = 0;     // no receive descriptor was free: the workers are too slow
    uint64_t no_buffer = 0;  // no mbuf was free: dpdk.mbufs is too small
    uint64_t errors_in = 0;
    uint64_t errors_out = 0;
};

class DpdkDriver {
  public:
    DpdkDriver();
    DpdkDriver(const DpdkDriver&) = delete;
    DpdkDriver& operator=(const DpdkDriver&) = delete;
    ~DpdkDriver();  // stop()

    // Starts EAL and the device with `worker_count` queue pairs. The instance name
    // ([a-z0-9-]{1,32}) keeps instances of one host apart. The thread's CPU affinity is left as it
    // was. On failure the process goes on, but EAL cannot be started again in it.
    base::Status init(const config::Dpdk& config, uint32_t worker_count,
                      const std::string& instance,
                      config::LogLevel log_level = config::LogLevel::kError);

    // Lets frames be sent from `bytes` at `memory`, which stay mapped until after stop(): the ports
    // made afterwards offer tx_attach where the device can gather. An error says why large
    // values are copied instead; the driver works as before. REQUIRES: init() succeeded; no port
    // was made; whole pages of page_bytes.
    base::Status lend(uint8_t* memory, uint64_t bytes, uint64_t page_bytes);

    // REQUIRES: init() succeeded.
    const net::PortInfo& info() const;
    // Things an operator should know that are no errors: link down, no RSS, reduced MTU.
    const std::vector<std::string>& notes() const;
    DeviceStats device_stats() const;

    // The queue pair of a worker; not more than once per worker at a time. `counters` (may be
    // nullptr) takes drop_no_buffer. REQUIRES: init() succeeded; worker < worker_count.
    std::unique_ptr<net::FramePort> port(uint32_t worker,
                                         stats::WorkerCounters* counters = nullptr);

    // First and last thing on a worker's thread: gives it the per-thread buffer caches. A thread
    // that did not enter works too, more slowly. enter_worker() is false when no slot is left.
    static bool enter_worker();
    static void leave_worker();

    // Stops and closes the device, ends EAL. No file is left anywhere. REQUIRES: all ports are
    // destroyed and all workers have left.
    void stop();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// The EAL command line that init() would use, argv[0] included, or why the device is not one. For
// tests and `cachee doctor`.
base::Result<std::vector<std::string>> eal_arguments(const config::Dpdk& config,
                                                     uint32_t worker_count,
                                                     const std::string& instance,
                                                     config::LogLevel log_level);

}  // namespace cachee::dpdk
