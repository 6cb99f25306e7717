// SPDX-License-Identifier: Apache-2.0
// Fuzz target of resp/parser.h and resp/command_table.h. The first byte chooses the limits, the
// rest is what a client sent. Promises: the outcome does not depend on where the bytes were split,
// nothing outside of the buffer is read (every buffer has its exact size, for the sanitizer), what
// was consumed was there, re-encoding gives the same arguments, and key indexes stay in bounds.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/assert.h"
#include "base/hash.h"
#include "base/rng.h"
#include "resp/command_reply.h"
#include "resp/command_table.h"
#include "resp/encoder.h"
#include "resp/parser.h"
#include "tests/fuzz/fuzz.h"

namespace cachee::fuzz {
namespace {

using resp::ParseStatus;

constexpr size_t kSplitBytesMax = 192;  // each split point of longer inputs costs too much
constexpr int kSomeSplits = 12;         // then a few ways to cut it, in up to eight pieces

struct Outcome {
    ParseStatus status = ParseStatus::kIncomplete;
    size_t consumed = 0;
    std::string error;
    std::vector<std::string> arguments;
    bool operator==(const Outcome&) const = default;
};

class Session {
  public:
    explicit Session(const resp::Limits& limits) : limits_(limits) {}

    Outcome parse(std::string_view bytes) {
        const std::unique_ptr<char[]> copy(new char[bytes.size()]);
        if (!bytes.empty()) {
            std::memcpy(copy.get(), bytes.data(), bytes.size());
        }
        const resp::ParseResult result =
            resp::parse_command({copy.get(), bytes.size()}, limits_, state_, list_);
        CACHEE_ASSERT(result.consumed <= bytes.size());
        CACHEE_ASSERT((result.status == ParseStatus::kComplete) == (result.consumed > 0));
        CACHEE_ASSERT((result.status == ParseStatus::kProtocolError) == !result.error.empty());
        CACHEE_ASSERT(result.status == ParseStatus::kComplete || list_.empty());
        CACHEE_ASSERT(result.status == ParseStatus::kIncomplete || state_.needed_bytes == 0);
        Outcome outcome{result.status, result.consumed, std::string(result.error), {}};
        for (const std::string_view argument : list_) {
            CACHEE_ASSERT(argument.size() <= limits_.bulk_bytes_max ||
                          argument.size() <= limits_.inline_bytes_max);
            outcome.arguments.emplace_back(argument);
        }
        CACHEE_ASSERT(list_.size() <= limits_.arguments_max);
        return outcome;
    }

    Outcome parse_in_two(std::string_view bytes, size_t split) {
        const Outcome first = parse(bytes.substr(0, split));
        return first.status == ParseStatus::kIncomplete ? parse(bytes) : first;
    }

  private:
    const resp::Limits limits_;
    resp::ParseState state_;
    resp::ArgumentList list_;
};

void check_splits(std::string_view bytes, const resp::Limits& limits, const Outcome& whole) {
    Session bytewise(limits);
    for (size_t end = 0; end <= bytes.size(); ++end) {
        const Outcome outcome = bytewise.parse(bytes.substr(0, end));
        if (outcome.status != ParseStatus::kIncomplete || end == bytes.size()) {
            CACHEE_ASSERT(outcome == whole);
            break;
        }
    }
    for (size_t split = 0; split <= bytes.size(); ++split) {
        CACHEE_ASSERT(Session(limits).parse_in_two(bytes, split) == whole);
    }
}

// Longer inputs arrive in pieces cut where their own bytes say, so that an input repeats itself.
void check_some_splits(std::string_view bytes, const resp::Limits& limits, const Outcome& whole) {
    base::Rng rng(base::hash_key(bytes, 1));
    for (int i = 0; i < kSomeSplits; ++i) {
        Session session(limits);
        size_t end = 0;
        for (;;) {
            const size_t left = bytes.size() - end;
            end = rng.chance(0.2) ? bytes.size() : end + rng.below(std::min<size_t>(left, 64) + 1);
            const Outcome outcome = session.parse(bytes.substr(0, end));
            if (outcome.status != ParseStatus::kIncomplete || end == bytes.size()) {
                CACHEE_ASSERT(outcome == whole);
                break;
            }
        }
    }
}

void check_arguments(const Outcome& outcome) {
    const std::vector<std::string_view> views(outcome.arguments.begin(), outcome.arguments.end());
    std::string encoded;
    resp::append_command(encoded, views);
    CACHEE_ASSERT(encoded.size() == resp::command_bytes(views));
    const Outcome again = Session(resp::Limits{}).parse(encoded);
    CACHEE_ASSERT(again.status == ParseStatus::kComplete);
    CACHEE_ASSERT(again.consumed == encoded.size());
    CACHEE_ASSERT(again.arguments == outcome.arguments);
    if (views.empty()) {
        return;
    }
    if (const resp::CommandInfo* command = resp::find_command(views); command != nullptr) {
        std::vector<uint32_t> indexes;
        const bool known = resp::command_keys(*command, views, indexes);
        CACHEE_ASSERT(known || indexes.empty());
        for (const uint32_t index : indexes) {
            CACHEE_ASSERT(index >= 1 && index < views.size());
        }
        resp::needs_pinning(*command, views);
        if (command->name.starts_with("command|")) {
            CACHEE_ASSERT(!resp::command_reply(views, resp::Protocol::kResp3).empty());
        }
    }
}

resp::Limits limits_for(uint8_t choice) {
    resp::Limits limits;
    if ((choice & 1) != 0) {
        limits.inline_bytes_max = 24;
    }
    if ((choice & 2) != 0) {
        limits.arguments_max = 3;
    }
    if ((choice & 4) != 0) {
        limits.bulk_bytes_max = 8;
    }
    return limits;
}

}  // namespace

void parser_target(const uint8_t* data, size_t size) {
    if (size == 0) {
        return;
    }
    const resp::Limits limits = limits_for(data[0]);
    std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
    Session session(limits);
    for (;;) {
        const Outcome whole = session.parse(rest);
        if (rest.size() <= kSplitBytesMax) {
            check_splits(rest, limits, whole);
        } else {
            check_some_splits(rest, limits, whole);
        }
        if (whole.status != ParseStatus::kComplete) {
            return;
        }
        check_arguments(whole);
        rest.remove_prefix(whole.consumed);
    }
}

}  // namespace cachee::fuzz

CACHEE_FUZZ_MAIN(parser_target)
