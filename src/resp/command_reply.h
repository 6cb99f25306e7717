// SPDX-License-Identifier: Apache-2.0
// Replies of COMMAND and its subcommands from the built-in table, byte for byte as Valkey 8.0 gives
// them except for the order (by name) and COMMAND DOCS, which is empty: documentation is L2's.
// Commands that cachee forbids are listed too, as commands an ACL forbids are in Valkey. Cold code
// of both planes; no state, any thread; allocates.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "resp/encoder.h"

namespace cachee::resp {

// The whole reply, errors included (arity, unknown subcommand). REQUIRES: arguments[0] is COMMAND.
// Cost: COMMAND without arguments makes about 80 KB.
std::string command_reply(std::span<const std::string_view> arguments, Protocol protocol);

}  // namespace cachee::resp
