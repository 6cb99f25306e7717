// SPDX-License-Identifier: Apache-2.0
#include "shm/segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "shm/ring.h"

namespace cachee::shm {
namespace {

class SegmentTest : public ::testing::Test {
  protected:
    std::string name_ = "test-" + std::to_string(::getpid());
    ~SegmentTest() override { ::unlink(control_segment_path(name_).c_str()); }

    void overwrite(off_t offset, const void* bytes, size_t count) {
        const int fd = ::open(control_segment_path(name_).c_str(), O_RDWR);
        ASSERT_GE(fd, 0);
        ASSERT_EQ(::pwrite(fd, bytes, count, offset), static_cast<ssize_t>(count));
        ::close(fd);
    }
};

TEST_F(SegmentTest, Attach_FreshSegment_RingsCarryEntriesAcross) {
    auto created = Segment::create(name_, {.worker_count = 3});
    ASSERT_TRUE(created) << created.error().message;
    auto attached = Segment::attach(name_, false);
    ASSERT_TRUE(attached) << attached.error().message;
    for (uint32_t i = 0; i < 3; ++i) {
        RingProducer producer(&created.value()->worker(i)->events, created.value()->base());
        RingEntry entry;
        entry.request_id = i;
        ASSERT_TRUE(producer.push(entry, "key"));
    }
    for (uint32_t i = 0; i < 3; ++i) {
        RingConsumer consumer(&attached.value()->worker(i)->events, attached.value()->base());
        RingEntry entry;
        std::string_view payload;
        ASSERT_TRUE(consumer.next(entry, payload));
        EXPECT_EQ(entry.request_id, i);
        EXPECT_EQ(payload, "key");
    }
}

TEST_F(SegmentTest, Attach_NoFile_NamesTheInstance) {
    auto attached = Segment::attach(name_, true);
    ASSERT_FALSE(attached);
    EXPECT_NE(attached.error().message.find(name_), std::string::npos);
}

TEST_F(SegmentTest, Attach_OtherVersion_SaysWhatToDo) {
    ASSERT_TRUE(Segment::create(name_, {}));
    const uint32_t version = kLayoutVersion + 1;
    overwrite(offsetof(ControlHeader, layout_version), &version, sizeof version);
    auto attached = Segment::attach(name_, true);
    ASSERT_FALSE(attached);
    EXPECT_NE(attached.error().message.find("layout version"), std::string::npos);
}

TEST_F(SegmentTest, Attach_DamagedRing_IsRefused) {
    ASSERT_TRUE(Segment::create(name_, {}));
    const uint64_t offset = 1ULL << 60;
    overwrite(static_cast<off_t>(sizeof(ControlHeader) + offsetof(WorkerBlock, events) +
                                 offsetof(RingHeader, data_offset)),
              &offset, sizeof offset);
    EXPECT_FALSE(Segment::attach(name_, true));
}

TEST_F(SegmentTest, Attach_TruncatedFile_IsRefused) {
    ASSERT_TRUE(Segment::create(name_, {}));
    ASSERT_EQ(::truncate(control_segment_path(name_).c_str(), 8192), 0);
    EXPECT_FALSE(Segment::attach(name_, true));
}

TEST_F(SegmentTest, IsCurrent_AfterAnotherCreate_IsFalse) {
    auto first = Segment::create(name_, {});
    ASSERT_TRUE(first);
    auto attached = Segment::attach(name_, false);
    ASSERT_TRUE(attached);
    EXPECT_TRUE(attached.value()->is_current());
    auto second = Segment::create(name_, {});
    ASSERT_TRUE(second);
    EXPECT_FALSE(attached.value()->is_current());
    EXPECT_TRUE(second.value()->is_current());
}

}  // namespace
}  // namespace cachee::shm
