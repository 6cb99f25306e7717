// SPDX-License-Identifier: Apache-2.0
// Tests of config/loader.h: values, findings, cross-checks, the environment and the L2 address.
#include "config/loader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "config/address.h"
#include "config/difference.h"
#include "config/keys.h"

namespace cachee::config {
namespace {

class Loader : public ::testing::Test {
  protected:
    Loader() { unsetenv("CACHEE_L2_BACKEND"); }

    // The findings, one per line; "" when the text was good.
    std::string load_findings(const std::string& text) {
        std::vector<Finding> findings;
        const bool good = load_text(text, "c.yaml", config_, findings);
        EXPECT_EQ(good, findings.empty());
        std::string all;
        for (const Finding& finding : findings) {
            all += (all.empty() ? "" : "\n") + finding.text();
        }
        return all;
    }

    Config config_;
};

TEST_F(Loader, Text_Empty_GivesDefaults) {
    EXPECT_EQ(load_findings(""), "");
    EXPECT_EQ(load_findings("# only a comment\n"), "");
    EXPECT_EQ(load_findings("listen:\nl2:\n"), "");
    EXPECT_EQ(config_.listen.port, 6379);
    EXPECT_EQ(config_.dpdk.prefix_bits, 24U);
    std::vector<Finding> findings;
    EXPECT_TRUE(load("", config_, findings));
}

TEST_F(Loader, Text_EveryType_IsRead) {
    EXPECT_EQ(load_findings(R"(
instance: {name: edge-1, log_level: warning}
driver: sim
workers: {cores: [0], burst_max: 64}
listen: {address: 10.1.2.3, port: "7000", password: 12345}
tcp: {verify_checksums: off}
dpdk: {eal_args: ["--log-level=8", -v], rx_descriptors: 32768}
sim: {seed: 18446744073709551615, loss: 0.25, duplication: 1e-3}
l1: {bytes: 1 GiB, item_bytes_max: 65536, hugepages: require}
l2: {backend: "redis://u:p%40@db.example:7001/0"}
shm: {ring_entries: 1024}
)"),
              "");
    EXPECT_EQ(config_.instance.name, "edge-1");
    EXPECT_EQ(config_.instance.log_level, LogLevel::kWarning);
    EXPECT_EQ(config_.driver, DriverKind::kSim);
    EXPECT_EQ(config_.workers.cores, std::vector<uint32_t>{0});
    EXPECT_EQ(config_.workers.burst_max, 64U);
    EXPECT_EQ(config_.listen.address, "10.1.2.3");
    EXPECT_EQ(config_.listen.port, 7000);
    EXPECT_EQ(config_.listen.password, "12345");
    EXPECT_FALSE(config_.tcp.verify_checksums);
    EXPECT_EQ(config_.dpdk.eal_args, (std::vector<std::string>{"--log-level=8", "-v"}));
    EXPECT_EQ(config_.dpdk.rx_descriptors, 32768);
    EXPECT_EQ(config_.sim.seed, UINT64_MAX);
    EXPECT_EQ(config_.sim.loss, 0.25);
    EXPECT_EQ(config_.sim.duplication, 0.001);
    EXPECT_EQ(config_.l1.bytes, kGiB);
    EXPECT_EQ(config_.l1.item_bytes_max, 65536U);
    EXPECT_EQ(config_.l1.hugepages, HugepageMode::kRequire);
    EXPECT_EQ(config_.l2.backend, "redis://u:p%40@db.example:7001/0");
    EXPECT_EQ(config_.shm.ring_entries, 1024U);
}

struct FindingCase {
    const char* text;
    const char* findings;
};

TEST_F(Loader, Quotas_Maps_AreReadAndChecked) {
    Config config;
    std::vector<Finding> findings;
    ASSERT_TRUE(
        load_text("l1:\n  eviction: s3_fifo\n  quotas:\n    - {prefix: \"sess:\", bytes: 64MiB}\n"
                  "    - bytes: 1024\n      prefix: \"a b\"\n",
                  "c.yaml", config, findings))
        << findings.front().text();
    EXPECT_EQ(config.l1.eviction, EvictionKind::kS3Fifo);
    ASSERT_EQ(config.l1.quotas.size(), 2U);
    Quota quota;
    EXPECT_EQ(parse_quota(config.l1.quotas[0], quota), "");
    EXPECT_EQ(quota.prefix, "sess:");
    EXPECT_EQ(quota.bytes, 64 * kMiB);
    EXPECT_EQ(parse_quota(config.l1.quotas[1], quota), "");
    EXPECT_EQ(quota.prefix, "a b");
    EXPECT_EQ(quota.bytes, 1024U);
    EXPECT_FALSE(load_text("l1: {quotas: [{prefix: a, bytes: 1MiB}, {prefix: a, bytes: 1GiB}]}",
                           "c.yaml", config, findings));
    ASSERT_EQ(findings.size(), 2U);
    EXPECT_EQ(findings[0].message, "has \"a\" twice");
    EXPECT_EQ(findings[1].message, "\"a\" may take more than all of l1.bytes");
}

TEST_F(Loader, Values_Wrong_AreNamedWithWhatIsAllowed) {
    const FindingCase cases[] = {
        {"listen:\n  port: seven",
         "c.yaml:2: listen.port: \"seven\" is not a whole number; allowed: 1..65535"},
        {"listen: {port: 0}", "c.yaml:1: listen.port: \"0\" is out of range; allowed: 1..65535"},
        {"listen: {port: -1}",
         "c.yaml:1: listen.port: \"-1\" is not a whole number; allowed: 1..65535"},
        {"listen: {port: 65536}",
         "c.yaml:1: listen.port: \"65536\" is out of range; allowed: 1..65535"},
        {"listen: {port: 99999999999999999999999}",
         "c.yaml:1: listen.port: \"99999999999999999999999\" is out of range; allowed: 1..65535"},
        {"listen: {port: 1.5}",
         "c.yaml:1: listen.port: \"1.5\" is not a whole number; allowed: 1..65535"},
        {"listen: {port: }", "c.yaml:1: listen.port: the value is missing; allowed: 1..65535"},
        {"listen: {port: [1]}",
         "c.yaml:1: listen.port: \"[1]\" is a list; one value is expected; allowed: 1..65535"},
        {"listen: {port: {a: 1}}",
         "c.yaml:1: listen.port: \"{...}\" is a section; one value is expected; allowed: 1..65535"},
        {"l1: {bytes: 3MB}",
         "c.yaml:1: l1.bytes: \"3MB\" is not a size (a whole number, or one with "
         "KiB, MiB or GiB); allowed: 1MiB..16384GiB"},
        {"l1: {bytes: 99999999999GiB}",
         "c.yaml:1: l1.bytes: \"99999999999GiB\" is out of range; allowed: 1MiB..16384GiB"},
        {"l1: {bytes: GiB}",
         "c.yaml:1: l1.bytes: \"GiB\" is not a size (a whole number, or one with "
         "KiB, MiB or GiB); allowed: 1MiB..16384GiB"},
        {"shm: {ring_entries: 1000}",
         "c.yaml:1: shm.ring_entries: \"1000\" is not a power of two; "
         "allowed: 64..1048576, a power of two"},
        {"tcp: {verify_checksums: maybe}",
         "c.yaml:1: tcp.verify_checksums: \"maybe\" is neither true "
         "nor false; allowed: true or false"},
        {"l1: {quotas: [{prefix: \"a:\"}]}",
         "c.yaml:1: l1.quotas: \"[?]\" has an element that has bytes that are no size (a whole "
         "number, or one with KiB, MiB or GiB); allowed: a list of {prefix: \"sess:\", bytes: "
         "64MiB}"},
        {"l1: {quotas: [{prefix: a, size: 1MiB}]}",
         "c.yaml:1: l1.quotas: \"[?]\" has an element with something else than prefix and bytes; "
         "allowed: a list of {prefix: \"sess:\", bytes: 64MiB}"},
        {"l1: {quotas: [sess]}",
         "c.yaml:1: l1.quotas: \"[sess]\" has an element that has no prefix or no bytes; "
         "allowed: a list of {prefix: \"sess:\", bytes: 64MiB}"},
        {"driver: rdma",
         "c.yaml:1: driver: \"rdma\" is not known; allowed: one of: socket, dpdk, sim"},
        {"sim: {loss: 0.6}", "c.yaml:1: sim.loss: \"0.6\" is out of range; allowed: 0..0.5"},
        {"sim: {loss: nan}", "c.yaml:1: sim.loss: \"nan\" is not a number; allowed: 0..0.5"},
        {"sim: {loss: 1%}", "c.yaml:1: sim.loss: \"1%\" is not a number; allowed: 0..0.5"},
        {"instance: {name: Main}",
         "c.yaml:1: instance.name: \"Main\" is not a valid name; allowed: 1 "
         "to 32 of a-z, 0-9 and '-'"},
        {"instance: {name: \"\"}",
         "c.yaml:1: instance.name: \"\" is not a valid name; allowed: 1 to 32 "
         "of a-z, 0-9 and '-'"},
        {"instance: {runtime_dir: run}",
         "c.yaml:1: instance.runtime_dir: \"run\" is not an absolute "
         "path; allowed: a path that begins with '/'"},
        {"listen: {address: localhost}",
         "c.yaml:1: listen.address: \"localhost\" is not an IPv4 "
         "address; allowed: an IPv4 address such as 127.0.0.1"},
        {"ip: {vlan_id: 4095}", "c.yaml:1: ip.vlan_id: \"4095\" is out of range; allowed: 0..4094"},
        {"ip: {ipv6_gateway: fe80::1%eth0}",
         "c.yaml:1: ip.ipv6_gateway: \"fe80::1%eth0\" is not an IPv6 address; allowed: an IPv6 "
         "address such as fe80::1, or empty"},
        {"workers: {cores: 3}",
         "c.yaml:1: workers.cores: \"3\" is not a list; allowed: a list of 0..1023"},
        {"workers: {cores: [0, x]}",
         "c.yaml:1: workers.cores: \"[0, x]\" has an element that is not a "
         "whole number; allowed: a list of 0..1023"},
        {"dpdk: {eal_args: [[a]]}",
         "c.yaml:1: dpdk.eal_args: \"[?]\" has an element that is not a plain "
         "value; allowed: a list of texts"},
        {"l2: {backend: \"http://x\"}",
         "c.yaml:1: l2.backend: it does not begin with redis://; expected "
         "redis://[user:password@]host:port"},
        {"listen: 7", "c.yaml:1: listen: is a section; its keys stand below it, indented"},
        {"- a", "c.yaml:1: the file is not a map of sections"},
        {"a: 1\n---\nb: 1\n", "c.yaml:2: more than one YAML document; only one is allowed"},
        {"? [a]\n: 1", "c.yaml:1: a key is not plain text"},
    };
    for (const FindingCase& one : cases) {
        EXPECT_EQ(load_findings(one.text), one.findings);
    }
}

TEST_F(Loader, Keys_Unknown_SuggestTheNearest) {
    const FindingCase cases[] = {
        {"listen:\n  prot: 1", "c.yaml:2: listen.prot: unknown key; did you mean listen.port?"},
        {"lisen:\n  port: 1", "c.yaml:1: lisen: unknown key; did you mean listen?"},
        {"port: 1", "c.yaml:1: port: unknown key; did you mean listen.port?"},
        {"l1: {lease_ms: 1}", "c.yaml:1: l1.lease_ms: unknown key; did you mean l2.lease_ms?"},
        {"drivr: sim", "c.yaml:1: drivr: unknown key; did you mean driver?"},
        {"completely_else: 1",
         "c.yaml:1: completely_else: unknown key; conf/cachee.yaml lists all of them"},
        {"listen: {port: 1, port: 2}", "c.yaml:1: listen.port: is given twice; first in line 1"},
        {"listen: {}\nlisten: {}", "c.yaml:2: listen: is given twice; first in line 1"},
    };
    for (const FindingCase& one : cases) {
        EXPECT_EQ(load_findings(one.text), one.findings);
    }
    EXPECT_EQ(
        load_findings(std::string(100'000, 'a') + ": 1").find("unknown key") != std::string::npos ||
            load_findings(std::string(100'000, 'a') + ": 1").find("not valid YAML") !=
                std::string::npos,
        true);
}

TEST_F(Loader, Findings_Several_AreAllReportedInFileOrder) {
    EXPECT_EQ(
        load_findings("l1: {bytes: x}\nlisten:\n  prot: 1\n  port: y\n"),
        "c.yaml:1: l1.bytes: \"x\" is not a size (a whole number, or one with KiB, MiB or GiB); "
        "allowed: 1MiB..16384GiB\n"
        "c.yaml:3: listen.prot: unknown key; did you mean listen.port?\n"
        "c.yaml:4: listen.port: \"y\" is not a whole number; allowed: 1..65535");
}

TEST_F(Loader, Failure_AnyFinding_LeavesConfigUnchanged) {
    config_.listen.port = 1234;
    EXPECT_NE(load_findings("listen: {port: 7000, prot: 1}"), "");
    EXPECT_EQ(config_.listen.port, 1234);
}

TEST_F(Loader, Differences_AreNamedWithoutSecrets) {
    Config from;
    Config to;
    EXPECT_TRUE(differences(from, to).empty());
    to.l1.bytes = kGiB;
    to.listen.password = "hunter2";
    to.workers.cores = {2, 3};
    to.tcp.sack = false;
    std::string all;
    for (const Difference& change : differences(from, to)) all += change.text() + "\n";
    EXPECT_EQ(all,
              "workers.cores: [] -> [2, 3]\nlisten.password: \"\" -> (secret)\n"
              "tcp.sack: true -> false\nl1.bytes: 256MiB -> 1GiB\n");
}

TEST_F(Loader, Yaml_Broken_IsAFinding) {
    for (const char* text : {"a: [", "a: b: c", "\t- x", "\"", "&a *a", "{", "a: *nowhere",
                             "%YAML 9.9\n---", "!!binary x: [}", "listen: {port: 1", ",a: &s"}) {
        const std::string findings = load_findings(text);
        EXPECT_TRUE(findings.starts_with("c.yaml")) << text << " -> " << findings;
    }
    EXPECT_NE(load_findings(std::string(20'000, '[')), "");
    EXPECT_EQ(load_findings(std::string(kMiB + 1, ' ')),
              "c.yaml: larger than 1 MiB; this is no configuration file");
}

TEST_F(Loader, Secrets_InFindings_AreNotShown) {
    for (const char* text :
         {"listen: {password: [hunter2]}", "l2: {backend: [hunter2]}",
          "l2: {backend: \"redis://u:hunter2@host:x\"}", "listen: {password: \"hunter2\\0\"}"}) {
        const std::string findings = load_findings(text);
        EXPECT_NE(findings, "") << text;
        EXPECT_EQ(findings.find("hunter2"), std::string::npos) << findings;
    }
}

TEST_F(Loader, CrossChecks_Conflicts_NameTheKeyToChange) {
    const auto contains = [this](const char* text, const char* part) {
        const std::string findings = load_findings(text);
        EXPECT_NE(findings.find(part), std::string::npos) << text << " -> " << findings;
    };
    contains("driver: dpdk", "c.yaml: dpdk.device: is empty");
    contains("driver: dpdk\ndpdk: {device: x, gateway: 10.0.0.1}\n",
             "dpdk.gateway: is not in the subnet");
    contains("impairment: {enabled: true}", "impairment.enabled: is for driver dpdk only");
    contains("driver: sim\nlisten: {address: 0.0.0.0, password: x}",
             "listen.address: 0.0.0.0 is for");
    contains("l1: {item_bytes_max: 8MiB}",
             "c.yaml:1: l1.item_bytes_max: is more than an eighth of shm.ring");
    contains("l1: {bytes: 1MiB}", "l1.item_bytes_max: is more than half of a worker's share");
    contains("workers: {cores: [0, 0]}", "workers.cores: core 0 is listed twice");
    contains("workers: {cores: [1023]}", "workers.cores: core 1023 does not exist");
    contains("tcp: {rto_min_ms: 60000, rto_max_ms: 100}", "tcp.rto_min_ms: is greater");
    contains("tcp: {rto_max_ms: 100}", "tcp.rto_initial_ms: is greater");
    contains("l2: {reconnect_min_ms: 5000}", "l2.reconnect_min_ms: is greater");
    contains("ip: {ipv6: true}", "ip.ipv6: is for the drivers dpdk and sim");
    contains("ip: {vlan_id: 7}", "ip.vlan_id: is for the drivers dpdk and sim");
    contains("driver: sim\nlisten: {address: 10.0.0.1}\nip: {ipv6_addresses: [\"fd00::1/64\"]}",
             "ip.ipv6: is false and IPv6 addresses are given");
    contains("driver: dpdk\ndpdk: {device: x, mtu: 1000}\nip: {ipv6: true}",
             "dpdk.mtu: is below 1280");
    contains("l2: {lease_ms: 60}", "l2.lease_ms: is less than two of l2.heartbeat_ms");
    contains("listen: {buffers_bytes_max: 1MiB, send_buffer_bytes_max: 2MiB}",
             "listen.buffers_bytes_max: is less than listen.send_buffer_bytes_max");
    contains("listen: {buffers_bytes_max: 1MiB, receive_window_bytes: 2MiB}",
             "listen.buffers_bytes_max: is less than listen.receive_window_bytes");
}

TEST_F(Loader, ProtectedMode_PublicAddressWithoutPassword_IsRefused) {
    for (const char* address : {"8.8.8.8", "0.0.0.0", "172.32.0.1", "192.169.0.1", "198.20.0.1",
                                "11.0.0.1", "169.253.1.1", "128.0.0.1"}) {
        const std::string text = std::string("listen: {address: ") + address;
        EXPECT_NE(load_findings(text + "}").find("listen.password: protected mode"),
                  std::string::npos)
            << address;
        EXPECT_EQ(load_findings(text + ", password: x}"), "") << address;
    }
    for (const char* address :
         {"127.0.0.1", "127.9.9.9", "10.255.0.1", "172.16.0.1", "172.31.255.255", "192.168.7.7",
          "169.254.1.1", "198.18.0.2", "198.19.255.255"}) {
        EXPECT_EQ(load_findings(std::string("listen: {address: ") + address + "}"), "") << address;
    }
}

TEST_F(Loader, Ipv6_Addresses_AreCheckedOneByOne) {
    const auto findings = [this](const std::string& addresses, const std::string& more = "") {
        return load_findings(
            "driver: sim\nlisten: {address: 10.0.0.1}\nip: {ipv6: true, "
            "ipv6_addresses: [" +
            addresses + "]" + more + "}");
    };
    EXPECT_EQ(findings("\"fd00::1/64\", \"fe80::5/64\"", ", ipv6_gateway: \"fd00::9\""), "");
    EXPECT_EQ(config_.ip.ipv6_addresses.size(), 2U);
    EXPECT_EQ(findings("\"fd00::1/64\"", ", ipv6_gateway: \"fe80::9\""), "");
    for (const char* bad : {"fd00::1", "fd00::1/0", "fd00::1/129", "fd00::1/", "::/64", "::1/128",
                            "ff02::1/64", "::ffff:10.0.0.1/96", "10.0.0.1/24", "fd00::1/6 4"}) {
        EXPECT_NE(findings(std::string("\"") + bad + "\"").find("is not a host's IPv6 address"),
                  std::string::npos)
            << bad;
    }
    EXPECT_NE(findings("\"2001:db8::1/64\"").find("listen.password: protected mode"),
              std::string::npos);
    EXPECT_NE(findings("\"fd00::1/64\"", ", ipv6_gateway: \"fd00:1::9\"")
                  .find("ip.ipv6_gateway: is neither link-local nor"),
              std::string::npos);
    EXPECT_NE(findings("\"fd00::1/64\", \"fd00::2/64\", \"fd00::3/64\", \"fd00::4/64\", "
                       "\"fd00::5/64\"")
                  .find("ip.ipv6_addresses: has more than 4"),
              std::string::npos);
}

TEST_F(Loader, Environment_Backend_Overrides) {
    setenv("CACHEE_L2_BACKEND", "redis://env:7", 1);
    EXPECT_EQ(load_findings("l2: {backend: \"redis://file:8\"}"), "");
    EXPECT_EQ(config_.l2.backend, "redis://env:7");
    setenv("CACHEE_L2_BACKEND", "env:7", 1);
    EXPECT_EQ(load_findings(""),
              "c.yaml: CACHEE_L2_BACKEND: in the environment: it does not begin with "
              "redis://; expected redis://[user:password@]host:port");
    setenv("CACHEE_L2_BACKEND", "", 1);
    EXPECT_EQ(load_findings("l2: {backend: \"redis://file:8\"}"), "");
    EXPECT_EQ(config_.l2.backend, "redis://file:8");
    unsetenv("CACHEE_L2_BACKEND");
}

TEST_F(Loader, File_Unreadable_SaysWhy) {
    std::vector<Finding> findings;
    EXPECT_FALSE(load("/nonexistent/cachee.yaml", config_, findings));
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].text(),
              "/nonexistent/cachee.yaml: cannot be read: No such file or directory");
    EXPECT_FALSE(load("/", config_, findings));
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].text(), "/: cannot be read: Is a directory");
}

struct BackendCase {
    const char* url;
    const char* host;
    uint16_t port;
    const char* user;
    const char* password;
};

TEST(Backend, Good_Addresses_AreParsed) {
    const BackendCase cases[] = {
        {"redis://localhost", "localhost", 6379, "", ""},
        {"redis://localhost:7000", "localhost", 7000, "", ""},
        {"valkey://10.0.0.1:1/", "10.0.0.1", 1, "", ""},
        {"redis://10.0.0.1:65535/0", "10.0.0.1", 65535, "", ""},
        {"redis://:secret@h:1", "h", 1, "", "secret"},
        {"redis://secret@h:1", "h", 1, "", "secret"},
        {"redis://u:p@h:1", "h", 1, "u", "p"},
        {"redis://u:p@q:r@h:1", "h", 1, "u", "p@q:r"},
        {"redis://u%3A:p%40%2f@h:1", "h", 1, "u:", "p@/"},
        {"redis://[::1]:7", "::1", 7, "", ""},
        {"redis://u:p@[2001:db8::1]", "2001:db8::1", 6379, "u", "p"},
    };
    for (const BackendCase& one : cases) {
        const auto address = parse_backend(one.url);
        ASSERT_TRUE(address) << one.url << ": " << address.error().message;
        EXPECT_EQ(address->host, one.host) << one.url;
        EXPECT_EQ(address->port, one.port) << one.url;
        EXPECT_EQ(address->user, one.user) << one.url;
        EXPECT_EQ(address->password, one.password) << one.url;
    }
}

TEST(Backend, Bad_Addresses_SayWhatIsWrong) {
    const FindingCase cases[] = {
        {"", "does not begin"},
        {"localhost:6379", "does not begin"},
        {"rediss://h", "TLS"},
        {"redis://", "host is missing"},
        {"redis://:7", "host is missing"},
        {"redis://h:", "port"},
        {"redis://h:0", "port"},
        {"redis://h:65536", "port"},
        {"redis://h:7x", "port"},
        {"redis://h:-7", "port"},
        {"redis://::1", "brackets"},
        {"redis://::1:7", "brackets"},
        {"redis://[::1", "not closed"},
        {"redis://[::g]:7", "not an IPv6"},
        {"redis://[]:7", "not an IPv6"},
        {"redis://[::1]7", "behind ']'"},
        {"redis://h/1", "database 0"},
        {"redis://h/x", "database 0"},
        {"redis://u:@h", "password before '@' is empty"},
        {"redis://@h", "password before '@' is empty"},
        {"redis://u:%4@h", "'%'"},
        {"redis://u:%zz@h", "'%'"},
        {"redis://u:%00@h", "'%'"},
        {"redis://a b", "not a name"},
        {"redis://h\r\n", "not a name"},
    };
    for (const FindingCase& one : cases) {
        const auto address = parse_backend(one.text);
        ASSERT_FALSE(address) << one.text;
        EXPECT_NE(address.error().message.find(one.findings), std::string::npos)
            << one.text << ": " << address.error().message;
    }
}

}  // namespace
}  // namespace cachee::config
