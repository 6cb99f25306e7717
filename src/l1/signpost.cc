// SPDX-License-Identifier: Apache-2.0
#include "l1/signpost.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace cachee::l1 {

namespace {

constexpr std::string_view kFirstLine = "cachee readers 1";
constexpr size_t kBytesMax = 4096;

std::string_view take_line(std::string_view* text) {
    const size_t end = text->find('\n');
    const std::string_view line = text->substr(0, end);
    text->remove_prefix(end == std::string_view::npos ? text->size() : end + 1);
    return line;
}

}  // namespace

std::string signpost_path(const std::string& instance) {
    return "/dev/shm/cachee-" + instance + "-readers";
}

base::Status write_signpost(const std::string& instance, const Signpost& signpost, mode_t mode) {
    const std::string path = signpost_path(instance);
    const std::string temporary = path + ".new";
    const std::string text = std::string(kFirstLine) + "\nl1 " + signpost.l1_path + "\nhints " +
                             signpost.hints_path + "\nlisten " + signpost.listen + "\n";
    ::unlink(temporary.c_str());
    const int fd =
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool written = fd >= 0;
    written = written && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    written = written && ::fchmod(fd, mode) == 0;
    written = written && ::rename(temporary.c_str(), path.c_str()) == 0;
    const int error = errno;
    if (fd >= 0) ::close(fd);
    if (written) return {};
    if (fd >= 0) ::unlink(temporary.c_str());
    return base::Error{"cannot write " + path + ": " + std::strerror(error)};
}

std::optional<Signpost> read_signpost(const std::string& instance, bool* forbidden) {
    *forbidden = false;
    const int fd =
        ::open(signpost_path(instance).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        *forbidden = errno == EACCES || errno == EPERM;
        return std::nullopt;
    }
    char bytes[kBytesMax];
    const ssize_t size = ::read(fd, bytes, sizeof bytes);
    ::close(fd);
    if (size <= 0) return std::nullopt;
    std::string_view text(bytes, static_cast<size_t>(size));
    if (take_line(&text) != kFirstLine) return std::nullopt;
    Signpost signpost;
    while (!text.empty()) {
        const std::string_view line = take_line(&text);
        if (line.starts_with("l1 ")) signpost.l1_path = line.substr(3);
        if (line.starts_with("hints ")) signpost.hints_path = line.substr(6);
        if (line.starts_with("listen ")) signpost.listen = line.substr(7);
    }
    if (signpost.l1_path.empty()) return std::nullopt;
    return signpost;
}

}  // namespace cachee::l1
