// SPDX-License-Identifier: Apache-2.0
// Keys, values and the judgement on what a read brought back; see replay.h.
#include <algorithm>
#include <cstring>

#include "base/rng.h"
#include "tools/cachee/replay.h"

namespace cachee::cli {

namespace {

// A TTL travels as whole milliseconds, and L2 checks it against a clock that ticks in them.
constexpr uint64_t kExpirySlackMs = 5;

struct ValueHeader {
    uint64_t key;
    uint32_t version;
    uint32_t seed;
};
static_assert(sizeof(ValueHeader) == kValueHeaderBytes);

}  // namespace

std::string key_text(const std::string& prefix, uint64_t key, uint32_t key_bytes) {
    std::string text = prefix + std::to_string(key);
    const uint32_t wanted = std::min(key_bytes, kKeyBytesMax);
    if (text.size() < wanted) text.append(wanted - text.size(), '.');
    return text;
}

void derive_value(uint64_t key, uint32_t version, uint64_t seed, uint32_t size, std::string& out) {
    out.resize(size);
    size_t position = 0;
    if (size >= kValueHeaderBytes) {
        const ValueHeader header{key, version, static_cast<uint32_t>(seed)};
        std::memcpy(out.data(), &header, sizeof header);
        position = sizeof header;
    }
    base::Rng words(key ^ (uint64_t{version} << 32) ^ (seed * 0x9e3779b97f4a7c15ULL));
    while (position < size) {
        const uint64_t word = words.next();
        const size_t count = std::min(sizeof word, size - position);
        std::memcpy(out.data() + position, &word, count);
        position += count;
    }
}

uint32_t version_of_value(std::string_view value, uint64_t key, uint64_t seed) {
    if (value.size() < kValueHeaderBytes || value.size() > UINT32_MAX) return 0;
    ValueHeader header;
    std::memcpy(&header, value.data(), sizeof header);
    if (header.key != key || header.seed != static_cast<uint32_t>(seed)) return 0;
    std::string derived;
    derive_value(key, header.version, seed, static_cast<uint32_t>(value.size()), derived);
    return derived == value ? header.version : 0;
}

Judgement judge(const KeyState& state, uint64_t key, uint64_t seed, std::string_view value,
                uint64_t sent_ms, uint64_t received_ms) {
    const bool is_there = value.data() != nullptr;
    if (state.knowledge == KeyKnowledge::kUnknown) {
        if (!is_there) return {Verdict::kGone, 0};
        const uint32_t version = version_of_value(value, key, seed);
        return {version == 0 ? Verdict::kForeign : Verdict::kAdopted, version};
    }
    if (!is_there) {
        const bool may_be_gone = state.knowledge == KeyKnowledge::kAbsent ||
                                 (state.expires_low_ms != UINT64_MAX &&
                                  received_ms + kExpirySlackMs >= state.expires_low_ms);
        return {may_be_gone ? Verdict::kGone : Verdict::kMissing, 0};
    }
    if (state.knowledge == KeyKnowledge::kPresent) {
        std::string expected;
        derive_value(key, state.version, seed, state.value_bytes, expected);
        if (expected == value) {
            const bool outlived = state.expires_high_ms != UINT64_MAX &&
                                  sent_ms > state.expires_high_ms + kExpirySlackMs;
            return {outlived ? Verdict::kStale : Verdict::kGood, state.version};
        }
    }
    const uint32_t version = version_of_value(value, key, seed);
    return {version == 0 ? Verdict::kCorrupt : Verdict::kStale, version};
}

LatencySummary summarise(std::vector<uint32_t>& samples) {
    LatencySummary summary;
    summary.count = samples.size();
    if (samples.empty()) return summary;
    std::sort(samples.begin(), samples.end());
    // Nearest rank: the smallest sample that at least this share does not exceed.
    const auto rank = [&](uint64_t per_mille) {
        const uint64_t position = (samples.size() * per_mille + 999) / 1000;
        return uint64_t{samples[std::max<uint64_t>(position, 1) - 1]};
    };
    summary.p50 = rank(500);
    summary.p90 = rank(900);
    summary.p99 = rank(990);
    summary.p999 = rank(999);
    summary.max = samples.back();
    return summary;
}

void ReplayCounts::add(const ReplayCounts& other) {
    reads += other.reads;
    found += other.found;
    writes += other.writes;
    deletes += other.deletes;
    refills += other.refills;
    values_cut += other.values_cut;
    good += other.good;
    gone += other.gone;
    missing += other.missing;
    stale += other.stale;
    corrupt += other.corrupt;
    foreign += other.foreign;
    adopted += other.adopted;
    l2_reads += other.l2_reads;
    l2_found += other.l2_found;
    errors += other.errors;
    reconnects += other.reconnects;
    bytes_read += other.bytes_read;
    keys += other.keys;
    if (first_error.empty()) first_error = other.first_error;
    if (first_wrong.empty()) first_wrong = other.first_wrong;
}

}  // namespace cachee::cli
