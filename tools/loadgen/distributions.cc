// SPDX-License-Identifier: Apache-2.0
// The draws, and the parsing of their descriptions. See distributions.h.
#include "tools/loadgen/distributions.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <optional>

#include "base/units.h"

namespace cachee::loadgen {

namespace {

constexpr double kBytesMax = 64.0 * base::kMiB;
constexpr double kLognormalBytesMax = 1.0 * base::kMiB;

base::Error wrong(std::string_view text, const std::string& why) {
    return base::Error{"\"" + std::string(text) + "\": " + why};
}

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    while (true) {
        const size_t end = text.find(separator);
        parts.push_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + 1);
    }
}

std::optional<double> number(std::string_view text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value)) {
        return std::nullopt;
    }
    return value;
}

// A count of bytes within 1..kBytesMax.
std::optional<uint32_t> bytes(std::string_view text) {
    const auto value = number(text);
    if (!value || *value < 1 || *value > kBytesMax || *value != std::floor(*value)) {
        return std::nullopt;
    }
    return static_cast<uint32_t>(*value);
}

// log(1 + x) / x and (exp(x) - 1) / x, exact around 0.
double log1p_over(double x) {
    return std::abs(x) > 1e-8 ? std::log1p(x) / x : 1 - x * (0.5 - x * (1.0 / 3 - x * 0.25));
}
double expm1_over(double x) {
    return std::abs(x) > 1e-8 ? std::expm1(x) / x : 1 + x * 0.5 * (1 + x / 3 * (1 + x * 0.25));
}

}  // namespace

// --- zipf

Zipf::Zipf(uint64_t n, double s) : n_(n), s_(s) {
    integral_first_ = integral(1.5) - 1;
    integral_last_ = integral(static_cast<double>(n) + 0.5);
    squeeze_ = 2 - integral_inverse(integral(2.5) - density(2));
}

double Zipf::density(double x) const { return std::exp(-s_ * std::log(x)); }

// An antiderivative of x^-s: (x^(1-s) - 1) / (1 - s), and log(x) for s = 1.
double Zipf::integral(double x) const {
    const double log_x = std::log(x);
    return expm1_over((1 - s_) * log_x) * log_x;
}

double Zipf::integral_inverse(double x) const {
    const double t = std::max(x * (1 - s_), -1.0);
    return std::exp(log1p_over(t) * x);
}

uint64_t Zipf::draw(base::Rng& rng) const {
    while (true) {
        const double u = integral_last_ + rng.uniform() * (integral_first_ - integral_last_);
        const double x = integral_inverse(u);
        const double rounded = std::clamp(std::floor(x + 0.5), 1.0, static_cast<double>(n_));
        if (rounded - x <= squeeze_ || u >= integral(rounded + 0.5) - density(rounded)) {
            return static_cast<uint64_t>(rounded);
        }
    }
}

// --- keys

base::Result<KeyDistribution> KeyDistribution::parse(std::string_view text, uint64_t keys) {
    constexpr const char* kForms = "uniform, zipf:S, sequential or hotspot:KEYS%:REQUESTS%";
    const auto parts = split(text, ':');
    const std::string copy(text);
    if (keys == 0) return base::Error{"there must be at least one key"};
    if (parts[0] == "uniform" && parts.size() == 1) {
        return KeyDistribution(Kind::kUniform, keys, copy);
    }
    if (parts[0] == "sequential" && parts.size() == 1) {
        return KeyDistribution(Kind::kSequential, keys, copy);
    }
    if (parts[0] == "zipf" && parts.size() <= 2) {
        const auto s = parts.size() == 2 ? number(parts[1]) : 0.99;
        if (!s || *s < 0 || *s > 10) return wrong(text, "the exponent of zipf is 0..10");
        KeyDistribution made(Kind::kZipf, keys, parts.size() == 2 ? copy : "zipf:0.99");
        made.zipf_ = Zipf(keys, *s);
        return made;
    }
    if (parts[0] == "hotspot" && parts.size() == 3) {
        const auto hot = number(parts[1]);
        const auto share = number(parts[2]);
        if (!hot || !share || *hot <= 0 || *hot > 100 || *share < 0 || *share > 100) {
            return wrong(text, "both numbers of hotspot are percentages");
        }
        KeyDistribution made(Kind::kHotspot, keys, copy);
        const double count = std::ceil(static_cast<double>(keys) * *hot / 100);
        made.hot_keys_ = std::clamp<uint64_t>(static_cast<uint64_t>(count), 1, keys);
        made.hot_requests_ = *share / 100;
        return made;
    }
    return wrong(text, std::string("not one of ") + kForms);
}

uint64_t KeyDistribution::draw(base::Rng& rng, uint64_t& cursor) const {
    switch (kind_) {
        case Kind::kUniform:
            return rng.below(keys_);
        case Kind::kZipf:
            return zipf_.draw(rng) - 1;
        case Kind::kSequential: {
            const uint64_t key = cursor;
            cursor = cursor + 1 == keys_ ? 0 : cursor + 1;
            return key;
        }
        case Kind::kHotspot:
            if (hot_keys_ == keys_ || rng.chance(hot_requests_)) return rng.below(hot_keys_);
            return hot_keys_ + rng.below(keys_ - hot_keys_);
    }
    return 0;
}

// --- sizes

base::Result<SizeDistribution> SizeDistribution::parse(std::string_view text) {
    const auto parts = split(text, ':');
    const std::string copy(text);
    if (const auto fixed = bytes(text)) {
        SizeDistribution made(Kind::kFixed, copy);
        made.min_ = made.max_ = *fixed;
        return made;
    }
    if (parts[0] == "uniform" && parts.size() == 3) {
        const auto low = bytes(parts[1]);
        const auto high = bytes(parts[2]);
        if (!low || !high || *low > *high) {
            return wrong(text, "uniform:MIN:MAX, in bytes, 1..67108864");
        }
        SizeDistribution made(Kind::kUniform, copy);
        made.min_ = *low;
        made.max_ = *high;
        return made;
    }
    if (parts[0] == "lognormal" && (parts.size() == 3 || parts.size() == 4)) {
        const auto median = bytes(parts[1]);
        const auto sigma = number(parts[2]);
        const auto cut = parts.size() == 4
                             ? bytes(parts[3])
                             : std::optional(static_cast<uint32_t>(kLognormalBytesMax));
        if (!median || !sigma || !cut || *sigma < 0 || *sigma > 5 || *cut < *median) {
            return wrong(text, "lognormal:MEDIAN:SIGMA[:MAX], bytes 1..67108864, sigma 0..5");
        }
        SizeDistribution made(Kind::kLognormal, copy);
        made.min_ = 1;
        made.max_ = *cut;
        made.mu_ = std::log(static_cast<double>(*median));
        made.sigma_ = *sigma;
        return made;
    }
    if (parts[0] == "percentiles" && parts.size() == 2) {
        SizeDistribution made(Kind::kPercentiles, copy);
        if (auto status = made.parse_points(parts[1]); !status) {
            return wrong(text, status.error().message);
        }
        return made;
    }
    return wrong(text,
                 "not a number of bytes (1..67108864), uniform:MIN:MAX, lognormal:MEDIAN:SIGMA or "
                 "percentiles:P=BYTES,...");
}

base::Status SizeDistribution::parse_points(std::string_view text) {
    points_ = {{0.0, 1.0}};
    for (const std::string_view point : split(text, ',')) {
        const auto halves = split(point, '=');
        const auto percent = number(halves[0]);
        const auto size = halves.size() == 2 ? bytes(halves[1]) : std::nullopt;
        if (!percent || !size) return base::Error{"each point is PERCENT=BYTES"};
        const bool rises = *percent / 100 > points_.back().first &&
                           static_cast<double>(*size) >= points_.back().second;
        // The first point may say what the smallest value is.
        if (points_.size() == 1 && *percent == 0) {
            points_[0].second = *size;
        } else if (!rises || *percent > 100) {
            return base::Error{"percentages and bytes must rise, up to 100"};
        } else {
            points_.emplace_back(*percent / 100, *size);
        }
    }
    if (points_.back().first != 1.0) return base::Error{"the last point must be 100=BYTES"};
    min_ = static_cast<uint32_t>(points_.front().second);
    max_ = static_cast<uint32_t>(points_.back().second);
    return {};
}

uint32_t SizeDistribution::draw(base::Rng& rng) const {
    double size = max_;
    switch (kind_) {
        case Kind::kFixed:
            return max_;
        case Kind::kUniform:
            return min_ + static_cast<uint32_t>(rng.below(max_ - min_ + 1));
        case Kind::kLognormal: {  // Box and Muller
            const double radius = std::sqrt(-2 * std::log(1 - rng.uniform()));
            const double normal = radius * std::cos(2 * std::numbers::pi * rng.uniform());
            size = std::exp(mu_ + sigma_ * normal);
            break;
        }
        case Kind::kPercentiles: {
            const double u = rng.uniform();
            size_t i = 1;
            while (points_[i].first <= u && i + 1 < points_.size()) ++i;
            const auto [u0, b0] = points_[i - 1];
            const auto [u1, b1] = points_[i];
            size = b0 + (b1 - b0) * (u - u0) / (u1 - u0);
            break;
        }
    }
    return static_cast<uint32_t>(
        std::clamp(std::round(size), static_cast<double>(min_), static_cast<double>(max_)));
}

// --- arrivals

Schedule::Schedule(double rate, bool poisson, uint64_t start_ns, uint64_t seed)
    : period_ns_(1e9 / rate),
      poisson_(poisson),
      start_ns_(start_ns),
      due_ns_(start_ns),
      rng_(seed) {
    if (poisson_) advance();
}

void Schedule::advance() {
    offset_ns_ += poisson_ ? -std::log(1 - rng_.uniform()) * period_ns_ : period_ns_;
    due_ns_ = start_ns_ + static_cast<uint64_t>(offset_ns_);
}

}  // namespace cachee::loadgen
