// SPDX-License-Identifier: Apache-2.0
// The advice about PCI devices that DPDK cannot take, over a made-up sysfs.
#include "drivers/dpdk/pci_device.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace cachee::dpdk {
namespace {

namespace fs = std::filesystem;

const std::string kAddress = "0000:3b:00.0";

class PciDevice : public ::testing::Test {
  protected:
    void SetUp() override {
        char path[] = "/tmp/cachee-pci-XXXXXX";
        ASSERT_NE(::mkdtemp(path), nullptr);
        root_ = path;
        fs::create_directories(root_ / "dev/vfio");
        fs::create_directories(root_ / "sys/bus/pci/devices");
    }
    void TearDown() override { fs::remove_all(root_); }

    fs::path device(const std::string& address) { return root_ / "sys/bus/pci/devices" / address; }
    void add(const std::string& address, const std::string& driver, const std::string& group = "") {
        fs::create_directories(device(address));
        std::ofstream(device(address) / "vendor") << "0x8086\n";
        std::ofstream(device(address) / "device") << "0x10d3\n";
        if (!driver.empty()) {
            fs::create_directory_symlink("../drivers/" + driver, device(address) / "driver");
        }
        if (group.empty()) return;
        const fs::path folder = root_ / "sys/kernel/iommu_groups" / group;
        fs::create_directories(folder / "devices");
        fs::create_directory_symlink(folder, device(address) / "iommu_group");
        fs::create_directory_symlink(device(address), folder / "devices" / address);
    }
    void node(const std::string& name) { std::ofstream(root_ / "dev/vfio" / name) << ""; }
    std::string obstacle(const std::string& name = kAddress) {
        return pci_obstacle(name, root_.string());
    }
    void expect(const std::string& part) {
        EXPECT_NE(obstacle().find(part), std::string::npos) << obstacle();
    }

    fs::path root_;
};

TEST_F(PciDevice, Address_BothForms_AreKnown) {
    for (const char* good : {"0000:3b:00.0", "3b:00.0", "0000:3B:1f.7"}) {
        EXPECT_TRUE(is_pci_address(good)) << good;
    }
    for (const char* bad : {"", "net_tap0", "3b:00", "0000:3b:00.0,x", "3g:00.0", "0000-3b:00.0"}) {
        EXPECT_FALSE(is_pci_address(bad)) << bad;
    }
    EXPECT_EQ(long_pci_address("3B:00.0"), kAddress);
    EXPECT_EQ(long_pci_address("0001:3b:00.0"), "0001:3b:00.0");
}

TEST_F(PciDevice, Missing_SaysHowToFindOne) { expect("no PCI device of that address"); }

TEST_F(PciDevice, Unbound_SaysHowToBind) {
    add(kAddress, "");
    expect("bound to no driver: modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci " + kAddress);
    EXPECT_EQ(obstacle("3b:00.0"), obstacle());
}

TEST_F(PciDevice, KernelDriver_NamesItAndItsInterface) {
    add(kAddress, "e1000e");
    fs::create_directories(device(kAddress) / "net/eth7");
    expect("held by the kernel driver e1000e (interface eth7)");
    expect("--bind=vfio-pci " + kAddress);
}

TEST_F(PciDevice, Vfio_NoContainerNode_SaysSo) {
    add(kAddress, "vfio-pci", "12");
    expect("/dev/vfio/vfio is not there");
}

TEST_F(PciDevice, Vfio_NoIommu_SaysBothWaysOut) {
    add(kAddress, "vfio-pci");
    node("vfio");
    expect("intel_iommu=on");
    expect("enable_unsafe_noiommu_mode");
}

TEST_F(PciDevice, Vfio_GroupSharedWithKernel_NamesTheOthers) {
    add(kAddress, "vfio-pci", "12");
    add("0000:3b:00.1", "ixgbe", "12");
    add("0000:3a:00.0", "pcieport", "12");
    node("vfio");
    node("12");
    expect("IOMMU group 12 with 0000:3b:00.1 (ixgbe), held");
}

TEST_F(PciDevice, Vfio_NoGroupNode_SaysSo) {
    add(kAddress, "vfio-pci", "12");
    node("vfio");
    expect("/dev/vfio/noiommu-12 is not there");
}

TEST_F(PciDevice, Vfio_AllIsWell_PointsAtThePollModeDriver) {
    add(kAddress, "vfio-pci", "12");
    node("vfio");
    node("12");
    expect("bound to vfio-pci as it should be (vendor 0x8086, device 0x10d3)");
    fs::remove(root_ / "dev/vfio/12");
    node("noiommu-12");
    expect("bound to vfio-pci as it should be");
}

TEST_F(PciDevice, Uio_NeedsNoGroup) {
    add(kAddress, "uio_pci_generic");
    expect("bound to uio_pci_generic as it should be");
}

}  // namespace
}  // namespace cachee::dpdk
