// SPDX-License-Identifier: Apache-2.0
// Tests that conf/ is true: cachee.yaml has every key with its default, meaning and range, and
// every example loads.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "config/keys.h"
#include "config/loader.h"

namespace cachee::config {
namespace {

std::string conf(const std::string& name) { return CACHEE_SOURCE_DIR "/conf/" + name; }

std::string read_file(const std::string& path) {
    std::ifstream file(path);
    EXPECT_TRUE(file) << path;
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

struct Entry {
    std::string value;
    std::string comment;
};

// The file as text, without a YAML library: "section.key" with its value and the comments above it.
std::map<std::string, Entry> entries_of(const std::string& text) {
    std::map<std::string, Entry> entries;
    std::istringstream lines(text);
    std::string section;
    std::string comment;
    for (std::string line; std::getline(lines, line);) {
        const size_t start = line.find_first_not_of(' ');
        if (start == std::string::npos) {
            comment.clear();
            continue;
        }
        if (line[start] == '#') {
            comment += line.substr(start + 1) + "\n";
            continue;
        }
        const size_t colon = line.find(':', start);
        const std::string name = line.substr(start, colon - start);
        if (start == 0 && colon + 1 == line.size()) {
            section = name + ".";
        } else {
            const std::string key = (start == 0 ? "" : section) + name;
            EXPECT_TRUE(entries.emplace(key, Entry{line.substr(colon + 2), comment}).second) << key;
        }
        comment.clear();
    }
    return entries;
}

TEST(Reference, Cachee_EveryKey_HasDefaultMeaningAndRange) {
    std::map<std::string, Entry> entries = entries_of(read_file(conf("cachee.yaml")));
    const Config defaults;
    for (const KeyInfo& key : keys()) {
        const auto entry = entries.find(std::string(key.name));
        ASSERT_NE(entry, entries.end()) << key.name << " is missing";
        EXPECT_EQ(entry->second.value, value_text(key, defaults)) << key.name;
        const std::string& comment = entry->second.comment;
        EXPECT_NE(comment.find(key.meaning), std::string::npos) << key.name << ": " << comment;
        EXPECT_NE(comment.find(allowed_text(key)), std::string::npos)
            << key.name << ": " << comment;
        EXPECT_NE(comment.find(key.unit), std::string::npos) << key.name << ": " << comment;
        entries.erase(entry);
    }
    EXPECT_TRUE(entries.empty()) << entries.begin()->first << " is no key";
}

TEST(Reference, Cachee_Loaded_EqualsDefaults) {
    unsetenv("CACHEE_L2_BACKEND");
    Config config;
    config.listen.port = 1;
    std::vector<Finding> findings;
    ASSERT_TRUE(load(conf("cachee.yaml"), config, findings)) << findings.front().text();
    const Config defaults;
    for (const KeyInfo& key : keys()) {
        EXPECT_EQ(value_text(key, config), value_text(key, defaults)) << key.name;
    }
}

TEST(Reference, Examples_Loaded_AreGood) {
    unsetenv("CACHEE_L2_BACKEND");
    const std::map<std::string, DriverKind> examples = {
        {"quickstart-socket.yaml", DriverKind::kSocket},
        {"quickstart-tap.yaml", DriverKind::kDpdk},
        {"quickstart-af_xdp.yaml", DriverKind::kDpdk},
        {"memif.yaml", DriverKind::kDpdk},
        {"sim.yaml", DriverKind::kSim}};
    for (const auto& [name, driver] : examples) {
        Config config;
        std::vector<Finding> findings;
        ASSERT_TRUE(load(conf(name), config, findings)) << findings.front().text();
        EXPECT_EQ(config.driver, driver) << name;
        if (name != "memif.yaml") {  // standalone
            EXPECT_TRUE(parse_backend(config.l2.backend)) << name;
        }
    }
}

TEST(Keys, Defaults_EveryKey_PassTheirOwnChecks) {
    std::set<std::string_view> names;
    for (const KeyInfo& key : keys()) {
        EXPECT_TRUE(names.insert(key.name).second) << key.name;
        EXPECT_FALSE(key.meaning.empty()) << key.name;
        EXPECT_EQ(find_key(key.name), &key);
        if (key.type == KeyType::kTextList || key.type == KeyType::kNumberList) {
            continue;
        }
        const Config defaults;
        Config config;
        std::string text = value_text(key, defaults);
        text = text == "\"\"" ? "" : text;
        EXPECT_EQ(set_value(key, {&text, 1}, config), "") << key.name;
        EXPECT_EQ(value_text(key, config), value_text(key, defaults)) << key.name;
    }
}

// A wrong width in the table would write over the neighbouring field.
TEST(Keys, Numbers_Set_TouchOnlyTheirField) {
    for (const KeyInfo& key : keys()) {
        if (key.type != KeyType::kNumber && key.type != KeyType::kBytes) {
            continue;
        }
        const Config defaults;
        Config config;
        uint64_t value = key.min;
        if (key.rule == KeyRule::kNone && std::to_string(value) == value_text(key, defaults)) {
            ++value;
        }
        const std::string text = std::to_string(value);
        ASSERT_EQ(set_value(key, {&text, 1}, config), "") << key.name;
        for (const KeyInfo& other : keys()) {
            EXPECT_EQ(value_text(other, config) == value_text(other, defaults), &other != &key)
                << key.name << " and " << other.name;
        }
    }
}

}  // namespace
}  // namespace cachee::config
