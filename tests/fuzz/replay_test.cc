// SPDX-License-Identifier: Apache-2.0
// Runs every fuzz target over its corpus and over random mutations of it, without libFuzzer, so
// that each build does. CACHEE_TEST_SEED=<number> repeats or varies the mutations; a target aborts
// on a failure, and what it was given is in the file named by the last line printed before.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/rng.h"
#include "tests/fuzz/fuzz.h"

namespace cachee::fuzz {
namespace {

using Target = void (*)(const uint8_t* data, size_t size);

std::vector<std::string> corpus(const std::string& name) {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry :
         std::filesystem::directory_iterator(CACHEE_SOURCE_DIR "/tests/fuzz/corpus/" + name)) {
        paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());  // the order is part of what a seed means
    std::vector<std::string> inputs;
    for (const auto& path : paths) {
        std::ifstream file(path, std::ios::binary);
        inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    return inputs;
}

uint64_t test_seed() {
    const char* text = std::getenv("CACHEE_TEST_SEED");
    return text != nullptr ? std::strtoull(text, nullptr, 10) : 1;
}

const std::string* running = nullptr;

void print_input(int) {
    for (const char c : *running) {
        std::fprintf(stderr, "%02x", static_cast<unsigned>(static_cast<uint8_t>(c)));
    }
    std::fprintf(stderr, "\n");
    std::_Exit(1);
}

void run(Target target, const std::string& input) {
    running = &input;
    target(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

// Bytes that matter to the grammars get most of the chances.
char random_byte(base::Rng& rng) {
    constexpr std::string_view kLikely = "*$\r\n0123456789-+:\"'\\x \t{}[],#&*|>%@!/.abkKMGiB";
    return rng.chance(0.8) ? kLikely[rng.below(kLikely.size())] : static_cast<char>(rng.below(256));
}

std::string mutate(std::string input, const std::vector<std::string>& inputs, base::Rng& rng) {
    for (uint64_t steps = 1 + rng.below(4); steps > 0; --steps) {
        const size_t at = rng.below(input.size() + 1);
        const size_t length = rng.below(std::min<size_t>(input.size() - at, 16) + 1);
        switch (rng.below(6)) {
            case 0:
                input.insert(at, 1, random_byte(rng));
                break;
            case 1:
                input.erase(at, length);
                break;
            case 2:
                input.insert(at, input.substr(at, length));
                break;
            case 3:
                input.resize(at);
                break;
            case 4: {
                const std::string& other = inputs[rng.below(inputs.size())];
                const size_t from = rng.below(other.size() + 1);
                input.insert(at, other.substr(from, rng.below(64)));
                break;
            }
            default:
                if (at < input.size()) {
                    input[at] = random_byte(rng);
                }
        }
    }
    return input;
}

void replay_and_mutate(Target target, const std::string& name, uint64_t rounds) {
    const std::vector<std::string> inputs = corpus(name);
    ASSERT_GE(inputs.size(), 8U);
    for (const std::string& input : inputs) {
        run(target, input);
    }
    const uint64_t seed = test_seed();
    std::cout << "CACHEE_TEST_SEED=" << seed << std::endl;
    std::signal(SIGABRT, print_input);
    base::Rng rng(seed);
    for (uint64_t round = 0; round < rounds; ++round) {
        const std::string input = mutate(inputs[rng.below(inputs.size())], inputs, rng);
        run(target, input);
    }
    std::signal(SIGABRT, SIG_DFL);
}

TEST(FuzzReplay, Parser_CorpusAndMutations_KeepPromises) {
    replay_and_mutate(parser_target, "parser", 10000);
}

TEST(FuzzReplay, Config_CorpusAndMutations_KeepPromises) {
    replay_and_mutate(config_target, "config", 4000);
}

TEST(FuzzReplay, Frame_CorpusAndMutations_KeepPromises) {
    replay_and_mutate(frame_target, "frame", 3000);
}

TEST(FuzzReplay, Session_CorpusAndMutations_KeepPromises) {
    replay_and_mutate(session_target, "session", 500);
}

TEST(FuzzReplay, Attach_CorpusAndMutations_KeepPromises) {
    replay_and_mutate(attach_target, "attach", 100);
}

// Records that are all of a form, unlike most mutations. CACHEE_FUZZ_ROUNDS=<number>: so many.
TEST(FuzzReplay, Attach_RandomDamage_KeepsPromises) {
    const char* given = std::getenv("CACHEE_FUZZ_ROUNDS");
    const uint64_t rounds = given != nullptr ? std::strtoull(given, nullptr, 10) : 300;
    const uint64_t seed = test_seed();
    std::cout << "CACHEE_TEST_SEED=" << seed << std::endl;
    std::signal(SIGABRT, print_input);
    base::Rng rng(seed);
    for (uint64_t round = 0; round < rounds; ++round) {
        std::string input(8 * (1 + rng.below(20)), 0);
        for (size_t at = 0; at < input.size(); ++at) input[at] = static_cast<char>(rng.below(256));
        // The headers seldom: then there is nothing to take over. The end of the file seldomer.
        for (size_t at = 0; at < input.size(); at += 8) {
            if (rng.chance(0.95)) input[at + 1] = static_cast<char>(2 + rng.below(4));
            if (rng.chance(0.9)) input[at] = static_cast<char>(rng.below(5));
        }
        run(attach_target, input);
    }
    std::signal(SIGABRT, SIG_DFL);
}

}  // namespace
}  // namespace cachee::fuzz
