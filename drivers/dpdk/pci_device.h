// SPDX-License-Identifier: Apache-2.0
// What the kernel says of a PCI device, for error messages: why DPDK could not take it, and what
// the operator can do about it. Reads sysfs and /dev; changes nothing. Cold code, main thread. No
// DPDK header here.
#pragma once

#include <string>
#include <string_view>

namespace cachee::dpdk {

// "0000:3b:00.0" or "3b:00.0".
bool is_pci_address(std::string_view name);
// The long form, in small letters. REQUIRES: is_pci_address(name).
std::string long_pci_address(std::string_view name);

// The first obstacle on the way to a port on this device, with the way out, as the rest of a
// sentence about it ("is held by the kernel driver e1000e ..."). Never empty: when nothing is wrong
// with the binding, the text says so. `root`: "" or, for tests, a folder that has sys/ and dev/ in
// it. REQUIRES: is_pci_address(name).
std::string pci_obstacle(std::string_view name, const std::string& root = "");

}  // namespace cachee::dpdk
