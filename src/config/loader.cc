// SPDX-License-Identifier: Apache-2.0
// YAML to config::Config by the table of keys.h. The only user of yaml-cpp; its exceptions stop
// here. Cold code; any thread.
#include "config/loader.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "config/keys.h"
#include "config/validate.h"

namespace cachee::config {
namespace {

constexpr const char* kBackendVariable = "CACHEE_L2_BACKEND";
constexpr size_t kFileBytesMax = 1 * kMiB;

int line_of(const YAML::Node& node) { return node.Mark().line + 1; }

// The line of the marker ("---" or "...") that ends the first document when it has content; 0: one
// document.
int second_document_line(const std::string& text) {
    std::istringstream lines(text);
    bool content = false;
    int number = 0;
    int marker = 0;
    for (std::string line; std::getline(lines, line);) {
        ++number;
        const bool is_marker = line.starts_with("---") || line.starts_with("...");
        const size_t start = line.find_first_not_of(" \t\r");
        if (is_marker && content && marker == 0) {
            marker = number;
        } else if (!is_marker && start != std::string::npos && line[start] != '#' &&
                   line[0] != '%') {
            if (marker != 0) {
                return marker;
            }
            content = true;
        }
    }
    return 0;
}

// The first line that is no comment and no marker; 0: none.
int content_line(const std::string& text) {
    std::istringstream lines(text);
    int number = 0;
    for (std::string line; std::getline(lines, line);) {
        ++number;
        const size_t start = line.find_first_not_of(" \t\r");
        const bool comment = start == std::string::npos || line[start] == '#' || line[0] == '%';
        if (!comment && !line.starts_with("---") && !line.starts_with("...")) {
            return number;
        }
    }
    return 0;
}

std::string shown(const KeyInfo& key, const std::string& value) {
    if (key.rule == KeyRule::kSecret || key.rule == KeyRule::kBackend) {
        return "the value";
    }
    constexpr size_t kShownBytesMax = 60;
    std::string text = value.substr(0, kShownBytesMax);
    for (char& c : text) {
        c = static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
    return "\"" + text + (value.size() > kShownBytesMax ? "...\"" : "\"");
}

// One file being read.
class Reader {
  public:
    Reader(const std::string& file, Config& config, std::vector<Finding>& findings)
        : file_(file), config_(config), findings_(findings) {}

    void read(const std::string& text) {
        try {
            // Not LoadAll: yaml-cpp 0.7 never returns from it for some malformed texts (",a: &s").
            const YAML::Node document = YAML::Load(text);
            if (const int line = second_document_line(text); line != 0) {
                add(line, "", "more than one YAML document; only one is allowed");
            } else if (document.IsMap()) {
                read_map(document, "");
            } else if (document.IsDefined() && !document.IsNull()) {
                add(line_of(document), "", "the file is not a map of sections");
            } else if (const int content = content_line(text); content != 0) {
                // yaml-cpp gives an empty document for some malformed texts; only comments are the
                // defaults.
                add(content, "", "not valid YAML: no map of sections begins here");
            }
        } catch (const YAML::Exception& exception) {
            add(exception.mark.line + 1, "", "not valid YAML: " + exception.msg);
        } catch (const std::exception& exception) {
            add(0, "", std::string("not valid YAML: ") + exception.what());
        }
    }

    void override_backend(const char* url) {
        const KeyInfo& key = *find_key("l2.backend");
        const std::string text = url;
        const std::string error = set_value(key, {&text, 1}, config_);
        if (!error.empty()) {
            add(0, kBackendVariable, "in the environment: " + error);
        }
    }

    void cross_check() {
        for (Conflict& conflict : find_conflicts(config_)) {
            const auto line = lines_.find(conflict.key);
            add(line == lines_.end() ? 0 : line->second, conflict.key, conflict.message);
        }
    }

    void add(int line, const std::string& key, const std::string& message) {
        findings_.push_back({file_, line, key, message});
    }

  private:
    void read_map(const YAML::Node& map, const std::string& prefix) {
        for (const auto& entry : map) {
            const int line = line_of(entry.first);
            if (!entry.first.IsScalar()) {
                add(line, prefix, "a key is not plain text");
                continue;
            }
            const std::string name = prefix + entry.first.Scalar();
            if (const auto [first, fresh] = lines_.try_emplace(name, line); !fresh) {
                add(line, name, "is given twice; first in line " + std::to_string(first->second));
            } else if (const KeyInfo* key = find_key(name); key != nullptr) {
                read_value(*key, entry.second, line);
            } else if (is_section(name)) {
                read_section(entry.second, name, line);
            } else {
                unknown(name, line);
            }
        }
    }

    void read_section(const YAML::Node& node, const std::string& name, int line) {
        if (node.IsMap()) {
            read_map(node, name + ".");
        } else if (!node.IsNull()) {
            add(line, name, "is a section; its keys stand below it, indented");
        }
    }

    void read_value(const KeyInfo& key, const YAML::Node& node, int line) {
        std::vector<std::string> texts;
        const bool list = key.type == KeyType::kTextList || key.type == KeyType::kNumberList;
        std::string value;
        std::string error;
        if (node.IsSequence()) {
            for (const YAML::Node& element : node) {
                if (key.rule == KeyRule::kQuota && element.IsMap()) {
                    texts.push_back(quota_text(element, error));
                } else if (!element.IsScalar()) {
                    error = "has an element that is not a plain value";
                } else {
                    texts.push_back(element.Scalar());
                }
                value +=
                    (value.empty() ? "" : ", ") + (element.IsScalar() ? element.Scalar() : "?");
            }
            value = "[" + value + "]";
            error = list ? error : "is a list; one value is expected";
        } else if (node.IsScalar()) {
            value = node.Scalar();
            texts.push_back(value);
            error = list ? "is not a list" : "";
        } else if (node.IsNull()) {
            if (key.type == KeyType::kText) {
                texts.emplace_back();  // "password:" with nothing behind it
            } else {
                error = "is missing";
            }
        } else {
            value = "{...}";
            error = "is a section; one value is expected";
        }
        if (error.empty()) {
            error = set_value(key, texts, config_);
        }
        if (error.empty()) {
            return;
        }
        if (key.rule == KeyRule::kBackend && !list && !texts.empty()) {
            add(line, std::string(key.name),
                error);  // names all that is wrong, and what is allowed
            return;
        }
        add(line, std::string(key.name),
            (node.IsNull() ? "the value" : shown(key, value)) + " " + error +
                "; allowed: " + allowed_text(key));
    }

    // {prefix: "sess:", bytes: 64MiB} as parse_quota() reads it.
    static std::string quota_text(const YAML::Node& map, std::string& error) {
        std::string prefix;
        std::string bytes;
        for (const auto& entry : map) {
            const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
            std::string* part = name == "prefix" ? &prefix : name == "bytes" ? &bytes : nullptr;
            if (part == nullptr || !entry.second.IsScalar()) {
                error = "has an element with something else than prefix and bytes";
                return "";
            }
            *part = entry.second.Scalar();
        }
        if (bytes.find(' ') != std::string::npos) bytes.erase(bytes.find(' '), 1);  // "64 MiB"
        return bytes + " " + prefix;
    }

    void unknown(const std::string& name, int line) {
        const std::string nearest = nearest_key(name);
        add(line, name,
            nearest.empty() ? "unknown key; conf/cachee.yaml lists all of them"
                            : "unknown key; did you mean " + nearest + "?");
    }

    const std::string file_;
    Config& config_;
    std::vector<Finding>& findings_;
    std::map<std::string, int> lines_;  // of every key seen
};

bool finish(Reader& reader, Config& config, Config&& loaded, std::vector<Finding>& findings) {
    if (findings.empty()) {
        if (const char* url = std::getenv(kBackendVariable); url != nullptr && *url != '\0') {
            reader.override_backend(url);
        }
    }
    // Conflicts of a half-read configuration would be noise.
    if (findings.empty()) {
        reader.cross_check();
    }
    std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) {
        return (a.line == 0 ? INT32_MAX : a.line) < (b.line == 0 ? INT32_MAX : b.line);
    });
    if (findings.empty()) {
        config = std::move(loaded);
    }
    return findings.empty();
}

}  // namespace

std::string Finding::text() const {
    std::string result = file;
    if (line > 0) {
        result += ":" + std::to_string(line);
    }
    if (!result.empty()) {
        result += ": ";
    }
    return result + (key.empty() ? "" : key + ": ") + message;
}

bool load_text(const std::string& text, const std::string& file_name, Config& config,
               std::vector<Finding>& findings) {
    findings.clear();
    Config loaded;
    Reader reader(file_name, loaded, findings);
    if (text.size() > kFileBytesMax) {
        reader.add(0, "", "larger than 1 MiB; this is no configuration file");
    } else {
        reader.read(text);
    }
    return finish(reader, config, std::move(loaded), findings);
}

bool load(const std::string& path, Config& config, std::vector<Finding>& findings) {
    if (path.empty()) {
        return load_text("", "", config, findings);
    }
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    std::string text;
    if (file) {
        text.resize(kFileBytesMax + 1);
        file.read(text.data(), static_cast<std::streamsize>(text.size()));
        text.resize(static_cast<size_t>(file.gcount()));
    }
    if (!file.is_open() || file.bad() || (text.empty() && errno != 0)) {
        findings = {{path, 0, "", std::string("cannot be read: ") + std::strerror(errno)}};
        return false;
    }
    return load_text(text, path, config, findings);
}

}  // namespace cachee::config
