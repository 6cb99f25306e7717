// SPDX-License-Identifier: Apache-2.0
// Session commands that cachee answers itself; CLIENT is in local_client.cc, CONFIG in
// local_config.cc. Data plane, cold. Order of checks and texts as in Valkey 8.0's networking.c,
// acl.c and db.c.
#include "dataplane/local_commands.h"

#include <algorithm>
#include <limits>

#include "dataplane/local_internal.h"
#include "dataplane/standalone_call.h"
#include "resp/command_table.h"

namespace cachee::dataplane {
namespace local {
namespace {

constexpr std::string_view kErrorWrongPass =
    "WRONGPASS invalid username-password pair or user is disabled.";
constexpr std::string_view kErrorHelloNoAuth =
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
    "<proto> "
    "AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol "
    "version at the same time";

// Without a password the default user takes any, as in Valkey (nopass).
bool credentials_fit(std::string_view user, std::string_view given, std::string_view password) {
    const bool equal = password_equals(given, password);
    return user == "default" && (password.empty() || equal);
}

struct HelloOptions {
    std::optional<resp::Protocol> protocol;
    bool has_auth = false;
    std::string_view user;
    std::string_view password;
    std::optional<std::string_view> client_name;
};

// False after the error reply.
bool parse_hello(Request& request, HelloOptions& options) {
    const Args args = request.args;
    if (args.size() >= 2) {
        const std::optional<int64_t> version = parse_int64(args[1]);
        if (!version) {
            request.reply.error("ERR Protocol version is not an integer or out of range");
            return false;
        }
        if (*version != 2 && *version != 3) {
            request.reply.error("NOPROTO unsupported protocol version");
            return false;
        }
        options.protocol = static_cast<resp::Protocol>(*version);
    }
    for (size_t i = 2; i < args.size(); ++i) {
        const std::string_view option = c_string(args[i]);
        if (equals_ignoring_case(option, "auth") && i + 2 < args.size()) {
            options.has_auth = true;
            options.user = args[i + 1];
            options.password = args[i + 2];
            i += 2;
        } else if (equals_ignoring_case(option, "setname") && i + 1 < args.size()) {
            if (!valid_attribute(args[i + 1])) {
                request.reply.error(kErrorClientName);
                return false;
            }
            options.client_name = args[++i];
        } else {
            request.reply.error("ERR Syntax error in HELLO option '" + std::string(option) + "'");
            return false;
        }
    }
    return true;
}

bool hello(Request& request) {
    HelloOptions options;
    if (!parse_hello(request, options)) {
        return true;
    }
    if (options.has_auth) {
        if (!credentials_fit(options.user, options.password,
                             request.context.config->listen.password)) {
            request.reply.error(kErrorWrongPass);
            return true;
        }
        request.effects.authenticated = true;
    } else if (!request.context.authenticated) {
        request.reply.error(kErrorHelloNoAuth);
        return true;
    }
    if (options.client_name) {
        request.effects.client_name = std::string(*options.client_name);
    }
    const resp::Protocol protocol = options.protocol.value_or(request.context.client.protocol);
    request.effects.protocol = protocol;
    resp::Writer reply(request.out, protocol);  // the new protocol from this reply on
    reply.map(7);
    reply.bulk("server").bulk(kServerName);
    reply.bulk("version").bulk(kServerVersion);
    reply.bulk("proto").integer(static_cast<int64_t>(protocol));
    reply.bulk("id").integer(static_cast<int64_t>(request.context.client.id));
    reply.bulk("mode").bulk("standalone");
    reply.bulk("role").bulk("master");
    reply.bulk("modules").array(0);
    return true;
}

bool auth(Request& request) {
    const Args args = request.args;
    const std::string_view password = request.context.config->listen.password;
    if (args.size() < 2) {
        request.error_arity("auth");
        return true;
    }
    if (args.size() > 3) {
        request.syntax_error();
        return true;
    }
    if (args.size() == 2 && password.empty()) {
        request.reply.error(
            "ERR AUTH <password> called without any password configured for the default user. Are "
            "you "
            "sure your configuration is correct?");
        return true;
    }
    const std::string_view user = args.size() == 3 ? args[1] : "default";
    if (!credentials_fit(user, args.back(), password)) {
        request.reply.error(kErrorWrongPass);
        return true;
    }
    request.effects.authenticated = true;
    request.ok();
    return true;
}

bool ping(Request& request) {
    if (request.args.size() > 2) {
        request.error_arity("ping");
    } else if (request.args.size() == 2) {
        request.reply.bulk(request.args[1]);
    } else {
        request.reply.simple("PONG");
    }
    return true;
}

bool echo(Request& request) {
    if (request.args.size() != 2) {
        request.error_arity("echo");
    } else {
        request.reply.bulk(request.args[1]);
    }
    return true;
}

bool quit(Request& request) {
    request.effects.close = true;
    request.ok();
    return true;
}

bool reset(Request& request) {
    if (request.args.size() != 1) {
        request.error_arity("reset");
        return true;
    }
    request.effects.reset = true;
    request.effects.protocol = resp::Protocol::kResp2;
    request.effects.client_name = std::string();
    request.effects.authenticated = request.context.config->listen.password.empty();
    request.reply.simple("RESET");
    return true;
}

// With L2 only the database that every session is in already: any other makes the session stateful
// there.
bool select(Request& request) {
    const bool arity_fits = request.args.size() == 2;
    const std::optional<int64_t> index = arity_fits ? parse_int64(request.args[1]) : std::nullopt;
    if (index == 0) {
        request.ok();
        return true;
    }
    if (!request.context.standalone) {
        return false;
    }
    if (!arity_fits) {
        request.error_arity("select");
    } else if (!index) {
        request.reply.error(kErrorNotAnInteger);
    } else if (*index < std::numeric_limits<int32_t>::min() ||
               *index > std::numeric_limits<int32_t>::max()) {
        request.reply.error(
            "ERR value is out of range, value must between -2147483648 and 2147483647");
    } else {
        request.reply.error("ERR DB index is out of range");
    }
    return true;
}

bool info(Request& request) {
    if (request.context.info == nullptr) {
        request.reply.error("ERR INFO is not available: this worker has no statistics segment");
        return true;
    }
    std::string text;
    append_info(request.args.subspan(1), *request.context.info, text);
    request.reply.verbatim("txt", text);
    return true;
}

using Handler = bool (*)(Request&);
constexpr std::pair<std::string_view, Handler> kHandlers[] = {
    {"ping", ping},     {"hello", hello}, {"client", client}, {"auth", auth}, {"select", select},
    {"config", config}, {"info", info},   {"echo", echo},     {"quit", quit}, {"reset", reset},
};

}  // namespace

void Request::error_unknown_subcommand(std::string_view container) {
    std::string upper(container);
    std::transform(upper.begin(), upper.end(), upper.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    reply.error("ERR unknown subcommand '" + std::string(c_string(args[1]).substr(0, 128)) +
                "'. Try " + upper + " HELP.");
}

void Request::help(std::string_view container, std::span<const std::string_view> lines) {
    reply.array(lines.size() + 3);
    reply.simple(std::string(container) +
                 " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    for (const std::string_view line : lines) {
        reply.simple(line);
    }
    reply.simple("HELP").simple("    Print this help.");
}

bool refuse_subcommand(Request& request, std::string_view container, std::string_view advice) {
    const resp::CommandInfo* known = resp::find_command(request.args);
    if (known == nullptr || known->name.find('|') == std::string_view::npos) {
        request.error_unknown_subcommand(container);
        return true;
    }
    if (!request.context.standalone) {
        return false;
    }
    request.reply.error("ERR " + std::string(known->name) +
                        " is not available here: " + std::string(advice));
    return true;
}

bool valid_attribute(std::string_view text) noexcept {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= '!' && c <= '~'; });
}

}  // namespace local

bool answer_local(std::span<const std::string_view> args, const LocalContext& context,
                  std::string& out, LocalEffects& effects) {
    for (const auto& [name, handler] : local::kHandlers) {
        if (equals_ignoring_case(args[0], name)) {
            local::Request request{args, context, out, effects,
                                   resp::Writer(out, context.client.protocol)};
            return handler(request);
        }
    }
    return false;
}

bool password_equals(std::string_view given, std::string_view password) noexcept {
    // Every byte given is compared with some byte, whatever the password's length; the compiler
    // must not leave the loop early, hence the volatile accumulator.
    volatile uint32_t difference = given.size() == password.size() ? 0 : 1;
    for (size_t i = 0; i < given.size(); ++i) {
        const char expected = password.empty() ? '\0' : password[i % password.size()];
        difference = difference | (static_cast<uint8_t>(given[i]) ^ static_cast<uint8_t>(expected));
    }
    return difference == 0;
}

}  // namespace cachee::dataplane
