// SPDX-License-Identifier: Apache-2.0
// What the files of the local commands share. Private to local_*.cc: the worker uses
// local_commands.h. Data plane, cold.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "dataplane/local_commands.h"

namespace cachee::dataplane::local {

using Args = std::span<const std::string_view>;

struct Request {
    Args args;
    const LocalContext& context;
    std::string& out;
    LocalEffects& effects;
    resp::Writer reply;

    void ok() { reply.simple("OK"); }
    void syntax_error() { reply.error("ERR syntax error"); }
    // `name`: as COMMAND has it, "client|setname".
    void error_arity(std::string_view name) {
        reply.error("ERR wrong number of arguments for '" + std::string(name) + "' command");
    }
    void error_unknown_subcommand(std::string_view container);
    // Valkey's help layout: an array of status lines around `lines`.
    void help(std::string_view container, std::span<const std::string_view> lines);
};

// A subcommand that is not answered here: false when L2 has it, else the error reply and true.
bool refuse_subcommand(Request& request, std::string_view container, std::string_view advice);

// Printable ASCII without spaces: client names and library names, so that CLIENT LIST can be split.
bool valid_attribute(std::string_view text) noexcept;
inline constexpr std::string_view kErrorClientName =
    "ERR Client names cannot contain spaces, newlines or special characters.";

bool client(Request& request);
bool config(Request& request);

}  // namespace cachee::dataplane::local
