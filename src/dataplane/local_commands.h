// SPDX-License-Identifier: Apache-2.0
// Commands that cachee answers itself in every mode, because they are about the session or the
// appliance: HELLO, AUTH, PING, ECHO, QUIT, RESET, SELECT 0, CLIENT, CONFIG GET, INFO. Pure
// functions: what they need comes in a LocalContext, what they change goes out as LocalEffects for
// the worker to apply. Replies and error texts as Valkey 8.0. COMMAND is not here (resp/). Data
// plane, cold: they may allocate.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"
#include "dataplane/info.h"
#include "resp/encoder.h"

namespace cachee::dataplane {

// What HELLO and INFO say the server is: the name and version that every client library knows, and
// the same that Valkey gives with `extended-redis-compatibility yes`. Libraries compare the version
// (to learn whether CLIENT SETINFO or RESP3 is there), and some old ones refuse a `server` that is
// not "redis".
inline constexpr std::string_view kServerName = "redis";
inline constexpr std::string_view kServerVersion = "7.2.4";
inline constexpr std::string_view kValkeyVersion = "8.0.1";  // whose replies cachee gives

// What a session that is not authenticated gets for anything but AUTH, HELLO, QUIT and RESET.
inline constexpr std::string_view kErrorNoAuth = "NOAUTH Authentication required.";

// One session as CLIENT LIST and CLIENT INFO print it. Views: borrowed for the call.
struct ClientInfo {
    uint64_t id = 0;           // unique for the life of the data plane, and never 0
    std::string_view address;  // "ip:port"
    std::string_view local_address;
    std::string_view name;      // CLIENT SETNAME; empty: none
    std::string_view lib_name;  // CLIENT SETINFO
    std::string_view lib_version;
    uint64_t age_s = 0;
    uint64_t idle_s = 0;
    uint32_t database = 0;
    std::string_view last_command;  // "get", "client|list"; empty: none
    uint64_t bytes_in = 0;
    uint64_t bytes_out = 0;
    uint64_t commands = 0;
    resp::Protocol protocol = resp::Protocol::kResp2;
};

// The sessions that CLIENT LIST shows: the worker's own (each worker knows no others).
class ClientDirectory {
  public:
    virtual ~ClientDirectory() = default;
    virtual void list(std::vector<ClientInfo>& out) const = 0;
};

struct LocalContext {
    ClientInfo client;  // the session that asks; its protocol is that of the reply
    bool authenticated = true;
    bool standalone = false;
    const config::Config* config = nullptr;    // REQUIRES: set; listen.password is the password
    const InfoSource* info = nullptr;          // nullptr: INFO says so with an error
    const ClientDirectory* clients = nullptr;  // nullptr: CLIENT LIST shows the session that asks
};

// What the worker applies to the session, in this order, before the reply is sent.
struct LocalEffects {
    bool reset =
        false;  // RESET: drop name, subscriptions, transaction; RESP2; as if just connected
    std::optional<bool> authenticated;
    std::optional<resp::Protocol> protocol;
    std::optional<std::string> client_name;  // empty: none
    std::optional<std::string> lib_name;
    std::optional<std::string> lib_version;
    bool close = false;  // QUIT: after the reply
};

// Answers `args` if it is one of the commands above: appends exactly one reply, fills `effects`,
// true. False and nothing appended for any other command, and for those of CLIENT and CONFIG that
// another place answers (CLIENT KILL, TRACKING, REPLY ..., CONFIG SET, RESETSTAT, REWRITE) unless
// standalone, where the reply is an error that says what to do instead. AUTH and HELLO AUTH know
// the user "default" only: with L2, the worker sends other users there. REQUIRES: !args.empty().
bool answer_local(std::span<const std::string_view> args, const LocalContext& context,
                  std::string& out, LocalEffects& effects);

// Time depends on the length of `given` only.
bool password_equals(std::string_view given, std::string_view password) noexcept;

// Redis's glob (* ? [a-z] [^a] \x) without case; O(pattern * text), no recursion.
bool glob_matches(std::string_view pattern, std::string_view text) noexcept;

}  // namespace cachee::dataplane
