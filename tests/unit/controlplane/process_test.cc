// SPDX-License-Identifier: Apache-2.0
// The program itself: arguments, signals, exit codes, sudden death. Its path is in
// CACHEE_CONTROLPLANE.
#include <fcntl.h>

#include <fstream>
#include <sstream>

#include "fixture.h"

namespace cachee::test {
namespace {

class ProcessTest : public PlaneTest {
  protected:
    ~ProcessTest() override { end(SIGKILL); }

    std::string log_path() const { return directory_ + "/log"; }
    std::string log() const {
        std::ifstream file(log_path());
        std::stringstream text;
        text << file.rdbuf();
        return text.str();
    }
    std::string write_config(const std::string& l2) const {
        const std::string path = directory_ + "/cachee.yaml";
        std::ofstream(path) << "instance:\n  name: " << config_.instance.name
                            << "\n  runtime_dir: " << directory_ << "\n"
                            << l2;
        return path;
    }
    pid_t spawn(const std::vector<std::string>& arguments) {
        const char* program = std::getenv("CACHEE_CONTROLPLANE");
        if (program == nullptr) {
            ADD_FAILURE() << "CACHEE_CONTROLPLANE is not set; run it with meson test";
            return -1;
        }
        const pid_t child = ::fork();
        if (child != 0) return child;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int file = ::open(log_path().c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        ::dup2(file, 1);
        ::dup2(file, 2);
        std::vector<char*> argv{const_cast<char*>(program)};
        for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
        argv.push_back(nullptr);
        ::execv(program, argv.data());
        ::_exit(127);
    }
    static int wait(pid_t child) {
        int status = 0;
        ::waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    int end(int signal) {
        if (pid_ <= 0) return 0;
        ::kill(pid_, signal);
        return wait(std::exchange(pid_, -1));
    }
    void start_process() {
        server_ = std::make_unique<RealServer>("valkey-server",
                                               std::vector<std::string>{"--requirepass", "secret"});
        data_ = std::make_unique<FakeDataPlane>(config_.instance.name, directory_, 1);
        config_path_ = write_config(
            "l2:\n  backend: redis://:secret@127.0.0.1:" + std::to_string(server_->port()) + "\n");
        pid_ = spawn({"--config", config_path_});
        ASSERT_TRUE(data_->all_leased()) << log();
    }

    std::string config_path_;
    pid_t pid_ = -1;
};

TEST_F(ProcessTest, Sigterm_WithdrawsTheLeaseAndExitsWithZero) {
    start_process();
    EXPECT_EQ(set("k", "v"), "+OK\r\n");
    EXPECT_EQ(end(SIGTERM), 0) << log();
    data_->poll();
    EXPECT_FALSE(data_->lease_live(0));
    EXPECT_EQ(log().find("secret"), std::string::npos) << "a password in the log";
}

TEST_F(ProcessTest, Sigkill_NextOneTakesOverWithinASecond) {
    start_process();
    EXPECT_EQ(set("k", "v"), "+OK\r\n");
    EXPECT_EQ(end(SIGKILL), -SIGKILL);
    const uint64_t epoch = data_->worker(0).epoch;
    const uint64_t killed_ns = base::monotonic_ns();
    pid_ = spawn({"--config", config_path_});
    ASSERT_TRUE(data_->until([&] { return data_->worker(0).epoch > epoch; }));
    ASSERT_TRUE(data_->all_leased());
    EXPECT_LT(base::monotonic_ns() - killed_ns, base::kNsPerS);
    EXPECT_EQ(data_->hit("k"), nullptr);
    EXPECT_EQ(data_->reply(0, data_->fetch(0, "k")), "$1\r\nv\r\n");
}

TEST_F(ProcessTest, Sigstop_LeaseLapsesAndComesBack) {
    start_process();
    ::kill(pid_, SIGSTOP);
    EXPECT_TRUE(data_->until([&] { return !data_->lease_live(0); }, 400));
    ::kill(pid_, SIGCONT);
    EXPECT_TRUE(data_->all_leased());
}

TEST_F(ProcessTest, SecondOne_ExitsWithTheReason) {
    start_process();
    EXPECT_EQ(wait(spawn({"--config", config_path_})), 1);
    EXPECT_NE(log().find("another cachee-controlplane of this instance runs"), std::string::npos);
}

TEST_F(ProcessTest, BadConfiguration_ExitsWithTwoAndNamesTheLine) {
    const std::string path = write_config("l2:\n  bakend: x\n");
    EXPECT_EQ(wait(spawn({"--config", path})), 2);
    EXPECT_NE(log().find("bakend"), std::string::npos) << log();
}

TEST_F(ProcessTest, UnknownArgument_ShowsTheUsage) {
    EXPECT_EQ(wait(spawn({"--confg", "x"})), 2);
    EXPECT_NE(log().find("usage:"), std::string::npos);
}

}  // namespace
}  // namespace cachee::test
