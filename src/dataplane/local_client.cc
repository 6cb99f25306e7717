// SPDX-License-Identifier: Apache-2.0
// CLIENT: the subcommands about the session itself. Those that need L2 (TRACKING, KILL, REPLY,
// PAUSE ...) are not here. Data plane, cold. Texts as in Valkey 8.0's networking.c.
#include <string>

#include "dataplane/local_internal.h"
#include "dataplane/standalone_call.h"

namespace cachee::dataplane::local {
namespace {

void append_line(const ClientInfo& c, std::string& out) {
    const auto text = [&out](std::string_view key, std::string_view value) {
        out.append(key).append(value);
    };
    const auto number = [&out](std::string_view key, uint64_t value) {
        out.append(key).append(std::to_string(value));
    };
    number("id=", c.id);
    text(" addr=", c.address);
    text(" laddr=", c.local_address);
    text(" fd=", "-1");  // there is no file descriptor to tell
    text(" name=", c.name);
    number(" age=", c.age_s);
    number(" idle=", c.idle_s);
    text(" flags=", "N");
    number(" db=", c.database);
    text(" sub=0 psub=0 ssub=0 multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0", "");
    text(" rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r", "");
    text(" cmd=", c.last_command.empty() ? "NULL" : c.last_command);
    text(" user=default redir=-1", "");
    number(" resp=", static_cast<uint64_t>(c.protocol));
    text(" lib-name=", c.lib_name);
    text(" lib-ver=", c.lib_version);
    number(" tot-net-in=", c.bytes_in);
    number(" tot-net-out=", c.bytes_out);
    number(" tot-cmds=", c.commands);
    out.push_back('\n');
}

std::vector<ClientInfo> all_clients(const LocalContext& context) {
    std::vector<ClientInfo> clients;
    if (context.clients != nullptr) {
        context.clients->list(clients);
    } else {
        clients.push_back(context.client);
    }
    return clients;
}

// Keeps what TYPE asks for; all sessions here are normal ones. False after the error reply.
bool filter_by_type(Request& request, std::string_view type, std::vector<ClientInfo>& clients) {
    if (equals_ignoring_case(type, "normal")) {
        return true;
    }
    for (const std::string_view other : {"replica", "slave", "pubsub", "master", "primary"}) {
        if (equals_ignoring_case(type, other)) {
            clients.clear();
            return true;
        }
    }
    request.reply.error("ERR Unknown client type '" + std::string(type) + "'");
    return false;
}

void list(Request& request) {
    const Args args = request.args;
    std::vector<ClientInfo> clients = all_clients(request.context);
    std::string text;
    if (args.size() == 4 && equals_ignoring_case(args[2], "type")) {
        if (!filter_by_type(request, c_string(args[3]), clients)) {
            return;
        }
    } else if (args.size() > 3 && equals_ignoring_case(args[2], "id")) {
        for (const std::string_view argument : args.subspan(3)) {
            const std::optional<int64_t> id = parse_int64(argument);
            if (!id) {
                request.reply.error("ERR Invalid client ID");
                return;
            }
            for (const ClientInfo& client : clients) {
                if (client.id == static_cast<uint64_t>(*id)) {
                    append_line(client, text);
                }
            }
        }
        clients.clear();
    } else if (args.size() != 2) {
        request.syntax_error();
        return;
    }
    for (const ClientInfo& client : clients) {
        append_line(client, text);
    }
    request.reply.verbatim("txt", text);
}

void set_name(Request& request) {
    if (!valid_attribute(request.args[2])) {
        request.reply.error(kErrorClientName);
        return;
    }
    request.effects.client_name = std::string(request.args[2]);
    request.ok();
}

void set_info(Request& request) {
    const std::string_view option = c_string(request.args[2]);
    const std::string_view value = request.args[3];
    const bool is_name = equals_ignoring_case(option, "lib-name");
    if (!is_name && !equals_ignoring_case(option, "lib-ver")) {
        request.reply.error("ERR Unrecognized option '" + std::string(option) + "'");
        return;
    }
    if (!valid_attribute(value)) {
        request.reply.error("ERR " + std::string(option) +
                            " cannot contain spaces, newlines or special characters.");
        return;
    }
    (is_name ? request.effects.lib_name : request.effects.lib_version) = std::string(value);
    request.ok();
}

void get_name(Request& request) {
    if (request.context.client.name.empty()) {
        request.reply.null();
    } else {
        request.reply.bulk(request.context.client.name);
    }
}

// NO-EVICT and NO-TOUCH: nothing evicts clients, and hits never touch L2's LRU: accepted, without
// effect.
void on_or_off(Request& request) {
    const std::string_view value = c_string(request.args[2]);
    if (equals_ignoring_case(value, "on") || equals_ignoring_case(value, "off")) {
        request.ok();
    } else {
        request.syntax_error();
    }
}

void id(Request& request) {
    request.reply.integer(static_cast<int64_t>(request.context.client.id));
}

void info(Request& request) {
    std::string text;
    append_line(request.context.client, text);
    request.reply.verbatim("txt", text);
}

void capa(Request& request) { request.ok(); }  // capabilities that are not known are ignored

void help(Request& request) {
    static constexpr std::string_view kLines[] = {
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "LIST [options ...]",
        "    Return information about client connections of this worker. Options:",
        "    * TYPE (NORMAL|PRIMARY|REPLICA|PUBSUB)",
        "    * ID <client-id> [<client-id> ...]",
        "NO-EVICT (ON|OFF)",
        "    Accepted, without effect.",
        "NO-TOUCH (ON|OFF)",
        "    Accepted, without effect.",
        "SETINFO <option> <value>",
        "    Set client meta attr. Options are LIB-NAME and LIB-VER.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
    };
    request.help("CLIENT", kLines);
}

struct Subcommand {
    std::string_view name;
    int arity;  // negative: at least
    void (*handler)(Request&);
};
constexpr Subcommand kSubcommands[] = {
    {"setinfo", 4, set_info},   {"setname", 3, set_name},
    {"getname", 2, get_name},   {"id", 2, id},
    {"info", 2, info},          {"list", -2, list},
    {"no-evict", 3, on_or_off}, {"no-touch", 3, on_or_off},
    {"capa", -3, capa},         {"help", 2, help},
};

}  // namespace

bool client(Request& request) {
    if (request.args.size() < 2) {
        request.error_arity("client");
        return true;
    }
    const auto size = static_cast<int>(request.args.size());
    for (const Subcommand& subcommand : kSubcommands) {
        if (!equals_ignoring_case(request.args[1], subcommand.name)) {
            continue;
        }
        if (subcommand.arity > 0 ? size != subcommand.arity : size < -subcommand.arity) {
            request.error_arity("client|" + std::string(subcommand.name));
        } else {
            subcommand.handler(request);
        }
        return true;
    }
    return refuse_subcommand(request, "client", "it needs an L2, and this cachee is standalone");
}

}  // namespace cachee::dataplane::local
