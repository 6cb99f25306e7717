// SPDX-License-Identifier: Apache-2.0
// What a load is drawn from: which key, how many bytes, when. Each is a description that the
// command line gives as text, and a draw from a seeded generator. Immutable after parsing, so that
// all threads share them; each thread has a generator of its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/rng.h"

namespace cachee::loadgen {

// Ranks 1..n, rank k with a probability proportional to k^-s, for any s >= 0, in constant time and
// memory: rejection-inversion (Hoermann, Derflinger: "Rejection-inversion to generate variates from
// monotone discrete distributions", 1996).
class Zipf {
  public:
    Zipf(uint64_t n, double s);
    uint64_t draw(base::Rng& rng) const;

  private:
    double density(double x) const;
    double integral(double x) const;
    double integral_inverse(double x) const;

    uint64_t n_;
    double s_;
    double integral_first_;
    double integral_last_;
    double squeeze_;
};

// Which key: a number in [0, keys). The popular ones of zipf and hotspot are the low numbers.
class KeyDistribution {
  public:
    // "uniform", "zipf:0.99", "sequential", "hotspot:1:90" (1 % of the keys get 90 % of the
    // requests).
    static base::Result<KeyDistribution> parse(std::string_view text, uint64_t keys);

    // `cursor` is the caller's own place in the key space; only sequential uses it.
    uint64_t draw(base::Rng& rng, uint64_t& cursor) const;
    uint64_t keys() const { return keys_; }
    const std::string& text() const { return text_; }

  private:
    enum class Kind : uint8_t { kUniform, kZipf, kSequential, kHotspot };
    KeyDistribution(Kind kind, uint64_t keys, std::string text)
        : kind_(kind), keys_(keys), text_(std::move(text)), zipf_(keys, 0) {}

    Kind kind_;
    uint64_t keys_;
    std::string text_;
    Zipf zipf_;
    uint64_t hot_keys_ = 0;
    double hot_requests_ = 0;
};

// How many bytes a value has.
class SizeDistribution {
  public:
    // "64", "uniform:16:1024", "lognormal:200:1.2" (median, sigma; cut at 1 MiB or at a third
    // number), "percentiles:50=64,90=512,100=4096" (straight lines between the points, from 1
    // byte).
    static base::Result<SizeDistribution> parse(std::string_view text);

    uint32_t draw(base::Rng& rng) const;
    bool is_fixed() const { return kind_ == Kind::kFixed; }
    uint32_t bytes_max() const { return max_; }
    const std::string& text() const { return text_; }

  private:
    enum class Kind : uint8_t { kFixed, kUniform, kLognormal, kPercentiles };
    SizeDistribution(Kind kind, std::string text) : kind_(kind), text_(std::move(text)) {}
    base::Status parse_points(std::string_view points);

    Kind kind_;
    std::string text_;
    uint32_t min_ = 0;
    uint32_t max_ = 0;
    double mu_ = 0;
    double sigma_ = 0;
    std::vector<std::pair<double, double>> points_;  // share of the values in 0..1, bytes
};

// When the requests of an open loop are due, whatever became of those before.
class Schedule {
  public:
    // rate: requests per second. Poisson: exponential gaps; otherwise equal ones.
    Schedule(double rate, bool poisson, uint64_t start_ns, uint64_t seed);

    // When the next request is due.
    uint64_t due_ns() const { return due_ns_; }
    void advance();

  private:
    double period_ns_;
    bool poisson_;
    uint64_t start_ns_;
    double offset_ns_ = 0;  // from start_ns_, so that rounding does not add up
    uint64_t due_ns_;
    base::Rng rng_;
};

}  // namespace cachee::loadgen
