// SPDX-License-Identifier: Apache-2.0
// COMMAND, COMMAND COUNT, INFO, LIST, GETKEYS, GETKEYSANDFLAGS, DOCS and HELP from the command
// table. Cold code; any thread.
#include "resp/command_reply.h"

#include <fnmatch.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "resp/command_data.h"

namespace cachee::resp {
namespace {

using Arguments = std::span<const std::string_view>;

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& c : result) {
        c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
    }
    return result;
}

std::vector<std::string_view> words(std::string_view text) {
    std::vector<std::string_view> result;
    while (!text.empty()) {
        const size_t space = std::min(text.find(' '), text.size());
        result.push_back(text.substr(0, space));
        text.remove_prefix(std::min(space + 1, text.size()));
    }
    return result;
}

bool is_subcommand(const CommandData& data) {
    return data.name.find('|') != std::string_view::npos;
}

size_t top_level_commands() {
    return static_cast<size_t>(
        std::count_if(std::begin(kCommands), std::end(kCommands),
                      [](const auto& data) { return !is_subcommand(data); }));
}

void write_simple_set(Writer& writer, std::string_view text) {
    const std::vector<std::string_view> items = words(text);
    writer.set(items.size());
    for (const std::string_view item : items) {
        writer.simple(item);
    }
}

void write_flags(Writer& writer, uint32_t flags) {
    std::vector<std::string_view> names;
    for (const FlagName& name : kFlagNames) {
        if ((flags & name.flag) != 0) {
            names.push_back(name.name);
        }
    }
    writer.set(names.size());
    for (const std::string_view name : names) {
        writer.simple(name);
    }
}

void write_spec_part(Writer& writer, std::string_view part, std::string_view type,
                     std::initializer_list<std::pair<std::string_view, int64_t>> values,
                     std::string_view keyword = "") {
    writer.bulk(part).map(2).bulk("type").bulk(type).bulk("spec");
    writer.map(values.size() + !keyword.empty());
    if (!keyword.empty()) {
        writer.bulk("keyword").bulk(keyword);
    }
    for (const auto& [name, value] : values) {
        writer.bulk(name).integer(value);
    }
}

void write_key_spec(Writer& writer, const KeySpec& spec) {
    writer.map(spec.notes.empty() ? 3 : 4);
    if (!spec.notes.empty()) {
        writer.bulk("notes").bulk(spec.notes);
    }
    writer.bulk("flags");
    write_simple_set(writer, spec.flags);
    switch (spec.begin) {
        case KeySpec::Begin::kIndex:
            write_spec_part(writer, "begin_search", "index", {{"index", spec.index}});
            break;
        case KeySpec::Begin::kKeyword:
            write_spec_part(writer, "begin_search", "keyword", {{"startfrom", spec.index}},
                            spec.keyword);
            break;
        case KeySpec::Begin::kUnknown:
            write_spec_part(writer, "begin_search", "unknown", {});
            break;
    }
    switch (spec.find) {
        case KeySpec::Find::kRange:
            write_spec_part(writer, "find_keys", "range",
                            {{"lastkey", spec.values[0]},
                             {"keystep", spec.values[1]},
                             {"limit", spec.values[2]}});
            break;
        case KeySpec::Find::kKeynum:
            write_spec_part(writer, "find_keys", "keynum",
                            {{"keynumidx", spec.values[0]},
                             {"firstkey", spec.values[1]},
                             {"keystep", spec.values[2]}});
            break;
        case KeySpec::Find::kUnknown:
            write_spec_part(writer, "find_keys", "unknown", {});
            break;
    }
}

void write_command(Writer& writer, size_t index) {
    const CommandData& data = kCommands[index];
    writer.array(10).bulk(data.name).integer(data.arity);
    write_flags(writer, data.flags);
    writer.integer(data.first_key).integer(data.last_key).integer(data.key_step);
    write_simple_set(writer, data.acl_categories);
    const std::vector<std::string_view> tips = words(data.tips);
    writer.set(tips.size());
    for (const std::string_view tip : tips) {
        writer.bulk(tip);
    }
    writer.set(data.specs);
    for (uint16_t i = 0; i < data.specs; ++i) {
        write_key_spec(writer, kKeySpecs[data.first_spec + i]);
    }
    // Its subcommands are the rows behind it that carry its name.
    size_t end = index + 1;
    while (!is_subcommand(data) && end < kCommandCount && is_subcommand(kCommands[end]) &&
           kCommands[end].name.starts_with(data.name) &&
           kCommands[end].name[data.name.size()] == '|') {
        ++end;
    }
    if (end == index + 1) {
        writer.set(0);
        return;
    }
    writer.array(end - index - 1);
    for (size_t i = index + 1; i < end; ++i) {
        write_command(writer, i);  // once: a subcommand has none
    }
}

void reply_all(Writer& writer) {
    writer.array(top_level_commands());
    for (size_t i = 0; i < kCommandCount; ++i) {
        if (!is_subcommand(kCommands[i])) {
            write_command(writer, i);
        }
    }
}

void reply_info(Writer& writer, Arguments names) {
    if (names.empty()) {
        reply_all(writer);
        return;
    }
    writer.array(names.size());
    for (const std::string_view name : names) {
        const CommandInfo* command = find_command_named(name);
        const CommandData* data = command != nullptr ? command_data(*command) : nullptr;
        if (data == nullptr) {
            writer.null();
        } else {
            write_command(writer, static_cast<size_t>(data - kCommands));
        }
    }
}

// COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]
void reply_list(Writer& writer, Arguments options) {
    const std::string filter = options.size() == 3 ? lower(options[1]) : "";
    const bool filtered = options.size() == 3 && lower(options[0]) == "filterby" &&
                          (filter == "module" || filter == "aclcat" || filter == "pattern");
    if (!options.empty() && !filtered) {
        writer.error("ERR syntax error");
        return;
    }
    const std::string operand(filtered ? options[2] : "");
    const std::string category = "@" + lower(operand);
    std::vector<std::string_view> names;
    for (const CommandData& data : kCommands) {
        bool wanted = !filtered;  // subcommands too, as in Valkey
        if (filter == "aclcat") {
            const auto categories = words(data.acl_categories);
            wanted = std::find(categories.begin(), categories.end(), category) != categories.end();
        } else if (filter == "pattern") {
            wanted = fnmatch(operand.c_str(), std::string(data.name).c_str(), FNM_CASEFOLD) == 0;
        }
        if (wanted) {
            names.push_back(data.name);
        }
    }
    writer.array(names.size());
    for (const std::string_view name : names) {
        writer.bulk(name);
    }
}

// The flags of the key at `position` by the first specification that names the place, as far as
// that can be told without the arguments' meaning.
std::string_view key_flags(const CommandData& data, std::string_view name, Arguments arguments,
                           size_t position) {
    for (uint16_t i = 0; i < data.specs; ++i) {
        const KeySpec& spec = kKeySpecs[data.first_spec + i];
        if (spec.begin == KeySpec::Begin::kIndex && spec.index == static_cast<int64_t>(position)) {
            if (name != "set") {
                return spec.flags;
            }
            const bool get = std::any_of(arguments.begin() + 3, arguments.end(),
                                         [](auto argument) { return lower(argument) == "get"; });
            return get ? "RW access update" : "OW update";
        }
    }
    for (uint16_t i = data.specs; i-- > 0;) {
        const KeySpec& spec = kKeySpecs[data.first_spec + i];
        const bool before = spec.begin == KeySpec::Begin::kIndex &&
                            spec.index < static_cast<int64_t>(position) &&
                            (spec.find == KeySpec::Find::kKeynum || spec.values[0] != 0);
        if (before || spec.begin != KeySpec::Begin::kIndex) {
            return spec.flags;
        }
    }
    return "RW access update";
}

void reply_keys(Writer& writer, Arguments arguments, bool with_flags) {
    const CommandInfo* command = find_command(arguments);
    const CommandData* data = command != nullptr ? command_data(*command) : nullptr;
    if (data == nullptr) {
        writer.error("ERR Invalid command specified");
        return;
    }
    if (data->specs == 0) {
        writer.error("ERR The command has no key arguments");
        return;
    }
    if (!arity_fits(*command, arguments.size())) {
        writer.error("ERR Invalid number of arguments specified for command");
        return;
    }
    std::vector<uint32_t> indexes;
    const bool known = command_keys(*command, arguments, indexes);
    if ((!known || indexes.empty()) && (data->flags & kCmdNoMandatoryKeys) == 0) {
        writer.error("ERR Invalid arguments specified for command");
        return;
    }
    writer.array(indexes.size());
    for (const uint32_t index : indexes) {
        if (with_flags) {
            writer.array(2);
        }
        writer.bulk(arguments[index]);
        if (with_flags) {
            write_simple_set(writer, key_flags(*data, data->name, arguments, index));
        }
    }
}

void reply_help(Writer& writer) {
    constexpr std::string_view kLines[] = {
        "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "(no subcommand)",
        "    Return details about all commands.",
        "COUNT",
        "    Return the total number of commands in this server.",
        "LIST",
        "    Return a list of all commands in this server.",
        "INFO [<command-name> ...]",
        "    Return details about multiple commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "GETKEYS <full-command>",
        "    Return the keys from a full command.",
        "GETKEYSANDFLAGS <full-command>",
        "    Return the keys and the access flags from a full command.",
        "HELP",
        "    Print this help.",
    };
    writer.array(std::size(kLines));
    for (const std::string_view line : kLines) {
        writer.simple(line);
    }
}

}  // namespace

std::string command_reply(Arguments arguments, Protocol protocol) {
    std::string out;
    Writer writer(out, protocol);
    if (arguments.size() < 2) {
        reply_all(writer);
        return out;
    }
    const std::string subcommand = lower(arguments[1]);
    const CommandInfo* command = find_command(arguments);
    if (command == nullptr || command->name.find('|') == std::string_view::npos) {
        constexpr size_t kShownBytesMax = 128;
        writer.error("ERR unknown subcommand '" +
                     std::string(arguments[1].substr(0, kShownBytesMax)) + "'. Try COMMAND HELP.");
    } else if (!arity_fits(*command, arguments.size())) {
        writer.error("ERR wrong number of arguments for '" + std::string(command->name) +
                     "' command");
    } else if (subcommand == "count") {
        writer.integer(static_cast<int64_t>(top_level_commands()));
    } else if (subcommand == "info") {
        reply_info(writer, arguments.subspan(2));
    } else if (subcommand == "list") {
        reply_list(writer, arguments.subspan(2));
    } else if (subcommand == "docs") {
        writer.map(0);
    } else if (subcommand == "help") {
        reply_help(writer);
    } else {
        reply_keys(writer, arguments.subspan(2), subcommand == "getkeysandflags");
    }
    return out;
}

}  // namespace cachee::resp
