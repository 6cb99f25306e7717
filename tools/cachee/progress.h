// SPDX-License-Identifier: Apache-2.0
// How far a long command is, on stderr: a bar on a terminal, else a line for every tenth. One
// thread.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include "tools/cachee/text.h"

namespace cachee::cli {

class Progress {
  public:
    Progress(std::string what, uint64_t whole)
        : what_(std::move(what)), whole_(whole), is_terminal_(colours_wanted(STDERR_FILENO)) {}

    void show(uint64_t done) {
        if (whole_ == 0) return;
        const auto tenths = static_cast<int>(done * 10 / whole_);
        if (!is_terminal_) {
            if (tenths > shown_tenths_) fmt::print(stderr, "{}: {} %\n", what_, tenths * 10);
        } else {
            const auto cells = static_cast<int>(done * kBarCells / whole_);
            fmt::print(stderr, "\r{} [{}{}] {:>3} % ({} of {})\x1b[K", what_,
                       std::string(cells, '#'), std::string(kBarCells - cells, '.'),
                       done * 100 / whole_, grouped(done), grouped(whole_));
        }
        shown_tenths_ = tenths;
    }

    void end() {
        if (is_terminal_) fmt::print(stderr, "\r\x1b[K");
    }

  private:
    static constexpr int kBarCells = 30;

    std::string what_;
    uint64_t whole_;
    bool is_terminal_;
    int shown_tenths_ = 0;
};

}  // namespace cachee::cli
