// SPDX-License-Identifier: Apache-2.0
// Hugepages may be missing on the machine: what is tested here holds with and without.
#include "base/hugepage_file.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/units.h"

namespace cachee::base {
namespace {

class HugepageFileTest : public ::testing::Test {
  protected:
    HugepageFileOptions options_{.name = "cachee-test-" + std::to_string(::getpid()) + "-pages",
                                 .hugepages = Hugepages::kOff,
                                 .bytes = 3 * kMiB};
    ~HugepageFileTest() override {
        ::unlink((options_.hugepage_dir + "/" + options_.name).c_str());
        ::unlink((options_.fallback_dir + "/" + options_.name).c_str());
    }
};

TEST_F(HugepageFileTest, Create_Off_IsZeroedResidentAndRoundedUp) {
    auto file = HugepageFile::create(options_);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_FALSE(file.value()->on_hugepages());
    EXPECT_EQ(file.value()->fallback_reason(), "");
    EXPECT_EQ(file.value()->bytes(), 4 * kMiB);
    EXPECT_EQ(file.value()->path(), "/dev/shm/" + options_.name);
    std::vector<unsigned char> resident(file.value()->bytes() / 4096);
    ASSERT_EQ(::mincore(file.value()->base(), file.value()->bytes(), resident.data()), 0);
    for (const unsigned char page : resident) ASSERT_EQ(page & 1, 1);
    for (uint64_t i = 0; i < file.value()->bytes(); i += 8) ASSERT_EQ(file.value()->base()[i], 0);
    struct stat status {};
    ASSERT_EQ(::stat(file.value()->path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0640U);
    EXPECT_EQ(static_cast<uint64_t>(status.st_size), 4 * kMiB);
}

TEST_F(HugepageFileTest, Create_FileOfALivingHolder_IsAnErrorAndLeavesItAlone) {
    auto first = HugepageFile::create(options_);
    ASSERT_TRUE(first) << first.error().message;
    auto second = HugepageFile::create(options_);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("in use"), std::string::npos) << second.error().message;
    EXPECT_EQ(::access(first.value()->path().c_str(), F_OK), 0);
}

TEST_F(HugepageFileTest, Create_LeftoverOfADeadHolder_IsReplaced) {
    {
        auto first = HugepageFile::create(options_);
        ASSERT_TRUE(first) << first.error().message;
        std::memset(first.value()->base(), 'x', first.value()->bytes());
    }
    auto second = HugepageFile::create(options_);
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_EQ(second.value()->base()[0], 0);
}

TEST_F(HugepageFileTest, Unlink_FileReplacedByAnother_LeavesTheOther) {
    auto first = HugepageFile::create(options_);
    ASSERT_TRUE(first) << first.error().message;
    ::unlink(first.value()->path().c_str());
    auto second = HugepageFile::create(options_);
    ASSERT_TRUE(second) << second.error().message;
    first.value()->unlink();
    EXPECT_EQ(::access(second.value()->path().c_str(), F_OK), 0);
    second.value()->unlink();
    EXPECT_NE(::access(second.value()->path().c_str(), F_OK), 0);
}

TEST_F(HugepageFileTest, Create_NoHugetlbfsThere_RequireFailsAndAutoSaysWhy) {
    options_.hugepage_dir = "/tmp";
    options_.hugepages = Hugepages::kRequire;
    auto required = HugepageFile::create(options_);
    ASSERT_FALSE(required);
    EXPECT_NE(required.error().message.find("not a hugetlbfs mount"), std::string::npos);
    options_.hugepages = Hugepages::kAuto;
    auto automatic = HugepageFile::create(options_);
    ASSERT_TRUE(automatic) << automatic.error().message;
    EXPECT_FALSE(automatic.value()->on_hugepages());
    EXPECT_NE(automatic.value()->fallback_reason().find("not a hugetlbfs mount"),
              std::string::npos);
}

TEST_F(HugepageFileTest, Create_MoreThanAnyMachineHas_IsAnErrorAndLeavesNoFile) {
    options_.bytes = uint64_t{1} << 46;
    for (const Hugepages mode : {Hugepages::kOff, Hugepages::kAuto, Hugepages::kRequire}) {
        options_.hugepages = mode;
        auto file = HugepageFile::create(options_);
        ASSERT_FALSE(file);
        EXPECT_FALSE(file.error().message.empty());
        EXPECT_NE(::access((options_.fallback_dir + "/" + options_.name).c_str(), F_OK), 0);
        EXPECT_NE(::access((options_.hugepage_dir + "/" + options_.name).c_str(), F_OK), 0);
    }
}

TEST_F(HugepageFileTest, Create_Auto_IsOnHugepagesOrSaysWhyNot) {
    options_.hugepages = Hugepages::kAuto;
    auto file = HugepageFile::create(options_);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_NE(file.value()->on_hugepages(), !file.value()->fallback_reason().empty());
    std::memset(file.value()->base(), 1, file.value()->bytes());
}

}  // namespace
}  // namespace cachee::base
