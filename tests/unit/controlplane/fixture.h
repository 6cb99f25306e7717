// SPDX-License-Identifier: Apache-2.0
// One real L2, one fake data plane in the test's thread, one ControlPlane in another. Tests only.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "controlplane/control_plane.h"
#include "fake_data_plane.h"
#include "real_server.h"

namespace cachee::test {

using shm::kOrdered;
using shm::kResp3;
using shm::kWrite;
using shm::Lane;
using stats::ControlCounter;

class PlaneTest : public ::testing::Test {
  protected:
    PlaneTest() {
        char name[] = "/tmp/cachee-cp-XXXXXX";
        directory_ = ::mkdtemp(name);
        config_.instance.name = "cp-" + std::to_string(::getpid());
        config_.instance.runtime_dir = directory_;
    }
    ~PlaneTest() override {
        stop_plane();
        ::unlink(shm::control_segment_path(config_.instance.name).c_str());
        std::filesystem::remove_all(directory_);
    }

    void start(uint32_t workers = 1, const std::string& program = "valkey-server",
               std::vector<std::string> server_arguments = {}) {
        server_ = std::make_unique<RealServer>(program, std::move(server_arguments));
        client_ = std::make_unique<Client>(server_->port());
        data_ = std::make_unique<FakeDataPlane>(config_.instance.name, directory_, workers);
        start_plane();
        ASSERT_TRUE(data_->all_leased()) << "no lease";
    }
    void start_plane() {
        controlplane::L2Address address;
        address.host = "127.0.0.1";
        address.port = server_->port();
        address.password = password_;
        auto plane = controlplane::ControlPlane::create(config_, address);
        ASSERT_TRUE(plane) << plane.error().message;
        plane_ = std::move(plane.value());
        thread_ = std::thread([this] { plane_->run(false); });
    }
    void stop_plane() {
        if (!plane_) return;
        plane_->stop();
        thread_.join();
        plane_.reset();
    }

    std::string set(const std::string& key, const std::string& value, uint32_t worker = 0) {
        return data_->run(worker, Lane::kTracked, kWrite, {"SET", key, value});
    }

    // Until the invalidations of what the client did have arrived: a fetch sent before they do is
    // answered, but rightly not installed.
    void settle() {
        ASSERT_EQ(data_->run(0, Lane::kFenced, kWrite, {"EVAL", "return 1", "0"}), ":1\r\n");
    }

    config::Config config_;
    std::string password_;
    std::string directory_;
    std::unique_ptr<RealServer> server_;
    std::unique_ptr<Client> client_;
    std::unique_ptr<FakeDataPlane> data_;
    std::unique_ptr<controlplane::ControlPlane> plane_;
    std::thread thread_;
};

}  // namespace cachee::test
