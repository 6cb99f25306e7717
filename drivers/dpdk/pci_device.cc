// SPDX-License-Identifier: Apache-2.0
// What the kernel says of a PCI device; see pci_device.h.
#include "drivers/dpdk/pci_device.h"

#include <unistd.h>

#include <cctype>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace cachee::dpdk {
namespace {

namespace fs = std::filesystem;

bool is_hex(std::string_view text) {
    for (const char c : text) {
        if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return false;
    }
    return !text.empty();
}

// The last part of what a link points at; empty when there is none.
std::string link_name(const fs::path& link) {
    std::error_code error;
    const fs::path target = fs::read_symlink(link, error);
    return error ? "" : target.filename().string();
}

bool is_there(const fs::path& path) {
    std::error_code ignored;
    return fs::exists(path, ignored);
}

std::string first_line(const fs::path& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

// The names in a folder, joined; empty when there is none.
std::string names_in(const fs::path& folder) {
    std::string names;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        names += (names.empty() ? "" : ", ") + entry.path().filename().string();
    }
    return names;
}

bool is_for_user_space(const std::string& driver) {
    return driver == "vfio-pci" || driver == "uio_pci_generic" || driver == "igb_uio";
}

// "dpdk-devbind.py --bind=vfio-pci 0000:3b:00.0", and what it needs.
std::string how_to_bind(const std::string& address) {
    return "modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci " + address;
}

// Who else is in the device's IOMMU group and not given up by the kernel: VFIO hands out whole
// groups.
std::string neighbours_held(const fs::path& group, const std::string& address) {
    std::string held;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(group / "devices", error)) {
        const std::string other = entry.path().filename().string();
        const std::string driver = link_name(entry.path() / "driver");
        if (other == address || driver.empty() || driver == "pcieport" ||
            is_for_user_space(driver)) {
            continue;
        }
        held += (held.empty() ? "" : ", ") + other + " (" + driver + ")";
    }
    return held;
}

std::string vfio_obstacle(const fs::path& device, const std::string& address, const fs::path& dev) {
    if (!is_there(dev / "vfio" / "vfio")) {
        return "is bound to vfio-pci, but /dev/vfio/vfio is not there: modprobe vfio-pci (and give "
               "a container that device)";
    }
    const std::string group = link_name(device / "iommu_group");
    if (group.empty()) {
        return "is in no IOMMU group: switch the IOMMU on (firmware, and intel_iommu=on or "
               "amd_iommu=on on the kernel's command line), or on a machine without one, and "
               "without its protection: echo 1 > "
               "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode, then bind it again";
    }
    const std::string held = neighbours_held(device / "iommu_group", address);
    if (!held.empty()) {
        return "shares IOMMU group " + group + " with " + held +
               ", held by the kernel: bind those to vfio-pci too, or unbind them";
    }
    const bool plain = is_there(dev / "vfio" / group);
    const fs::path node = dev / "vfio" / (plain ? group : "noiommu-" + group);
    const std::string shown = "/dev/vfio/" + node.filename().string();
    if (!is_there(node)) {
        return "is bound to vfio-pci, but " + shown + " is not there: bind it again (" +
               how_to_bind(address) + "), or give the container that device";
    }
    if (::access(node.c_str(), R_OK | W_OK) != 0) {
        return "is bound to vfio-pci, but " + shown +
               " may not be opened by this user: start as root (instance.user drops to another "
               "user later), or chown it";
    }
    return "";
}

}  // namespace

bool is_pci_address(std::string_view name) {
    if (name.size() == 12 && name[4] == ':' && is_hex(name.substr(0, 4))) name.remove_prefix(5);
    return name.size() == 7 && is_hex(name.substr(0, 2)) && name[2] == ':' &&
           is_hex(name.substr(3, 2)) && name[5] == '.' && is_hex(name.substr(6));
}

std::string long_pci_address(std::string_view name) {
    std::string address(name);
    for (char& c : address) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return address.size() == 7 ? "0000:" + address : address;
}

std::string pci_obstacle(std::string_view name, const std::string& root) {
    const std::string address = long_pci_address(name);
    const fs::path device = fs::path(root + "/sys/bus/pci/devices") / address;
    if (!is_there(device)) {
        return "there is no PCI device of that address; `dpdk-devbind.py --status` and `lspci -D` "
               "list them";
    }
    const std::string driver = link_name(device / "driver");
    if (driver.empty()) return "is bound to no driver: " + how_to_bind(address);
    if (!is_for_user_space(driver)) {
        const std::string interfaces = names_in(device / "net");
        return "is held by the kernel driver " + driver +
               (interfaces.empty() ? "" : " (interface " + interfaces + ")") +
               ", which DPDK cannot share: " + how_to_bind(address) +
               " (its traffic then bypasses the kernel; never the interface you are logged in "
               "through)";
    }
    const std::string obstacle =
        driver == "vfio-pci" ? vfio_obstacle(device, address, root + "/dev") : "";
    if (!obstacle.empty()) return obstacle;
    return "is bound to " + driver + " as it should be (vendor " + first_line(device / "vendor") +
           ", device " + first_line(device / "device") +
           "), but no poll-mode driver of this DPDK took it; the lines above, or "
           "instance.log_level: debug, say why";
}

}  // namespace cachee::dpdk
