// SPDX-License-Identifier: Apache-2.0
#include "controlplane/swap_watch.h"

#include <charconv>
#include <string_view>

#include "base/units.h"

namespace cachee::controlplane {

namespace {

constexpr std::string_view kAsk = "*2\r\n$4\r\nINFO\r\n$12\r\ncommandstats\r\n";
constexpr std::string_view kLine = "cmdstat_swapdb:calls=";
constexpr uint64_t kEveryNs = base::kNsPerS;

}  // namespace

void SwapWatch::tick(uint64_t now_ns) {
    if (in_flight_ || now_ns < next_ns_) return;
    in_flight_ = backend_.send(L2Lane::kShared2, kAsk, *this);
    if (in_flight_) next_ns_ = now_ns + kEveryNs;  // else as soon as the lane is up
}

void SwapWatch::on_reply(const redisReply* reply) {
    in_flight_ = false;
    if (reply == nullptr || reply->type != REDIS_REPLY_STRING) return;
    const std::string_view info(reply->str, reply->len);
    uint64_t calls = 0;
    if (const size_t at = info.find(kLine); at != std::string_view::npos) {
        const char* digits = info.data() + at + kLine.size();
        std::from_chars(digits, info.data() + info.size(), calls);
    }
    const bool changed = calls_.has_value() && *calls_ != calls;
    calls_ = calls;
    if (changed) on_swap_();
}

}  // namespace cachee::controlplane
