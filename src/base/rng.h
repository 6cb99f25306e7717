// SPDX-License-Identifier: Apache-2.0
// A small seeded generator (SplitMix64, Steele et al., OOPSLA 2014) for policies, simulations and
// tests. Deterministic across machines; not for secrets (see random_seed() for those).
#pragma once

#include <sys/random.h>

#include <cstdint>

namespace cachee::base {

class Rng {
  public:
    explicit Rng(uint64_t seed) : state_(seed) {}

    uint64_t next() {
        uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }

    // Uniform in [0, bound). REQUIRES: bound > 0. Bias below 2^-32 for bounds below 2^32.
    uint64_t below(uint64_t bound) {
        return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
    }

    // Uniform in [0, 1).
    double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

    bool chance(double probability) { return uniform() < probability; }

  private:
    uint64_t state_;
};

// From the kernel; at start only.
inline uint64_t random_seed() {
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) {
        seed = reinterpret_cast<uintptr_t>(&seed);
    }
    return seed;
}

}  // namespace cachee::base
